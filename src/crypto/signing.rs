//! Access tokens: EdDSA JWTs (RFC 7519, RFC 8037) signed and verified by this installation only.
//!
//! ```text
//! header = {"typ":"JWT","alg":"EdDSA","kid":<RFC 7638 thumbprint of the public key>}
//! token  = base64url(header) | "." | base64url(claims) | "." | base64url(Ed25519 signature)
//! ```
//! A token's header is compared with the one header this key writes, byte for byte, before anything in it
//! is read. So no algorithm is chosen by the token, and `jku`, `x5u`, `jwk` and foreign `kid`s never get as
//! far as being refused for a reason. No key is fetched from anywhere; time is passed in.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{master::MasterKey, secret::Secret, wrap::UnwrapError};
use crate::clock::Timestamp;

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks of signer and verifier may differ.
const LEEWAY_MS: i64 = 60_000;
const LABEL: &str = "token-signing-key";

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// Sent with requests.
    Bearer,
    /// Exchanged for a new pair of tokens.
    Refresh,
}

/// The claims of a token. Times are seconds since 1970-01-01. No other claim is accepted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    #[serde(rename = "clientId")]
    pub client_id: String,
    pub typ: TokenKind,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub jti: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// What a verifier insists on.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub iss: &'a str,
    pub aud: &'a str,
    pub kind: TokenKind,
}

/// Why a token is not accepted. Which check refused it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Was good once: ask for a new one.
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid")]
    Refused,
}

/// The installation's Ed25519 key.
pub struct SigningKey {
    seed: Secret,
    encoding: EncodingKey,
    decoding: DecodingKey,
    header: Header,
    /// The one accepted first segment, with its dot.
    header_text: String,
    x: String,
}

impl SigningKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> SigningKey {
        SigningKey::with(Secret::random())
    }

    /// Wraps the key for storage.
    #[must_use]
    pub fn wrapped(&self, master: &MasterKey) -> Vec<u8> {
        master.wrap_secret(LABEL, self.seed.bytes())
    }

    /// The key that [`SigningKey::wrapped`] wrapped.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`]: damaged, moved, or another master key.
    pub fn unwrap(master: &MasterKey, wrapped: &[u8]) -> Result<SigningKey, UnwrapError> {
        let seed = master.unwrap_secret(LABEL, wrapped)?;
        Secret::copied_from(&seed).map(SigningKey::with).ok_or(UnwrapError::Malformed)
    }

    fn with(seed: Secret) -> SigningKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.bytes()).expect("any 32 bytes are a seed");
        let pkcs8 = pair.to_pkcs8v1().expect("a key pair has a PKCS#8 form");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)));
        let header_json = serde_json::to_vec(&header).expect("a header has string keys");
        SigningKey {
            seed,
            encoding: EncodingKey::from_ed_der(pkcs8.as_ref()),
            decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            header,
            header_text: URL_SAFE_NO_PAD.encode(header_json) + ".",
            x,
        }
    }

    /// The key's name: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.header.kid.as_deref().expect("set when the key was made")
    }

    /// The public key for the JWKS endpoint (RFC 8037).
    #[must_use]
    pub fn public_jwk(&self) -> serde_json::Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": self.x, "kid": self.kid(), "use": "sig", "alg": "EdDSA"})
    }

    /// Signs `claims`. About 20 us: done when a token is issued, never per event.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.encoding).expect("the key is of the header's family")
    }

    /// The claims of `token` if this key signed it and it is `expected` and current at `now`, give or take
    /// 60 s. About 45 us: callers remember what they verified.
    ///
    /// # Errors
    ///
    /// [`TokenError`]. Not retryable with the same token.
    pub fn verify(&self, token: &str, expected: Expected<'_>, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.verify_expired(token, expected)?;
        if claims.nbf.saturating_mul(1000) > now.plus_ms(LEEWAY_MS).0 {
            return Err(TokenError::Refused);
        }
        if claims.exp.saturating_mul(1000) <= now.plus_ms(-LEEWAY_MS).0 {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// As [`SigningKey::verify`], at whatever time. For refresh tokens whose client has shown its secret.
    ///
    /// # Errors
    ///
    /// [`TokenError::Refused`].
    pub fn verify_expired(&self, token: &str, expected: Expected<'_>) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX || !token.starts_with(&self.header_text) {
            return Err(TokenError::Refused);
        }
        // Claims are checked here and in `verify`: the crate's checks read the system clock.
        let mut signature_only = Validation::new(Algorithm::EdDSA);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &signature_only)
            .map_err(|_| TokenError::Refused)?
            .claims;
        let meant_for_us =
            claims.iss == expected.iss && claims.aud == expected.aud && claims.typ == expected.kind;
        if meant_for_us { Ok(claims) } else { Err(TokenError::Refused) }
    }
}

#[cfg(test)]
mod tests;
