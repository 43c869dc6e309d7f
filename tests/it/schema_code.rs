//! Schema code is used: what it writes is sent to a node and taken.
//!
//! Python runs with the original's driver, Rust with the toolchain of this test. Java and TypeScript are
//! compared with a committed snapshot, since a machine without them must be able to run this suite; Java is
//! compiled and run as well where there is a `javac`, TypeScript where `scripts/test` found Node and its `npm`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, Stream, python};

const REF: &str = "acme/order/1.0.0";

/// Every kind of field, names that are reserved somewhere, and a record that holds itself.
fn schema() -> Value {
    let optional = |name: &str, kind: Value| json!({"name": name, "type": ["null", kind], "default": null});
    crate::contracts::schema(&json!([
        {"name": "session", "type": "string"},
        {"name": "class", "type": "string"},
        optional("import", json!("string")),
        optional("type", json!("string")),
        {"name": "count", "type": "int"},
        {"name": "total", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "share", "type": "double"},
        {"name": "ok", "type": "boolean"},
        {"name": "raw", "type": "bytes"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "long"}},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["red", "static"]}},
        {"name": "place", "type": {"type": "record", "name": "Place", "fields": [
            {"name": "name", "type": "string"}, optional("within", json!("Place"))]}},
        optional("other", json!("Place"))
    ]))
}

async fn node() -> (Node, Stream) {
    let node = Node::start().await;
    let contract = json!({"keyField": "session", "piiFields": {"class": 1, "place/name": 1}});
    node.activate_contract(REF, Some(&schema()), &contract).await;
    let stream = node.create_stream("orders").await;
    (node, stream)
}

