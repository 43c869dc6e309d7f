//! Bodies that are wrong on purpose: an error, fast, without panic and without much memory.

use super::*;

#[test]
fn wrong_json_is_refused_with_its_code() {
    let plan = avro_plan(
        r#"{"name":"o","type":["null","string"]},{"name":"m","type":["null",{"type":"map","values":"int"}]},{"name":"r","type":["null",{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}]}"#,
        &["o"],
    );
    for (rest, expected) in [
        (r#""o":"x""#, "ok"),
        (r#""o":"\ud83d\ude00\u0000""#, "ok"),
        (r#""nope":1"#, "field_unknown"),
        (r#""strmMeta ":1"#, "field_unknown"),
        (r#""o":1"#, "field_type"),
        (r#""o":"x","o":"y""#, "json_duplicate_key"),
        (r#""o":"x","\u006f":"y""#, "json_duplicate_key"),
        (r#""m":{"a":1,"\u0061":2}"#, "json_duplicate_key"),
        (r#""m":{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"a":1}"#, "json_duplicate_key"),
        (r#""r":{}"#, "field_missing"),
        (r#""r":{"x":1,"x":1}"#, "json_duplicate_key"),
        (r#""r":{"R":{"x":1},"x":1}"#, "field_unknown"),
        (r#""o":"\ud800""#, "json_invalid"),
        (r#""o":"\ud800\u0041""#, "json_invalid"),
        (r#""o":"\udc00""#, "json_invalid"),
        (r#""o":"\u12""#, "json_invalid"),
        (r#""o":"\x""#, "json_invalid"),
        ("\"o\":\"a\nb\"", "json_invalid"),
        (r#""o":"x",} "#, "json_invalid"),
        (r#""o":nul"#, "json_invalid"),
        (r#""o":"x"}{"#, "json_invalid"),
        (r#""o" "x""#, "json_invalid"),
    ] {
        assert_eq!(code(&plan, json_event(rest)), expected, "{rest}");
    }
    assert_eq!(code(&plan, json_event("") + "x"), "json_invalid");
    assert_eq!(code(&plan, json_event("") + " \n\t\r"), "ok");
    assert_eq!(code(&plan, b"{\"o\":\"\xff\"}"), "json_invalid");
    assert_eq!(code(&plan, "{}"), "field_missing");
    assert_eq!(code(&plan, "{"), "json_invalid");
    assert_eq!(code(&plan, "[]"), "avro_invalid");
    assert_eq!(code(&plan, json_event("").replace(r#""k":"s""#, r#""k":"""#)), "key_field_empty");
    assert_eq!(code(&plan, json_event("").replace("1.3.0", "1.3.1")), "contract_mismatch");
    assert_eq!(
        code(&plan, json_event("").replace(r#""consentLevels":[]"#, r#""nonce":null"#)),
        "field_missing"
    );
    let levels = vec!["0"; 51].join(",");
    assert_eq!(code(&plan, json_event("").replace("[]", &format!("[{levels}]"))), "consent_too_many");
    let long = "x".repeat(65 * 1024);
    assert_eq!(
        code(&plan, json_event("").replace(r#""k":"s""#, &format!(r#""k":"{long}""#))),
        "value_too_long"
    );
}

#[test]
fn errors_name_schema_fields_and_never_input() {
    let plan = avro_plan(
        r#"{"name":"r","type":{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}}"#,
        &[],
    );
    let error = |rest: &str| decode(&plan, json_event(rest).as_bytes()).unwrap_err();
    let unknown = error(r#""r":{"x":1,"secret-key":"secret-value"}"#);
    assert_eq!((unknown.code(), unknown.place().path()), ("field_unknown", "r"));
    let wrong = error(r#""r":{"x":"secret-value"}"#);
    assert_eq!((wrong.code(), wrong.place().path()), ("field_type", "r/x"));
    assert_eq!(wrong.place().offset(), json_event(r#""r":{"x":"#).len() - 1);
    for shown in [format!("{unknown} {unknown:?}"), format!("{wrong} {wrong:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn deep_nesting_is_refused_in_every_form() {
    let node = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;
    let plan = avro_plan(&format!(r#"{{"name":"n","type":["null",{node}]}}"#), &[]);
    let deep = r#"{"next":"#.repeat(10_000) + "null" + &"}".repeat(10_000);
    assert_eq!(code(&plan, json_event(&format!(r#""n":{deep}"#))), "json_too_deep");
    let tagged = r#"{"Node":{"next":"#.repeat(10_000) + "null" + &"}}".repeat(10_000);
    assert_eq!(code(&plan, json_event(&format!(r#""n":{tagged}"#))), "json_too_deep");
    assert_eq!(code(&plan, "[".repeat(10_000)), "avro_invalid");
    let mut avro = avro_head();
    avro.extend(std::iter::repeat_n(2, 10_000));
    assert_eq!(code(&plan, &avro), "avro_too_deep");
    let definition = r#"{"type":"object","properties":{"strmMeta":{"type":"object","properties":{"eventContractRef":{"type":"string"},"consentLevels":{"type":"array"}}},"k":{"type":"string"},"a":{}}}"#;
    let plan = plan_for(SchemaKind::JsonSchema, definition, contract("k", &[]));
    let body = json_event(&format!(r#""a":{}{}"#, "[".repeat(10_000), "]".repeat(10_000)));
    assert_eq!(code(&plan, body), "json_too_deep");
}

fn avro_head() -> Vec<u8> {
    let mut body = vec![50];
    body.extend_from_slice(b"strmprivacy/example/1.3.0");
    body.extend_from_slice(&[0, 0, 0, 0, 2, b's']);
    body
}

fn varint(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn wrong_avro_is_refused_with_its_code() {
    let one = |field: &str| avro_plan(&format!(r#"{{"name":"f","type":{field}}}"#), &[]);
    let body = |parts: &[&[u8]]| [avro_head().as_slice(), &parts.concat()].concat();
    let huge = varint(1 << 62);
    let cases: [(&str, &[&[u8]], &str); 25] = [
        (r#""string""#, &[&[2, b'x']], "ok"),
        (r#""string""#, &[&[2, b'x', 0]], "avro_trailing_bytes"),
        (r#""string""#, &[&[2]], "avro_truncated"),
        (r#""string""#, &[&huge], "avro_truncated"),
        (r#""string""#, &[&varint(-1)], "avro_invalid"),
        (r#""string""#, &[&[2, 0xff]], "avro_invalid"),
        (r#""boolean""#, &[&[2]], "avro_invalid"),
        (r#""int""#, &[&varint(1 << 31)], "avro_invalid"),
        (r#""int""#, &[&varint(-(1 << 31))], "ok"),
        (r#""long""#, &[&varint(i64::MIN)], "ok"),
        (r#""long""#, &[&[0xff; 10]], "avro_invalid"),
        (r#""long""#, &[&[0x80; 9], &[2]], "avro_invalid"),
        (r#"["null","int"]"#, &[&[4]], "avro_invalid"),
        (r#"["null","int"]"#, &[&[1]], "avro_invalid"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[&[2]], "avro_invalid"),
        (r#"{"type":"array","items":"int"}"#, &[&huge, &[0]], "avro_truncated"),
        (r#"{"type":"array","items":"int"}"#, &[&varint(i64::MIN), &[0]], "avro_truncated"),
        (r#"{"type":"array","items":"null"}"#, &[&huge, &[0]], "avro_invalid"),
        (r#"{"type":"array","items":"null"}"#, &[&varint(8_000), &[0]], "ok"),
        (r#"{"type":"array","items":"null"}"#, &[&varint(65_536), &[0]], "too_large"),
        (r#"{"type":"array","items":"null"}"#, &[&varint(60_000), &varint(60_000), &[0]], "too_large"),
        (r#"{"type":"map","values":"null"}"#, &[&varint(1_000_000_000), &[0]], "avro_truncated"),
        (r#"{"type":"map","values":"int"}"#, &[&[4, 2, b'a', 0, 2, b'a', 0, 0]], "avro_invalid"),
        (r#"{"type":"array","items":"int"}"#, &[&[1, 2, 2, 0]], "ok"),
        (r#"{"type":"array","items":"int"}"#, &[&[1, 4, 2, 0]], "avro_invalid"),
    ];
    for (field, parts, expected) in cases {
        assert_eq!(code(&one(field), body(parts)), expected, "{field} {parts:?}");
    }
}

#[test]
fn small_bodies_cannot_grow_large() {
    let many: Vec<String> =
        (0..1000).map(|n| format!(r#"{{"name":"f{n}","type":["null","int"]}}"#)).collect();
    let record =
        format!(r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[{}]}}}}"#, many.join(","));
    let plan = avro_plan(&format!(r#"{{"name":"a","type":{record}}}"#), &[]);
    assert_eq!(code(&plan, json_event(r#""a":[{},{},{}]"#)), "ok");
    let body = json_event(&format!(r#""a":[{}{{}}]"#, "{},".repeat(100_000)));
    assert_eq!(code(&plan, body), "too_large");
    let nothing: Vec<String> = (0..1000).map(|n| format!(r#"{{"name":"f{n}","type":"null"}}"#)).collect();
    let record = format!(
        r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[{}]}}}}"#,
        nothing.join(",")
    );
    let plan = avro_plan(&format!(r#"{{"name":"a","type":{record}}}"#), &[]);
    let body = [avro_head(), varint(65_000), vec![0]].concat();
    assert_eq!(code(&plan, body), "too_large");
}

/// Goal: whatever a single wrong byte or a cut does, the answer is Ok or Err, and what is Ok can be written.
#[test]
fn cut_and_mutated_bodies_never_panic() {
    let fields = r#"{"name":"o","type":["null","string"]},{"name":"l","type":{"type":"array","items":"string"}},
{"name":"m","type":{"type":"map","values":["null","double","bytes"]}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}}"#;
    let plan = avro_plan(fields, &["o", "l"]);
    let json =
        json_event(r#""o":{"string":"x\u00e9\n"},"l":["a","b"],"m":{"a":1.5e3,"b":null,"c":"z"},"e":"B""#);
    let avro = [
        avro_head(),
        vec![
            2, 4, 0xc3, 0xa9, 3, 6, 2, b'a', 0, 2, 2, b'b', 0, 2, 2, b'c', 2, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f,
            0, 2,
        ],
    ]
    .concat();
    for body in [json.as_bytes(), &avro] {
        assert_eq!(code(&plan, body), "ok");
        let mut tape = Tape::new();
        let mut out = Vec::new();
        let mut check = |body: &[u8]| {
            let serialization = plan.schema().sniff(None, body);
            drop(plan.schema().contract_ref(body, serialization));
            if plan.decode(body, serialization, &mut tape).is_ok() {
                let replaced = bracket(body, &mut tape);
                for form in [Form::AsReceived, Form::Json] {
                    out.clear();
                    plan.encode(body, &tape, Some(&stamp()), &replaced, form, &mut out);
                    let written = plan.schema().sniff(None, &out);
                    plan.decode(&out, written, &mut Tape::new()).unwrap();
                }
            }
        };
        for end in 0..body.len() {
            check(&body[..end]);
        }
        for at in 0..body.len() {
            let mut mutated = body.to_vec();
            for value in 0..=255 {
                mutated[at] = value;
                check(&mutated);
            }
        }
    }
}
