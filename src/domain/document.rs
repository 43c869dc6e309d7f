//! Reads schema and contract documents: JSON or YAML text into a JSON value, and a walk over it.
//!
//! Documents come from people and over the network, so the text is bounded in bytes, in depth and in what
//! YAML aliases may multiply; keys may not occur twice. Errors name a place and a rule, never a value.

use std::cell::{Cell, RefCell};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{ContractRef, FieldPath, FieldPathError, RefError, limits};

/// What is wrong with a document, and where. The caller corrects the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {rule}", if path.is_empty() { "document" } else { path })]
pub struct DocumentError {
    /// Keys and list positions from the top, joined by '/': `fieldMetadata/2/fieldName`. Empty: the whole.
    pub path: String,
    pub rule: DocumentRule,
}

/// A rule for documents. The text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRule {
    #[error("larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("nested deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("not valid {format} at line {line}, column {column}")]
    Syntax { format: &'static str, line: usize, column: usize },
    #[error("YAML aliases make the document larger than its text; write the parts out")]
    Aliases,
    #[error("the key occurs twice")]
    DuplicateKey,
    #[error("has no JSON form (a tag, a number that is not finite, or an integer of more than 64 bits)")]
    NotJson,
    #[error("is missing")]
    Missing,
    #[error("is not a key that is known here")]
    UnknownKey,
    #[error("must be {expected}")]
    Expected { expected: &'static str },
    #[error("must be one of {allowed}")]
    OneOf { allowed: &'static str },
    #[error("must be in the range {min} to {max}")]
    Range { min: i64, max: i64 },
    #[error("must have {min} to {max} {unit}")]
    Length { min: usize, max: usize, unit: &'static str },
    #[error("must be a reference: {0}")]
    Reference(RefError),
    #[error("must be a field path: {0}")]
    FieldPath(FieldPathError),
    #[error("reaches into strmMeta, which belongs to the gateway")]
    Meta,
    #[error("stands a second time for the same field")]
    Repeated,
    #[error("{0}")]
    Contradiction(&'static str),
}

impl DocumentError {
    pub(super) fn new(path: impl Into<String>, rule: DocumentRule) -> DocumentError {
        DocumentError { path: path.into(), rule }
    }
}

/// Reads JSON (text that starts with `{`) or YAML.
///
/// # Errors
///
/// When the text is neither or breaks a limit.
pub(super) fn read(text: &str) -> Result<Value, DocumentError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let max = limits::DOCUMENT_BYTES_MAX;
    if text.len() > max {
        return Err(DocumentError::new("", DocumentRule::TooLarge { max }));
    }
    let progress = Progress {
        // Every value but one takes at least a byte, and an escape never yields more than twice its length.
        budget: Cell::new(text.len() * 3 + 64),
        path: RefCell::default(),
        fault: Cell::default(),
    };
    let seed = Node { progress: &progress, depth: 0 };
    let syntax = |format, line, column| {
        let fault = progress.fault.take();
        fault.unwrap_or_else(|| DocumentError::new("", DocumentRule::Syntax { format, line, column }))
    };
    if text.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
        return value.map_err(|error| syntax("JSON", error.line(), error.column()));
    }
    refuse_deep_flow(text)?;
    let value = seed.deserialize(serde_yaml_ng::Deserializer::from_str(text));
    value.map_err(|error| {
        let at = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        syntax("YAML", at.0, at.1)
    })
}

/// The YAML scanner takes time quadratic in the depth of `[` and `{`, before it yields anything.
fn refuse_deep_flow(text: &str) -> Result<(), DocumentError> {
    let max = limits::DOCUMENT_DEPTH_MAX;
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max {
            return Err(DocumentError::new("", DocumentRule::TooDeep { max }));
        }
    }
    Ok(())
}

/// What has been read so far: the place, what may still be read, and the first rule that was broken.
struct Progress {
    budget: Cell<usize>,
    path: RefCell<String>,
    fault: Cell<Option<DocumentError>>,
}

impl Progress {
    /// Ends the reading. The parser's own error carries nothing: it could quote the document.
    fn fail<E: serde::de::Error>(&self, rule: DocumentRule) -> E {
        self.fault.set(Some(DocumentError::new(self.path.borrow().as_str(), rule)));
        E::custom("document refused")
    }

    fn spend<E: serde::de::Error>(&self, cost: usize) -> Result<(), E> {
        let left = self.budget.get().checked_sub(cost).ok_or_else(|| self.fail(DocumentRule::Aliases))?;
        self.budget.set(left);
        Ok(())
    }

    fn enter(&self, segment: &str) -> usize {
        let mut path = self.path.borrow_mut();
        let before = path.len();
        *path = join(&path, segment);
        before
    }

    fn leave(&self, before: usize) {
        self.path.borrow_mut().truncate(before);
    }
}

/// The path one step further. A key is shown only when it looks like one.
pub(super) fn join(path: &str, segment: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '/' | ' ');
    let shown = segment.len() <= 64 && !segment.is_empty() && segment.chars().all(plain);
    let segment = if shown { segment } else { "(unprintable key)" };
    if path.is_empty() { segment.to_owned() } else { format!("{path}/{segment}") }
}