async fn code(node: &Node, language: &str) -> String {
    let path = format!("/api/v1/schemas/{REF}/code?language={language}");
    let answer = node.admin(Method::GET, &path, &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["code"].as_str().unwrap().to_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The event that every language makes, as it must come out.
async fn takes(stream: &Stream, event: &str) {
    let read: Value = serde_json::from_str(event).unwrap();
    assert_eq!(read["class"], "a \"quoted\" \\ é\n\u{1}");
    assert_eq!(read["place"]["within"]["name"], "inner");
    assert_eq!(
        (&read["colour"], &read["raw"], &read["counts"]["a"]),
        (&json!("static"), &json!("\u{0}ÿ"), &json!(7))
    );
    assert_eq!((&read["count"], &read["share"], &read["other"]), (&json!(3), &json!(0.5), &Value::Null));
    let answer = stream.post_as(REF, event, &[]).await;
    assert_eq!(answer.status, 204, "{} {event}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn python_code_sends_with_the_originals_driver_and_by_itself() {
    let (node, stream) = node().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("order.py"), code(&node, "python").await).unwrap();
    let script = r#"
import asyncio, json, sys
from strmprivacy.driver import ClientConfig, SerializationType, StrmPrivacyClient
from order import Place, StrmMeta, Visit

event = Visit(strmMeta=StrmMeta("acme/order/1.0.0", consentLevels=[1]), session="s",
    class_='a "quoted" \\ é\n\x01', count=3, total=4, share=0.5, ok=True, raw=b"\x00\xff", tags=["x"],
    counts={"a": 7}, colour="static", place=Place("outer", within=Place("inner")))

async def main(host, client_id, client_secret):
    config = ClientConfig(gateway_protocol="http", gateway_host=host, auth_protocol="http", auth_host=host)
    client = StrmPrivacyClient(client_id, client_secret, config)
    await client.start_timers()
    statuses = [await client.send(event, SerializationType.AVRO_BINARY)]
    await client._sender_service.close()
    print(json.dumps({"statuses": statuses, "event": event.to_json(), "headers": Visit.headers()}))

asyncio.run(main(*sys.argv[1:]))
"#;
    std::fs::write(folder.path().join("main.py"), script).unwrap();
    let host = node.base.trim_start_matches("http://").to_owned();
    let mut command = Command::new(python());
    command.arg(folder.path().join("main.py")).args([&host, &stream.client_id, &stream.client_secret]);
    let said: Value = serde_json::from_str(&run(&mut command)).unwrap();
    assert_eq!(said["statuses"], json!([204]));
    assert_eq!(said["headers"]["Strm-Schema-Ref"], REF);
    takes(&stream, said["event"].as_str().unwrap()).await;
    assert_eq!(stream.read().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_code_compiles_alone_and_its_events_are_taken() {
    let (node, stream) = node().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("order.rs"), code(&node, "rust").await).unwrap();
    let main = r#"mod order;
use order::*;
fn main() {
    let inner = Place { name: "inner".into(), within: None };
    let event = Visit {
        strmMeta: StrmMeta { eventContractRef: "acme/order/1.0.0".into(), nonce: None, timestamp: None, keyLink: None,
            consentLevels: vec![1] },
        session: "s".into(), class: "a \"quoted\" \\ é\n\u{1}".into(), import: None, type_: None, count: 3, total: 4,
        share: 0.5, ok: true, raw: Bytes(vec![0, 255]), tags: vec!["x".into()],
        counts: [("a".to_owned(), 7)].into(), colour: Colour::static_,
        place: Place { name: "outer".into(), within: Some(Box::new(inner)) }, other: None,
    };
    print!("{}", event.to_json());
}
"#;
    std::fs::write(folder.path().join("main.rs"), main).unwrap();
    let built = folder.path().join("main");
    run(Command::new("rustc")
        .args(["--edition", "2021", "-D", "warnings", "-o"])
        .arg(&built)
        .arg(folder.path().join("main.rs")));
    takes(&stream, &run(&mut Command::new(built))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java_and_typescript_code_is_as_it_was_checked() {
    let (node, stream) = node().await;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema_code");
    for (language, file) in [("java", "Sluice.java.txt"), ("typescript", "order.ts.txt")] {
        let made = code(&node, language).await;
        if std::env::var_os("SLUICE_TEST_WRITE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join(file), &made).unwrap();
        }
        let kept = std::fs::read_to_string(data.join(file)).unwrap();
        assert!(
            made == kept,
            "{language} code is not {file}; check it, then write it with SLUICE_TEST_WRITE_SNAPSHOTS=1"
        );
    }
    if Command::new("javac").arg("--version").output().is_err() {
        eprintln!("no javac: the Java code is compared with its snapshot only");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Sluice.java"), code(&node, "java").await).unwrap();
    let main = r#"import java.util.List;
import java.util.Map;
public class Main {
    public static void main(String[] a) throws Exception {
        var meta = new Sluice.StrmMeta("acme/order/1.0.0", null, null, null, List.of(1));
        var place = new Sluice.Place("outer", new Sluice.Place("inner", null));
        var event = new Sluice.Visit(meta, "s", "a \"quoted\" \\ \u00e9\n\001", null, null, 3, 4L, 0.5, true,
            new byte[] {0, (byte) 255}, List.of("x"), Map.of("a", 7L), Sluice.Colour.static_, place, null);
        new java.io.PrintStream(System.out, true, "UTF-8").print(event.toJson());
    }
}
"#;
    std::fs::write(folder.path().join("Main.java"), main).unwrap();
    run(Command::new("javac")
        .args(["-encoding", "UTF-8", "-d", "."])
        .args(["Sluice.java", "Main.java"])
        .current_dir(&folder));
    takes(&stream, &run(Command::new("java").args(["-cp", ".", "Main"]).current_dir(&folder))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_code_compiles_in_strict_mode_and_its_events_are_taken() {
    let Some(compiler) = std::env::var_os("SLUICE_TEST_TSC") else {
        eprintln!("no SLUICE_TEST_TSC: the TypeScript code is compared with its snapshot only");
        return;
    };
    let (node, stream) = node().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("order.ts"), code(&node, "typescript").await).unwrap();
    let main = r#"import { headers, schemaRef, toJson, type Place, type Visit } from "./order";
declare function require(name: string): { writeSync(file: number, text: string): void };
const inner: Place = { name: "inner" };
const event: Visit = {
  strmMeta: { eventContractRef: schemaRef, consentLevels: [1] }, session: "s",
  class: "a \"quoted\" \\ \u00e9\n\u0001", count: 3, total: 9007199254740993n, share: 0.5, ok: true,
  raw: new Uint8Array([0, 255]), tags: ["x"], counts: { a: 7 }, colour: "static",
  place: { name: "outer", within: inner },
};
if (headers["Strm-Schema-Ref"] !== "acme/order/1.0.0") throw new Error("headers");
require("fs").writeSync(1, toJson(event));
"#;
    std::fs::write(folder.path().join("main.ts"), main).unwrap();
    let compile = |file: &str| {
        let mut command = Command::new("node");
        command.arg(&compiler).args(["--strict", "--noUnusedLocals", "--noUncheckedIndexedAccess"]);
        command.args(["--target", "es2020", "--lib", "es2020", "--module", "commonjs", file]);
        command.current_dir(&folder).stdin(Stdio::null()).output().unwrap()
    };
    let compiled = compile("main.ts");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    let event = run(Command::new("node").arg("main.js").current_dir(&folder));
    assert!(event.contains("9007199254740993"), "a long keeps its last digit: {event}");
    takes(&stream, &event).await;
    // The types mean something: an event with a field missing, or of another type, does not compile.
    for (right, wrong) in [("session: \"s\",", ""), ("count: 3", "count: \"3\""), ("\"static\"", "\"blue\"")]
    {
        std::fs::write(folder.path().join("wrong.ts"), main.replacen(right, wrong, 1)).unwrap();
        assert!(!compile("wrong.ts").status.success(), "{right} became {wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_code_is_refused_with_a_code_where_there_is_none() {
    let node = Node::start().await;
    let union = crate::contracts::schema(&json!([{"name": "session", "type": "string"},
        {"name": "either", "type": ["string", "int"]}]));
    node.activate_contract("acme/either/1.0.0", Some(&union), &json!({"keyField": "session"})).await;
    let ask =
        async |path: &str| node.admin(Method::GET, &format!("/api/v1/schemas/{path}"), &Value::Null).await;
    let refused = ask("acme/either/1.0.0/code?language=java").await;
    assert_eq!((refused.status, refused.code()), (400, "schema_code_unsupported".to_owned()));
    assert!(refused.text().contains("either"));
    assert_eq!(ask("acme/either/1.0.0/code?language=cobol").await.code(), "parameter_invalid");
    assert_eq!(ask("acme/either/1.0.0/code").await.code(), "parameter_invalid");
    assert_eq!(ask("acme/absent/1.0.0/code?language=java").await.code(), "schema_unknown");
}
