//! Saved credentials: private, per node, forgotten with their stream.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cli::settings::Server;

fn settings(home: &Path, server: &str) -> Settings {
    Settings::for_node(Server::parse(server).unwrap(), String::new(), home.to_owned())
}

fn credentials() -> Credentials {
    Credentials { client_id: "id".into(), client_secret: "secret".into() }
}

#[test]
fn saved_credentials_are_private_and_found_again() {
    let home = tempfile::tempdir().unwrap();
    let here = settings(home.path(), "http://127.0.0.1:1");
    let name: StreamName = "clicks".parse().unwrap();
    let path = save(&here, &name, &credentials()).unwrap();
    assert_eq!(path, home.path().join("streams/clicks.json"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(saved(&here, &name).unwrap().credentials.client_secret, "secret");
    save(&here, &name, &credentials()).unwrap();
    forget(&here, &name).unwrap();
    assert!(saved(&here, &name).is_err());
}

#[test]
fn another_node_neither_overwrites_nor_removes_them() {
    let home = tempfile::tempdir().unwrap();
    let (here, there) =
        (settings(home.path(), "http://127.0.0.1:1"), settings(home.path(), "http://127.0.0.1:2"));
    let name: StreamName = "clicks".parse().unwrap();
    save(&here, &name, &credentials()).unwrap();
    assert!(prepare(&there, &name).is_err() && save(&there, &name, &credentials()).is_err());
    forget(&there, &name).unwrap();
    assert!(saved(&there, &name).unwrap().origin.contains("made by http://127.0.0.1:1"));
}

#[test]
fn a_damaged_file_is_named_and_not_quoted() {
    let home = tempfile::tempdir().unwrap();
    let here = settings(home.path(), "http://127.0.0.1:1");
    let name: StreamName = "clicks".parse().unwrap();
    prepare(&here, &name).unwrap();
    fs::write(home.path().join("streams/clicks.json"), "{\"clientSecret\": hush}").unwrap();
    let message = saved(&here, &name).err().unwrap().to_string();
    assert!(message.contains("clicks.json") && !message.contains("hush"), "{message}");
}
