//! Random events of the public contract `strmprivacy/example/1.5.0`, as the original's simulator makes them.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

use super::failure::Failure;
use crate::domain::limits::CONSENT_LEVELS_MAX;

/// The contract, and its schema.
pub const EXAMPLE_REF: &str = "strmprivacy/example/1.5.0";
/// Consents the original's simulator draws from.
pub const DEFAULT_PURPOSES: &str = ",0,0/1,0/1/2,0/1/2/3";

/// Sets of consent levels to draw from: items separated by commas, levels by slashes, no text for no consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consents(pub Vec<Vec<u32>>);

impl std::str::FromStr for Consents {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Consents, Failure> {
        let levels = |item: &str| -> Option<Vec<u32>> {
            let item = item.trim();
            if item.is_empty() {
                return Some(Vec::new());
            }
            item.split('/').map(|level| level.trim().parse().ok()).collect()
        };
        let sets: Option<Vec<Vec<u32>>> = text.split(',').map(levels).collect();
        match sets {
            Some(sets) if sets.iter().all(|set| set.len() <= CONSENT_LEVELS_MAX) => Ok(Consents(sets)),
            _ => Err(Failure::new(
                "purposes are sets separated by commas, of levels separated by slashes",
                "write for example: --purposes \",0,0/1,0/1/2\"",
            )),
        }
    }
}

/// One event, in schema order.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExampleEvent {
    strm_meta: Meta,
    pub unique_identifier: String,
    pub consistent_value: String,
    pub some_sensitive_value: String,
    pub not_sensitive_value: String,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    event_contract_ref: &'static str,
    consent_levels: Vec<u32>,
}

impl ExampleEvent {
    /// Levels the data subject consented to.
    #[must_use]
    pub fn consent(&self) -> &[u32] {
        &self.strm_meta.consent_levels
    }

    /// The event as one line of JSON, without the line's end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and integers serialise")
    }
}

/// Draws events. The same seed gives the same events.
pub struct Generator {
    random: StdRng,
    sessions: u64,
    consents: Consents,
}

impl Generator {
    /// Events over `sessions` sessions (at least 1) with consents drawn from `consents`.
    #[must_use]
    pub fn new(seed: Option<u64>, sessions: u64, consents: Consents) -> Generator {
        let random = seed.map_or_else(|| StdRng::seed_from_u64(rand::random()), StdRng::seed_from_u64);
        Generator { random, sessions: sessions.max(1), consents }
    }

    /// The next event, its consent drawn as well.
    pub fn draw(&mut self) -> ExampleEvent {
        let set = self.random.random_range(0..self.consents.0.len());
        self.draw_with(self.consents.0[set].clone())
    }

    /// The next event under a given consent.
    pub fn draw_with(&mut self, consent_levels: Vec<u32>) -> ExampleEvent {
        let mut number = |range: u64| self.random.random_range(0..range);
        ExampleEvent {
            strm_meta: Meta { event_contract_ref: EXAMPLE_REF, consent_levels },
            unique_identifier: format!("unique-{}", number(100)),
            consistent_value: format!("session-{}", number(self.sessions)),
            some_sensitive_value: format!("sensitive-{}", number(100)),
            not_sensitive_value: format!("not-sensitive-{}", number(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_sets_and_an_empty_item_is_no_consent() {
        let sets = |text: &str| text.parse::<Consents>().map(|c| c.0).ok();
        assert_eq!(sets(",0,0/1,0/1/2"), Some(vec![vec![], vec![0], vec![0, 1], vec![0, 1, 2]]));
        assert_eq!(sets(""), Some(vec![vec![]]));
        assert_eq!(sets("1 / 2"), Some(vec![vec![1, 2]]));
        for wrong in ["1;2", "a", "0/", "/", "-1", "4294967296"] {
            assert_eq!(sets(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_events_with_the_values_of_the_original() {
        let draw = || {
            let mut generator = Generator::new(Some(7), 1, Consents(vec![vec![0, 1]]));
            (0..3).map(|_| generator.draw().to_json()).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        let text = String::from_utf8(draw().remove(0)).unwrap();
        let meta = r#"{"strmMeta":{"eventContractRef":"strmprivacy/example/1.5.0","consentLevels":[0,1]},"#;
        assert!(text.starts_with(meta), "{text}");
        assert!(
            text.contains(r#","consistentValue":"session-0","someSensitiveValue":"sensitive-"#),
            "{text}"
        );
    }
}
