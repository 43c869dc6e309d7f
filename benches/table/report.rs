//! The table: a line per row, each beside its gate; or the same as JSON lines.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

/// Which side of its gate a figure must be on.
#[derive(Clone, Copy)]
pub enum Gate {
    AtMost(f64),
    AtLeast(f64),
    /// Printed for the reader; no gate.
    Shown,
}

/// Prints rows as they are known.
pub struct Report {
    json: bool,
    pub quick: bool,
}

impl Report {
    pub fn new(json: bool, quick: bool) -> Report {
        Report { json, quick }
    }

    /// How long one leg of an interleaved comparison runs.
    pub fn leg(&self) -> Duration {
        if self.quick { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }

    /// Legs of each side.
    pub fn legs(&self) -> usize {
        if self.quick { 1 } else { 4 }
    }

    /// A figure: the median of `values`, printed with their range.
    pub fn row(&self, what: &str, values: &[f64], unit: &str, gate: Gate) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return };
        let value = sorted[sorted.len() / 2];
        let (gate, reached) = match gate {
            Gate::AtMost(gate) => (Some(gate), value <= gate),
            Gate::AtLeast(gate) => (Some(gate), value >= gate),
            Gate::Shown => (None, true),
        };
        if self.json {
            let row = json!({ "row": what, "value": value, "min": least, "max": most, "unit": unit,
                "runs": sorted.len(), "gate": gate, "reached": gate.map(|_| reached), "quick": self.quick });
            println!("{row}");
            return;
        }
        let verdict = match (gate, reached) {
            (None, _) => String::new(),
            (Some(gate), true) => format!("gate {gate:<5} reached"),
            (Some(gate), false) => format!("gate {gate:<5} NOT REACHED"),
        };
        println!("{what:<64} {value:>9.2} {unit:<4} ({least:.2} to {most:.2}) {verdict}");
    }

    /// Something beside the figures, in the table only.
    pub fn note(&self, text: &str) {
        if !self.json {
            println!("    {text}");
        }
    }

    /// The machine's own load: figures from a busy one are not worth much.
    pub fn load_average(&self) -> Result<()> {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        self.note(&format!("load average {}", load.trim()));
        Ok(())
    }
}
