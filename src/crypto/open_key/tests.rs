//! Field sealing: the published vectors, the original's vector, and what must never open.

use aes_siv::{KeyInit, siv::Aes256Siv};
use proptest::prelude::*;

use super::*;
use crate::domain::KeyLink;

const VECTORS: &str = include_str!("../../../tests/vectors/field.json");
const GOLDEN: &str = include_str!("../../../tests/data/golden-vectors.json");
const SUITES: [Suite; 2] = [Suite::XChaCha20Poly1305, Suite::Aes256Siv];

pub(in crate::crypto) fn key_of(root: [u8; 32], suite: Suite, key_id: u32) -> Arc<OpenKey> {
    let (created, expires) = (Timestamp(1_790_000_000_123), Timestamp(1_790_086_400_123));
    let link = KeyLink(uuid::Uuid::from_u128(7));
    OpenKey::from_root(&SessionRoot::from_bytes(&root), suite, link, key_id, created, expires, false)
}

fn sealed(key: &OpenKey, class: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key.seal(class, plain, &mut out).unwrap();
    out
}

fn opened(key: &OpenKey, class: &[u8], text: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = b"kept".to_vec();
    let result = key.open(class, text, &mut out);
    assert_eq!(&out[..4], b"kept");
    if result.is_err() {
        assert_eq!(out.len(), 4, "a refused field leaves nothing behind");
    }
    result.map(|()| out.split_off(4))
}

#[test]
fn the_published_vectors_of_both_suites_seal_and_open() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let root: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let key_id = u32::try_from(vectors["key_id"].as_u64().unwrap()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(vectors["root"], hex(&root));
    for suite in SUITES {
        let key = key_of(root, suite, key_id);
        let material = match suite {
            Suite::XChaCha20Poly1305 => {
                format!("{}{}", vectors["k_enc"].as_str().unwrap(), vectors["k_nonce"].as_str().unwrap())
            }
            Suite::Aes256Siv => vectors["k_siv"].as_str().unwrap().to_owned(),
        };
        assert_eq!(hex(&key.material), material);
        let name = serde_json::to_value(suite).unwrap();
        for field in vectors["suites"][name.as_str().unwrap()]["fields"].as_array().unwrap() {
            let [class, plain, text] =
                ["class", "plain", "text"].map(|k| field[k].as_str().unwrap().as_bytes());
            assert_eq!(sealed(&key, class, plain), text);
            assert_eq!(opened(&key, class, text).unwrap(), plain);
        }
    }
}

#[test]
fn the_originals_own_ciphertext_opens_and_seals_to_the_same_text() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let golden = &golden["tink_aes_siv"];
    let value = golden["keyset"]["key"][0]["keyData"]["value"].as_str().unwrap();
    let proto = STANDARD.decode(value).unwrap();
    let mut key = key_of(
        [0; 32],
        Suite::Aes256Siv,
        u32::try_from(golden["keyset"]["primaryKeyId"].as_u64().unwrap()).unwrap(),
    );
    Arc::get_mut(&mut key).unwrap().material.copy_from_slice(&proto[2..]);
    let (text, plain) = (golden["ciphertext_b64"].as_str().unwrap(), golden["plaintext"].as_str().unwrap());
    assert_eq!(opened(&key, b"", text.as_bytes()).unwrap(), plain.as_bytes());
    assert_eq!(sealed(&key, b"", plain.as_bytes()), text.as_bytes());
}

#[test]
fn a_field_moved_to_another_class_session_or_key_id_stays_shut() {
    for suite in SUITES {
        let key = key_of([1; 32], suite, 9);
        let text = sealed(&key, b"customer/email", b"alice@example.org");
        assert_eq!(opened(&key, b"customer/name", &text), Err(OpenError::Refused));
        assert_eq!(opened(&key, b"", &text), Err(OpenError::Refused));
        assert_eq!(opened(&key_of([2; 32], suite, 9), b"customer/email", &text), Err(OpenError::Refused));
        assert_eq!(opened(&key_of([1; 32], suite, 8), b"customer/email", &text), Err(OpenError::OtherKey));
    }
    let text = sealed(&key_of([1; 32], Suite::XChaCha20Poly1305, 9), b"", b"a");
    assert!(opened(&key_of([1; 32], Suite::Aes256Siv, 9), b"", &text).is_err());
}

