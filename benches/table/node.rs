//! Processes under test: the real binary, and the bare handler it is compared with.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, ensure};

/// A child process that is killed when it is dropped.
pub struct Process {
    child: Child,
    pub port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A node with a stream `bench` and a token for it. Its data goes with it.
pub struct Node {
    pub process: Process,
    pub folder: tempfile::TempDir,
    pub token: String,
}

/// Serves the bare handler: reads the body, answers 204.
pub fn serve_yardstick(port: u16) -> Result<()> {
    let server = HttpServer::new(|| {
        App::new().route("/event", web::post().to(async |_: web::Bytes| HttpResponse::NoContent().finish()))
    });
    Ok(actix_web::rt::System::new().block_on(server.bind(("127.0.0.1", port))?.run())?)
}

/// The binary under test; `SLUICE_BIN` names another build.
fn binary() -> PathBuf {
    std::env::var_os("SLUICE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sluice").into(), PathBuf::from)
}

impl Process {
    /// The bare handler: this program again.
    pub async fn yardstick(core: Option<u32>) -> Result<Process> {
        let port = free_port()?;
        let me = std::env::current_exe()?;
        let child = pinned(&me, core).args(["--yardstick", &port.to_string()]).spawn()?;
        Process { child, port }.ready().await
    }

    /// The node, on the data in `folder`.
    pub async fn node(folder: &Path, core: Option<u32>) -> Result<Process> {
        let port = free_port()?;
        let child = pinned(&binary(), core)
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()?;
        Process { child, port }.ready().await
    }

    async fn ready(self) -> Result<Process> {
        let until = Instant::now() + Duration::from_secs(60);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            ensure!(Instant::now() < until, "the process does not listen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self)
    }

    /// CPU time used so far, user and system, to 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().context("no stat")?.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? * 1024)
    }
}

impl Node {
    /// A new node on an empty folder, on one core if asked.
    pub async fn start(core: Option<u32>) -> Result<Node> {
        let folder = tempfile::tempdir()?;
        let process = Process::node(folder.path(), core).await?;
        let mut node = Node { process, folder, token: String::new() };
        node.token = node.create(&["stream", "bench"]).await?;
        Ok(node)
    }

    /// Creates a stream with the command line; a token for it.
    pub async fn create(&self, args: &[&str]) -> Result<String> {
        let made = self.sluice(&[&["create"], args].concat())?;
        let credential = &made["credentials"][0];
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            credential["clientId"].as_str().context("no id")?,
            credential["clientSecret"].as_str().context("no secret")?
        );
        let url = self.url("/oauth/token");
        let answer: serde_json::Value =
            reqwest::Client::new().post(url).body(form).send().await?.json().await?;
        Ok(answer["access_token"].as_str().context("no token")?.to_owned())
    }

    /// The command line against this node; what it prints.
    pub fn sluice(&self, args: &[&str]) -> Result<serde_json::Value> {
        let output = Command::new(binary())
            .args(["--server", &self.url(""), "-o", "json", "--token-file"])
            .arg(self.folder.path().join("admin.token"))
            .args(args)
            .output()?;
        ensure!(output.status.success(), "sluice {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.process.port)
    }

    /// Fails unless the log of `bench` holds exactly `expected` events.
    pub async fn holds(&self, expected: u64) -> Result<()> {
        let request = reqwest::Client::new()
            .get(self.url("/streams/bench/events?from=earliest&follow=false"))
            .header("Accept", "application/x-ndjson")
            .bearer_auth(&self.token);
        let mut answer = request.send().await?.error_for_status()?;
        let mut found = 0_u64;
        while let Some(chunk) = answer.chunk().await? {
            found += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        ensure!(found == expected, "{expected} events were acknowledged, the log holds {found}");
        Ok(())
    }

    /// Waits until every derived stream has seen all of `bench`.
    pub async fn caught_up(&self, derived: &[String]) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(300);
        loop {
            let text = reqwest::get(self.url("/metrics")).await?.text().await?;
            let value = |name: &str, stream: &str| -> u64 {
                let start = format!("{name}{{stream=\"{stream}\"}} ");
                let line = text.lines().find_map(|line| line.strip_prefix(&start));
                line.and_then(|value| value.parse().ok()).unwrap_or(0)
            };
            let accepted = value("sluice_events_accepted_total", "bench");
            let behind = derived.iter().any(|stream| {
                ["derived", "dropped", "unreadable"]
                    .iter()
                    .map(|what| value(&format!("sluice_events_{what}_total"), stream))
                    .sum::<u64>()
                    < accepted
            });
            if !behind {
                return Ok(());
            }
            ensure!(Instant::now() < until, "a derived stream does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn pinned(program: &Path, core: Option<u32>) -> Command {
    match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
