//! How a client proves itself at the token endpoint: `none`, `client_secret_post`, `client_secret_basic`, and
//! `private_key_jwt` for those whose document asks for it.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    OAuthError,
    assertion::{self, UnverifiedAssertion},
    clients::{self, Secrets},
    params::{self, Params},
    revoke,
    source::Source,
};
use crate::{
    client_document::{DocumentError, Mismatch, Signing},
    keys::OpenError,
    model::{AuthorizationCode, Client, Hash32},
    server::Server,
};

/// When to come again while the host of a document or of keys is away.
const RETRY: Duration = Duration::from_secs(5);

/// A client that proved itself as its registration asks.
#[derive(Debug)]
pub struct Proven {
    /// The client.
    pub client: Client,
    /// The assertion that proved it, which the step that follows must spend. A client with a document that shows none
    /// has proved nothing: whether that is enough is for the grant to say.
    pub assertion: Option<Hash32>,
}

/// Credentials as they were presented, unproven.
#[derive(Debug)]
struct Presented {
    client_id: String,
    /// What the secret may be: it is not said whether it is encoded.
    secrets: Vec<Zeroizing<String>>,
    basic: bool,
}

/// The client of a request to `endpoint`. An unknown or expired one is `invalid_client`, which makes clients register
/// anew.
pub async fn authenticate(
    server: &Server,
    (headers, source): (&HeaderMap, &Source),
    params: &Params,
    endpoint: &str,
) -> Result<Proven, OAuthError> {
    match read_assertion(headers, params)? {
        Some(text) => by_assertion((server, source), text, params, endpoint).await,
        None => Ok(Proven { client: by_secret(server, headers, params)?, assertion: None }),
    }
}

/// The secret counts, in whichever of the two places. A client registers one and ought to keep to it (RFC 7591 section 2),
/// but the MCP TypeScript SDK goes by what the metadata offers, `client_secret_basic` first, where its application kept
/// no more of the answer than id and secret, and older ones always. Holding it to its word would refuse a client that
/// has proven itself, and nobody else.
fn by_secret(server: &Server, headers: &HeaderMap, params: &Params) -> Result<Client, OAuthError> {
    let Presented { client_id, secrets: presented, basic } = read(headers, params)?;
    let refused = |description| OAuthError::InvalidClient { description, basic };
    let client = look_up(server, params, &client_id, basic)?;
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

fn look_up(server: &Server, params: &Params, id: &str, basic: bool) -> Result<Client, OAuthError> {
    // A used client lives as long as any token of it: only a new code asks for a registration that is young enough.
    let look_up = match params.one("grant_type")? {
        Some("authorization_code") => clients::find,
        _ => clients::find_used,
    };
    look_up(server, id).map_err(|error| match error {
        OpenError::UnknownKey => OAuthError::KEY_NOT_READ,
        OpenError::Invalid => {
            let description = "the client is unknown or its registration has expired, register again";
            OAuthError::InvalidClient { description, basic }
        }
    })
}

/// Reads an assertion, which must be the only proof (RFC 7521 section 4.2).
fn read_assertion<'a>(headers: &HeaderMap, params: &'a Params) -> Result<Option<&'a str>, OAuthError> {
    let basic = headers.contains_key(header::AUTHORIZATION);
    let refused = |description| Err(OAuthError::InvalidClient { description, basic });
    match (params.some("client_assertion")?, params.some("client_assertion_type")?) {
        (None, None) => Ok(None),
        (Some(_), _) if basic || params.some("client_secret")?.is_some() => {
            refused("the client authenticated in two ways at once")
        }
        (Some(text), Some(assertion::TYPE)) => Ok(Some(text)),
        _ => refused(
            "client_assertion goes with the client_assertion_type \
             urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    }
}

async fn by_assertion(
    (server, source): (&Server, &Source),
    text: &str,
    params: &Params,
    endpoint: &str,
) -> Result<Proven, OAuthError> {
    let refused = |description| OAuthError::InvalidClient { description, basic: false };
    let (urls, policy) = (&server.urls, &server.config.policy.redirect_uris);
    let audiences = [urls.issuer.clone(), urls.endpoint("/oauth/token"), urls.endpoint(endpoint)];
    // By one clock for all replicas: by its own, one that is slow would take what the others take no more.
    let now = server.store.unix().ok_or(OAuthError::NOT_DATED)?;
    let now = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let unverified = UnverifiedAssertion::read(text, &audiences, now).map_err(refused)?;
    if params.some("client_id")?.is_some_and(|id| id != unverified.client_id()) {
        return Err(refused("client_id differs from the sub of the client_assertion"));
    }
    let client = look_up(server, params, unverified.client_id(), false)?;
    let document = clients::document_of(&client);
    let document = document.ok_or(refused("the client does not authenticate by private_key_jwt"))?;
    let signing = async |newer| -> Result<Signing, OAuthError> {
        match server.documents.signing(&document, policy, source, newer).await {
            Ok(signing) => signing.ok_or(refused("the client's document does not ask for private_key_jwt")),
            Err(error) => Err(unproven(server, params, &client, error).await),
        }
    };
    let known = signing(false).await?;
    let mut spent = unverified.verify(source, &known).await?;
    if spent == Err(Mismatch::UnknownKey) {
        // It may have been added since.
        let newer = signing(true).await?;
        if newer.has_changed(&known) {
            spent = unverified.verify(source, &newer).await?;
        }
    }
    let spent = spent.map_err(|why| match why {
        Mismatch::UnknownKey => refused(
            "the client_assertion is signed by a key that the client does not publish, or that it must name (kid), for \
             there are many",
        ),
        Mismatch::Signature => refused("the signature of the client_assertion is wrong"),
    })?;
    Ok(Proven { client, assertion: Some(spent) })
}

/// A client whose word about itself cannot be had is a bad one, whatever stands in the way: strangers choose
/// what is fetched, and learn nothing from it. One that shows what it was given here was a good one, and its host is away:
/// it is asked to come again, for from `invalid_client` clients conclude that they are to begin anew.
async fn unproven(server: &Server, params: &Params, client: &Client, error: DocumentError) -> OAuthError {
    match error {
        DocumentError::Refused(description) => OAuthError::InvalidClient { description, basic: false },
        DocumentError::Away(description) | DocumentError::Inside(description) => {
            match shows_what_is_its_own(server, params, client).await {
                Ok(true) => OAuthError::Unavailable { retry_after: RETRY },
                Ok(false) => OAuthError::InvalidClient { description, basic: false },
                Err(error) => error,
            }
        }
        DocumentError::Busy(error) => error,
    }
}

/// Whether a request shows a code or a token of a grant that lives and is this client's.
async fn shows_what_is_its_own(
    server: &Server,
    params: &Params,
    client: &Client,
) -> Result<bool, OAuthError> {
    let grant = match (params.some("code")?, params.some("refresh_token")?, params.some("token")?) {
        (Some(code), ..) => match AuthorizationCode::parse(&server.keys, code) {
            Ok(code) => Some(code.grant),
            Err(OpenError::UnknownKey) => return Err(OAuthError::KEY_NOT_READ),
            Err(OpenError::Invalid) => None,
        },
        (None, Some(token), _) | (None, None, Some(token)) => revoke::grant_of(server, token).await?,
        (None, None, None) => None,
    };
    let Some(grant) = grant else { return Ok(false) };
    Ok(server.store.grant(&grant).await?.is_some_and(|grant| grant.client_id == client.id))
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
