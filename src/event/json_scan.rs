//! Steps through JSON text (RFC 8259) without building anything.
//!
//! The body is checked to be UTF-8 once, before. Every number, escape and literal is checked here, so that
//! spans of the body may be written out again as they are.

use super::error::{DecodeError, Place};
use crate::domain::limits;

type Decoded<T = ()> = Result<T, DecodeError>;

/// A string of the body: `start` and `end` without the quotes.
#[derive(Clone, Copy)]
pub(super) struct RawText {
    pub start: usize,
    pub end: usize,
    pub escaped: bool,
}

/// A number of the body.
#[derive(Clone, Copy)]
pub(super) struct RawNumber {
    pub start: usize,
    pub end: usize,
    pub integer: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub body: &'a [u8],
    pub pos: usize,
}

impl<'a> Scan<'a> {
    /// # Errors
    ///
    /// The body is not UTF-8.
    pub fn new(body: &'a [u8]) -> Decoded<Scan<'a>> {
        match std::str::from_utf8(body) {
            Ok(_) => Ok(Scan { body, pos: 0 }),
            Err(error) => Err(DecodeError::JsonInvalid(Place::at(error.valid_up_to()), "not UTF-8")),
        }
    }

    pub fn place(&self) -> Place {
        Place::at(self.pos)
    }

    /// Where the next token begins.
    pub fn peek_place(&mut self) -> Place {
        self.skip_space();
        self.place()
    }

    #[cold]
    pub fn invalid<T>(&self, rule: &'static str) -> Decoded<T> {
        Err(DecodeError::JsonInvalid(self.place(), rule))
    }

    #[inline]
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.body.get(self.pos) {
            self.pos += 1;
        }
    }

