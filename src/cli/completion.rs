//! `sluice completion`: the script that teaches a shell this command line.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::output;

/// Arguments of `sluice completion`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Shell to make the script for
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn run<C: CommandFactory>(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut C::command(), "sluice", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
