//! Documents that are read, and every refusal with its place and its rule.

use serde_json::{Value, json};

use super::*;

fn reference() -> ContractRef {
    "acme/click/1.0.0".parse().unwrap()
}

fn parse(document: &Value) -> Result<Contract, DocumentError> {
    Contract::parse(&reference(), &document.to_string())
}

/// A sound document with some keys changed; null takes a key out.
fn with(changes: Value) -> Value {
    let mut document = json!({ "keyField": "sessionId", "piiFields": { "sessionId": 1 } });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    document.as_object_mut().unwrap().extend(changes);
    document
}

fn refusal(changes: Value) -> String {
    parse(&with(changes)).unwrap_err().to_string()
}

#[test]
fn the_smallest_document_gets_the_defaults() {
    let contract = parse(&with(json!({}))).unwrap();
    assert_eq!(contract.schema_ref, reference());
    assert_eq!(contract.state, crate::domain::ContractState::Draft);
    assert_eq!((contract.suite, contract.is_public), (Suite::XChaCha20Poly1305, false));
    assert_eq!(contract.data_subject_field, None);
    assert_eq!((contract.personal_fields[0].level, &contract.personal_fields[0].equality_class), (1, &None));
}

#[test]
fn yaml_reads_like_json() {
    let yaml = "
keyField: sessionId
schemaRef: acme/click/1.0.0
isPublic: true
fieldMetadata:
  - fieldName: customer/id
    personalDataConfig: { isPii: true, purposeLevel: 3, equalityClass: customer }
validations:
  - { field: url, type: regex, value: '^https?://.+$' }
dataSubjectField: customer/id
cipherSuite: AES256_SIV
metadata: { title: Clicks, description: '# Clicks', labels: { team: web } }
";
    let contract = Contract::parse(&reference(), yaml).unwrap();
    let class = Some("customer".to_owned());
    let field = PersonalField { path: "customer/id".parse().unwrap(), level: 3, equality_class: class };
    assert_eq!(contract.personal_fields, [field]);
    assert_eq!(contract.validations[0].rule, Rule::Regex { pattern: "^https?://.+$".into() });
    assert_eq!((contract.suite, contract.is_public), (Suite::Aes256Siv, true));
    assert_eq!(contract.about.labels["team"], "web");
}

#[test]
fn what_is_written_is_read_back() {
    let contract = parse(&with(json!({
        "schemaRefs": ["acme/other/1.0.0", "acme/click/1.0.0"],
        "equalityClasses": { "sessionId": "" },
        "validations": [{ "field": "url", "type": "regex", "value": ".+" }],
        "metadata": { "title": "Clicks" },
    })));
    let contract = contract.unwrap();
    assert!(
        contract.accepts_schema(&reference())
            && contract.accepts_schema(&"acme/other/1.0.0".parse().unwrap())
    );
    assert_eq!(parse(&contract.to_document()).unwrap(), contract);
}

#[test]
fn an_author_cannot_activate_a_contract_by_writing_so() {
    let contract = parse(&with(json!({ "state": "ACTIVE" }))).unwrap();
    assert_eq!(contract.state, crate::domain::ContractState::Draft);
}

