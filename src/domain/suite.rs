//! Cipher suites a contract may name.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How personal fields of a contract are sealed. Formats: `crypto::seal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Suite {
    /// XChaCha20-Poly1305 with a nonce derived from the field; Tink `XChaCha20Poly1305Key`.
    #[default]
    #[serde(rename = "XCHACHA20_POLY1305")]
    XChaCha20Poly1305,
    /// AES-256-SIV as the original used it; Tink `AesSivKey`.
    #[serde(rename = "AES256_SIV")]
    Aes256Siv,
}
