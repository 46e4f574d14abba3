//! The secrets that a client holds. Only their SHA-256 is ever stored; none is displayed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{GrantId, Hash32};
use crate::{
    clock::{Entropy, random},
    keys::{Keys, Mac16, OpenError, Ring},
};

/// The longest token that is looked at; ours are far shorter.
pub const MAX_TOKEN_LEN: usize = 512;
/// The longest scope that an access token can say, in bytes: base64 makes four of three.
const MAX_NARROWED: usize = 330;

/// An access token: opaque, 256 random bits (RFC 6750).
#[derive(Clone)]
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// A new token.
    pub fn mint(entropy: &dyn Entropy) -> Self {
        Self(Zeroizing::new(format!("gha_{}", URL_SAFE_NO_PAD.encode(random::<32>(entropy)))))
    }

    /// A new token that is good for less than its grant: its text says so, which nobody can change, because a token is
    /// found by the hash of its whole text. A list too long for a token narrows nothing.
    pub fn mint_narrowed(entropy: &dyn Entropy, scope: &str) -> Self {
        let token = Self::mint(entropy);
        if scope.len() > MAX_NARROWED {
            return token;
        }
        Self(Zeroizing::new(format!("{}.{}", *token.0, URL_SAFE_NO_PAD.encode(scope))))
    }

    /// The scope to which a token is narrowed. To be believed of a token that was found.
    pub fn narrowed(text: &str) -> Option<String> {
        let (_, scope) = text.split_once('.')?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(scope).ok()?).ok()
    }

    /// What is stored of a token that was presented.
    pub fn hash_presented(text: &str) -> Hash32 {
        Hash32::of(text.as_bytes())
    }

    /// What is stored.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(self.0.as_bytes())
    }

    /// The text, for the answer to the client alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// An authorization code: `b64url(grant 16 ‖ random 32)`. The grant's id lets one script redeem it.
#[derive(Clone)]
pub struct AuthorizationCode {
    /// The grant that it redeems.
    pub grant: GrantId,
    text: Zeroizing<String>,
}

impl AuthorizationCode {
    /// A new code for `grant`.
    pub fn mint(entropy: &dyn Entropy, grant: GrantId) -> Self {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(grant.as_bytes());
        bytes[16..].copy_from_slice(&random::<32>(entropy));
        Self { grant, text: Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)) }
    }

    /// Reads a presented code; `None` when it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TOKEN_LEN {
            return None;
        }
        let bytes = <[u8; 48]>::try_from(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut grant = [0; 16];
        grant.copy_from_slice(&bytes[..16]);
        Some(Self { grant: GrantId::from_bytes(grant), text: Zeroizing::new(text.to_owned()) })
    }

    /// What is stored.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(self.text.as_bytes())
    }

    /// The text, for the redirect alone.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// A refresh token: `b64url(kid 1 ‖ grant 16 ‖ generation 4 ‖ random 24 ‖ HMAC 16)`, so that reuse is told from
/// nonsense without a tombstone.
#[derive(Clone)]
pub struct RefreshToken {
    /// The grant that it refreshes.
    pub grant: GrantId,
    /// Its place in the lineage: 1 for the first.
    pub generation: u32,
    text: Zeroizing<String>,
}

impl RefreshToken {
    const LEN: usize = 1 + 16 + 4 + 24 + 16;
    const LABEL: &str = "refresh-token";

    /// A new token.
    pub fn mint(keys: &Keys, entropy: &dyn Entropy, grant: GrantId, generation: u32) -> Self {
        let mut body = [0; 16 + 4 + 24];
        body[..16].copy_from_slice(grant.as_bytes());
        body[16..20].copy_from_slice(&generation.to_be_bytes());
        body[20..].copy_from_slice(&random::<24>(entropy));
        let mac = keys.mac16(Ring::Record, Self::LABEL, &[&body]);
        let mut bytes = vec![mac.kid];
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&mac.tag);
        Self { grant, generation, text: Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)) }
    }

    /// Reads a presented token and checks its MAC.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when its key is about to be read, else [`OpenError::Invalid`]: it is not one of ours.
    pub fn parse(keys: &Keys, text: &str) -> Result<Self, OpenError> {
        let decoded = (text.len() <= MAX_TOKEN_LEN).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let bytes = decoded.and_then(|bytes| <[u8; Self::LEN]>::try_from(bytes).ok());
        let bytes = bytes.ok_or(OpenError::Invalid)?;
        let (body, tag) = bytes[1..].split_at(44);
        let mut mac = Mac16 { kid: bytes[0], tag: [0; 16] };
        mac.tag.copy_from_slice(tag);
        if !keys.verify16(Ring::Record, Self::LABEL, &[body], &mac) {
            let next = keys.is_next(Ring::Record, mac.kid);
            return Err(if next { OpenError::UnknownKey } else { OpenError::Invalid });
        }
        let mut grant = [0; 16];
        grant.copy_from_slice(&body[..16]);
        let mut generation = [0; 4];
        generation.copy_from_slice(&body[16..20]);
        Ok(Self {
            grant: GrantId::from_bytes(grant),
            generation: u32::from_be_bytes(generation),
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// What is stored.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(self.text.as_bytes())
    }

    /// The text, for the answer to the client alone.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

macro_rules! hidden {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
hidden!(AccessToken, AuthorizationCode, RefreshToken);
