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

/// `b64url(kid 1 ‖ body ‖ HMAC 16)`: what somebody made up is told from what is ours without the store.
fn sign(keys: &Keys, label: &str, body: &[u8]) -> String {
    let mac = keys.mac16(Ring::Record, label, &[body]);
    URL_SAFE_NO_PAD.encode([&[mac.kid], body, &mac.tag].concat())
}

/// The body of what [`sign`] gave.
fn open<const N: usize>(keys: &Keys, label: &str, text: &str) -> Result<[u8; N], OpenError> {
    let decoded = (text.len() <= MAX_TOKEN_LEN).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let bytes = decoded.ok_or(OpenError::Invalid)?;
    let (kid, signed) = bytes.split_first().ok_or(OpenError::Invalid)?;
    let (body, tag) = signed.split_last_chunk::<16>().ok_or(OpenError::Invalid)?;
    let body = <[u8; N]>::try_from(body).map_err(|_| OpenError::Invalid)?;
    let mac = Mac16 { kid: *kid, tag: *tag };
    if keys.verify16(Ring::Record, label, &[&body], &mac) {
        return Ok(body);
    }
    Err(keys.not_opened(Ring::Record, mac.kid))
}

/// An access token: opaque (RFC 6750), `gha_` and b64url(kid 1 ‖ random 32 ‖ HMAC 16).
#[derive(Clone)]
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    const PREFIX: &str = "gha_";
    const LABEL: &str = "access-token";

    /// A new token.
    pub fn mint(keys: &Keys, entropy: &dyn Entropy) -> Self {
        let random = Zeroizing::new(random::<32>(entropy));
        Self(Zeroizing::new(format!("{}{}", Self::PREFIX, sign(keys, Self::LABEL, &random[..]))))
    }

    /// A new token that is good for less than its grant: its text says so, which nobody can change, because a token is
    /// found by the hash of its whole text. A list too long for a token narrows nothing.
    pub fn mint_narrowed(keys: &Keys, entropy: &dyn Entropy, scope: &str) -> Self {
        let token = Self::mint(keys, entropy);
        if scope.len() > MAX_NARROWED {
            return token;
        }
        Self(Zeroizing::new(format!("{}.{}", *token.0, URL_SAFE_NO_PAD.encode(scope))))
    }

    /// Whether a presented token may be one of ours. Whether it is, and what for, only the store knows.
    ///
    /// # Errors
    /// As [`RefreshToken::parse`].
    pub fn check(keys: &Keys, text: &str) -> Result<(), OpenError> {
        let signed = text.strip_prefix(Self::PREFIX).ok_or(OpenError::Invalid)?;
        let signed = signed.split_once('.').map_or(signed, |(signed, _)| signed);
        open::<32>(keys, Self::LABEL, signed).map(drop)
    }

    /// The scope to which a token is narrowed. To be believed of a token that was found.
    pub fn narrowed(text: &str) -> Option<String> {
        let (_, scope) = text.split_once('.')?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(scope).ok()?).ok()
    }

    /// A hash of what of a presented token [`AccessToken::check`] looks at: the same whatever scope stands behind it.
    pub fn hash_signed(text: &str) -> Hash32 {
        Hash32::of(text.split_once('.').map_or(text, |(signed, _)| signed).as_bytes())
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

/// An authorization code: `b64url(kid 1 ‖ grant 16 ‖ random 32 ‖ HMAC 16)`. The grant's id lets one script redeem it.
#[derive(Clone)]
pub struct AuthorizationCode {
    /// The grant that it redeems.
    pub grant: GrantId,
    text: Zeroizing<String>,
}

impl AuthorizationCode {
    const LABEL: &str = "authorization-code";

    /// A new code for `grant`.
    pub fn mint(keys: &Keys, entropy: &dyn Entropy, grant: GrantId) -> Self {
        let mut body = Zeroizing::new([0; 48]);
        body[..16].copy_from_slice(grant.as_bytes());
        body[16..].copy_from_slice(&random::<32>(entropy));
        Self { grant, text: Zeroizing::new(sign(keys, Self::LABEL, &body[..])) }
    }

    /// Reads a presented code and checks its MAC.
    ///
    /// # Errors
    /// As [`RefreshToken::parse`].
    pub fn parse(keys: &Keys, text: &str) -> Result<Self, OpenError> {
        let body = open::<48>(keys, Self::LABEL, text)?;
        let mut grant = [0; 16];
        grant.copy_from_slice(&body[..16]);
        Ok(Self { grant: GrantId::from_bytes(grant), text: Zeroizing::new(text.to_owned()) })
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
    const LABEL: &str = "refresh-token";

    /// A new token.
    pub fn mint(keys: &Keys, entropy: &dyn Entropy, grant: GrantId, generation: u32) -> Self {
        let mut body = [0; 16 + 4 + 24];
        body[..16].copy_from_slice(grant.as_bytes());
        body[16..20].copy_from_slice(&generation.to_be_bytes());
        body[20..].copy_from_slice(&random::<24>(entropy));
        Self { grant, generation, text: Zeroizing::new(sign(keys, Self::LABEL, &body)) }
    }

    /// Reads a presented token and checks its MAC.
    ///
    /// # Errors
    /// As [`Keys::not_opened`] when it is not one of ours, as far as this replica can tell.
    pub fn parse(keys: &Keys, text: &str) -> Result<Self, OpenError> {
        let body = open::<44>(keys, Self::LABEL, text)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatehouse_gateway_config::keys::Keyring;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::{ManualClock, SystemEntropy};

    fn keys(seed: u64) -> Keys {
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(seed));
        Keys::new(ring, Arc::new(ManualClock::at(1_800_000_000)))
    }

    /// The same text with another byte in its middle.
    fn forged(text: &str) -> String {
        let (head, tail) = text.split_at(text.len() / 2);
        format!("{head}{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..])
    }

    #[test]
    fn what_was_made_up_is_told_from_what_is_ours() {
        let (ours, others) = (keys(1), keys(2));
        let grant = GrantId::random(&SystemEntropy);
        let access = AccessToken::mint(&ours, &SystemEntropy);
        let narrowed = AccessToken::mint_narrowed(&ours, &SystemEntropy, "read");
        let code = AuthorizationCode::mint(&ours, &SystemEntropy, grant);
        let refresh = RefreshToken::mint(&ours, &SystemEntropy, grant, 7);
        for text in [access.expose(), narrowed.expose()] {
            assert_eq!(AccessToken::check(&ours, text), Ok(()));
            for bad in [forged(text), text.replace("gha_", ""), text.replace("gha_", "ghb_")] {
                assert_eq!(AccessToken::check(&ours, &bad), Err(OpenError::Invalid), "{bad}");
            }
            assert_eq!(AccessToken::check(&others, text), Err(OpenError::Invalid));
        }
        let read = |keys: &Keys, text: &str| AuthorizationCode::parse(keys, text).map(|code| code.grant);
        assert_eq!(read(&ours, code.expose()), Ok(grant));
        assert_eq!(read(&ours, &forged(code.expose())), Err(OpenError::Invalid));
        assert_eq!(read(&others, code.expose()), Err(OpenError::Invalid));
        let read = |text: &str| RefreshToken::parse(&ours, text).map(|token| (token.grant, token.generation));
        assert_eq!(read(refresh.expose()), Ok((grant, 7)));
        // One kind is none of another.
        assert_eq!(read(code.expose()), Err(OpenError::Invalid));
        for bad in ["", "gha_", "gha_x", "gha_.x", "x", &"A".repeat(2 * MAX_TOKEN_LEN)] {
            assert_eq!(AccessToken::check(&ours, bad), Err(OpenError::Invalid), "{bad}");
            assert!(AuthorizationCode::parse(&ours, bad).is_err() && read(bad).is_err(), "{bad}");
        }
    }
}
