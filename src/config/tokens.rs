//! `[tokens]`: access and refresh tokens of streams.

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Issuer named in every token, `iss`.
    pub issuer: String,
    /// Seconds an access token lives. The original's drivers need more than 600.
    pub access_s: u64,
    /// Seconds a refresh token lives; it may be used any number of times, also after a restart.
    pub refresh_s: u64,
    /// Days an API token of a principal lives unless its maker says otherwise.
    pub api_days: u32,
    /// Days it lives at most.
    pub api_days_max: u32,
    /// Failed logins one client id may make in a minute before it is answered 429.
    pub failures_per_minute: u32,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            issuer: "sluice/auth/realms/streams".to_owned(),
            access_s: 3600,
            refresh_s: 86_400,
            api_days: 90,
            api_days_max: 365,
            failures_per_minute: 60,
        }
    }
}

impl Tokens {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        demand(
            (601..=2_000_000).contains(&self.access_s),
            "tokens.access_s",
            "takes 601 to 2000000 seconds",
        )?;
        demand(self.refresh_s >= self.access_s, "tokens.refresh_s", "must be at least access_s")?;
        demand((1..=3650).contains(&self.api_days_max), "tokens.api_days_max", "takes 1 to 3650 days")?;
        let days = 1..=self.api_days_max;
        demand(days.contains(&self.api_days), "tokens.api_days", "takes 1 to api_days_max days")?;
        demand(!self.issuer.is_empty(), "tokens.issuer", "must not be empty")
    }
}
