//! What schemas can hold, and how it is written.

use super::*;

#[test]
fn unions_take_tags_and_plain_values() {
    let inner = r#"{"type":"record","name":"Inner","fields":[{"name":"a","type":"int"}]}"#;
    let other = r#"{"type":"record","name":"Other","fields":[{"name":"b","type":"int"}]}"#;
    let fields = format!(
        r#"{{"name":"u","type":["null",{inner},{other},"int","double",{{"type":"map","values":"long"}},{{"type":"array","items":"boolean"}},{{"type":"enum","name":"E","symbols":["X","Y"]}},"bytes"]}}"#
    );
    let plan = avro_plan(&fields, &[]);
    let tagged = |value: &str| {
        let out = rewrite(&plan, json_event(&format!(r#""u":{value}"#)).as_bytes(), Form::AsReceived);
        out.split_once(r#","u":"#).unwrap().1.trim_end_matches('}').to_owned()
    };
    let tag_of = |value: &str| {
        // Writing tagged needs one tagged union in the event: the stamp's fields are unions too.
        let body = json_event(&format!(r#""u":{value}"#)).replacen(
            r#""consentLevels""#,
            r#""nonce":{"int":1},"consentLevels""#,
            1,
        );
        let out = rewrite(&plan, body.as_bytes(), Form::AsReceived);
        out.split_once(r#","u":"#).unwrap().1.strip_suffix('}').unwrap().to_owned()
    };
    assert_eq!(tagged("null"), "null");
    assert_eq!(tag_of(r#"{"a":1}"#), r#"{"org.acme.Inner":{"a":1}}"#);
    assert_eq!(tag_of(r#"{"Inner":{"a":1}}"#), r#"{"org.acme.Inner":{"a":1}}"#);
    assert_eq!(tag_of(r#"{"org.acme.Other":{"b":1}}"#), r#"{"org.acme.Other":{"b":1}}"#);
    assert_eq!(tag_of(r#"{"b":1}"#), r#"{"org.acme.Other":{"b":1}}"#);
    assert_eq!(tag_of(r#"{"c":1,"d":2}"#), r#"{"map":{"c":1,"d":2}}"#);
    assert_eq!(tag_of(r#"{"int":1}"#), r#"{"int":1}"#);
    assert_eq!(tag_of("12"), r#"{"int":12}"#);
    assert_eq!(tag_of("3000000000"), r#"{"double":3000000000}"#);
    assert_eq!(tag_of("1.5"), r#"{"double":1.5}"#);
    assert_eq!(tag_of("[true]"), r#"{"array":[true]}"#);
    assert_eq!(tag_of(r#""Y""#), r#"{"org.acme.E":"Y"}"#);
    assert_eq!(tag_of(r#""Z""#), r#"{"bytes":"Z"}"#);
    assert_eq!(tag_of(r#""NaN""#), r#"{"double":"NaN"}"#);
    for wrong in [r#""\u0100""#, "true", r#"{"int":"x"}"#, r#"{"int":1,"x":2.5}"#] {
        assert_ne!(code(&plan, json_event(&format!(r#""u":{wrong}"#))), "ok", "{wrong}");
    }
}

#[test]
fn recursive_types_work_and_marks_follow_the_path_only() {
    let node = r#"{"type":"record","name":"Node","fields":[{"name":"v","type":"string"},{"name":"next","type":["null","Node"]}]}"#;
    let plan = avro_plan(&format!(r#"{{"name":"n","type":{node}}}"#), &["n/next/v"]);
    let body = json_event(r#""n":{"next":{"next":{"v":"3"},"v":"2"},"v":"1"}"#);
    let mut tape = decode(&plan, body.as_bytes()).unwrap();
    let replaced = bracket(body.as_bytes(), &mut tape);
    let out = encode(&plan, body.as_bytes(), &tape, None, &replaced, Form::Json);
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.ends_with(r#""k":"<s>","n":{"v":"1","next":{"v":"<2>","next":{"v":"3","next":null}}}}"#),
        "{out}"
    );
}

#[test]
fn lists_are_marked_one_by_one_and_nulls_stay() {
    let item = r#"{"type":"record","name":"Item","fields":[{"name":"ids","type":["null",{"type":"array","items":"string"}]}]}"#;
    let plan =
        avro_plan(&format!(r#"{{"name":"items","type":{{"type":"array","items":{item}}}}}"#), &["items/ids"]);
    let body = json_event(r#""items":[{"ids":["a","b\n"]},{},{"ids":[]},{"ids":{"array":["c"]}}]"#);
    let mut tape = decode(&plan, body.as_bytes()).unwrap();
    let replaced = bracket(body.as_bytes(), &mut tape);
    let out =
        String::from_utf8(encode(&plan, body.as_bytes(), &tape, None, &replaced, Form::AsReceived)).unwrap();
    let items = r#""items":[{"ids":{"array":["<a>","<b\n>"]}},{"ids":null},{"ids":{"array":[]}},{"ids":{"array":["<c>"]}}]}"#;
    assert!(out.ends_with(items), "{out}");
}

#[test]
fn avro_blocks_that_tell_their_size_are_rewritten() {
    let plan = avro_plan(r#"{"name":"l","type":{"type":"array","items":"string"}}"#, &["l"]);
    let mut body = vec![50];
    body.extend_from_slice(b"strmprivacy/example/1.3.0");
    body.extend_from_slice(&[0, 0, 0, 0, 2, b's', 3, 8, 2, b'a', 2, b'b', 2, 2, b'c', 0]);
    let mut tape = decode(&plan, &body).unwrap();
    let replaced = bracket(&body, &mut tape);
    let out = encode(&plan, &body, &tape, Some(&stamp()), &replaced, Form::AsReceived);
    let again = decode(&plan, &out).unwrap();
    assert_eq!(
        texts(&plan, &out, &again).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["<s>", "<a>", "<b>", "<c>"]
    );
    body[33] = 7;
    assert_eq!(code(&plan, &body), "avro_invalid");
}

#[test]
fn numbers_are_checked_against_their_type_and_keep_their_text() {
    let plan = avro_plan(
        r#"{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"x","type":{"type":"fixed","name":"F","size":2}}"#,
        &[],
    );
    let event = |i: &str, l: &str, f: &str, d: &str, x: &str| {
        json_event(&format!(r#""i":{i},"l":{l},"f":{f},"d":{d},"x":{x}"#))
    };
    let good = event("-2147483648", "9223372036854775807", "1.50", "1E+2", r#""\u00ff\n""#);
    assert!(rewrite(&plan, good.as_bytes(), Form::Json).ends_with(&good[good.find(r#""i""#).unwrap()..]));
    assert_eq!(code(&plan, event("1", "1", r#""NaN""#, r#""-Infinity""#, r#""ab""#)), "ok");
    for (wrong, expected) in [
        (event("2147483648", "1", "1", "1", r#""ab""#), "field_type"),
        (event("1", "9223372036854775808", "1", "1", r#""ab""#), "field_type"),
        (event("1.0", "1", "1", "1", r#""ab""#), "field_type"),
        (event("1", "1e3", "1", "1", r#""ab""#), "field_type"),
        (event("1", "1", "1e39", "1", r#""ab""#), "field_type"),
        (event("1", "1", "1", "1e999", r#""ab""#), "field_type"),
        (event("1", "1", "1", r#""nan""#, r#""ab""#), "field_type"),
        (event("1", "1", "1", "NaN", r#""ab""#), "field_type"),
        (event("1", "1", "1", "1", r#""abc""#), "field_type"),
        (event("01", "1", "1", "1", r#""ab""#), "json_invalid"),
        (event("+1", "1", "1", "1", r#""ab""#), "field_type"),
        (event("1.", "1", "1", "1", r#""ab""#), "json_invalid"),
        (event("-", "1", "1", "1", r#""ab""#), "json_invalid"),
    ] {
        assert_eq!(code(&plan, &wrong), expected, "{wrong}");
    }
}

#[test]
fn meta_must_be_first_and_proper() {
    let refused = |definition: &str| {
        let schema = Schema {
            reference: "acme/click/1.0.0".parse().unwrap(),
            kind: SchemaKind::Avro,
            definition: definition.to_owned(),
        };
        SchemaPlan::compile(&schema).unwrap_err().path
    };
    assert_eq!(
        refused(r#"{"type":"record","name":"E","fields":[{"name":"k","type":"string"}]}"#),
        "strmMeta"
    );
    assert_eq!(refused(r#""string""#), "");
    assert_eq!(refused("{"), "");
    let good = avro_with("");
    assert_eq!(refused(&good.replace(r#"["null","int"]"#, r#""int""#)), "strmMeta/nonce");
    assert_eq!(refused(&good.replace("consentLevels", "levels")), "strmMeta/consentLevels");
    assert_eq!(
        refused(&good.replace(r#""eventContractRef","type":"string""#, r#""eventContractRef","type":"int""#)),
        "strmMeta/eventContractRef"
    );
    schema_plan(SchemaKind::Avro, &good.replace(r#"["null","int"]"#, r#"["int","null"]"#));
}

const JSON: &str = r##"{"type":"object","properties":{
"strmMeta":{"type":"object","properties":{"eventContractRef":{"type":"string"},"consentLevels":{"type":"array","items":{"type":"integer"}}}},
"k":{"type":"string"},"n":{"type":"number"},
"who":{"anyOf":[{"$ref":"#/$defs/who"},{"type":"null"}]},
"tags":{"type":"array","items":{"type":"string","maxLength":3}}},
"required":["k"],"$defs":{"who":{"type":"object","properties":{"id":{"type":["string","null"]}}}}}"##;

#[test]
fn json_schema_events_are_closed_checked_and_stamped() {
    let plan = plan_for(SchemaKind::JsonSchema, JSON, contract("k", &["k", "who/id", "tags"]));
    let body = r#" {"tags": ["a", "\u00e9\n"], "who": {"id": "x"}, "n": 1.50, "k": "s", "strmMeta": {"nonce": null, "eventContractRef": "strmprivacy\/example\/1.3.0", "consentLevels": [1, 2]}} "#;
    let mut tape = decode(&plan, body.as_bytes()).unwrap();
    assert_eq!(tape.consent(), [1, 2]);
    let replaced = bracket(body.as_bytes(), &mut tape);
    let out = encode(&plan, body.as_bytes(), &tape, Some(&stamp()), &replaced, Form::AsReceived);
    let out = String::from_utf8(out).unwrap();
    let expected = r#"{"strmMeta":{"nonce":-7,"eventContractRef":"strmprivacy\/example\/1.3.0","consentLevels":[1,2],"timestamp":1700000000123,"keyLink":"0fd20015-40e4-484d-ab1f-182acff382ac"},"tags":["<a>","<é\n>"],"who":{"id":"<x>"},"n":1.50,"k":"<s>"}"#;
    assert_eq!(out, expected);
    let mut again = Tape::new();
    plan.decode_stored(out.as_bytes(), crate::domain::Serialization::Json, &mut again).unwrap();
    assert_eq!(encode(&plan, out.as_bytes(), &again, None, &[], Form::Json), out.as_bytes());

    let event = |rest: &str| json_event(rest);
    for (rest, expected) in [
        ("", "ok"),
        (r#""who":null,"tags":[]"#, "ok"),
        (r#""other":1"#, "schema_mismatch"),
        (r#""who":{"nr":1}"#, "schema_mismatch"),
        (r#""tags":["abcd"]"#, "schema_mismatch"),
        (r#""tags":[1]"#, "field_type"),
        (r#""who":{"id":{}}"#, "field_type"),
        (r#""n":1,"n":1"#, "json_duplicate_key"),
        (r#""n":1,"\u006e":1"#, "json_duplicate_key"),
        (r#""n":1e999"#, "json_invalid"),
        (r#""n":"\ud800""#, "json_invalid"),
    ] {
        assert_eq!(code(&plan, event(rest)), expected, "{rest}");
    }
    assert_eq!(code(&plan, r#"{"k":"s"}"#), "meta_missing");
    assert_eq!(code(&plan, r#"{"k":"s","strmMeta":{}}"#), "meta_missing");
    let levels = vec!["1"; 51].join(",");
    let many = event("").replace("[]", &format!("[{levels}]"));
    assert_eq!(code(&plan, many), "consent_too_many");
}

#[test]
fn json_schemas_never_reach_outside() {
    for outside in ["http://127.0.0.1:9/x", "file:///etc/passwd"] {
        let definition = JSON.replace("#/$defs/who\"", &format!("{outside}\""));
        let schema = Schema {
            reference: "acme/click/1.0.0".parse().unwrap(),
            kind: SchemaKind::JsonSchema,
            definition,
        };
        assert!(SchemaPlan::compile(&schema).is_err());
    }
}
