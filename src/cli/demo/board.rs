//! The demo's display: an event a row, and what each reader sees of it side by side.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::scene::{OPENED, PURPOSES, SOURCE};
use crate::cli::{example_events::ExampleEvent, failure::printable};

/// One event and its copies; `None` where a derived stream does not have it.
pub struct Row {
    pub sent: ExampleEvent,
    pub stored: Value,
    pub opened: Option<Value>,
    pub masked: Option<Value>,
}

/// The personal fields shown, one a line. What is no personal field looks the same everywhere.
const FIELDS: [&str; 3] = ["uniqueIdentifier", "consistentValue", "someSensitiveValue"];
/// Characters of a value: five columns of this and their borders fit 100.
const VALUE_CHARS: usize = 20;

/// How a value is told from others. Colours stand in the text as characters without width while the table
/// is laid out, because the table must not count them.
#[derive(Clone, Copy)]
enum Look {
    Clear,
    Sealed,
    Masked,
    Absent,
}

const END: char = '\u{2064}';

impl Look {
    const ALL: [Look; 4] = [Look::Clear, Look::Sealed, Look::Masked, Look::Absent];

    fn mark(self) -> char {
        match self {
            Look::Clear => '\u{2060}',
            Look::Sealed => '\u{2061}',
            Look::Masked => '\u{2062}',
            Look::Absent => '\u{2063}',
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Look::Clear => "\x1b[32m",
            Look::Sealed => "\x1b[90m",
            Look::Masked => "\x1b[33m",
            Look::Absent => "\x1b[31m",
        }
    }

    fn on(self, text: &str) -> String {
        format!("{}{}{END}", self.mark(), shortened(text))
    }
}

/// The display as text, coloured when standard output is a terminal.
pub fn text(rows: &[Row], masked_name: &str) -> String {
    paint(&laid_out(rows, masked_name), std::io::stdout().is_terminal())
}

fn laid_out(rows: &[Row], masked_name: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["consent", "sent", &format!("stored in {SOURCE}"), OPENED, masked_name]);
    for row in rows {
        table.add_row(cells(row));
    }
    let separator = table.lines().nth(2).unwrap_or_default().replace('╞', "├").replace('═', "─");
    let separator = separator.replace('╪', "┼").replace('╡', "┤");
    let mut text = legend(masked_name);
    for (at, line) in table.lines().enumerate() {
        if at > 3 && (at - 3).is_multiple_of(FIELDS.len()) && at + 1 < table.lines().count() {
            text.push_str(&(separator.clone() + "\n"));
        }
        text.push_str(&(line + "\n"));
    }
    text
}

fn legend(masked_name: &str) -> String {
    let purposes = PURPOSES.map(|level| level.to_string()).join(" and ");
    format!(
        "An event a row, a personal field a line: uniqueIdentifier (purpose 1), consistentValue\n\
         (purpose 2, the session), someSensitiveValue (purpose 3). {OPENED} opens purposes {purposes} of\n\
         events whose consent has both; {masked_name} also masks uniqueIdentifier.\n\
         Looks: {} · {} · {}\n\n",
        Look::Clear.on("readable"),
        Look::Sealed.on("encrypted…"),
        Look::Masked.on("masked…"),
    )
}

fn cells(row: &Row) -> Vec<String> {
    let sent = [&row.sent.unique_identifier, &row.sent.consistent_value, &row.sent.some_sensitive_value];
    let sent = sent.map(String::as_str);
    let clear = sent.map(|value| Look::Clear.on(value)).join("\n");
    vec![
        consent_text(&row.sent),
        clear,
        copy_text(Some(&row.stored), sent),
        copy_text(row.opened.as_ref(), sent),
        copy_text(row.masked.as_ref(), sent),
    ]
}

/// The consent, on as many lines as there are fields.
fn consent_text(event: &ExampleEvent) -> String {
    let levels: Vec<String> = event.consent().iter().map(ToString::to_string).collect();
    if levels.is_empty() { "none\n\n".to_owned() } else { levels.join(",") + "\n\n" }
}

/// What one reader sees: a value as sent is readable, hex of a mask's length is masked, else it is sealed.
fn copy_text(copy: Option<&Value>, sent: [&str; 3]) -> String {
    let Some(copy) = copy else {
        let purposes = PURPOSES.map(|level| level.to_string()).join(",");
        return Look::Absent.on(&format!("— no consent for {purposes}")) + "\n\n";
    };
    let mut lines = Vec::with_capacity(FIELDS.len());
    for (field, sent) in FIELDS.iter().zip(sent) {
        let seen = printable(copy.get(*field).and_then(Value::as_str).unwrap_or("null"));
        let is_mask =
            seen.len() <= 32 && seen.len() >= 30 && seen.bytes().all(|byte| byte.is_ascii_hexdigit());
        let look = match (seen == sent, is_mask) {
            (true, _) => Look::Clear,
            (_, true) => Look::Masked,
            _ => Look::Sealed,
        };
        lines.push(look.on(&seen));
    }
    lines.join("\n")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS {
        return text.to_owned();
    }
    text.chars().take(VALUE_CHARS - 1).chain(['…']).collect()
}

/// Turns the marks into colours, or takes them out.
fn paint(text: &str, coloured: bool) -> String {
    let mut painted = String::with_capacity(text.len());
    for c in text.chars() {
        match Look::ALL.into_iter().find(|look| look.mark() == c) {
            Some(look) if coloured => painted.push_str(look.colour()),
            Some(_) => {}
            None if c == END && coloured => painted.push_str("\x1b[0m"),
            None if c == END => {}
            None => painted.push(c),
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::example_events::{Consents, Generator};

    fn rows() -> Vec<Row> {
        let mut generator = Generator::new(Some(1), 4, Consents(vec![vec![]]));
        let mut row = |consent: Vec<u32>, passes: bool| {
            let sent = generator.draw_with(consent);
            let sealed = "AVx4k2Qz8fLmAVx4k2Qz8fLmAVx4k2Qz8fLmAVx4k2Qz8fLmAVx4k2Qz8fLm";
            let copy = |unique: &str, session: &str| -> Value {
                json!({"uniqueIdentifier": unique, "consistentValue": session, "someSensitiveValue": sealed})
            };
            let opened = copy(&sent.unique_identifier, &sent.consistent_value);
            let masked = copy("1083e8169d7138e990cc30095578452a", &sent.consistent_value);
            let stored = copy(sealed, sealed);
            Row { stored, opened: passes.then_some(opened), masked: passes.then_some(masked), sent }
        };
        vec![row(vec![], false), row(vec![0, 1, 2], true), row(vec![0], false)]
    }

    #[test]
    fn the_display_fits_100_columns_and_tells_every_case() {
        let plain = paint(&laid_out(&rows(), "demo-M1-2"), false);
        for line in plain.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
        for part in ["none", "0,1,2", "— no consent for 1,2", "1083e8169d7138e990c…", "AVx4k2Qz8fLmAVx4k2Q…"]
        {
            assert!(plain.contains(part), "{part} is not in\n{plain}");
        }
        assert!(!plain.contains(['\u{2060}', '\u{2061}', '\u{2062}', '\u{2063}', '\u{2064}', '\x1b']));
        assert_eq!(plain.lines().filter(|line| line.starts_with('├')).count(), 2, "{plain}");
    }

    #[test]
    fn colours_only_where_asked_for() {
        let text = paint(&Look::Masked.on("abc"), true);
        assert_eq!(text, "\x1b[33mabc\x1b[0m");
    }
}
