//! fastavro as the second opinion on Avro JSON, tagged and plain, both directions.
//!
//! Skips, and says so, unless `SLUICE_TEST_PYTHON` names a Python that has fastavro.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::{Value, json};
use sluice::{
    domain::{Contract, ContractAbout, ContractState, Schema, SchemaKind, Serialization, Suite},
    event::{EventPlan, Form, SchemaPlan, Tape},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/fastavro_oracle.py");

const SCHEMA: &str = r#"{"type":"record","name":"Event","namespace":"org.acme","fields":[
{"name":"strmMeta","type":{"type":"record","name":"StrmMeta","fields":[
{"name":"eventContractRef","type":"string"},{"name":"nonce","type":["null","int"]},
{"name":"timestamp","type":["null","long"]},{"name":"keyLink","type":["null","string"]},
{"name":"billingId","type":["null","string"]},{"name":"consentLevels","type":{"type":"array","items":"int"}}]}},
{"name":"k","type":"string"},{"name":"o","type":["null","string"]},
{"name":"n","type":["null","int","double"]},{"name":"b","type":["bytes","null"]},
{"name":"r","type":["null",{"type":"record","name":"Inner","fields":[{"name":"a","type":"boolean"},
{"name":"next","type":["null","Inner"]}]}]},
{"name":"e","type":["null",{"type":"enum","name":"E","symbols":["A","B"]}]},
{"name":"m","type":{"type":"map","values":["null","long","string"]}},
{"name":"l","type":{"type":"array","items":["null","string"]}}]}"#;

const META: &str = r#""strmMeta":{"eventContractRef":"acme/click/1.0.0","nonce":null,"timestamp":{"long":5},"keyLink":null,"billingId":null,"consentLevels":[0,1]}"#;

// No empty map key: fastavro cannot write one ("No key was set").
const EVENTS: [&str; 3] = [
    r#""k":"s","o":null,"n":null,"b":null,"r":null,"e":null,"m":{},"l":[]"#,
    r#""k":"é\n\u0000","o":{"string":"x\"y"},"n":{"int":-3},"b":{"bytes":"\u00ff\u0000a"},"r":{"org.acme.Inner":{"a":true,"next":{"org.acme.Inner":{"a":false,"next":null}}}},"e":{"org.acme.E":"B"},"m":{"a":null,"b":{"long":9007199254740993},"c":{"string":"z"}},"l":[null,{"string":"q"}]"#,
    r#""k":"😀","o":{"string":""},"n":{"double":1.5},"b":{"bytes":""},"r":{"org.acme.Inner":{"a":true,"next":null}},"e":{"org.acme.E":"A"},"m":{"x y":{"string":""}},"l":[{"string":"\\"}]"#,
];

fn plan() -> EventPlan {
    let reference: sluice::domain::ContractRef = "acme/click/1.0.0".parse().expect("a reference");
    let schema =
        Schema { reference: reference.clone(), kind: SchemaKind::Avro, definition: SCHEMA.to_owned() };
    let contract = Contract {
        reference: reference.clone(),
        schema_ref: reference,
        other_schema_refs: Vec::new(),
        project: sluice::domain::ProjectName::default(),
        state: ContractState::Active,
        is_public: false,
        key_field: "k".parse().expect("a path"),
        personal_fields: Vec::new(),
        validations: Vec::new(),
        data_subject_field: None,
        suite: Suite::default(),
        about: ContractAbout::default(),
        history: Vec::new(),
    };
    let schema = Arc::new(SchemaPlan::compile(&schema).expect("a schema"));
    EventPlan::compile(schema, Arc::new(contract), &[]).expect("a contract")
}

fn rewrite(plan: &EventPlan, body: &[u8], serialization: Serialization, form: Form) -> Value {
    let (mut tape, mut out) = (Tape::new(), Vec::new());
    plan.decode(body, serialization, &mut tape).expect("fastavro and Sluice agree on what is an event");
    plan.encode(body, &tape, None, &[], form, &mut out);
    serde_json::from_slice(&out).expect("JSON")
}

fn ask(python: &str, request: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("SLUICE_TEST_PYTHON can be started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(request.to_string().as_bytes()).expect("the oracle listens");
    drop(stdin);
    let output = child.wait_with_output().expect("the oracle ends");
    assert!(output.status.success(), "the oracle failed");
    serde_json::from_slice(&output.stdout).expect("the oracle answers JSON")
}

#[test]
fn fastavro_and_sluice_write_and_read_the_same_events() {
    let Ok(python) = std::env::var("SLUICE_TEST_PYTHON") else {
        eprintln!("skipped: SLUICE_TEST_PYTHON is not set");
        return;
    };
    let plan = plan();
    let ours: Vec<Value> = EVENTS
        .iter()
        .map(|rest| {
            let body = format!("{{{META},{rest}}}");
            rewrite(&plan, body.as_bytes(), Serialization::AvroJson, Form::AsReceived)
        })
        .collect();
    let tagged: Vec<String> = ours.iter().map(Value::to_string).collect();
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let answer = ask(&python, &json!({ "schema": schema, "tagged": tagged }));
    for (ours, theirs) in ours.iter().zip(answer["events"].as_array().expect("a list")) {
        let form = |name: &str| theirs[name].as_str().expect("a text").as_bytes().to_vec();
        let parsed = |name: &str| serde_json::from_slice::<Value>(&form(name)).expect("JSON");
        let binary: Vec<u8> = form("binary")
            .chunks_exact(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("hex"), 16).expect("hex"))
            .collect();
        // Tagged: they read ours and wrote the same; we read theirs.
        assert_eq!(parsed("tagged"), *ours);
        let tagged = form("tagged");
        assert_eq!(rewrite(&plan, &tagged, Serialization::Json, Form::AsReceived), *ours);
        // Plain, from each form.
        let plain = parsed("plain");
        assert_eq!(rewrite(&plan, &form("plain"), Serialization::Json, Form::Json), plain);
        assert_eq!(rewrite(&plan, &tagged, Serialization::Json, Form::Json), plain);
        assert_eq!(rewrite(&plan, &binary, Serialization::AvroBinary, Form::Json), plain);
    }
}
