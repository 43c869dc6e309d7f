//! Tokens of the configured OpenID Connect issuer (OpenID Connect Core 1.0; RFC 7519; RFC 8725).
//!
//! Nothing in a token chooses how it is checked: its algorithm must be one that the operator allows and that
//! fits the type of the key, its key one that the issuer publishes. `jku`, `x5u` and `jwk` are not looked at.

use std::sync::Arc;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{AccessError, oidc_keys::IssuerKeys};
use crate::{
    clock::Timestamp,
    config::{Oidc, OidcAlgorithm},
    domain::{PrincipalId, Role, principal::ISSUER_PREFIX},
};

/// The issuer people log in at. Cheap to clone.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    config: Oidc,
    issuer: String,
    audience: String,
    keys: IssuerKeys,
}

/// Who a good token is about.
pub(super) struct Person {
    pub id: PrincipalId,
    pub name: String,
    pub email: Option<String>,
    /// What the issuer's claim makes of it.
    pub roles: Vec<Role>,
    pub expires: Timestamp,
}

impl Issuer {
    /// The issuer of the settings, if there is one. Fetches its keys from now on, on the present runtime.
    ///
    /// # Errors
    ///
    /// The client that fetches them cannot be made.
    pub fn start(config: &Oidc) -> Result<Option<Issuer>, reqwest::Error> {
        let (Some(issuer), Some(audience)) = (config.issuer.clone(), config.audience.clone()) else {
            return Ok(None);
        };
        let keys = IssuerKeys::start(config, &issuer)?;
        Ok(Some(Issuer(Arc::new(Inner { config: config.clone(), issuer, audience, keys }))))
    }

    /// Who `token` is about, if the issuer signed it for this installation and it is current.
    ///
    /// # Errors
    ///
    /// [`AccessError::ApiTokenInvalid`], [`AccessError::TokenExpired`], and
    /// [`AccessError::IssuerUnavailable`] (retry) while none of the issuer's keys is known.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Person, AccessError> {
        let refused = AccessError::ApiTokenInvalid;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused)?;
        if !self.0.config.algorithms.iter().any(|allowed| algorithm(*allowed) == header.alg) {
            return Err(refused);
        }
        let kid = header.kid.as_deref().filter(|kid| !kid.is_empty() && kid.len() <= KID_BYTES_MAX);
        let keys = self.0.keys.with(kid).await.ok_or(AccessError::IssuerUnavailable)?;
        let key = match kid {
            Some(kid) => keys.keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid)),
            // A key without a name is asked for only where there is no choice.
            None => keys.keys.first().filter(|_| keys.keys.len() == 1),
        };
        let key = key.filter(|key| fits(key, header.alg)).ok_or(refused)?;
        let decoding = DecodingKey::from_jwk(key).map_err(|_| refused)?;
        // Claims are checked here: the crate's checks read the system clock.
        let mut signature_only = Validation::new(header.alg);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let decoded =
            jsonwebtoken::decode::<Value>(token, &decoding, &signature_only).map_err(|_| refused)?;
        self.person(&decoded.claims, now)
    }

    fn person(&self, claims: &Value, now: Timestamp) -> Result<Person, AccessError> {
        let refused = AccessError::ApiTokenInvalid;
        let Inner { config, issuer, audience, .. } = &*self.0;
        let text = |claim: &str| find(claims, claim).and_then(Value::as_str);
        let seconds =
            |claim: &str| claims.get(claim).and_then(|value| value.as_f64()).map(|s| (s * 1000.0) as i64);
        let meant_for_us = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one == audience.as_str()),
            _ => false,
        };
        if text("iss") != Some(issuer) || !meant_for_us {
            return Err(refused);
        }
        let skew_ms = i64::try_from(config.skew_s * 1000).unwrap_or(0);
        let expires = Timestamp(seconds("exp").ok_or(refused)?).plus_ms(skew_ms);
        if now >= expires {
            return Err(AccessError::TokenExpired);
        }
        let future = now.plus_ms(skew_ms).0;
        if ["nbf", "iat"]
            .iter()
            .any(|claim| claims.get(claim).is_some() && seconds(claim).is_none_or(|at| at > future))
        {
            return Err(refused);
        }
        let subject = text(&config.subject_claim).filter(|subject| !subject.is_empty()).ok_or(refused)?;
        Ok(Person {
            id: id_of(issuer, subject),
            name: text(&config.name_claim).unwrap_or_default().to_owned(),
            email: text(&config.email_claim).map(str::to_owned),
            roles: self.roles(claims).ok_or(refused)?,
            expires,
        })
    }

    /// The roles that the claim gives, else the default one; None where there is none.
    fn roles(&self, claims: &Value) -> Option<Vec<Role>> {
        let config = &self.0.config;
        let given = config.role_claim.as_deref().and_then(|claim| find(claims, claim));
        let values = match given {
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(value)) => vec![value.as_str()],
            _ => Vec::new(),
        };
        let named = values.into_iter().filter_map(|value| config.roles.get(value)?.parse().ok());
        let roles: Vec<Role> = named.collect();
        if roles.is_empty() { config.default_role.parse().ok().map(|role| vec![role]) } else { Some(roles) }
    }
}

/// The value at a path of names with `/` between them; a name that holds one itself is tried first.
fn find<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| path.split('/').try_fold(claims, |value, name| value.get(name)))
}

/// Subjects are the issuer's: a hash keeps addresses and numbers of people out of the audit log.
fn id_of(issuer: &str, subject: &str) -> PrincipalId {
    let digest = Sha256::new().chain_update(issuer).chain_update([0]).chain_update(subject).finalize();
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{ISSUER_PREFIX}{hex}").parse().expect("hexadecimal digits are an id")
}

fn algorithm(allowed: OidcAlgorithm) -> Algorithm {
    match allowed {
        OidcAlgorithm::RS256 => Algorithm::RS256,
        OidcAlgorithm::ES256 => Algorithm::ES256,
        OidcAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Whether a published key is one for signatures with this algorithm.
fn fits(key: &Jwk, wanted: Algorithm) -> bool {
    let kind = match (&key.algorithm, wanted) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256) => ec.curve == EllipticCurve::P256,
        (AlgorithmParameters::OctetKeyPair(okp), Algorithm::EdDSA) => okp.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let use_fits = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let named = key.common.key_algorithm.map(|named| named.to_string());
    kind && use_fits && named.is_none_or(|named| named == format!("{wanted:?}"))
}

/// Longest token that is looked at, and longest name of a key.
const TOKEN_BYTES_MAX: usize = 16 << 10;
const KID_BYTES_MAX: usize = 255;