#[test]
fn every_single_bit_of_a_sealed_field_counts() {
    for suite in SUITES {
        let key = key_of([3; 32], suite, 0xA1B2_C3D4);
        let raw = STANDARD.decode(sealed(&key, b"c", b"piet")).unwrap();
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(&key, b"c", STANDARD.encode(flipped).as_bytes()).is_err(), "bit {bit}");
        }
        for end in 0..raw.len() {
            assert!(opened(&key, b"c", STANDARD.encode(&raw[..end]).as_bytes()).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn only_the_canonical_base64_text_is_a_field() {
    let key = key_of([3; 32], Suite::XChaCha20Poly1305, 5);
    let text = String::from_utf8(sealed(&key, b"", b"ab")).unwrap();
    let padding = text.len() - text.trim_end_matches('=').len();
    assert_eq!(padding, 1, "47 bytes leave one padding sign and two spare bits");
    let last = text.len() - 2;
    let spare_bit = char::from(text.as_bytes()[last] + 1);
    let others = [
        text.trim_end_matches('=').to_owned(),
        format!("{text}="),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{}{spare_bit}=", &text[..last]),
        text.replace('A', "-"),
        String::new(),
        "alice@example.org".to_owned(),
    ];
    for other in others {
        assert_eq!(opened(&key, b"", other.as_bytes()), Err(OpenError::Malformed));
    }
}

#[test]
fn a_ciphertext_with_a_nonce_sluice_would_not_derive_is_refused() {
    use chacha20poly1305::{AeadInOut, XChaCha20Poly1305};
    let key = key_of([4; 32], Suite::XChaCha20Poly1305, 6);
    let cipher = XChaCha20Poly1305::new_from_slice(&key.material[..32]).unwrap();
    let mut text = b"piet".to_vec();
    let nonce = [7; 24];
    let tag = cipher.encrypt_inout_detached(&nonce.into(), b"c", text.as_mut_slice().into()).unwrap();
    let raw = [&[1, 0, 0, 0, 6][..], &nonce, &text, &tag].concat();
    assert_eq!(opened(&key, b"c", STANDARD.encode(raw).as_bytes()), Err(OpenError::Refused));
}

#[test]
fn authentic_bytes_that_are_not_text_are_named_so() {
    for suite in SUITES {
        let key = key_of([4; 32], suite, 6);
        assert_eq!(opened(&key, b"", &sealed(&key, b"", &[0xff, 0xfe])), Err(OpenError::NotText));
    }
}

#[test]
fn times_and_flags_come_back_from_their_packed_form() {
    let make = |created, expires, consented| {
        let root = SessionRoot::generate();
        let link = KeyLink::random();
        OpenKey::from_root(
            &root,
            Suite::Aes256Siv,
            link,
            1,
            Timestamp(created),
            Timestamp(expires),
            consented,
        )
    };
    let key = make(1_790_000_000_123, 1_790_000_000_123 + 40 * 86_400_000, false);
    assert_eq!((key.created(), key.expires()), (Timestamp(1_790_000_000_123), Timestamp(1_793_456_000_123)));
    assert_eq!((key.suite(), key.consented()), (Suite::Aes256Siv, false));
    assert!(key.mark_consented() && !key.mark_consented() && key.consented());
    assert_eq!(key.suite(), Suite::Aes256Siv);
    let key = make(-5, i64::MAX, true);
    assert_eq!((key.created(), key.expires()), (Timestamp(0), Timestamp(LIFETIME_MS_MAX)));
    assert!(key.consented());
    assert_eq!(
        make(10, 5, true).expires(),
        Timestamp(10),
        "a key that expires before it is made never serves"
    );
}

#[test]
fn an_open_key_and_its_counters_take_128_bytes() {
    assert_eq!(size_of::<OpenKey>() + 2 * size_of::<usize>(), 128);
}

#[test]
fn the_sampled_check_notices_a_text_that_does_not_open_to_what_was_sealed() {
    for suite in SUITES {
        let key = key_of([8; 32], suite, 6);
        let text = sealed(&key, b"c", b"piet");
        assert!(key.opens_again(b"c", b"piet", &text));
        assert!(!key.opens_again(b"c", b"jan", &text));
        assert!(!key.opens_again(b"d", b"piet", &text));
        assert!(!key.opens_again(b"c", b"piet", b"????"));
        assert!(!key.opens_again(b"c", b"piet", b"AQ=="));
    }
}

#[test]
fn the_first_sealing_of_a_thread_and_every_ten_thousandth_after_it_are_checked() {
    let checked: Vec<u32> =
        std::thread::spawn(|| (0..=2 * CHECK_EVERY).filter(|_| check_is_due()).collect()).join().unwrap();
    assert_eq!(checked, [0, CHECK_EVERY, 2 * CHECK_EVERY]);
}

/// The mandated crates alone, written as the formulas stand in DESIGN 5.
fn by_the_book(key: &OpenKey, class: &[u8], plain: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{AeadInOut, XChaCha20Poly1305};
    use hmac::{Hmac, Mac};
    let mut text = plain.to_vec();
    let prefix = [&[1][..], &key.key_id.to_be_bytes()].concat();
    let raw = match key.suite() {
        Suite::XChaCha20Poly1305 => {
            let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(&key.material[32..]).unwrap();
            mac.update(
                &[b"sluice/v1/field\0", &(class.len() as u64).to_le_bytes()[..], class, plain].concat(),
            );
            let nonce: [u8; 24] = mac.finalize().into_bytes()[..24].try_into().unwrap();
            let cipher = XChaCha20Poly1305::new_from_slice(&key.material[..32]).unwrap();
            let tag =
                cipher.encrypt_inout_detached(&nonce.into(), class, text.as_mut_slice().into()).unwrap();
            [&prefix[..], &nonce, &text, &tag].concat()
        }
        Suite::Aes256Siv => {
            let mut cipher = Aes256Siv::new_from_slice(&key.material).unwrap();
            let siv = cipher.encrypt_inout_detached([class], text.as_mut_slice().into()).unwrap();
            [&prefix[..], &siv, &text].concat()
        }
    };
    STANDARD.encode(raw).into_bytes()
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again_deterministically_and_as_the_second_implementation_seals_it(
        root in any::<[u8; 32]>(), key_id in 1_u32.., class in ".{0,40}", plain in ".{0,300}", siv in any::<bool>(),
    ) {
        let suite = SUITES[usize::from(siv)];
        let (key, class, plain) = (key_of(root, suite, key_id), class.as_bytes(), plain.as_bytes());
        let text = sealed(&key, class, plain);
        prop_assert_eq!(&text, &sealed(&key, class, plain));
        prop_assert_eq!(&text, &by_the_book(&key, class, plain));
        prop_assert_eq!(opened(&key, class, &text).unwrap(), plain);
    }

    #[test]
    fn arbitrary_bytes_never_open(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        for suite in SUITES {
            prop_assert!(opened(&key_of([5; 32], suite, 6), b"", &text).is_err());
        }
    }
}
