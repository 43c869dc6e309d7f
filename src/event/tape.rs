//! What a decoder leaves for validation, sealing and encoding: flat, reusable, without the text itself.
//!
//! ```text
//! value in words (u32)   null: nothing        boolean, enum: 1, the value      number: 2, start and end in the body
//!                        string, bytes: 2, start and end in the body (JSON: with its quotes)
//!                        marked string: 1, the mark   array, map: 1, the count, then the items (map: key, value)
//!                        union: 1, the branch, then its value
//!                        record: one word a field: where its value's words begin, or ABSENT
//! ```
//! A record's values lie in the order they arrived; its slots are in schema order. Ranges point into the
//! body that was decoded, so a tape is only of use together with that body.

use std::mem;

use super::error::{DecodeError, Place};
use crate::domain::{Serialization, limits};

/// Slot of a field that was left out and is written as null.
pub(super) const ABSENT: u32 = u32::MAX;

/// Where a text lies: in the body, or in one of the tape's own buffers. Holds no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    pub(super) origin: Origin,
    pub(super) start: u32,
    pub(super) end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The body; in JSON between its quotes, and free of escapes.
    Body,
    /// Unescaped by a decoder.
    Scratch,
    /// Appended by the caller.
    Added,
}

/// One occurrence of a string that is a field of the plan (each element of a list by itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Index into `EventPlan::fields`.
    pub field: usize,
    pub text: Text,
}

/// A stretch of the source that is written differently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub start: u32,
    pub end: u32,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Mark(u32),
    Nonce,
    Timestamp,
    KeyLink,
    /// End of a JSON Schema event's strmMeta: members it did not have are written here.
    MetaEnd {
        nonce: bool,
        timestamp: bool,
        key_link: bool,
    },
    /// Header of an Avro block that told its size, which no longer holds: rewritten as a plain count.
    BlockCount(u32),
}

/// Reusable buffers of one decoded event. Never shows text in `Debug`.
#[derive(Default)]
pub struct Tape {
    pub(super) words: Vec<u32>,
    pub(super) scratch: Vec<u8>,
    pub(super) added: Vec<u8>,
    pub(super) marks: Vec<Mark>,
    pub(super) edits: Vec<Edit>,
    pub(super) consent: Vec<i32>,
    /// Keys of the maps that are open, for finding duplicates.
    pub(super) keys: Vec<Text>,
    pub(super) contract: Option<Text>,
    pub(super) key: Option<Text>,
    pub(super) subject: Option<Text>,
    pub(super) tagged: bool,
    pub(super) binary: bool,
    /// JSON Schema: the members of the event without white space, each with a comma before it.
    pub(super) compact: Vec<u8>,
    /// JSON Schema: the `strmMeta` member inside `compact`.
    pub(super) meta: (usize, usize),
    /// Avro binary: bytes of the datum.
    pub(super) length: usize,
    pub(super) expansion: u64,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("words", &self.words.len()).field("marks", &self.marks.len()).finish()
    }
}

impl Tape {
    /// An empty tape. Reuse it: its buffers grow to the largest event and stay.
    #[must_use]
    pub fn new() -> Tape {
        Tape::default()
    }

    /// One entry per string occurrence of a plan field, in the order of the body.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The bytes of a text, valid UTF-8 and unescaped. `body` must be the body that was decoded.
    #[must_use]
    pub fn text<'t>(&'t self, body: &'t [u8], text: Text) -> &'t [u8] {
        let range = text.start as usize..text.end as usize;
        match text.origin {
            Origin::Body => &body[range],
            Origin::Scratch => &self.scratch[range],
            Origin::Added => &self.added[range],
        }
    }

