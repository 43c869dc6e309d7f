//! Keys: one JetStream stream per place, removed as a whole when its epoch closes.

mod closing;
mod epochs;
mod place;
mod rows;
mod store;

pub(super) use store::Keys;
