//! `sluice serve`: the node itself, until it is told to stop. The one command that is not a client.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;

use crate::config::Config;

/// Arguments of `sluice serve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything the node keeps
    #[arg(long, env = "SLUICE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// Runs `sluice serve`. It brings its own runtime.
///
/// # Errors
///
/// The configuration is wrong, or the node cannot start or must stop.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut config = Config::load(arguments.config.as_deref())?;
    if let Some(data) = arguments.data {
        config.node.data_dir = data;
    }
    if let Some(listen) = arguments.listen {
        config.http.listen = listen;
    }
    crate::server::run(config)
}
