//! From the tape back to bytes: JSON out of nodes, and any source out of its edits.

use super::{avro::Reader, json_scan::plain_prefix};
use super::{
    meta::MetaShape,
    plan::Stamp,
    shape::{Node, NodeId, Nodes, RecordShape},
    tape::{ABSENT, Origin, Tape, Text, What},
};

/// What every writer needs.
pub(super) struct Source<'a> {
    pub body: &'a [u8],
    pub tape: &'a Tape,
    pub stamp: Option<&'a Stamp>,
    pub replaced: &'a [Option<Text>],
}

impl Source<'_> {
    fn marked(&self, mark: u32) -> (Text, &[u8]) {
        let mark = mark as usize;
        let text = self.replaced.get(mark).copied().flatten().unwrap_or(self.tape.marks[mark].text);
        (text, self.tape.text(self.body, text))
    }

    fn write_mark(&self, mark: u32, out: &mut Vec<u8>) {
        let (text, bytes) = self.marked(mark);
        // A text that lies in a JSON body was found there without escapes.
        if text.origin == Origin::Body && !self.tape.binary {
            quote_plain(bytes, out);
        } else {
            quote(bytes, out);
        }
    }
}

/// Writes JSON in schema order: compact, null for what was left out.
pub(super) struct JsonWriter<'a> {
    pub source: Source<'a>,
    pub nodes: &'a Nodes,
    pub meta: &'a MetaShape,
    pub tagged: bool,
}

