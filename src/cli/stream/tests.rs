//! Arguments of `create stream` to the API's body, and its answer to tables.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    create: CreateArguments,
}

fn body(arguments: &str) -> Option<Value> {
    let line = Line::try_parse_from(format!("create {arguments}").split_whitespace()).ok()?;
    body_of(line.create).ok()
}

#[test]
fn a_source_stream_is_a_name_and_what_was_said_about_it() {
    assert_eq!(body("clicks").unwrap(), json!({"name": "clicks"}));
    let said = body("clicks --tags a,b --retention-days 30 --description web").unwrap();
    assert_eq!(
        said,
        json!({"name": "clicks", "description": "web", "tags": ["a", "b"], "retentionDays": 30})
    );
}

#[test]
fn a_derived_stream_needs_purposes_and_may_mask() {
    let derived = body("-D clicks -P 1,3").unwrap();
    assert_eq!(derived, json!({"derivedFrom": "clicks", "purposes": [1, 3], "cumulative": false}));
    let masked =
        body("mm --derived-from clicks --purposes 2 --cumulative -M acme/clicks/1.0.0:a,b/c --mask-seed s")
            .unwrap();
    assert_eq!(masked["cumulative"], json!(true));
    assert_eq!(masked["maskedFields"], json!([{"ref": "acme/clicks/1.0.0", "fields": ["a", "b/c"]}]));
    assert_eq!(masked["maskSeed"], json!("s"));
    let twice = body("mm -D clicks -P 1 -M acme/clicks/1.0.0:a -M acme/clicks/1.0.0:b,a --hash-type MURMUR3")
        .unwrap();
    assert_eq!(twice["maskedFields"], json!([{"ref": "acme/clicks/1.0.0", "fields": ["a", "b"]}]));
    assert_eq!(twice["hashType"], json!("MURMUR3"));
    for wrong in [
        "",
        "-D clicks",
        "xx --purposes 1",
        "xx -D yy -P 1,2 --cumulative",
        "xx -M acme/clicks/1.0.0:a",
        "a/b",
    ] {
        assert!(body(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn masked_fields_are_a_reference_and_paths() {
    let parse = |text: &str| text.parse::<MaskedFields>();
    assert_eq!(parse("acme/clicks/1.0.0:a, b/c").unwrap().fields, ["a", "b/c"]);
    for wrong in [
        "a",
        "acme/clicks/1.0.0",
        "acme/clicks/1.0.0:",
        "acme/clicks/1.0.0:a,,b",
        "acme/clicks:a",
        "acme/clicks/1.0.0:strmMeta/nonce",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn rows_have_the_columns_of_the_original() {
    let source = json!({"ref": {"name": "s"}, "enabled": true, "retentionDays": 7, "derived": null});
    assert_eq!(row(&source), ["s", "", "", "true", "7 d"]);
    let derived =
        json!({"source": "s", "purposes": [2], "type": "CUMULATIVE", "masked": {"a/b/1.0.0": ["f"]}});
    let stream = json!({"ref": {"name": "d"}, "enabled": true, "retentionDays": 7, "derived": derived});
    assert_eq!(row(&stream), ["d", "s", "up to 2 masked", "true", "7 d"]);
}