#[test]
fn both_forms_of_personal_fields_are_put_together_and_the_newer_wins() {
    let newer = json!([
        { "fieldName": "sessionId", "personalDataConfig": { "isPii": true, "purposeLevel": 7, "isQuasiId": false } },
        { "fieldName": "rank", "personalDataConfig": { "isPii": false } },
        { "fieldName": "zero", "personalDataConfig": { "isPii": true } },
        { "fieldName": "kind", "statisticalDataType": "NOMINAL" },
    ]);
    let older = json!({ "sessionId": 1, "email": 2 });
    let contract = parse(&with(json!({ "fieldMetadata": newer, "piiFields": older }))).unwrap();
    let levels: Vec<_> = contract.personal_fields.iter().map(|f| (f.path.as_str(), f.level)).collect();
    assert_eq!(levels, [("sessionId", 7), ("zero", 0), ("email", 2)]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_refusal_names_the_place_and_the_rule() {
    let meta = |config: Value| json!([{ "fieldName": "email", "personalDataConfig": config }]);
    let rule = |kind: &str, value: &str| json!([{ "field": "url", "type": kind, "value": value }]);
    let table = [
        (json!({ "keyField": null }), "keyField: is missing"),
        (json!({ "keyField": 7 }), "keyField: must be text"),
        (json!({ "keyField": "" }), "keyField: must be a field path: "),
        (json!({ "keyField": "/sessionId" }), "keyField: must be a field path: "),
        (json!({ "keyField": "strmMeta/keyLink" }), "keyField: reaches into strmMeta"),
        (json!({ "kyeField": "a" }), "kyeField: is not a key that is known here"),
        (json!({ "ref": "acme/other/1.0.0" }), "ref: is another reference"),
        (json!({ "ref": { "handle": "acme", "name": "click" } }), "ref/version: is missing"),
        (json!({ "schemaRef": "acme" }), "schemaRef: must be a reference: "),
        (json!({ "schemaRefs": [1] }), "schemaRefs/0: must be a reference"),
        (json!({ "schemaRefs": {} }), "schemaRefs: must be a list"),
        (json!({ "isPublic": "yes" }), "isPublic: must be true or false"),
        (json!({ "piiFields": [] }), "piiFields: must be an object"),
        (json!({ "piiFields": { "email": -1 } }), "piiFields/email: must be in the range 0 to 999"),
        (json!({ "piiFields": { "email": 1000 } }), "piiFields/email: must be in the range 0 to 999"),
        (json!({ "piiFields": { "email": u64::MAX } }), "piiFields/email: must be in the range 0 to 999"),
        (json!({ "piiFields": { "email": 1.5 } }), "piiFields/email: must be a whole number"),
        (json!({ "piiFields": { "strmMeta/nonce": 1 } }), "piiFields/strmMeta/nonce: reaches into strmMeta"),
        (json!({ "fieldMetadata": [{}] }), "fieldMetadata/0/fieldName: is missing"),
        (
            json!({ "fieldMetadata": [{ "fieldName": "a" }, { "fieldName": "a" }] }),
            "fieldMetadata/1: stands a second time for the same field",
        ),
        (
            json!({ "fieldMetadata": meta(json!({ "isPii": false })), "piiFields": { "email": 1 } }),
            "fieldMetadata/0: piiFields says the field is personal",
        ),
        (
            json!({ "fieldMetadata": meta(json!({ "purposeLevel": 2 })) }),
            "fieldMetadata/0/personalDataConfig: a purposeLevel or an equalityClass needs",
        ),
        (
            json!({ "fieldMetadata": meta(json!({ "isPii": true, "equalityClass": "Über" })) }),
            "fieldMetadata/0/personalDataConfig/equalityClass: must be at most 64",
        ),
        (
            json!({ "fieldMetadata": meta(json!({ "isPii": true, "level": 2 })) }),
            "fieldMetadata/0/personalDataConfig/level: is not a key",
        ),
        (json!({ "equalityClasses": { "url": "a" } }), "equalityClasses/url: the field is not personal"),
        (
            json!({
                "equalityClasses": { "email": "b" },
                "fieldMetadata": meta(json!({ "isPii": true, "equalityClass": "a" })),
            }),
            "equalityClasses/email: fieldMetadata names another class",
        ),
        (json!({ "validations": rule("luhn", "x") }), "validations/0/type: must be one of regex"),
        (json!({ "validations": rule("regex", "") }), "validations/0/value: must have 1 to 4096 bytes"),
        (
            json!({ "validations": [{ "field": "strmMeta", "type": "regex", "value": "a" }] }),
            "validations/0/field: r",
        ),
        (
            json!({ "validations": [rule("regex", "a")[0], rule("regex", "a")[0]] }),
            "validations/1: stands a second time",
        ),
        (json!({ "dataSubjectField": "a//b" }), "dataSubjectField: must be a field path: "),
        (json!({ "dataSubjectField": "strmMeta/keyLink" }), "dataSubjectField: reaches into strmMeta"),
        (json!({ "cipherSuite": "ROT13" }), "cipherSuite: must be one of XCHACHA20_POLY1305, AES256_SIV"),
        (
            json!({ "metadata": { "title": "x".repeat(101) } }),
            "metadata/title: must have 0 to 100 characters",
        ),
        (json!({ "metadata": { "labels": { "a": 1 } } }), "metadata/labels/a: must be text"),
        (
            json!({ "metadata": { "labels": { "": "x" } } }),
            "metadata/labels/(unprintable key): must have 1 to 100",
        ),
    ];
    for (changes, expected) in table {
        let message = refusal(changes.clone());
        assert!(message.starts_with(expected), "{changes} gave: {message}");
    }
}

#[test]
fn lists_are_bounded() {
    let many: serde_json::Map<_, _> =
        (0..=limits::PERSONAL_FIELDS_MAX).map(|n| (format!("f{n}"), json!(1))).collect();
    assert_eq!(refusal(json!({ "piiFields": many })), "piiFields: must have 0 to 256 entries");
    let rules: Vec<_> = (0..=limits::VALIDATIONS_MAX).map(|_| json!({})).collect();
    assert_eq!(refusal(json!({ "validations": rules })), "validations: must have 0 to 256 entries");
}

#[test]
fn refusals_never_repeat_a_value() {
    let canary = "alice@example.org";
    let documents = [
        json!({ "keyField": "sessionId", "cipherSuite": canary }),
        json!({ "keyField": format!("/{canary}") }),
        json!({ "keyField": "a", "schemaRef": canary }),
        json!({ "keyField": "a", canary: 1 }),
        json!({ "keyField": "a", "validations": [{ "field": "a", "type": canary, "value": canary }] }),
    ];
    for document in documents {
        let error = parse(&document).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(canary), "{error}");
    }
    let broken = Contract::parse(&reference(), &format!("{{\"keyField\": {canary}")).unwrap_err();
    assert_eq!(broken.to_string(), "document: not valid JSON at line 1, column 14");
}
