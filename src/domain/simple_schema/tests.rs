//! Names, shapes and refusals of Simple Schema.

use super::*;
use crate::domain::{Schema, SchemaKind};

fn convert(reference: &str, text: &str) -> Result<Value, DocumentError> {
    let schema = Schema::parse(&reference.parse().unwrap(), text)?;
    assert_eq!(schema.kind, SchemaKind::Avro);
    Ok(serde_json::from_str(&schema.definition).unwrap())
}

fn refusal(text: &str) -> String {
    convert("acme/click/1.0.0", text).unwrap_err().to_string()
}

/// A schema with the given nodes, in YAML's flow form.
fn nodes(nodes: &str) -> String {
    format!("name: Clicks\nnodes: [{nodes}]\n")
}

#[test]
fn names_become_avro_names_as_in_the_original() {
    let examples = [
        ("Session Id", "SessionId"),
        ("User Name", "UserName"),
        ("Prijs in GB£", "PrijsInGb"),
        ("url", "url"),
        ("mouse positions", "mousePositions"),
        ("CustomerID", "CustomerID"),
        ("user_name", "user_name"),
        ("user-name", "userName"),
        ("UCI Online Retail", "UciOnlineRetail"),
    ];
    for (name, expected) in examples {
        assert_eq!(derived_name(name).as_deref(), Some(expected), "{name}");
    }
    for name in ["Größe", "2nd visit", "£", " ", "日付"] {
        assert_eq!(derived_name(name), None, "{name}");
    }
}

#[test]
fn namespaces_follow_the_reference() {
    let example = default_namespace(&"quickstart/demo-data-contract/1.0.0".parse().unwrap());
    assert_eq!(example, "quickstart.DemoDataContract.v1_0_0");
    let dashed = default_namespace(&"my-org/a.b/1.20.3".parse().unwrap());
    assert_eq!(dashed, "my_org.AB.v1_20_3");
    assert_eq!(default_namespace(&"3d/12/1.0.0".parse().unwrap()), "_3d._12.v1_0_0");
}

#[test]
fn the_quickstart_schema_becomes_avro() {
    let text = include_str!("../../../tests/data/simple-schema-clicks.json");
    let mut document: Value = serde_json::from_str(text).unwrap();
    document.as_object_mut().unwrap().retain(|key, _| key == "name" || key == "nodes");
    let avro = convert("quickstart/demo-data-contract/1.0.0", &document.to_string()).unwrap();
    let space = "quickstart.DemoDataContract.v1_0_0";
    assert_eq!((avro["name"].as_str(), avro["namespace"].as_str()), (Some("Clicks"), Some(space)));
    let fields = avro["fields"].as_array().unwrap();
    let names: Vec<_> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["strmMeta", "SessionId", "UserName", "url", "mousePositions"]);
    assert_eq!(fields[0]["type"]["namespace"], format!("{space}.strmmeta"));
    assert_eq!(fields[1]["type"], "string");
    assert_eq!(fields[2]["type"], json!(["null", "string"]));
    assert_eq!(fields[2].get("default"), Some(&Value::Null));
    let positions = &fields[4]["type"]["items"];
    assert_eq!((&positions["name"], &positions["type"]), (&json!("MousePositions"), &json!("record")));
    assert_eq!(positions["namespace"], format!("{space}.mousepositions"));
    assert_eq!(positions["fields"][1], json!({ "name": "y", "type": ["null", "int"], "default": null }));
}

#[test]
fn avro_itself_accepts_every_shape() {
    let text = "
name: Everything here
doc: all of it
nodes:
  - { name: a, type: STRING, required: true }
  - { name: b, type: BOOLEAN }
  - { name: c, type: FLOAT, doc: a number }
  - { name: d, type: INTEGER, repeated: true }
  - { name: e, type: LONG, repeated: true, required: true }
  - { name: f, avro_name: eff, type: NODE, required: true, nodes: [{ name: a, type: NODE, nodes: [{ name: x, type: LONG }] }] }
  - { name: a f, type: NODE, nodes: [{ name: x, type: LONG }] }
";
    let avro = convert("acme/click/1.0.0", text).unwrap();
    let parsed = apache_avro::Schema::parse(&avro);
    assert!(parsed.is_ok(), "{:?}", parsed.err());
    let fields = avro["fields"].as_array().unwrap();
    assert_eq!((&avro["name"], &avro["doc"]), (&json!("EverythingHere"), &json!("all of it")));
    assert_eq!(
        fields[3],
        json!({ "name": "c", "type": ["null", "float"], "default": null, "doc": "a number" })
    );
    assert_eq!(fields[4], json!({ "name": "d", "type": { "type": "array", "items": "int" }, "default": [] }));
    assert_eq!(fields[5], json!({ "name": "e", "type": { "type": "array", "items": "long" } }));
    assert_eq!(fields[6]["type"]["fields"][0]["type"][1]["namespace"], "acme.Click.v1_0_0.eff.a");
}

