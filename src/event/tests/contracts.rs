//! Every rule a contract must keep against its schema.

use super::*;

fn refused(change: impl FnOnce(&mut Contract)) -> (String, String) {
    let fields = r#"{"name":"i","type":"int"},{"name":"o","type":["string","null"]},{"name":"l","type":["null",{"type":"array","items":"string"}]},
{"name":"m","type":{"type":"map","values":"string"}},{"name":"u","type":["null","string","int"]},
{"name":"r","type":{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"x","type":"string"}]}}},
{"name":"ll","type":{"type":"array","items":{"type":"array","items":"string"}}}"#;
    let mut contract = contract("k", &["o"]);
    change(&mut contract);
    let schema = schema_plan(SchemaKind::Avro, &avro_with(fields));
    match EventPlan::compile(schema, Arc::new(contract), &[]) {
        Ok(_) => ("ok".to_owned(), String::new()),
        Err(error) => (error.field.to_string(), error.rule),
    }
}

fn personal(field: &str) -> PersonalField {
    PersonalField { path: path(field), level: 1, equality_class: None }
}

#[test]
fn string_fields_of_all_accepted_kinds_may_be_personal() {
    for field in ["k", "l", "r/x"] {
        assert_eq!(refused(|c| c.personal_fields.push(personal(field))).0, "ok", "{field}");
    }
}

#[test]
fn other_personal_fields_are_refused_by_name_and_rule() {
    for (field, rule) in [
        ("i", "list of strings"),
        ("r", "list of strings"),
        ("ll", "list of strings"),
        ("m", "list of strings"),
        ("m/a", "inside a map"),
        ("u", "several types"),
        ("nope", "not in the schema"),
        ("o/x", "not in the schema"),
        ("strmMeta/keyLink", "strmMeta"),
        ("o", "twice"),
    ] {
        let (at, why) = refused(|c| c.personal_fields.push(personal(field)));
        assert_eq!(at, field);
        assert!(why.contains(rule), "{field}: {why}");
    }
}

#[test]
fn the_key_and_the_subject_are_single_strings() {
    assert_eq!(refused(|c| c.key_field = path("o")).0, "ok");
    assert!(refused(|c| c.key_field = path("r/x")).1.contains("key field"));
    assert!(refused(|c| c.key_field = path("l")).1.contains("key field"));
    assert!(refused(|c| c.key_field = path("i")).1.contains("string"));
    assert!(refused(|c| c.data_subject_field = Some(path("l"))).1.contains("subject"));
    assert!(refused(|c| c.data_subject_field = Some(path("gone"))).1.contains("not in the schema"));
}

#[test]
fn patterns_are_bounded_and_match_the_whole_value() {
    assert_eq!(refused(|c| c.validations.push(regex("o", "a|b"))).0, "ok");
    assert_eq!(refused(|c| c.validations.push(regex("o", "(?x) a # comment"))).0, "ok");
    for pattern in ["a)(?:b", "(?=a)", "(", "(?:a{1000}){1000}", &"a".repeat(5000)] {
        assert!(refused(|c| c.validations.push(regex("o", pattern))).1.contains("pattern"));
    }
    assert!(refused(|c| c.validations.push(regex("i", "a"))).1.contains("string"));
    let mut contract = contract("k", &[]);
    contract.validations.push(regex("k", "a|s"));
    let plan = plan_for(SchemaKind::Avro, &avro_with(""), contract);
    for (key, fits) in [("s", true), ("a", true), ("ss", false), ("s\\n", false), ("xa", false)] {
        let body = json_event("").replace(r#""k":"s""#, &format!(r#""k":"{key}""#));
        let tape = decode(&plan, body.as_bytes()).unwrap();
        assert_eq!(plan.validate(body.as_bytes(), &tape).is_ok(), fits, "{key}");
    }
}

#[test]
fn equality_classes_follow_the_suite_unless_named() {
    let class = |suite, named: Option<&str>| {
        let mut contract = contract("k", &["k"]);
        contract.suite = suite;
        contract.personal_fields[0].equality_class = named.map(str::to_owned);
        let schema = schema_plan(SchemaKind::Avro, &avro_with(""));
        let plan = EventPlan::compile(schema, Arc::new(contract), &[]);
        plan.map(|plan| plan.fields()[0].personal.clone().unwrap().class).map_err(|error| error.rule)
    };
    assert_eq!(class(Suite::XChaCha20Poly1305, None).unwrap(), b"k");
    assert_eq!(class(Suite::Aes256Siv, None).unwrap(), b"");
    assert_eq!(class(Suite::Aes256Siv, Some("user.id-1_x")).unwrap(), b"user.id-1_x");
    assert_eq!(class(Suite::XChaCha20Poly1305, Some("")).unwrap(), b"");
    assert!(class(Suite::XChaCha20Poly1305, Some("A")).is_err());
    assert!(class(Suite::XChaCha20Poly1305, Some(&"a".repeat(65))).is_err());
}

#[test]
fn masked_fields_are_found_beside_the_contracts_own() {
    let schema = schema_plan(SchemaKind::Avro, DEMO);
    let contract = Arc::new(contract("consistentValue", &["uniqueIdentifier"]));
    let extra = [path("notSensitiveValue"), path("uniqueIdentifier")];
    let plan = EventPlan::compile(schema.clone(), contract.clone(), &extra).unwrap();
    let names: Vec<_> = plan.fields().iter().map(|field| field.path.as_str()).collect();
    assert_eq!(names, ["consistentValue", "uniqueIdentifier", "notSensitiveValue"]);
    assert!(
        plan.fields()[0].is_key && plan.fields()[1].personal.is_some() && plan.fields()[2].personal.is_none()
    );
    assert!(EventPlan::compile(schema, contract, &[path("nope")]).is_err());
}
