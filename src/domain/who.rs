//! Who did something, by the names that the audit log may hold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::StreamName;

/// The author of a change or a read. Ids only: what belongs to a person stays with the principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Who {
    /// Sluice itself: a retention that ended, an epoch that closed.
    Node,
    /// A user or a service account, by its id. The operator's token is principal `admin`.
    Principal {
        #[schema(value_type = String)]
        id: Arc<str>,
    },
    /// A client with the credentials of a stream.
    Client {
        #[schema(value_type = String)]
        id: Arc<str>,
        stream: StreamName,
    },
}

impl Who {
    /// The holder of the operator's token.
    #[must_use]
    pub fn operator() -> Who {
        Who::Principal { id: "admin".into() }
    }
}
