//! The events: 630 B of JSON or 352 B of Avro, three personal fields of 12 to 24 B, consent uniform over
//! {}, {0}, {0,1}, {0,1,2}, and independent of the session.

use anyhow::Result;
use apache_avro::types::Value;
use serde_json::json;

/// Contract and schema of the events.
pub const REFERENCE: &str = "strmprivacy/example/1.5.0";
const CONSENT: [&[i32]; 4] = [&[], &[0], &[0, 1], &[0, 1, 2]];

/// One of `sessions` sessions' events. `filler` stands in a field that is not personal.
pub struct Event {
    contract: String,
    consent: &'static [i32],
    unique: String,
    session: String,
    sensitive: String,
    filler: String,
}

/// Spreads `n` over 64 bits (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Event {
    /// The event numbered `n`, of session `session`.
    pub fn new(n: u64, session: u64) -> Event {
        let random = mix(n);
        Event {
            contract: REFERENCE.to_owned(),
            consent: CONSENT[(random % 4) as usize],
            unique: format!("unique-{:010}", random % 5_000_000),
            session: format!("session-{session:010}"),
            sensitive: format!("sensitive-{:010}", random % 7_000_000),
            filler: String::new(),
        }
    }

    /// The same under another contract.
    pub fn under(self, contract: &str) -> Event {
        Event { contract: contract.to_owned(), ..self }
    }

    /// The same with a text in the field that is not personal.
    pub fn saying(self, filler: String) -> Event {
        Event { filler, ..self }
    }

    /// 630 bytes, or more where the filler is longer.
    pub fn json(&self) -> Vec<u8> {
        let text = |filler: &str| {
            json!({
                "strmMeta": {"eventContractRef": self.contract, "consentLevels": self.consent},
                "uniqueIdentifier": self.unique,
                "consistentValue": self.session,
                "someSensitiveValue": self.sensitive,
                "notSensitiveValue": filler,
            })
            .to_string()
        };
        let wanted = 630_usize.saturating_sub(text(&self.filler).len());
        text(&format!("{}{}", self.filler, "x".repeat(wanted))).into_bytes()
    }

    /// The event as an Avro value: 352 bytes as a datum.
    pub fn avro_value(&self) -> Value {
        let none = || Value::Union(0, Box::new(Value::Null));
        let text = |text: &str| Value::Union(1, Box::new(Value::String(text.to_owned())));
        let meta = Value::Record(vec![
            ("eventContractRef".into(), Value::String(self.contract.clone())),
            ("nonce".into(), none()),
            ("timestamp".into(), none()),
            ("keyLink".into(), none()),
            ("billingId".into(), none()),
            ("consentLevels".into(), Value::Array(self.consent.iter().map(|l| Value::Int(*l)).collect())),
        ]);
        Value::Record(vec![
            ("strmMeta".into(), meta),
            ("uniqueIdentifier".into(), text(&self.unique)),
            ("consistentValue".into(), Value::String(self.session.clone())),
            ("someSensitiveValue".into(), text(&self.sensitive)),
            ("notSensitiveValue".into(), text(&"x".repeat(AVRO_FILLER))),
        ])
    }
}

/// Makes a datum of 352 bytes.
const AVRO_FILLER: usize = 257;

/// The Avro schema of the events.
pub fn avro_schema() -> Result<apache_avro::Schema> {
    Ok(apache_avro::Schema::parse_str(include_str!(
        "../../catalogue/schemas/strmprivacy-example-1.5.0.json"
    ))?)
}
