//! Names of streams.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

/// Name of a source or derived stream: 2 to 100 of `A-Z a-z 0-9 _ -`, starting with a letter or digit.
/// Safe as part of a file name and of a NATS subject.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct StreamName(Arc<str>);

/// The text is not a stream name. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream name takes 2 to 100 letters, digits, '-' or '_' and starts with a letter or digit")]
pub struct StreamNameError;

impl StreamName {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Begins with what no name that is given can begin with.
const AUDIT_LOG: &str = "_audit";

impl StreamName {
    /// The log of the audit entries: a name that nobody can give, make, read or delete.
    #[must_use]
    pub fn audit_log() -> StreamName {
        StreamName(AUDIT_LOG.into())
    }

    /// Whether it is a name of Sluice's own, as the audit log's.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('_')
    }

    /// A name as storage has it: one that was given, or the audit log's.
    ///
    /// # Errors
    ///
    /// [`StreamNameError`].
    pub fn from_storage(text: &str) -> Result<StreamName, StreamNameError> {
        if text == AUDIT_LOG { Ok(StreamName::audit_log()) } else { text.parse() }
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<StreamName, StreamNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let valid = (2..=100).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(allowed);
        if valid { Ok(StreamName(text.into())) } else { Err(StreamNameError) }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StreamName, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
