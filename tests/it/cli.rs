//! The command line against a real node: the binary as a person runs it, its output and its exit codes.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::harness::Node;

const EXAMPLE_REF: &str = "strmprivacy/example/1.5.0";

/// One person's terminal: a node to talk to and a folder of saved credentials.
struct Terminal {
    server: String,
    token_file: PathBuf,
    home: tempfile::TempDir,
}

impl Terminal {
    fn of(node: &Node) -> Terminal {
        let token_file = node.data_dir().join("admin.token");
        Terminal { server: node.url(), token_file, home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLUICE_"))
        {
            command.env_remove(name);
        }
        command
            .env("SLUICE_SERVER", &self.server)
            .env("SLUICE_TOKEN_FILE", &self.token_file)
            .env("SLUICE_HOME", self.home.path())
            .current_dir(self.home.path())
            .args(line.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs `line`, which must succeed, and returns its standard output.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "sluice {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `line`, which must fail with exit code 1, and returns its standard error.
    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(
            output.status.code(),
            Some(1),
            "sluice {line}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }

    fn lines(&self, line: &str) -> Vec<Value> {
        self.ok(line).lines().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn event(session: &str, consent: &[u32]) -> String {
    let meta = serde_json::json!({"eventContractRef": EXAMPLE_REF, "consentLevels": consent});
    let event = serde_json::json!({
        "strmMeta": meta,
        "uniqueIdentifier": "unique-1",
        "consistentValue": session,
        "someSensitiveValue": "sensitive-1",
        "notSensitiveValue": "not-sensitive-1",
    });
    event.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_shown_listed_and_deleted() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);

    let created = terminal.json("create stream clicks --description web --tags a,b --retention-days 30");
    assert_eq!(created["ref"]["name"], "clicks");
    assert_eq!(created["retentionDays"], 30);
    assert!(created["credentials"][0]["clientSecret"].as_str().is_some_and(|secret| secret.len() >= 32));

    let shown = terminal.json("get stream clicks");
    assert_eq!(shown["tags"], serde_json::json!(["a", "b"]));
    assert!(shown["credentials"][0].get("clientSecret").is_none());

    assert_eq!(terminal.ok("list streams -o plain"), "clicks\t\t\ttrue\t30 d\n");
    let table = terminal.ok("list streams");
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["Stream", "Derived", "Purposes", "Enabled", "Retention"]);

    assert_eq!(terminal.ok("delete stream clicks"), "Stream clicks has been deleted\n");
    assert_eq!(terminal.ok("list streams"), "No entities of this resource type exist.\n");
    assert!(terminal.fails("get stream clicks").contains("next step: see which streams exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_credentials_are_private_and_go_with_their_stream() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    let shown = terminal.ok("create stream clicks --save");
    let path = terminal.home.path().join("streams/clicks.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let saved: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(!shown.contains(saved["clientSecret"].as_str().unwrap()), "a saved secret is not shown");
    terminal.ok("delete stream clicks");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_updated_switched_and_its_credentials_rotated() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream clicks --save --events-per-second 100 --tags web");
    let path = terminal.home.path().join("streams/clicks.json");
    let saved = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
    let before = saved();
    let shown = terminal.ok("rotate credentials clicks --save");
    let after = saved();
    assert_ne!(before["clientId"], after["clientId"]);
    assert!(!shown.contains(after["clientSecret"].as_str().unwrap()), "a saved secret is not shown");
    terminal.ok("simulate clicks --count 2 --rate 1000 --quiet");
    let other = terminal.json("create credentials clicks");
    assert!(other["clientSecret"].as_str().is_some_and(|secret| secret.len() >= 32));
    assert_eq!(terminal.ok("list credentials clicks -o plain").lines().count(), 2);
    assert!(terminal.fails("rotate credentials clicks").contains("--all"));
    let id = other["clientId"].as_str().unwrap();
    assert_eq!(
        terminal.ok(&format!("delete credentials clicks {id}")),
        format!("Credentials {id} have been deleted\n")
    );
    assert!(terminal.fails(&format!("delete credentials clicks {id}")).contains("list credentials"));

    let updated =
        terminal.json("update stream clicks --retention-days 9 --events-max 50 --events-max-per hour");
    assert_eq!(updated["retentionDays"], 9);
    assert_eq!(updated["limits"], serde_json::json!({"eventsMax": 50, "eventsMaxPer": "HOUR"}));
    assert_eq!(
        terminal.json("update stream clicks --no-limits")["limits"],
        serde_json::json!({"eventsMaxPer": "DAY"})
    );
    assert!(terminal.fails("update stream clicks").contains("nothing is to be changed"));
    assert_eq!(terminal.ok("disable stream clicks -o plain"), "clicks\t\t\tfalse\t9 d\n");
    terminal.ok("enable stream clicks");
    assert_eq!(terminal.ok("list streams --tag web -o plain").lines().count(), 1);
    assert_eq!(terminal.ok("list streams --tag none -o plain"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn purposes_and_policies_are_managed_and_used_by_name() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create purpose marketing --description ads");
    assert_eq!(terminal.ok("list purposes -o plain"), "marketing\t1\tads\n");
    terminal.ok("create policy tax --retention-days 2556 --legal-ground law");
    assert!(terminal.fails("create stream clicks --policy tax").contains("sluice activate policy"));
    assert_eq!(terminal.json("activate policy tax")["state"], "ACTIVE");
    let stream = terminal.json("create stream clicks --policy tax");
    assert_eq!(stream["policy"]["name"], "tax");
    assert_eq!(terminal.json("create stream -D clicks --purposes marketing,3")["ref"]["name"], "clicks-1-3");
    assert!(terminal.fails("create stream -D clicks --purposes nobody").contains("list purposes"));
    assert!(terminal.fails("delete purpose marketing").contains("clicks-1-3"));
    assert!(terminal.fails("archive policy tax").contains("clicks"));
    terminal.ok("update stream clicks --no-policy");
    assert_eq!(terminal.json("archive policy tax")["state"], "ARCHIVED");
    assert!(terminal.ok("list policies").contains("ARCHIVED"));
    assert_eq!(terminal.ok("delete policy tax"), "Policy tax has been deleted\n");
    assert!(terminal.fails("get policy tax").contains("list policies"));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_a_table_csv_or_json() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream clicks --save");
    terminal.ok("simulate clicks --count 7 --rate 1000 --quiet");
    let csv = terminal.ok("usage clicks --from -1h --until now --by 1h -o csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "From,Count,Rate,Bytes,Refused,Reasons,Derived,Dropped");
    let count = |line: &&str| line.split(',').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(lines[1..].iter().map(count).sum::<u64>(), 7, "{csv}");
    let json = terminal.json("usage clicks --by 1d");
    assert_eq!(json["bySeconds"], 86_400);
    assert!(terminal.ok("usage clicks").starts_with("From"));
    assert!(terminal.fails("list streams -o csv").contains("only usage"));
    assert!(terminal.fails("usage clicks --by 5s").contains("parameter_invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recursive_deletion_says_what_it_takes() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream clicks --save");
    terminal.ok("create stream -D clicks -P 1");
    terminal.ok("simulate clicks --count 3 --rate 1000 --quiet");
    let output = terminal.run("delete stream clicks --recursive");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("clicks-1") && said.contains("# Keys"), "{said}");
    assert_eq!(terminal.ok("list streams -o plain"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_derived_streams_is_deleted_only_recursively() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream clicks");
    assert_eq!(terminal.json("create stream -D clicks -P 1,2")["ref"]["name"], "clicks-1-2");
    let masked = terminal.json(
        "create stream masked -D clicks -P 2 --cumulative -M strmprivacy/example/1.5.0:uniqueIdentifier",
    );
    assert_eq!(masked["derived"]["type"], "CUMULATIVE");
    assert_eq!(masked["derived"]["masked"][EXAMPLE_REF], serde_json::json!(["uniqueIdentifier"]));

    let refusal = terminal.fails("delete stream clicks");
    assert!(refusal.contains("stream_has_dependents") && refusal.contains("--recursive"), "{refusal}");
    terminal.ok("delete stream clicks --recursive");
    assert_eq!(terminal.ok("list streams -o plain"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_goes_from_files_to_active_to_archived() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    let schema = "name: Clicks\nnodes:\n  - {type: STRING, name: session, required: true}\n  - {type: STRING, name: user}\n";
    terminal.file("schema.yaml", schema);
    let contract = r#"{"keyField": "session", "piiFields": {"user": 1},
        "validations": [{"field": "session", "type": "regex", "value": "^.+$"}]}"#;
    terminal.file("contract.json", contract);

    let created =
        terminal.json("create contract acme/clicks/1.0.0 --schema schema.yaml --contract contract.json");
    assert_eq!(created["state"], "DRAFT");
    let row = "acme/clicks/1.0.0\tACTIVE\tfalse\tsession\t1\t1\n";
    assert_eq!(terminal.ok("activate contract acme/clicks/1.0.0 -o plain"), row);
    assert!(terminal.ok("list contracts -o plain").contains(row));
    assert_eq!(terminal.json("get contract acme/clicks/1.0.0")["schema"]["kind"], "AVRO");
    assert!(terminal.ok("get contract acme/clicks/1.0.0").contains("Personal Field"));
    assert_eq!(terminal.json("archive contract acme/clicks/1.0.0")["state"], "ARCHIVED");
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_events_are_stored_sealed_and_opened_by_consent() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream demo --save");
    terminal.ok("create stream demo-1-2 -D demo -P 1,2 --save");

    let report = terminal.json("simulate demo --rate 500 --count 200 --purposes ,0,1/2 --seed 1 --quiet");
    assert_eq!((report["accepted"].as_u64(), report["refused"].as_u64()), (Some(200), Some(0)));

    let stored = terminal.lines("listen demo --from earliest --count 200");
    assert_eq!(stored.len(), 200);
    let consenting =
        stored.iter().filter(|event| event["strmMeta"]["consentLevels"] == serde_json::json!([1, 2]));
    let consenting = consenting.count();
    assert!((1..200).contains(&consenting));
    assert!(stored.iter().all(|event| !event["uniqueIdentifier"].as_str().unwrap().starts_with("unique-")));

    let opened = terminal.lines(&format!("listen demo-1-2 --from earliest --count {consenting}"));
    assert_eq!(opened.len(), consenting);
    for event in opened {
        assert!(event["uniqueIdentifier"].as_str().unwrap().starts_with("unique-"));
        assert!(event["consistentValue"].as_str().unwrap().starts_with("session-"));
        assert!(!event["someSensitiveValue"].as_str().unwrap().starts_with("sensitive-"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_in_order_and_refusals_are_named_by_line() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream demo --save");
    let lines: Vec<String> = (0..50).map(|n| event(&format!("session-{n}"), &[n])).collect();
    terminal.file("good.ndjson", &lines.join("\n"));
    assert!(terminal.ok("send demo good.ndjson --quiet").starts_with("50 accepted, 0 refused"));
    let consents = terminal.lines("listen demo --from earliest --no-follow");
    let consents: Vec<u64> =
        consents.iter().map(|e| e["strmMeta"]["consentLevels"][0].as_u64().unwrap()).collect();
    assert_eq!(consents, (0..50).collect::<Vec<u64>>());

    terminal.file("bad.ndjson", &format!("{}\n\n{}\n{}\n", event("s", &[]), event("", &[]), event("s", &[])));
    let output = terminal.run("send demo bad.ndjson -o plain");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("2\t1\t0\t"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("refused line 3: "), "{said}");
    assert!(!said.contains("unique-1") && !said.contains("sensitive-1"), "{said}");

    let said = terminal.fails("send demo bad.ndjson --atomic");
    assert!(said.contains("nothing was stored"), "{said}");
    assert_eq!(terminal.lines("listen demo --from earliest --no-follow").len(), 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_sent_too() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream demo --save");
    let mut sending = terminal
        .command("send demo - -o plain")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sending.stdin.take().unwrap().write_all(event("s", &[]).as_bytes()).unwrap();
    let output = sending.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("1\t0\t0\t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_listening_quietly() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.ok("create stream demo --save");
    terminal.ok("simulate demo --rate 1000 --count 100 --quiet");
    let mut listening = terminal.command("listen demo --from earliest");
    let mut listening = listening.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(listening.stdout.take());
    let output = listening.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_the_next_step() {
    let node = Node::start().await;
    let mut terminal = Terminal::of(&node);
    let said = terminal.fails("listen demo");
    assert!(said.contains("no credentials of stream demo") && said.contains("--save"), "{said}");
    let said = terminal.fails("listen demo --client-id nobody --client-secret hush-hush");
    assert!(said.contains("--client-id and --client-secret") && said.contains("next step"), "{said}");
    assert!(!said.contains("hush-hush"), "{said}");
    let said = terminal.fails("list streams --token not-a-token");
    assert!(said.contains("--token") && !said.contains("not-a-token"), "{said}");

    terminal.token_file = PathBuf::new();
    let said = terminal.fails("list streams");
    assert!(said.contains("no API token") || said.contains("none was found"), "{said}");
    terminal.server = "http://127.0.0.1:1".to_owned();
    terminal.token_file = node.data_dir().join("admin.token");
    assert!(terminal.fails("list streams").contains("next step: start one with: sluice serve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn help_never_shows_a_secret_of_the_environment() {
    let terminal = Terminal {
        server: "http://127.0.0.1:1".to_owned(),
        token_file: PathBuf::new(),
        home: tempfile::tempdir().unwrap(),
    };
    for line in ["--help", "create stream --help", "listen --help", "simulate --help", "serve --help"] {
        let mut command = terminal.command(line);
        for name in ["SLUICE_TOKEN", "SLUICE_CLIENT_SECRET", "SLUICE_MASK_SEED"] {
            command.env(name, "hush-hush");
        }
        let output = command.output().unwrap();
        assert!(output.status.success());
        assert!(!String::from_utf8_lossy(&output.stdout).contains("hush-hush"), "sluice {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_who_sees_what_within_100_columns() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["demo", "--once"])
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["stored in demo", "demo-1-2", "demo-M1-2", "— no consent for 1,2", "unique-", "…"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal");
    assert!(is_empty(folder.path()), "the demo leaves nothing behind");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_teams_and_a_consumer_work_with_tokens_of_their_own() {
    let node = Node::start().await;
    let operator = Terminal::of(&node);
    let plain = |terminal: &Terminal, line: &str| terminal.ok(&format!("{line} -o plain"));
    let of = |id: &str| {
        let made = plain(&operator, &format!("create token {id} --name test --expires-in-days 7"));
        let fields: Vec<_> = made.trim_end().split('\t').collect();
        assert!(fields[1].starts_with("slt_") && fields[1].contains(fields[0]), "{made}");
        let terminal = Terminal::of(&node);
        let token_file = terminal.file("token", fields[1]);
        (Terminal { token_file, ..terminal }, fields[0].to_owned())
    };
    for line in [
        "create project shop --description sales",
        "create project bank",
        "create user ada --name Ada --email ada@example.org",
        "create service-account shop.sender",
        "add member shop ada --role project_admin",
        "add member bank shop.sender",
    ] {
        operator.ok(line);
    }
    let ((ada, ada_token), (sender, _)) = (of("ada"), of("shop.sender"));
    assert_eq!(
        ada.json("whoami")["projects"],
        serde_json::json!([{"name": "shop", "roles": ["project_admin"]}])
    );
    assert_eq!(plain(&ada, "list projects"), "shop\tOPERATIONAL\t1\tsales\n");
    assert_eq!(plain(&ada, "list members shop"), "ada\tproject_admin\n");
    ada.ok("create stream clicks -p shop");
    assert_eq!(plain(&sender, "list streams"), "");
    assert!(sender.fails("get stream clicks").contains("404 stream_unknown"));
    assert!(sender.fails("create stream more -p shop").contains("404 project_unknown"));
    assert!(ada.fails("create user eve").contains("403 role_forbids"));
    assert!(ada.fails("create token shop.sender").contains("404 principal_unknown"));
    ada.ok("grant read clicks shop.sender --expires-in-days 2");
    let granted = plain(&ada, "list grants clicks");
    assert!(granted.starts_with("clicks\tshop.sender\t2"), "{granted}");
    assert_eq!(ada.ok("revoke read clicks shop.sender"), "shop.sender no longer reads clicks\n");
    // Tokens: everybody has their own, sees them without the text, and loses them at once.
    let listed = ada.ok("list tokens");
    assert!(listed.contains(&ada_token) && !listed.contains("slt_"), "{listed}");
    let second = plain(&ada, "create token --name second");
    assert!(second.contains("\tslt_"));
    operator.ok(&format!("revoke token ada {ada_token}"));
    assert!(ada.fails("whoami").contains("401 api_token_invalid"));
    operator.ok("update service-account shop.sender --disable");
    assert!(sender.fails("whoami").contains("401 api_token_invalid"));
    operator.ok("update service-account shop.sender --enable --role approver");
    assert_eq!(sender.json("whoami")["roles"], serde_json::json!(["approver"]));
    operator.ok("remove member bank shop.sender");
    assert!(operator.fails("delete project shop").contains("409 project_not_empty"));
    operator.ok("delete stream clicks");
    operator.ok("update project shop --archive");
    assert!(operator.fails("create stream late -p shop").contains("409 project_archived"));
    operator.ok("delete project shop");
    operator.ok("delete user ada");
    assert_eq!(plain(&operator, "list users"), "");
    assert!(plain(&operator, "list principals").starts_with("shop.sender\tservice_account\tapprover\tfalse"));
    assert_eq!(operator.ok("list projects").lines().count(), 3, "a header, bank and default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_checked_reviewed_compared_and_its_events_explained() {
    let node = Node::start().await;
    let terminal = Terminal::of(&node);
    terminal.file("schema.yaml", "name: Clicks\nnodes:\n  - {name: session, type: STRING, required: true}\n");
    terminal.file("wide.yaml", "name: Clicks\nnodes:\n  - {name: session, type: STRING, required: true}\n  - {name: url, type: STRING}\n");
    terminal.file("contract.json", "{\"keyField\": \"session\", \"piiFields\": {\"session\": 2}}");
    terminal.ok("create stream clicks");
    terminal.ok("create stream -D clicks -P 2");
    let files = "--schema schema.yaml --contract contract.json";
    let checked = terminal.json(&format!("check contract {files} --against clicks --last 15m"));
    assert_eq!((&checked["valid"], &checked["traffic"]["events"]), (&Value::Bool(true), &0.into()));
    assert!(terminal.fails("check contract --contract contract.json").contains("schema_unknown"));

    terminal.ok(&format!("create contract acme/clicks/1.0.0 {files}"));
    for (verb, state) in [("review", "IN_REVIEW"), ("approve", "APPROVED"), ("activate", "ACTIVE")] {
        assert_eq!(terminal.json(&format!("{verb} contract acme/clicks/1.0.0"))["state"], state);
    }
    assert!(terminal.fails("revise contract acme/clicks/1.0.0").contains("contract_state"));
    assert!(terminal.ok("get contract acme/clicks/1.0.0").contains("approve"), "the steps taken are shown");
    terminal.ok("create contract acme/clicks/1.1.0 --schema wide.yaml --contract contract.json");
    let changes = terminal.ok("get contract acme/clicks/1.1.0 --changes -o plain");
    assert!(changes.contains("field added\turl"), "{changes}");
    assert!(changes.contains("new readers read old events\tall"), "{changes}");
    let drafts = terminal.ok("list contracts --handle acme --state DRAFT -o plain");
    assert!(drafts.starts_with("acme/clicks/1.1.0\tDRAFT") && drafts.lines().count() == 1, "{drafts}");
    assert!(terminal.ok("list schemas -o plain").contains("acme/clicks/1.0.0\tAVRO\tacme/clicks/1.0.0"));
    assert!(terminal.ok("get schema acme/clicks/1.0.0").contains("\"Clicks\""));
    assert!(terminal.ok("get schema-code acme/clicks/1.0.0 --language rust").contains("pub struct Clicks"));

    let meta = serde_json::json!({"eventContractRef": "acme/clicks/1.0.0", "consentLevels": [1]});
    terminal.file("event.json", &serde_json::json!({"strmMeta": meta, "session": "s"}).to_string());
    let explained = terminal.json("explain event.json --stream clicks");
    assert_eq!(explained["accepted"], true);
    let shown = terminal.ok("explain event.json --stream clicks");
    assert!(shown.contains("consent_missing: levels 2"), "{shown}");
}
