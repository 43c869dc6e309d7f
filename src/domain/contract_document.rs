//! Data contracts as people write them, in the original's form plus what Sluice adds.
//!
//! ```yaml
//! schemaRef: acme/click/1.0.0          # default: the contract's own reference
//! keyField: sessionId
//! fieldMetadata:
//!   - fieldName: customer/id
//!     personalDataConfig: { isPii: true, purposeLevel: 1, equalityClass: customer }
//! validations:
//!   - { field: url, type: regex, value: "https?://.+" }
//! dataSubjectField: customer/id
//! cipherSuite: XCHACHA20_POLY1305      # or AES256_SIV
//! ```
//! `state` is read from no document: a contract starts as a draft whatever its author wrote.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{
    Contract, ContractAbout, ContractRef, FieldPath, PersonalField, Rule, Suite, Validation,
    document::{self, DocumentError, DocumentRule, Place},
    limits,
};

/// The text is not a contract document.
pub type ContractDocumentError = DocumentError;

/// Keys that are read.
const KEYS: [&str; 12] = [
    "ref",
    "schemaRef",
    "schemaRefs",
    "keyField",
    "piiFields",
    "fieldMetadata",
    "validations",
    "dataSubjectField",
    "isPublic",
    "metadata",
    "cipherSuite",
    "equalityClasses",
];
/// Keys of the original's answers that say nothing a new contract needs.
const KEYS_IGNORED: [&str; 12] = [
    "id",
    "projectId",
    "state",
    "checksum",
    "source",
    "note",
    "createTime",
    "updateTime",
    "schema",
    "simpleSchema",
    "schemaFile",
    "schemaFingerprint",
];

impl Contract {
    /// Reads a contract from JSON or YAML text. The result is a draft; `isPublic` is what the text asks for,
    /// to be granted by the caller.
    ///
    /// # Errors
    ///
    /// When the text is not a contract document, or breaks a rule that needs no schema.
    pub fn parse(reference: &ContractRef, text: &str) -> Result<Contract, ContractDocumentError> {
        let document = document::read(text)?;
        let top = Place::top(&document);
        top.known_keys(&KEYS, &KEYS_IGNORED)?;
        if let Some(place) = top.get("ref")
            && place.reference()? != *reference
        {
            return place.fail(DocumentRule::Contradiction("is another reference than the one asked for"));
        }
        let mut schema_refs = schema_refs(&top)?;
        let schema_ref = if schema_refs.is_empty() { reference.clone() } else { schema_refs.remove(0) };
        let mut contract =
            Contract::new(reference.clone(), schema_ref, top.required("keyField")?.field_path()?);
        contract.other_schema_refs = schema_refs;
        contract.is_public = top.flag("isPublic")?;
        contract.personal_fields = personal_fields(&top)?;
        contract.validations = validations(&top)?;
        let subject = top.get("dataSubjectField").filter(|place| place.value != "");
        contract.data_subject_field = subject.map(|place| place.field_path()).transpose()?;
        contract.suite = suite(&top)?;
        contract.about = about(&top)?;
        Ok(contract)
    }

    /// The reference that a contract document gives itself, if it can be read.
    #[must_use]
    pub fn named_in(text: &str) -> Option<ContractRef> {
        let document = document::read(text).ok()?;
        Place::top(&document).get("ref")?.reference().ok()
    }

    /// The contract in the form `parse` reads, with its reference and state, for people and for the API.
    #[must_use]
    pub fn to_document(&self) -> Value {
        let metadata = self.personal_fields.iter().map(|field| {
            let mut personal = json!({ "isPii": true, "purposeLevel": field.level });
            if let Some(class) = &field.equality_class {
                personal["equalityClass"] = class.as_str().into();
            }
            json!({ "fieldName": field.path, "personalDataConfig": personal })
        });
        let schemas: Vec<_> = std::iter::once(&self.schema_ref).chain(&self.other_schema_refs).collect();
        json!({
            "ref": self.reference,
            "schemaRefs": schemas,
            "state": self.state,
            "isPublic": self.is_public,
            "keyField": self.key_field,
            "fieldMetadata": metadata.collect::<Vec<_>>(),
            "validations": self.validations,
            "dataSubjectField": self.data_subject_field.as_ref().map_or("", FieldPath::as_str),
            "cipherSuite": self.suite,
            "metadata": self.about,
        })
    }
}

