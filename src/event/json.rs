//! JSON for an Avro schema onto the tape: one decoder for tagged (Avro JSON) and plain unions.
//!
//! A union's value is read as tagged when it is an object with exactly one key, the key names a branch
//! (qualified or not), and what is behind it has that branch's JSON kind. Otherwise it is plain, and the
//! first branch that fits is taken: kind and range for numbers, symbols for enums, keys for records when
//! several branches could be an object. A union that stays ambiguous under that rule needs tags.
//! bytes and fixed are strings of U+0000 to U+00FF; float and double also take "NaN", "Infinity" and
//! "-Infinity". Keys may come in any order, white space is free.

use super::{
    error::{DecodeError, Place},
    json_scan::{RawNumber, RawText, Scan},
    shape::{Node, NodeId, Nodes, RecordShape, UnionShape},
    tape::{ABSENT, Origin, Tape, Text, position},
};
use crate::domain::limits;

type Decoded<T = ()> = Result<T, DecodeError>;

/// Decodes the one event that `body` holds.
pub(super) fn decode(nodes: &Nodes, root: NodeId, body: &[u8], tape: &mut Tape) -> Decoded {
    let mut decoder = Decoder { nodes, scan: Scan::new(body)?, tape };
    decoder.value(root, 0)?;
    decoder.scan.end()
}

struct Decoder<'a> {
    nodes: &'a Nodes,
    scan: Scan<'a>,
    tape: &'a mut Tape,
}

