//! JSON for a JSON Schema: a copy without white space, with edits where fields and stamps are.
//!
//! What the schema says about types is left to its validator. This scanner finds the fields of the plan,
//! refuses duplicate keys and demands what every event must have: `strmMeta` with a contract reference and
//! consent levels. A field of the plan that is neither null, a string nor a list of those is refused here
//! too, so that nothing personal passes because a schema was loose.

use super::{
    error::DecodeError,
    json::text,
    json_scan::{RawText, Scan},
    meta::{self, CONSENT_LEVELS, CONTRACT_REF, META},
    plan::check_level_count,
    tape::{Edit, Tape, What, position},
};

type Decoded<T = ()> = Result<T, DecodeError>;

/// The fields of a plan as a tree of names.
#[derive(Debug)]
pub(super) struct Trail {
    nodes: Vec<TrailNode>,
}

#[derive(Debug, Default)]
struct TrailNode {
    children: Vec<(Box<str>, usize)>,
    field: Option<u32>,
}

impl Default for Trail {
    fn default() -> Trail {
        Trail { nodes: vec![TrailNode::default()] }
    }
}

impl Trail {
    pub fn insert(&mut self, path: &[&str], field: u32) {
        let mut at = 0;
        for segment in path {
            at = self.child(at, segment.as_bytes()).unwrap_or_else(|| {
                self.nodes.push(TrailNode::default());
                let child = self.nodes.len() - 1;
                self.nodes[at].children.push(((*segment).into(), child));
                child
            });
        }
        self.nodes[at].field = Some(field);
    }

    fn child(&self, at: usize, name: &[u8]) -> Option<usize> {
        let found = self.nodes[at].children.iter().find(|(known, _)| known.as_bytes() == name)?;
        Some(found.1)
    }
}

/// Decodes the one event that `body` holds.
pub(super) fn decode(trail: &Trail, body: &[u8], tape: &mut Tape) -> Decoded {
    let mut decoder = Decoder { trail, scan: Scan::new(body)?, tape };
    decoder.event()?;
    decoder.scan.end()
}

struct Decoder<'a> {
    trail: &'a Trail,
    scan: Scan<'a>,
    tape: &'a mut Tape,
}

