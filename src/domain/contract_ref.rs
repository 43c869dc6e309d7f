//! References to schemas and contracts: `handle/name/version`.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names one schema or one data contract. Cheap to clone; compares and hashes by its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContractRef(Arc<str>);

/// Why a text is not a reference. Never quotes the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    #[error("a reference has three parts: handle/name/version")]
    Parts,
    #[error(
        "the handle takes 2 to 100 letters, digits, '-' or '_' and starts and ends with a letter or digit"
    )]
    Handle,
    #[error("the name takes 2 to 100 letters, digits, '-', '_' or '.'")]
    Name,
    #[error("the version has the form N.N.N")]
    Version,
}

/// Longest accepted reference, in bytes. A record's envelope stores the length in one byte.
pub const REF_BYTES_MAX: usize = 255;

impl ContractRef {
    /// The text form, `handle/name/version`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts: handle, name, version.
    #[must_use]
    pub fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.0.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The version as numbers, which order as versions do.
    #[must_use]
    pub fn version_number(&self) -> [u32; 3] {
        let mut numbers = self.parts().2.split('.').map(|part| part.parse().unwrap_or(0));
        [(); 3].map(|()| numbers.next().unwrap_or(0))
    }
}

impl FromStr for ContractRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<ContractRef, RefError> {
        if text.len() > REF_BYTES_MAX {
            return Err(RefError::Parts);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [handle, name, version] = parts[..] else { return Err(RefError::Parts) };
        if !is_handle(handle) {
            return Err(RefError::Handle);
        }
        if !is_name(name) {
            return Err(RefError::Name);
        }
        if !is_version(version) {
            return Err(RefError::Version);
        }
        Ok(ContractRef(text.into()))
    }
}

fn is_handle(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (2..=100).contains(&text.len())
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn is_name(text: &str) -> bool {
    (2..=100).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|p| (1..=9).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for ContractRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContractRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ContractRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ContractRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ContractRef, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
