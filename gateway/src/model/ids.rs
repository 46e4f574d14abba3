//! Identifiers. All are safe in a Redis key, a cookie name and a URL.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest, Sha256};

use crate::clock::{Clock, Entropy, random};

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The id of these bytes.
            pub fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads the text form; `None` when it is malformed.
            pub fn parse(text: &str) -> Option<Self> {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                <[u8; $len]>::try_from(bytes).ok().map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| D::Error::custom(concat!("not a ", stringify!($name))))
            }
        }
    };
}

bytes_id! {
    /// A user of one server: an HMAC of the immutable subject.
    UserId, 32
}
bytes_id! {
    /// What is left of a secret in a key name or record: its SHA-256.
    Hash32, 32
}
bytes_id! {
    /// One grant: what one sign-in gave one client.
    GrantId, 16
}
bytes_id! {
    /// One sign-in under way. Begins with the time, so that "newest" is readable from the ids.
    FlowId, 16
}
bytes_id! {
    /// One attempt to refresh an upstream credential.
    AttemptId, 16
}

impl Hash32 {
    /// The SHA-256 of a secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl GrantId {
    /// A random id.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random(entropy))
    }
}

impl AttemptId {
    /// A random id.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random(entropy))
    }
}

impl FlowId {
    /// Six bytes of milliseconds since 1970, ten of randomness.
    pub fn new(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let mut bytes: [u8; 16] = random(entropy);
        bytes[..6].copy_from_slice(&clock.unix_millis().to_be_bytes()[2..]);
        Self(bytes)
    }

    /// When it began, in milliseconds since 1970, as it says itself.
    pub fn unix_millis(&self) -> i64 {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        i64::from_be_bytes(bytes)
    }
}
