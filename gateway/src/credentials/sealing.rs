//! Sealing what users hold: their profile, and their tokens upstream. Each opens in its own place only.

use zeroize::Zeroizing;

use crate::{
    clock::Entropy,
    keys::{Keys, OpenError, Ring, Sealed},
    model::{Profile, UpstreamTokens, UserId, user::IDENTITY_CREDENTIAL},
    server::Server,
    store::StoreError,
};

const PROFILE: &str = "profile";
const CREDENTIAL: &str = "credential";

/// Seals a user's profile for its place: this server's instance and the user.
pub fn seal_profile(keys: &Keys, entropy: &dyn Entropy, user: &UserId, profile: &Profile) -> Sealed {
    let place = [keys.instance().into_bytes(), user.as_bytes().to_vec()];
    keys.seal(entropy, Ring::Credential, PROFILE, &parts(&place), &json(profile))
}

/// Opens what [`seal_profile`] sealed.
///
/// # Errors
/// [`OpenError::UnknownKey`] while the key file is older than the value; else [`OpenError::Invalid`].
pub fn open_profile(keys: &Keys, user: &UserId, sealed: &Sealed) -> Result<Profile, OpenError> {
    let place = [keys.instance().into_bytes(), user.as_bytes().to_vec()];
    let plain = keys.open(Ring::Credential, PROFILE, &parts(&place), sealed)?;
    serde_json::from_slice(&plain).map_err(|_| OpenError::Invalid)
}

/// Seals upstream tokens for their place: this server's instance, the identity, the user, the credential's name.
pub fn seal_tokens(
    keys: &Keys,
    entropy: &dyn Entropy,
    (identity, user, name): (&str, &UserId, &str),
    tokens: &UpstreamTokens,
) -> Sealed {
    let place = credential_place(keys, identity, user, name);
    keys.seal(entropy, Ring::Credential, CREDENTIAL, &parts(&place), &json(tokens))
}

/// Opens what [`seal_tokens`] sealed.
///
/// # Errors
/// [`OpenError::UnknownKey`] while the key file is older than the value; else [`OpenError::Invalid`].
pub fn open_tokens(
    keys: &Keys,
    (identity, user, name): (&str, &UserId, &str),
    sealed: &Sealed,
) -> Result<UpstreamTokens, OpenError> {
    let place = credential_place(keys, identity, user, name);
    let plain = keys.open(Ring::Credential, CREDENTIAL, &parts(&place), sealed)?;
    serde_json::from_slice(&plain).map_err(|_| OpenError::Invalid)
}

/// Seals the identity's tokens of a finished sign-in. A provider that leaves the refresh token out when the user
/// consents again means that the previous one goes on (attack 68), so that one is kept.
///
/// # Errors
/// When the store cannot tell whether there is a previous one.
pub async fn seal_sign_in(
    server: &Server,
    user: &UserId,
    mut tokens: UpstreamTokens,
) -> Result<Sealed, StoreError> {
    let identity = server.config.identity.id();
    let place = (identity.as_str(), user, IDENTITY_CREDENTIAL);
    if tokens.refresh.is_none()
        && let Some(previous) = server.store.credential(user, IDENTITY_CREDENTIAL).await?
        && let Ok(previous) = open_tokens(&server.keys, place, &previous.sealed)
        && previous.client_id == tokens.client_id
    {
        tokens.refresh.clone_from(&previous.refresh);
    }
    Ok(seal_tokens(&server.keys, server.entropy.as_ref(), place, &tokens))
}

fn credential_place(keys: &Keys, identity: &str, user: &UserId, name: &str) -> [Vec<u8>; 4] {
    [keys.instance().into_bytes(), identity.into(), user.as_bytes().to_vec(), name.into()]
}

fn parts<const N: usize>(place: &[Vec<u8>; N]) -> [&[u8]; N] {
    place.each_ref().map(Vec::as_slice)
}

#[expect(clippy::expect_used, reason = "texts, numbers and lists of texts always become JSON")]
fn json(value: &impl serde::Serialize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(value).expect("serializable"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatehouse_gateway_config::keys::Keyring;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    fn tokens() -> UpstreamTokens {
        UpstreamTokens {
            access: "gho_alice".into(),
            refresh: Some("ghr_alice".into()),
            expires_at: Some(5),
            issued_at: None,
            client_id: "Ov23".into(),
        }
    }

    #[test]
    fn a_credential_opens_for_its_own_identity_user_and_name_only() {
        let keys = Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(1)), Arc::new(ManualClock::at(0)));
        let entropy = SeededEntropy::new(2);
        let (alice, bob) = (UserId::from_bytes([1; 32]), UserId::from_bytes([2; 32]));
        let sealed = seal_tokens(&keys, &entropy, ("github", &alice, "me"), &tokens());
        assert_eq!(open_tokens(&keys, ("github", &alice, "me"), &sealed).unwrap(), tokens());
        for place in [("github", &bob, "me"), ("gitlab", &alice, "me"), ("github", &alice, "jira")] {
            assert_eq!(open_tokens(&keys, place, &sealed), Err(OpenError::Invalid), "{place:?}");
        }
        let elsewhere =
            Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(3)), Arc::new(ManualClock::at(0)));
        assert_eq!(open_tokens(&elsewhere, ("github", &alice, "me"), &sealed), Err(OpenError::Invalid));
    }

    #[test]
    fn a_profile_opens_for_its_own_user_only() {
        let keys = Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(1)), Arc::new(ManualClock::at(0)));
        let (alice, bob) = (UserId::from_bytes([1; 32]), UserId::from_bytes([2; 32]));
        let profile = Profile { subject: "1".into(), ..Profile::default() };
        let sealed = seal_profile(&keys, &SeededEntropy::new(2), &alice, &profile);
        assert_eq!(open_profile(&keys, &alice, &sealed).unwrap(), profile);
        assert_eq!(open_profile(&keys, &bob, &sealed), Err(OpenError::Invalid));
    }
}
