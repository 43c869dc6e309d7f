//! Stream credentials kept between commands: `$SLUICE_HOME/streams/<name>.json`, mode 0600.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{failure::Failure, settings::Settings};
use crate::domain::StreamName;

/// What a stream's producer or consumer signs in with. Holds a secret: neither Debug nor Display.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: String,
}

/// `--client-id` and `--client-secret` of the commands that read or write a stream.
#[derive(clap::Args)]
pub struct CredentialArguments {
    /// Client id of the stream, when its credentials were not saved
    #[arg(long, env = "SLUICE_CLIENT_ID", requires = "client_secret", value_name = "ID")]
    client_id: Option<String>,
    /// Client secret that belongs to it
    #[arg(
        long,
        env = "SLUICE_CLIENT_SECRET",
        hide_env_values = true,
        requires = "client_id",
        value_name = "SECRET"
    )]
    client_secret: Option<String>,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Saved {
    stream: String,
    /// The node that issued them; another one will not know them.
    server: String,
    #[serde(flatten)]
    credentials: Credentials,
}

/// Credentials and where they came from, for the message when they are not accepted.
pub struct Found {
    pub credentials: Credentials,
    pub origin: String,
}

impl CredentialArguments {
    /// The credentials for `stream`: those given, else those saved.
    ///
    /// # Errors
    ///
    /// None were given and none are saved, or the saved file is damaged.
    pub fn find(self, settings: &Settings, stream: &StreamName) -> Result<Found, Failure> {
        if let (Some(client_id), Some(client_secret)) = (self.client_id, self.client_secret) {
            let credentials = Credentials { client_id, client_secret };
            return Ok(Found { credentials, origin: "--client-id and --client-secret".to_owned() });
        }
        saved(settings, stream)
    }
}

fn saved(settings: &Settings, stream: &StreamName) -> Result<Found, Failure> {
    let path = path_of(settings, stream)?;
    let Some(saved) = read(&path)? else {
        return Err(Failure::new(
            format!("no credentials of stream {stream}: there is no {}", path.display()),
            "give --client-id and --client-secret, or create the stream with --save",
        ));
    };
    let mut origin = path.display().to_string();
    if saved.server != settings.server.to_string() {
        origin.push_str(&format!(", made by {}", super::failure::printable(&saved.server)));
    }
    Ok(Found { credentials: saved.credentials, origin })
}

/// Makes the folder ready before a stream is created, so that its only copy of a secret is not lost.
///
/// # Errors
///
/// The folder cannot be made, or holds credentials of an equally named stream of another node.
pub fn prepare(settings: &Settings, stream: &StreamName) -> Result<(), Failure> {
    let path = path_of(settings, stream)?;
    if let Some(saved) = read(&path)?
        && saved.server != settings.server.to_string()
    {
        return Err(Failure::new(
            format!("{} holds the credentials of that stream on another node", path.display()),
            "keep them apart with another SLUICE_HOME, or remove the file",
        ));
    }
    let folder = path.parent().expect("the path ends in streams/<name>.json");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| cannot_save(folder, &error))
}

/// Saves the credentials of `stream` and returns the file's path.
///
/// # Errors
///
/// The file cannot be written.
pub fn save(settings: &Settings, stream: &StreamName, credentials: &Credentials) -> Result<PathBuf, Failure> {
    prepare(settings, stream)?;
    let path = path_of(settings, stream)?;
    let saved = Saved {
        stream: stream.to_string(),
        server: settings.server.to_string(),
        credentials: credentials.clone(),
    };
    let text = serde_json::to_vec_pretty(&saved).expect("strings serialise");
    write_private(&path, &text).map_err(|error| cannot_save(&path, &error))?;
    Ok(path)
}

/// Forgets the credentials of a stream that this node deleted. Those of another node stay.
///
/// # Errors
///
/// The file cannot be read or removed.
pub fn forget(settings: &Settings, stream: &StreamName) -> Result<(), Failure> {
    let Ok(path) = path_of(settings, stream) else { return Ok(()) };
    match read(&path)? {
        Some(saved) if saved.server == settings.server.to_string() => {
            fs::remove_file(&path).map_err(|error| {
                Failure::new(format!("cannot remove {}: {error}", path.display()), "remove the file by hand")
            })
        }
        _ => Ok(()),
    }
}

fn path_of(settings: &Settings, stream: &StreamName) -> Result<PathBuf, Failure> {
    let home = settings.home.as_ref().ok_or_else(|| {
        Failure::new("there is no folder for saved credentials", "set SLUICE_HOME to a folder of your own")
    })?;
    Ok(home.join("streams").join(format!("{stream}.json")))
}

fn read(path: &Path) -> Result<Option<Saved>, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            return Err(Failure::new(what, "give --client-id and --client-secret instead"));
        }
    };
    // serde_json's message may quote the file, which holds a secret.
    serde_json::from_slice(&bytes).map(Some).map_err(|_| {
        Failure::new(format!("{} is not a credentials file", path.display()), "remove it and save anew")
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("json.{}", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&fresh)))
}

fn cannot_save(path: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot save credentials in {}: {error}", path.display());
    Failure::new(what, "set SLUICE_HOME to a folder you can write")
}

#[cfg(test)]
mod tests;
