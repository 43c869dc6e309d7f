//! Avro binary onto the tape.
//!
//! Strict: union index and enum symbol in range, booleans 0 or 1, varints of at most 10 bytes that fit
//! their type, UTF-8. A count is compared with the bytes that are left before anything is done about it;
//! items without bytes of their own are limited by `limits::EMPTY_ITEMS_MAX` over the whole event.

use super::{
    error::{DecodeError, Place},
    meta::MetaShape,
    shape::{Node, NodeId, Nodes, RecordShape},
    tape::{Edit, Origin, Tape, Text, What, position},
};
use crate::domain::limits;

type Decoded<T = ()> = Result<T, DecodeError>;

/// Decodes one datum from the front of `body`; returns its length.
pub(super) fn decode(
    nodes: &Nodes,
    root: NodeId,
    meta: &MetaShape,
    body: &[u8],
    tape: &mut Tape,
) -> Decoded<usize> {
    let mut decoder = Decoder { nodes, reader: Reader { body, pos: 0 }, tape, empty_items: 0 };
    decoder.event(root, meta)?;
    decoder.tape.length = decoder.reader.pos;
    Ok(decoder.reader.pos)
}

/// Steps through Avro primitives.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub body: &'a [u8],
    pub pos: usize,
}

impl<'a> Reader<'a> {
    fn place(&self) -> Place {
        Place::at(self.pos)
    }

    fn invalid<T>(&self, rule: &'static str) -> Decoded<T> {
        Err(DecodeError::AvroInvalid(self.place(), rule))
    }

    pub fn rest(&self) -> usize {
        self.body.len() - self.pos
    }

    #[inline]
    pub fn byte(&mut self) -> Decoded<u8> {
        let Some(&byte) = self.body.get(self.pos) else {
            return Err(DecodeError::AvroTruncated(self.place()));
        };
        self.pos += 1;
        Ok(byte)
    }

    /// A variable-length, zig-zag coded number.
    #[inline]
    pub fn long(&mut self) -> Decoded<i64> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        if first >= 0x80 {
            value = self.long_rest(value)?;
        }
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn long_rest(&mut self, mut value: u64) -> Decoded<u64> {
        for shift in (7..=63).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return self.invalid("a number has more than 64 bits");
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.invalid("a number has more than 10 bytes")
    }

    pub fn int(&mut self) -> Decoded<i32> {
        let at = *self;
        i32::try_from(self.long()?).or_else(|_| at.invalid("an int has more than 32 bits"))
    }

    /// A length or count: not negative, and no more than the bytes that are left.
    #[inline]
    pub fn length(&mut self) -> Decoded<usize> {
        let at = *self;
        let Ok(length) = usize::try_from(self.long()?) else { return at.invalid("a length is negative") };
        if length > self.rest() {
            return Err(DecodeError::AvroTruncated(at.place()));
        }
        Ok(length)
    }

    pub fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let Some(bytes) = self.body.get(self.pos..self.pos.saturating_add(length)) else {
            return Err(DecodeError::AvroTruncated(self.place()));
        };
        self.pos += length;
        Ok(bytes)
    }

    fn text(&mut self) -> Decoded<(usize, usize)> {
        let length = self.length()?;
        let start = self.pos;
        if std::str::from_utf8(self.take(length)?).is_err() {
            return Err(DecodeError::AvroInvalid(Place::at(start), "a string is not UTF-8"));
        }
        Ok((start, self.pos))
    }
}

struct Decoder<'a> {
    nodes: &'a Nodes,
    reader: Reader<'a>,
    tape: &'a mut Tape,
    empty_items: u64,
}

