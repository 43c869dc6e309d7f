//! Consent: which events a derived stream receives and which of their fields it may open.
//!
//! | request | an event passes iff | a field opens iff |
//! |---|---|---|
//! | `Granular` set R | every level of R is among its levels | its level is in R |
//! | `Cumulative` n | the highest of its levels is at least n | its level is at most n |
//!
//! An event whose levels are empty or only 0 gave *no consent* and passes nothing, unless the installation
//! reads 0 as a purpose like any other (`[consent] zero_is_a_purpose`, the original's looser reading).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{StreamName, StreamNameError, limits};

/// What a derived stream asks for. Checked by `validate`: levels 0..=999, 1 to 50 of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "levels", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsentRule {
    /// Exactly these purposes.
    Granular(BTreeSet<i32>),
    /// This purpose and all below it.
    Cumulative(i32),
}

/// The levels asked for cannot make a derived stream. The caller asks for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsentRuleError {
    #[error("a derived stream asks for at least one purpose")]
    Empty,
    #[error("a derived stream asks for at most {max} purposes", max = limits::CONSENT_LEVELS_MAX)]
    TooMany,
    #[error("a purpose is in the range 0 to {max}", max = limits::PURPOSE_LEVEL_MAX)]
    Range,
}

/// Whether an event with these levels gave no consent at all: no key is ever used to open it.
#[must_use]
pub fn is_no_consent(levels: &[i32], zero_is_a_purpose: bool) -> bool {
    !levels.iter().any(|level| consents(*level, zero_is_a_purpose))
}

fn consents(level: i32, zero_is_a_purpose: bool) -> bool {
    level != 0 || zero_is_a_purpose
}

/// Name of the stream derived from `source` when none is given: `clicks-1-3`, masked `clicks-M1-3`.
///
/// # Errors
///
/// When it would be longer than a stream name may be: the caller gives one.
pub fn default_name(
    source: &StreamName,
    rule: &ConsentRule,
    masked: bool,
) -> Result<StreamName, StreamNameError> {
    let levels: Vec<_> = rule.levels().iter().map(ToString::to_string).collect();
    format!("{source}-{}{}", if masked { "M" } else { "" }, levels.join("-")).parse()
}

impl ConsentRule {
    /// A checked granular rule. Order and repetition of the levels do not matter.
    ///
    /// # Errors
    ///
    /// For no level, more than 50, or one outside 0..=999.
    pub fn granular(levels: impl IntoIterator<Item = i32>) -> Result<ConsentRule, ConsentRuleError> {
        let rule = ConsentRule::Granular(levels.into_iter().collect());
        rule.validate().map(|()| rule)
    }

    /// A checked cumulative rule.
    ///
    /// # Errors
    ///
    /// For a level outside 0..=999.
    pub fn cumulative(level: i32) -> Result<ConsentRule, ConsentRuleError> {
        let rule = ConsentRule::Cumulative(level);
        rule.validate().map(|()| rule)
    }

    /// Checks a rule that was read from a request.
    ///
    /// # Errors
    ///
    /// As `granular` and `cumulative`.
    pub fn validate(&self) -> Result<(), ConsentRuleError> {
        let (count, lowest, highest) = match self {
            ConsentRule::Granular(levels) => (levels.len(), levels.first(), levels.last()),
            ConsentRule::Cumulative(level) => (1, Some(level), Some(level)),
        };
        let (Some(lowest), Some(highest)) = (lowest, highest) else { return Err(ConsentRuleError::Empty) };
        if count > limits::CONSENT_LEVELS_MAX {
            return Err(ConsentRuleError::TooMany);
        }
        if *lowest < 0 || *highest > limits::PURPOSE_LEVEL_MAX {
            return Err(ConsentRuleError::Range);
        }
        Ok(())
    }

    /// Whether an event with these levels reaches the derived stream.
    #[must_use]
    pub fn passes(&self, levels: impl IntoIterator<Item = i32>, zero_is_a_purpose: bool) -> bool {
        let (mut consented, mut highest, mut met) = (false, i32::MIN, 0_u64);
        for level in levels {
            consented |= consents(level, zero_is_a_purpose);
            highest = highest.max(level);
            if let ConsentRule::Granular(asked) = self
                && let Some(place) = asked.iter().position(|asked| *asked == level)
            {
                met |= 1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0);
            }
        }
        consented
            && match self {
                // Requests of no level or of more than 50 are refused when made; here they stay shut.
                ConsentRule::Granular(asked) => !asked.is_empty() && met.count_ones() as usize == asked.len(),
                ConsentRule::Cumulative(asked) => highest >= *asked,
            }
    }

    /// The levels asked for that an event with `levels` does not give.
    #[must_use]
    pub fn missing(&self, levels: &[i32]) -> Vec<i32> {
        match self {
            ConsentRule::Granular(asked) => {
                asked.iter().copied().filter(|level| !levels.contains(level)).collect()
            }
            ConsentRule::Cumulative(asked) => {
                if levels.iter().any(|level| level >= asked) {
                    Vec::new()
                } else {
                    vec![*asked]
                }
            }
        }
    }

    /// Whether a field of this level is opened in events that pass.
    #[must_use]
    pub fn opens(&self, level: i32) -> bool {
        match self {
            ConsentRule::Granular(asked) => asked.contains(&level),
            ConsentRule::Cumulative(asked) => level <= *asked,
        }
    }

    /// The levels in ascending order, as they stand in the default name and in answers of the API.
    #[must_use]
    pub fn levels(&self) -> Vec<i32> {
        match self {
            ConsentRule::Granular(levels) => levels.iter().copied().collect(),
            ConsentRule::Cumulative(level) => vec![*level],
        }
    }
}

#[cfg(test)]
mod tests;
