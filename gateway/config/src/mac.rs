//! Message authentication of records: HMAC-SHA-256 under a sub-key for each label (HKDF, RFC 5869).

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// HMAC of the length-prefixed parts under the sub-key `label` of `key`.
pub fn hmac(key: &[u8; 32], label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let sub = subkey(key, label);
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&sub).expect("any key length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The sub-key of `key` for one purpose.
pub fn subkey(key: &[u8], label: &str) -> [u8; 32] {
    let mut out = [0; 32];
    #[expect(clippy::expect_used, reason = "32 bytes are far below HKDF's limit of 255 blocks")]
    Hkdf::<Sha256>::new(None, key).expand(label.as_bytes(), &mut out).expect("32 bytes");
    out
}
