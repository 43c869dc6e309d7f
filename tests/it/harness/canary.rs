//! Personal values that tests plant, and the search for them where they must never be.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem;
use rand::{RngExt, distr::Alphanumeric};

/// Values of one node that are marked by one random tag, and what was seen from outside that may not hold it.
pub struct Canary {
    tag: String,
    opened_tag: String,
    seen: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Canary {
    pub fn new() -> Canary {
        Canary { tag: random_text(12), opened_tag: random_text(12), seen: Mutex::default() }
    }

    /// A new personal value, different from every other, that may be nowhere.
    pub fn plant(&self) -> String {
        format!("{}{}", self.tag, random_text(12))
    }

    /// A new personal value that a derived stream opens: it may be in that stream and its log, so that the
    /// data folder is not searched for it, and nowhere else.
    pub fn plant_opened(&self) -> String {
        format!("{}{}", self.opened_tag, random_text(12))
    }

    /// Whether this is a value that a derived stream may open, as it was planted.
    pub fn was_planted_opened(&self, text: &str) -> bool {
        text.starts_with(&self.opened_tag)
    }

    /// Remembers bytes that came out where nothing personal may.
    pub fn saw(&self, what: String, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.seen.lock().unwrap().push((what, bytes.to_vec()));
        }
    }

    /// Whether a planted value is in `bytes`, as it is, in base64 or in hexadecimal.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        holds(bytes, &self.tag) || holds(bytes, &self.opened_tag)
    }

    /// Everything that was seen and holds a planted value.
    pub fn leaks(&self, metrics: &[u8], logs: &[u8], folder: &Path) -> Vec<String> {
        let mut leaks = Vec::new();
        for (what, bytes) in self.seen.lock().unwrap().iter() {
            if self.is_in(bytes) {
                leaks.push(format!("answer to {what}: {}", String::from_utf8_lossy(bytes)));
            }
        }
        if self.is_in(metrics) {
            leaks.push("metrics".to_owned());
        }
        if let Some(line) = logs.split(|byte| *byte == b'\n').find(|line| self.is_in(line)) {
            leaks.push(format!("log line {}", String::from_utf8_lossy(line)));
        }
        for_each_file(folder, &mut |path, bytes| {
            if holds(bytes, &self.tag) || self.is_in(path.to_string_lossy().as_bytes()) {
                leaks.push(format!("file {}", path.display()));
            }
        });
        leaks
    }
}

fn holds(bytes: &[u8], tag: &str) -> bool {
    forms(tag.as_bytes()).iter().any(|form| memmem::find(bytes, form).is_some())
}

/// Calls `look` with every file below `folder` and its bytes.
pub fn for_each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            for_each_file(&path, look);
        } else if let Ok(bytes) = std::fs::read(&path) {
            look(&path, &bytes);
        }
    }
}

/// `needle` as it is, in lower-case hexadecimal, and what is fixed of its base64 at each of three alignments.
pub fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![needle.to_vec(), hex.into_bytes()];
    for shift in 0..3 {
        let shifted = [&b"xx"[..shift], needle].concat();
        let whole = STANDARD.encode(&shifted[..shifted.len() / 3 * 3]);
        forms.push(whole.as_bytes()[shift.div_ceil(3) * 4..].to_vec());
    }
    forms
}

pub fn random_text(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

static LINES: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures every log line of this process from the first call on, at the most talkative level Sluice has.
pub fn capture_logs() {
    LINES.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        tracing_subscriber::fmt()
            .with_env_filter("info,sluice=trace,actix_http=debug,actix_web=debug")
            .with_ansi(false)
            .with_writer(move || Captured(Arc::clone(&writer)))
            .init();
        lines
    });
}

/// Every log line of this process since `capture_logs`.
pub fn captured_logs() -> Vec<u8> {
    LINES.get().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
}

#[test]
fn a_planted_value_is_found_plain_in_hexadecimal_and_in_base64_at_any_offset() {
    let canary = Canary::new();
    let value = canary.plant();
    for before in 0..7 {
        let text = format!("{}{value} and more", "abcdefg".split_at(before).0);
        assert!(canary.is_in(text.as_bytes()));
        assert!(canary.is_in(STANDARD.encode(&text).as_bytes()), "{before}");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(canary.is_in(hex.as_bytes()));
    }
    assert!(!canary.is_in(Canary::new().plant().as_bytes()));
}

#[test]
fn a_planted_value_is_found_in_a_file_in_an_answer_and_in_a_log_line() {
    let (canary, folder) = (Canary::new(), tempfile::tempdir().unwrap());
    assert!(canary.leaks(b"", b"", folder.path()).is_empty());
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/file"), [b"\0\xff", canary.plant().as_bytes()].concat()).unwrap();
    canary.saw("GET /".to_owned(), canary.plant().as_bytes());
    let leaks = canary.leaks(
        canary.plant().as_bytes(),
        format!("a\nb {}\n", canary.plant()).as_bytes(),
        folder.path(),
    );
    assert_eq!(leaks.len(), 4, "{leaks:?}");
}
