//! Who may take which step in a contract's life, and what is remembered of the steps taken.
//!
//! | step | who may take it |
//! |---|---|
//! | edit, review, revise, delete | who may edit, or the author |
//! | approve | who may review; the author only if he is admin |
//! | activate | of an APPROVED or ARCHIVED one: who may edit or review; past a missing approval: only who may do both |
//! | archive | who may edit or review |
//!
//! In the roles of the control plane: a member and a project's admin may edit, an approver may review, an
//! admin may do both.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ContractState, Who};
use crate::clock::Timestamp;

/// One step of a contract's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContractStep {
    Create,
    Edit,
    /// Ask for a review.
    Review,
    /// Back to DRAFT, to be edited.
    Revise,
    Approve,
    Activate,
    Archive,
    Delete,
}

impl ContractStep {
    /// The step called `name` in the API, of those that only change the state.
    #[must_use]
    pub fn named(name: &str) -> Option<ContractStep> {
        let steps = [Self::Review, Self::Revise, Self::Approve, Self::Activate, Self::Archive];
        steps.into_iter().find(|step| step.as_str() == name)
    }

    /// The text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Review => "review",
            Self::Revise => "revise",
            Self::Approve => "approve",
            Self::Activate => "activate",
            Self::Archive => "archive",
            Self::Delete => "delete",
        }
    }

    /// The state the step leads to; none when it changes no state.
    #[must_use]
    pub fn leads_to(self) -> Option<ContractState> {
        match self {
            Self::Create | Self::Revise => Some(ContractState::Draft),
            Self::Review => Some(ContractState::InReview),
            Self::Approve => Some(ContractState::Approved),
            Self::Activate => Some(ContractState::Active),
            Self::Archive => Some(ContractState::Archived),
            Self::Edit | Self::Delete => None,
        }
    }
}

/// What somebody's role allows with contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractRights {
    pub may_edit: bool,
    pub may_review: bool,
    /// Decides alone, also about his own.
    pub is_admin: bool,
    /// Is still in the contract's project: an author who left it has no more say.
    pub belongs: bool,
}

impl ContractRights {
    /// The operator: every step by himself.
    pub const ALL: ContractRights =
        ContractRights { may_edit: true, may_review: true, is_admin: true, belongs: true };
}

/// Whether somebody with these rights may take `step` with a contract in state `from`. `author`: whether it
/// is his own, at least in part. That the state allows the step is another question ([`ContractState::step`]).
#[must_use]
pub fn may_step(rights: ContractRights, author: bool, step: ContractStep, from: ContractState) -> bool {
    let ContractRights { may_edit, may_review, is_admin, belongs } = rights;
    let owns = author && belongs;
    match step {
        ContractStep::Create => true,
        ContractStep::Edit | ContractStep::Review | ContractStep::Revise | ContractStep::Delete => {
            may_edit || owns
        }
        ContractStep::Approve => may_review && (is_admin || !author),
        ContractStep::Activate => match from {
            ContractState::Draft | ContractState::InReview => is_admin,
            _ => may_edit || may_review || owns,
        },
        ContractStep::Archive => may_edit || may_review,
    }
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepTaken {
    pub who: Who,
    pub step: ContractStep,
    pub at: Timestamp,
}

/// Steps that are remembered: the first, which names the author, and the newest.
pub const HISTORY_MAX: usize = 100;

/// Adds a step to a contract's history.
pub fn remember(history: &mut Vec<StepTaken>, taken: StepTaken) {
    if history.len() >= HISTORY_MAX {
        history.remove(1);
    }
    history.push(taken);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: ContractRights =
        ContractRights { may_edit: true, may_review: false, is_admin: false, belongs: true };
    const APPROVER: ContractRights =
        ContractRights { may_edit: false, may_review: true, is_admin: false, belongs: true };
    const BOTH: ContractRights = ContractRights { may_edit: true, ..APPROVER };

    #[test]
    fn an_approver_approves_what_others_wrote_and_a_member_nothing() {
        use ContractState::InReview;
        assert!(may_step(APPROVER, false, ContractStep::Approve, InReview));
        assert!(!may_step(APPROVER, true, ContractStep::Approve, InReview), "not his own");
        assert!(!may_step(BOTH, true, ContractStep::Approve, InReview), "two roles are still one person");
        assert!(may_step(BOTH, false, ContractStep::Approve, InReview));
        assert!(!may_step(MEMBER, true, ContractStep::Approve, InReview));
        assert!(!may_step(MEMBER, false, ContractStep::Approve, InReview));
    }

    #[test]
    fn an_approval_is_skipped_only_by_who_could_give_it() {
        for from in [ContractState::Draft, ContractState::InReview] {
            assert!(!may_step(MEMBER, true, ContractStep::Activate, from));
            assert!(!may_step(APPROVER, false, ContractStep::Activate, from));
            assert!(!may_step(BOTH, true, ContractStep::Activate, from));
            assert!(may_step(ContractRights::ALL, true, ContractStep::Activate, from));
        }
        assert!(may_step(MEMBER, false, ContractStep::Activate, ContractState::Approved));
    }

    #[test]
    fn an_approver_edits_only_his_own() {
        assert!(may_step(APPROVER, true, ContractStep::Edit, ContractState::Draft));
        assert!(!may_step(APPROVER, false, ContractStep::Edit, ContractState::Draft));
        let gone = ContractRights { belongs: false, ..APPROVER };
        assert!(!may_step(gone, true, ContractStep::Edit, ContractState::Draft), "who left has no more say");
    }

    #[test]
    fn a_long_history_keeps_its_author() {
        let mut history = Vec::new();
        for at in 0..3 * HISTORY_MAX as i64 {
            let step = if at == 0 { ContractStep::Create } else { ContractStep::Archive };
            remember(&mut history, StepTaken { who: Who::operator(), step, at: Timestamp(at) });
        }
        assert_eq!((history.len(), history[0].step), (HISTORY_MAX, ContractStep::Create));
        assert_eq!(history.last().unwrap().at, Timestamp(3 * HISTORY_MAX as i64 - 1));
    }
}
