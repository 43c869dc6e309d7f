//! A disk that fills up, and what must never depend on luck: nonces and ciphertexts.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{ChildNode, Node, PATIENCE, event, planted};

/// A small disk in memory; gone when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Needs root; says so loudly otherwise.
    fn mount(bytes: u64) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={bytes},mode=0777");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk { folder }),
            _ => {
                eprintln!(
                    "\n*** NOT TESTED: a full disk. Mounting a tmpfs needs root and the right to mount. ***\n"
                );
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.folder.path()).status());
    }
}

/// T05. The node keeps a reserve, so that it says 503 before a write can fail, and goes on without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_503_and_events_are_taken_again_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(256 << 20) else { return };
    let settings = [("SLUICE__STORAGE__RESERVE_BYTES", "33554432")];
    let mut node = ChildNode::start_in(tempfile::tempdir().unwrap(), disk.path("data"), &settings).await;
    let stream = node.create_stream("clicks").await;
    node.create_stream("spare").await;
    let known = planted(&node.canary, &[1]);
    stream.accept(&known).await;
    let filler = disk.path("filler");
    let free = rustix::fs::statvfs(disk.path("")).unwrap();
    let bytes = free.f_bavail * free.f_frsize - (20 << 20);
    std::fs::write(&filler, vec![7; usize::try_from(bytes).unwrap()]).unwrap();
    let (begun, mut held) = (Instant::now(), 1);
    let refusal = loop {
        let answer = stream.post(&known).await;
        if answer.status != 204 {
            break answer;
        }
        held += 1;
        assert!(begun.elapsed() < PATIENCE, "the node never noticed");
    };
    let new_session = planted(&node.canary, &[1]);
    let batch = stream.post_batch(format!("{known}\n{new_session}").into_bytes(), "", &[]).await;
    let new_session = stream.post(&new_session).await;
    for (answer, code) in
        [(refusal, "log_unavailable"), (new_session, "key_unavailable"), (batch, "key_unavailable")]
    {
        assert_eq!((answer.status, answer.code().as_str()), (503, code), "{}", answer.text());
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
    assert_eq!(stream.read().await.len(), held, "what was stored can be read");
    assert_eq!(node.get("/is-alive").await.status, 200);
    let ready = node.get("/ready").await;
    assert_eq!((ready.status, ready.text().trim()), (503, "disk full"));
    let deleted = node.admin(reqwest::Method::DELETE, "/api/v1/streams/spare", &Value::Null).await;
    assert_eq!(deleted.status, 204, "that is how an operator makes space: {}", deleted.text());

    std::fs::remove_file(&filler).unwrap();
    let freed = Instant::now();
    while stream.post(&planted(&node.canary, &[1])).await.status != 204 {
        assert!(freed.elapsed() < PATIENCE, "the node does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(node.get("/ready").await.status, 200);
    eprintln!("recovered {:?} after space was freed", freed.elapsed());
    assert_eq!(stream.read().await.len(), held + 1, "nothing that was refused is stored");
    node.kill();
    node.start_again().await;
    assert_eq!(stream.read().await.len(), held + 1);
}

/// T30, one node: equal values of one session and field seal equally, before and after a restart; different
/// values, fields and sessions do not; and a nonce never comes twice with different input.
#[tokio::test(flavor = "multi_thread")]
async fn equal_values_seal_equally_across_a_restart_and_no_nonce_repeats() {
    const VALUES: usize = 400;
    let mut node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let sessions: Vec<String> = (0..5).map(|_| node.canary.plant()).collect();
    let values: Vec<String> = (0..VALUES).map(|_| node.canary.plant()).collect();
    let body: Vec<String> = sessions
        .iter()
        .flat_map(|session| {
            values.iter().enumerate().map(move |(at, value)| {
                let mut event = event(session, value, value, &[1]);
                event["notSensitiveValue"] = json!(format!("{at}"));
                event.to_string()
            })
        })
        .collect();
    let body = body.join("\n").into_bytes();
    assert_eq!(stream.post_batch(body.clone(), "", &[]).await.status, 200);
    node.restart().await;
    assert_eq!(stream.post_batch(body, "", &[]).await.status, 200);
    let events = stream.read().await;
    let (before, after) = events.split_at(sessions.len() * VALUES);
    assert_eq!(before.len(), after.len());
    let fields = ["uniqueIdentifier", "consistentValue", "someSensitiveValue"];
    // What went in, by what came out, and by key and nonce.
    let mut inputs: HashMap<&str, (&str, usize, &str)> = HashMap::new();
    let mut nonces: HashMap<(Vec<u8>, Vec<u8>), &str> = HashMap::new();
    for (at, (event, again)) in before.iter().zip(after).enumerate() {
        for field in fields {
            assert_eq!(event[field], again[field], "equal before and after");
            let sealed = text(&event[field]);
            let value = if field == "consistentValue" { "the session" } else { &values[at % VALUES] };
            let input = (field, at / VALUES, value);
            assert_eq!(*inputs.entry(sealed).or_insert(input), input, "one ciphertext, one input");
            let bytes = STANDARD.decode(sealed).unwrap();
            assert_eq!(bytes[0], 1);
            let (key, nonce) = (bytes[1..5].to_vec(), bytes[5..29].to_vec());
            assert_eq!(*nonces.entry((key, nonce)).or_insert(sealed), sealed, "one nonce, one ciphertext");
        }
    }
    // 400 values in two fields that are told apart, and the session itself, in five sessions.
    assert_eq!((inputs.len(), nonces.len()), (5 * (2 * VALUES + 1), 5 * (2 * VALUES + 1)));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
