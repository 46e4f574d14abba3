//! The keys with which a client signs (RFC 7517), as its document holds or names them.

use std::ops::RangeInclusive;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    JsonWebKey, SignatureVerificationError,
    core::{CoreJsonWebKey, CoreJwsSigningAlgorithm},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::DocumentError;

/// The members of a JWK that only its owner may know (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// More keys than this are not kept.
const MAX_KEYS: usize = 32;
/// So many of them are tried on one signature: whoever publishes them says how many fit it.
const MAX_TRIED: usize = 4;
/// The longest member of a key that is kept, in characters: an RSA modulus of 4,096 bits has 683.
const MAX_MEMBER: usize = 700;
/// The shortest RSA modulus, in bits (RFC 7518 section 3.3), and the longest that is worth its cost.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// Keys that verify signatures.
#[derive(Debug, PartialEq, Eq)]
pub struct KeySet(Vec<CoreJsonWebKey>);

/// Keys as they are published.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Published {
    #[serde(default)]
    keys: Vec<Map<String, Value>>,
}

/// Why a signature is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// No key is the one that signed: it may have been added since.
    UnknownKey,
    /// The key that is named did not sign this.
    Signature,
}

impl Published {
    /// Whether it tells what only a key's owner may know. A symmetric key has no public part.
    pub(super) fn tells_a_secret(&self) -> bool {
        let private = |key: &Map<String, Value>| {
            PRIVATE_MEMBERS.iter().any(|name| key.contains_key(*name))
                || key.get("kty").is_some_and(|kty| kty == "oct")
        };
        self.keys.iter().any(private)
    }
}

impl KeySet {
    /// Reads a set that was fetched.
    ///
    /// # Errors
    /// When it is no JWK set, tells a secret, or has no key that could verify anything here.
    pub fn read(body: &[u8]) -> Result<Self, DocumentError> {
        let published: Published = serde_json::from_slice(body)
            .map_err(|_| DocumentError::Refused("What its document names as jwks_uri is not a JWK set."))?;
        if published.tells_a_secret() {
            let why =
                "The keys at its jwks_uri are not public. Whoever runs the application must withdraw them.";
            return Err(DocumentError::Refused(why));
        }
        Self::of(published).map_err(DocumentError::Refused)
    }

    /// Keeps the keys that are for signatures and that we know how to use (RFC 7517 section 5 has others ignored).
    pub(super) fn of(published: Published) -> Result<Self, &'static str> {
        if published.keys.len() > MAX_KEYS {
            return Err("Its document has too many keys.");
        }
        let mut keys: Vec<CoreJsonWebKey> = Vec::new();
        for key in published.keys.into_iter().filter_map(usable) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            Err("Its document has no key that this server can use.")
        } else {
            Ok(Self(keys))
        }
    }

    /// Verifies a signature over `message`: with the named key, else with the first few that fit the algorithm.
    ///
    /// # Errors
    /// When none of these, or not the named one, made it.
    pub fn verify(
        &self,
        key_id: Option<&str>,
        algorithm: &CoreJwsSigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Mismatch> {
        let is_named = |key: &&CoreJsonWebKey| {
            key_id.is_none_or(|named| key.key_id().is_some_and(|key_id| key_id.as_str() == named))
        };
        let mut candidates = self.0.iter().filter(is_named).peekable();
        let named = key_id.is_some() && candidates.peek().is_some();
        let mut tried = 0;
        while tried < MAX_TRIED
            && let Some(key) = candidates.next()
        {
            match key.verify_signature(algorithm, message, signature) {
                Ok(()) => return Ok(()),
                // It is of another kind or curve, or for another algorithm, which is seen at once.
                Err(SignatureVerificationError::InvalidKey(_)) => {}
                Err(_) => tried += 1,
            }
        }
        Err(if named { Mismatch::Signature } else { Mismatch::UnknownKey })
    }
}

fn usable(key: Map<String, Value>) -> Option<CoreJsonWebKey> {
    let short = |name: &&str| {
        key.get(*name).is_none_or(|value| value.as_str().is_some_and(|text| text.len() <= MAX_MEMBER))
    };
    let signs = key.get("use").is_none_or(|use_| use_ == "sig");
    if !signs || !["kid", "n", "e", "x", "y"].iter().all(short) {
        return None;
    }
    if key.get("kty").is_some_and(|kty| kty == "RSA") && !RSA_BITS.contains(&rsa_bits(&key)?) {
        return None;
    }
    serde_json::from_value(Value::Object(key)).ok()
}

