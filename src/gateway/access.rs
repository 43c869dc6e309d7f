//! Who may come in with the credentials of a stream; `identity` says who may work with the control plane.
//!
//! A token is verified once per worker thread and remembered; every request still looks its client up in
//! the inventory, so that credentials stop working the moment they are removed.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use dashmap::DashMap;

use super::{Issuer, identity::Front};
use crate::{
    actors::{AuditorHandle, Inventory, KnownStream, RegistryHandle},
    clock::{Clock, Timestamp},
    config::Tokens,
    crypto::{Claims, Expected, SigningKey, TokenError, TokenKind, verify_secret},
    domain::Who,
};

/// Checks credentials and tokens. Cheap to clone.
#[derive(Clone)]
pub struct Access(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) inventory: Arc<ArcSwap<Inventory>>,
    signing: Arc<SigningKey>,
    pub(super) admin_hash: [u8; 32],
    tokens: Tokens,
    pub(super) clock: Clock,
    /// None: only API tokens open the control plane.
    pub(super) front: Option<Front>,
    /// Counts the tokens that were refused.
    pub(super) auditor: AuditorHandle,
    /// By the id of an API token. Holds at most as many as there ever were.
    pub(super) last_used: DashMap<Box<str>, Timestamp>,
    failures: DashMap<u64, (i64, u32)>,
    hasher: RandomState,
}

/// Who sent a request.
#[derive(Clone)]
pub struct Caller {
    pub client_id: Arc<str>,
    pub stream: Arc<KnownStream>,
}

impl Caller {
    /// As the author of what it does.
    #[must_use]
    pub fn who(&self) -> Who {
        Who::Client { id: Arc::clone(&self.client_id), stream: self.stream.definition.name.clone() }
    }
}

/// Tokens that were granted.
pub struct Grant {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in_s: u64,
    /// Seconds since 1970-01-01.
    pub expires_at_s: i64,
    pub refresh_expires_in_s: u64,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error("a bearer token is needed: get one from the token endpoint with the stream's credentials")]
    TokenMissing,
    #[error("the token has expired: get a new one")]
    TokenExpired,
    #[error("the token is not valid here: get one with the stream's credentials")]
    TokenInvalid,
    #[error("the token is for another stream")]
    OtherStream,
    #[error("client id or client secret is wrong")]
    CredentialsWrong,
    #[error("the refresh token is not valid: log in with the client secret")]
    RefreshInvalid,
    #[error(
        "an API token is needed: sluice create token makes one, admin.token in the data folder is the first"
    )]
    ApiTokenMissing,
    #[error("the API token is not valid here")]
    ApiTokenInvalid,
    #[error("your role does not allow this")]
    Forbidden,
    #[error("reading the events of this stream was not granted to you: being admin is not enough")]
    NoReadGrant,
    /// Whoever asks finds a better word: what kind of thing does not exist.
    #[error("there is no such thing")]
    Unseen,
    #[error("the issuer of the token cannot be asked at this moment")]
    IssuerUnavailable,
    #[error("too many failed logins of this client: wait a minute")]
    TooManyFailures,
}

/// What is remembered of a verified token: client id, and expiry in milliseconds.
type Verified = (Arc<str>, i64);

thread_local! {
    /// Verified tokens of this worker.
    static VERIFIED: RefCell<HashMap<Box<str>, Verified>> = RefCell::default();
    /// The one that was asked for last: a producer sends the same with every event.
    static LATEST: RefCell<Option<(Box<str>, Verified)>> = RefCell::default();
}

fn recall(token: &str) -> Option<Verified> {
    let latest = LATEST.with_borrow(|latest| {
        latest.as_ref().filter(|(known, _)| **known == *token).map(|(_, found)| found.clone())
    });
    latest.or_else(|| {
        let found = VERIFIED.with_borrow(|verified| verified.get(token).cloned())?;
        LATEST.set(Some((token.into(), found.clone())));
        Some(found)
    })
}

impl Access {
    /// Checks against `inventory`; tokens are signed with `signing`, the operator's token hashes to `admin_hash`;
    /// people come in by the issuer of `front`, if there is one.
    #[must_use]
    pub fn new(
        inventory: Arc<ArcSwap<Inventory>>,
        signing: Arc<SigningKey>,
        admin_hash: [u8; 32],
        tokens: Tokens,
        front: Option<(Issuer, RegistryHandle)>,
        auditor: AuditorHandle,
        clock: Clock,
    ) -> Access {
        Access(Arc::new(Inner {
            inventory,
            signing,
            admin_hash,
            tokens,
            clock,
            front: front.map(|(issuer, registry)| Front { issuer, registry }),
            auditor,
            last_used: DashMap::new(),
            failures: DashMap::new(),
            hasher: RandomState::new(),
        }))
    }

    /// Tokens for the stream whose credentials these are.
    ///
    /// # Errors
    ///
    /// [`AccessError::CredentialsWrong`] or [`AccessError::TooManyFailures`].
    pub fn log_in(&self, client_id: &str, client_secret: &str) -> Result<Grant, AccessError> {
        let stream = self.check_secret(client_id, client_secret)?;
        Ok(self.grant(client_id, &stream))
    }

