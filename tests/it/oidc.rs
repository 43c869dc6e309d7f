//! People who log in at an OpenID Connect issuer: a real one, and one that signs what an attacker would.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, Timestamp},
    config::Config,
};

use crate::harness::{Answer, Node, canary, people::call, python};

const WHOAMI: &str = "/api/v1/whoami";

/// `tests/python/oidc_issuers.py`.
struct Issuers {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    provider: String,
    keyring: String,
}

impl Issuers {
    fn start() -> Issuers {
        let mut child = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oidc_issuers.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut issuers = Issuers { child, input, output, provider: String::new(), keyring: String::new() };
        let begun = issuers.answer();
        issuers.provider = begun["provider"].as_str().unwrap().to_owned();
        issuers.keyring = begun["keyring"].as_str().unwrap().to_owned();
        issuers
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the issuers ended: {line:?}"))
    }

    fn ask(&mut self, command: Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        self.answer()
    }

    fn token(&mut self, command: Value) -> String {
        self.ask(command).as_str().unwrap().to_owned()
    }

    /// The ID token of a person who logs in at the real issuer.
    fn log_in(&mut self, sub: &str, client: &str, claims: Value) -> String {
        self.token(json!({ "do": "log_in", "sub": sub, "client_id": client, "claims": claims }))
    }

