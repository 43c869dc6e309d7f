//! Projects: what a stream or a contract belongs to, and who works on it.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{PrincipalId, Role, limits};
use crate::clock::Timestamp;

/// Name of a project: 2 to 100 of `A-Z a-z 0-9 _ -`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ProjectName(Arc<str>);

/// The text is not a project's name. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a project's name takes 2 to 100 letters, digits, '-' or '_' and starts with a letter or digit")]
pub struct ProjectNameError;

/// Whether a project takes new streams and contracts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProjectState {
    #[default]
    Operational,
    /// What is in it goes on; nothing new comes.
    Archived,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    pub name: ProjectName,
    /// At most 5000 characters.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub state: ProjectState,
    pub created: Timestamp,
    /// Who works on it, as what. Never [`Role::Admin`].
    #[serde(default)]
    pub members: BTreeMap<PrincipalId, Role>,
}

/// Why a project cannot be as asked. The caller asks for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    #[error("description: at most {max} characters", max = limits::PROJECT_DESCRIPTION_CHARS_MAX)]
    Description,
    #[error("members: at most {max}", max = limits::PROJECT_MEMBERS_MAX)]
    Members,
    #[error("role: in a project it is project_admin, approver or member")]
    Role,
}

impl ProjectName {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the project that is always there.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT
    }
}

impl Default for ProjectName {
    /// Where things go when no project is given.
    fn default() -> ProjectName {
        ProjectName(DEFAULT.into())
    }
}

impl Project {
    /// A project without members.
    #[must_use]
    pub fn new(name: ProjectName, created: Timestamp) -> Project {
        let (description, members) = (String::new(), BTreeMap::new());
        Project { name, description, state: ProjectState::Operational, created, members }
    }

    /// Checks what can be said without looking at principals.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, by the name of its field in the API.
    pub fn validate(&self) -> Result<(), ProjectError> {
        if self.description.chars().count() > limits::PROJECT_DESCRIPTION_CHARS_MAX {
            return Err(ProjectError::Description);
        }
        if self.members.len() > limits::PROJECT_MEMBERS_MAX {
            return Err(ProjectError::Members);
        }
        if self.members.values().any(|role| *role == Role::Admin) {
            return Err(ProjectError::Role);
        }
        Ok(())
    }
}

impl FromStr for ProjectName {
    type Err = ProjectNameError;

    fn from_str(text: &str) -> Result<ProjectName, ProjectNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let valid = (2..=100).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(allowed);
        if valid { Ok(ProjectName(text.into())) } else { Err(ProjectNameError) }
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ProjectName, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert!(ProjectName::default().is_default());
        for bad in ["", "a", "../etc", "a/b", "a.b", "-a", "a b", "a%2e", &"a".repeat(101)] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nobody_is_admin_of_a_project_alone() {
        let mut project = Project::new(ProjectName::default(), Timestamp(1));
        project.members.insert("ada".parse().unwrap(), Role::ProjectAdmin);
        assert_eq!(project.validate(), Ok(()));
        project.members.insert("bob".parse().unwrap(), Role::Admin);
        assert_eq!(project.validate(), Err(ProjectError::Role));
    }
}
