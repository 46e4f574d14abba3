//! Sealing: XChaCha20-Poly1305 with a random nonce, under a sub-key for each label.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use gatehouse_gateway_config::mac::subkey;

use super::{Keys, Ring};
use crate::clock::{Entropy, random};

const NONCE: usize = 24;
const TAG: usize = 16;

/// A sealed value: key id, nonce, ciphertext, tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

/// Why a value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It names a key that is not listed (yet): it may open in a moment.
    #[error("sealed under a key that is not listed")]
    UnknownKey,
    /// It is malformed, forged, or sealed for another place.
    #[error("not a value sealed for this place")]
    Invalid,
}

impl Sealed {
    /// The bytes as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes stored bytes; whether they open is seen when they are opened.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// base64url without padding.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads [`Sealed::to_text`].
    pub fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().map(Self)
    }
}

impl Keys {
    /// Seals `plain` for the purpose `label` and the place `ad` (associated data).
    pub fn seal(&self, entropy: &dyn Entropy, ring: Ring, label: &str, ad: &[&[u8]], plain: &[u8]) -> Sealed {
        let key = self.sealing(ring);
        let mut out = vec![key.id];
        out.extend(seal_with(&subkey(key.key.expose(), label), entropy, &join(ad), plain));
        Sealed(out)
    }

    /// Opens what [`Keys::seal`] sealed for the same purpose and place.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the key is not listed, else [`OpenError::Invalid`].
    pub fn open(
        &self,
        ring: Ring,
        label: &str,
        ad: &[&[u8]],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (&kid, rest) = sealed.0.split_first().ok_or(OpenError::Invalid)?;
        let key = self.by_id(ring, kid).ok_or(OpenError::UnknownKey)?;
        open_with(&subkey(key.key.expose(), label), &join(ad), rest).ok_or(OpenError::Invalid)
    }
}

impl Keys {
    /// As [`Keys::open`], for a value that somebody presents and may have made up.
    ///
    /// # Errors
    /// As there, with [`OpenError::UnknownKey`] only as [`Keys::not_opened`] says.
    pub fn open_presented(
        &self,
        ring: Ring,
        label: &str,
        ad: &[&[u8]],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let long_enough = sealed.0.len() > NONCE + TAG;
        self.open(ring, label, ad, sealed).map_err(|error| match (error, sealed.0.first()) {
            (OpenError::UnknownKey, Some(&kid)) if long_enough => self.not_opened(ring, kid),
            _ => OpenError::Invalid,
        })
    }
}

/// Seals under a key derived from `secret`, so that only its holder opens it: the successor of a refresh token.
pub fn seal_for(secret: &[u8], entropy: &dyn Entropy, ad: &[u8], plain: &[u8]) -> Sealed {
    Sealed(seal_with(&subkey(secret, "successor"), entropy, ad, plain))
}

/// Opens what [`seal_for`] sealed.
pub fn open_for(secret: &[u8], ad: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    open_with(&subkey(secret, "successor"), ad, &sealed.0)
}

fn seal_with(key: &[u8; 32], entropy: &dyn Entropy, ad: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE] = random(entropy);
    let mut out = Vec::with_capacity(NONCE + plain.len() + TAG);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    let cipher = XChaCha20Poly1305::new(key.into());
    #[expect(clippy::expect_used, reason = "the cipher refuses only plaintexts beyond 256 GiB")]
    let tag =
        cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), ad, &mut out[NONCE..]).expect("short");
    out.extend_from_slice(&tag);
    out
}

fn open_with(key: &[u8; 32], ad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let body_len = sealed.len().checked_sub(NONCE + TAG)?;
    let (nonce, rest) = sealed.split_at(NONCE);
    let (body, tag) = rest.split_at(body_len);
    let mut plain = Zeroizing::new(body.to_vec());
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt_in_place_detached(XNonce::from_slice(nonce), ad, &mut plain, Tag::from_slice(tag)).ok()?;
    Some(plain)
}

/// Length-prefixed, so that two lists of parts never give the same bytes.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatehouse_gateway_config::keys::{KeyBytes, Keyring, RingKey};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    fn keys() -> (Keys, ManualClock, Keyring) {
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(7));
        let clock = ManualClock::at(1_000);
        (Keys::new(ring.clone(), Arc::new(clock.clone())), clock, ring)
    }

    #[test]
    fn opens_only_in_its_own_place() {
        let (keys, _, _) = keys();
        let entropy = SeededEntropy::new(1);
        let sealed = keys.seal(&entropy, Ring::Credential, "token", &[b"alice", b"github"], b"secret");
        assert_eq!(
            *keys.open(Ring::Credential, "token", &[b"alice", b"github"], &sealed).unwrap(),
            b"secret"
        );
        for (label, ad) in [
            ("other", [&b"alice"[..], b"github"]),
            ("token", [b"bob", b"github"]),
            ("token", [b"aliceg", b"ithub"]),
        ] {
            assert_eq!(keys.open(Ring::Credential, label, &ad, &sealed), Err(OpenError::Invalid));
        }
        assert_eq!(
            keys.open(Ring::Client, "token", &[b"alice", b"github"], &sealed),
            Err(OpenError::Invalid)
        );
    }

    #[test]
    fn a_new_key_opens_at_once_and_seals_from_its_time() {
        let (keys, clock, mut ring) = keys();
        let entropy = SeededEntropy::new(1);
        ring.client.push(RingKey {
            id: 2,
            key: KeyBytes::generate(&mut StdRng::seed_from_u64(7)),
            seal_from: 1_600,
        });
        assert!(keys.replace(ring));
        assert_eq!(keys.seal(&entropy, Ring::Client, "x", &[], b"").as_bytes()[0], 1);
        clock.advance(std::time::Duration::from_secs(600));
        assert_eq!(keys.seal(&entropy, Ring::Client, "x", &[], b"").as_bytes()[0], 2);
    }

    #[test]
    fn an_unknown_key_is_told_apart() {
        let (keys, _, _) = keys();
        let mut bytes = keys.seal(&SeededEntropy::new(1), Ring::Client, "x", &[], b"y").as_bytes().to_vec();
        bytes[0] = 9;
        assert_eq!(keys.open(Ring::Client, "x", &[], &Sealed::from_bytes(bytes)), Err(OpenError::UnknownKey));
        assert_eq!(keys.open(Ring::Client, "x", &[], &Sealed::from_bytes(vec![])), Err(OpenError::Invalid));
    }

    #[test]
    fn a_ring_of_another_instance_is_refused() {
        let (keys, _, _) = keys();
        assert!(!keys.replace(Keyring::generate(&mut StdRng::seed_from_u64(8))));
    }
}
