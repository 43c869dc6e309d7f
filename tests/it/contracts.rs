//! The life of a contract over the API: its steps, its versions, its lists, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Node};

const CONTRACTS: &str = "/api/v1/contracts";

pub(crate) fn meta() -> Value {
    json!({"name": "strmMeta", "type": {"type": "record", "name": "StrmMeta", "fields": [
        {"name": "eventContractRef", "type": "string"},
        {"name": "nonce", "type": ["null", "int"], "default": null},
        {"name": "timestamp", "type": ["null", "long"], "default": null},
        {"name": "keyLink", "type": ["null", "string"], "default": null},
        {"name": "consentLevels", "type": {"type": "array", "items": "int"}}]}})
}

pub(crate) fn schema(fields: &Value) -> Value {
    let mut all = vec![meta()];
    all.extend(fields.as_array().unwrap().iter().cloned());
    json!({"type": "record", "name": "Visit", "namespace": "acme", "fields": all})
}

fn text(name: &str) -> Value {
    json!({"name": name, "type": "string"})
}

pub(crate) fn draft(reference: &str, schema: &Value, contract: &Value) -> Value {
    json!({"ref": reference, "schema": schema.to_string(), "contract": contract.to_string()})
}

async fn make(node: &Node, reference: &str) -> Answer {
    let body = draft(reference, &schema(&json!([text("session")])), &json!({"keyField": "session"}));
    node.admin(Method::POST, CONTRACTS, &body).await
}

/// A call with `If-Match`.
async fn matched(node: &Node, method: Method, path: &str, tag: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {}", node.admin);
    let headers = [("authorization", authorization.as_str()), ("if-match", tag)];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    node.send(method, path, &headers, body).await
}

