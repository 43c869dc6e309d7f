//! Which entries a question is about.

use serde::Deserialize;

use super::Entry;
use crate::{clock::Timestamp, domain::Who};

/// Every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Id of a principal or a client, or `node`.
    pub who: Option<String>,
    /// `type` of the action.
    pub action: Option<String>,
    /// The stream it is about, or the one it derives from.
    pub stream: Option<String>,
    pub purpose: Option<i32>,
    /// Milliseconds since 1970-01-01, this one included.
    pub since: Option<Timestamp>,
    /// This one excluded.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether the entry is meant.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let action = &entry.action;
        self.who.as_deref().is_none_or(|who| who == id(&entry.who))
            && self.action.as_deref().is_none_or(|name| name == action.name())
            && self.stream.as_deref().is_none_or(|stream| action.concerns(stream))
            && self.purpose.is_none_or(|purpose| action.purposes().contains(&purpose))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

fn id(who: &Who) -> &str {
    match who {
        Who::Node => "node",
        Who::Principal { id } | Who::Client { id, .. } => id,
    }
}
