//! The audit log: what is in it, that nothing is done without it, and that nobody changes it unseen.

use std::{
    collections::HashSet,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, Timestamp},
    domain::{RecordBatch, StreamName},
    storage::{AppendError, AppendOptions, Appended, Bounds, Chunk, EventLog, Hint, LogError, Unavailable},
};
use tokio::sync::watch;

use crate::harness::{Answer, Api, ChildNode, EXAMPLE, Node, PATIENCE, planted};

/// A log with trouble, while a switch is on.
pub(crate) struct TroubledLog {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) fails: Arc<AtomicBool>,
    pub(crate) hangs: Arc<AtomicBool>,
    /// How long a read of a megabyte takes: pages of a check are read so, and nothing else is.
    pub(crate) page: Duration,
}

impl TroubledLog {
    /// Fails while the switch is on.
    pub(crate) fn failing(log: &Arc<dyn EventLog>, fails: &Arc<AtomicBool>) -> Arc<TroubledLog> {
        let (log, fails) = (Arc::clone(log), Arc::clone(fails));
        Arc::new(TroubledLog { log, fails, hangs: Arc::default(), page: Duration::ZERO })
    }

    /// Reads pages of a megabyte slowly.
    pub(crate) fn slow(log: &Arc<dyn EventLog>, page: Duration) -> Arc<TroubledLog> {
        Arc::new(TroubledLog { log: Arc::clone(log), fails: Arc::default(), hangs: Arc::default(), page })
    }

    /// Answers nothing while the switch is on.
    fn hanging(log: &Arc<dyn EventLog>, hangs: &Arc<AtomicBool>) -> Arc<TroubledLog> {
        let (log, hangs) = (Arc::clone(log), Arc::clone(hangs));
        Arc::new(TroubledLog { log, fails: Arc::default(), hangs, page: Duration::ZERO })
    }
}

#[async_trait]
impl EventLog for TroubledLog {
    async fn create(&self, stream: &StreamName) -> Result<(), LogError> {
        self.log.create(stream).await
    }

    async fn delete(&self, stream: &StreamName) -> Result<(), LogError> {
        self.log.delete(stream).await
    }

    async fn append(
        &self,
        stream: &StreamName,
        batch: RecordBatch,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        if *stream == StreamName::audit_log() && self.fails.load(Ordering::SeqCst) {
            return Err(AppendError::Unavailable(Unavailable::DiskFull));
        }
        while *stream == StreamName::audit_log() && self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.log.append(stream, batch, options).await
    }