async fn step(node: &Node, reference: &str, step: &str) -> Answer {
    node.admin(Method::POST, &format!("{CONTRACTS}/{reference}/{step}"), &Value::Null).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_walks_through_its_states_and_remembers_who_took_each_step() {
    let mut node = Node::start().await;
    let reference = "acme/visit/1.0.0";
    assert_eq!(make(&node, reference).await.status, 201);
    assert_eq!(step(&node, reference, "approve").await.code(), "contract_state", "nobody asked for a review");
    for (verb, state) in [
        ("review", "IN_REVIEW"),
        ("revise", "DRAFT"),
        ("review", "IN_REVIEW"),
        ("approve", "APPROVED"),
        ("activate", "ACTIVE"),
        ("archive", "ARCHIVED"),
        ("activate", "ACTIVE"),
    ] {
        let answer = step(&node, reference, verb).await;
        assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some(state)), "{verb}");
    }
    assert_eq!(step(&node, reference, "revise").await.code(), "contract_state", "immutable once ACTIVE");
    assert_eq!(step(&node, reference, "destroy").await.code(), "route_unknown");
    assert_eq!(step(&node, "strmprivacy/example/1.5.0", "archive").await.code(), "contract_built_in");
    node.restart().await;
    let shown = node.admin(Method::GET, &format!("{CONTRACTS}/{reference}"), &Value::Null).await.json();
    let history = shown["history"].as_array().unwrap();
    let steps: Vec<_> = history.iter().map(|taken| taken["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["create", "review", "revise", "review", "approve", "activate", "archive", "activate"]);
    assert!(history.iter().all(|taken| taken["who"]["id"] == "admin" && taken["at"].as_i64().unwrap() > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_draft_is_edited_and_only_by_who_read_its_newest_version() {
    let node = Node::start().await;
    let (reference, path) = ("acme/visit/1.0.0", format!("{CONTRACTS}/acme/visit/1.0.0"));
    let made = make(&node, reference).await;
    let first = made.header("etag").to_owned();
    assert_eq!(first, node.admin(Method::GET, &path, &Value::Null).await.header("etag"));
    let titled = |title: &str| {
        let contract = json!({"keyField": "session", "metadata": {"title": title},
            "piiFields": {"session": 2}});
        json!({"contract": contract.to_string()})
    };
    let changed = matched(&node, Method::PUT, &path, &first, &titled("one")).await;
    assert_eq!((changed.status, changed.json()["personalFields"][0]["level"].as_i64()), (200, Some(2)));
    let second = changed.header("etag").to_owned();
    assert_ne!(first, second);
    for (method, path, body) in [
        (Method::PUT, path.clone(), titled("two")),
        (Method::POST, format!("{path}/review"), Value::Null),
        (Method::DELETE, path.clone(), Value::Null),
    ] {
        let stale = matched(&node, method.clone(), &path, &first, &body).await;
        assert_eq!((stale.status, stale.code()), (412, "precondition_failed".to_owned()), "{method} {path}");
    }
    assert_eq!(matched(&node, Method::PUT, &path, "nonsense", &titled("x")).await.code(), "header_invalid");
    let shown = node.admin(Method::GET, &path, &Value::Null).await.json();
    assert_eq!(shown["title"], "one", "a stale change changed nothing");
    let other = json!({"ref": "acme/visit/2.0.0", "contract": "{\"keyField\": \"session\"}"});
    assert_eq!(node.admin(Method::PUT, &path, &other).await.code(), "body_invalid");
    let unfit = json!({"contract": "{\"keyField\": \"nowhere\"}"});
    assert_eq!(node.admin(Method::PUT, &path, &unfit).await.code(), "contract_invalid");
    let tags = format!("\"1\", {second}");
    let reviewed = matched(&node, Method::POST, &format!("{path}/review"), &tags, &Value::Null).await;
    assert_eq!(reviewed.status, 200);
    assert_eq!(node.admin(Method::PUT, &path, &titled("three")).await.code(), "contract_not_editable");
    assert_eq!(step(&node, reference, "activate").await.status, 200);
    assert_eq!(node.admin(Method::PUT, &path, &titled("four")).await.code(), "contract_not_editable");
    let absent = format!("{CONTRACTS}/acme/nothing/1.0.0");
    assert_eq!(node.admin(Method::PUT, &absent, &titled("five")).await.code(), "contract_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_of_one_version_at_once_one_is_made() {
    let node = Node::start().await;
    let tag = make(&node, "acme/visit/1.0.0").await.header("etag").to_owned();
    let path = format!("{CONTRACTS}/acme/visit/1.0.0");
    let body = json!({"contract": "{\"keyField\": \"session\"}"});
    let changes = (0..8).map(|_| matched(&node, Method::PUT, &path, &tag, &body));
    let answers = futures_util::future::join_all(changes).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 1);
    assert!(answers.iter().all(|answer| [200, 412].contains(&answer.status)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_says_what_it_changes_and_who_can_read_it() {
    let node = Node::start().await;
    let optional = |name: &str| json!({"name": name, "type": ["null", "string"], "default": null});
    let versions = [
        (
            "acme/visit/1.2.0",
            json!([text("session"), text("url"), {"name": "count", "type": "int"}]),
            json!({"keyField": "session", "piiFields": {"session": 1, "url": 2},
                "validations": [{"field": "url", "type": "regex", "value": "https://.+"}]}),
        ),
        (
            "acme/visit/1.10.0",
            json!([text("session"), text("url"), {"name": "count", "type": "long"}, optional("user")]),
            json!({"keyField": "session", "dataSubjectField": "user",
                "piiFields": {"session": 1, "url": 3, "user": 1}}),
        ),
        (
            "acme/visit/2.0.0",
            json!([text("session"), text("user"), {"name": "place", "type":
                {"type": "record", "name": "Place", "fields": [text("city")]}}]),
            json!({"keyField": "user", "piiFields": {"user": 1}}),
        ),
    ];
    for (reference, fields, contract) in &versions {
        let body = draft(reference, &schema(fields), contract);
        assert_eq!(node.admin(Method::POST, CONTRACTS, &body).await.status, 201);
    }
    let changes = async |version: &str| {
        let path = format!("{CONTRACTS}/acme/visit/{version}");
        node.admin(Method::GET, &path, &Value::Null).await
    };
    let first = changes("1.2.0/changes").await.json();
    assert_eq!(first["from"], Value::Null);
    assert_eq!(first["fieldsAdded"].as_array().unwrap().len(), 3);
    assert_eq!(first["oldReadsNew"]["verdict"], "not_compared");

    let minor = changes("1.10.0/changes").await.json();
    assert_eq!(minor["from"], "acme/visit/1.2.0", "10 comes after 2");
    assert_eq!(minor["fieldsAdded"], json!([{"path": "user", "type": "null | string"}]));
    assert_eq!(minor["fieldsRemoved"], json!([]));
    assert_eq!(minor["typesChanged"], json!([{"path": "count", "from": "int", "to": "long"}]));
    let levels = json!([{"path": "url", "from": 2, "to": 3}, {"path": "user", "from": null, "to": 1}]);
    assert_eq!(minor["levelsChanged"], levels);
    assert_eq!(minor["validationsRemoved"][0]["value"], "https://.+");
    assert_eq!(minor["dataSubjectField"]["to"], "user");
    assert_eq!(minor["keyField"], Value::Null);
    assert_eq!(minor["newReadsOld"]["verdict"], "all", "int is read as long, and user has a default");
    assert_eq!(minor["oldReadsNew"]["verdict"], "none", "long is not read as int");
    assert!(minor["oldReadsNew"]["reason"].as_str().unwrap().contains("count"));

    let major = changes("2.0.0/changes").await.json();
    assert_eq!(major["from"], "acme/visit/1.10.0");
    assert_eq!(major["keyField"], json!({"path": "user", "from": "session", "to": "user"}));
    let added: Vec<_> = major["fieldsAdded"].as_array().unwrap().iter().map(|f| f["path"].clone()).collect();
    assert_eq!(added, ["place", "place/city"]);
    assert_eq!(major["newReadsOld"]["verdict"], "none", "place has no default");

    let far = changes("2.0.0/changes?from=1.2.0").await.json();
    assert_eq!(far["from"], "acme/visit/1.2.0");
    assert_eq!(changes("2.0.0/changes?from=9.9.9").await.code(), "contract_unknown");
    assert_eq!(changes("2.0.0/changes?from=../x").await.code(), "parameter_invalid");
    assert_eq!(changes("3.0.0/changes").await.code(), "contract_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_says_which_masks_do_not_reach_it_and_json_schemas_are_not_compared() {
    let node = Node::start().await;
    let json_schema = |fields: &[&str]| {
        let properties: serde_json::Map<_, _> =
            fields.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": properties, "required": ["strmMeta", "session"]});
        schema["properties"]["strmMeta"] = json!({"type": "object", "properties": {
            "eventContractRef": {"type": "string"},
            "consentLevels": {"type": "array", "items": {"type": "integer"}}}});
        schema
    };
    let contract = json!({"keyField": "session"});
    for (version, fields) in [("1.0.0", &["session"][..]), ("1.1.0", &["session", "url"])] {
        node.activate_contract(&format!("acme/page/{version}"), Some(&json_schema(fields)), &contract).await;
    }
    node.create_stream("pages").await;
    let masks = json!([{"ref": "acme/page/1.0.0", "fields": ["session"]}]);
    node.make_stream(
        json!({"name": "masked", "derivedFrom": "pages", "purposes": [1], "maskedFields": masks}),
    )
    .await;
    let path = format!("{CONTRACTS}/acme/page/1.1.0/changes");
    let changes = node.admin(Method::GET, &path, &Value::Null).await.json();
    assert_eq!(changes["fieldsAdded"], json!([{"path": "url", "type": "string"}]));
    assert_eq!(changes["oldReadsNew"]["verdict"], "not_compared");
    assert_eq!(changes["masks"], json!([{"stream": "masked", "from": ["session"], "to": []}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_and_schemas_are_listed_page_by_page() {
    let node = Node::start().await;
    for at in 0..7 {
        let reference = format!("acme/visit/1.0.{at}");
        assert_eq!(make(&node, &reference).await.status, 201);
        if at % 2 == 0 {
            assert_eq!(step(&node, &reference, "activate").await.status, 200);
        }
    }
    let list = async |query: &str| node.admin(Method::GET, query, &Value::Null).await;
    for (kind, key) in [("contracts", "contracts"), ("schemas", "schemas")] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("/api/v1/{kind}?handle=acme&limit=3{token}")).await.json();
            let entries = page[key].as_array().unwrap();
            assert!(entries.len() <= 3);
            seen.extend(entries.iter().map(|entry| entry["ref"].as_str().unwrap().to_owned()));
            let Some(next) = page["nextPageToken"].as_str() else { break };
            token = format!("&pageToken={next}");
        }
        assert_eq!(seen, (0..7).map(|at| format!("acme/visit/1.0.{at}")).collect::<Vec<_>>());
        for wrong in ["limit=0", "limit=1001", "limit=x", "pageToken=%25", "unknown=1"] {
            let answer = list(&format!("/api/v1/{kind}?{wrong}")).await;
            assert_eq!((answer.status, answer.code()), (400, "parameter_invalid".to_owned()), "{wrong}");
        }
    }
    let active = list("/api/v1/contracts?handle=acme&state=ACTIVE").await.json();
    assert_eq!(active["contracts"].as_array().unwrap().len(), 4);
    assert_eq!(list("/api/v1/contracts?state=active").await.code(), "parameter_invalid");
    let shown = list("/api/v1/schemas/acme/visit/1.0.3").await.json();
    assert_eq!((&shown["kind"], &shown["definition"]["name"]), (&json!("AVRO"), &json!("Visit")));
    assert_eq!(shown["contracts"], json!(["acme/visit/1.0.3"]));
    assert_eq!(list("/api/v1/schemas/acme/visit/9.9.9").await.code(), "schema_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_contracts_and_references_are_refused_with_a_code() {
    let node = Node::start().await;
    let good = schema(&json!([text("session")]));
    let paths = ["acme/..%2f..%2fetc/1.0.0", "acme/visit/..%2F..", "a/b/1.0.0", "acme/x%00y/1.0.0"];
    for path in paths {
        for (kind, code) in [("contracts", "contract_unknown"), ("schemas", "schema_unknown")] {
            let answer = node.admin(Method::GET, &format!("/api/v1/{kind}/{path}"), &Value::Null).await;
            assert_eq!((answer.status, answer.code()), (404, code.to_owned()), "{path}");
        }
    }
    for reference in ["../../etc/passwd", "acme/visit", "acme/visit/1.0", "acme/visit/1.0.0/x", "acme//1.0.0"]
    {
        let answer = make(&node, reference).await;
        assert_eq!((answer.status, answer.code()), (400, "body_invalid".to_owned()), "{reference}");
    }
    let many = |count: usize| (0..count).map(|at| format!("f{at}")).collect::<Vec<_>>();
    let fields: serde_json::Map<_, _> = many(1000).into_iter().map(|name| (name, json!(1))).collect();
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let refused = [
        (json!({"keyField": "session", "piiFields": fields}).to_string(), "contract_invalid"),
        (json!({"keyField": "session", "schemaRefs": many(1_000_000)}).to_string(), "body_too_large"),
        (json!({"keyField": "session", "schemaRefs": many(50_000)}).to_string(), "contract_invalid"),
        (format!("{{\"keyField\": {deep}}}"), "contract_invalid"),
        ("keyField: &a [*a, *a]".to_owned(), "contract_invalid"),
    ];
    for (contract, code) in refused {
        let body = json!({"ref": "acme/bad/1.0.0", "schema": good.to_string(), "contract": contract});
        let answer = node.admin(Method::POST, CONTRACTS, &body).await;
        assert_eq!(answer.code(), code, "{}", &contract[..contract.len().min(80)]);
    }
    let mut nested = json!("string");
    for at in 0..200 {
        nested =
            json!({"type": "record", "name": format!("R{at}"), "fields": [{"name": "f", "type": nested}]});
    }
    let wide: Vec<Value> = many(5000).iter().map(|name| text(name)).collect();
    for bad in [schema(&json!([text("session"), {"name": "deep", "type": nested}])), schema(&json!(wide))] {
        let body = draft("acme/bad/1.0.0", &bad, &json!({"keyField": "session"}));
        let answer = node.admin(Method::POST, CONTRACTS, &body).await;
        assert_eq!((answer.status, answer.code()), (400, "schema_invalid".to_owned()));
    }
    let listed = node.admin(Method::GET, &format!("{CONTRACTS}?handle=acme"), &Value::Null).await.json();
    assert_eq!(listed["contracts"], json!([]), "nothing refused is kept");
}