fn rsa_bits(key: &Map<String, Value>) -> Option<usize> {
    let modulus = URL_SAFE_NO_PAD.decode(key.get("n")?.as_str()?).ok()?;
    let leading = modulus.iter().position(|byte| *byte != 0)?;
    let zeros = usize::try_from(modulus[leading].leading_zeros()).ok()?;
    Some((modulus.len() - leading) * 8 - zeros)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use openidconnect::{PrivateSigningKey, core::CoreEdDsaPrivateSigningKey};
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> Result<KeySet, DocumentError> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn okp(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([7; 32])})
    }

    fn rsa(bits: usize) -> Value {
        let mut modulus = vec![0; bits / 8 + 1];
        modulus[1] = 0x80;
        json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus)})
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let mut encrypts = okp("e");
        encrypts["use"] = json!("enc");
        let mut odd = okp("o");
        odd["kid"] = json!(7);
        for useless in [
            json!({"kty": "new"}),
            json!({"kty": "RSA"}),
            json!({}),
            encrypts,
            odd,
            okp(&"k".repeat(701)),
            rsa(2040),
            rsa(4104),
            json!({"kty": "RSA", "e": "AQAB", "n": "AAAA"}),
        ] {
            assert!(read(&json!([useless])).is_err(), "{useless}");
            assert_eq!(read(&json!([useless, okp("a")])), read(&json!([okp("a")])), "{useless}");
        }
        assert_eq!(read(&json!([okp("a"), rsa(2048), rsa(4096)])).unwrap().0.len(), 3);
        assert_eq!(read(&json!([okp("a"), okp("b"), okp("a")])).unwrap().0.len(), 2, "copies are one");
        assert!(read(&json!(vec![okp("a"); MAX_KEYS])).is_ok());
        assert!(read(&json!(vec![okp("a"); MAX_KEYS + 1])).is_err());
    }

    #[test]
    fn a_set_that_tells_a_secret_is_refused_whole() {
        for (member, value) in [("d", json!("x")), ("k", json!(null)), ("kty", json!("oct"))] {
            let mut key = okp("b");
            key[member] = value;
            let error = read(&json!([okp("a"), key])).unwrap_err().to_string();
            assert!(error.contains("not public"), "{member}: {error}");
        }
        for bad in [&b""[..], b"[]", b"{\"keys\":{}}", b"{\"keys\":[1]}", b"{}"] {
            assert!(KeySet::read(bad).is_err());
        }
    }

    /// An Ed25519 key from a seed.
    fn signer(seed: u8) -> CoreEdDsaPrivateSigningKey {
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([seed; 32]);
        let label = "PRIVATE KEY";
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
        CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, None).unwrap()
    }

    /// The public part of [`signer`], with this id.
    fn public(seed: u8, kid: Option<&str>) -> Value {
        let mut key = serde_json::to_value(signer(seed).as_verification_key()).unwrap();
        if let Some(kid) = kid {
            key["kid"] = json!(kid);
        }
        key
    }

    #[test]
    fn a_signature_is_tried_on_the_named_key_or_the_first_few_that_fit() {
        const ED: CoreJwsSigningAlgorithm = CoreJwsSigningAlgorithm::EdDsa;
        let verify = |keys: &[Value], key_id, seed| {
            let signature = signer(seed).sign(&ED, b"m").unwrap();
            read(&json!(keys)).unwrap().verify(key_id, &ED, b"m", &signature)
        };
        let ids = ["1", "2", "3", "4", "5", "6"];
        let mut keys: Vec<Value> = (1..).zip(ids).map(|(seed, id)| public(seed, Some(id))).collect();
        for (seed, id) in (1..).zip(ids) {
            assert_eq!(verify(&keys, Some(id), seed), Ok(()), "{id}");
            let anonymous = if seed <= 4 { Ok(()) } else { Err(Mismatch::UnknownKey) };
            assert_eq!(verify(&keys, None, seed), anonymous, "{id}");
        }
        assert_eq!(verify(&keys, Some("1"), 2), Err(Mismatch::Signature));
        assert_eq!(verify(&keys, Some("7"), 2), Err(Mismatch::UnknownKey));
        // Nor does one name that all of them bear let each be tried.
        let alike: Vec<Value> = (1..7).map(|seed| public(seed, Some("1"))).collect();
        assert_eq!(verify(&alike, Some("1"), 4), Ok(()));
        assert_eq!(verify(&alike, Some("1"), 5), Err(Mismatch::Signature));
        // Keys of other kinds, curves and algorithms do not count.
        let mut other = public(9, None);
        other["alg"] = json!("ES256");
        let curve = json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"});
        let elliptic = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"});
        keys.splice(0..0, [rsa(2048), rsa(3072), elliptic, curve, other]);
        assert_eq!(verify(&keys, None, 4), Ok(()));
        assert_eq!(verify(&keys, None, 5), Err(Mismatch::UnknownKey));
    }

    #[test]
    fn a_key_of_any_form_verifies_or_does_not_and_never_panics() {
        let huge = "A".repeat(MAX_MEMBER);
        for crv in ["Ed25519", "P-256", "P-384", "P-521"] {
            for (kty, part) in [("EC", ""), ("EC", huge.as_str()), ("OKP", ""), ("OKP", &huge), ("OKP", "!")]
            {
                let key = json!({"kty": kty, "crv": crv, "x": part, "y": part});
                let Ok(keys) = read(&json!([key])) else { continue };
                for algorithm in crate::jws::ALGORITHMS {
                    assert!(keys.verify(None, &algorithm, b"m", &[0; 64]).is_err());
                }
            }
        }
        for (n, e) in [(0xff, "AQAB"), (0xff, "AQ"), (0xff, ""), (0x80, "AA"), (0xff, &huge)] {
            let mut key = rsa(2048);
            (key["n"], key["e"]) = (json!(URL_SAFE_NO_PAD.encode([n; 256])), json!(e));
            let keys = read(&json!([key])).unwrap();
            for algorithm in crate::jws::ALGORITHMS {
                assert!(keys.verify(None, &algorithm, b"m", &[1; 256]).is_err());
            }
        }
    }
}
