//! A node: configuration to storage to actors to HTTP, and back down in the reverse order.
//!
//! `main` and every test start a node here. `identity` makes or finds what an installation has once: its
//! master key, signing key and operator's token.

mod identity;
mod process;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use actix_web::{App, web::Data};
use anyhow::Context;

use self::identity::Identity;
use crate::{
    actors::{self, Actors, RootArgs},
    clock::Clock,
    config::Config,
    gateway::{Access, Census, Checks, Intake, IntakeArgs, Issuer, Library, Readiness, Repeats},
    http::{
        self, Admission, Doors,
        listener::{self, ListenerOptions, TlsFiles},
    },
    storage::{self, Storage, embedded::EmbeddedOptions},
    telemetry::{FatalSwitch, Meters, start_logging},
};

/// A running node.
pub struct Server {
    addr: SocketAddr,
    admin_token: Option<String>,
    token_file: PathBuf,
    fatal: FatalSwitch,
    library: Library,
    edge: Edge,
    actors: Actors,
    storage: Storage,
    janitor: JanitorBell,
}

/// The threads that serve HTTP.
struct Edge {
    handle: actix_server::ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
}

/// Rings the janitor before its time; tests do.
type JanitorBell = Arc<tokio::sync::Notify>;

/// Runs a node until it is told to stop or has to.
///
/// # Errors
///
/// When it cannot start, or had to stop because of damage: the message says what to do.
pub fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log)?;
    process::harden();
    process::keep_private();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let server = Server::start(config, Clock::system()).await?;
        tracing::info!(address = %server.addr, token_file = %server.token_file.display(), "ready");
        let reason = tokio::select! {
            signal = process::stop_signal() => { signal?; None }
            reason = server.fatal.tripped() => Some(reason),
        };
        tracing::info!("stopping");
        match reason {
            None => {
                server.stop().await;
                Ok(())
            }
            // What is acknowledged is durable, and what failed must not be tried again.
            Some(reason) => Err(anyhow::anyhow!("the node had to stop: {reason}")),
        }
    });
    // Reads that hang on a failed disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

