//! STUB, replaced when the branches meet: the calls the command line makes of the node.

use std::net::SocketAddr;

use crate::{clock::Clock, config::Config};

/// A running node.
pub struct Server {
    addr: SocketAddr,
}

/// Runs a node until it is told to stop.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("this build has no node in it")
}

impl Server {
    /// Starts a node and returns once it listens.
    pub async fn start(_config: Config, _clock: Clock) -> anyhow::Result<Server> {
        anyhow::bail!("this build has no node in it")
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The installation's first token.
    #[must_use]
    pub fn admin_token(&self) -> String {
        String::new()
    }

    /// Stops it and returns once everything accepted is durable.
    pub async fn stop(self) {}
}
