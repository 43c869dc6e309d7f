//! Roles, tokens and grants over their lives: what is revoked, disabled, demoted or expired opens nothing more
//! (reliability T50 on one node), and nobody makes themselves mightier.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::clock::{Clock, DAY_MS, Timestamp};

use crate::harness::{
    Node, PATIENCE, canary, lines,
    people::{Somebody, call, token_of},
    planted,
};

const WHOAMI: &str = "/api/v1/whoami";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_once_and_its_text_is_nowhere_else() {
    let mut node = Node::start().await;
    let ada = Somebody::new(&node, "ada", "admin").await;
    assert!(ada.token.starts_with("slt_") && ada.token.len() == 4 + 16 + 1 + 43);
    let shown = ada.get("/api/v1/principals/ada/tokens").await;
    assert_eq!(shown.json()["tokens"][0]["id"], ada.token_id.as_str());
    assert!(shown.json()["tokens"][0]["lastUsed"].is_i64(), "{}", shown.text());
    assert_eq!(ada.get(WHOAMI).await.json()["token"]["id"], ada.token_id.as_str());
    node.restart().await;
    assert_eq!(ada.get(WHOAMI).await.status, 200, "a token outlives a restart");
    let secret = ada.token.rsplit_once("slt_").unwrap().1.split_once('_').unwrap().1;
    let forms = canary::forms(secret.as_bytes());
    let holds = |bytes: &[u8]| forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some());
    assert!(holds(secret.as_bytes()), "the search finds what is there");
    assert!(!holds(&shown.body) && !holds(&canary::captured_logs()));
    let metrics = node.get("/metrics").await;
    assert!(!holds(&metrics.body));
    node.stop().await;
    let mut files = 0;
    canary::for_each_file(node.data_dir(), &mut |path, bytes| {
        files += 1;
        assert!(!holds(bytes), "{} holds a token", path.display());
    });
    assert!(files > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_by_the_next_request_on_every_connection() {
    let node = Node::start().await;
    let thief = reqwest::Client::builder().build().unwrap();
    let try_as = async |token: &str| {
        let request =
            thief.get(format!("{}{WHOAMI}", node.url())).header("authorization", format!("Bearer {token}"));
        request.send().await.unwrap().status().as_u16()
    };
    let ada = Somebody::new(&node, "ada", "member").await;
    let (second_id, second) = token_of(&node, "ada").await;
    assert_eq!((try_as(&ada.token).await, try_as(&second).await), (200, 200));
    let path = format!("/api/v1/principals/ada/tokens/{}", ada.token_id);
    assert_eq!(
        ada.call(Method::DELETE, &path, &Value::Null).await.status,
        204,
        "everybody revokes their own"
    );
    assert_eq!((try_as(&ada.token).await, try_as(&second).await), (401, 200));
    assert_eq!(ada.get("/api/v1/streams").await.code(), "api_token_invalid");
    // Disabled, and back.
    for (disabled, status) in [(true, 401), (false, 200)] {
        let changed =
            node.admin(Method::PATCH, "/api/v1/principals/ada", &json!({ "disabled": disabled })).await;
        assert_eq!(changed.status, 200);
        assert_eq!(try_as(&second).await, status);
    }
    assert_eq!(node.admin(Method::DELETE, "/api/v1/principals/ada/tokens", &Value::Null).await.status, 204);
    assert_eq!(try_as(&second).await, 401);
    let path = format!("/api/v1/principals/ada/tokens/{second_id}");
    assert_eq!(node.admin(Method::DELETE, &path, &Value::Null).await.status, 204, "twice is no harm");
    // Deleted, and its id given to nobody else.
    let (_, third) = token_of(&node, "ada").await;
    assert_eq!(node.admin(Method::DELETE, "/api/v1/principals/ada", &Value::Null).await.status, 204);
    assert_eq!(try_as(&third).await, 401);
    let again = node.admin(Method::POST, "/api/v1/principals", &json!({ "id": "ada", "kind": "user" })).await;
    assert_eq!((again.status, again.code().as_str()), (409, "principal_exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_when_it_was_to() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let ada = Somebody::new(&node, "ada", "member").await;
    let path = "/api/v1/principals/ada/tokens";
    let short = node.admin(Method::POST, path, &json!({ "expiresInDays": 1 })).await.json();
    let short = short["token"].as_str().unwrap();
    for days in [0, 366] {
        let refused = node.admin(Method::POST, path, &json!({ "expiresInDays": days })).await;
        assert_eq!(refused.code(), "principal_invalid");
    }
    let status = async |token: &str| call(&node, token, Method::GET, WHOAMI, &Value::Null).await;
    clock.turn(DAY_MS - 1);
    assert_eq!(status(short).await.status, 200);
    clock.turn(1);
    assert_eq!(status(short).await.code(), "token_expired");
    clock.turn(89 * DAY_MS - 1);
    assert_eq!(status(&ada.token).await.status, 200, "90 days unless somebody says otherwise");
    clock.turn(1);
    assert_eq!(status(&ada.token).await.code(), "token_expired");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of attempts")]
async fn nobody_makes_themselves_or_their_tokens_mightier() {
    let node = Node::start().await;
    let made = node.admin(Method::POST, "/api/v1/projects", &json!({ "name": "alpha" })).await;
    assert_eq!(made.status, 201);
    let member = Somebody::in_project(&node, "mia", "alpha", "member").await;
    let boss = Somebody::in_project(&node, "boss", "alpha", "project_admin").await;
    let admin = Somebody::new(&node, "root-person", "admin").await;
    let wide = Somebody::new(&node, "wide", "project_admin").await;
    let raise = json!({ "role": "admin" });
    let refusals = [
        // Tokens of others: who may not see them is told that there is nobody.
        (&member, "POST", "/api/v1/principals/boss/tokens", json!({}), 404, "principal_unknown"),
        (&member, "POST", "/api/v1/principals/admin/tokens", json!({}), 404, "principal_unknown"),
        (&boss, "POST", "/api/v1/principals/mia/tokens", json!({}), 404, "principal_unknown"),
        (&admin, "POST", "/api/v1/principals/admin/tokens", json!({}), 409, "principal_built_in"),
        // Roles on the installation.
        (&member, "PATCH", "/api/v1/principals/mia", raise.clone(), 403, "role_forbids"),
        (&boss, "PATCH", "/api/v1/principals/boss", raise.clone(), 403, "role_forbids"),
        (&wide, "PATCH", "/api/v1/principals/wide", raise.clone(), 403, "role_forbids"),
        (&wide, "PATCH", "/api/v1/principals/mia", raise.clone(), 404, "principal_unknown"),
        (&admin, "PATCH", "/api/v1/principals/root-person", json!({"role": "member"}), 403, "own_role"),
        (&admin, "PATCH", "/api/v1/principals/root-person", json!({"disabled": true}), 403, "own_role"),
        (
            &member,
            "POST",
            "/api/v1/principals",
            json!({"id": "twin", "kind": "user", "role": "admin"}),
            403,
            "role_forbids",
        ),
        // Roles in a project.
        (
            &member,
            "PUT",
            "/api/v1/projects/alpha/members/mia",
            json!({"role": "project_admin"}),
            403,
            "role_forbids",
        ),
        (&boss, "PUT", "/api/v1/projects/alpha/members/boss", json!({"role": "approver"}), 403, "own_role"),
        (&wide, "PUT", "/api/v1/projects/alpha/members/wide", json!({"role": "approver"}), 403, "own_role"),
        (
            &boss,
            "PUT",
            "/api/v1/projects/alpha/members/mia",
            json!({"role": "admin"}),
            400,
            "project_invalid",
        ),
        (
            &boss,
            "PUT",
            "/api/v1/projects/alpha/members/nobody",
            json!({"role": "member"}),
            404,
            "principal_unknown",
        ),
        (
            &boss,
            "PUT",
            "/api/v1/projects/default/members/boss",
            json!({"role": "member"}),
            404,
            "project_unknown",
        ),
        (&boss, "POST", "/api/v1/projects", json!({"name": "gamma"}), 403, "role_forbids"),
        // The default project is not everybody's.
        (&member, "POST", "/api/v1/streams", json!({"name": "mine"}), 404, "project_unknown"),
    ];
    for (caller, method, path, body, status, code) in refusals {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = caller.call(method.clone(), path, &body).await;
        let told = (answer.status, answer.code());
        assert_eq!(
            told,
            (status, code.to_owned()),
            "{} {method} {path} {body}: {}",
            caller.id,
            answer.text()
        );
    }
    assert_eq!(member.get(WHOAMI).await.json()["roles"], json!(["member"]));
    // What they may: a token of their own, a stream in their project, somebody else's place in it.
    let own = member.call(Method::POST, "/api/v1/principals/mia/tokens", &json!({})).await;
    assert_eq!(own.status, 201, "{}", own.text());
    let stream = json!({ "name": "mine", "project": "alpha" });
    assert_eq!(member.call(Method::POST, "/api/v1/streams", &stream).await.status, 201);
    let put =
        boss.call(Method::PUT, "/api/v1/projects/alpha/members/mia", &json!({ "role": "approver" })).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let stream = json!({ "name": "more", "project": "alpha" });
    let refused = member.call(Method::POST, "/api/v1/streams", &stream).await;
    assert_eq!(refused.code(), "role_forbids", "an approver makes no streams");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays_unless_the_operators_token_says_so() {
    let node = Node::start().await;
    let (ada, bob) = (Somebody::new(&node, "ada", "admin").await, Somebody::new(&node, "bob", "admin").await);
    assert_eq!(
        ada.call(Method::PATCH, "/api/v1/principals/bob", &json!({ "role": "member" })).await.status,
        200
    );
    assert_eq!(bob.get("/api/v1/principals/ada").await.status, 404, "a demotion is felt at once");
    assert_eq!(ada.call(Method::DELETE, "/api/v1/principals/ada", &Value::Null).await.code(), "last_admin");
    for body in [json!({ "role": "member" }), json!({ "disabled": true })] {
        let refused = ada.call(Method::PATCH, "/api/v1/principals/ada", &body).await;
        assert_eq!(refused.code(), "own_role");
    }
    // Two admins at the same moment: one of them is refused.
    let up = node.admin(Method::PATCH, "/api/v1/principals/bob", &json!({ "role": "admin" })).await;
    assert_eq!(up.status, 200);
    let down = json!({ "role": "member" });
    let (one, other) = tokio::join!(
        ada.call(Method::PATCH, "/api/v1/principals/bob", &down),
        bob.call(Method::PATCH, "/api/v1/principals/ada", &down),
    );
    let mut statuses = [one.status, other.status];
    statuses.sort();
    assert!(matches!(statuses, [200, 404 | 409 | 403 | 401]), "{statuses:?}");
    let admins = node.admin(Method::GET, "/api/v1/principals", &Value::Null).await.json();
    let admins = admins["principals"].as_array().unwrap().iter().filter(|p| p["role"] == "admin").count();
    assert_eq!(admins, 1);
    let last = if one.status == 200 { "ada" } else { "bob" };
    let deleted = node.admin(Method::DELETE, &format!("/api/v1/principals/{last}"), &Value::Null).await;
    assert_eq!(deleted.status, 204, "the operator's token stays, and may");
    let itself = node.admin(Method::DELETE, "/api/v1/principals/admin", &Value::Null).await;
    assert_eq!(itself.code(), "principal_built_in");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_by_a_grant_and_by_no_role() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    stream.accept(&planted(&node.canary, &[1])).await;
    let admin = Somebody::new(&node, "root-person", "admin").await;
    let consumer = Somebody::new(&node, "consumer", "member").await;
    let path = "/streams/clicks/events?from=earliest&follow=false";
    assert_eq!(admin.get(path).await.code(), "read_grant_missing");
    assert_eq!(call(&node, &node.admin, Method::GET, path, &Value::Null).await.code(), "read_grant_missing");
    assert_eq!(consumer.get(path).await.code(), "stream_unknown");
    let grants = "/api/v1/streams/clicks/grants";
    let nobody = admin.call(Method::POST, grants, &json!({ "principal": "nobody" })).await;
    assert_eq!(nobody.code(), "principal_unknown");
    let past = admin.call(Method::POST, grants, &json!({ "principal": "consumer", "expires": 1 })).await;
    assert_eq!(past.code(), "principal_invalid");
    let granted = admin.call(Method::POST, grants, &json!({ "principal": "consumer" })).await;
    assert_eq!(granted.status, 201, "{}", granted.text());
    let read = consumer.get(path).await;
    assert_eq!((read.status, read.text().contains("data:")), (200, true), "{}", read.text());
    assert!(!node.canary.is_in(&read.body), "what is sealed stays sealed");
    assert_eq!(admin.get(path).await.code(), "read_grant_missing", "a grant is one principal's");
    let listed = admin.get(grants).await.json();
    assert_eq!(listed["grants"][0]["principal"], "consumer");
    // A stream of the same name does not have the grants of the one before.
    assert_eq!(admin.call(Method::DELETE, "/api/v1/streams/clicks", &Value::Null).await.status, 204);
    node.create_stream("clicks").await;
    assert_eq!(consumer.get(path).await.code(), "stream_unknown");
    assert_eq!(admin.get(grants).await.json()["grants"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_reader_ends_when_grant_token_or_principal_goes() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let ways: [(&str, &str, Value); 3] = [
        ("DELETE", "/api/v1/streams/clicks/grants/ID", Value::Null),
        ("DELETE", "/api/v1/principals/ID/tokens", Value::Null),
        ("PATCH", "/api/v1/principals/ID", json!({ "disabled": true })),
    ];
    for (index, (method, path, body)) in ways.into_iter().enumerate() {
        let reader = Somebody::new(&node, &format!("reader-{index}"), "member").await;
        let grant = json!({ "principal": reader.id });
        let granted = node.admin(Method::POST, "/api/v1/streams/clicks/grants", &grant).await;
        assert_eq!(granted.status, 201, "{}", granted.text());
        let request = node.http.get(format!("{}/streams/clicks/events", node.url()));
        let request = request.header("accept", "application/x-ndjson");
        let mut open =
            request.header("authorization", format!("Bearer {}", reader.token)).send().await.unwrap();
        assert_eq!(open.status().as_u16(), 200);
        stream.accept(&planted(&node.canary, &[1])).await;
        let first = tokio::time::timeout(PATIENCE, open.chunk()).await.unwrap().unwrap().unwrap();
        assert_eq!(lines(std::str::from_utf8(&first).unwrap()).len(), 1);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ended = node.admin(method, &path.replace("ID", &reader.id), &body).await;
        assert!(ended.status < 300, "{}", ended.text());
        let begun = Instant::now();
        // No event comes: the reader must end by itself, and what comes later is not for it.
        let rest = tokio::time::timeout(Duration::from_secs(5), open.chunk()).await;
        assert!(matches!(rest, Ok(Ok(None))), "{path}: still open after {:?}: {rest:?}", begun.elapsed());
        let again = reader.get("/streams/clicks/events?follow=false").await;
        assert!([401, 404].contains(&again.status), "{}", again.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_of_another_project_takes_no_events_unless_it_is_public() {
    let node = Node::start().await;
    for project in ["alpha", "beta"] {
        node.admin(Method::POST, "/api/v1/projects", &json!({ "name": project })).await;
    }
    let schema = crate::drivers::visit_schema().to_string();
    let contract = json!({ "keyField": "consistentValue" }).to_string();
    for (reference, public) in [("alpha/own/1.0.0", false), ("alpha/open/1.0.0", true)] {
        let request = json!({
            "ref": reference, "project": "alpha", "schema": schema, "contract": contract, "public": public,
        });
        assert_eq!(node.admin(Method::POST, "/api/v1/contracts", &request).await.status, 201);
        let path = format!("/api/v1/contracts/{reference}/activate");
        assert_eq!(node.admin(Method::POST, &path, &Value::Null).await.status, 200);
    }
    for (project, own, open) in [("alpha", 204, 204), ("beta", 404, 204)] {
        let name = format!("{project}-visits");
        let stream = node.make_stream(json!({ "name": name, "project": project })).await;
        for (reference, status) in [("alpha/own/1.0.0", own), ("alpha/open/1.0.0", open)] {
            let event = json!({
                "strmMeta": { "eventContractRef": reference, "consentLevels": [] },
                "consistentValue": "visitor",
            });
            let answer = stream.post_as(reference, event.to_string(), &[]).await;
            assert_eq!(answer.status, status, "{project} {reference}: {}", answer.text());
            if status == 404 {
                assert_eq!(answer.code(), "contract_unknown");
            }
        }
    }
    let blocked = node.admin(Method::DELETE, "/api/v1/projects/beta", &Value::Null).await;
    assert_eq!(blocked.code(), "project_not_empty");
    let archived = json!({ "state": "ARCHIVED" });
    assert_eq!(node.admin(Method::PATCH, "/api/v1/projects/beta", &archived).await.status, 200);
    let late =
        node.admin(Method::POST, "/api/v1/streams", &json!({ "name": "late", "project": "beta" })).await;
    assert_eq!(late.code(), "project_archived");
}