    async fn read(&self, stream: &StreamName, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, LogError> {
        if max_bytes == 1 << 20 && *stream != StreamName::audit_log() {
            tokio::time::sleep(self.page).await;
        }
        self.log.read(stream, from, max_bytes).await
    }

    async fn bounds(&self, stream: &StreamName) -> Result<Bounds, LogError> {
        self.log.bounds(stream).await
    }

    async fn last(&self, stream: &StreamName) -> Result<Option<(u64, Chunk)>, LogError> {
        self.log.last(stream).await
    }

    fn tail(&self, stream: &StreamName) -> watch::Receiver<u64> {
        self.log.tail(stream)
    }

    async fn trim(&self, stream: &StreamName, older_than: Timestamp) -> Result<u64, LogError> {
        self.log.trim(stream, older_than).await
    }

    async fn put_hint(&self, derived: &StreamName, hint: Hint) -> Result<(), LogError> {
        self.log.put_hint(derived, hint).await
    }

    async fn hint(&self, derived: &StreamName) -> Result<Option<Hint>, LogError> {
        self.log.hint(derived).await
    }
}

pub(crate) async fn get(api: &Api, path: &str) -> Answer {
    api.admin(Method::GET, &format!("/api/v1/audit/{path}"), &Value::Null).await
}

pub(crate) async fn entries(api: &Api, query: &str) -> Vec<Value> {
    let answer = get(api, &format!("entries?limit=1000&{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["entries"].as_array().unwrap().clone()
}

async fn kinds(api: &Api, query: &str) -> Vec<String> {
    let name = |entry: &Value| entry["action"]["type"].as_str().unwrap().to_owned();
    entries(api, query).await.iter().map(name).collect()
}

pub(crate) async fn until(api: &Api, query: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let found = entries(api, query).await;
        if found.len() >= count {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{query}: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn schema(handle: &str) -> Value {
    json!({
        "type": "record", "name": "Example", "namespace": handle,
        "fields": [
            {"name": "strmMeta", "type": {"type": "record", "name": "Meta", "fields": [
                {"name": "eventContractRef", "type": "string"},
                {"name": "nonce", "type": ["null", "int"], "default": null},
                {"name": "timestamp", "type": ["null", "long"], "default": null},
                {"name": "keyLink", "type": ["null", "string"], "default": null},
                {"name": "billingId", "type": ["null", "string"], "default": null},
                {"name": "consentLevels", "type": {"type": "array", "items": "int"}}
            ]}},
            {"name": "user", "type": "string"},
            {"name": "mail", "type": "string"}
        ]
    })
}

fn contract() -> Value {
    json!({"keyField": "user", "piiFields": {"user": 1, "mail": 2}})
}

async fn make_contract(api: &Api, reference: &str) -> Answer {
    let schema = schema("acme").to_string();
    let request = json!({"ref": reference, "schema": schema, "contract": contract().to_string()});
    api.admin(Method::POST, "/api/v1/contracts", &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_one_entry_and_a_refused_one_leaves_none() {
    let node = Node::start().await;
    let clicks = node.create_stream("clicks").await;
    let one = node.derive(&clicks, &[1]).await;
    assert_eq!(
        kinds(&node, "").await,
        ["stream_created", "token_granted", "stream_created", "token_granted"]
    );
    let all = entries(&node, "").await;
    for (index, entry) in all.iter().enumerate() {
        assert_eq!(entry["index"], index);
    }
    assert_eq!(all[2]["who"], json!({"kind": "principal", "id": "admin"}));
    assert_eq!(all[2]["action"]["source"], "clicks");
    assert_eq!(all[2]["action"]["purposes"], json!([1]));
    assert_eq!(all[3]["who"]["id"], one.client_id);
    let before = all.len();
    let post = async |path: &str, body: &Value| node.admin(Method::POST, path, body).await.status;
    assert_eq!(post("/api/v1/streams", &json!({"name": "clicks"})).await, 409);
    assert_eq!(post("/api/v1/streams", &json!({"name": "_audit"})).await, 400);
    assert_eq!(post("/api/v1/contracts/acme/none/1.0.0/activate", &Value::Null).await, 404);
    assert_eq!(node.admin(Method::DELETE, "/api/v1/streams/clicks", &Value::Null).await.status, 409);
    assert_eq!(node.admin(Method::DELETE, "/api/v1/streams/_audit", &Value::Null).await.status, 404);
    assert_eq!(entries(&node, "").await.len(), before, "what is refused is no change");
    let made = make_contract(&node, "acme/click/1.0.0").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(post("/api/v1/contracts/acme/click/1.0.0/activate", &Value::Null).await, 200);
    assert_eq!(post("/api/v1/contracts/acme/click/1.0.0/archive", &Value::Null).await, 200);
    assert_eq!(make_contract(&node, "acme/click/1.0.1").await.status, 201);
    let gone = node.admin(Method::DELETE, "/api/v1/contracts/acme/click/1.0.1", &Value::Null).await;
    assert_eq!(gone.status, 204);
    let gone = node.admin(Method::DELETE, "/api/v1/streams/clicks?recursive=true", &Value::Null).await;
    assert_eq!(gone.status, 204);
    assert_eq!(
        kinds(&node, &format!("from={before}")).await,
        [
            "contract_created",
            "contract_stepped",
            "contract_stepped",
            "contract_created",
            "contract_deleted",
            "stream_deleted",
            "stream_deleted"
        ]
    );
    let answer = node.get("/api/v1/audit/entries").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "api_token_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_asked_by_who_what_stream_purpose_and_time_page_by_page() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let clicks = node.create_stream("clicks").await;
    clock.turn(1_000);
    node.derive(&clicks, &[1]).await;
    node.derive(&clicks, &[1, 2]).await;
    assert_eq!(entries(&node, "who=admin").await.len(), 3);
    assert_eq!(entries(&node, &format!("who={}", clicks.client_id)).await.len(), 1);
    assert_eq!(entries(&node, "action=token_granted").await.len(), 3);
    assert_eq!(entries(&node, "stream=clicks").await.len(), 4, "its own and what derives from it");
    assert_eq!(entries(&node, "purpose=2").await.len(), 2);
    assert_eq!(entries(&node, "since=1800000001000").await.len(), 4);
    assert_eq!(entries(&node, "until=1800000001000").await.len(), 2);
    assert_eq!(kinds(&node, "purpose=2&action=stream_created").await, ["stream_created"]);
    let (mut next, mut seen) = (Some(0), Vec::new());
    while let Some(from) = next {
        let page = get(&node, &format!("entries?limit=4&from={from}")).await.json();
        seen.extend(page["entries"].as_array().unwrap().iter().map(|e| e["index"].as_u64().unwrap()));
        next = page["next"].as_u64();
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    for query in ["limit=0", "limit=1001", "from=x", "color=red", "since=soon"] {
        assert_eq!(get(&node, &format!("entries?{query}")).await.code(), "parameter_invalid", "{query}");
    }
    for path in
        ["proof/6", "proof/0?size=7", "consistency?from=0", "consistency?from=3&to=2", "checkpoint?size=7"]
    {
        let answer = get(&node, path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "audit_out_of_range"), "{path}");
    }
    assert_eq!(get(&node, "proof/x").await.code(), "parameter_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_readers_and_failed_logins_are_written_without_flooding_the_log() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let node = Node::start_with(clock.clone(), |config| config.tokens.failures_per_minute = 1000).await;
    let clicks = node.create_stream("clicks").await;
    for _ in 0..4 {
        clicks.log_in().await;
    }
    assert_eq!(entries(&node, "action=token_granted").await.len(), 1);
    clock.turn(60 * 60 * 1000);
    clicks.log_in().await;
    let grants = entries(&node, "action=token_granted").await;
    assert_eq!(grants.iter().map(|e| e["action"]["repeated"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 4]);

    for _ in 0..5 {
        clicks.read().await;
    }
    assert_eq!(entries(&node, "action=reader_attached").await.len(), 1);
    // The last connection may take a moment to be seen as gone.
    tokio::time::sleep(Duration::from_millis(300)).await;
    clock.turn(61_000);
    let detached = until(&node, "action=reader_detached", 1).await;
    assert_eq!(detached[0]["action"]["connections"], 5);

    let wrong = |id: &str| format!("grant_type=client_credentials&client_id={id}&client_secret=wrong");
    for at in 0..20 {
        assert_eq!(node.token_request(&wrong(&clicks.client_id), &[]).await.status, 401);
        assert_eq!(node.token_request(&wrong(&format!("stranger-{at}")), &[]).await.status, 401);
    }
    until(&node, "action=login_failed", 2).await;
    clock.turn(61_000);
    let begun = Instant::now();
    loop {
        let failed = entries(&node, "action=login_failed").await;
        let sum = |known: bool| {
            let of = failed.iter().filter(|e| e["action"]["client"].is_null() != known);
            of.map(|e| e["action"]["count"].as_u64().unwrap()).sum::<u64>()
        };
        if (sum(true), sum(false)) == (20, 20) {
            assert!(failed.len() <= 6, "{failed:?}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{failed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let text = get(&node, "entries").await.text();
    assert!(!text.contains("stranger"), "names that strangers choose stay out");
}

/// T41.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_log_nothing_is_changed_granted_or_read_and_events_are_taken() {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let node = Node::start_around(move |mut storage| {
        storage.log = TroubledLog::failing(&storage.log, &switch);
        storage
    })
    .await;
    let clicks = node.create_stream("clicks").await;
    assert_eq!(make_contract(&node, "acme/click/1.0.0").await.status, 201);
    let made = node.admin(Method::POST, "/api/v1/streams", &json!({"name": "fresh"})).await.json();
    let text = |at: &str| made.pointer(at).unwrap().as_str().unwrap().to_owned();
    let (id, secret) = (text("/credentials/0/clientId"), text("/credentials/0/clientSecret"));
    let fresh = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let before = entries(&node, "").await.len();
    fails.store(true, Ordering::SeqCst);
    let call = async |method, path: &str, body: Value| {
        let answer = node.admin(method, path, &body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
        answer.code()
    };
    for _ in 0..3 {
        let contract = "/api/v1/contracts/acme/click/1.0.0";
        assert_eq!(call(Method::POST, "/api/v1/streams", json!({"name": "more"})).await, "store_unavailable");
        call(Method::DELETE, "/api/v1/streams/clicks", Value::Null).await;
        call(Method::POST, &format!("{contract}/activate"), Value::Null).await;
        call(Method::DELETE, contract, Value::Null).await;
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            clicks.client_id, clicks.client_secret
        );
        assert_eq!(node.token_request(&form, &[]).await.status, 200, "an entry of this hour covers it");
        let refused = node.token_request(&fresh, &[]).await;
        assert_eq!((refused.status, &refused.json()["error"]), (503, &json!("temporarily_unavailable")));
        let reader = clicks.read_as("?from=earliest&follow=false", &[]).await;
        assert_eq!((reader.status, reader.code().as_str()), (503, "audit_unavailable"));
        clicks.accept(&planted(&node.canary, &[1])).await;
    }
    assert_eq!(node.admin(Method::GET, "/api/v1/streams/clicks", &Value::Null).await.status, 200);
    assert_eq!(node.admin(Method::GET, "/api/v1/streams/more", &Value::Null).await.status, 404);
    let state = node.admin(Method::GET, "/api/v1/contracts/acme/click/1.0.0", &Value::Null).await;
    assert_eq!(state.json()["state"], "DRAFT");
    assert_eq!(entries(&node, "").await.len(), before);
    fails.store(false, Ordering::SeqCst);
    node.create_stream("more").await;
    assert_eq!(clicks.read().await.len(), 3, "every event was taken");
    assert_eq!(node.token_request(&fresh, &[]).await.status, 200);
    assert_eq!(entries(&node, "action=stream_created").await.len(), 3);
}

/// T41, a log that hangs: orders are refused after a bounded time, and nobody else waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_hangs_refuses_orders_in_time_and_events_are_taken_meanwhile() {
    let hangs = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&hangs);
    let node = Node::start_around(move |mut storage| {
        storage.log = TroubledLog::hanging(&storage.log, &switch);
        storage
    })
    .await;
    let clicks = node.create_stream("clicks").await;
    hangs.store(true, Ordering::SeqCst);
    let (begun, api, canary) = (Instant::now(), Arc::clone(&node), Arc::clone(&node.canary));
    let body = json!({"name": "more"});
    let order = tokio::spawn(async move { api.admin(Method::POST, "/api/v1/streams", &body).await });
    let mut slowest = Duration::ZERO;
    let mut taken = 0;
    while !order.is_finished() {
        let one = Instant::now();
        clicks.accept(&planted(&canary, &[1])).await;
        slowest = slowest.max(one.elapsed());
        taken += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = order.await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{}", refused.text());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(taken > 20 && slowest < Duration::from_secs(4), "{taken} events, the slowest took {slowest:?}");
    assert_eq!(node.admin(Method::GET, "/api/v1/streams/more", &Value::Null).await.status, 404);
    hangs.store(false, Ordering::SeqCst);
    node.create_stream("later").await;
    assert_eq!(node.admin(Method::GET, "/api/v1/streams/more", &Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_keeps_every_answered_change_in_the_log_and_the_tree() {
    let mut node = ChildNode::start(&[]).await;
    let mut answered: HashSet<String> = HashSet::new();
    let mut random = StdRng::seed_from_u64(9);
    let mut earlier: Option<Value> = None;
    for round in 0..4 {
        let makers: Vec<_> = (0..4)
            .map(|maker| {
                let api = Arc::clone(&node);
                tokio::spawn(async move {
                    let mut made = Vec::new();
                    for at in 0.. {
                        let name = format!("s{round}-{maker}-{at}");
                        let body = json!({"name": name}).to_string().into_bytes();
                        let authorization = format!("Bearer {}", api.admin);
                        let headers = [("authorization", authorization.as_str())];
                        match api.try_send(Method::POST, "/api/v1/streams", &headers, body).await {
                            Some(answer) if answer.status == 201 => made.push(name),
                            _ => break,
                        }
                    }
                    made
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(200..700))).await;
        node.kill();
        for maker in makers {
            answered.extend(maker.await.unwrap());
        }
        node.start_again().await;
        let logged = entries(&node, "action=stream_created").await;
        let logged: Vec<_> =
            logged.iter().map(|e| e["action"]["stream"].as_str().unwrap().to_owned()).collect();
        for name in &answered {
            assert_eq!(logged.iter().filter(|logged| *logged == name).count(), 1, "{name}");
        }
        if let Some(earlier) = earlier {
            let from = earlier["size"].as_u64().unwrap();
            let proof = get(&node, &format!("consistency?from={from}")).await.json();
            assert_eq!(proof["fromCheckpoint"], earlier["checkpoint"], "the log before is its beginning");
        }
        earlier = Some(get(&node, "checkpoint").await.json());
    }
    assert!(answered.len() > 8, "there were changes: {}", answered.len());
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal { server: node.base.clone(), token: node.admin.clone(), home };
    terminal.ok("audit export --out out");
    terminal.ok("audit verify out");
}

/// A person's terminal.
pub(crate) struct Terminal {
    pub(crate) server: String,
    pub(crate) token: String,
    pub(crate) home: tempfile::TempDir,
}

impl Terminal {
    pub(crate) fn of(node: &Node) -> Terminal {
        Terminal { server: node.url(), token: node.admin.clone(), home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .env("SLUICE_SERVER", &self.server)
            .env("SLUICE_TOKEN", &self.token)
            .env("SLUICE_HOME", self.home.path())
            .current_dir(self.home.path())
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "sluice {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// T42, by the program; `audit::verify` has the thousand mutations.
#[tokio::test(flavor = "multi_thread")]
async fn an_exported_log_is_verified_without_a_server_and_tampering_is_named() {
    let mut node = Node::start().await;
    let clicks = node.create_stream("clicks").await;
    let terminal = Terminal::of(&node);
    std::fs::write(terminal.path("earlier"), terminal.ok("audit checkpoint")).unwrap();
    for level in 1..6 {
        node.derive(&clicks, &[level]).await;
    }
    assert!(terminal.ok("audit export --out out").starts_with("12 entries exported"));
    terminal.ok("audit prove 5 --out proof");
    terminal.ok("audit prove --since-size 2 --out grown");
    terminal.ok("audit export --out whole");
    let table = terminal.ok("audit list --action stream_created --purpose 3");
    assert!(table.contains("clicks-3") && table.lines().count() == 2, "{table}");
    assert_eq!(terminal.ok("audit list -o plain").lines().count(), 12);
    node.stop().await;

    let offline = terminal.ok("audit verify out --checkpoint earlier");
    assert_eq!(offline, "12 entries are as they were signed (2 checkpoints)\n");
    assert!(
        terminal.ok("audit verify --proof proof --key out/key").starts_with("entry 5 is in the log of 12")
    );
    assert!(terminal.ok("audit verify --proof grown --key out/key").contains("begins with the log of 2"));

    let entries = terminal.path("out/entries.jsonl");
    let original = std::fs::read(&entries).unwrap();
    let at = original.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(6).unwrap().0 + 40;
    edit(&entries, |bytes| bytes[at] ^= 1);
    assert!(terminal.fails("audit verify out").contains("entry 7 was altered"));
    std::fs::write(&entries, &original).unwrap();
    terminal.ok("audit verify out");
    // Who cuts the log and has the key of the node still faces the checkpoint that was kept.
    let lines: Vec<&[u8]> = original.split_inclusive(|byte| *byte == b'\n').collect();
    std::fs::write(&entries, lines[..1].concat()).unwrap();
    let cut = "audit verify --entries out/entries.jsonl --checkpoint earlier --key out/key";
    assert!(terminal.fails(cut).contains("entries 1 to 1 are missing"));
    let mut random = StdRng::seed_from_u64(4);
    for file in ["proof", "grown", "out/checkpoint", "out/key"] {
        std::fs::write(&entries, &original).unwrap();
        let path = terminal.path(file);
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..3 {
            // A digit or letter within the signed text, the hashes or the key.
            let digits: Vec<usize> = (0..whole.len()).filter(|at| whole[*at].is_ascii_digit()).collect();
            let at = digits[random.random_range(0..digits.len())];
            edit(&path, |bytes| bytes[at] = if bytes[at] == b'9' { b'1' } else { bytes[at] + 1 });
            let line = if file.starts_with("out") {
                "audit verify out".to_owned()
            } else {
                format!("audit verify --proof {file} --key whole/key")
            };
            // The size beside a proof is said twice; only the signed one counts.
            let size = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let counts = !terminal.run(&line).status.success();
            assert!(counts || unsigned(&whole, at), "{file} byte {at}: {size}");
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

/// Whether the byte stands in a line that repeats what the checkpoint signs.
fn unsigned(text: &[u8], at: usize) -> bool {
    let start = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = String::from_utf8_lossy(&text[start..]).into_owned();
    let line = line.trim_start();
    line.starts_with("\"size\"") || line.starts_with("\"from\"") || line.starts_with("\"to\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn exposure_names_who_could_read_a_field_and_until_when() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let clicks = node.create_stream("clicks").await;
    let known = node.admin(Method::GET, &format!("/api/v1/contracts/{EXAMPLE}"), &Value::Null).await.json();
    let field = &known["personalFields"][0];
    let (path, level) = (field["path"].as_str().unwrap(), field["level"].as_i64().unwrap());
    let level = i32::try_from(level).unwrap();
    let reader = node.derive(&clicks, &[level]).await;
    let other = node.derive(&clicks, &[level + 7]).await;
    let request = json!({
        "name": "masked", "derivedFrom": "clicks", "purposes": [level],
        "maskedFields": [{"ref": EXAMPLE, "fields": [path]}],
    });
    node.make_stream(request).await;
    clock.turn(5_000);
    reader.read().await;
    let ask = async || get(&node, &format!("exposure?field={EXAMPLE}:{path}")).await.json();
    let answer = ask().await;
    assert_eq!(answer["level"], level);
    let find = |answer: &Value, name: &str| {
        answer["exposures"].as_array().unwrap().iter().find(|e| e["stream"] == name).cloned()
    };
    assert_eq!(find(&answer, &other.name), None);
    assert_eq!(find(&answer, "masked").unwrap()["masked"], true);
    let open = find(&answer, &reader.name).unwrap();
    assert_eq!((&open["masked"], &open["until"]), (&json!(false), &Value::Null));
    assert_eq!(open["since"], 1_800_000_000_000_i64);
    assert_eq!(open["accesses"][0]["client"], reader.client_id);
    assert_eq!(open["accesses"][0]["firstAttached"], 1_800_000_005_000_i64);
    clock.turn(5_000);
    let path_of = format!("/api/v1/streams/{}", reader.name);
    assert_eq!(node.admin(Method::DELETE, &path_of, &Value::Null).await.status, 204);
    let ended = find(&ask().await, &reader.name).unwrap();
    assert_eq!(ended["until"], 1_800_000_010_000_i64);
    assert_eq!(ended["accesses"][0]["until"], 1_800_000_010_000_i64);
    assert_eq!(get(&node, "exposure?field=acme/none/1.0.0:x").await.code(), "contract_unknown");
    assert_eq!(get(&node, "exposure?field=x").await.code(), "parameter_invalid");
    let misspelt = get(&node, &format!("exposure?field={EXAMPLE}:mial")).await;
    assert_eq!(misspelt.code(), "parameter_invalid", "nobody is told that it is not personal");
    let harmless = get(&node, &format!("exposure?field={EXAMPLE}:notSensitiveValue")).await;
    assert_eq!((harmless.status, &harmless.json()["level"]), (200, &Value::Null));
    let shown = Terminal::of(&node).ok(&format!("audit exposure --field {EXAMPLE}:{path}"));
    assert!(shown.contains(&reader.client_id) && shown.contains("masked"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retention_trims_the_log_and_a_restart_goes_on_with_the_same_tree() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let mut node = Node::start_with(clock.clone(), |_| {}).await;
    let clicks = node.create_stream("clicks").await;
    node.derive(&clicks, &[1]).await;
    let before = get(&node, "checkpoint").await.json();
    clock.turn(4000 * 24 * 60 * 60 * 1000_i64);
    node.server().ring_janitor();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(entries(&node, "").await.len(), 4);
    node.restart().await;
    assert_eq!(get(&node, "checkpoint").await.json(), before, "size, root, key and signature");
    node.create_stream("more").await;
    let proof = get(&node, "consistency?from=4").await.json();
    assert_eq!(proof["fromCheckpoint"], before["checkpoint"]);
}

/// Method, path, body, status, and the entry that the order leaves.
type Ordered = (Method, &'static str, Value, u16, &'static str);

/// Every order that `/api/v1` takes beside those of streams and contracts above, in an order that works.
fn orders() -> Vec<Ordered> {
    let schema = crate::drivers::visit_schema().to_string();
    let contract = json!({"keyField": "consistentValue"}).to_string();
    let draft = json!({"ref": "acme/visit/1.0.0", "schema": schema, "contract": contract});
    let later = 4_102_444_800_000_i64;
    vec![
        (Method::POST, "projects", json!({"name": "shop"}), 201, "project shop created"),
        (Method::PATCH, "projects/shop", json!({"description": "sales"}), 200, "project shop changed"),
        (
            Method::POST,
            "principals",
            json!({"id": "ada", "kind": "user", "name": "Ada"}),
            201,
            "principal ada created",
        ),
        (Method::PATCH, "principals/ada", json!({"role": "approver"}), 200, "principal ada changed"),
        (Method::POST, "principals/ada/tokens", json!({"name": "t"}), 201, "principal ada API token created"),
        (
            Method::DELETE,
            "principals/ada/tokens/{token}",
            Value::Null,
            204,
            "principal ada API token revoked",
        ),
        (Method::DELETE, "principals/ada/tokens", Value::Null, 204, "principal ada API token revoked"),
        (Method::PUT, "projects/shop/members/ada", json!({"role": "member"}), 200, "project shop member"),
        (Method::DELETE, "projects/shop/members/ada", Value::Null, 204, "project shop no longer member"),
        (Method::POST, "streams", json!({"name": "clicks", "project": "shop"}), 201, "stream_created"),
        (Method::PATCH, "streams/clicks", json!({"enabled": false}), 200, "stream_changed"),
        (Method::POST, "streams/clicks/credentials", json!({}), 201, "credential_issued"),
        (Method::DELETE, "streams/clicks/credentials/{client}", Value::Null, 204, "credential_revoked"),
        (
            Method::POST,
            "streams/clicks/grants",
            json!({"principal": "ada", "expires": later}),
            201,
            "read_granted",
        ),
        (Method::DELETE, "streams/clicks/grants/ada", Value::Null, 204, "read_revoked"),
        (Method::POST, "purposes", json!({"level": 7, "name": "news"}), 201, "purpose 7 named"),
        (Method::DELETE, "purposes/news", Value::Null, 204, "purpose 7 deleted"),
        (
            Method::POST,
            "policies",
            json!({"name": "month", "retentionDays": 30}),
            201,
            "policy month created",
        ),
        (Method::POST, "policies/month/activate", Value::Null, 200, "policy month stepped"),
        (Method::POST, "policies/month/archive", Value::Null, 200, "policy month stepped"),
        (Method::DELETE, "policies/month", Value::Null, 204, "policy month deleted"),
        (Method::POST, "contracts", draft.clone(), 201, "contract_created"),
        (Method::PUT, "contracts/acme/visit/1.0.0", draft, 200, "contract acme/visit/1.0.0 edited"),
        (Method::POST, "contracts/acme/visit/1.0.0/review", Value::Null, 200, "contract_stepped"),
        (Method::DELETE, "contracts/acme/visit/1.0.0", Value::Null, 204, "contract_deleted"),
        (Method::DELETE, "streams/clicks", Value::Null, 204, "stream_deleted"),
        (Method::DELETE, "principals/ada", Value::Null, 204, "principal ada deleted"),
        (Method::DELETE, "projects/shop", Value::Null, 204, "project shop deleted"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_leaves_exactly_one_entry_and_the_same_order_again_is_refused_without_one() {
    let node = Node::start().await;
    let said = |entry: &Value| {
        let action = &entry["action"];
        let word = |name: &str| action[name].as_str().unwrap_or_default().to_owned();
        match word("type").as_str() {
            "changed" => format!("{} {} {}", word("kind"), word("name"), word("change")),
            other => other.to_owned(),
        }
    };
    let (mut token, mut client) = (String::new(), String::new());
    for (method, path, body, status, expected) in orders() {
        let before = entries(&node, "").await.len();
        let path = format!("/api/v1/{path}").replace("{token}", &token).replace("{client}", &client);
        let answer = node.admin(method.clone(), &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let after = entries(&node, &format!("from={before}")).await;
        assert_eq!(after.iter().map(said).collect::<Vec<_>>(), [expected], "{method} {path}");
        assert_eq!(after[0]["who"], json!({"kind": "principal", "id": "admin"}));
        let made = if answer.body.is_empty() { Value::Null } else { answer.json() };
        token = made["id"].as_str().filter(|_| path.ends_with("/tokens")).unwrap_or(&token).to_owned();
        client = made["clientId"].as_str().unwrap_or(&client).to_owned();
        if method == Method::DELETE && !path.contains("/tokens") {
            let again = node.admin(method.clone(), &path, &body).await;
            assert_eq!(again.status, 404, "{method} {path}: {}", again.text());
            assert_eq!(entries(&node, "").await.len(), before + 1, "what is refused leaves no entry");
        }
    }
}

/// Routes with a changing method that change nothing, and why.
const CHANGES_NOTHING: [(&str, &str, &str); 4] = [
    ("POST", "/api/v1/streams/{name}/explain", "reads the event it is sent and stores nothing"),
    ("POST", "/api/v1/contracts/check", "makes nothing; a look at traffic has its entry, see dry_run"),
    ("POST", "/api/v1/subjects/keylinks", "only looks; that has its entry, see erasure"),
    ("POST", "/api/v1/erasures", "takes events of a subject and leaves more than one entry, see erasure"),
];

/// The list of orders above is held against the list of routes: who adds a route has to order it there, or
/// to say here why it changes nothing.
#[test]
fn every_route_that_may_change_something_is_ordered_here_or_changes_nothing() {
    let routes: Vec<_> =
        crate::access_sweep::routes().into_iter().filter(|(method, _)| method != "GET").collect();
    assert!(routes.len() > 25, "the list of routes could not be read: {routes:?}");
    let holes = regex::Regex::new(r"\{[a-z_]+\}").unwrap();
    let shape = |route: &str| regex::Regex::new(&format!("^{}$", holes.replace_all(route, "[^/]+"))).unwrap();
    let ordered = |method: &str, route: &str| {
        orders().iter().any(|(of, path, ..)| {
            let path = format!("/api/v1/{path}");
            let fits = |(m, r): &&(String, String)| *m == of.as_str() && shape(r).is_match(&path);
            // Of two routes that fit, the one with fewer holes serves the path.
            let served = routes.iter().filter(fits).min_by_key(|(_, r)| holes.find_iter(r).count());
            served.is_some_and(|(m, r)| m == method && r == route)
        })
    };
    for (method, route) in &routes {
        let excused = CHANGES_NOTHING.iter().any(|(m, r, _)| m == method && r == route);
        assert!(ordered(method, route) != excused, "{method} {route}: order it, or say why not (not both)");
    }
    for (method, route, _) in CHANGES_NOTHING {
        assert!(routes.iter().any(|(m, r)| m == method && r == route), "{method} {route} is no route");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_writes_down_what_it_revokes() {
    let node = Node::start().await;
    let clicks = node.create_stream("clicks").await;
    let before = entries(&node, "").await.len();
    let body = json!({"replaces": "*"});
    let rotated = node.admin(Method::POST, "/api/v1/streams/clicks/credentials", &body).await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let after = entries(&node, &format!("from={before}")).await;
    let said: Vec<_> = after.iter().map(|entry| &entry["action"]).collect();
    assert_eq!((said.len(), &said[0]["type"]), (2, &json!("credential_revoked")));
    assert_eq!(said[0]["client"], clicks.client_id);
    assert_eq!(said[1]["type"], "credential_issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_with_an_overlap_says_when_the_old_ones_end_and_exposure_keeps_to_it() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let clicks = node.create_stream("clicks").await;
    let known = node.admin(Method::GET, &format!("/api/v1/contracts/{EXAMPLE}"), &Value::Null).await.json();
    let field = known["personalFields"][0].clone();
    let ads = node.derive(&clicks, &[field["level"].as_i64().unwrap() as i32]).await;
    let path = format!("/api/v1/streams/{}/credentials", ads.name);
    let rotated = node.admin(Method::POST, &path, &json!({"replaces": "*", "overlapS": 100})).await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let ends = clock.now().0 + 100_000;
    let said = entries(&node, "action=credential_revoked").await;
    assert_eq!((said.len(), &said[0]["action"]["client"]), (1, &json!(ads.client_id)));
    assert_eq!(said[0]["action"]["ends"], json!(ends), "{said:?}");
    let until = async || {
        let answer =
            get(&node, &format!("exposure?field={EXAMPLE}:{}", field["path"].as_str().unwrap())).await;
        let accesses = answer.json()["exposures"][0]["accesses"].clone();
        let old = accesses.as_array().unwrap_or_else(|| panic!("{}", answer.text()));
        old.iter().find(|access| access["client"] == json!(ads.client_id)).unwrap()["until"].clone()
    };
    assert_eq!(until().await, json!(ends));
    // Whoever touches the stream afterwards ends nothing again, and no later question moves the end.
    clock.turn(200_000);
    let path = format!("/api/v1/streams/{}", ads.name);
    assert_eq!(node.admin(Method::PATCH, &path, &json!({"description": "x"})).await.status, 200);
    assert_eq!(until().await, json!(ends));
    clock.turn(1_000);
    assert_eq!(until().await, json!(ends));
    assert_eq!(entries(&node, "action=credential_revoked").await.len(), 1);
}
