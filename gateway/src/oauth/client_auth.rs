//! How a client proves itself at the token endpoint: `none`, `client_secret_post`, `client_secret_basic`.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    OAuthError,
    clients::{self, Secrets},
    params::{self, Params},
};
use crate::{keys::OpenError, model::Client, server::Server};

/// Credentials as they were presented, unproven.
struct Presented {
    client_id: String,
    /// What the secret may be: it is not said whether it is encoded.
    secrets: Vec<Zeroizing<String>>,
    basic: bool,
}

/// The client of a token request. An unknown or expired one is `invalid_client`, which makes clients register anew.
pub fn authenticate(server: &Server, headers: &HeaderMap, params: &Params) -> Result<Client, OAuthError> {
    let Presented { client_id, secrets: presented, basic } = read(headers, params)?;
    let refused = |description| OAuthError::InvalidClient { description, basic };
    // A used client lives as long as any token of it: only a new code asks for a registration that is young enough.
    let look_up = match params.one("grant_type")? {
        Some("authorization_code") => clients::find,
        _ => clients::find_used,
    };
    let client = look_up(server, &client_id).map_err(|error| match error {
        OpenError::UnknownKey => OAuthError::KEY_NOT_READ,
        OpenError::Invalid => {
            refused("the client is unknown or its registration has expired, register again")
        }
    })?;
    match Secrets::of(server, &client) {
        Secrets::Public if presented.is_empty() => Ok(client),
        Secrets::Public => Err(refused("the client is public and has no client_secret")),
        Secrets::AnyOf(secrets) if secrets.is_empty() => {
            tracing::warn!(client = client.id, "none of the client's Secrets exists: it is refused");
            Err(refused("the client's secret is not set up here, ask the administrator"))
        }
        Secrets::AnyOf(_) if presented.is_empty() => {
            Err(refused("the client must authenticate with its client_secret"))
        }
        secrets if secrets.hold(&presented) => Ok(client),
        Secrets::AnyOf(_) => Err(refused("the client_secret is wrong")),
    }
}

/// Reads the credentials from exactly one place (RFC 6749 section 2.3).
fn read(headers: &HeaderMap, params: &Params) -> Result<Presented, OAuthError> {
    let (body_id, body_secret) = (params.some("client_id")?, params.some("client_secret")?);
    let refused = |description| OAuthError::InvalidClient { description, basic: true };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        let client_id =
            body_id.ok_or(OAuthError::InvalidClient { description: "client_id is missing", basic: false })?;
        let secrets = body_secret.map(|secret| secret.to_owned().into()).into_iter().collect();
        return Ok(Presented { client_id: client_id.to_owned(), secrets, basic: false });
    };
    if values.next().is_some() {
        return Err(refused("there is more than one Authorization header"));
    }
    let (client_id, secrets) = value
        .to_str()
        .ok()
        .and_then(read_basic)
        .ok_or_else(|| refused("the Authorization header is not valid Basic"))?;
    if body_secret.is_some() {
        return Err(refused("the client authenticated in two ways at once"));
    }
    // Some clients send their id in the body beside Basic.
    if body_id.is_some_and(|id| id != client_id) {
        return Err(refused("client_id differs from the one in the Authorization header"));
    }
    Ok(Presented { client_id, secrets, basic: true })
}

/// `Basic base64(id ":" secret)`. Some clients form-encode both parts (RFC 6749 section 2.3.1), some do not. Ids
/// consist of characters that encode to themselves; a listed client's secret may not, so it is taken both ways.
fn read_basic(value: &str) -> Option<(String, Vec<Zeroizing<String>>)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (id, raw) = text.split_once(':')?;
    let decoded = params::decode(raw.as_bytes()).filter(|decoded| decoded != raw);
    let secrets = [Some(raw.to_owned()), decoded].into_iter().flatten().filter(|secret| !secret.is_empty());
    Some((params::decode(id.as_bytes())?, secrets.map(Zeroizing::new).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_read_raw_and_form_encoded() {
        let basic = |text: &str| read_basic(&format!("basic {}", STANDARD.encode(text)));
        let secrets = |secrets: &[&str]| {
            let secrets = secrets.iter().map(|secret| Zeroizing::new((*secret).to_owned()));
            Some(("gc_a-b".to_owned(), secrets.collect::<Vec<_>>()))
        };
        assert_eq!(basic("gc_a-b:s_c"), secrets(&["s_c"]));
        assert_eq!(basic("gc%5Fa%2Db:s%5fc"), secrets(&["s%5fc", "s_c"]));
        assert_eq!(basic("gc_a-b:a+b%:"), secrets(&["a+b%:"]));
        assert_eq!(basic("gc_a-b:"), secrets(&[]));
        for bad in ["gc_a", "gc%:x", "\u{ff}%ff:x"] {
            assert_eq!(basic(bad), None, "{bad}");
        }
        for bad in ["", "Basic", "Basic !", "Bearer x", "Basic  "] {
            assert_eq!(read_basic(bad), None, "{bad}");
        }
    }
}