impl Server {
    /// Starts a node on the present runtime and returns once it listens.
    ///
    /// # Errors
    ///
    /// When a folder, a key, an address or the stored data cannot be used: the message says what to do.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Server> {
        Server::start_around(config, clock, |storage| storage).await
    }

    /// As [`Server::start`], with what `around` makes of the storage. For tests whose storage fails.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_around(
        config: Config,
        clock: Clock,
        around: impl FnOnce(Storage) -> Storage,
    ) -> anyhow::Result<Server> {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let storage = around(open_storage(&config, &clock).await?);
        let identity = Identity::load(&config, &*storage.registry).await?;
        let meters = Arc::new(Meters::default());
        let fatal = FatalSwitch::default();
        follow_fatal(&storage, &fatal);
        let janitor = JanitorBell::default();
        let args = RootArgs {
            config: config.clone(),
            storage: storage.clone(),
            master: Arc::clone(&identity.master),
            audit_key: Arc::clone(&identity.audit),
            clock: clock.clone(),
            meters: Arc::clone(&meters),
            fatal: fatal.clone(),
            janitor_every: JANITOR_EVERY,
            janitor_bell: Arc::clone(&janitor),
        };
        let actors = actors::start(args).await.context("contracts and streams cannot be read")?;
        let doors = doors(&config, &storage, &actors, &identity, &clock, meters, &fatal)?;
        let library = doors.library.clone();
        let (addr, edge) = serve_http(&config, doors)?;
        Ok(Server {
            addr,
            admin_token: identity.admin_token,
            token_file: identity.token_file,
            fatal,
            library,
            edge,
            actors,
            storage,
            janitor,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The operator's token, as the data folder has it; empty when an operator removed the file.
    #[must_use]
    pub fn admin_token(&self) -> String {
        self.admin_token.clone().unwrap_or_default()
    }

    /// Runs a pass of the janitor now.
    pub fn ring_janitor(&self) {
        self.janitor.notify_one();
    }

    /// What is stored. For tests that look behind the doors.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Stops accepting, finishes what is in flight, and returns once everything is closed.
    pub async fn stop(self) {
        self.library.close();
        self.edge.handle.stop(true).await;
        let joined = tokio::task::spawn_blocking(move || self.edge.thread.join()).await;
        if !matches!(joined, Ok(Ok(Ok(())))) {
            tracing::warn!("the listener did not end cleanly");
        }
        self.actors.stop().await;
        self.storage.close().await;
    }
}

async fn open_storage(config: &Config, clock: &Clock) -> anyhow::Result<Storage> {
    let folder = config.node.data_dir.clone();
    process::private_folder(&folder)
        .with_context(|| format!("data folder {} cannot be made: see [node] data_dir", folder.display()))?;
    let options = EmbeddedOptions {
        reserve_bytes: config.storage.reserve_bytes,
        cache_bytes: config.storage.cache_bytes,
        memtables_bytes: config.storage.memtables_bytes,
        segment_bytes: config.storage.segment_bytes,
        ..EmbeddedOptions::default()
    };
    let (path, clock) = (folder.join("store"), clock.clone());
    tokio::task::spawn_blocking(move || storage::embedded::open(&path, options, clock))
        .await?
        .with_context(|| format!("data folder {} cannot be opened", folder.display()))
}

/// A failed write must stop the node wherever it happened.
fn follow_fatal(storage: &Storage, fatal: &FatalSwitch) {
    let (mut stored, fatal) = (storage.fatal.clone(), fatal.clone());
    tokio::spawn(async move {
        if let Ok(reason) = stored.wait_for(Option::is_some).await {
            fatal.trip(reason.as_deref().unwrap_or("storage failed"));
        }
    });
}

fn doors(
    config: &Config,
    storage: &Storage,
    actors: &Actors,
    identity: &Identity,
    clock: &Clock,
    meters: Arc<Meters>,
    fatal: &FatalSwitch,
) -> anyhow::Result<Doors> {
    let inventory = actors.registry.shared();
    let issuer = Issuer::start(&config.oidc).context("[oidc] cannot be used")?;
    let intake = Intake::new(IntakeArgs {
        inventory: Arc::clone(&inventory),
        keys: actors.keys.clone(),
        log: Arc::clone(&storage.log),
        fingerprints: identity.master.fingerprinter(),
        event_bytes_max: config.http.event_bytes_max,
        clock: clock.clone(),
        consent: config.consent,
        fatal: fatal.clone(),
        checks: Checks::new(&config.streams),
    });
    let access = Access::new(
        Arc::clone(&inventory),
        Arc::clone(&identity.signing),
        identity.admin_hash,
        config.tokens.clone(),
        issuer.map(|issuer| (issuer, actors.registry.clone())),
        actors.auditor.clone(),
        clock.clone(),
    );
    Ok(Doors {
        access,
        intake,
        library: Library::new(Arc::clone(&storage.log), inventory),
        census: Census::new(Arc::clone(&storage.log), Arc::clone(&storage.keys)),
        registry: actors.registry.clone(),
        usage: actors.usage.clone(),
        erasures: actors.erasures.clone(),
        usage_period_ms: i64::try_from(config.streams.usage_every_s).unwrap_or(0) * 1000,
        auditor: actors.auditor.clone(),
        meters,
        admission: Admission::new(config.http.in_flight_bytes_max, config.http.readers_max),
        limits: Arc::new(config.http.clone()),
        readiness: Readiness::new(storage.clone(), fatal.clone()),
        repeats: Repeats::new(Arc::clone(&storage.registry), Arc::clone(&identity.master), clock.clone()),
    })
}

/// Serves HTTP on threads of its own: actix actors need an actix system, and ractor actors must not live
/// on a worker's runtime.
fn serve_http(config: &Config, doors: Doors) -> anyhow::Result<(SocketAddr, Edge)> {
    let http = &config.http;
    let seconds = Duration::from_secs;
    let tls = match (&http.tls_certificate, &http.tls_key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert: cert.clone(), key: key.clone() }),
        _ => None,
    };
    let mut options = ListenerOptions::new(http.listen);
    if http.workers > 0 {
        options.workers = http.workers;
    }
    let options = ListenerOptions {
        tls,
        first_byte: seconds(http.first_byte_s),
        head: seconds(http.head_s),
        keep_alive: seconds(http.keep_alive_s),
        shutdown: seconds(http.shutdown_s),
        connections_max: connections_max(http.connections_max)?,
        h2_streams_max: http.h2_streams_max,
        h2_header_list_bytes: http.h2_header_list_bytes,
        ..options
    };
    let (told, bound) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("sluice-edge".to_owned()).spawn(move || {
        actix_rt::System::new().block_on(async move {
            let app = move || App::new().app_data(Data::new(doors.clone())).configure(http::routes);
            match listener::serve(options, app) {
                Ok(listening) => {
                    drop(told.send(Ok((listening.addr, listening.handle.clone()))));
                    listening.run.await
                }
                Err(error) => {
                    drop(told.send(Err(error)));
                    Ok(())
                }
            }
        })
    })?;
    let (addr, handle) = bound.recv().context("the listener ended before it began")??;
    Ok((addr, Edge { handle, thread }))
}

/// Connections must never take the files that storage needs: a table that cannot be opened stops the node.
fn connections_max(wanted: usize) -> anyhow::Result<usize> {
    let files = process::open_files_max();
    let left = files.saturating_sub(FILES_FOR_STORAGE);
    anyhow::ensure!(
        left >= CONNECTIONS_MIN,
        "the process may open {files} files, and {} are needed: raise the limit (ulimit -n)",
        FILES_FOR_STORAGE + CONNECTIONS_MIN
    );
    if left < wanted {
        tracing::warn!(
            wanted,
            left,
            "fewer connections than [http] connections_max: the limit of open files is low"
        );
    }
    Ok(wanted.min(left))
}

/// Files that tables, journals and the runtime may have open.
const FILES_FOR_STORAGE: usize = 768;
const CONNECTIONS_MIN: usize = 64;
/// Time between two passes of the janitor.
const JANITOR_EVERY: Duration = Duration::from_secs(60);
