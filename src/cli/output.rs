//! What goes to standard output: a table for people, plain lines for pipes, JSON for programs.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{ContentArrangement, presets};
use serde_json::Value;

/// Form of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns with a header
    Table,
    /// The same columns separated by tabs, without a header
    Plain,
    /// What the API answered
    Json,
}

/// What `-o` takes. Only tables that are made for it have a CSV form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Columns with a header
    Table,
    /// The same columns separated by tabs, without a header
    Plain,
    /// What the API answered
    Json,
    /// Comma-separated values with a header, for usage
    Csv,
}

impl Form {
    /// The form that every command has.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Form::Table => Format::Table,
            Form::Plain | Form::Csv => Format::Plain,
            Form::Json => Format::Json,
        }
    }
}

/// Rows under headers.
pub struct Table {
    pub headers: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table as comma-separated values (RFC 4180) with a header.
    #[must_use]
    pub fn csv(&self) -> String {
        let cell = |text: &str| {
            let plain = !text.contains([',', '"', '\n', '\r']);
            if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
        };
        let line = |cells: Vec<String>| cells.join(",") + "\r\n";
        let header = line(self.headers.iter().map(|header| cell(header)).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(|text| cell(text)).collect()));
        std::iter::once(header).chain(rows).collect()
    }

    /// The text of the table in `format`, which is not [`Format::Json`].
    #[must_use]
    pub fn text(&self, format: Format) -> String {
        if format == Format::Plain {
            return self.rows.iter().map(|row| row.join("\t") + "\n").collect();
        }
        if self.rows.is_empty() {
            return "No entities of this resource type exist.\n".to_owned();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.headers.iter().map(|header| (*header).to_owned()));
        let dashed = |cell: &String| if cell.is_empty() { "-".to_owned() } else { cell.clone() };
        for row in &self.rows {
            table.add_row(row.iter().map(dashed));
        }
        table.lines().map(|line| line.trim().to_owned() + "\n").collect()
    }
}

/// Prints `answer` as JSON, or the tables made of it.
///
/// # Errors
///
/// Standard output cannot be written; a closed pipe counts as written.
pub fn show(format: Format, answer: &Value, tables: impl FnOnce() -> Vec<Table>) -> Result<()> {
    if format == Format::Json {
        return print(&format!("{answer:#}\n"));
    }
    let texts: Vec<String> = tables().iter().map(|table| table.text(format)).collect();
    print(&texts.join(if format == Format::Table { "\n" } else { "" }))
}

/// Writes `text` to standard output and flushes it. A reader that has gone away is no failure.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    write_line_buffered(text.as_bytes()).map(|_open| ()).map_err(Into::into)
}

/// Writes `bytes` to standard output and flushes them; `false` when the reader has gone away.
///
/// # Errors
///
/// Standard output cannot be written for another reason than a closed pipe.
pub fn write_line_buffered(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes one remark to standard error, where it does not mix with results. A closed one is ignored.
pub fn remark(text: &str) {
    let mut err = io::stderr().lock();
    if writeln!(err, "{text}").is_err() {
        // Nobody reads remarks: the result still goes to standard output.
    }
}

/// The string at `pointer` of an API answer; empty when it is absent or null.
pub fn text_at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => super::failure::printable(text),
        Some(other) => other.to_string(),
    }
}

/// The instant at `pointer` of an API answer, milliseconds since 1970, as RFC 3339; empty when it is absent.
pub fn time_at(value: &Value, pointer: &str) -> String {
    let at = value.pointer(pointer).and_then(Value::as_i64);
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// The array at `pointer` of an API answer; empty when it is absent.
pub fn items_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