impl Decoder<'_> {
    #[cold]
    fn mismatch<T>(&self, wanted: &'static str) -> Decoded<T> {
        Err(DecodeError::FieldType(self.scan.place(), wanted))
    }

    fn value(&mut self, node: NodeId, depth: usize) -> Decoded {
        let next = self.scan.peek();
        match self.nodes.get(node) {
            Node::Text if next == b'"' => {
                let raw = self.scan.string()?;
                self.tape.span(raw.start - 1, raw.end + 1);
            }
            Node::Marked(field) if next == b'"' => {
                let raw = self.scan.string()?;
                let text = text(&self.scan, raw, &mut self.tape.scratch);
                let mark = self.tape.mark(*field, text);
                self.tape.words.push(mark);
            }
            Node::Text | Node::Marked(_) => return self.mismatch("string"),
            Node::Record(record) if next == b'{' => self.record(record, depth)?,
            Node::Record(_) => return self.mismatch("record"),
            Node::Union(union) => self.union(union, next, depth)?,
            Node::Array(items) if next == b'[' => self.array(*items, depth)?,
            Node::Array(_) => return self.mismatch("array"),
            Node::Map(values) if next == b'{' => self.map(*values, depth)?,
            Node::Map(_) => return self.mismatch("map"),
            scalar => self.scalar(scalar, next)?,
        }
        Ok(())
    }

    fn scalar(&mut self, node: &Node, next: u8) -> Decoded {
        let at = self.scan;
        match (node, next) {
            (Node::Null, b'n') => self.scan.literal("null")?,
            (Node::Boolean, b't') => {
                self.scan.literal("true")?;
                self.tape.words.push(1);
            }
            (Node::Boolean, b'f') => {
                self.scan.literal("false")?;
                self.tape.words.push(0);
            }
            (Node::Int | Node::Long | Node::Float | Node::Double, b'-' | b'0'..=b'9') => {
                let raw = self.scan.number()?;
                if !number_fits(node, &self.scan, raw) {
                    self.scan = at;
                    return self.mismatch(wanted(node));
                }
                self.tape.span(raw.start, raw.end);
            }
            (Node::Float | Node::Double | Node::Bytes | Node::Fixed(_), b'"') => {
                let raw = self.scan.string()?;
                if !string_fits(node, &self.scan, raw) {
                    self.scan = at;
                    return self.mismatch(wanted(node));
                }
                self.tape.span(raw.start - 1, raw.end + 1);
            }
            (Node::Enum(symbols), b'"') => {
                let raw = self.scan.string()?;
                let Some(symbol) = symbol(symbols, &self.scan, raw) else {
                    self.scan = at;
                    return self.mismatch("symbol of the enum");
                };
                self.tape.word(symbol);
            }
            _ => return self.mismatch(wanted(node)),
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordShape, depth: usize) -> Decoded {
        let depth = self.scan.open(depth)?;
        self.tape.charge(record.skeleton, self.scan.pos)?;
        let slots = self.tape.slots(record.fields.len());
        if !self.scan.accept(b'}') {
            let mut expected = 0;
            loop {
                let index = self.key(record, expected)?;
                let field = &record.fields[index];
                if self.tape.words[slots + index] != ABSENT {
                    return Err(DecodeError::JsonDuplicateKey(self.scan.place()).within(&field.name));
                }
                self.tape.fill_slot(slots + index);
                self.value(field.node, depth).map_err(|error| error.within(&field.name))?;
                expected = index + 1;
                if !self.scan.more(b'}')? {
                    break;
                }
            }
        }
        let missing = |(slot, field): (&u32, &super::shape::FieldShape)| *slot == ABSENT && !field.nullable;
        let given = &self.tape.words[slots..slots + record.fields.len()];
        match given.iter().zip(&record.fields).position(missing) {
            Some(index) => {
                Err(DecodeError::FieldMissing(self.scan.place()).within(&record.fields[index].name))
            }
            None => Ok(()),
        }
    }

    /// Reads a key and its colon; the number of the field it names. `expected` is tried first.
    #[inline]
    fn key(&mut self, record: &RecordShape, expected: usize) -> Decoded<usize> {
        self.scan.skip_space();
        if let Some(field) = record.fields.get(expected)
            && let rest = &self.scan.body[self.scan.pos..]
            && rest.starts_with(&field.key[..field.key.len() - 1])
        {
            let colon = rest.get(field.key.len() - 1) == Some(&b':');
            self.scan.pos += field.key.len() - usize::from(!colon);
            if !colon {
                self.scan.expect(b':', "expected ':'")?;
            }
            return Ok(expected);
        }
        let at = self.scan;
        let raw = self.scan.string()?;
        let found = with_text(&self.scan, raw, |name| record.position(name));
        self.scan.expect(b':', "expected ':'")?;
        found.ok_or_else(|| DecodeError::FieldUnknown(at.place()))
    }

    fn array(&mut self, items: NodeId, depth: usize) -> Decoded {
        let depth = self.scan.open(depth)?;
        let count_at = self.tape.words.len();
        self.tape.words.push(0);
        if self.scan.accept(b']') {
            return Ok(());
        }
        let mut count = 0;
        loop {
            self.value(items, depth)?;
            count += 1;
            if !self.scan.more(b']')? {
                self.tape.words[count_at] = position(count);
                return Ok(());
            }
        }
    }

    fn map(&mut self, values: NodeId, depth: usize) -> Decoded {
        let at = self.scan.place();
        let depth = self.scan.open(depth)?;
        let (count_at, keys_from) = (self.tape.words.len(), self.tape.keys.len());
        self.tape.words.push(0);
        if self.scan.accept(b'}') {
            return Ok(());
        }
        let mut count = 0;
        loop {
            let raw = self.scan.string()?;
            self.scan.expect(b':', "expected ':'")?;
            self.tape.span(raw.start - 1, raw.end + 1);
            let key = text(&self.scan, raw, &mut self.tape.scratch);
            self.tape.keys.push(key);
            self.value(values, depth)?;
            count += 1;
            if !self.scan.more(b'}')? {
                break;
            }
        }
        self.tape.words[count_at] = position(count);
        if self.tape.close_keys(self.scan.body, keys_from) {
            return Err(DecodeError::JsonDuplicateKey(at));
        }
        Ok(())
    }

    fn union(&mut self, union: &UnionShape, next: u8, depth: usize) -> Decoded {
        if next == b'n' {
            let Some(null) = union.null else { return self.mismatch("branch of the union") };
            self.tape.words.push(null);
            return self.scan.literal("null");
        }
        if next == b'{'
            && let Some((branch, value)) = self.tag(union, depth)?
        {
            let shape = &union.branches[branch];
            self.tape.tagged = true;
            self.tape.charge(shape.open.len() as u64, self.scan.pos)?;
            self.tape.word(branch);
            self.scan.pos = value;
            self.value(shape.node, depth + 1)?;
            return self.scan.expect(b'}', "a tagged value has one key");
        }
        if let Some((branch, node)) = union.sole {
            self.tape.words.push(branch);
            return self.value(node, depth);
        }
        let Some(branch) = self.plain_branch(union, next, depth)? else {
            return self.mismatch("branch of the union");
        };
        self.tape.word(branch);
        self.value(union.branches[branch].node, depth)
    }

    /// Recognises a tagged value: its branch, and where the inner value begins.
    fn tag(&self, union: &UnionShape, depth: usize) -> Decoded<Option<(usize, usize)>> {
        let mut scan = self.scan;
        let depth = scan.open(depth)?;
        if scan.peek() != b'"' {
            return Ok(None);
        }
        let raw = scan.string()?;
        let named = |tag: &[u8]| union.branches.iter().position(|branch| branch.is_tagged_by(tag));
        let Some(index) = with_text(&scan, raw, named) else { return Ok(None) };
        scan.expect(b':', "expected ':'")?;
        if !self.may_begin(union.branches[index].node, scan.peek()) {
            return Ok(None);
        }
        if union.objects > 0 {
            let mut ahead = scan;
            ahead.skip(depth)?;
            if ahead.peek() != b'}' {
                return Ok(None);
            }
        }
        Ok(Some((index, scan.pos)))
    }

    fn may_begin(&self, node: NodeId, next: u8) -> bool {
        match self.nodes.get(node) {
            Node::Null | Node::Union(_) => false,
            Node::Boolean => matches!(next, b't' | b'f'),
            Node::Int | Node::Long => matches!(next, b'-' | b'0'..=b'9'),
            Node::Float | Node::Double => matches!(next, b'-' | b'0'..=b'9' | b'"'),
            Node::Bytes | Node::Text | Node::Marked(_) | Node::Fixed(_) | Node::Enum(_) => next == b'"',
            Node::Array(_) => next == b'[',
            Node::Map(_) | Node::Record(_) => next == b'{',
        }
    }

    fn plain_branch(&self, union: &UnionShape, next: u8, depth: usize) -> Decoded<Option<usize>> {
        let fitting = |fits: &dyn Fn(&Node) -> bool| {
            let begins = |node| self.may_begin(node, next);
            union.branches.iter().position(|branch| begins(branch.node) && fits(self.nodes.get(branch.node)))
        };
        let mut scan = self.scan;
        Ok(match next {
            b'"' => {
                let raw = scan.string()?;
                fitting(&|node| string_fits(node, &scan, raw))
            }
            b'-' | b'0'..=b'9' => {
                let raw = scan.number()?;
                fitting(&|node| number_fits(node, &scan, raw))
            }
            b'{' if union.objects > 1 => {
                let keys = keys(scan, depth)?;
                fitting(&|node| match node {
                    Node::Record(record) => record_fits(record, &scan, &keys),
                    _ => true,
                })
            }
            _ => fitting(&|_| true),
        })
    }
}

