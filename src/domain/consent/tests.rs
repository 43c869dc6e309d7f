//! Consent against a plain reading of its definition.

use proptest::prelude::*;

use super::*;

/// DESIGN 3, word for word, on plain sets.
mod oracle {
    use std::collections::BTreeSet;

    pub fn no_consent(levels: &BTreeSet<i32>, zero_is_a_purpose: bool) -> bool {
        levels.is_empty() || (!zero_is_a_purpose && *levels == BTreeSet::from([0]))
    }

    pub fn granular_passes(asked: &BTreeSet<i32>, levels: &BTreeSet<i32>, zero_is_a_purpose: bool) -> bool {
        !no_consent(levels, zero_is_a_purpose) && asked.is_subset(levels)
    }

    pub fn cumulative_passes(asked: i32, levels: &BTreeSet<i32>, zero_is_a_purpose: bool) -> bool {
        !no_consent(levels, zero_is_a_purpose) && levels.last().is_some_and(|highest| *highest >= asked)
    }
}

fn zero(is_a_purpose: bool) -> ZeroLevel {
    if is_a_purpose { ZeroLevel::Purpose } else { ZeroLevel::NoConsent }
}

fn passes(rule: &ConsentRule, levels: &[i32]) -> bool {
    rule.passes(Levels::Plain(levels), ZeroLevel::NoConsent)
}

fn asked() -> impl Strategy<Value = BTreeSet<i32>> {
    proptest::collection::btree_set(0..6_i32, 1..5)
}

fn given_levels() -> impl Strategy<Value = Vec<i32>> {
    proptest::collection::vec(prop_oneof![8 => 0..6_i32, 1 => any::<i32>()], 0..7)
}

proptest! {
    #[test]
    fn granular_agrees_with_the_definition(asked in asked(), given in given_levels(), loose: bool) {
        let rule = ConsentRule::granular(asked.clone()).unwrap();
        let expected = oracle::granular_passes(&asked, &given.iter().copied().collect(), loose);
        prop_assert_eq!(rule.passes(Levels::Plain(&given), zero(loose)), expected);
        for level in -1..7 {
            prop_assert_eq!(rule.opens(level), asked.contains(&level));
        }
    }

    #[test]
    fn cumulative_agrees_with_the_definition(asked in 0..6_i32, given in given_levels(), loose: bool) {
        let rule = ConsentRule::cumulative(asked).unwrap();
        let expected = oracle::cumulative_passes(asked, &given.iter().copied().collect(), loose);
        prop_assert_eq!(rule.passes(Levels::Plain(&given), zero(loose)), expected);
        for level in 0..7 {
            prop_assert_eq!(rule.opens(level), level <= asked);
        }
    }

    #[test]
    fn stored_levels_read_like_plain_ones(asked in asked(), given in given_levels()) {
        let rule = ConsentRule::granular(asked).unwrap();
        let stored: Vec<u8> = given.iter().flat_map(|level| level.to_le_bytes()).collect();
        let read = rule.passes(Levels::Stored(&stored), ZeroLevel::NoConsent);
        prop_assert_eq!(read, passes(&rule, &given));
    }

    /// More purposes asked never let more events through; more consent never fewer.
    #[test]
    fn consent_is_monotonous(asked in asked(), given in given_levels(), one in 0..6_i32) {
        let rule = ConsentRule::granular(asked.clone()).unwrap();
        let mut more_asked = asked;
        more_asked.insert(one);
        let stricter = ConsentRule::granular(more_asked).unwrap();
        prop_assert!(!passes(&stricter, &given) || passes(&rule, &given));
        let mut more_given = given.clone();
        more_given.push(one);
        prop_assert!(!passes(&rule, &given) || passes(&rule, &more_given));
    }

    /// A granular stream opens only what every event in it consented to.
    #[test]
    fn a_granular_stream_opens_nothing_without_consent(asked in asked(), given in given_levels(), level in 0..6_i32) {
        let rule = ConsentRule::granular(asked).unwrap();
        prop_assert!(!(passes(&rule, &given) && rule.opens(level)) || given.contains(&level));
    }
}

#[test]
fn the_cases_of_the_original_documentation() {
    let granular = ConsentRule::granular([1, 3, 8]).unwrap();
    assert!(passes(&granular, &[0, 1, 3, 8]) && passes(&granular, &[8, 3, 1]));
    assert!(!passes(&granular, &[1, 3]) && !passes(&granular, &[9]));
    assert!(granular.opens(3) && !granular.opens(2) && !granular.opens(0));
    let cumulative = ConsentRule::cumulative(2).unwrap();
    assert!(passes(&cumulative, &[0, 3]) && passes(&cumulative, &[2]) && !passes(&cumulative, &[0, 1]));
    assert!(cumulative.opens(0) && cumulative.opens(2) && !cumulative.opens(3));
}

#[test]
fn no_consent_passes_nothing_whatever_is_asked() {
    let rules = [ConsentRule::granular([0]).unwrap(), ConsentRule::cumulative(0).unwrap()];
    for rule in &rules {
        for levels in [&[][..], &[0], &[0, 0]] {
            assert!(!passes(rule, levels), "{rule:?} {levels:?}");
        }
        assert!(passes(rule, &[0, 1]));
        assert!(rule.passes(Levels::Plain(&[0]), ZeroLevel::Purpose));
        assert!(!rule.passes(Levels::Plain(&[]), ZeroLevel::Purpose));
    }
}

#[test]
fn an_unchecked_empty_request_stays_shut() {
    let rule = ConsentRule::Granular(BTreeSet::new());
    assert_eq!(rule.validate(), Err(ConsentRuleError::Empty));
    assert!(!passes(&rule, &[1, 2, 3]));
}

#[test]
fn requests_outside_the_limits_are_refused() {
    assert_eq!(ConsentRule::granular([]), Err(ConsentRuleError::Empty));
    assert_eq!(ConsentRule::granular(0..51), Err(ConsentRuleError::TooMany));
    assert!(ConsentRule::granular(0..50).is_ok());
    assert_eq!(ConsentRule::granular([-1, 1]), Err(ConsentRuleError::Range));
    assert_eq!(ConsentRule::granular([1000]), Err(ConsentRuleError::Range));
    assert_eq!(ConsentRule::cumulative(-1), Err(ConsentRuleError::Range));
}

#[test]
fn default_names_list_the_levels() {
    let source: StreamName = "demo".parse().unwrap();
    let name = |rule: ConsentRule, masked| rule.default_name(&source, masked).unwrap().to_string();
    assert_eq!(name(ConsentRule::granular([1, 0]).unwrap(), false), "demo-0-1");
    assert_eq!(name(ConsentRule::granular([3]).unwrap(), true), "demo-M3");
    assert_eq!(name(ConsentRule::cumulative(2).unwrap(), false), "demo-2");
    assert!(ConsentRule::granular(100..150).unwrap().default_name(&source, false).is_err());
}

#[test]
fn rules_are_stored_under_the_names_of_the_original() {
    let granular = serde_json::to_string(&ConsentRule::granular([3, 1]).unwrap()).unwrap();
    assert_eq!(granular, r#"{"type":"GRANULAR","levels":[1,3]}"#);
    let cumulative = serde_json::to_string(&ConsentRule::Cumulative(2)).unwrap();
    assert_eq!(cumulative, r#"{"type":"CUMULATIVE","levels":2}"#);
    assert_eq!(serde_json::from_str::<ConsentRule>(&cumulative).unwrap(), ConsentRule::Cumulative(2));
}
