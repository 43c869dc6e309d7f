//! Why a change of credentials, purposes, policies or a stream's settings was not made.

use crate::domain::{PolicyError, PurposeError};

/// Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the stream has no credential of this client id")]
    CredentialUnknown,
    #[error("purpose {0} is not in the purpose map")]
    PurposeUnknown(String),
    #[error("there is a purpose of this name or level already")]
    PurposeExists,
    #[error("every level up to 999 has a purpose")]
    PurposesFull,
    #[error("derived streams open this purpose: {0}")]
    PurposeInUse(String),
    #[error("purpose: {0}")]
    Purpose(#[from] PurposeError),
    #[error("there is no such policy")]
    PolicyUnknown,
    #[error("there is a policy of this name already")]
    PolicyExists,
    #[error("the policy is {0}: only an ACTIVE one can be given to a stream")]
    PolicyNotActive(&'static str),
    #[error(
        "the policy is {0}: it goes from DRAFT to ACTIVE to ARCHIVED, and is deleted only as DRAFT or ARCHIVED"
    )]
    PolicyState(&'static str),
    #[error("streams make their keys under this policy: {0}")]
    PolicyInUse(String),
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
}