    /// New tokens for a refresh token, which stays good. An expired one does too: the client has just
    /// shown its secret, and the original's Rust driver keeps its first refresh token for ever.
    ///
    /// # Errors
    ///
    /// As [`Access::log_in`], or [`AccessError::RefreshInvalid`].
    pub fn refresh(&self, client_id: &str, client_secret: &str, token: &str) -> Result<Grant, AccessError> {
        let stream = self.check_secret(client_id, client_secret)?;
        let expected = Expected { iss: &self.0.tokens.issuer, aud: AUDIENCE, kind: TokenKind::Refresh };
        let claims =
            self.0.signing.verify_expired(token, expected).map_err(|_| AccessError::RefreshInvalid)?;
        if claims.client_id != client_id {
            return Err(AccessError::RefreshInvalid);
        }
        Ok(self.grant(client_id, &stream))
    }

    /// Who sent the request with this `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn caller(&self, authorization: Option<&str>) -> Result<Caller, AccessError> {
        let token = bearer(authorization).ok_or(AccessError::TokenMissing)?;
        let now = self.0.clock.now();
        let (client_id, expires) = match recall(token) {
            Some(found) => found,
            None => self.verify_and_remember(token)?,
        };
        if now.0 >= expires {
            return Err(AccessError::TokenExpired);
        }
        let inventory = self.0.inventory.load();
        let stream = inventory.client(&client_id, now).cloned().ok_or(AccessError::TokenInvalid)?;
        Ok(Caller { client_id, stream })
    }

    /// Whether a caller that was let in would still be, for connections that outlive their request.
    #[must_use]
    pub fn still_admits(&self, caller: &Caller) -> bool {
        self.0.inventory.load().client(&caller.client_id, self.0.clock.now()).is_some()
    }

    /// The present instant, by which credentials end.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The public keys that tokens can be verified with (JWKS, RFC 7517).
    #[must_use]
    pub fn public_keys(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [self.0.signing.public_jwk()] })
    }

    fn check_secret(&self, client_id: &str, client_secret: &str) -> Result<Arc<KnownStream>, AccessError> {
        let inventory = self.0.inventory.load();
        let stream = inventory.client(client_id, self.0.clock.now());
        let credentials = stream.map(|stream| &stream.definition.credentials[..]).unwrap_or_default();
        let stored = credentials.iter().find(|credential| credential.client_id == client_id);
        let hash = stored.and_then(|stored| STANDARD.decode(&stored.secret_hash).ok()?.try_into().ok());
        // An unknown client takes as long as a wrong secret.
        let right = verify_secret(client_secret, &hash.unwrap_or([0; 32]));
        match stream {
            Some(stream) if right && hash.is_some() => Ok(Arc::clone(stream)),
            _ => Err(self.count_failure(client_id)),
        }
    }

    /// Counts in one of a fixed number of places, chosen by the name whether there is such a client or not:
    /// inventing names costs no memory, and the answer tells nobody which names exist.
    fn count_failure(&self, client_id: &str) -> AccessError {
        let minute = self.0.clock.steady().0 / 60_000;
        let place = self.0.hasher.hash_one(client_id) % FAILURE_PLACES;
        let mut entry = self.0.failures.entry(place).or_insert((minute, 0));
        if entry.0 != minute {
            *entry = (minute, 0);
        }
        entry.1 += 1;
        if entry.1 > self.0.tokens.failures_per_minute {
            AccessError::TooManyFailures
        } else {
            AccessError::CredentialsWrong
        }
    }

    fn verify(&self, token: &str) -> Result<Claims, AccessError> {
        let expected = Expected { iss: &self.0.tokens.issuer, aud: AUDIENCE, kind: TokenKind::Bearer };
        self.0.signing.verify(token, expected, self.0.clock.now()).map_err(|error| match error {
            TokenError::Expired => AccessError::TokenExpired,
            TokenError::Refused => AccessError::TokenInvalid,
        })
    }

    fn verify_and_remember(&self, token: &str) -> Result<Verified, AccessError> {
        let claims = self.verify(token)?;
        let found = (Arc::from(claims.client_id.as_str()), claims.exp.saturating_mul(1000));
        VERIFIED.with_borrow_mut(|verified| {
            if verified.len() >= TOKENS_REMEMBERED {
                verified.clear();
            }
            verified.insert(token.into(), found.clone());
        });
        Ok(found)
    }

    fn grant(&self, client_id: &str, stream: &KnownStream) -> Grant {
        let now = self.0.clock.now();
        let (access_s, refresh_s) = (self.0.tokens.access_s, self.0.tokens.refresh_s);
        let sign = |kind, lifetime_s| self.sign(client_id, stream, kind, now, lifetime_s);
        Grant {
            access_token: sign(TokenKind::Bearer, access_s),
            refresh_token: sign(TokenKind::Refresh, refresh_s),
            expires_in_s: access_s,
            expires_at_s: now.0 / 1000 + i64::try_from(access_s).unwrap_or(i64::MAX),
            refresh_expires_in_s: refresh_s,
        }
    }

    fn sign(
        &self,
        client_id: &str,
        stream: &KnownStream,
        typ: TokenKind,
        now: Timestamp,
        life_s: u64,
    ) -> String {
        let iat = now.0 / 1000;
        self.0.signing.sign(&Claims {
            iss: self.0.tokens.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: client_id.to_owned(),
            client_id: client_id.to_owned(),
            typ,
            iat,
            nbf: iat,
            exp: iat + i64::try_from(life_s).unwrap_or(i64::MAX / 2000),
            jti: uuid::Uuid::new_v4().simple().to_string(),
            stream: Some(stream.definition.name.to_string()),
        })
    }
}

pub(super) fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

const AUDIENCE: &str = "sluice";
const TOKENS_REMEMBERED: usize = 10_000;
const FAILURE_PLACES: u64 = 4096;
