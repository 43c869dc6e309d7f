//! The rules of the house that a machine can keep: `docs/ARCHITECTURE.md` and the style page name them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Files under `folder` with this ending, as paths from the repository's top.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    ["src", "tests", "benches", "examples"]
        .iter()
        .filter(|f| Path::new(f).exists())
        .flat_map(|f| files(f, "rs"))
        .collect()
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.starts_with("tests")
        || text.ends_with("tests.rs")
        || text.contains("/tests/")
        || text.contains("conformance")
}

/// The part of a file before its test module.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

#[test]
fn every_file_begins_by_saying_what_it_owns() {
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
    }
}

#[test]
fn no_room_is_a_drawer() {
    let banned = ["util", "utils", "helpers", "common", "misc", "types", "models", "manager"];
    for path in rust_files() {
        let names = path.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned());
        for name in names {
            assert!(!banned.contains(&name.as_str()), "{} is named after nothing", path.display());
        }
    }
}

#[test]
fn a_file_is_at_most_500_lines() {
    for path in rust_files().iter().filter(|path| !is_test(path)) {
        let lines = shipped(&fs::read_to_string(path).unwrap()).lines().count();
        assert!(lines <= 500, "{} has {lines} lines: two rooms?", path.display());
    }
}

/// Who may not import whom: folder, and the folders of ours it never names.
const NEVER: [(&str, &[&str]); 11] = [
    (
        "domain",
        &["event", "crypto", "storage", "actors", "gateway", "http", "server", "cli", "config", "telemetry"],
    ),
    ("event", &["crypto", "storage", "actors", "gateway", "http", "server", "cli", "config", "telemetry"]),
    (
        "schema_code",
        &["crypto", "storage", "actors", "gateway", "http", "server", "cli", "config", "telemetry"],
    ),
    ("crypto", &["event", "storage", "actors", "gateway", "http", "server", "cli", "config", "telemetry"]),
    ("storage", &["event", "crypto", "actors", "gateway", "http", "server", "cli"]),
    ("telemetry", &["event", "crypto", "storage", "actors", "gateway", "http", "server", "cli"]),
    (
        "config",
        &["event", "crypto", "storage", "actors", "gateway", "http", "server", "cli", "telemetry", "domain"],
    ),
    ("audit", &["event", "crypto", "actors", "gateway", "http", "server", "cli"]),
    ("actors", &["gateway", "http", "server", "cli"]),
    ("gateway", &["http", "server", "cli"]),
    ("http", &["crypto", "server", "cli"]),
];

#[test]
fn layers_import_downwards_only() {
    for (folder, never) in NEVER {
        for path in files(&format!("src/{folder}"), "rs").iter().filter(|path| !is_test(path)) {
            let text = fs::read_to_string(path).unwrap();
            let code: String = shipped(&text)
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            for other in never {
                let named = imports(&code, other);
                assert!(!named, "{} imports {other}, which {folder} must not know", path.display());
            }
        }
    }
}

/// Whether code names `crate::<other>`, also inside a `use crate::{...}` group.
fn imports(code: &str, other: &str) -> bool {
    if code.contains(&format!("crate::{other}::")) {
        return true;
    }
    code.split("use crate::{").skip(1).any(|group| {
        let group = group.split(";\n").next().unwrap();
        group.lines().any(|line| {
            line.trim_start().starts_with(&format!("{other}::"))
                || line.contains(&format!(" {other}::"))
                || line.contains(&format!("{{{other}::"))
        })
    })
}

#[test]
fn http_knows_storage_by_its_errors_only() {
    for path in files("src/http", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let names = imports(shipped(&text), "storage");
        assert!(!names || path.ends_with("problem.rs"), "{} reaches into storage", path.display());
    }
}

#[test]
fn no_actor_is_spawned_from_http() {
    for path in files("src/http", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("ractor"), "{}: an actor born in a worker dies with it", path.display());
    }
}

#[test]
fn panics_unwind() {
    assert!(!fs::read_to_string("Cargo.toml").unwrap().contains("panic = \"abort\""));
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let codes: BTreeSet<String> = sluice::http::CODES.iter().map(ToString::to_string).collect();
    let pages: BTreeSet<String> = files("docs/errors", "md")
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(codes, pages);
}

#[test]
fn every_code_in_the_tables_is_listed() {
    let codes: BTreeSet<&str> = sluice::http::CODES.iter().copied().collect();
    let problem = fs::read_to_string("src/http/problem.rs").unwrap();
    let tables = problem.split("/// Every code").next().unwrap();
    for row in tables.split("=> (\"").skip(1).chain(tables.split("            (\"").skip(1)) {
        let code = row.split('"').next().unwrap();
        assert!(codes.contains(code), "{code} is not in CODES");
    }
    let event = fs::read_to_string("src/event/error.rs").unwrap();
    let table = event.split("fn code(").nth(1).unwrap().split("\n    }").next().unwrap();
    for code in table.split('"').skip(1).step_by(2) {
        assert!(codes.contains(code), "{code} is not in CODES");
    }
}

#[test]
fn cluster_toml_documents_every_key_with_its_default() {
    let text = fs::read_to_string("cluster.toml").unwrap();
    let loaded = sluice::config::Config::load(Some(Path::new("cluster.toml"))).unwrap();
    assert_eq!(loaded, sluice::config::Config::default());
    let defaults = serde_json::to_value(sluice::config::Config::default()).unwrap();
    for (section, keys) in defaults.as_object().unwrap() {
        let body =
            text.split(&format!("[{section}]\n")).nth(1).unwrap_or_else(|| panic!("[{section}] is missing"));
        let body = body.split("\n[").next().unwrap();
        for key in keys.as_object().unwrap().keys() {
            let stands = body.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(stands, "[{section}] {key} is not in cluster.toml");
        }
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let mut paths = rust_files();
    for (folder, ending) in [("docs", "md"), ("tests", "py")] {
        paths.extend(files(folder, ending));
    }
    paths.extend(
        [
            "README.md",
            "CHANGELOG.md",
            "cluster.toml",
            "Cargo.toml",
            "scripts/test",
            "scripts/check",
            ".ci/run",
        ]
        .map(PathBuf::from),
    );
    let place = ["/wo", "rk/"].concat();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&place), "{} names a path of a machine", path.display());
    }
}
