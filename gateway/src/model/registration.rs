//! Clients that register themselves (RFC 7591): a client id carries its own metadata, sealed, so registering stores
//! nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatehouse_gateway_config::policy::RegistrationConfig;
use zeroize::Zeroizing;

use super::{AuthMethod, RedirectUri, redirect_uri::RedirectUriError};
use crate::{
    clock::Entropy,
    keys::{Keys, OpenError, Ring, Sealed},
};

/// The longest client id: Windows launchers cut long URLs, and the id is part of the authorization URL.
pub const MAX_ID_LEN: usize = 512;

const PREFIX: &str = "gc_";
const SEAL_LABEL: &str = "client-id";
const SECRET_LABEL: &str = "client-secret";

/// What a registration says of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMetadata {
    /// When it registered, in seconds since 1970.
    pub issued_at: i64,
    /// How it proves itself.
    pub auth_method: AuthMethod,
    /// What it calls itself, see [`super::client::display_name`]; unproven.
    pub name: Option<String>,
    /// Where its codes may go: at least one.
    pub redirect_uris: Vec<RedirectUri>,
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its id.
    pub id: String,
    /// What it registered.
    pub metadata: ClientMetadata,
}

/// The metadata does not fit in a client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name and the redirect URIs are together too long: they must fit in a client_id of {MAX_ID_LEN} characters"
)]
pub struct TooLong;

impl Registration {
    /// Makes the id of a new client of this server.
    ///
    /// # Errors
    /// When the id would be longer than [`MAX_ID_LEN`].
    pub fn register(keys: &Keys, entropy: &dyn Entropy, metadata: ClientMetadata) -> Result<Self, TooLong> {
        let plain = metadata.encode().ok_or(TooLong)?;
        let place = keys.instance();
        let sealed = keys.seal(entropy, Ring::Client, SEAL_LABEL, &[place.as_bytes()], &plain);
        let id = format!("{PREFIX}{}", sealed.to_text());
        if id.len() > MAX_ID_LEN { Err(TooLong) } else { Ok(Self { id, metadata }) }
    }

    /// Reads a client id.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] when it is not one of this server's, was sealed under a key that is gone, or is past its
    /// life under the policy: all mean the same to a client, register again. [`OpenError::UnknownKey`] as
    /// [`Keys::not_opened`] says: it may be good in a moment, and must not be thrown away.
    pub fn open(keys: &Keys, policy: &RegistrationConfig, now: i64, id: &str) -> Result<Self, OpenError> {
        if id.len() > MAX_ID_LEN {
            return Err(OpenError::Invalid);
        }
        let sealed = id.strip_prefix(PREFIX).and_then(Sealed::from_text).ok_or(OpenError::Invalid)?;
        let place = keys.instance();
        let plain = keys.open_presented(Ring::Client, SEAL_LABEL, &[place.as_bytes()], &sealed)?;
        let metadata = ClientMetadata::decode(&plain).ok_or(OpenError::Invalid)?;
        let lifetime = i64::try_from(policy.lifetime.as_secs()).unwrap_or(i64::MAX);
        let expired = now >= metadata.issued_at.saturating_add(lifetime);
        let revoked = policy.not_before.is_some_and(|not_before| metadata.issued_at < not_before);
        if expired || revoked { Err(OpenError::Invalid) } else { Ok(Self { id: id.to_owned(), metadata }) }
    }

    /// The client's secret; `None` when the client is public.
    pub fn secret(&self, keys: &Keys) -> Option<Zeroizing<String>> {
        if self.metadata.auth_method == AuthMethod::None { None } else { secret_of(keys, &self.id) }
    }
}

/// The secret of a confidential client: derived from its id, never stored.
pub fn secret_of(keys: &Keys, id: &str) -> Option<Zeroizing<String>> {
    let sealed = Sealed::from_text(id.strip_prefix(PREFIX)?)?;
    let kid = *sealed.as_bytes().first()?;
    let mac = Zeroizing::new(keys.mac_with(Ring::Client, kid, SECRET_LABEL, &[id.as_bytes()])?);
    Some(Zeroizing::new(URL_SAFE_NO_PAD.encode(&mac[..])))
}

