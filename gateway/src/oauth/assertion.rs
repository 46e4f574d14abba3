//! A client's assertion (RFC 7523 sections 2.2 and 3): a JWT that it signs for each request, instead of a secret.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::core::CoreJwsSigningAlgorithm;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::{OAuthError, source::Source};
use crate::{
    client_document::{Mismatch, Signed, Signing},
    jws::{ALGORITHMS, SKEW},
    model::Hash32,
    store::keys,
};

/// The one `client_assertion_type` (RFC 7523 section 2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Longer ones are not looked at.
const MAX_LEN: usize = 8 * 1024;
/// How far ahead an assertion may expire: for so long it is good in the wrong hands.
const LONGEST: Duration = Duration::from_secs(600);
/// The longest `jti`, in bytes.
const MAX_JTI: usize = 256;

/// An assertion whose claims are as they must be, and whose signature nobody has looked at.
#[derive(Debug)]
pub struct UnverifiedAssertion {
    client_id: String,
    jti: String,
    signed: Arc<Signed>,
}

/// What must be there, and what is looked at where it is.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: Number,
    nbf: Option<Number>,
    iat: Option<Number>,
    jti: String,
}

impl UnverifiedAssertion {
    /// Reads an assertion that is for one of `audiences`, at `now` since 1970.
    ///
    /// # Errors
    /// When it is malformed, or a claim is not what RFC 7523 section 3 asks for.
    pub fn read(text: &str, audiences: &[String], now: Duration) -> Result<Self, &'static str> {
        const MALFORMED: &str = "the client_assertion is not a signed JWT with iss, sub, aud, exp and jti";
        let parts = text.rsplit_once('.').filter(|_| text.len() <= MAX_LEN);
        let (message, signature) = parts.ok_or(MALFORMED)?;
        let (header, claims) = message.split_once('.').ok_or(MALFORMED)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let header: Map<String, Value> = serde_json::from_slice(&decode(header)?).map_err(|_| MALFORMED)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| MALFORMED)?;
        let signature = decode(signature)?;
        // An extension that we do not know could change what the rest means (RFC 7515 section 4.1.11).
        if header.contains_key("crit") {
            return Err("the client_assertion has critical header parameters, which are not understood here");
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(key_id)) => Some(key_id.clone()),
            Some(_) => return Err(MALFORMED),
        };
        claims.check(audiences, now)?;
        let signed = Signed {
            key_id,
            algorithm: algorithm(&header)?,
            message: message.as_bytes().to_vec(),
            signature,
        };
        Ok(Self { client_id: claims.sub, jti: claims.jti, signed: Arc::new(signed) })
    }

    /// Who signed it, if the signature is right.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Verifies the signature; what is remembered of the assertion when it is spent.
    ///
    /// # Errors
    /// When it cannot be looked at now; within, when it is not the client's.
    pub async fn verify(
        &self,
        source: &Source,
        signing: &Signing,
    ) -> Result<Result<Hash32, Mismatch>, OAuthError> {
        let verified = signing.verify(source, &self.signed).await?;
        Ok(verified.map(|()| keys::assertion_id(&self.client_id, &self.jti)))
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<CoreJwsSigningAlgorithm, &'static str> {
    let named = header.get("alg").and_then(|name| serde_json::from_value(name.clone()).ok());
    named
        .filter(|algorithm| ALGORITHMS.contains(algorithm))
        .ok_or("the client_assertion is signed by an algorithm that is not accepted")
}

impl Claims {
    fn check(&self, audiences: &[String], now: Duration) -> Result<(), &'static str> {
        if self.iss != self.sub {
            return Err("iss and sub of the client_assertion must both be the client_id");
        }
        // With a second audience, that one could use it here.
        let audience = match &self.aud {
            Value::Array(all) if all.len() == 1 => &all[0],
            one => one,
        };
        if !audience.as_str().is_some_and(|audience| audiences.iter().any(|ours| ours == audience)) {
            return Err(
                "aud of the client_assertion must be the issuer or the token endpoint, and nothing else",
            );
        }
        let expires = time(&self.exp).ok_or("exp of the client_assertion is not a time")?;
        if expires + SKEW <= now {
            return Err("the client_assertion has expired; are the clocks right?");
        }
        if expires > now + LONGEST {
            return Err("the client_assertion expires more than ten minutes from now");
        }
        let begun = |number: &Option<Number>| {
            number.as_ref().is_none_or(|number| time(number).is_some_and(|time| time <= now + SKEW))
        };
        if !begun(&self.nbf) || !begun(&self.iat) {
            return Err("the client_assertion is of the future; are the clocks right?");
        }
        if self.jti.is_empty() || self.jti.len() > MAX_JTI {
            return Err("jti of the client_assertion must have 1 to 256 bytes");
        }
        Ok(())
    }
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction; `None` when it is before 1970 or beyond all time.
fn time(number: &Number) -> Option<Duration> {
    Duration::try_from_secs_f64(number.as_f64()?).ok()
}
