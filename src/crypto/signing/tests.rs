//! Tokens: round trip, and a table of tokens that must never be accepted (T49 of the test catalogue).

use aws_lc_rs::hmac;

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const EXPECTED: Expected<'static> =
    Expected { iss: "https://sluice.example", aud: "sluice", kind: TokenKind::Bearer };

fn claims() -> Claims {
    let now = NOW.0 / 1000;
    Claims {
        iss: EXPECTED.iss.to_owned(),
        aud: EXPECTED.aud.to_owned(),
        sub: "stream/clicks".to_owned(),
        client_id: "c-1".to_owned(),
        typ: TokenKind::Bearer,
        iat: now,
        nbf: now,
        exp: now + 3600,
        jti: "1".to_owned(),
        stream: Some("clicks".to_owned()),
    }
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Anything as header and claims, with a genuine signature of `key`.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let pair = Ed25519KeyPair::from_seed_unchecked(key.seed.bytes()).unwrap();
    format!("{message}.{}", base64url(pair.sign(message.as_bytes())))
}

fn header_of(key: &SigningKey) -> String {
    serde_json::to_string(&key.header).unwrap()
}

fn refused(key: &SigningKey, token: &str) -> bool {
    key.verify(token, EXPECTED, NOW).err() == Some(TokenError::Refused)
}

#[test]
fn a_signed_token_verifies_with_all_its_claims_and_after_the_key_was_stored() {
    let (key, master) = (SigningKey::generate(), MasterKey::generate());
    let token = key.sign(&claims());
    assert!(key.verify(&token, EXPECTED, NOW).is_ok_and(|read| read == claims()));
    let restored = SigningKey::unwrap(&master, &key.wrapped(&master)).unwrap();
    assert_eq!((restored.kid(), restored.public_jwk()), (key.kid(), key.public_jwk()));
    assert!(restored.verify(&token, EXPECTED, NOW).is_ok());
    assert!(SigningKey::unwrap(&MasterKey::generate(), &key.wrapped(&master)).is_err());
    assert_eq!(token, signed(&key, &header_of(&key), &serde_json::to_string(&claims()).unwrap()));
}

#[test]
fn the_public_jwk_opens_the_signature_and_names_nothing_secret() {
    let key = SigningKey::generate();
    let jwk = key.public_jwk();
    assert!(jwk.get("d").is_none());
    let decoding = DecodingKey::from_ed_components(jwk["x"].as_str().unwrap()).unwrap();
    let token = key.sign(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    assert!(
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &decoding, Algorithm::EdDSA).unwrap()
    );
}

#[test]
fn a_token_is_good_within_a_minute_of_its_times() {
    let key = SigningKey::generate();
    let token = key.sign(&claims());
    let at = |seconds: i64| key.verify(&token, EXPECTED, NOW.plus_ms(seconds * 1000)).map(|_| ());
    assert_eq!(at(-61), Err(TokenError::Refused));
    assert_eq!(at(-60), Ok(()));
    assert_eq!(at(3600 + 59), Ok(()));
    assert_eq!(at(3600 + 60), Err(TokenError::Expired));
    let endless = key.sign(&Claims { exp: i64::MAX, nbf: i64::MIN, ..claims() });
    assert!(key.verify(&endless, EXPECTED, NOW).is_ok());
    assert!(refused(&key, &key.sign(&Claims { nbf: i64::MAX, ..claims() })));
    let long_gone = key.sign(&Claims { exp: i64::MIN, ..claims() });
    assert_eq!(key.verify(&long_gone, EXPECTED, NOW).err(), Some(TokenError::Expired));
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let key = SigningKey::generate();
    for other in [
        Claims { iss: "https://other.example".to_owned(), ..claims() },
        Claims { aud: "other".to_owned(), ..claims() },
        Claims { aud: "Sluice".to_owned(), ..claims() },
        Claims { typ: TokenKind::Refresh, ..claims() },
    ] {
        assert!(refused(&key, &key.sign(&other)));
    }
    let refresh = Expected { kind: TokenKind::Refresh, ..EXPECTED };
    assert_eq!(key.verify(&key.sign(&claims()), refresh, NOW).err(), Some(TokenError::Refused));
    assert!(refused(&SigningKey::generate(), &key.sign(&claims())));
}