impl Decoder<'_> {
    fn event(&mut self) -> Decoded {
        if self.scan.peek() != b'{' {
            return Err(DecodeError::FieldType(self.scan.place(), "object"));
        }
        let mut meta = None;
        self.members(0, |this, key, depth| {
            let start = this.tape.compact.len();
            this.copy_key(key);
            if this.is_named(key, META) {
                this.meta(depth).map_err(|error| error.within(META))?;
                meta = Some((start, this.tape.compact.len()));
                return Ok(());
            }
            this.member(0, key, depth)
        })?;
        match meta {
            Some(meta) => self.tape.meta = meta,
            None => return Err(DecodeError::MetaMissing(self.scan.place())),
        }
        Ok(())
    }

    /// Walks the members of the object that is next, with the key read and the value next.
    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, RawText, usize) -> Decoded,
    ) -> Decoded {
        let at = self.scan.place();
        let depth = self.scan.open(depth)?;
        let keys_from = self.tape.keys.len();
        if self.scan.accept(b'}') {
            return Ok(());
        }
        loop {
            let key = self.scan.string()?;
            self.scan.expect(b':', "expected ':'")?;
            let name = text(&self.scan, key, &mut self.tape.scratch);
            self.tape.keys.push(name);
            member(self, key, depth)?;
            if !self.scan.more(b'}')? {
                break;
            }
        }
        match self.tape.close_keys(self.scan.body, keys_from) {
            true => Err(DecodeError::JsonDuplicateKey(at)),
            false => Ok(()),
        }
    }

    fn copy_key(&mut self, key: RawText) {
        self.tape.compact.push(b',');
        self.tape.compact.extend_from_slice(&self.scan.body[key.start - 1..=key.end]);
        self.tape.compact.push(b':');
    }

    fn is_named(&self, key: RawText, name: &str) -> bool {
        super::json::with_text(&self.scan, key, |key| key == name.as_bytes())
    }

    fn meta(&mut self, depth: usize) -> Decoded {
        if self.scan.peek() != b'{' {
            return Err(DecodeError::MetaMissing(self.scan.place()));
        }
        let mut missing = (true, true, true);
        let mut has_consent = false;
        let start = self.tape.compact.len();
        self.members(depth, |this, key, depth| {
            this.copy_key(key);
            let stamp = [meta::NONCE, meta::TIMESTAMP, meta::KEY_LINK]
                .into_iter()
                .position(|n| this.is_named(key, n));
            let from = this.tape.compact.len();
            let what = match stamp {
                None if this.is_named(key, CONTRACT_REF) => {
                    return this.contract().map_err(|e| e.within(CONTRACT_REF));
                }
                None if this.is_named(key, CONSENT_LEVELS) => {
                    has_consent = true;
                    return this.consent(depth);
                }
                None => return this.value(None, depth),
                Some(0) => {
                    missing.0 = false;
                    What::Nonce
                }
                Some(1) => {
                    missing.1 = false;
                    What::Timestamp
                }
                Some(_) => {
                    missing.2 = false;
                    What::KeyLink
                }
            };
            this.value(None, depth)?;
            this.edit(from, what);
            Ok(())
        })?;
        if self.tape.contract.is_none() || !has_consent {
            return Err(DecodeError::MetaMissing(self.scan.place()));
        }
        self.tape.compact[start] = b'{';
        let end = self.tape.compact.len();
        self.edit(end, What::MetaEnd { nonce: missing.0, timestamp: missing.1, key_link: missing.2 });
        self.tape.compact.push(b'}');
        Ok(())
    }

    fn edit(&mut self, start: usize, what: What) {
        let end = position(self.tape.compact.len());
        self.tape.edits.push(Edit { start: position(start), end, what });
    }

    fn contract(&mut self) -> Decoded {
        if self.scan.peek() != b'"' {
            return Err(DecodeError::FieldType(self.scan.place(), "string"));
        }
        let raw = self.scan.string()?;
        self.tape.contract = Some(text(&self.scan, raw, &mut self.tape.scratch));
        self.tape.compact.extend_from_slice(&self.scan.body[raw.start - 1..=raw.end]);
        Ok(())
    }

    fn consent(&mut self, depth: usize) -> Decoded {
        if self.scan.peek() != b'[' {
            return Err(DecodeError::FieldType(self.scan.place(), "array").within(CONSENT_LEVELS));
        }
        self.scan.open(depth)?;
        self.tape.compact.push(b'[');
        let mut more = !self.scan.accept(b']');
        while more {
            let at = self.scan.peek_place();
            check_level_count(self.tape.consent.len(), at.offset())?;
            let raw = self.scan.number()?;
            match self.scan.number_text(raw).parse() {
                Ok(level) => self.tape.consent.push(level),
                Err(_) => return Err(DecodeError::FieldType(at, "int").within(CONSENT_LEVELS)),
            }
            self.tape.compact.extend_from_slice(&self.scan.body[raw.start..raw.end]);
            more = self.scan.more(b']')?;
            if more {
                self.tape.compact.push(b',');
            }
        }
        self.tape.compact.push(b']');
        Ok(())
    }

    /// The value of `key`, below node `parent` of the trail.
    fn member(&mut self, parent: usize, key: RawText, depth: usize) -> Decoded {
        let child = super::json::with_text(&self.scan, key, |name| self.trail.child(parent, name));
        let named = child.and_then(|child| {
            let children = &self.trail.nodes[parent].children;
            children.iter().find(|(_, node)| *node == child).map(|(name, _)| name)
        });
        self.value(child, depth).map_err(|error| match named {
            Some(name) => error.within(name),
            None => error,
        })
    }

    fn value(&mut self, trail: Option<usize>, depth: usize) -> Decoded {
        let field = trail.and_then(|at| self.trail.nodes[at].field);
        let next = self.scan.peek();
        let from = self.scan.pos;
        match next {
            b'{' if field.is_none() => {
                let start = self.tape.compact.len();
                self.members(depth, |this, key, depth| {
                    this.copy_key(key);
                    match trail {
                        Some(at) => this.member(at, key, depth),
                        None => this.value(None, depth),
                    }
                })?;
                return self.close(start, b"{}");
            }
            b'[' => {
                let depth = self.scan.open(depth)?;
                let start = self.tape.compact.len();
                let mut more = !self.scan.accept(b']');
                while more {
                    self.tape.compact.push(b',');
                    self.value(trail, depth)?;
                    more = self.scan.more(b']')?;
                }
                return self.close(start, b"[]");
            }
            b'"' => {
                let raw = self.scan.string()?;
                let start = self.tape.compact.len();
                self.tape.compact.extend_from_slice(&self.scan.body[from..self.scan.pos]);
                if let Some(field) = field {
                    let text = text(&self.scan, raw, &mut self.tape.scratch);
                    let mark = self.tape.mark(field, text);
                    self.edit(start, What::Mark(mark));
                }
                return Ok(());
            }
            b'n' => self.scan.literal("null")?,
            _ if field.is_some() => return Err(DecodeError::FieldType(self.scan.place(), "string")),
            b't' => self.scan.literal("true")?,
            b'f' => self.scan.literal("false")?,
            _ => drop(self.scan.number()?),
        }
        self.tape.compact.extend_from_slice(&self.scan.body[from..self.scan.pos]);
        Ok(())
    }

    /// Ends an object or array whose items each began with a comma at `start`.
    fn close(&mut self, start: usize, brackets: &[u8; 2]) -> Decoded {
        match self.tape.compact.get_mut(start) {
            Some(comma) => *comma = brackets[0],
            None => self.tape.compact.push(brackets[0]),
        }
        self.tape.compact.push(brackets[1]);
        Ok(())
    }
}
