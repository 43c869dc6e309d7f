//! Key export: one open key as a Tink keyset in JSON, as the original handed it out.
//!
//! ```text
//! AesSivKey             = 0x12 0x40 | K_siv 64      field 2, key_value; version 0 is left out
//! XChaCha20Poly1305Key  = 0x1a 0x20 | K_enc 32      field 3, key_value; version 0 is left out
//! ```
//! K_nonce is never exported: it is not needed to open. Stock Tink opens fields with the primitive
//! `DeterministicAead` (AES256_SIV) or `Aead` (XCHACHA20_POLY1305) and the field's equality class as
//! associated data.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::open_key::OpenKey;
use crate::domain::Suite;

/// The keyset of `key`: compact JSON with the original's order of members. Secret, zeroed on drop.
#[must_use]
pub fn keyset_json(key: &OpenKey) -> Zeroizing<String> {
    let (name, tag, bytes): (_, [u8; 2], &[u8]) = match key.suite() {
        Suite::XChaCha20Poly1305 => ("XChaCha20Poly1305Key", [0x1a, 0x20], &key.material()[..32]),
        Suite::Aes256Siv => ("AesSivKey", [0x12, 0x40], &key.material()[..]),
    };
    let mut proto = Zeroizing::new(Vec::with_capacity(tag.len() + bytes.len()));
    proto.extend_from_slice(&tag);
    proto.extend_from_slice(bytes);
    let value = Zeroizing::new(STANDARD.encode(&proto[..]));
    let id = key.key_id().to_string();
    // Joined at once: a String that grows would leave copies of the key behind.
    Zeroizing::new(
        [
            r#"{"primaryKeyId":"#,
            &id,
            r#","key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink."#,
            name,
            r#"","value":""#,
            &value,
            r#"","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":"#,
            &id,
            r#","outputPrefixType":"TINK"}]}"#,
        ]
        .concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::open_key::tests::key_of;

    #[test]
    fn keysets_carry_the_published_values_in_the_originals_form() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/field.json")).unwrap();
        let root: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Siv] {
            let key = key_of(root, suite, 0x51A1_CE01);
            let json = keyset_json(&key);
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            let name = serde_json::to_value(suite).unwrap();
            let wanted = &vectors["suites"][name.as_str().unwrap()]["keyset_value"];
            assert_eq!(read["key"][0]["keyData"]["value"], *wanted);
        }
    }

    #[test]
    fn the_json_is_the_originals_down_to_the_order_of_members() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/golden-vectors.json")).unwrap();
        let original = &golden["tink_aes_siv"]["keyset"];
        let key_id = u32::try_from(original["primaryKeyId"].as_u64().unwrap()).unwrap();
        let key = key_of([0; 32], Suite::Aes256Siv, key_id);
        let ours = keyset_json(&key);
        let value = STANDARD.encode([&[0x12, 0x40][..], key.material()].concat());
        let theirs = original["key"][0]["keyData"]["value"].as_str().unwrap();
        assert_eq!(ours.replace(&value, theirs), original.to_string());
    }
}
