//! The HTTP surface: accepting connections, then routes and resources.

pub mod listener;