/// The keys of the object that is next. At most one more than a schema can have fields.
fn keys(mut scan: Scan<'_>, depth: usize) -> Decoded<Vec<RawText>> {
    let mut keys = Vec::new();
    let depth = scan.open(depth)?;
    if scan.accept(b'}') {
        return Ok(keys);
    }
    loop {
        keys.push(scan.string()?);
        scan.expect(b':', "expected ':'")?;
        scan.skip(depth)?;
        if !scan.more(b'}')? || keys.len() > limits::SCHEMA_FIELDS_MAX {
            return Ok(keys);
        }
    }
}

/// Whether every key is a field and every field that cannot be left out is there.
fn record_fits(record: &RecordShape, scan: &Scan<'_>, keys: &[RawText]) -> bool {
    if keys.len() > record.fields.len() {
        return false;
    }
    let mut demanded = record.fields.iter().filter(|field| !field.nullable).count();
    for key in keys {
        match with_text(scan, *key, |name| record.position(name)) {
            Some(index) => demanded = demanded.saturating_sub(usize::from(!record.fields[index].nullable)),
            None => return false,
        }
    }
    demanded == 0
}

fn wanted(node: &Node) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Boolean => "boolean",
        Node::Int => "int",
        Node::Long => "long",
        Node::Float => "float",
        Node::Double => "double",
        Node::Bytes => "bytes",
        Node::Fixed(_) => "fixed",
        Node::Enum(_) => "enum",
        _ => "string",
    }
}

