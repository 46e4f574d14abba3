//! Proof Key for Code Exchange (RFC 7636), S256 only.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// Whether `challenge` is a well-formed S256 challenge: 32 bytes in base64url without padding (section 4.2).
pub fn is_challenge(challenge: &str) -> bool {
    challenge.len() == 43 && URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|bytes| bytes.len() == 32)
}

/// The S256 challenge of `verifier`; `None` when the verifier is not 43 to 128 unreserved characters (section 4.1).
pub fn challenge_of(verifier: &str) -> Option<String> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
    well_formed.then(|| s256(verifier))
}

/// The S256 transformation (section 4.2).
pub fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_rfc_7636_appendix_b() {
        let challenge = challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_challenge(&challenge));
    }

    #[test]
    fn malformed_challenges_and_verifiers_are_refused() {
        let good = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        for bad in [&good[1..], &format!("{good}="), &good.replace('-', "+"), &"a".repeat(129), ""] {
            assert!(!is_challenge(bad), "{bad}");
        }
        let forbidden = format!("{}!", "a".repeat(50));
        for bad in ["a".repeat(42), "a".repeat(129), forbidden, "ä".repeat(30)] {
            assert_eq!(challenge_of(&bad), None, "{bad}");
        }
        assert!(challenge_of(&"a".repeat(43)).is_some() && challenge_of(&"~".repeat(128)).is_some());
    }
}
