//! Sealing and opening one field, on the calling thread.

use std::time::Instant;

use anyhow::Result;
use sluice::{
    clock::Timestamp,
    crypto::{OpenKey, SessionRoot},
    domain::{KeyLink, Suite},
};

use crate::report::{Gate, Report};

/// Fields per timing: long enough for the clock, short enough to fit between two interruptions.
const FIELDS: u32 = 50;

pub fn run(report: &Report) -> Result<()> {
    let root = SessionRoot::generate();
    let (made, ends) = (Timestamp(0), Timestamp(86_400_000));
    let key = OpenKey::from_root(&root, Suite::XChaCha20Poly1305, KeyLink::random(), 7, made, ends, true);
    let (mut text, mut plain) = (Vec::new(), Vec::new());
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for _ in 0..if report.quick { 200 } else { 20_000 } {
        let begun = Instant::now();
        for _ in 0..FIELDS {
            text.clear();
            key.seal(b"field", b"twenty bytes, a name", &mut text)?;
        }
        sealing.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(FIELDS));
        let begun = Instant::now();
        for _ in 0..FIELDS {
            plain.clear();
            key.open(b"field", &text, &mut plain)?;
        }
        opening.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(FIELDS));
    }
    report.row("seal one 20-byte field", &sealing, "us", Gate::AtMost(0.7));
    report.row("open one 20-byte field", &opening, "us", Gate::AtMost(0.7));
    Ok(())
}
