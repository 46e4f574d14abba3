//! Message authentication: HMAC-SHA-256 under a sub-key for each label.

use gatehouse_gateway_config::mac::hmac;
use subtle::ConstantTimeEq;

use super::{Keys, Ring};

/// A key id and 32 bytes of HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac32 {
    /// The id of the key in its ring.
    pub kid: u8,
    /// The code.
    pub tag: [u8; 32],
}

/// A key id and 16 bytes of HMAC, for tokens that must stay short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac16 {
    /// The id of the key in its ring.
    pub kid: u8,
    /// The code.
    pub tag: [u8; 16],
}

impl Keys {
    /// Authenticates `parts` for the purpose `label` under the ring's sealing key.
    pub fn mac(&self, ring: Ring, label: &str, parts: &[&[u8]]) -> Mac32 {
        let key = self.sealing(ring);
        Mac32 { kid: key.id, tag: hmac(key.key.expose(), label, parts) }
    }

    /// The codes of `parts` under every listed key, for comparing where the keys are not: inside a store's script.
    pub fn macs(&self, ring: Ring, label: &str, parts: &[&[u8]]) -> Vec<Mac32> {
        let current = self.current();
        let keys = ring.of(&current).iter();
        keys.map(|key| Mac32 { kid: key.id, tag: hmac(key.key.expose(), label, parts) }).collect()
    }

    /// Whether `mac` is right; constant time. An unknown key id is wrong.
    pub fn verify(&self, ring: Ring, label: &str, parts: &[&[u8]], mac: &Mac32) -> bool {
        let key = self.by_id(ring, mac.kid);
        key.is_some_and(|k| hmac(k.key.expose(), label, parts).ct_eq(&mac.tag).into())
    }

    /// As [`Keys::mac`] under the key `kid`, for values derived again later; `None` when it is not listed.
    pub fn mac_with(&self, ring: Ring, kid: u8, label: &str, parts: &[&[u8]]) -> Option<[u8; 32]> {
        self.by_id(ring, kid).map(|k| hmac(k.key.expose(), label, parts))
    }

    /// The id of the key that seals now.
    pub fn sealing_id(&self, ring: Ring) -> u8 {
        self.sealing(ring).id
    }

    /// As [`Keys::mac`], cut to 16 bytes.
    pub fn mac16(&self, ring: Ring, label: &str, parts: &[&[u8]]) -> Mac16 {
        let Mac32 { kid, tag } = self.mac(ring, label, parts);
        let mut short = [0; 16];
        short.copy_from_slice(&tag[..16]);
        Mac16 { kid, tag: short }
    }

    /// As [`Keys::verify`] for 16 bytes.
    pub fn verify16(&self, ring: Ring, label: &str, parts: &[&[u8]], mac: &Mac16) -> bool {
        let key = self.by_id(ring, mac.kid);
        key.is_some_and(|k| hmac(k.key.expose(), label, parts)[..16].ct_eq(&mac.tag[..]).into())
    }
}
