//! What an installation has once: its master key, the key that signs tokens, the operator's token.
//!
//! ```text
//! <data>/master.key    one line, mode 0600, made on first start ([keys] master = "file:...")
//! <data>/admin.token   one line, mode 0600, made on first start; only its hash is stored
//! registry  secret/check-value      recognises a wrong master key
//!           secret/token-signing    the signing key, wrapped under the master key
//!           secret/audit-signing    the key of audit checkpoints, wrapped under the master key
//!           principal/admin         hash of the operator's token
//! ```
//! A master key is made only for an empty store: with data there, a missing key is an error, since a new
//! one would leave everything sealed for ever.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use zeroize::Zeroizing;

use crate::{
    config::{Config, MasterSource},
    crypto::{AuditKey, ClientSecret, MasterKey, SigningKey},
    storage::Registry,
};

/// The identity of an installation, opened.
pub(super) struct Identity {
    pub master: Arc<MasterKey>,
    pub signing: Arc<SigningKey>,
    pub audit: Arc<AuditKey>,
    pub admin_hash: [u8; 32],
    pub admin_token: Option<String>,
    pub token_file: PathBuf,
}

impl Identity {
    /// Finds the identity, or makes it on the first start.
    pub(super) async fn load(config: &Config, registry: &dyn Registry) -> anyhow::Result<Identity> {
        let data_dir = &config.node.data_dir;
        let check = registry.get(SECRET, CHECK_VALUE).await?;
        let master = load_master(config, check.is_none())?;
        match check {
            None => {
                let value = master.check_value().to_vec();
                registry.put(SECRET, CHECK_VALUE, 0, value.into()).await?;
            }
            Some(stored) => ensure!(
                stored.body[..] == master.check_value(),
                "this is not the master key of the data folder {}: put back the one it was made with, \
                 or see [keys] master",
                data_dir.display()
            ),
        }
        let signing = load_signing(&master, registry).await?;
        let audit = load_audit(&master, registry).await?;
        let token_file = data_dir.join(TOKEN_FILE);
        let (admin_hash, admin_token) = load_admin(registry, &token_file).await?;
        Ok(Identity {
            master: Arc::new(master),
            signing: Arc::new(signing),
            audit: Arc::new(audit),
            admin_hash,
            admin_token,
            token_file,
        })
    }
}

fn load_master(config: &Config, may_create: bool) -> anyhow::Result<MasterKey> {
    match config.keys.master_source(&config.node.data_dir)? {
        MasterSource::Environment(name) => {
            let text = std::env::var(&name)
                .with_context(|| format!("[keys] master names the variable {name}, which is not set"))?;
            MasterKey::from_text(&Zeroizing::new(text)).with_context(|| format!("master key in {name}"))
        }
        MasterSource::File(path) if path.exists() => {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("master key {} cannot be read", path.display()))?;
            MasterKey::from_text(&Zeroizing::new(text))
                .with_context(|| format!("master key {}", path.display()))
        }
        MasterSource::File(path) if may_create => {
            let master = MasterKey::generate();
            let mut text = master.to_text();
            text.push('\n');
            write_private(&path, &text)?;
            Ok(master)
        }
        MasterSource::File(path) => bail!(
            "master key {} is missing, and the data folder was made with one: put it back. Without it \
             nothing that is sealed can be opened again",
            path.display()
        ),
    }
}

async fn load_signing(master: &MasterKey, registry: &dyn Registry) -> anyhow::Result<SigningKey> {
    if let Some(stored) = registry.get(SECRET, SIGNING).await? {
        return SigningKey::unwrap(master, &stored.body).context("the token signing key is damaged");
    }
    let signing = SigningKey::generate();
    registry.put(SECRET, SIGNING, 0, signing.wrapped(master).into()).await?;
    Ok(signing)
}

async fn load_audit(master: &MasterKey, registry: &dyn Registry) -> anyhow::Result<AuditKey> {
    if let Some(stored) = registry.get(SECRET, AUDIT).await? {
        return AuditKey::unwrap(master, &stored.body).context("the audit signing key is damaged");
    }
    let key = AuditKey::generate();
    registry.put(SECRET, AUDIT, 0, key.wrapped(master).into()).await?;
    Ok(key)
}

async fn load_admin(registry: &dyn Registry, file: &Path) -> anyhow::Result<([u8; 32], Option<String>)> {
    if let Some(stored) = registry.get(PRINCIPAL, ADMIN).await? {
        let hash = stored.body[..].try_into().context("the operator's token hash is damaged")?;
        let token = std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
        return Ok((hash, token));
    }
    // The file first: a token that is stored but was never told could not be used by anybody.
    let token = ClientSecret::generate();
    write_private(file, &format!("{}\n", token.text()))?;
    registry.put(PRINCIPAL, ADMIN, 0, token.hash().to_vec().into()).await?;
    Ok((token.hash(), Some(token.text().to_owned())))
}

/// Writes `text` to `path` for this user only, durable when it returns.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let unfinished = path.with_extension("unfinished");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

const SECRET: &str = "secret";
const CHECK_VALUE: &str = "check-value";
const SIGNING: &str = "token-signing";
const AUDIT: &str = "audit-signing";
const PRINCIPAL: &str = "principal";
const ADMIN: &str = "admin";
const TOKEN_FILE: &str = "admin.token";
