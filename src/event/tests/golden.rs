//! Events as the original's own drivers send them.

use super::*;
use crate::domain::Serialization;

const WIRE: &str = "327374726d707269766163792f6578616d706c652f312e332e300000000006000200000210756e697175652d30\
                    1273657373696f6e2d30021273656e73697469766500";

fn wire() -> Vec<u8> {
    (0..WIRE.len()).step_by(2).map(|at| u8::from_str_radix(&WIRE[at..at + 2], 16).unwrap()).collect()
}

const TAGGED: &str = r#"{"strmMeta": {"eventContractRef": "strmprivacy/example/1.3.0", "nonce": null,
 "timestamp": {"long": 5}, "keyLink": null, "billingId": null, "consentLevels": [0, 1, 0]},
 "uniqueIdentifier": {"string": "unique-0"}, "consistentValue": "session-0",
 "someSensitiveValue": {"string": "sensitive"}, "notSensitiveValue": null}"#;

const PLAIN: &str = r#"{"uniqueIdentifier":"unique-0","consistentValue":"session-0","someSensitiveValue":"sensitive",
"strmMeta":{"consentLevels":[0,1,0],"eventContractRef":"strmprivacy\/example\/1.3.0"}}"#;

#[test]
fn the_drivers_avro_event_gives_its_fields_and_consent() {
    let (plan, body) = (demo_plan(), wire());
    assert_eq!(plan.schema().sniff(None, &body), Serialization::AvroBinary);
    let peeked = plan.schema().contract_ref(&body, Serialization::AvroBinary).unwrap();
    assert_eq!(peeked, "strmprivacy/example/1.3.0");
    assert_eq!(plan.schema().datum_len(&body), Ok(body.len()));
    let tape = decode(&plan, &body).unwrap();
    assert_eq!(tape.consent(), [0, 1, 0]);
    assert_eq!(tape.text(&body, tape.key_text().unwrap()), b"session-0");
    let expected = [
        ("uniqueIdentifier", "unique-0"),
        ("consistentValue", "session-0"),
        ("someSensitiveValue", "sensitive"),
    ];
    assert_eq!(texts(&plan, &body, &tape), expected.map(|(f, t)| (f.to_owned(), t.to_owned())));
    plan.validate(&body, &tape).unwrap();
}

#[test]
fn avro_without_changes_comes_back_byte_for_byte() {
    let (plan, body) = (demo_plan(), wire());
    let tape = decode(&plan, &body).unwrap();
    assert_eq!(encode(&plan, &body, &tape, None, &[], Form::AsReceived), body);
}

#[test]
fn all_three_forms_become_the_same_sealed_plain_json() {
    let sealed = r#"{"strmMeta":{"eventContractRef":"strmprivacy/example/1.3.0","nonce":-7,"timestamp":1700000000123,"keyLink":"0fd20015-40e4-484d-ab1f-182acff382ac","billingId":null,"consentLevels":[0,1,0]},"uniqueIdentifier":"<unique-0>","consistentValue":"<session-0>","someSensitiveValue":"<sensitive>","notSensitiveValue":null}"#;
    let plan = demo_plan();
    for body in [wire(), TAGGED.into(), PLAIN.into()] {
        let mut tape = decode(&plan, &body).unwrap();
        let replaced = bracket(&body, &mut tape);
        let out = encode(&plan, &body, &tape, Some(&stamp()), &replaced, Form::Json);
        let expected = if tape.serialization() == Serialization::Json {
            sealed.replace("acy/example/", "acy\\/example\\/")
        } else {
            sealed.to_owned()
        };
        assert_eq!(String::from_utf8(out).unwrap(), expected);

        // What is stored decodes again, and still says the same.
        let stored = encode(&plan, &body, &tape, Some(&stamp()), &replaced, Form::AsReceived);
        let again = decode(&plan, &stored).unwrap();
        assert_eq!(again.serialization(), tape.serialization());
        assert_eq!(again.consent(), tape.consent());
        let out = encode(&plan, &stored, &again, None, &[], Form::Json);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn tagged_json_is_stored_tagged_and_plain_json_plain() {
    let plan = demo_plan();
    assert_eq!(rewrite(&plan, TAGGED.as_bytes(), Form::AsReceived), TAGGED.replace(['\n', ' '], ""));
    let plain = rewrite(&plan, PLAIN.as_bytes(), Form::AsReceived);
    assert!(
        plain.contains(r#""uniqueIdentifier":"unique-0""#) && plain.ends_with(r#""notSensitiveValue":null}"#)
    );
}

#[test]
fn the_contract_reference_is_found_without_decoding() {
    let plan = demo_plan();
    for body in [TAGGED, PLAIN] {
        let serialization = plan.schema().sniff(None, body.as_bytes());
        assert_eq!(serialization, Serialization::Json);
        let found = plan.schema().contract_ref(body.as_bytes(), serialization).unwrap();
        assert_eq!(found, "strmprivacy/example/1.3.0");
    }
    let declared = Some("application/x-avro-binary; q=1");
    assert_eq!(plan.schema().sniff(declared, b"{"), Serialization::AvroBinary);
    assert_eq!(plan.schema().sniff(Some("text/plain"), b" {"), Serialization::Json);
}

#[test]
fn fingerprints_are_the_published_ones() {
    assert_eq!(demo_plan().schema().fingerprint(), Some(8_732_795_727_104_664_750));
    let older = DEMO.replace("io.strmprivacy", "io.streammachine");
    assert_eq!(schema_plan(SchemaKind::Avro, &older).fingerprint(), Some(6_093_265_390_869_578_999));
    assert!(demo_plan().schema().is_written_by(DEMO));
    assert!(!demo_plan().schema().is_written_by(&older));
}

#[test]
fn a_broken_validation_speaks_the_originals_words() {
    let mut contract = contract("consistentValue", &["uniqueIdentifier"]);
    contract.validations =
        vec![regex("notSensitiveValue", "^(https?|ftp)://[a-z]"), regex("uniqueIdentifier", "[a-z]+")];
    let plan = plan_for(SchemaKind::Avro, DEMO, contract);
    let event = |unique: &str, not: &str| {
        let body = PLAIN.replace("unique-0", unique).replace(r#""someSensitiveValue":"sensitive""#, not);
        let tape = decode(&plan, body.as_bytes()).unwrap();
        plan.validate(body.as_bytes(), &tape).map_err(|violation| violation.to_string())
    };
    assert_eq!(event("abc", r#""notSensitiveValue":"ftp://x""#), Ok(()));
    assert_eq!(event("abc", r#""notSensitiveValue":null"#), Ok(()));
    let expected = "Field: 'notSensitiveValue' in event with schema: 'acme/click/1.0.0' with value: 'url' doesn't match regex: '^(https?|ftp)://[a-z]'";
    assert_eq!(event("abc", r#""notSensitiveValue":"url""#), Err(expected.to_owned()));
    let expected =
        "Field: 'uniqueIdentifier' in event with schema: 'acme/click/1.0.0' doesn't match regex: '[a-z]+'";
    assert_eq!(event("abc1", r#""notSensitiveValue":null"#), Err(expected.to_owned()));
}
