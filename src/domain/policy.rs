//! Policies: how long keys made for a stream live, and on what legal ground.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::limits;
use crate::clock::{DAY_MS, Timestamp};

/// Names a policy in key records, also after it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct PolicyId(pub Uuid);

/// One policy. What it says is fixed once it is ACTIVE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub id: PolicyId,
    /// 1 to 100 characters without control characters, unique.
    pub name: String,
    /// At most 1000 characters.
    #[serde(default)]
    pub description: String,
    /// Days a key lives from its creation, 1 to 36500.
    pub retention_days: u32,
    /// At most 1000 characters.
    #[serde(default)]
    pub legal_ground: String,
    #[serde(default)]
    pub after_erasure: AfterErasure,
    pub state: PolicyState,
}

/// What happens to new events of a subject that was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AfterErasure {
    /// They are taken, under a new key.
    #[default]
    Accept,
    Refuse,
}

/// Only an ACTIVE policy can be given to a stream; only one that no stream has is archived or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyState {
    Draft,
    Active,
    Archived,
}

/// Under which policy a key was made, and until when it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTerm {
    pub policy: PolicyId,
    /// From then on the key is destroyed.
    pub ends: Timestamp,
}

/// A policy that cannot be. The caller asks for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("name: 1 to {max} characters without control characters", max = limits::TITLE_CHARS_MAX)]
    Name,
    #[error("description: at most {max} characters", max = limits::STREAM_DESCRIPTION_CHARS_MAX)]
    Description,
    #[error("retentionDays: 1 to {DAYS_MAX}")]
    Retention,
    #[error("legalGround: at most {max} characters", max = limits::STREAM_DESCRIPTION_CHARS_MAX)]
    LegalGround,
}

impl Policy {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let name = &self.name;
        if !(1..=limits::TITLE_CHARS_MAX).contains(&name.chars().count())
            || name.trim() != name
            || name.chars().any(char::is_control)
        {
            return Err(PolicyError::Name);
        }
        if self.description.chars().count() > limits::STREAM_DESCRIPTION_CHARS_MAX {
            return Err(PolicyError::Description);
        }
        if !(1..=DAYS_MAX).contains(&self.retention_days) {
            return Err(PolicyError::Retention);
        }
        if self.legal_ground.chars().count() > limits::STREAM_DESCRIPTION_CHARS_MAX {
            return Err(PolicyError::LegalGround);
        }
        Ok(())
    }

    /// The term of a key made at `created`.
    #[must_use]
    pub fn term(&self, created: Timestamp) -> KeyTerm {
        KeyTerm { policy: self.id, ends: created.plus_ms(i64::from(self.retention_days) * DAY_MS) }
    }
}

impl PolicyState {
    /// The name people know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyState::Draft => "DRAFT",
            PolicyState::Active => "ACTIVE",
            PolicyState::Archived => "ARCHIVED",
        }
    }

    /// Whether a policy in this state may go to `to`.
    #[must_use]
    pub fn may_become(self, to: PolicyState) -> bool {
        matches!(
            (self, to),
            (PolicyState::Draft, PolicyState::Active) | (PolicyState::Active, PolicyState::Archived)
        )
    }
}

const DAYS_MAX: u32 = 36_500;
