//! A data protection officer and two teams, from nothing to a working derived stream, with the command line only.
//! Each of them has a terminal and a token of their own; what is not theirs to do is tried, and refused with a
//! code.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::harness::{Canary, Node};

const CONTRACT: &str = "web/click/1.0.0";
const NEXT: &str = "web/click/1.1.0";

/// Somebody at a terminal. The operator has none of the others' files, and they none of each other's.
struct Person {
    id: &'static str,
    server: String,
    token: String,
    home: tempfile::TempDir,
    /// What was not refused as it should have been: all of it is told at the end.
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Person {
    fn new(node: &Node, id: &'static str, token: String) -> Person {
        Person { id, server: node.url(), token, home: tempfile::tempdir().unwrap(), wrong: Arc::default() }
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .env("SLUICE_SERVER", &self.server)
            .env("SLUICE_TOKEN", &self.token)
            .env("SLUICE_HOME", self.home.path())
            .current_dir(self.home.path())
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command that succeeds prints.
    fn does(&self, line: &str) -> String {
        let output = self.run(line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: sluice {line}: {error}", self.id);
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.does(&format!("{line} -o json"))).unwrap()
    }

    /// A command that must be refused with `code`, and say so, and exit with 1.
    fn may_not(&self, line: &str, code: &str) {
        let output = self.run(line);
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
        if output.status.code() != Some(1) || !error.contains(code) {
            let told = format!("{}: sluice {line}: {code} expected, and got: {out}{error}", self.id);
            self.wrong.lock().unwrap().push(told);
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The operator makes somebody, with a token that is told once.
    fn makes(&self, node: &Node, noun: &str, id: &'static str, more: &str) -> Person {
        self.does(&format!("create {noun} {id} {more}"));
        let token =
            self.json(&format!("create token {id} --name first"))["token"].as_str().unwrap().to_owned();
        let person = Person { wrong: Arc::clone(&self.wrong), ..Person::new(node, id, token) };
        assert_eq!(person.json("whoami")["id"], id);
        person
    }
}

/// Who plays.
struct Cast {
    operator: Person,
    /// Data protection officer: an admin by her own name.
    dora: Person,
    /// Leads the web team, which makes the events.
    wilma: Person,
    mark: Person,
    /// Of the advertising team, which would like to use them.
    anna: Person,
    /// What the advertising team's program runs as.
    reader: Person,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_and_two_teams_come_from_nothing_to_a_working_derived_stream() {
    let node = Node::start().await;
    let cast = people(&node);
    purposes_and_policies(&cast);
    contract(&cast);
    streams(&cast);
    events(&cast, &node.canary);
    grants(&cast);
    next_version(&cast);
    usage_and_audit(&cast);
    the_end(&cast);
    let wrong = cast.operator.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn people(node: &Node) -> Cast {
    let operator = Person::new(node, "admin", node.admin.clone());
    let dora = operator.makes(node, "user", "dora", "--name Dora --role admin");
    let wilma = dora.makes(node, "user", "wilma", "--name Wilma");
    let mark = dora.makes(node, "user", "mark", "--name Mark");
    let anna = dora.makes(node, "user", "anna", "--name Anna --email anna@example.org");
    let reader = dora.makes(node, "service-account", "ads-reader", "");
    operator.may_not("create user dora", "principal_exists");
    dora.may_not("update user dora --role member", "own_role");
    mark.may_not("create user friend --role admin", "role_forbids");
    mark.may_not("update user mark --role admin", "role_forbids");
    mark.may_not("create token wilma", "principal_unknown");
    mark.may_not("create project mine", "role_forbids");
    dora.does("create project web");
    dora.does("create project ads");
    dora.does("add member web wilma --role project_admin");
    wilma.does("add member web mark");
    dora.does("add member ads anna --role project_admin");
    wilma.may_not("add member ads wilma", "project_unknown");
    wilma.may_not("add member web wilma --role approver", "own_role");
    mark.may_not("add member web anna", "role_forbids");
    anna.may_not("get project web", "project_unknown");
    assert_eq!(mark.json("list projects")["projects"].as_array().unwrap().len(), 1);
    assert_eq!(mark.json("whoami")["roles"], json!(["member"]));
    let token = "slt_0123456789abcdef_nobody".to_owned();
    let stranger = Person { wrong: Arc::clone(&dora.wrong), ..Person::new(node, "stranger", token) };
    stranger.may_not("list streams", "api_token_invalid");
    Cast { operator, dora, wilma, mark, anna, reader }
}

fn purposes_and_policies(Cast { dora, wilma, mark, .. }: &Cast) {
    mark.may_not("create purpose statistics", "role_forbids");
    dora.does("create purpose statistics --level 1 --description counts");
    dora.does("create purpose advertising --level 2");
    dora.may_not("create purpose statistics", "purpose_exists");
    assert_eq!(mark.does("list purposes -o plain").lines().count(), 2, "everybody sees what they are for");
    wilma.may_not("create policy month --retention-days 30", "role_forbids");
    dora.does("create policy month --retention-days 30 --legal-ground consent");
    wilma.may_not("create stream clicks -p web --policy month", "policy_not_active");
    mark.may_not("activate policy month", "role_forbids");
    dora.does("activate policy month");
    dora.may_not("delete policy month", "policy_state");
}

fn schema() -> String {
    let text = |name: &str| format!("  - {{type: STRING, name: {name}, required: true}}\n");
    format!("name: Click\nnodes:\n{}{}{}", text("session"), text("page"), text("mail"))
}

fn contract(Cast { dora, wilma, mark, anna, .. }: &Cast) {
    mark.file("schema.yaml", &schema());
    let personal = json!({
        "keyField": "session", "piiFields": {"page": 1, "mail": 2},
        "validations": [{"field": "mail", "type": "regex", "value": ".+@.+"}],
    });
    mark.file("contract.json", &personal.to_string());
    mark.file("wrong.json", &json!({"keyField": "nowhere"}).to_string());
    let files = "--schema schema.yaml --contract";
    mark.may_not(&format!("check contract {CONTRACT} {files} wrong.json"), "contract_invalid");
    mark.does(&format!("check contract {CONTRACT} {files} contract.json"));
    mark.may_not(&format!("get contract {CONTRACT}"), "contract_unknown");
    mark.may_not(&format!("create contract {CONTRACT} {files} contract.json"), "project_unknown");
    mark.may_not(&format!("create contract {CONTRACT} -p ads {files} contract.json"), "project_unknown");
    mark.does(&format!("create contract {CONTRACT} -p web {files} contract.json"));
    mark.may_not(&format!("create contract {CONTRACT} -p web {files} contract.json"), "contract_exists");
    // Nobody takes a short way: review first, and by somebody else.
    mark.may_not(&format!("activate contract {CONTRACT}"), "contract_step_forbidden");
    mark.may_not(&format!("approve contract {CONTRACT}"), "contract_step_forbidden");
    mark.does(&format!("review contract {CONTRACT}"));
    mark.may_not(&format!("approve contract {CONTRACT}"), "contract_step_forbidden");
    wilma.may_not(&format!("approve contract {CONTRACT}"), "contract_step_forbidden");
    anna.may_not(&format!("approve contract {CONTRACT}"), "contract_unknown");
    dora.does(&format!("approve contract {CONTRACT}"));
    assert_eq!(mark.json(&format!("activate contract {CONTRACT}"))["state"], "ACTIVE");
    mark.may_not(&format!("archive contract {CONTRACT}"), "contract_step_forbidden");
    wilma.may_not(&format!("delete contract {CONTRACT}"), "contract_in_use");
    wilma.may_not(&format!("revise contract {CONTRACT}"), "contract_state");
    let steps = mark.json(&format!("get contract {CONTRACT}"));
    let by: Vec<_> = steps["history"].as_array().unwrap().iter().map(|step| &step["who"]["id"]).collect();
    assert_eq!(by, ["mark", "mark", "dora", "mark"]);
}

fn streams(Cast { dora, wilma, mark, anna, .. }: &Cast) {
    anna.may_not("create stream clicks -p web", "project_unknown");
    mark.does("create stream clicks -p web --policy month --save");
    mark.may_not("create stream clicks -p web", "stream_exists");
    anna.may_not("get stream clicks", "stream_unknown");
    anna.may_not("create stream -p ads -D clicks -P advertising", "source_stream_unknown");
    mark.may_not("create stream -D clicks -P nobody", "purpose_unknown");
    mark.does("create stream -D clicks -P statistics --save");
    mark.does("create stream ads -D clicks -P advertising --save");
    mark.does(&format!("create stream hashed -D clicks -P advertising -M {CONTRACT}:mail"));
    mark.may_not("create stream -D ads -P advertising", "the source is itself derived");
    mark.may_not("delete stream clicks", "role_forbids");
    wilma.may_not("delete stream clicks", "stream_has_dependents");
    dora.may_not("delete purpose advertising", "purpose_in_use");
    dora.may_not("archive policy month", "policy_in_use");
    assert_eq!(mark.does("list streams --source clicks -o plain").lines().count(), 3);
    assert_eq!(anna.does("list streams -o plain"), "");
}

fn event(canary: &Canary, consent: &[i32], mail: &str) -> Value {
    json!({
        "strmMeta": {"eventContractRef": CONTRACT, "consentLevels": consent},
        "session": crate::harness::canary::random_text(12), "page": canary.plant_opened(), "mail": mail,
    })
}

fn events(Cast { mark, dora, anna, .. }: &Cast, canary: &Canary) {
    let mail = format!("{}@example.org", canary.plant_opened());
    mark.file("event.json", &event(canary, &[1], &mail).to_string());
    let said = mark.json("explain event.json --stream clicks");
    let view = |name: &str| {
        said["derived"].as_array().unwrap().iter().find(|view| view["stream"] == name).cloned().unwrap()
    };
    assert_eq!((&view("clicks-1")["passes"], &view("ads")["passes"]), (&json!(true), &json!(false)));
    assert_eq!(view("ads")["whyNot"], "consent_missing");
    let shown = |name: &str, path: &str| {
        let view = view(name);
        let field = view["fields"].as_array().unwrap().iter().find(|field| field["path"] == path).cloned();
        field.unwrap()["shown"].clone()
    };
    assert_eq!((shown("clicks-1", "page"), shown("clicks-1", "mail")), (json!("open"), json!("sealed")));
    anna.may_not("explain event.json --stream clicks", "cannot read");
    anna.file("event.json", &event(canary, &[1], &mail).to_string());
    anna.may_not("explain event.json --stream clicks", "stream_unknown");

    let lines = [
        event(canary, &[1], &mail),
        event(canary, &[1, 2], &mail),
        event(canary, &[2], &mail),
        event(canary, &[0], &format!("{}@example.org", canary.plant())),
        event(canary, &[], &format!("{}@example.org", canary.plant())),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    mark.file("good.jsonl", &text);
    let sent = mark.json("send clicks good.jsonl --quiet");
    assert_eq!((&sent["accepted"], &sent["refused"]), (&json!(5), &json!(0)));
    let hidden = canary.plant();
    mark.file("bad.jsonl", &format!("{}\n", event(canary, &[1], &hidden)));
    mark.may_not("send clicks bad.jsonl --quiet", "validation_failed");
    let told = mark.run("send clicks bad.jsonl --quiet");
    assert!(!String::from_utf8_lossy(&told.stderr).contains(&hidden), "a refusal tells no value");
    // The role that sees everything reads nothing, and the stream's credentials are mark's.
    dora.may_not("listen ads --no-follow --from earliest", "no credentials of stream ads");
    dora.may_not("listen ads --granted --no-follow --from earliest", "read_grant_missing");
    anna.may_not("listen ads --granted --no-follow --from earliest", "stream_unknown");
    anna.may_not("send clicks event.json", "no credentials");

    let read = |stream: &str, count: usize| -> Vec<Value> {
        let text = mark.does(&format!("listen {stream} --from earliest --count {count}"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let statistics = read("clicks-1", 2);
    assert!(statistics.iter().all(|event| canary.was_planted_opened(event["page"].as_str().unwrap())));
    assert!(statistics.iter().all(|event| event["mail"] != mail.as_str()), "not asked for, so still sealed");
    let ads = read("ads", 2);
    assert!(ads.iter().all(|event| event["mail"] == mail.as_str()));
    let all = read("clicks", 5);
    assert!(all.iter().all(|event| event["mail"] != mail.as_str()), "everything is sealed in the source");
    let sealed: Vec<_> = all.iter().filter(|e| e["strmMeta"]["consentLevels"] == json!([1, 2])).collect();
    assert_eq!(sealed[0]["strmMeta"], ads[0]["strmMeta"], "the same event, and joinable");
}

fn grants(Cast { dora, wilma, mark, anna, reader, .. }: &Cast) {
    let listen = "listen ads --granted --no-follow --from earliest";
    mark.may_not("grant read ads ads-reader", "role_forbids");
    anna.may_not("grant read ads ads-reader", "stream_unknown");
    wilma.may_not("grant read ads nobody", "principal_unknown");
    reader.may_not(listen, "stream_unknown");
    wilma.does("grant read ads ads-reader --expires-in-days 30");
    assert_eq!(reader.does(listen).lines().count(), 2);
    reader.may_not("listen clicks --granted --no-follow", "stream_unknown");
    reader.may_not("get stream ads", "stream_unknown");
    wilma.does("grant read hashed dora");
    let masked = dora.does("listen hashed --granted --no-follow --from earliest");
    assert!(!masked.contains("@example.org") && masked.lines().count() == 2, "a hash, and no address");
    wilma.does("revoke read hashed dora");
    dora.may_not("listen hashed --granted --no-follow", "read_grant_missing");
    mark.may_not("revoke read ads ads-reader", "role_forbids");
    assert_eq!(mark.json("list grants ads")["grants"][0]["principal"], "ads-reader");
}

fn next_version(Cast { dora, mark, .. }: &Cast) {
    let stricter = json!({
        "keyField": "session", "piiFields": {"page": 1, "mail": 2},
        "validations": [{"field": "mail", "type": "regex", "value": ".+@intern"}],
    });
    mark.file("stricter.json", &stricter.to_string());
    let files = "--schema schema.yaml --contract stricter.json";
    let checked = mark.json(&format!("check contract {NEXT} {files} --against clicks --last 1h"));
    let traffic = &checked["traffic"];
    assert_eq!((&traffic["checked"], &traffic["wouldRefuse"]), (&json!(3), &json!(3)), "{traffic}");
    assert_eq!(traffic["notChecked"]["noConsent"], 2);
    mark.does(&format!("create contract {NEXT} -p web {files}"));
    assert!(mark.does(&format!("get contract {NEXT} --changes")).contains("mail"));
    mark.does(&format!("review contract {NEXT}"));
    dora.does(&format!("revise contract {NEXT}"));
    mark.may_not(&format!("activate contract {NEXT}"), "contract_step_forbidden");
}

fn usage_and_audit(Cast { dora, wilma, mark, anna, .. }: &Cast) {
    let csv = mark.does("usage clicks --from -1h --until now --by 1h -o csv");
    let count = |line: &str| line.split(',').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(csv.lines().skip(1).map(count).sum::<u64>(), 5, "{csv}");
    assert!(csv.contains("validation_failed"), "{csv}");
    anna.may_not("usage clicks", "stream_unknown");
    mark.may_not("audit list", "role_forbids");
    wilma.may_not("audit exposure --field web/click/1.0.0:mail", "role_forbids");

    let entries = |query: &str| dora.json(&format!("audit list {query} --limit 1000"))["entries"].clone();
    let count = |query: &str| entries(query).as_array().unwrap().len();
    assert_eq!(count("--action contract_stepped --who dora"), 2, "the approval, and what was sent back");
    assert_eq!(count("--action traffic_checked --who mark"), 1);
    assert_eq!(count("--action read_granted --stream ads"), 1);
    assert!(count("--action access_denied --who mark") > 0, "what he tried is known");
    assert!(count("--action login_failed") > 0, "and that somebody without a token was here");
    assert!(count("--action reader_attached --who ads-reader") > 0);
    let exposure = dora.json(&format!("audit exposure --field {CONTRACT}:mail"));
    let rows: Vec<_> = exposure["exposures"].as_array().unwrap().iter().collect();
    let names: Vec<_> = rows.iter().map(|row| (row["stream"].as_str().unwrap(), &row["masked"])).collect();
    assert_eq!(names, [("ads", &json!(false)), ("hashed", &json!(true))], "{exposure}");
    assert_eq!(rows[0]["grants"][0]["principal"], "ads-reader");
    assert!(rows[0]["grants"][0]["firstAttached"].is_i64() && rows[0]["grants"][0]["until"].is_null());
    assert!(rows[1]["grants"][0]["until"].is_i64(), "dora's has ended");

    let kept = dora.does("audit checkpoint");
    dora.file("kept", &kept);
    dora.does("create purpose research --level 3");
    dora.does("audit export --out log");
    assert!(dora.does("audit verify log --checkpoint kept").contains("as they were signed"));
    dora.does("audit prove 0 --out proof");
    assert!(dora.does("audit verify --proof proof --key log/key").contains("entry 0 is in the log"));
    let path = dora.home.path().join("log/entries.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("@example.org"), "no value of an event is in the log");
    std::fs::write(&path, text.replacen("\"mark\"", "\"anna\"", 1)).unwrap();
    dora.may_not("audit verify log --checkpoint kept", "was altered");
}

fn the_end(Cast { operator, dora, wilma, mark, reader, .. }: &Cast) {
    let listen = "listen ads --granted --no-follow --from earliest";
    let last = mark.home.path().join("streams/clicks.json");
    assert!(last.exists(), "mark kept the credentials");
    wilma.does("disable stream clicks");
    mark.may_not("send clicks good.jsonl --quiet", "stream_disabled");
    wilma.does("enable stream clicks");
    wilma.does("rotate credentials clicks --all");
    mark.may_not("send clicks good.jsonl --quiet", "invalid_client");
    dora.does("revoke token mark --all");
    mark.may_not("list streams", "api_token_invalid");
    wilma.does("delete stream clicks --recursive --yes");
    reader.may_not(listen, "stream_unknown");
    let ended = dora.json("audit list --action read_revoked --stream ads")["entries"].clone();
    assert_eq!(ended[0]["action"]["because"], "stream_deleted", "{ended}");
    dora.does("delete user mark");
    wilma.may_not("get user mark", "principal_unknown");
    operator.may_not("create user mark", "principal_exists");
    dora.may_not("delete project web", "project_not_empty");
    wilma.does(&format!("delete contract {NEXT}"));
    wilma.does(&format!("archive contract {CONTRACT}"));
    wilma.does("update project web --archive");
    wilma.may_not("create stream more -p web", "project_archived");
    dora.does("audit export --out end");
    assert!(dora.does("audit verify end --checkpoint kept --key end/key").contains("as they were signed"));
}