impl ClientMetadata {
    /// `issued at 5 ‖ method 1 ‖ name length 1 ‖ name ‖ (length 2 ‖ redirect URI)*`: compact, because it travels in
    /// every URL. `None` when a part is longer than its length can say.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = self.issued_at.to_be_bytes()[3..].to_vec();
        let method = AuthMethod::REGISTERED.iter().position(|m| *m == self.auth_method)?;
        out.push(u8::try_from(method).ok()?);
        let name = self.name.as_deref().unwrap_or_default();
        out.push(u8::try_from(name.len()).ok()?);
        out.extend_from_slice(name.as_bytes());
        for uri in &self.redirect_uris {
            out.extend_from_slice(&u16::try_from(uri.as_str().len()).ok()?.to_be_bytes());
            out.extend_from_slice(uri.as_str().as_bytes());
        }
        Some(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (issued_at, rest) = bytes.split_at_checked(5)?;
        let mut millennia = [0; 8];
        millennia[3..].copy_from_slice(issued_at);
        let (&method, rest) = rest.split_first()?;
        let (&name_len, rest) = rest.split_first()?;
        let (name, mut rest) = rest.split_at_checked(usize::from(name_len))?;
        let mut redirect_uris = Vec::new();
        while !rest.is_empty() {
            let (len, tail) = rest.split_first_chunk::<2>()?;
            let (uri, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            redirect_uris.push(RedirectUri::parse(std::str::from_utf8(uri).ok()?).ok()?);
            rest = tail;
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(Self {
            issued_at: i64::from_be_bytes(millennia),
            auth_method: *AuthMethod::REGISTERED.get(usize::from(method))?,
            name: (!name.is_empty()).then(|| name.to_owned()),
            redirect_uris,
        })
    }
}

/// Keeps the redirect URIs of a registration that the policy allows (Cursor sends three, of which a policy may allow
/// one); a malformed or dangerous one refuses the whole.
///
/// # Errors
/// For the first that is malformed or dangerous.
pub fn allowed_redirect_uris(
    texts: &[String],
    policy: &gatehouse_gateway_config::policy::RedirectUrisConfig,
) -> Result<Vec<RedirectUri>, RedirectUriError> {
    let mut kept: Vec<RedirectUri> = Vec::new();
    for text in texts {
        let uri = RedirectUri::parse(text)?;
        if uri.is_allowed(policy) && !kept.contains(&uri) {
            kept.push(uri);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use gatehouse_gateway_config::keys::{KeyBytes, Keyring, RingKey};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    const NOW: i64 = 1_790_000_000;

    fn keys(seed: u64) -> (Keys, Keyring) {
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(seed));
        (Keys::new(ring.clone(), Arc::new(ManualClock::at(NOW))), ring)
    }

    fn metadata(method: AuthMethod, uris: &[&str]) -> ClientMetadata {
        ClientMetadata {
            issued_at: NOW,
            auth_method: method,
            name: Some("Claude Code (github)".to_owned()),
            redirect_uris: uris.iter().map(|u| RedirectUri::parse(u).unwrap()).collect(),
        }
    }

    fn register(keys: &Keys, metadata: ClientMetadata) -> Result<Registration, TooLong> {
        Registration::register(keys, &SeededEntropy::new(3), metadata)
    }

    #[test]
    fn an_id_carries_its_metadata_and_stays_short() {
        let (keys, _) = keys(1);
        let policy = RegistrationConfig::default();
        let claude = metadata(AuthMethod::None, &["http://localhost:53211/callback"]);
        let client = register(&keys, claude.clone()).unwrap();
        assert_eq!(Registration::open(&keys, &policy, NOW, &client.id).unwrap().metadata, claude);
        assert!(client.id.len() <= 140, "{}", client.id.len());
        let cursor = metadata(
            AuthMethod::SecretPost,
            &[
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
            ],
        );
        let client = register(&keys, cursor).unwrap();
        assert!(client.id.len() <= 270, "{}", client.id.len());
    }

    #[test]
    fn a_client_of_another_server_or_a_changed_id_is_unknown() {
        let (keys_a, ring) = keys(1);
        let (keys_b, _) = keys(2);
        let policy = RegistrationConfig::default();
        let id = register(&keys_a, metadata(AuthMethod::None, &["http://localhost/cb"])).unwrap().id;
        assert!(Registration::open(&keys_a, &policy, NOW, &id).is_ok());
        // The same keys under another instance: the associated data differs.
        let moved = Keyring { instance: "other".to_owned(), ..ring };
        let moved = Keys::new(moved, Arc::new(ManualClock::at(NOW)));
        for keys in [&keys_b, &moved] {
            assert!(Registration::open(keys, &policy, NOW, &id).is_err());
        }
        let flipped = format!("{}{}", &id[..id.len() - 3], "AAA");
        for bad in ["", "gc_", "gc_!", "x", &id[3..], &id[..id.len() - 1], &flipped, &"gc_A".repeat(200)] {
            assert!(Registration::open(&keys_a, &policy, NOW, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_registration_ends_with_its_life_and_by_policy() {
        let (keys, _) = keys(1);
        let day = RegistrationConfig { lifetime: Duration::from_secs(86_400), ..Default::default() };
        let id = register(&keys, metadata(AuthMethod::None, &["http://localhost/cb"])).unwrap().id;
        assert!(Registration::open(&keys, &day, NOW + 86_399, &id).is_ok());
        assert!(Registration::open(&keys, &day, NOW + 86_400, &id).is_err());
        let revoked = RegistrationConfig { not_before: Some(NOW + 1), ..Default::default() };
        assert!(Registration::open(&keys, &revoked, NOW + 2, &id).is_err());
    }

    #[test]
    fn a_secret_is_the_ids_own_and_survives_key_rotation() {
        let (keys, mut ring) = keys(1);
        let client = register(&keys, metadata(AuthMethod::SecretBasic, &["http://localhost/cb"])).unwrap();
        let secret = client.secret(&keys).unwrap();
        let key = KeyBytes::generate(&mut StdRng::seed_from_u64(9));
        ring.client.push(RingKey { id: 2, key, seal_from: 0 });
        assert!(keys.replace(ring));
        assert_eq!(*client.secret(&keys).unwrap(), *secret);
        let another = register(&keys, metadata(AuthMethod::SecretBasic, &["http://localhost/dc"])).unwrap();
        assert_ne!(*another.secret(&keys).unwrap(), *secret);
        let public = register(&keys, metadata(AuthMethod::None, &["http://localhost/cb"])).unwrap();
        assert!(public.secret(&keys).is_none());
    }

    #[test]
    fn metadata_that_does_not_fit_is_refused() {
        let (keys, _) = keys(1);
        let long = format!("http://localhost/{}", "a".repeat(400));
        assert_eq!(register(&keys, metadata(AuthMethod::None, &[&long])), Err(TooLong));
    }

    #[test]
    fn one_dangerous_uri_refuses_the_set_and_a_foreign_one_is_left_out() {
        let policy = gatehouse_gateway_config::policy::RedirectUrisConfig::default();
        let texts = |uris: &[&str]| uris.iter().map(|&u| u.to_owned()).collect::<Vec<_>>();
        let set = texts(&["https://c1.test/cb", "http://localhost/cb", "http://localhost/cb"]);
        let kept = allowed_redirect_uris(&set, &policy).unwrap();
        assert_eq!(kept, [RedirectUri::parse("http://localhost/cb").unwrap()]);
        let set = texts(&["http://localhost/cb", "javascript:alert(1)"]);
        assert_eq!(allowed_redirect_uris(&set, &policy), Err(RedirectUriError::Dangerous));
    }
}
