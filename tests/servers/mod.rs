//! Real NATS servers on free loopback ports, gone with their guard.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sluice::storage::{
    Storage,
    jetstream::{ConnectError, JetStreamOptions, open},
};

/// One server, or three that form a cluster.
pub struct Servers {
    folder: tempfile::TempDir,
    processes: Vec<Child>,
    ports: Vec<u16>,
}

impl Servers {
    /// Starts servers; none, with a word about it, where no nats-server is given.
    pub fn start(count: usize) -> Option<Servers> {
        let Ok(program) = std::env::var("SLUICE_TEST_NATS") else {
            eprintln!("SKIPPED: SLUICE_TEST_NATS does not name a nats-server, see scripts/nats");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let held: Vec<TcpListener> =
            (0..count * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        let (clients, routes) = ports.split_at(count);
        drop(held);
        let mut servers = Servers { folder, processes: Vec::new(), ports: clients.to_vec() };
        for (index, client) in clients.iter().enumerate() {
            let file = servers.configure(index, *client, routes);
            let log = fs::File::create(file.with_extension("log")).unwrap();
            let child = Command::new(&program)
                .arg("-c")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            servers.processes.push(child);
        }
        Some(servers)
    }

    fn configure(&self, index: usize, port: u16, routes: &[u16]) -> std::path::PathBuf {
        let store = self.folder.path().join(format!("store-{index}"));
        let mut text = format!(
            "server_name: n{index}\nlisten: \"127.0.0.1:{port}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
            store.display()
        );
        if routes.len() > 1 {
            let others: Vec<String> =
                routes.iter().map(|route| format!("\"nats://127.0.0.1:{route}\"")).collect();
            let routes = others.join(", ");
            let own = routes.split(", ").nth(index).unwrap().replace("nats://", "");
            writeln!(text, "cluster {{ name: c, listen: {own}, routes: [{routes}] }}").unwrap();
        }
        let file = self.folder.path().join(format!("n{index}.conf"));
        fs::write(&file, text).unwrap();
        file
    }

    pub fn url(&self) -> String {
        let urls: Vec<String> = self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    /// Opens a storage on them, once they have found one another.
    pub async fn open(&self, replicas: usize) -> Storage {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.try_open(replicas).await {
                Ok(storage) => return storage,
                Err(error) if Instant::now() > until => panic!("{error:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub async fn try_open(&self, replicas: usize) -> Result<Storage, ConnectError> {
        let url = self.url();
        let options = JetStreamOptions {
            url,
            credentials: None,
            ca_certificate: None,
            replicas,
            event_bytes_max: 1 << 20,
        };
        open(options).await
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
