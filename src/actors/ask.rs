//! Question and answer with an actor: one call, one deadline, one error type.

use std::time::Duration;

use ractor::{ActorRef, Message, RpcReplyPort, rpc::CallResult};

/// Asks `actor` and waits at most `deadline` for the answer.
///
/// There is no variant without a deadline: a lost answer must surface as an error, never as a hang.
///
/// # Errors
///
/// [`AskError`]: retryable once the actor has been restarted.
pub async fn ask<M, T>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
    deadline: Duration,
) -> Result<T, AskError>
where
    M: Message,
    T: Send + 'static,
{
    match actor.call(question, Some(deadline)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(AskError::TimedOut(deadline)),
        Ok(CallResult::SenderError) | Err(_) => Err(AskError::Gone),
    }
}

/// Answers a question. A caller that stopped listening is normal, not an error.
pub fn respond<T>(reply: RpcReplyPort<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::trace!("caller left before the answer");
    }
}

/// Why an actor gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("actor is gone")]
    Gone,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}