    fn sign(&mut self, key: &str, header: Value, claims: &Value) -> String {
        self.token(json!({ "do": "sign", "key": key, "header": header, "claims": claims }))
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn trust(config: &mut Config, issuer: &str) {
    config.oidc.issuer = Some(issuer.to_owned());
    config.oidc.audience = Some("sluice".to_owned());
    config.oidc.role_claim = Some("access/groups".to_owned());
    let roles = [("platform", "admin"), ("office", "approver"), ("teams", "project_admin")];
    config.oidc.roles = roles.map(|(value, role)| (value.to_owned(), role.to_owned())).into();
    config.oidc.unknown_key_s = 1;
}

async fn whoami(node: &Node, token: &str) -> Answer {
    call(node, token, Method::GET, WHOAMI, &Value::Null).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_at_a_real_issuer_and_are_what_its_claims_say() {
    let mut issuers = Issuers::start();
    let provider = issuers.provider.clone();
    let node = Node::start_with(Clock::system(), |config| trust(config, &provider)).await;
    let sub = node.canary.plant();
    let groups = |groups: Value| json!({ "email": "eve@example.org", "access": { "groups": groups } });
    let cases = [
        (json!(["platform", "x"]), json!(["admin", "member"])),
        (json!(["office", "teams"]), json!(["project_admin", "approver", "member"])),
        (json!("office"), json!(["approver", "member"])),
        (json!(["admin", "nothing"]), json!(["member"])),
        (Value::Null, json!(["member"])),
    ];
    let mut ids = Vec::new();
    for (claim, roles) in cases {
        let token = issuers.log_in(&sub, "sluice", groups(claim.clone()));
        let answer = whoami(&node, &token).await;
        assert_eq!(answer.status, 200, "{claim}: {}", answer.text());
        assert_eq!(answer.json()["roles"], roles, "{claim}");
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert!(ids.len() == 1 && ids[0].starts_with("oidc:"), "one person: {ids:?}");
    // The first login wrote the person down: others see it, can put it into a project, and can shut it out.
    let id = &ids[0];
    let listed = node.admin(Method::GET, "/api/v1/principals?kind=user", &Value::Null).await.json();
    assert_eq!(
        (&listed["principals"][0]["id"], &listed["principals"][0]["email"]),
        (&json!(id), &json!("eve@example.org"))
    );
    let path = format!("/api/v1/projects/default/members/{id}");
    assert_eq!(node.admin(Method::PUT, &path, &json!({ "role": "member" })).await.status, 200);
    let token = issuers.log_in(&sub, "sluice", groups(Value::Null));
    let made = call(&node, &token, Method::POST, "/api/v1/streams", &json!({ "name": "eves" })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("/api/v1/principals/{id}");
    for (disabled, status) in [(true, 401), (false, 200)] {
        assert_eq!(node.admin(Method::PATCH, &path, &json!({ "disabled": disabled })).await.status, 200);
        assert_eq!(whoami(&node, &token).await.status, status);
    }
    // For another client of the same issuer; and deleted people do not come back by logging in.
    let other = issuers.log_in(&sub, "another-client", groups(json!(["platform"])));
    assert_eq!(whoami(&node, &other).await.code(), "api_token_invalid");
    assert_eq!(node.admin(Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(whoami(&node, &token).await.code(), "api_token_invalid");
    assert!(!node.canary.is_in(&canary::captured_logs()), "a subject is in no log line");
    // Three tokens were refused: the disabled person's, the other client's, the deleted person's.
    let refused = crate::audit::until(&node, "action=login_failed", 2).await;
    assert!(refused.iter().all(|entry| entry["action"]["with"] == "issuer_token"), "{refused:?}");
    assert!(refused.iter().any(|entry| entry["action"]["principal"] == id.as_str()), "{refused:?}");
    assert!(refused.iter().any(|entry| entry["action"]["principal"].is_null()), "{refused:?}");
    assert!(!serde_json::to_string(&refused).unwrap().contains(&token), "no token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_runs_out_and_unmapped_people_can_be_refused() {
    let mut issuers = Issuers::start();
    let provider = issuers.provider.clone();
    let clock = Clock::manual(Timestamp(jiff::Timestamp::now().as_millisecond()));
    let node = Node::start_with(clock.clone(), |config| {
        trust(config, &provider);
        config.oidc.default_role = String::new();
    })
    .await;
    let known = issuers.log_in("known", "sluice", json!({ "access": { "groups": ["office"] } }));
    let nobody = issuers.log_in("nobody", "sluice", json!({}));
    assert_eq!(whoami(&node, &known).await.status, 200);
    assert_eq!(whoami(&node, &nobody).await.code(), "api_token_invalid");
    clock.turn(3_600_000 + 61_000);
    assert_eq!(whoami(&node, &known).await.code(), "token_expired");
}

/// Claims that are good at the moment, and the seconds they are good for.
fn claims(issuer: &str) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": issuer, "aud": ["sluice"], "sub": "mallory", "iat": now, "exp": now + 600,
        "access": { "groups": ["platform"] },
    })
}

fn with(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of attempts")]
async fn tokens_that_only_look_like_the_issuers_open_nothing() {
    let mut issuers = Issuers::start();
    let keyring = issuers.keyring.clone();
    let node = Node::start_with(Clock::system(), |config| trust(config, &keyring)).await;
    let good = claims(&keyring);
    let now = good["iat"].as_i64().unwrap();
    for (key, alg) in [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")] {
        let token = issuers.sign(key, json!({ "alg": alg, "kid": key }), &good);
        let answer = whoami(&node, &token).await;
        assert_eq!(answer.status, 200, "{alg}: {}", answer.text());
        let mut broken = token.clone();
        let at = broken.len() - 20;
        let other = if &broken[at..=at] == "A" { "B" } else { "A" };
        broken.replace_range(at..=at, other);
        assert_eq!(whoami(&node, &broken).await.code(), "api_token_invalid", "{alg} with another signature");
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let other =
            issuers.sign(key, json!({ "alg": alg, "kid": key }), &with(&good, json!({ "sub": "root" })));
        let payload = other.split('.').nth(1).unwrap();
        let swapped = format!("{head}.{payload}.{signature}");
        assert_eq!(whoami(&node, &swapped).await.code(), "api_token_invalid", "{alg} for another subject");
    }
    let rsa = json!({ "alg": "RS256", "kid": "rsa" });
    let hook = format!("{keyring}/steal");
    let mut bad: Vec<(&str, String)> = Vec::new();
    for alg in ["none", "None", "nOnE", ""] {
        let header = json!({ "alg": alg, "kid": "rsa" });
        bad.push((
            "no signature",
            issuers.token(json!({ "do": "unsigned", "header": header, "claims": good })),
        ));
    }
    for form in ["pem", "jwk"] {
        let header = json!({ "alg": "HS256", "kid": "rsa" });
        let command = json!({ "do": "confused", "form": form, "header": header, "claims": good });
        bad.push(("the public key as a secret", issuers.token(command)));
    }
    let signed = [
        ("rsa", json!({ "alg": "RS512", "kid": "rsa" }), json!({}), "an algorithm that is not allowed"),
        ("rsa", json!({ "alg": "PS256", "kid": "rsa" }), json!({}), "an algorithm that is not allowed"),
        ("rsa", json!({ "alg": "RS256", "kid": "ec" }), json!({}), "a key of another type"),
        ("enc", json!({ "alg": "RS256", "kid": "enc" }), json!({}), "a key that is not for signatures"),
        ("foreign", rsa.clone(), json!({}), "the key of another issuer under this one's name"),
        ("foreign", json!({ "alg": "RS256", "kid": "unknown" }), json!({}), "an unknown key"),
        (
            "foreign",
            json!({ "alg": "RS256", "kid": "../../rsa' OR 1=1" }),
            json!({}),
            "a key with a trap for a name",
        ),
        (
            "foreign",
            json!({ "alg": "RS256", "kid": "x", "jku": hook, "x5u": hook }),
            json!({}),
            "a key from elsewhere",
        ),
        ("rsa", json!({ "alg": "RS256" }), json!({}), "no key named where there are several"),
        ("rsa", rsa.clone(), json!({ "iss": "https://evil.example" }), "another issuer"),
        ("rsa", rsa.clone(), json!({ "iss": format!("{keyring}/") }), "nearly the issuer"),
        ("rsa", rsa.clone(), json!({ "iss": null }), "no issuer"),
        ("rsa", rsa.clone(), json!({ "aud": "another" }), "another audience"),
        ("rsa", rsa.clone(), json!({ "aud": ["another", "sluice2"] }), "other audiences"),
        ("rsa", rsa.clone(), json!({ "aud": null }), "no audience"),
        ("rsa", rsa.clone(), json!({ "exp": null }), "no end"),
        ("rsa", rsa.clone(), json!({ "exp": "never" }), "an end that is no time"),
        ("rsa", rsa.clone(), json!({ "nbf": now + 300 }), "not yet"),
        ("rsa", rsa.clone(), json!({ "iat": now + 300 }), "made in the future"),
        ("rsa", rsa.clone(), json!({ "sub": "" }), "nobody"),
        ("rsa", rsa.clone(), json!({ "sub": null }), "nobody"),
        ("rsa", rsa.clone(), json!({ "padding": "x".repeat(20_000) }), "too long"),
    ];
    for (key, header, changes, what) in signed {
        bad.push((what, issuers.sign(key, header, &with(&good, changes))));
    }
    for (what, token) in &bad {
        let answer = whoami(&node, token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "api_token_invalid"), "{what}");
    }
    let late = issuers.sign("rsa", rsa.clone(), &with(&good, json!({ "exp": now - 61 })));
    assert_eq!(whoami(&node, &late).await.code(), "token_expired");
    for near in [json!({ "exp": now - 30 }), json!({ "nbf": now + 30 }), json!({ "aud": "sluice" })] {
        let token = issuers.sign("rsa", rsa.clone(), &with(&good, near.clone()));
        assert_eq!(whoami(&node, &token).await.status, 200, "{near}: clocks may differ by a minute");
    }
    assert!(
        issuers.ask(json!({ "do": "fetched" })).as_i64().unwrap() < 1000,
        "nothing a token names was fetched"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_the_issuer_are_found_and_old_ones_forgotten_without_a_flood() {
    let mut issuers = Issuers::start();
    let keyring = issuers.keyring.clone();
    let node = Node::start_with(Clock::system(), |config| trust(config, &keyring)).await;
    let good = claims(&keyring);
    let old = issuers.sign("rsa", json!({ "alg": "RS256", "kid": "rsa" }), &good);
    assert_eq!(whoami(&node, &old).await.status, 200);
    issuers.ask(json!({ "do": "publish", "keys": ["later"] }));
    let new = issuers.sign("later", json!({ "alg": "RS256", "kid": "later" }), &good);
    // At most one fetch a second here: the first request may come too early for it.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(whoami(&node, &new).await.status, 200);
    assert_eq!(whoami(&node, &old).await.code(), "api_token_invalid", "its key is no longer published");
    let before = issuers.ask(json!({ "do": "fetched" })).as_i64().unwrap();
    let begun = std::time::Instant::now();
    for index in 0..100 {
        let header = json!({ "alg": "RS256", "kid": format!("none-{index}") });
        let token = issuers.sign("foreign", header, &good);
        assert_eq!(whoami(&node, &token).await.code(), "api_token_invalid");
    }
    let fetched = issuers.ask(json!({ "do": "fetched" })).as_i64().unwrap() - before;
    let allowed = i64::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!(fetched <= allowed, "{fetched} fetches in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuer_is_away_people_wait_and_api_tokens_work() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("http://127.0.0.1:{port}");
    let node = Node::start_with(Clock::system(), |config| trust(config, &nowhere)).await;
    let mut issuers = Issuers::start();
    let token = issuers.sign("rsa", json!({ "alg": "RS256", "kid": "rsa" }), &claims(&nowhere));
    let answer = whoami(&node, &token).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "issuer_unavailable"));
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(whoami(&node, &node.admin).await.status, 200);
}
