//! `sluice demo`: a throw-away node, three streams and a handful of events, shown side by side.
//!
//! Everything goes over real HTTP with the same clients the other commands use.

mod board;
mod scene;

use std::{fs, os::unix::fs::DirBuilderExt, path::PathBuf};

use anyhow::{Context, Result};

use self::scene::Scene;
use super::{
    output,
    settings::{Server, Settings},
    stop,
};
use crate::{clock::Clock, config::Config, server};

/// Arguments of `sluice demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// End after the display instead of running on
    #[arg(long)]
    once: bool,
    /// Makes the events the same in every run
    #[arg(long, default_value_t = 12)]
    seed: u64,
}

/// Runs `sluice demo`.
///
/// # Errors
///
/// The node does not start, or does not do what the demo shows.
pub async fn run(arguments: Arguments) -> Result<()> {
    let folder = Folder::fresh()?;
    let config = Config::in_folder(folder.data());
    let node =
        server::Server::start(config, Clock::system()).await.context("cannot start the demo's node")?;
    let shown = tokio::select! {
        shown = show(&node, &folder, &arguments) => shown,
        () = stop::asked() => Ok(()),
    };
    node.stop().await;
    shown
}

async fn show(node: &server::Server, folder: &Folder, arguments: &Arguments) -> Result<()> {
    let address = format!("http://{}", node.addr());
    let settings = Settings::for_node(Server::parse(&address)?, node.admin_token(), folder.home());
    let mut scene = Scene::set(&settings, arguments.seed).await?;
    let rows = scene.play().await?;
    output::print(&board::text(&rows, scene.masked_name()))?;
    if arguments.once {
        return Ok(());
    }
    output::print(&next_commands(&address, folder))?;
    scene.run_on().await
}

fn next_commands(address: &str, folder: &Folder) -> String {
    let token = folder.data().join("admin.token");
    format!(
        "\nThe node runs on and gets one event a second. Try next, in another terminal:\n\n\
         \x20 export SLUICE_SERVER={address}\n\
         \x20 export SLUICE_TOKEN_FILE={}\n\
         \x20 export SLUICE_HOME={}\n\
         \x20 sluice list streams\n\
         \x20 sluice get contract {}\n\
         \x20 sluice listen {} --from earliest --count 3\n\
         \x20 sluice listen {}\n\
         \x20 sluice create stream mine --save && sluice simulate mine --rate 100 --count 1000\n\n\
         Ctrl-C stops the node and removes its folder.\n",
        quoted(&token),
        quoted(&folder.home()),
        super::example_events::EXAMPLE_REF,
        scene::SOURCE,
        scene::OPENED,
    )
}

/// A path as a shell reads it.
fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A folder of its own for one demo, removed with everything in it at the end.
struct Folder(PathBuf);

impl Folder {
    fn fresh() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("sluice-demo-{:08x}", rand::random::<u32>()));
        // Not recursive: a folder that somebody else made first is an error, not a place for keys.
        fs::DirBuilder::new().mode(0o700).create(&path).context("cannot make a temporary folder")?;
        Ok(Folder(path))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            output::remark(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