/// A number of the schema's kind: integers without fraction or exponent, floats finite.
fn number_fits(node: &Node, scan: &Scan<'_>, raw: RawNumber) -> bool {
    let text = scan.number_text(raw);
    match node {
        Node::Int => raw.integer && text.parse::<i32>().is_ok(),
        Node::Long => raw.integer && text.parse::<i64>().is_ok(),
        Node::Float => text.parse().is_ok_and(f32::is_finite),
        Node::Double => text.parse().is_ok_and(f64::is_finite),
        _ => false,
    }
}

fn string_fits(node: &Node, scan: &Scan<'_>, raw: RawText) -> bool {
    match node {
        Node::Text | Node::Marked(_) => true,
        Node::Bytes => with_text(scan, raw, latin1_length).is_some(),
        Node::Fixed(size) => with_text(scan, raw, latin1_length) == Some(*size),
        Node::Enum(symbols) => symbol(symbols, scan, raw).is_some(),
        Node::Float | Node::Double => {
            matches!(&scan.body[raw.start..raw.end], b"NaN" | b"Infinity" | b"-Infinity")
        }
        _ => false,
    }
}

fn symbol(symbols: &[Box<str>], scan: &Scan<'_>, raw: RawText) -> Option<usize> {
    with_text(scan, raw, |text| symbols.iter().position(|symbol| symbol.as_bytes() == text))
}

/// Number of characters, when all of them stand for one byte.
fn latin1_length(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars().try_fold(0, |count, character| (u32::from(character) <= 0xff).then_some(count + 1))
}

/// The text without its escapes; unescaped into `scratch` when it has any.
pub(super) fn text(scan: &Scan<'_>, raw: RawText, scratch: &mut Vec<u8>) -> Text {
    if !raw.escaped {
        return Text { origin: Origin::Body, start: position(raw.start), end: position(raw.end) };
    }
    let start = scratch.len();
    scan.unescape(raw, scratch);
    Text { origin: Origin::Scratch, start: position(start), end: position(scratch.len()) }
}

/// Shows the unescaped text to `look`. Allocates only for escapes.
pub(super) fn with_text<T>(scan: &Scan<'_>, raw: RawText, look: impl FnOnce(&[u8]) -> T) -> T {
    if !raw.escaped {
        return look(&scan.body[raw.start..raw.end]);
    }
    let mut unescaped = Vec::with_capacity(raw.end - raw.start);
    scan.unescape(raw, &mut unescaped);
    look(&unescaped)
}

/// Looks for the value of `key` in the object that is next; leaves the scanner before it.
pub(super) fn find_key(scan: &mut Scan<'_>, key: &str, depth: usize) -> Decoded<bool> {
    if scan.peek() != b'{' {
        return Err(DecodeError::MetaMissing(Place::at(scan.pos)));
    }
    let depth = scan.open(depth)?;
    if scan.accept(b'}') {
        return Ok(false);
    }
    loop {
        let raw = scan.string()?;
        scan.expect(b':', "expected ':'")?;
        if with_text(scan, raw, |name| name == key.as_bytes()) {
            return Ok(true);
        }
        scan.skip(depth)?;
        if !scan.more(b'}')? {
            return Ok(false);
        }
    }
}
