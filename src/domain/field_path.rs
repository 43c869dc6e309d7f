//! Paths of fields inside an event: `customer/id`. Arrays are entered without an index.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest accepted path, in bytes.
pub const FIELD_PATH_BYTES_MAX: usize = 500;

/// The section every schema starts with. It is the gateway's own: no rule of a contract reaches into it.
pub const META_FIELD: &str = "strmMeta";

/// Names a field of a schema; segments are separated by `/`. Cheap to clone; compares by its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Arc<str>);

/// The text is not a field path. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a field path is one or more names separated by '/', without one at either end, of at most 500 bytes"
)]
pub struct FieldPathError;

impl FieldPath {
    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names along the path, outermost first. At least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The innermost name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.segments().next_back().unwrap_or_default()
    }

    /// Whether the path is `strmMeta` or leads into it.
    #[must_use]
    pub fn is_meta(&self) -> bool {
        self.segments().next() == Some(META_FIELD)
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<FieldPath, FieldPathError> {
        let refused = |name: &str| name.is_empty() || name.chars().any(char::is_control);
        if text.len() > FIELD_PATH_BYTES_MAX || text.split('/').any(refused) {
            return Err(FieldPathError);
        }
        Ok(FieldPath(text.into()))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldPath, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_between_slashes() {
        let path: FieldPath = "customer/address/postcode".parse().unwrap();
        assert_eq!(path.segments().collect::<Vec<_>>(), ["customer", "address", "postcode"]);
        assert_eq!((path.name(), path.is_meta()), ("postcode", false));
        assert!("strmMeta/nonce".parse::<FieldPath>().unwrap().is_meta());
        assert!(!"strmMetadata".parse::<FieldPath>().unwrap().is_meta());
    }

    #[test]
    fn empty_names_control_characters_and_long_paths_are_refused() {
        for text in ["", "/", "/a", "a/", "a//b", "a\0", "a/\nb"] {
            assert_eq!(text.parse::<FieldPath>(), Err(FieldPathError), "{text:?}");
        }
        assert!("a".repeat(FIELD_PATH_BYTES_MAX).parse::<FieldPath>().is_ok());
        assert!("a".repeat(FIELD_PATH_BYTES_MAX + 1).parse::<FieldPath>().is_err());
    }

    #[test]
    fn stored_paths_are_checked_again_when_read() {
        assert!(serde_json::from_str::<FieldPath>("\"a/b\"").is_ok());
        assert!(serde_json::from_str::<FieldPath>("\"/b\"").is_err());
    }
}
