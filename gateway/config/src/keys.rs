//! The sealing keys of one server: a JSON document in a Secret that only the operator writes.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 256 bits of a key. Never displayed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyBytes([u8; 32]);

impl KeyBytes {
    /// A key from the given source of randomness.
    pub fn generate(rng: &mut (impl rand::CryptoRng + ?Sized)) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

impl Serialize for KeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for KeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(&text);
        text.zeroize();
        let bytes = bytes.ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        // The value itself must not reach a message.
        bytes.map(Self).ok_or_else(|| D::Error::custom("a key must be 32 bytes in base64"))
    }
}

/// One key of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RingKey {
    /// The id that sealed values carry: one byte, so that client ids stay short.
    pub id: u8,
    /// The key.
    pub key: KeyBytes,
    /// When it begins to seal, in seconds since 1970; it opens as soon as it is listed.
    #[serde(default)]
    pub seal_from: i64,
}

/// Everything that one server seals and signs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyring {
    /// A random id of this set of keys, part of every Redis key: 16 lower-case letters and digits.
    pub instance: String,
    /// Names users; never rotates.
    pub user: KeyBytes,
    /// Seals upstream credentials and profiles.
    pub credential: Vec<RingKey>,
    /// Seals client ids and derives client secrets.
    pub client: Vec<RingKey>,
    /// Authenticates records and refresh tokens.
    pub record: Vec<RingKey>,
    /// Authenticates upstream state and sessions.
    pub session: Vec<RingKey>,
}

/// Why a document is not a key ring. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Not the JSON that is expected.
    #[error("the key ring is not valid at line {line}, column {column}")]
    Parse {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A ring holds no key, or one id twice.
    #[error("ring \"{0}\" of the key ring must hold at least one key, each id once")]
    Ring(&'static str),
    /// The instance is not well-formed.
    #[error("the key ring's instance must be 1 to 32 lower-case letters and digits")]
    Instance,
}

/// The key of a ring that seals at `now`: the newest that has come into force, or the first one when none has.
pub fn sealing(ring: &[RingKey], now: i64) -> Option<&RingKey> {
    let in_force = ring.iter().filter(|key| key.seal_from <= now);
    in_force.max_by_key(|key| key.seal_from).or(ring.first())
}

impl Keyring {
    /// A new key ring with one key in each ring.
    pub fn generate(rng: &mut (impl rand::CryptoRng + ?Sized)) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = [0u8; 16];
        rng.fill_bytes(&mut bytes);
        let instance = bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect();
        let mut ring = || vec![RingKey { id: 1, key: KeyBytes::generate(rng), seal_from: 0 }];
        let (credential, client, record, session) = (ring(), ring(), ring(), ring());
        Self { instance, user: KeyBytes::generate(rng), credential, client, record, session }
    }

    /// Parses and checks a document.
    ///
    /// # Errors
    /// When it is not a key ring, a ring is empty or repeats an id, or the instance is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        let ring: Self = serde_json::from_slice(bytes)
            .map_err(|e| KeyringError::Parse { line: e.line(), column: e.column() })?;
        let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if ring.instance.is_empty() || ring.instance.len() > 32 || !ring.instance.chars().all(well_formed) {
            return Err(KeyringError::Instance);
        }
        let rings = [
            ("credential", &ring.credential),
            ("client", &ring.client),
            ("record", &ring.record),
            ("session", &ring.session),
        ];
        for (name, keys) in rings {
            let mut ids: Vec<u8> = keys.iter().map(|k| k.id).collect();
            ids.sort_unstable();
            ids.dedup();
            if ids.is_empty() || ids.len() != keys.len() {
                return Err(KeyringError::Ring(name));
            }
        }
        Ok(ring)
    }

    /// The key that authenticates new records at `now` (seconds since 1970).
    pub fn sealing_record(&self, now: i64) -> Option<&RingKey> {
        sealing(&self.record, now)
    }

    /// The document to store.
    pub fn to_json(&self) -> String {
        // A struct of strings, numbers and lists always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_generated_ring_round_trips_and_hides_its_keys() {
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        assert_eq!(Keyring::parse(ring.to_json().as_bytes()).unwrap(), ring);
        assert!(!format!("{ring:?}").contains(&STANDARD.encode(ring.user.expose())));
    }

    #[test]
    fn an_error_says_where_and_not_what() {
        let text =
            Keyring::generate(&mut StdRng::seed_from_u64(1)).to_json().replace("\"user\":\"", "\"user\":\"x");
        let error = Keyring::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyringError::Parse { .. }), "{error}");
    }
}
