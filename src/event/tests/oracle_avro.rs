//! apache-avro as the second opinion on Avro binary: it encodes random values, we must read the same.

use std::collections::HashMap;

use apache_avro::{Schema as AvroSchema, types::Value as Avro, writer::datum::GenericDatumWriter};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const FIELDS: &str = r#"{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"b","type":"bytes"},
{"name":"x","type":{"type":"fixed","name":"F","size":2}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
{"name":"m","type":{"type":"map","values":["null","long",{"type":"array","items":"boolean"}]}},
{"name":"t","type":{"type":"record","name":"Tree","fields":[{"name":"v","type":["string","null"]},
{"name":"kids","type":{"type":"array","items":"Tree"}}]}}"#;

fn tree() -> impl Strategy<Value = (Avro, Value)> {
    let leaf = proptest::option::of(".{0,12}").prop_map(|v| node(v, Vec::new()));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let kids = proptest::collection::vec(inner, 0..4);
        (proptest::option::of(".{0,12}"), kids).prop_map(|(v, kids)| node(v, kids))
    })
}

fn node(v: Option<String>, kids: Vec<(Avro, Value)>) -> (Avro, Value) {
    let (kids, seen): (Vec<_>, Vec<_>) = kids.into_iter().unzip();
    let value = match &v {
        Some(text) => Avro::Union(0, Box::new(Avro::String(text.clone()))),
        None => Avro::Union(1, Box::new(Avro::Null)),
    };
    let avro = Avro::Record(vec![("v".into(), value), ("kids".into(), Avro::Array(kids))]);
    (avro, json!({ "v": v, "kids": seen }))
}

fn entry() -> impl Strategy<Value = (Avro, Value)> {
    prop_oneof![
        Just((Avro::Union(0, Box::new(Avro::Null)), Value::Null)),
        any::<i64>().prop_map(|n| (Avro::Union(1, Box::new(Avro::Long(n))), json!(n))),
        proptest::collection::vec(any::<bool>(), 0..5).prop_map(|list| {
            let items = list.iter().map(|item| Avro::Boolean(*item)).collect();
            (Avro::Union(2, Box::new(Avro::Array(items))), json!(list))
        }),
    ]
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn meta(levels: &[i32]) -> (Avro, Value) {
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let avro = Avro::Record(vec![
        ("eventContractRef".into(), Avro::String("strmprivacy/example/1.3.0".into())),
        ("nonce".into(), null()),
        ("timestamp".into(), null()),
        ("keyLink".into(), null()),
        ("consentLevels".into(), Avro::Array(levels.iter().map(|level| Avro::Int(*level)).collect())),
    ]);
    let reference = "strmprivacy/example/1.3.0";
    (
        avro,
        json!({"eventContractRef": reference, "nonce": null, "timestamp": null, "keyLink": null, "consentLevels": levels}),
    )
}

proptest! {
    #[test]
    fn what_apache_avro_writes_we_read_the_same(
        levels in proptest::collection::vec(any::<i32>(), 0..8),
        key in ".{1,20}",
        (f, d) in (-1e30_f32..1e30, -1e300_f64..1e300),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        (fixed, symbol) in (any::<[u8; 2]>(), 0_u32..2),
        map in proptest::collection::hash_map(".{0,8}", entry(), 0..6),
        (tree, tree_seen) in tree(),
    ) {
        let plan = avro_plan(FIELDS, &["t/v", "k"]);
        let schema = AvroSchema::parse_str(&avro_with(FIELDS)).unwrap();
        let (meta, meta_seen) = meta(&levels);
        let map_seen: HashMap<_, _> = map.iter().map(|(key, (_, seen))| (key.clone(), seen.clone())).collect();
        let map = map.into_iter().map(|(key, (value, _))| (key, value)).collect();
        let names = ["A", "B"];
        let event = Avro::Record(vec![
            ("strmMeta".into(), meta),
            ("k".into(), Avro::String(key.clone())),
            ("f".into(), Avro::Float(f)),
            ("d".into(), Avro::Double(d)),
            ("b".into(), Avro::Bytes(bytes.clone())),
            ("x".into(), Avro::Fixed(2, fixed.to_vec())),
            ("e".into(), Avro::Enum(symbol, names[symbol as usize].into())),
            ("m".into(), Avro::Map(map)),
            ("t".into(), tree),
        ]);
        let writer = GenericDatumWriter::builder(&schema).build().unwrap();
        let body = writer.write_value_to_vec(event).unwrap();
        let tape = decode(&plan, &body).unwrap();
        prop_assert_eq!(tape.consent(), &levels[..]);
        prop_assert_eq!(encode(&plan, &body, &tape, None, &[], Form::AsReceived), &body[..]);
        let seen: Value = serde_json::from_slice(&encode(&plan, &body, &tape, None, &[], Form::Json)).unwrap();
        let expected = json!({"strmMeta": meta_seen, "k": key, "f": seen["f"], "d": seen["d"], "b": latin1(&bytes),
            "x": latin1(&fixed), "e": names[symbol as usize], "m": map_seen, "t": tree_seen});
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(seen["f"].as_f64().unwrap() as f32, f);
        prop_assert_eq!(seen["d"].as_f64(), Some(d));
        // The JSON form is itself an event of the schema.
        let text = seen.to_string();
        prop_assert!(decode(&plan, text.as_bytes()).is_ok());
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\],:\"a-e0-9\\\\u ]{0,80}") {
        let plan = avro_plan(FIELDS, &["t/v"]);
        drop(decode(&plan, &body));
        drop(decode(&plan, text.as_bytes()));
        drop(decode(&plan, json_event(&text).as_bytes()));
    }
}
