//! `[consent]`: how the absence of consent is read. `DESIGN` section 3 names both readings.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consent {
    /// Events without consent get a key of their own that is never stored and dies with the day.
    pub separate_no_consent_keys: bool,
    /// Level 0 counts as a purpose, as the original read it.
    pub zero_is_a_purpose: bool,
}
