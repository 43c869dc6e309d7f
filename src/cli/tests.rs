//! The grammar as a whole.

use clap::{CommandFactory, Parser};

use super::*;

#[test]
fn the_grammar_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn verb_then_noun_with_the_originals_other_names() {
    let lines = [
        "sluice serve --data d --listen 127.0.0.1:0",
        "sluice demo --once",
        "sluice create stream clicks --save -o json",
        "sluice create stream -D clicks -P 1,2",
        "sluice -o plain list streams",
        "sluice list stream",
        "sluice get data-contract acme/clicks/1.0.0",
        "sluice delete stream a1 b1 -r",
        "sluice create contract acme/clicks/1.0.0 --schema s --contract c --public",
        "sluice create data-contract acme/clicks/1.0.0 --schema-definition s --contract-definition c",
        "sluice activate contract acme/clicks/1.0.0 --server http://127.0.0.1:1 --token-file t",
        "sluice archive contract acme/clicks/1.0.0",
        "sluice delete contract acme/clicks/1.0.0",
        "sluice simulate clicks --rate 0.5 --count 3 --purposes ,0,0/1 --seed 1 --quiet",
        "sluice send clicks - --schema acme/clicks/1.0.0 --atomic",
        "sluice listen clicks --from 17 --count 1",
        "sluice completion bash",
        "sluice create user ada --email ada@example.org --role approver",
        "sluice create service-account shop.sender",
        "sluice create token ada --name laptop --expires-in-days 7 -o plain",
        "sluice create token",
        "sluice create project shop --description s",
        "sluice create stream clicks -p shop",
        "sluice list service-accounts",
        "sluice list tokens",
        "sluice update user ada --disable",
        "sluice add member shop ada --role project_admin",
        "sluice remove member shop ada",
        "sluice grant read clicks ada --expires-in-days 1",
        "sluice revoke read clicks ada",
        "sluice revoke token ada 0123456789abcdef",
        "sluice revoke token ada --all",
        "sluice whoami",
        "sluice version",
    ];
    for line in lines {
        let parsed = Arguments::try_parse_from(line.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
}

#[test]
fn what_is_not_understood_is_refused_before_anything_is_sent() {
    let lines = [
        "sluice create stream a/b",
        "sluice create contract acme/clicks --contract c",
        "sluice list streams -o xml",
        "sluice simulate clicks --rate 0",
        "sluice simulate clicks --sessions 0",
        "sluice listen clicks --from yesterday",
        "sluice listen clicks --client-id only",
        "sluice get stream",
        "sluice create user Ada",
        "sluice create user ada --role owner",
        "sluice update user ada",
        "sluice update user ada --enable --disable",
        "sluice revoke token ada",
        "sluice create project ../x",
        "sluice grant read clicks ada --expires-in-days 0",
    ];
    for line in lines {
        let parsed = Arguments::try_parse_from(line.split_whitespace());
        assert_eq!(parsed.err().map(|error| error.exit_code()), Some(2), "{line}");
    }
}
