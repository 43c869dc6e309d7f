//! `[oidc]`: the issuer at which people log in. Without an issuer only API tokens open the control plane.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

/// A signature algorithm a token of the issuer may have. None of them has a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OidcAlgorithm {
    RS256,
    ES256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// `iss` of its tokens; its keys are found from `<issuer>/.well-known/openid-configuration`.
    pub issuer: Option<String>,
    /// `aud` that a token must be for.
    pub audience: Option<String>,
    pub algorithms: Vec<OidcAlgorithm>,
    /// Claim that names the person for ever.
    pub subject_claim: String,
    pub email_claim: String,
    pub name_claim: String,
    /// Claim with the roles or groups, `/` between the names of objects: a text or a list of texts.
    pub role_claim: Option<String>,
    /// What a value of it makes somebody: admin, project_admin, approver or member.
    pub roles: BTreeMap<String, String>,
    /// Role of people whom `roles` gives none; empty: they are refused.
    pub default_role: String,
    /// Seconds after which the keys are fetched again.
    pub refresh_s: u64,
    /// Seconds between two fetches because of a key that is not known, at least.
    pub unknown_key_s: u64,
    /// Seconds the clocks may differ, 0 to 60.
    pub skew_s: u64,
}

impl Default for Oidc {
    fn default() -> Oidc {
        Oidc {
            issuer: None,
            audience: None,
            algorithms: vec![OidcAlgorithm::RS256, OidcAlgorithm::ES256, OidcAlgorithm::EdDsa],
            subject_claim: "sub".to_owned(),
            email_claim: "email".to_owned(),
            name_claim: "name".to_owned(),
            role_claim: None,
            roles: BTreeMap::new(),
            default_role: "member".to_owned(),
            refresh_s: 3600,
            unknown_key_s: 30,
            skew_s: 60,
        }
    }
}

impl Oidc {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_role =
            |role: &String| ["admin", "project_admin", "approver", "member"].contains(&role.as_str());
        let issuer = self.issuer.as_deref().unwrap_or("https://");
        demand(
            issuer.starts_with("https://") || is_loopback(issuer),
            "oidc.issuer",
            "must begin with https:// (http:// on this machine only)",
        )?;
        let audience = self.audience.as_ref().is_some_and(|audience| !audience.is_empty());
        demand(self.issuer.is_none() || audience, "oidc.audience", "is needed with an issuer")?;
        demand(!self.algorithms.is_empty(), "oidc.algorithms", "must name at least one")?;
        demand(
            self.roles.values().all(is_role),
            "oidc.roles",
            "a role is admin, project_admin, approver or member",
        )?;
        demand(
            self.default_role.is_empty() || is_role(&self.default_role),
            "oidc.default_role",
            "is empty, admin, project_admin, approver or member",
        )?;
        demand((10..=86_400).contains(&self.refresh_s), "oidc.refresh_s", "takes 10 to 86400 seconds")?;
        demand((1..=3600).contains(&self.unknown_key_s), "oidc.unknown_key_s", "takes 1 to 3600 seconds")?;
        demand(self.skew_s <= 60, "oidc.skew_s", "takes 0 to 60 seconds")
    }
}

/// Whether an address is of this machine, where nobody is on the way.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_without_tls_is_taken_on_this_machine_only() {
        let check = |issuer: &str| {
            let (issuer, audience) = (Some(issuer.to_owned()), Some("sluice".to_owned()));
            Oidc { issuer, audience, ..Oidc::default() }.check().is_ok()
        };
        assert!(
            check("https://login.example.org") && check("http://127.0.0.1:9000") && check("http://[::1]:1/x")
        );
        for bad in
            ["http://login.example.org", "http://127.0.0.1.evil.org", "http://localhost@evil.org", "ftp://x"]
        {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_the_start() {
        let oidc = Oidc::default;
        assert!(oidc().check().is_ok());
        assert!(Oidc { issuer: Some("https://x".into()), ..oidc() }.check().is_err());
        assert!(Oidc { skew_s: 61, ..oidc() }.check().is_err());
        assert!(Oidc { default_role: "owner".into(), ..oidc() }.check().is_err());
        assert!(Oidc { roles: [("a".into(), "root".into())].into(), ..oidc() }.check().is_err());
        assert!(Oidc { algorithms: Vec::new(), ..oidc() }.check().is_err());
    }
}