    /// Makes a new text out of `old`: `write` gets the old bytes and a buffer to append UTF-8 to.
    ///
    /// # Errors
    ///
    /// Those of `write`; what it appended is then forgotten.
    pub fn add<E>(
        &mut self,
        body: &[u8],
        old: Text,
        write: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Text, E> {
        let range = old.start as usize..old.end as usize;
        let start = self.added.len();
        let written = match old.origin {
            Origin::Body => write(&body[range], &mut self.added),
            Origin::Scratch => write(&self.scratch[range], &mut self.added),
            Origin::Added => {
                let copy = self.added[range].to_vec();
                write(&copy, &mut self.added)
            }
        };
        if let Err(error) = written {
            self.added.truncate(start);
            return Err(error);
        }
        Ok(Text { origin: Origin::Added, start: position(start), end: position(self.added.len()) })
    }

    /// The event's consent levels, in its order. At most `limits::CONSENT_LEVELS_MAX`.
    #[must_use]
    pub fn consent(&self) -> &[i32] {
        &self.consent
    }

    /// The event's `strmMeta/eventContractRef`. None only before the first successful decode.
    #[must_use]
    pub fn contract_ref(&self) -> Option<Text> {
        self.contract
    }

    /// The key field's value, not empty. None only before the first successful decode.
    #[must_use]
    pub fn key_text(&self) -> Option<Text> {
        self.key
    }

    /// The data-subject field's value; None when the contract names none, or it is null or empty here.
    #[must_use]
    pub fn subject_text(&self) -> Option<Text> {
        self.subject
    }

    /// How `Form::AsReceived` writes this event: JSON is tagged when any union in it was tagged.
    #[must_use]
    pub fn serialization(&self) -> Serialization {
        match (self.binary, self.tagged) {
            (true, _) => Serialization::AvroBinary,
            (false, true) => Serialization::AvroJson,
            (false, false) => Serialization::Json,
        }
    }

    pub(super) fn clear(&mut self, binary: bool) {
        self.words.clear();
        self.scratch.clear();
        self.added.clear();
        self.compact.clear();
        self.marks.clear();
        self.edits.clear();
        self.consent.clear();
        self.keys.clear();
        (self.contract, self.key, self.subject) = (None, None, None);
        (self.tagged, self.binary) = (false, binary);
        self.meta = (0, 0);
        self.expansion = 0;
    }

    pub(super) fn span(&mut self, start: usize, end: usize) {
        self.words.push(position(start));
        self.words.push(position(end));
    }

    pub(super) fn word(&mut self, word: usize) {
        self.words.push(position(word));
    }

    /// Room for the slots of a record with `fields` fields. Returns where they begin.
    pub(super) fn slots(&mut self, fields: usize) -> usize {
        let at = self.words.len();
        self.words.resize(at + fields, ABSENT);
        at
    }

    pub(super) fn fill_slot(&mut self, slot: usize) {
        self.words[slot] = position(self.words.len());
    }

    /// Adds a mark, returns its number.
    pub(super) fn mark(&mut self, field: u32, text: Text) -> u32 {
        self.marks.push(Mark { field: field as usize, text });
        position(self.marks.len() - 1)
    }

    /// Accounts for what an event takes beyond its own bytes.
    pub(super) fn charge(&mut self, bytes: u64, consumed: usize) -> Result<(), DecodeError> {
        self.expansion += bytes;
        if self.expansion > limits::EXPANSION_BYTES + limits::EXPANSION_FACTOR * consumed as u64 {
            return Err(DecodeError::TooLarge(Place::at(consumed)));
        }
        Ok(())
    }

    /// Whether two of the keys from `from` on are equal; forgets them.
    pub(super) fn close_keys(&mut self, body: &[u8], from: usize) -> bool {
        let mut keys = mem::take(&mut self.keys);
        let open = &mut keys[from..];
        let twice = if open.len() <= 8 {
            (1..open.len())
                .any(|at| open[..at].iter().any(|key| self.text(body, *key) == self.text(body, open[at])))
        } else {
            open.sort_unstable_by(|a, b| self.text(body, *a).cmp(self.text(body, *b)));
            open.windows(2).any(|pair| self.text(body, pair[0]) == self.text(body, pair[1]))
        };
        keys.truncate(from);
        self.keys = keys;
        twice
    }
}

pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a body is at most 64 MiB and expands by a bounded factor")
}
