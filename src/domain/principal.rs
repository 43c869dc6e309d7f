//! People and programs that work with the control plane, and their API tokens.
//!
//! A name or an e-mail address belongs to a person: neither leaves a principal's own document, and the
//! types that hold them have no Debug.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Role, StreamName, limits};
use crate::clock::Timestamp;

/// Name of a principal: 2 to 100 of `a-z 0-9 . _ : -`, starting with a letter or digit. Chosen by whoever makes
/// it; `oidc:` begins the ids of people who log in at an issuer. Never given to another one later.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PrincipalId(Arc<str>);

/// The text is not the id of a principal. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id takes 2 to 100 of a-z, 0-9, '.', '_', ':' and '-', and starts with a letter or digit")]
pub struct PrincipalIdError;

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    User,
    ServiceAccount,
}

/// A user or a service account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    /// Of a person, or what a service account is for. At most 100 characters.
    #[serde(default)]
    pub name: String,
    /// Of a person, at most 254 characters.
    #[serde(default)]
    pub email: Option<String>,
    /// On the installation.
    pub role: Role,
    /// Is refused everywhere, and at once.
    #[serde(default)]
    pub disabled: bool,
    pub created: Timestamp,
    /// When it was deleted. The id stays, so that nobody else gets it; everything else went.
    #[serde(default)]
    pub deleted: Option<Timestamp>,
    #[serde(default)]
    pub tokens: Vec<ApiToken>,
}

/// What is kept of an API token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// 16 hexadecimal digits, part of the token's text.
    pub id: String,
    /// Base64 of the hash of the whole text.
    pub hash: String,
    #[serde(default)]
    pub name: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    #[serde(default)]
    pub revoked: Option<Timestamp>,
}

/// A principal may read the events of a stream. Nothing else lets it, whatever its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadGrant {
    pub stream: StreamName,
    pub principal: PrincipalId,
    pub created: Timestamp,
    /// None: until it is revoked.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// Why a principal cannot be as asked. The caller asks for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    #[error("id: {0}")]
    Id(#[from] PrincipalIdError),
    #[error("id: ids that begin with oidc: are given by the issuer's subjects")]
    IdOfIssuer,
    #[error("name: at most {max} characters, none of them a control character", max = limits::TITLE_CHARS_MAX)]
    Name,
    #[error("email: an address of at most {max} characters", max = limits::EMAIL_CHARS_MAX)]
    Email,
    #[error("email: a service account has none")]
    EmailOfService,
    #[error("expiresInDays: 1 to {0}")]
    TokenDays(u32),
    #[error("expires: must lie in the future")]
    Past,
    #[error("at most {max} tokens that are good at a time: revoke one", max = limits::PRINCIPAL_TOKENS_MAX)]
    TooManyTokens,
}

impl PrincipalId {
    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text of the id, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The holder of the operator's token, who has no document.
    #[must_use]
    pub fn operator() -> PrincipalId {
        PrincipalId("admin".into())
    }

    /// Whether an issuer's subject has this id.
    #[must_use]
    pub fn is_of_issuer(&self) -> bool {
        self.0.starts_with(ISSUER_PREFIX)
    }
}

impl Principal {
    /// Checks what can be said without looking at other principals.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, by the name of its field in the API.
    pub fn validate(&self) -> Result<(), PrincipalError> {
        if self.name.chars().count() > limits::TITLE_CHARS_MAX || self.name.chars().any(char::is_control) {
            return Err(PrincipalError::Name);
        }
        match (&self.email, self.kind) {
            (None, _) => Ok(()),
            (Some(_), PrincipalKind::ServiceAccount) => Err(PrincipalError::EmailOfService),
            (Some(email), PrincipalKind::User) if is_address(email) => Ok(()),
            _ => Err(PrincipalError::Email),
        }
    }

    /// Whether it may do anything at all.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.disabled && self.deleted.is_none()
    }

    /// The token with this id, good or not.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<&ApiToken> {
        self.tokens.iter().find(|token| token.id == id)
    }
}

impl ApiToken {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

impl ReadGrant {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

fn is_address(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    let parts = text.split_once('@');
    text.chars().count() <= limits::EMAIL_CHARS_MAX
        && text.chars().all(plain)
        && parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
}

impl FromStr for PrincipalId {
    type Err = PrincipalIdError;

    fn from_str(text: &str) -> Result<PrincipalId, PrincipalIdError> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let allowed = |c: char| first(c) || matches!(c, '.' | '_' | ':' | '-');
        let valid = (2..=100).contains(&text.len()) && text.starts_with(first) && text.chars().all(allowed);
        if valid { Ok(PrincipalId(text.into())) } else { Err(PrincipalIdError) }
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PrincipalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PrincipalId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Begins the id of a person who logs in at an issuer; a hash of issuer and subject follows.
pub const ISSUER_PREFIX: &str = "oidc:";

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Principal {
        Principal {
            id: "ada".parse().unwrap(),
            kind: PrincipalKind::User,
            name: "Ada".to_owned(),
            email: Some("ada@example.org".to_owned()),
            role: Role::Member,
            disabled: false,
            created: Timestamp(1),
            deleted: None,
            tokens: Vec::new(),
        }
    }

    #[test]
    fn ids_are_safe_in_paths_and_in_log_lines() {
        for good in ["ada", "team-a.sender", "oidc:0af3", "a1"] {
            assert!(good.parse::<PrincipalId>().is_ok(), "{good}");
        }
        for bad in ["", "a", "Ada", "../x", "a/b", ".a", "a b", "a\n", "ä1", &"a".repeat(101)] {
            assert!(bad.parse::<PrincipalId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_or_a_name_is_refused() {
        assert_eq!(user().validate(), Ok(()));
        for bad in ["ada", "@x", "ada@", "a b@x", "a@b@c", "a@\n", &format!("a@{}", "x".repeat(254))] {
            assert_eq!(
                Principal { email: Some(bad.into()), ..user() }.validate(),
                Err(PrincipalError::Email)
            );
        }
        let named = |name: &str| Principal { name: name.to_owned(), ..user() }.validate();
        assert_eq!(named(&"x".repeat(101)), Err(PrincipalError::Name));
        assert_eq!(named("a\u{1b}[31m"), Err(PrincipalError::Name));
        let service = Principal { kind: PrincipalKind::ServiceAccount, ..user() };
        assert_eq!(service.validate(), Err(PrincipalError::EmailOfService));
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let token = ApiToken {
            id: "0".repeat(16),
            hash: String::new(),
            name: String::new(),
            created: Timestamp(0),
            expires: Timestamp(10),
            revoked: None,
        };
        assert!(token.is_good(Timestamp(9)) && !token.is_good(Timestamp(10)));
        assert!(!ApiToken { revoked: Some(Timestamp(1)), ..token }.is_good(Timestamp(5)));
    }
}