#[test]
fn given_names_win() {
    let text = "name: Clicks\navro_name: Hits\nnamespace: org.acme\nnodes: [{ name: Größe, avro_name: size, type: LONG }]";
    let avro = convert("acme/click/1.0.0", text).unwrap();
    assert_eq!((&avro["name"], &avro["namespace"]), (&json!("Hits"), &json!("org.acme")));
    assert_eq!(avro["fields"][1]["name"], "size");
}

#[test]
fn every_refusal_names_the_node_and_the_rule() {
    let table = [
        (nodes(""), "nodes: must have 1 to 4096 entries"),
        ("nodes: [{ name: a, type: LONG }]".into(), "name: is missing"),
        ("name: ' '\nnodes: []".into(), "name: no Avro name can be derived"),
        ("name: A\nnodes: 7".into(), "nodes: must be a list"),
        ("name: A\nnamespace: a..b\nnodes: []".into(), "namespace: must be Avro names joined by '.'"),
        ("name: A\nfields: []\nnodes: []".into(), "fields: is not a key"),
        (nodes("{ type: LONG }"), "nodes/0/name: is missing"),
        (nodes("{ name: a }"), "nodes/0/type: is missing"),
        (nodes("{ name: a, type: string }"), "nodes/0/type: must be one of STRING, BOOLEAN"),
        (nodes("{ name: a, type: LONG, requird: true }"), "nodes/0/requird: is not a key"),
        (nodes("{ name: a, type: LONG, required: 1 }"), "nodes/0/required: must be true or false"),
        (nodes("{ name: a, avro_name: 1a, type: LONG }"), "nodes/0/avro_name: must be ASCII letters"),
        (nodes("{ name: Größe, type: LONG }"), "nodes/0/name: no Avro name can be derived"),
        (nodes("{ name: a b, type: LONG }, { name: aB, type: LONG }"), "nodes/1: stands a second time"),
        (nodes("{ name: strmMeta, type: LONG }"), "nodes/0: reaches into strmMeta"),
        (nodes("{ name: a, type: NODE }"), "nodes/0/nodes: is missing"),
        (nodes("{ name: a, type: NODE, nodes: [] }"), "nodes/0/nodes: must have 1 to"),
        (nodes("{ name: a, type: LONG, nodes: [{}] }"), "nodes/0/nodes: only a node of type NODE has nodes"),
        (nodes("{ name: a, type: NODE, nodes: [{ name: x }] }"), "nodes/0/nodes/0/type: is missing"),
        (
            nodes(&format!("{{ name: a, type: LONG, doc: {} }}", "x".repeat(5001))),
            "nodes/0/doc: must have 0 to 5000",
        ),
    ];
    for (text, expected) in table {
        let message = refusal(&text);
        assert!(message.starts_with(expected), "expected {expected}, got {message}");
    }
}

#[test]
fn two_nodes_whose_records_would_share_a_name_are_refused() {
    let inner = "nodes: [{ name: x, type: LONG }]";
    let text = nodes(&format!("{{ name: aB, type: NODE, {inner} }}, {{ name: AB, type: NODE, {inner} }}"));
    assert_eq!(refusal(&text), "nodes/1: stands a second time for the same field");
}

#[test]
fn nodes_nest_up_to_the_limit() {
    let nested = |levels: usize| {
        let open = "{ name: a, type: NODE, repeated: true, nodes: [".repeat(levels);
        nodes(&format!("{open}{{ name: x, type: LONG }}{}", "] }".repeat(levels)))
    };
    assert!(convert("acme/click/1.0.0", &nested(limits::SIMPLE_SCHEMA_DEPTH_MAX)).is_ok());
    let message = refusal(&nested(limits::SIMPLE_SCHEMA_DEPTH_MAX + 1));
    assert!(message.ends_with("nested deeper than 30 levels"), "{message}");
}