    /// The next byte that is not white space; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        self.skip_space();
        self.body.get(self.pos).copied().unwrap_or(0)
    }

    /// Takes `byte` when it is next.
    #[inline]
    pub fn accept(&mut self, byte: u8) -> bool {
        let next = self.peek() == byte && self.pos < self.body.len();
        self.pos += usize::from(next);
        next
    }

    pub fn expect(&mut self, byte: u8, rule: &'static str) -> Decoded {
        if self.accept(byte) { Ok(()) } else { self.invalid(rule) }
    }

    /// After an item: whether another follows. `close` ends the list.
    #[inline]
    pub fn more(&mut self, close: u8) -> Decoded<bool> {
        match self.peek() {
            b',' => {
                self.pos += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.pos += 1;
                Ok(false)
            }
            _ => self.invalid("expected ',' or the end of the list"),
        }
    }

    pub fn end(&mut self) -> Decoded {
        self.skip_space();
        if self.pos == self.body.len() { Ok(()) } else { self.invalid("something follows the event") }
    }

    pub fn literal(&mut self, text: &'static str) -> Decoded {
        if !self.body[self.pos..].starts_with(text.as_bytes()) {
            return self.invalid("not a value");
        }
        self.pos += text.len();
        Ok(())
    }

    /// A string; the next byte must be its opening quote.
    pub fn string(&mut self) -> Decoded<RawText> {
        self.expect(b'"', "expected a string")?;
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_prefix(&self.body[self.pos..]);
            match self.body.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(RawText { start, end: self.pos - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.invalid("a control character in a string"),
                None => return self.invalid("a string without end"),
            }
        }
    }

    /// One escape sequence, both halves of a surrogate pair together. Returns the character.
    fn escape(&mut self) -> Decoded<char> {
        let Some(&kind) = self.body.get(self.pos + 1) else { return self.invalid("a string without end") };
        if kind != b'u' {
            let Some(character) = simple_escape(kind) else { return self.invalid("an unknown escape") };
            self.pos += 2;
            return Ok(character);
        }
        let unit = self.unit(self.pos)?;
        let code = match unit {
            0xd800..=0xdbff if self.body[self.pos + 6..].starts_with(b"\\u") => {
                let low = self.unit(self.pos + 6)?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return self.invalid("a lone surrogate");
                }
                self.pos += 6;
                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => unit,
        };
        let Some(character) = char::from_u32(code) else { return self.invalid("a lone surrogate") };
        self.pos += 6;
        Ok(character)
    }

    /// The UTF-16 unit of the `\uXXXX` that begins at `at`.
    fn unit(&self, at: usize) -> Decoded<u32> {
        let digits = self.body.get(at + 2..at + 6).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return self.invalid("an invalid \\u escape");
        }
        Ok(digits.iter().fold(0, |unit, digit| unit * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }

    /// Appends the unescaped text to `out`.
    pub fn unescape(&self, raw: RawText, out: &mut Vec<u8>) {
        let mut scan = Scan { body: &self.body[..raw.end], pos: raw.start };
        while scan.pos < raw.end {
            let length = plain_prefix(&scan.body[scan.pos..]);
            out.extend_from_slice(&scan.body[scan.pos..scan.pos + length]);
            scan.pos += length;
            if scan.pos < raw.end {
                let character = scan.escape().expect("the string was scanned before");
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    pub fn number(&mut self) -> Decoded<RawNumber> {
        let start = self.pos;
        self.pos += usize::from(self.at(b'-'));
        let whole = self.digits()?;
        if whole > 1 && self.body[self.pos - whole] == b'0' {
            return self.invalid("a number begins with 0");
        }
        let mut integer = true;
        if self.at(b'.') {
            integer = false;
            self.pos += 1;
            self.digits()?;
        }
        if self.at(b'e') || self.at(b'E') {
            integer = false;
            self.pos += 1;
            self.pos += usize::from(self.at(b'+') || self.at(b'-'));
            self.digits()?;
        }
        Ok(RawNumber { start, end: self.pos, integer })
    }

    fn at(&self, byte: u8) -> bool {
        self.body.get(self.pos) == Some(&byte)
    }

    fn digits(&mut self) -> Decoded<usize> {
        let start = self.pos;
        while self.body.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
        if self.pos == start { self.invalid("not a value") } else { Ok(self.pos - start) }
    }

    pub fn number_text(&self, raw: RawNumber) -> &'a str {
        std::str::from_utf8(&self.body[raw.start..raw.end]).expect("a number is ASCII")
    }

    /// Steps over one value of any kind. `depth` is the nesting so far.
    pub fn skip(&mut self, depth: usize) -> Decoded {
        match self.peek() {
            b'"' => drop(self.string()?),
            b'{' | b'[' => {
                let close = if self.body[self.pos] == b'{' { b'}' } else { b']' };
                let depth = self.open(depth)?;
                if self.accept(close) {
                    return Ok(());
                }
                loop {
                    if close == b'}' {
                        self.string()?;
                        self.expect(b':', "expected ':'")?;
                    }
                    self.skip(depth)?;
                    if !self.more(close)? {
                        return Ok(());
                    }
                }
            }
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => drop(self.number()?),
        }
        Ok(())
    }

    /// Takes the opening bracket that is next; returns the nesting inside.
    pub fn open(&mut self, depth: usize) -> Decoded<usize> {
        if depth >= limits::DEPTH_MAX {
            return Err(DecodeError::JsonTooDeep(self.place()));
        }
        self.pos += 1;
        Ok(depth + 1)
    }
}

fn simple_escape(kind: u8) -> Option<char> {
    Some(match kind {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

/// Length of the longest prefix without quotes, backslashes and control characters. Eight bytes a step.
#[inline]
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let stop =
            control | has_zero(word ^ (ONES * u64::from(b'"'))) | has_zero(word ^ (ONES * u64::from(b'\\')));
        // Bits above the first true hit may be false ones; the lowest is always true.
        if stop != 0 {
            return index * 8 + (stop.trailing_zeros() / 8) as usize;
        }
    }
    let special = |byte: &u8| *byte < 0x20 || matches!(*byte, b'"' | b'\\');
    chunks.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}
