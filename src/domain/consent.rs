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

use super::{Levels, StreamName, StreamNameError, limits};

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

/// Whether level 0 is consent to purpose 0, or no consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroLevel {
    #[default]
    NoConsent,
    /// `[consent] zero_is_a_purpose = true`.
    Purpose,
}

/// Whether levels amount to consent to anything at all: they do when a key may be used to open the event.
#[must_use]
pub fn is_consent(levels: Levels<'_>, zero: ZeroLevel) -> bool {
    match zero {
        ZeroLevel::NoConsent => levels.iter().any(|level| level != 0),
        ZeroLevel::Purpose => levels.iter().next().is_some(),
    }
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
    pub fn passes(&self, levels: Levels<'_>, zero: ZeroLevel) -> bool {
        if !is_consent(levels, zero) {
            return false;
        }
        match self {
            // An empty request would be a subset of everything; it is refused when made, and shut here.
            ConsentRule::Granular(asked) => {
                !asked.is_empty() && asked.iter().all(|asked| levels.iter().any(|given| given == *asked))
            }
            ConsentRule::Cumulative(asked) => levels.iter().any(|given| given >= *asked),
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

    /// Name of the stream derived from `source` when none is given: `clicks-1-3`, masked `clicks-M1-3`.
    ///
    /// # Errors
    ///
    /// When it would be longer than a stream name may be: the caller gives one.
    pub fn default_name(&self, source: &StreamName, masked: bool) -> Result<StreamName, StreamNameError> {
        let levels: Vec<_> = self.levels().iter().map(ToString::to_string).collect();
        format!("{source}-{}{}", if masked { "M" } else { "" }, levels.join("-")).parse()
    }
}

#[cfg(test)]
mod tests;