impl JsonWriter<'_> {
    pub fn event(&self, root: NodeId, out: &mut Vec<u8>) {
        let Node::Record(record) = self.nodes.get(root) else {
            unreachable!("checked by SchemaPlan::compile")
        };
        let Some(stamp) = self.source.stamp else {
            self.value(root, 0, out);
            return;
        };
        out.push(b'{');
        let words = &self.source.tape.words;
        for (index, field) in record.fields.iter().enumerate() {
            out.extend_from_slice(&field.key);
            match (index, self.nodes.get(field.node)) {
                (0, Node::Record(meta)) => self.stamped_meta(meta, words[0] as usize, stamp, out),
                _ => {
                    self.slot(words[index], field.node, 0, out);
                }
            }
        }
        close(b'}', out);
    }

    fn stamped_meta(&self, meta: &RecordShape, slots: usize, stamp: &Stamp, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, field) in meta.fields.iter().enumerate() {
            out.extend_from_slice(&field.key);
            let stamped = match index {
                _ if index == self.meta.nonce.field => Some(b"{\"int\":".as_slice()),
                _ if index == self.meta.timestamp.field => Some(b"{\"long\":".as_slice()),
                _ if index == self.meta.key_link.field => Some(b"{\"string\":".as_slice()),
                _ => None,
            };
            let Some(tag) = stamped else {
                self.slot(self.source.tape.words[slots + index], field.node, 0, out);
                continue;
            };
            if self.tagged {
                out.extend_from_slice(tag);
            }
            match index {
                _ if index == self.meta.nonce.field => write_nonce(stamp, out),
                _ if index == self.meta.timestamp.field => write_timestamp(stamp, out),
                _ => write_key_link(stamp, out),
            }
            if self.tagged {
                out.push(b'}');
            }
            out.push(b',');
        }
        close(b'}', out);
        out.push(b',');
    }

    /// Writes a field's value and a comma; returns where the words after it begin.
    fn slot(&self, slot: u32, node: NodeId, end: usize, out: &mut Vec<u8>) -> usize {
        if slot == ABSENT {
            out.extend_from_slice(b"null,");
            return end;
        }
        let after = self.value(node, slot as usize, out);
        out.push(b',');
        after.max(end)
    }

    /// Writes the value whose words begin at `at`; returns where the words after it begin.
    fn value(&self, node: NodeId, at: usize, out: &mut Vec<u8>) -> usize {
        let words = &self.source.tape.words;
        match self.nodes.get(node) {
            Node::Null => {
                out.extend_from_slice(b"null");
                at
            }
            Node::Marked(_) => {
                self.source.write_mark(words[at], out);
                at + 1
            }
            Node::Union(union) => {
                let branch = &union.branches[words[at] as usize];
                let tagged = self.tagged && union.null != Some(words[at]);
                if tagged {
                    out.extend_from_slice(&branch.open);
                }
                let end = self.value(branch.node, at + 1, out);
                if tagged {
                    out.push(b'}');
                }
                end
            }
            Node::Record(record) => {
                out.push(b'{');
                let mut end = at + record.fields.len();
                for (index, field) in record.fields.iter().enumerate() {
                    out.extend_from_slice(&field.key);
                    end = self.slot(words[at + index], field.node, end, out);
                }
                close(b'}', out);
                end
            }
            Node::Array(items) => {
                out.push(b'[');
                let mut end = at + 1;
                for _ in 0..words[at] {
                    end = self.value(*items, end, out);
                    out.push(b',');
                }
                close(b']', out);
                end
            }
            Node::Map(values) => {
                out.push(b'{');
                let mut end = at + 1;
                for _ in 0..words[at] {
                    self.text(end, out);
                    out.push(b':');
                    end = self.value(*values, end + 2, out);
                    out.push(b',');
                }
                close(b'}', out);
                end
            }
            scalar => self.scalar(scalar, at, out),
        }
    }

    fn scalar(&self, node: &Node, at: usize, out: &mut Vec<u8>) -> usize {
        let word = self.source.tape.words[at];
        match node {
            Node::Boolean => out.extend_from_slice(if word == 1 { b"true" } else { b"false" }),
            Node::Enum(symbols) => quote_plain(symbols[word as usize].as_bytes(), out),
            Node::Text => {
                self.text(at, out);
                return at + 2;
            }
            _ if !self.source.tape.binary => {
                out.extend_from_slice(self.span(at));
                return at + 2;
            }
            _ => {
                write_avro_scalar(node, self.span(at), out);
                return at + 2;
            }
        }
        at + 1
    }

    fn span(&self, at: usize) -> &[u8] {
        let words = &self.source.tape.words;
        &self.source.body[words[at] as usize..words[at + 1] as usize]
    }

    fn text(&self, at: usize, out: &mut Vec<u8>) {
        if self.source.tape.binary {
            quote(self.span(at), out);
        } else {
            out.extend_from_slice(self.span(at));
        }
    }
}

/// Ends a list whose items each left a comma behind.
fn close(bracket: u8, out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

fn write_avro_scalar(node: &Node, bytes: &[u8], out: &mut Vec<u8>) {
    match node {
        Node::Int | Node::Long => {
            let number = Reader { body: bytes, pos: 0 }.long().expect("decoded before");
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Node::Float => {
            let value = f32::from_le_bytes(bytes.try_into().expect("a float has 4 bytes"));
            if value.is_finite() {
                out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
            } else {
                write_not_finite(value.into(), out);
            }
        }
        Node::Double => {
            let value = f64::from_le_bytes(bytes.try_into().expect("a double has 8 bytes"));
            if value.is_finite() {
                out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
            } else {
                write_not_finite(value, out);
            }
        }
        _ => {
            let latin1: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            quote(latin1.as_bytes(), out);
        }
    }
}

fn write_not_finite(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(match value {
        f64::INFINITY => b"\"Infinity\"".as_slice(),
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    });
}

fn write_nonce(stamp: &Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(stamp.nonce).as_bytes());
}

fn write_timestamp(stamp: &Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(stamp.timestamp.0).as_bytes());
}

fn write_key_link(stamp: &Stamp, out: &mut Vec<u8>) {
    let mut buffer = uuid::Uuid::encode_buffer();
    quote_plain(stamp.key_link.0.hyphenated().encode_lower(&mut buffer).as_bytes(), out);
}

