//! Processes under test: the real binary, and the bare handler it is compared with.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

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
        let child = pinned(Path::new(env!("CARGO_BIN_EXE_sluice")), core)
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

    /// CPU time used so far, user and system.
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

    /// The command line against this node; what it prints.
    pub fn sluice(&self, folder: &Path, args: &[&str]) -> Result<serde_json::Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["--server", &format!("http://127.0.0.1:{}", self.port), "-o", "json"])
            .args(["--token-file"])
            .arg(folder.join("admin.token"))
            .args(args)
            .output()?;
        ensure!(output.status.success(), "sluice {args:?} failed");
        Ok(serde_json::from_slice(&output.stdout)?)
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
