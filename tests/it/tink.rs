//! Tink as the second opinion: it opens what Sluice sealed, with the keyset Sluice exports, and nothing else.
//!
//! Needs a Python with the package `tink` 1.16.1, named by `SLUICE_TEST_PYTHON`.

use std::process::Command;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use sluice::{
    clock::{DAY_MS, Timestamp},
    crypto::{OpenKey, SessionRoot, keyset_json, random_key_id},
    domain::{KeyLink, Suite},
};

const FIELDS: usize = 10_000;

#[test]
fn tink_opens_fields_of_both_suites_with_an_exported_keyset() {
    let python = std::env::var("SLUICE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!(
            "set SLUICE_TEST_PYTHON to a Python that has the package tink 1.16.1 (pip install tink==1.16.1)"
        )
    });
    for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Siv] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fields.json");
        std::fs::write(&file, job(suite)).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/tink_open.py");
        let run = Command::new(&python).arg(script).arg(&file).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success() && out.trim() == FIELDS.to_string(), "{suite:?}: {out}{err}");
    }
}

/// What `tink_open.py` reads: random values of random length and alphabet in a few classes.
fn job(suite: Suite) -> String {
    let made = Timestamp(1_790_000_000_000);
    let (root, link, id) = (SessionRoot::generate(), KeyLink::random(), random_key_id());
    let key = OpenKey::from_root(&root, suite, link, id, made, made.plus_ms(DAY_MS), true);
    let mut random = StdRng::seed_from_u64(7);
    let fields: Vec<_> = (0..FIELDS)
        .map(|at| {
            let class = ["", "customer/email", "sluice/1;class=email", "straße/名前"][at % 4];
            let length =
                if at % 100 == 0 { random.random_range(0..3000) } else { random.random_range(0..40) };
            let plain: String = (0..length).map(|_| random.random::<char>()).collect();
            let mut text = Vec::new();
            key.seal(class.as_bytes(), plain.as_bytes(), &mut text).unwrap();
            json!([class, String::from_utf8(text).unwrap(), plain])
        })
        .collect();
    let keyset: serde_json::Value = serde_json::from_str(&keyset_json(&key)).unwrap();
    json!({"suite": suite, "keyset": keyset, "fields": fields}).to_string()
}
