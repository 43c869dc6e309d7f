//! Purposes: the organisation's names for consent levels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits;

/// One row of the purpose map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Purpose {
    /// 0..=999.
    pub level: i32,
    /// 2 to 100 characters; unique whatever the case; not a number and without a comma, so that lists of
    /// names and levels can be told apart.
    pub name: String,
    /// At most 1000 characters.
    #[serde(default)]
    pub description: String,
}

/// A purpose that cannot be. The caller asks for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PurposeError {
    #[error("level: 0 to {max}", max = limits::PURPOSE_LEVEL_MAX)]
    Level,
    #[error("name: 2 to {max} characters without commas and control characters, and not a number", max = limits::TITLE_CHARS_MAX)]
    Name,
    #[error("description: at most {max} characters", max = limits::STREAM_DESCRIPTION_CHARS_MAX)]
    Description,
}

impl Purpose {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), PurposeError> {
        if !(0..=limits::PURPOSE_LEVEL_MAX).contains(&self.level) {
            return Err(PurposeError::Level);
        }
        let name = &self.name;
        let odd = |c: char| c == ',' || c.is_control();
        if !(2..=limits::TITLE_CHARS_MAX).contains(&name.chars().count())
            || name.trim() != name
            || name.chars().any(odd)
            || name.parse::<i64>().is_ok()
        {
            return Err(PurposeError::Name);
        }
        if self.description.chars().count() > limits::STREAM_DESCRIPTION_CHARS_MAX {
            return Err(PurposeError::Description);
        }
        Ok(())
    }

    /// Whether people call it `name`.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_told_from_a_level_in_a_list() {
        let named =
            |name: &str| Purpose { level: 1, name: name.into(), description: String::new() }.validate();
        assert_eq!(named("marketing"), Ok(()));
        for wrong in ["", "m", "12", "-3", "a,b", " ads", "ads\n", &"x".repeat(101)] {
            assert_eq!(named(wrong), Err(PurposeError::Name), "{wrong}");
        }
    }
}