/// Reads one value at a depth.
#[derive(Clone, Copy)]
struct Node<'p> {
    progress: &'p Progress,
    depth: usize,
}

impl<'p> Node<'p> {
    fn inner<E: serde::de::Error>(self) -> Result<Node<'p>, E> {
        let (max, depth) = (limits::DOCUMENT_DEPTH_MAX, self.depth + 1);
        if depth > max {
            return Err(self.progress.fail(DocumentRule::TooDeep { max }));
        }
        Ok(Node { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.progress.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.progress.fail(DocumentRule::NotJson))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Value, E> {
        Err(self.progress.fail(DocumentRule::NotJson))
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Value, E> {
        Err(self.progress.fail(DocumentRule::NotJson))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.progress.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.progress.fail(DocumentRule::NotJson))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        loop {
            let before = self.progress.enter(itoa::Buffer::new().format(list.len()));
            let Some(item) = items.next_element_seed(inner)? else {
                self.progress.leave(before);
                return Ok(Value::Array(list));
            };
            self.progress.leave(before);
            list.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.progress.spend(key.len() + 1)?;
            let before = self.progress.enter(&key);
            if map.contains_key(&key) {
                return Err(self.progress.fail(DocumentRule::DuplicateKey));
            }
            let value = entries.next_value_seed(inner)?;
            self.progress.leave(before);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A value of a document and its place. `T` accessors refuse a wrong type by place.
#[derive(Clone, Debug)]
pub(super) struct Place<'v> {
    pub path: String,
    pub value: &'v Value,
}

impl<'v> Place<'v> {
    pub fn top(value: &'v Value) -> Place<'v> {
        Place { path: String::new(), value }
    }

    pub fn fail<T>(&self, rule: DocumentRule) -> Result<T, DocumentError> {
        Err(DocumentError::new(self.path.clone(), rule))
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, DocumentError> {
        self.fail(DocumentRule::Expected { expected })
    }

    /// Refuses keys outside both lists. A place that is not an object is refused too.
    pub fn known_keys(&self, read: &[&str], ignored: &[&str]) -> Result<(), DocumentError> {
        let Value::Object(map) = self.value else { return self.expected("an object") };
        match map.keys().find(|key| !read.contains(&key.as_str()) && !ignored.contains(&key.as_str())) {
            Some(key) => Err(DocumentError::new(join(&self.path, key), DocumentRule::UnknownKey)),
            None => Ok(()),
        }
    }

    /// The value under a key; null counts as absent.
    pub fn get(&self, key: &str) -> Option<Place<'v>> {
        let value = self.value.as_object()?.get(key).filter(|value| !value.is_null())?;
        Some(Place { path: join(&self.path, key), value })
    }

    pub fn required(&self, key: &str) -> Result<Place<'v>, DocumentError> {
        self.get(key).ok_or_else(|| DocumentError::new(join(&self.path, key), DocumentRule::Missing))
    }

    /// Entries of the object under a key; none when it is absent.
    pub fn entries(&self, key: &str, max: usize) -> Result<Vec<(&'v str, Place<'v>)>, DocumentError> {
        let Some(place) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Object(map) = place.value else { return place.expected("an object") };
        place.count(map.len(), max)?;
        let at = |(key, value): (&'v String, &'v Value)| {
            (key.as_str(), Place { path: join(&place.path, key), value })
        };
        Ok(map.iter().map(at).collect())
    }

    /// Items of the list under a key; none when it is absent.
    pub fn items(&self, key: &str, max: usize) -> Result<Vec<Place<'v>>, DocumentError> {
        let Some(place) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Array(items) = place.value else { return place.expected("a list") };
        place.count(items.len(), max)?;
        let at = |(n, value): (usize, &'v Value)| Place { path: format!("{}/{n}", place.path), value };
        Ok(items.iter().enumerate().map(at).collect())
    }

    fn count(&self, count: usize, max: usize) -> Result<(), DocumentError> {
        if count > max { self.fail(DocumentRule::Length { min: 0, max, unit: "entries" }) } else { Ok(()) }
    }

    pub fn text(&self) -> Result<&'v str, DocumentError> {
        self.value.as_str().map_or_else(|| self.expected("text"), Ok)
    }

    /// Text of `min` to `max` characters.
    pub fn text_within(&self, min: usize, max: usize) -> Result<&'v str, DocumentError> {
        let text = self.text()?;
        match text.chars().count() {
            count if (min..=max).contains(&count) => Ok(text),
            _ => self.fail(DocumentRule::Length { min, max, unit: "characters" }),
        }
    }

    /// The flag under a key; false when it is absent.
    pub fn flag(&self, key: &str) -> Result<bool, DocumentError> {
        let Some(place) = self.get(key) else { return Ok(false) };
        place.value.as_bool().map_or_else(|| place.expected("true or false"), Ok)
    }

    pub fn level(&self) -> Result<i32, DocumentError> {
        let max = limits::PURPOSE_LEVEL_MAX;
        let Some(level) = self.value.as_i64().or(self.value.as_u64().map(|_| i64::MAX)) else {
            return self.expected("a whole number");
        };
        match i32::try_from(level) {
            Ok(level) if (0..=max).contains(&level) => Ok(level),
            _ => self.fail(DocumentRule::Range { min: 0, max: max.into() }),
        }
    }

    /// A field path outside `strmMeta`.
    pub fn field_path(&self) -> Result<FieldPath, DocumentError> {
        self.field_path_of(self.text()?)
    }

    pub fn field_path_of(&self, text: &str) -> Result<FieldPath, DocumentError> {
        match text.parse::<FieldPath>() {
            Ok(path) if path.is_meta() => self.fail(DocumentRule::Meta),
            Ok(path) => Ok(path),
            Err(error) => self.fail(DocumentRule::FieldPath(error)),
        }
    }

    /// A reference as `handle/name/version` or as an object of these three.
    pub fn reference(&self) -> Result<ContractRef, DocumentError> {
        let text = match self.value {
            Value::String(text) => text.clone(),
            Value::Object(_) => {
                self.known_keys(&["handle", "name", "version"], &[])?;
                let part = |key| self.required(key)?.text();
                format!("{}/{}/{}", part("handle")?, part("name")?, part("version")?)
            }
            _ => return self.expected("a reference, as text or as an object of handle, name and version"),
        };
        text.parse().or_else(|error| self.fail(DocumentRule::Reference(error)))
    }
}

#[cfg(test)]
mod tests;
