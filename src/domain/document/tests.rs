//! Text that is read, and text that is refused before it costs anything.

use std::time::{Duration, Instant};

use super::*;

fn rule(text: &str) -> DocumentRule {
    read(text).unwrap_err().rule
}

#[test]
fn json_and_yaml_give_the_same_value_in_the_order_written() {
    let json = read(r#"{"b": [1, -2, 1.5, true, null], "a": "x"}"#).unwrap();
    let yaml = read("b: [1, -2, 1.5, true, null]\na: x\n").unwrap();
    assert_eq!(json, yaml);
    assert_eq!(yaml.to_string(), r#"{"b":[1,-2,1.5,true,null],"a":"x"}"#);
    assert_eq!(read("\u{feff}{}").unwrap(), Value::Object(Map::new()));
}

#[test]
fn a_key_that_stands_twice_is_refused_by_its_path() {
    for text in [r#"{"a": {"b": 1, "b": 2}}"#, "a:\n  b: 1\n  b: 2\n"] {
        let error = read(text).unwrap_err();
        assert_eq!(error.to_string(), "a/b: the key occurs twice", "{text}");
    }
}

#[test]
fn syntax_errors_are_reduced_to_a_position() {
    let json = DocumentRule::Syntax { format: "JSON", line: 2, column: 1 };
    assert_eq!(rule("{\"a\": 1,\n}"), json);
    assert!(matches!(rule("a: 'x"), DocumentRule::Syntax { format: "YAML", .. }));
    assert!(matches!(rule("{} {}"), DocumentRule::Syntax { format: "JSON", .. }));
    assert!(matches!(rule("a: 1\n---\nb: 2\n"), DocumentRule::Syntax { format: "YAML", .. }));
}

#[test]
fn values_without_a_json_form_are_refused() {
    for text in ["a: .nan", "a: -.inf", "a: !secret x", "a: 170141183460469231731687303715884105727"] {
        assert_eq!(read(text).unwrap_err(), DocumentError::new("a", DocumentRule::NotJson), "{text}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(limits::DOCUMENT_BYTES_MAX));
    assert_eq!(rule(&large), DocumentRule::TooLarge { max: limits::DOCUMENT_BYTES_MAX });
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let too_deep = DocumentRule::TooDeep { max: limits::DOCUMENT_DEPTH_MAX };
    assert!(read(&deep(limits::DOCUMENT_DEPTH_MAX)).is_ok());
    assert_eq!(rule(&deep(limits::DOCUMENT_DEPTH_MAX + 1)), too_deep);
    let list = format!("{}1", "- ".repeat(limits::DOCUMENT_DEPTH_MAX + 1));
    assert_eq!(rule(&list), too_deep);
}

#[test]
fn an_alias_bomb_is_refused_and_a_plain_alias_is_not() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let uses = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("a{n}: &a{n} [{uses}]\n");
    }
    let started = Instant::now();
    assert_eq!(rule(&bomb), DocumentRule::Aliases);
    assert!(started.elapsed() < Duration::from_secs(1));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), vec!["*a"; 100].join(", "));
    assert_eq!(rule(&long), DocumentRule::Aliases);
    assert!(read("a: &a 1\nb: [*a]\n").is_ok());
    assert!(read("a: &a [*a]\n").is_err());
}

#[test]
fn hostile_text_of_full_size_is_refused_in_time() {
    let size = limits::DOCUMENT_BYTES_MAX;
    for unit in [
        "[", "{", "[{", "- ", "? ", "&a ", "*a ", "!x ", "a: ", "\"\\u", "|\n", "\n", "-\n", "%", "a: &a [",
        "[]",
    ] {
        let started = Instant::now();
        let text = unit.repeat(size / unit.len());
        let text = if unit == "{" { format!("# yaml\n{}", &text[..size - 7]) } else { text };
        let _ = read(&text);
        assert!(started.elapsed() < Duration::from_millis(300), "{unit:?} took {:?}", started.elapsed());
    }
}

#[test]
fn keys_are_shown_only_when_they_look_like_keys() {
    assert_eq!(join("a", "fieldName"), "a/fieldName");
    assert_eq!(join("", "x\ny"), "(unprintable key)");
    assert_eq!(join("a", &"x".repeat(65)), "a/(unprintable key)");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[\\[\\]{}:,&*!|>'\"\\\\a-c0-9 \n#%@-]{0,200}") {
        let _ = read(&text);
    }
}
