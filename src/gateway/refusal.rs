//! Why an event was not taken, split by what the producer does next.

use crate::{
    actors::{OverLimit, PlanError, SessionKeyError},
    event::{DecodeError, Violation},
    storage::AppendError,
};

/// One event was refused; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Fix the event's schema header or contract reference, or activate the contract.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Fix the event's form.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Fix the event's content. The text is the original's.
    #[error("{0}")]
    Violation(Box<Violation>),
    /// Send a smaller event, or raise `[http] event_bytes_max`.
    #[error("the event is larger than the limit")]
    TooLarge,
    /// The stream is derived: it has no producers.
    #[error("this stream is derived from another: send to its source")]
    DerivedStream,
    #[error("this stream is disabled")]
    Disabled,
    /// Retry when the time has come, or have the stream's limits raised.
    #[error("the stream has as many events as its limits let it have now")]
    OverLimit(OverLimit),
    /// The event's data subject was erased, and the stream's policy takes nothing more of it.
    #[error("the data subject of this event was erased")]
    SubjectErased,
    /// Retry later.
    #[error("session key is unavailable")]
    Key(#[from] SessionKeyError),
    /// Retry later, or call a person when it is damaged.
    #[error("event could not be made durable")]
    Log(#[from] AppendError),
    /// A sealed field did not open to what was sealed: the node stops.
    #[error("a sealed field did not verify")]
    SealMismatch,
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Refusal {
        Refusal::Violation(Box::new(violation))
    }
}
