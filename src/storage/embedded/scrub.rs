//! Reads every log from first to end: sequences without gaps, chunks that hold what their keys say; then
//! every key and document, whose blocks the engine checks as it reads them (`seq` is 0 in their losses).

use super::{engine::Open, events::Stream};
use crate::{
    domain::record::records,
    storage::{LogError, Loss, ScrubReport},
};

/// Bytes read at once.
const STEP_BYTES: usize = 4 << 20;

pub(super) fn run(open: &Open) -> ScrubReport {
    let streams: Vec<_> = open.streams.read().values().cloned().collect();
    let mut report = ScrubReport::default();
    for stream in streams {
        report.streams += 1;
        scrub(&stream, &mut report);
    }
    let places = open
        .session_epochs()
        .into_iter()
        .flat_map(|(_, state)| state.places().map(|(_, place)| place.clone()).collect::<Vec<_>>());
    for rows in [open.catalog.clone(), open.documents.clone()].into_iter().chain(places) {
        if let Some(error) = rows.iter().find_map(|row| row.into_inner().err()) {
            report.losses.push(Loss { stream: rows.name().to_string(), seq: 0, what: error.to_string() });
        }
    }
    report.losses.sort_by(|a, b| (&a.stream, a.seq).cmp(&(&b.stream, b.seq)));
    report
}

fn scrub(stream: &Stream, report: &mut ScrubReport) {
    let bounds = stream.bounds();
    let mut at = bounds.first;
    let mut lost = |seq: u64, what: String| {
        report.losses.push(Loss { stream: stream.name.to_string(), seq, what });
    };
    let mut step = STEP_BYTES;
    while at < bounds.end {
        let chunks = match stream.read(at, step) {
            Ok(chunks) => chunks,
            // Again in the smallest steps, to name the first lost record.
            Err(_) if step > 1 => {
                step = 1;
                continue;
            }
            Err(error) => return lost(at, describe(&error)),
        };
        let Some(last) = chunks.last() else { return lost(at, "records are missing".to_owned()) };
        let next = last.end();
        for chunk in &chunks {
            let whole = records(&chunk.bytes).take_while(Result::is_ok).count() as u64;
            if whole != u64::from(chunk.count) {
                lost(chunk.first_seq + whole, "a stored record is damaged".to_owned());
            }
            report.records += whole;
            report.bytes += chunk.bytes.len() as u64;
        }
        at = next;
    }
}

fn describe(error: &LogError) -> String {
    match error {
        LogError::Damaged(cause) => cause.to_string(),
        other => other.to_string(),
    }
}