#[test]
fn no_header_but_our_own_is_accepted_even_under_our_own_signature() {
    let key = SigningKey::generate();
    let body = serde_json::to_string(&claims()).unwrap();
    let kid = key.kid();
    assert!(key.verify(&signed(&key, &header_of(&key), &body), EXPECTED, NOW).is_ok(), "the forge works");
    let algorithms = [
        "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "eddsa",
        "EdDsa", "",
    ];
    for alg in algorithms {
        assert!(
            refused(&key, &signed(&key, &format!(r#"{{"typ":"JWT","alg":"{alg}","kid":"{kid}"}}"#), &body)),
            "{alg}"
        );
    }
    let kids = [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR '1'='1",
        "x' UNION SELECT 'key",
        "http://127.0.0.1/key",
        "file:///dev/null",
        "|ls",
        "",
        "0",
        "*",
        "\\u0000",
        "..%2f",
    ];
    for other in kids {
        assert!(
            refused(&key, &signed(&key, &format!(r#"{{"typ":"JWT","alg":"EdDSA","kid":"{other}"}}"#), &body)),
            "{other}"
        );
    }
    let jwk = key.public_jwk();
    let additions = [
        r#""jku":"https://attacker.example/jwks""#.to_owned(),
        r#""x5u":"https://attacker.example/cert""#.to_owned(),
        r#""x5c":["AAAA"]"#.to_owned(),
        format!(r#""jwk":{jwk}"#),
        r#""crit":["exp"]"#.to_owned(),
        r#""b64":false"#.to_owned(),
        r#""zip":"DEF""#.to_owned(),
        r#""cty":"JWT""#.to_owned(),
        r#""alg":"none""#.to_owned(),
        r#""alg":"EdDSA""#.to_owned(),
        format!(r#""kid":"{kid}""#),
        r#""nonce":"1""#.to_owned(),
    ];
    for more in additions {
        let header = header_of(&key);
        let header = format!("{},{more}}}", header.strip_suffix('}').unwrap());
        assert!(refused(&key, &signed(&key, &header, &body)), "{more}");
    }
    for header in
        [format!(" {}", header_of(&key)), r#"{"alg":"EdDSA"}"#.to_owned(), "{}".to_owned(), "null".to_owned()]
    {
        assert!(refused(&key, &signed(&key, &header, &body)), "{header}");
    }
}

#[test]
fn the_public_key_is_no_hmac_secret() {
    let key = SigningKey::generate();
    let pair = Ed25519KeyPair::from_seed_unchecked(key.seed.bytes()).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let spki =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &public].concat();
    let secrets =
        [public, spki, key.x.clone().into_bytes(), key.public_jwk().to_string().into_bytes(), Vec::new()];
    let own = header_of(&key);
    for header in [own.replace("EdDSA", "HS256"), own.clone()] {
        for secret in &secrets {
            let message =
                format!("{}.{}", base64url(&header), base64url(serde_json::to_vec(&claims()).unwrap()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            assert!(refused(&key, &format!("{message}.{}", base64url(tag))));
        }
    }
}

#[test]
fn claims_that_are_doubled_missing_unknown_or_of_another_form_are_refused() {
    let key = SigningKey::generate();
    let body = serde_json::to_string(&claims()).unwrap();
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
    for (name, value) in &members {
        let doubled = format!(r#"{},"{name}":{value}}}"#, body.strip_suffix('}').unwrap());
        assert!(refused(&key, &signed(&key, &header_of(&key), &doubled)), "{name} twice");
        if name != "stream" {
            let mut fewer = members.clone();
            fewer.remove(name);
            let fewer = serde_json::to_string(&fewer).unwrap();
            assert!(refused(&key, &signed(&key, &header_of(&key), &fewer)), "without {name}");
        }
        let mut other = members.clone();
        other.insert(name.clone(), json!([value]));
        let other = serde_json::to_string(&other).unwrap();
        assert!(refused(&key, &signed(&key, &header_of(&key), &other)), "{name} as a list");
    }
    for other in [
        body.replace("3600", "3600.5"),
        format!(r#"{},"role":"admin"}}"#, body.strip_suffix('}').unwrap()),
        body.replace(r#""exp":17"#, r#""exp":"17"#),
        format!("{body}{body}"),
        format!("[{body}]"),
        "null".to_owned(),
        String::new(),
    ] {
        if other != body {
            assert!(refused(&key, &signed(&key, &header_of(&key), &other)), "{other}");
        }
    }
}

#[test]
fn every_bit_of_signature_and_claims_counts_and_so_does_their_spelling() {
    let key = SigningKey::generate();
    let token = key.sign(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for bit in 0..raw.len() * 8 {
        let mut flipped = raw.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&key, &format!("{message}.{}", base64url(flipped))), "bit {bit}");
    }
    for at in (0..token.len()).step_by(7) {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        assert!(refused(&key, &String::from_utf8(other).unwrap()), "character {at}");
    }
    let mut spare_bit = token.clone().into_bytes();
    *spare_bit.last_mut().unwrap() += 1;
    for other in [
        String::from_utf8(spare_bit).unwrap(),
        format!("{token}="),
        format!("{token}=="),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{message}."),
        message.to_owned(),
        format!("{message}.{}", base64url([0; 64])),
        format!("{message}.{}", base64url(&raw[..63])),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(refused(&key, &other), "{other}");
    }
}

#[test]
fn an_oversized_token_is_refused_before_it_is_read() {
    let key = SigningKey::generate();
    let large = key.sign(&Claims { jti: "x".repeat(100 * 1024), ..claims() });
    assert!(refused(&key, &large));
    let almost = key.sign(&Claims { jti: "x".repeat(5000), ..claims() });
    assert!(key.verify(&almost, EXPECTED, NOW).is_ok());
}
