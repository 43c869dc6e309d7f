//! What failed, and what to do next: the form in which every failure reaches the terminal.

use super::client::ClientError;

/// A failure found by the command line itself, with the step that gets past it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    next: String,
}

impl Failure {
    /// `what` failed; `next` is an instruction that starts with a verb.
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure { what: what.into(), next: next.into() }
    }
}

/// The text a failed command leaves on standard error: what failed, why, and the next step when known.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}\n");
    if let Some(next) = error.chain().find_map(next_step) {
        text.push_str(&format!("next step: {next}\n"));
    }
    text
}

fn next_step(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.next.clone());
    }
    error.downcast_ref::<ClientError>().and_then(ClientError::next_step)
}

/// `text` from elsewhere, made safe for one line of a terminal: no control characters, at most 400 characters.
pub fn printable(text: &str) -> String {
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    if text.trim().chars().count() > 400 {
        line.push('…');
    }
    line
}