fn quote_plain(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Writes a JSON string. Only what must be escaped is.
pub(super) fn quote(mut text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let plain = plain_prefix(text);
        out.extend_from_slice(&text[..plain]);
        let Some(special) = text.get(plain) else { break };
        let short = match special {
            b'"' | b'\\' => Some(*special),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            8 => Some(b'b'),
            12 => Some(b'f'),
            _ => None,
        };
        match short {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(special >> 4), hex(special & 15)]);
            }
        }
        text = &text[plain + 1..];
    }
    out.push(b'"');
}

/// Copies `range` of `bytes`, writing the edits that lie inside it instead of what they cover.
pub(super) fn copy_edited(
    source: &Source<'_>,
    bytes: &[u8],
    range: std::ops::Range<usize>,
    write: impl Fn(What, &mut Vec<u8>) -> bool,
    out: &mut Vec<u8>,
) {
    let edits = &source.tape.edits;
    let first = edits.partition_point(|edit| (edit.start as usize) < range.start);
    let mut done = range.start;
    for edit in &edits[first..] {
        if edit.end as usize > range.end {
            break;
        }
        out.extend_from_slice(&bytes[done..edit.start as usize]);
        done = edit.start as usize;
        if write(edit.what, out) {
            done = edit.end as usize;
        }
    }
    out.extend_from_slice(&bytes[done..range.end]);
}

/// Writes one edit of an Avro datum. False: what it covers stays as it is.
pub(super) fn write_avro_edit(source: &Source<'_>, meta: &MetaShape, what: What, out: &mut Vec<u8>) -> bool {
    match (what, source.stamp) {
        (What::Mark(mark), _) => {
            if source.replaced.get(mark as usize).copied().flatten().is_none() {
                return false;
            }
            write_avro_text(source.marked(mark).1, out);
        }
        (What::BlockCount(count), _) => write_varint(count.into(), out),
        (What::Nonce, Some(stamp)) => {
            write_varint(meta.nonce.branch.into(), out);
            write_varint(stamp.nonce.into(), out);
        }
        (What::Timestamp, Some(stamp)) => {
            write_varint(meta.timestamp.branch.into(), out);
            write_varint(stamp.timestamp.0, out);
        }
        (What::KeyLink, Some(stamp)) => {
            write_varint(meta.key_link.branch.into(), out);
            let mut buffer = uuid::Uuid::encode_buffer();
            write_avro_text(stamp.key_link.0.hyphenated().encode_lower(&mut buffer).as_bytes(), out);
        }
        _ => return false,
    }
    true
}

type StampWriter = fn(&Stamp, &mut Vec<u8>);

/// Writes one edit of a JSON Schema event. False: what it covers stays as it is.
pub(super) fn write_json_edit(source: &Source<'_>, what: What, out: &mut Vec<u8>) -> bool {
    match (what, source.stamp) {
        (What::Mark(mark), _) => source.write_mark(mark, out),
        (What::Nonce, Some(stamp)) => write_nonce(stamp, out),
        (What::Timestamp, Some(stamp)) => write_timestamp(stamp, out),
        (What::KeyLink, Some(stamp)) => write_key_link(stamp, out),
        (What::MetaEnd { nonce, timestamp, key_link }, Some(stamp)) => {
            let missing: [(bool, &[u8], StampWriter); 3] = [
                (nonce, b",\"nonce\":", write_nonce),
                (timestamp, b",\"timestamp\":", write_timestamp),
                (key_link, b",\"keyLink\":", write_key_link),
            ];
            for (_, key, write) in missing.iter().filter(|(missing, ..)| *missing) {
                out.extend_from_slice(key);
                write(stamp, out);
            }
        }
        _ => return false,
    }
    true
}

fn write_avro_text(text: &[u8], out: &mut Vec<u8>) {
    write_varint(text.len().try_into().expect("a text is at most 64 MiB"), out);
    out.extend_from_slice(text);
}

fn write_varint(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
