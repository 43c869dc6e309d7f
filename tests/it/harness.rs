//! Nodes for tests: [`Node`] in this process, [`ChildNode`] as the real program. Both watch the canary: when
//! one is dropped by a test that passed, no planted value may be in an answer that was not for opened
//! fields, in `/metrics`, in a log line, or in any byte of the data folder.

mod api;
pub mod canary;
pub mod people;

use std::{
    fs::File,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use sluice::{clock::Clock, config::Config, server::Server, storage::Storage};
use tokio::runtime::Handle;

pub use self::{
    api::{
        Answer, Api, EXAMPLE, PATIENCE, Stream, TOKEN_PATH, avro, avro_long, avro_text, event, lines,
        planted, planted_opened,
    },
    canary::Canary,
};

/// A node in this process, in its own folder and on its own port.
pub struct Node {
    server: Option<Server>,
    api: Arc<Api>,
    config: Config,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Deref for Node {
    type Target = Arc<Api>;

    fn deref(&self) -> &Arc<Api> {
        &self.api
    }
}

impl Node {
    pub async fn start() -> Node {
        Node::start_with(Clock::system(), |_| {}).await
    }

    /// Starts a node on what `around` makes of its storage.
    pub async fn start_around(around: impl FnOnce(Storage) -> Storage) -> Node {
        Node::start_all(Clock::system(), |_| {}, around).await
    }

    /// The same, by another clock.
    pub async fn start_around_at(clock: Clock, around: impl FnOnce(Storage) -> Storage) -> Node {
        Node::start_all(clock, |_| {}, around).await
    }

    /// The same, with other settings.
    pub async fn start_tuned(
        configure: impl FnOnce(&mut Config),
        around: impl FnOnce(Storage) -> Storage,
    ) -> Node {
        Node::start_all(Clock::system(), configure, around).await
    }

    pub async fn start_with(clock: Clock, configure: impl FnOnce(&mut Config)) -> Node {
        Node::start_all(clock, configure, |storage| storage).await
    }

    async fn start_all(
        clock: Clock,
        configure: impl FnOnce(&mut Config),
        around: impl FnOnce(Storage) -> Storage,
    ) -> Node {
        canary::capture_logs();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::in_folder(folder.path().to_owned());
        config.http.workers = 2;
        configure(&mut config);
        let server = Server::start_around(config.clone(), clock.clone(), around).await.unwrap();
        config.http.listen = server.addr();
        let base = format!("http://{}", server.addr());
        let api = Api::new(base, server.admin_token(), Arc::new(Canary::new()));
        Node { server: Some(server), api, config, clock, folder }
    }

    pub fn url(&self) -> String {
        self.api.base.clone()
    }

    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the node runs")
    }

    /// Stops the node and leaves its folder.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Stops the node if it runs, and starts it on the same folder and port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.server = Some(Server::start(self.config.clone(), self.clock.clone()).await.unwrap());
    }

    /// Restarts with another clock: a process that starts knows nothing of the time before.
    pub async fn restart_at(&mut self, clock: Clock) {
        self.clock = clock;
        self.restart().await;
    }

    /// Restarts with other settings.
    pub async fn restart_with(&mut self, configure: impl FnOnce(&mut Config)) {
        configure(&mut self.config);
        self.restart().await;
    }

    /// Stops the node and searches for what was planted. Dropping it does the same.
    async fn search(&mut self) -> Vec<String> {
        let metrics = match &self.server {
            Some(_) => self.api.get("/metrics").await.body,
            None => Vec::new(),
        };
        self.stop().await;
        let (canary, logs) = (Arc::clone(&self.api.canary), canary::captured_logs());
        canary.leaks(&metrics, &logs, self.folder.path())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let leaks = tokio::task::block_in_place(|| Handle::current().block_on(self.search()));
        if !std::thread::panicking() {
            assert!(leaks.is_empty(), "personal values got out: {leaks:#?}");
        }
    }
}

/// The real program in its own folder: it can be killed.
pub struct ChildNode {
    child: Child,
    api: Arc<Api>,
    addr: SocketAddr,
    data: PathBuf,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Deref for ChildNode {
    type Target = Arc<Api>;

    fn deref(&self) -> &Arc<Api> {
        &self.api
    }
}

impl ChildNode {
    /// Starts `sluice serve`; `settings` are environment variables.
    pub async fn start(settings: &[(&str, &str)]) -> ChildNode {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        ChildNode::start_in(folder, data, settings).await
    }

    pub async fn start_in(folder: tempfile::TempDir, data: PathBuf, settings: &[(&str, &str)]) -> ChildNode {
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let log = folder.path().join("log");
        let child = spawn(&data, &log, "127.0.0.1:0".parse().unwrap(), &settings);
        let mut node = ChildNode {
            child,
            api: Api::new(String::new(), String::new(), Arc::new(Canary::new())),
            addr: "127.0.0.1:0".parse().unwrap(),
            data,
            settings,
            folder,
        };
        node.addr = node.wait_until_ready(0).await;
        let admin = std::fs::read_to_string(node.data.join("admin.token")).unwrap();
        node.api =
            Api::new(format!("http://{}", node.addr), admin.trim().to_owned(), Arc::new(Canary::new()));
        node
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("log")).unwrap()
    }

    /// Resident memory of the process, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Ends the process as a power cut does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the program again on the same folder and port. The process before must have ended.
    pub async fn start_again(&mut self) {
        let log = self.folder.path().join("log");
        let before = self.log().len();
        self.child = spawn(&self.data, &log, self.addr, &self.settings);
        self.wait_until_ready(before).await;
    }

    async fn wait_until_ready(&mut self, log_from: usize) -> SocketAddr {
        let begun = Instant::now();
        loop {
            let log = String::from_utf8_lossy(&self.log()[log_from..]).into_owned();
            if let Some(addr) = log.lines().filter(|line| line.contains("ready")).find_map(address) {
                return addr;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "the node did not start ({ended:?}): {log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The address in a log line, as text or JSON.
fn address(line: &str) -> Option<SocketAddr> {
    let after = line.split_once("address")?.1.trim_start_matches(['=', '"', ':']);
    after.split([' ', '"', ',']).next()?.parse().ok()
}

fn spawn(data: &Path, log: &Path, listen: SocketAddr, settings: &[(String, String)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLUICE_")) {
        command.env_remove(name);
    }
    let log = File::options().create(true).append(true).open(log).unwrap();
    command
        .args(["serve", "--listen", &listen.to_string(), "--data"])
        .arg(data)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        let metrics = tokio::task::block_in_place(|| {
            Handle::current().block_on(self.api.try_send(reqwest::Method::GET, "/metrics", &[], Vec::new()))
        });
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(4000);
            eprintln!("log of the node: {}", String::from_utf8_lossy(&log[tail..]));
            return;
        }
        let metrics = metrics.map(|answer| answer.body).unwrap_or_default();
        let leaks = self.api.canary.leaks(&metrics, &self.log(), &self.data);
        assert!(leaks.is_empty(), "personal values got out: {leaks:#?}");
    }
}

/// The Python that has the packages of `tests/python/requirements.txt`.
pub fn python() -> String {
    std::env::var("SLUICE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("set SLUICE_TEST_PYTHON to a Python that has the packages of tests/python/requirements.txt")
    })
}