impl Decoder<'_> {
    /// The top record: like any record, but remembers where the stamped fields of `strmMeta` lie.
    fn event(&mut self, root: NodeId, meta: &MetaShape) -> Decoded {
        let Node::Record(record) = self.nodes.get(root) else {
            unreachable!("checked by SchemaPlan::compile")
        };
        self.tape.charge(record.skeleton, 0)?;
        let slots = self.tape.slots(record.fields.len());
        self.tape.fill_slot(slots);
        self.meta(record.fields[0].node, meta).map_err(|error| error.within(&record.fields[0].name))?;
        self.fields(record, slots, 1, 1)
    }

    fn meta(&mut self, node: NodeId, meta: &MetaShape) -> Decoded {
        let Node::Record(record) = self.nodes.get(node) else {
            unreachable!("checked by SchemaPlan::compile")
        };
        self.tape.charge(record.skeleton, self.reader.pos)?;
        let slots = self.tape.slots(record.fields.len());
        for (index, field) in record.fields.iter().enumerate() {
            self.tape.fill_slot(slots + index);
            let start = self.reader.pos;
            self.value(field.node, 2).map_err(|error| error.within(&field.name))?;
            let what = match index {
                _ if index == meta.nonce.field => What::Nonce,
                _ if index == meta.timestamp.field => What::Timestamp,
                _ if index == meta.key_link.field => What::KeyLink,
                _ => continue,
            };
            self.edit(start, what);
        }
        Ok(())
    }

    fn edit(&mut self, start: usize, what: What) {
        self.tape.edits.push(Edit { start: position(start), end: position(self.reader.pos), what });
    }

    fn fields(&mut self, record: &RecordShape, slots: usize, first: usize, depth: usize) -> Decoded {
        for (index, field) in record.fields.iter().enumerate().skip(first) {
            self.tape.fill_slot(slots + index);
            self.value(field.node, depth).map_err(|error| error.within(&field.name))?;
        }
        Ok(())
    }

    fn value(&mut self, node: NodeId, depth: usize) -> Decoded {
        match self.nodes.get(node) {
            Node::Null => {}
            Node::Text => {
                let (start, end) = self.reader.text()?;
                self.tape.span(start, end);
            }
            Node::Marked(field) => self.marked(*field)?,
            Node::Union(union) => {
                let at = self.reader;
                let index = usize::try_from(self.reader.long()?).unwrap_or(usize::MAX);
                let Some(branch) = union.branches.get(index) else {
                    return at.invalid("a union has no such branch");
                };
                self.tape.word(index);
                self.value(branch.node, depth)?;
            }
            Node::Record(record) => {
                let depth = self.deeper(depth)?;
                self.tape.charge(record.skeleton, self.reader.pos)?;
                let slots = self.tape.slots(record.fields.len());
                self.fields(record, slots, 0, depth)?;
            }
            Node::Array(items) => self.array(*items, depth)?,
            Node::Map(values) => self.map(*values, depth)?,
            scalar => self.scalar(scalar)?,
        }
        Ok(())
    }

    fn scalar(&mut self, node: &Node) -> Decoded {
        let start = self.reader.pos;
        match node {
            Node::Boolean => match self.reader.byte()? {
                value @ 0..=1 => {
                    self.tape.word(value.into());
                    return Ok(());
                }
                _ => return Err(DecodeError::AvroInvalid(Place::at(start), "a boolean is neither 0 nor 1")),
            },
            Node::Int => drop(self.reader.int()?),
            Node::Long => drop(self.reader.long()?),
            Node::Float => drop(self.reader.take(4)?),
            Node::Double => drop(self.reader.take(8)?),
            Node::Fixed(size) => drop(self.reader.take(*size)?),
            Node::Bytes => {
                let length = self.reader.length()?;
                let start = self.reader.pos;
                self.reader.take(length)?;
                self.tape.span(start, self.reader.pos);
                return Ok(());
            }
            Node::Enum(symbols) => {
                let index = usize::try_from(self.reader.int()?).unwrap_or(usize::MAX);
                let Some(symbol) = symbols.get(index) else {
                    return Err(DecodeError::AvroInvalid(Place::at(start), "an enum has no such symbol"));
                };
                self.tape.charge(symbol.len() as u64, self.reader.pos)?;
                self.tape.word(index);
                return Ok(());
            }
            _ => unreachable!("not a scalar"),
        }
        self.tape.span(start, self.reader.pos);
        Ok(())
    }

    fn marked(&mut self, field: u32) -> Decoded {
        let before = self.reader.pos;
        let (start, end) = self.reader.text()?;
        let text = Text { origin: Origin::Body, start: position(start), end: position(end) };
        let mark = self.tape.mark(field, text);
        self.tape.words.push(mark);
        self.edit(before, What::Mark(mark));
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Decoded<usize> {
        if depth >= limits::DEPTH_MAX {
            return Err(DecodeError::AvroTooDeep(self.reader.place()));
        }
        Ok(depth + 1)
    }

    fn array(&mut self, items: NodeId, depth: usize) -> Decoded {
        let depth = self.deeper(depth)?;
        let empty = self.nodes.may_be_empty(items);
        let count_at = self.tape.words.len();
        self.tape.words.push(0);
        let mut total = 0;
        while let Some(block) = self.block(empty)? {
            for _ in 0..block.count {
                self.value(items, depth)?;
            }
            total += block.count;
            self.end_block(block)?;
        }
        self.tape.words[count_at] = position(total);
        Ok(())
    }

    fn map(&mut self, values: NodeId, depth: usize) -> Decoded {
        let depth = self.deeper(depth)?;
        let count_at = self.tape.words.len();
        self.tape.words.push(0);
        let (mut total, keys_from) = (0, self.tape.keys.len());
        while let Some(block) = self.block(false)? {
            for _ in 0..block.count {
                let (start, end) = self.reader.text()?;
                self.tape.span(start, end);
                let key = Text { origin: Origin::Body, start: position(start), end: position(end) };
                self.tape.keys.push(key);
                self.value(values, depth)?;
            }
            total += block.count;
            self.end_block(block)?;
        }
        self.tape.words[count_at] = position(total);
        if self.tape.close_keys(self.reader.body, keys_from) {
            return self.reader.invalid("a map has a key twice");
        }
        Ok(())
    }

    /// The header of the next block; None at the end of the array or map.
    fn block(&mut self, empty: bool) -> Decoded<Option<Block>> {
        let at = self.reader;
        let count = self.reader.long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut end = None;
        if count < 0 {
            let size = self.reader.length()?;
            end = Some(self.reader.pos + size);
        }
        let Ok(count) = usize::try_from(count.unsigned_abs()) else {
            return at.invalid("a count is too large");
        };
        if empty {
            self.empty_items = self.empty_items.saturating_add(count as u64);
            if self.empty_items > limits::EMPTY_ITEMS_MAX {
                return at.invalid("too many items without bytes of their own");
            }
            self.tape.charge(5 * count as u64, self.reader.pos)?;
        } else if count > self.reader.rest() {
            return Err(DecodeError::AvroTruncated(at.place()));
        }
        if end.is_some() {
            self.edit(at.pos, What::BlockCount(position(count)));
        }
        Ok(Some(Block { count, end }))
    }

    fn end_block(&mut self, block: Block) -> Decoded {
        match block.end {
            Some(end) if end != self.reader.pos => {
                self.reader.invalid("a block has another size than it says")
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
struct Block {
    count: usize,
    end: Option<usize>,
}
