//! What became of the events a command sent: counted, shown while it runs, reported at its end.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    failure::printable,
    output::{self, Format},
};

/// Refusals that are shown with their reasons.
const REASONS_MAX: usize = 10;
/// Time between two lines of progress where there is no terminal.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Counts of events, and the first reasons they were refused for.
pub struct Tally {
    started: Instant,
    pub accepted: u64,
    pub refused: u64,
    /// Events whose request failed, so that their fate is unknown or they were not taken.
    pub failed: u64,
    reasons: Vec<String>,
}

impl Tally {
    /// Nothing yet; the clock starts.
    #[must_use]
    pub fn start() -> Tally {
        Tally { started: Instant::now(), accepted: 0, refused: 0, failed: 0, reasons: Vec::new() }
    }

    /// Counts one refusal. `place` tells the reader which event it was.
    pub fn refuse(&mut self, place: &str, code: &str, detail: &str) {
        self.refused += 1;
        if self.reasons.len() < REASONS_MAX {
            let detail = if detail.is_empty() { String::new() } else { format!(": {}", printable(detail)) };
            self.reasons.push(format!("{place}: {}{detail}", printable(code)));
        }
    }

    fn rate(&self) -> f64 {
        let events = self.accepted + self.refused;
        // Counts beyond 2^53 do not occur.
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let events = events as f64;
        events / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn sentence(&self) -> String {
        let failed = if self.failed == 0 { String::new() } else { format!(", {} failed", self.failed) };
        format!("{} accepted, {} refused{failed}, {:.1} events/s", self.accepted, self.refused, self.rate())
    }

    /// Writes the reasons to standard error and the counts to standard output.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub fn report(&self, format: Format) -> Result<()> {
        for reason in &self.reasons {
            output::remark(&format!("refused {reason}"));
        }
        let unshown = self.refused.saturating_sub(self.reasons.len() as u64);
        if unshown > 0 && !self.reasons.is_empty() {
            output::remark(&format!("refused {unshown} more"));
        }
        match format {
            Format::Table => output::print(&(self.sentence() + "\n")),
            Format::Plain => output::print(&format!(
                "{}\t{}\t{}\t{:.1}\n",
                self.accepted,
                self.refused,
                self.failed,
                self.rate()
            )),
            Format::Json => {
                let tenths = |value: f64| (value * 10.0).round() / 10.0;
                let report = json!({
                    "accepted": self.accepted,
                    "refused": self.refused,
                    "failed": self.failed,
                    "seconds": tenths(self.started.elapsed().as_secs_f64()),
                    "eventsPerSecond": tenths(self.rate()),
                });
                output::print(&format!("{report:#}\n"))
            }
        }
    }
}

/// What a person sees while events are sent: a bar on a terminal, else a line every five seconds.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    last: Instant,
}

impl Progress {
    /// Progress towards `length` (`None`: no known end), in events or bytes; nothing at all when `quiet`.
    #[must_use]
    pub fn new(length: Option<u64>, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| match length {
            Some(length) => ProgressBar::new(length).with_style(style("{bar:30} {percent:>3} %  {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {elapsed}  {msg}")),
        });
        Progress { bar, lines: !terminal && !quiet, last: Instant::now() }
    }

    /// Shows `position` and the counts, when it is time.
    pub fn show(&mut self, position: u64, tally: &Tally) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(tally.sentence());
        }
        if self.last.elapsed() >= REPORT_EVERY {
            self.last = Instant::now();
            if self.lines {
                output::remark(&tally.sentence());
            }
        }
    }

    /// Takes the bar away, so that the report stands alone.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant of this file")
}
