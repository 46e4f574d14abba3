//! Verifying an ID token (OIDC Core section 3.1.3.7).

use std::{
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    ClaimsVerificationError, ClientId, IssuerUrl, Nonce, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet},
};

use super::claims::Claims;
use crate::jws::{ALGORITHMS, SKEW};

/// ID tokens with hundreds of groups reach some 20 KB.
const TOKEN_LIMIT: usize = 128 * 1024;

/// What an ID token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: Option<&'a str>,
    /// In milliseconds since 1970.
    pub(super) now: i64,
}

/// Why an ID token is not believed. Nothing of it is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the ID token is malformed")]
    Malformed,
    #[error("the ID token is signed by a key that the provider does not publish")]
    UnknownKey,
    #[error("the ID token's signature is wrong, or of an algorithm that is not accepted")]
    Signature,
    #[error("the ID token's issuer is another")]
    Issuer,
    #[error("the ID token is for another audience")]
    Audience,
    #[error("the ID token's nonce is not that of this sign-in")]
    Nonce,
    #[error("the ID token has expired; are the clocks right?")]
    Expired,
    #[error("the ID token's claims are not acceptable")]
    Claims,
}

/// Verifies a token and gives its claims.
pub(super) fn verify(
    token: &str,
    expected: &Expected<'_>,
    keys: &CoreJsonWebKeySet,
) -> Result<Claims, Error> {
    if token.len() > TOKEN_LIMIT {
        return Err(Error::Malformed);
    }
    let parsed = CoreIdToken::from_str(token).map_err(|_| Error::Malformed)?;
    let issuer = IssuerUrl::new(expected.issuer.to_owned()).map_err(|_| Error::Issuer)?;
    let client_id = ClientId::new(expected.client_id.to_owned());
    let now = Duration::from_millis(u64::try_from(expected.now).unwrap_or_default());
    let lenient = now.saturating_sub(SKEW);
    let verifier = CoreIdTokenVerifier::new_public_client(client_id, issuer, keys.clone())
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || (UNIX_EPOCH + lenient).into());
    let nonce = expected.nonce.map(|nonce| Nonce::new(nonce.to_owned()));
    let checked = match &nonce {
        Some(nonce) => parsed.claims(&verifier, nonce),
        None => parsed.claims(&verifier, |_: Option<&Nonce>| Ok(())),
    };
    checked.map_err(|error| reason(&error))?;
    payload(token).ok_or(Error::Malformed)
}

/// The claims of a token whose signature was verified, as they are: a profile may be made of any of them.
fn payload(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok().map(Claims::of_id_token)
}

fn reason(error: &ClaimsVerificationError) -> Error {
    match error {
        ClaimsVerificationError::Expired(_) => Error::Expired,
        ClaimsVerificationError::InvalidAudience(_) => Error::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => Error::Issuer,
        ClaimsVerificationError::InvalidNonce(_) => Error::Nonce,
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            Error::UnknownKey
        }
        ClaimsVerificationError::SignatureVerification(_) => Error::Signature,
        _ => Error::Claims,
    }
}
