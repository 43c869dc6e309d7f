//! Names that clash or are reserved, and schemas that have no class.

use super::*;

fn schema(fields: &str) -> Schema {
    let text = format!(r#"{{"type": "record", "name": "class", "namespace": "a", "fields": [{fields}]}}"#);
    Schema::parse(&"acme/click/1.0.0".parse().unwrap(), &text).unwrap()
}

#[test]
fn reserved_words_and_clashes_get_names_of_their_own() {
    let fields = r#"{"name": "class", "type": "string"}, {"name": "class_", "type": "string"},
        {"name": "get", "type": "string"}, {"name": "_hidden", "type": "string"},
        {"name": "r", "type": {"type": "record", "name": "Class", "namespace": "b", "fields": []}}"#;
    let python = write(&schema(fields), Language::Python).unwrap();
    for line in ["    class_: str", "    class__: str", "    get_: str", "    x_hidden: str", "    r: Class_"]
    {
        assert!(python.lines().any(|found| found == line), "{line} is not in {python}");
    }
    let rust = write(&schema(r#"{"name": "self", "type": "long"}"#), Language::Rust).unwrap();
    assert!(rust.contains("pub self_: i64") && rust.contains(r#"\"self\":"#), "{rust}");
}

#[test]
fn what_has_no_class_is_refused_by_its_field() {
    let union = schema(r#"{"name": "x", "type": ["null", "string", "int"]}"#);
    assert_eq!(write(&union, Language::Java), Err(CodeError::Union("x".to_owned())));
    let json = Schema::parse(&"acme/click/1.0.0".parse().unwrap(), r#"{"type": "object", "properties": {}}"#);
    assert_eq!(write(&json.unwrap(), Language::Rust), Err(CodeError::JsonSchema));
}
