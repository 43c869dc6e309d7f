//! Tests of the codec.

mod containers;
mod contracts;
mod golden;
mod hostile;
mod oracle_avro;
mod schemas;

use std::sync::Arc;

use super::{DecodeError, EventPlan, Form, SchemaPlan, Stamp, Tape, Text};
use crate::{
    clock::Timestamp,
    domain::{
        Contract, ContractAbout, ContractState, FieldPath, KeyLink, PersonalField, Rule, Schema, SchemaKind,
        Suite, Validation,
    },
};

pub(super) const DEMO: &str = r#"{"type":"record","name":"DemoEvent","namespace":"io.strmprivacy.schemas.demo.v1",
"fields":[{"name":"strmMeta","type":{"type":"record","name":"StrmMeta","fields":[
{"name":"eventContractRef","type":"string"},{"name":"nonce","type":["null","int"],"default":null},
{"name":"timestamp","type":["null","long"],"default":null,"logicalType":"date"},
{"name":"keyLink","type":["null","string"],"default":null},
{"name":"billingId","type":["null","string"],"default":null},
{"name":"consentLevels","type":{"type":"array","items":"int"}}]}},
{"name":"uniqueIdentifier","type":["null","string"],"default":null},
{"name":"consistentValue","type":"string"},
{"name":"someSensitiveValue","type":["null","string"],"default":null},
{"name":"notSensitiveValue","type":["null","string"],"default":null}]}"#;

/// `strmMeta` as the first field of a test schema.
pub(super) const META: &str = r#"{"name":"strmMeta","type":{"type":"record","name":"StrmMeta","fields":[
{"name":"eventContractRef","type":"string"},{"name":"nonce","type":["null","int"]},
{"name":"timestamp","type":["null","long"]},{"name":"keyLink","type":["null","string"]},
{"name":"consentLevels","type":{"type":"array","items":"int"}}]}}"#;

pub(super) fn schema_plan(kind: SchemaKind, definition: &str) -> Arc<SchemaPlan> {
    let reference = "acme/click/1.0.0".parse().unwrap();
    let schema = Schema { reference, kind, definition: definition.to_owned() };
    Arc::new(SchemaPlan::compile(&schema).unwrap())
}

pub(super) fn path(text: &str) -> FieldPath {
    text.parse().unwrap()
}

pub(super) fn contract(key: &str, personal: &[&str]) -> Contract {
    Contract {
        reference: "strmprivacy/example/1.3.0".parse().unwrap(),
        schema_ref: "acme/click/1.0.0".parse().unwrap(),
        other_schema_refs: Vec::new(),
        state: ContractState::Active,
        project: crate::domain::ProjectName::default(),
        is_public: false,
        key_field: path(key),
        personal_fields: (1..)
            .zip(personal)
            .map(|(level, field)| PersonalField { path: path(field), level, equality_class: None })
            .collect(),
        validations: Vec::new(),
        data_subject_field: None,
        suite: Suite::default(),
        about: ContractAbout::default(),
        history: Vec::new(),
    }
}

pub(super) fn regex(field: &str, pattern: &str) -> Validation {
    Validation { field: path(field), rule: Rule::Regex { pattern: pattern.to_owned() } }
}

pub(super) fn plan_for(kind: SchemaKind, definition: &str, contract: Contract) -> EventPlan {
    EventPlan::compile(schema_plan(kind, definition), Arc::new(contract), &[]).unwrap()
}

pub(super) fn demo_plan() -> EventPlan {
    let mut contract =
        contract("consistentValue", &["uniqueIdentifier", "consistentValue", "someSensitiveValue"]);
    contract.validations.push(regex("consistentValue", "^.+$"));
    plan_for(SchemaKind::Avro, DEMO, contract)
}

/// An Avro record with `strmMeta`, a key `k` and the given further fields.
pub(super) fn avro_with(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(
        r#"{{"type":"record","name":"Event","namespace":"org.acme","fields":[{META},{{"name":"k","type":"string"}}{comma}{fields}]}}"#
    )
}

pub(super) fn avro_plan(fields: &str, personal: &[&str]) -> EventPlan {
    plan_for(SchemaKind::Avro, &avro_with(fields), contract("k", personal))
}

/// A JSON event for [`avro_with`].
pub(super) fn json_event(rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!(
        r#"{{"strmMeta":{{"eventContractRef":"strmprivacy/example/1.3.0","consentLevels":[]}},"k":"s"{comma}{rest}}}"#
    )
}

pub(super) fn decode(plan: &EventPlan, body: &[u8]) -> Result<Tape, DecodeError> {
    let mut tape = Tape::new();
    let serialization = plan.schema().sniff(None, body);
    plan.decode(body, serialization, &mut tape).map(|()| tape)
}

pub(super) fn code(plan: &EventPlan, body: impl AsRef<[u8]>) -> &'static str {
    match decode(plan, body.as_ref()) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

pub(super) fn stamp() -> Stamp {
    let link = "0fd20015-40e4-484d-ab1f-182acff382ac".parse().unwrap();
    Stamp { nonce: -7, timestamp: Timestamp(1_700_000_000_123), key_link: KeyLink(link) }
}

/// Every mark replaced by `<` text `>`.
pub(super) fn bracket(body: &[u8], tape: &mut Tape) -> Vec<Option<Text>> {
    let texts: Vec<Text> = tape.marks().iter().map(|mark| mark.text).collect();
    let sealed = texts.into_iter().map(|text| {
        tape.add(body, text, |plain, out| {
            out.push(b'<');
            out.extend_from_slice(plain);
            out.push(b'>');
            Ok::<_, ()>(())
        })
    });
    sealed.map(|text| Some(text.unwrap())).collect()
}

pub(super) fn encode(
    plan: &EventPlan,
    body: &[u8],
    tape: &Tape,
    stamp: Option<&Stamp>,
    replaced: &[Option<Text>],
    form: Form,
) -> Vec<u8> {
    let mut out = Vec::new();
    plan.encode(body, tape, stamp, replaced, form, &mut out);
    out
}

/// Decodes and writes again, nothing replaced.
pub(super) fn rewrite(plan: &EventPlan, body: &[u8], form: Form) -> String {
    let tape = decode(plan, body).unwrap();
    String::from_utf8(encode(plan, body, &tape, None, &[], form)).unwrap()
}

pub(super) fn texts(plan: &EventPlan, body: &[u8], tape: &Tape) -> Vec<(String, String)> {
    let text = |text| String::from_utf8(tape.text(body, text).to_vec()).unwrap();
    tape.marks().iter().map(|mark| (plan.fields()[mark.field].path.to_string(), text(mark.text))).collect()
}