/// `schemaRef` first, then `schemaRefs`; each once.
fn schema_refs(top: &Place<'_>) -> Result<Vec<ContractRef>, DocumentError> {
    let mut refs = Vec::new();
    if let Some(place) = top.get("schemaRef") {
        refs.push(place.reference()?);
    }
    for place in top.items("schemaRefs", limits::SCHEMA_REFS_MAX)? {
        let reference = place.reference()?;
        if !refs.contains(&reference) {
            refs.push(reference);
        }
    }
    Ok(refs)
}

/// Both forms put together: a field of the older map stays personal when the newer list does not name it, and
/// takes level and class from the list when it does.
fn personal_fields(top: &Place<'_>) -> Result<Vec<PersonalField>, DocumentError> {
    let mut fields = Vec::new();
    let mut seen = HashSet::new();
    let older = top.entries("piiFields", limits::PERSONAL_FIELDS_MAX)?;
    for place in top.items("fieldMetadata", limits::PERSONAL_FIELDS_MAX)? {
        let (path, personal) = field_metadata(&place)?;
        if !seen.insert(path.clone()) {
            return place.fail(DocumentRule::Repeated);
        }
        match personal {
            Some(field) => fields.push(field),
            None if older.iter().any(|(name, _)| *name == path.as_str()) => {
                let rule = "piiFields says the field is personal and this entry says it is not";
                return place.fail(DocumentRule::Contradiction(rule));
            }
            None => {}
        }
    }
    for (name, place) in older {
        let path = place.field_path_of(name)?;
        let level = place.level()?;
        if seen.insert(path.clone()) {
            fields.push(PersonalField { path, level, equality_class: None });
        }
    }
    let max = limits::PERSONAL_FIELDS_MAX;
    if fields.len() > max {
        return top.fail(DocumentRule::Length { min: 0, max, unit: "personal fields" });
    }
    equality_classes(top, &mut fields)?;
    Ok(fields)
}

/// One entry of `fieldMetadata`: its path, and the personal field it describes. As in the original's JSON, a
/// flag or level that is left out is false or 0.
fn field_metadata(place: &Place<'_>) -> Result<(FieldPath, Option<PersonalField>), DocumentError> {
    let ignored = ["statisticalDataType", "ordinalValues", "nullHandlingConfig"];
    place.known_keys(&["fieldName", "personalDataConfig"], &ignored)?;
    let path = place.required("fieldName")?.field_path()?;
    let Some(config) = place.get("personalDataConfig") else { return Ok((path, None)) };
    let read = ["isPii", "purposeLevel", "equalityClass"];
    config.known_keys(&read, &["isQuasiId", "gdprSpecialPersonalDataType"])?;
    let level = config.get("purposeLevel").map_or(Ok(0), |level| level.level())?;
    let class = config.get("equalityClass").map(|class| equality_class(&class)).transpose()?;
    if config.flag("isPii")? {
        return Ok((path.clone(), Some(PersonalField { path, level, equality_class: class })));
    }
    if level != 0 || class.is_some() {
        let rule = "a purposeLevel or an equalityClass needs \"isPii\": true beside it";
        return config.fail(DocumentRule::Contradiction(rule));
    }
    Ok((path, None))
}

/// The top-level map of classes, for documents that use `piiFields`.
fn equality_classes(top: &Place<'_>, fields: &mut [PersonalField]) -> Result<(), DocumentError> {
    for (name, place) in top.entries("equalityClasses", limits::PERSONAL_FIELDS_MAX)? {
        let path = place.field_path_of(name)?;
        let class = equality_class(&place)?;
        let Some(field) = fields.iter_mut().find(|field| field.path == path) else {
            return place.fail(DocumentRule::Contradiction("the field is not personal, so it has no class"));
        };
        if field.equality_class.as_ref().is_some_and(|other| *other != class) {
            return place.fail(DocumentRule::Contradiction("fieldMetadata names another class"));
        }
        field.equality_class = Some(class);
    }
    Ok(())
}

fn equality_class(place: &Place<'_>) -> Result<String, DocumentError> {
    let class = place.text()?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    if class.len() <= limits::EQUALITY_CLASS_BYTES_MAX && class.bytes().all(allowed) {
        return Ok(class.to_owned());
    }
    let expected = "at most 64 lower-case letters, digits, '_', '.' or '-'";
    place.fail(DocumentRule::Expected { expected })
}

fn validations(top: &Place<'_>) -> Result<Vec<Validation>, DocumentError> {
    let mut validations: Vec<Validation> = Vec::new();
    for place in top.items("validations", limits::VALIDATIONS_MAX)? {
        place.known_keys(&["field", "type", "value"], &[])?;
        let field = place.required("field")?.field_path()?;
        let kind = place.required("type")?;
        let rule = match kind.text()? {
            "regex" => Rule::Regex { pattern: pattern(&place.required("value")?)? },
            _ => return kind.fail(DocumentRule::OneOf { allowed: "regex" }),
        };
        let validation = Validation { field, rule };
        if validations.contains(&validation) {
            return place.fail(DocumentRule::Repeated);
        }
        validations.push(validation);
    }
    Ok(validations)
}

fn pattern(place: &Place<'_>) -> Result<String, DocumentError> {
    let max = limits::PATTERN_BYTES_MAX;
    match place.text()? {
        text if (1..=max).contains(&text.len()) => Ok(text.to_owned()),
        _ => place.fail(DocumentRule::Length { min: 1, max, unit: "bytes" }),
    }
}

fn suite(top: &Place<'_>) -> Result<Suite, DocumentError> {
    let Some(place) = top.get("cipherSuite") else { return Ok(Suite::default()) };
    match place.text()? {
        "XCHACHA20_POLY1305" => Ok(Suite::XChaCha20Poly1305),
        "AES256_SIV" => Ok(Suite::Aes256Siv),
        _ => place.fail(DocumentRule::OneOf { allowed: "XCHACHA20_POLY1305, AES256_SIV" }),
    }
}

fn about(top: &Place<'_>) -> Result<ContractAbout, DocumentError> {
    let Some(place) = top.get("metadata") else { return Ok(ContractAbout::default()) };
    let ignored = ["createTime", "updateTime", "domains", "industries", "ownerProjectId"];
    place.known_keys(&["title", "description", "labels"], &ignored)?;
    let text = |key, max| match place.get(key) {
        Some(place) => place.text_within(0, max).map(str::to_owned),
        None => Ok(String::new()),
    };
    let title = text("title", limits::TITLE_CHARS_MAX)?;
    let description = text("description", limits::CONTRACT_DESCRIPTION_CHARS_MAX)?;
    Ok(ContractAbout { title, description, labels: labels(&place)? })
}

fn labels(metadata: &Place<'_>) -> Result<BTreeMap<String, String>, DocumentError> {
    let max = limits::TITLE_CHARS_MAX;
    let mut labels = BTreeMap::new();
    for (key, place) in metadata.entries("labels", limits::LABELS_MAX)? {
        if !(1..=max).contains(&key.chars().count()) {
            return place.fail(DocumentRule::Length { min: 1, max, unit: "characters in the key" });
        }
        labels.insert(key.to_owned(), place.text_within(0, max)?.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
