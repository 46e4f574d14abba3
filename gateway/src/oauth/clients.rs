//! Who a client id stands for: a client that the policy names, one whose id is the URL of a document, or one that
//! registered itself.

use std::time::Duration;

use gatehouse_gateway_config::{
    KeyRef,
    policy::{ClientGrant, StaticClientConfig},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Failure, source::Source};
use crate::{
    client_document::{DocumentUrl, document::Auth},
    keys::OpenError,
    model::{
        AuthMethod, Client, FlowRequest, Grant, Hash32, ScopeSet,
        client::Origin,
        registration::{self, Registration},
        user::CLIENT_IDENTITY,
    },
    server::Server,
    web::Identified,
};

/// Finds a client that asks for a sign-in, which fetches its document. What that says is pinned by the flow and the
/// grant: later requests of a public client fetch nothing.
///
/// # Errors
/// As [`find`], or when its document is not good.
pub async fn find_to_authorize(server: &Server, source: &Source, id: &str) -> Result<Client, Failure> {
    let document = DocumentUrl::parse(id).filter(|_| listed(server, id).is_none());
    if let Some(why) = document.and_then(|url| closed_to(server, &url)) {
        return Err(Failure::BadDocument(why));
    }
    let mut client = find(server, id)?;
    if let Some(url) = document_of(&client) {
        let document = server.documents.get(&url, &server.config.policy.redirect_uris, source).await?;
        let by_assertion = document.auth != Auth::None;
        client.origin = Origin::Document { by_assertion, digest: Some(document.digest) };
        client.name = Some(document.name.clone());
        client.redirect_uris.clone_from(&document.redirect_uris);
    }
    Ok(client)
}

/// The URL of a client's document, if it has one.
pub fn document_of(client: &Client) -> Option<DocumentUrl> {
    if matches!(client.origin, Origin::Document { .. }) { DocumentUrl::parse(&client.id) } else { None }
}

/// Who vouches for the name of the client that asks.
pub fn identified(server: &Server, request: &FlowRequest) -> Identified {
    let id = &request.client_id;
    match find_used(server, id).map(|client| client.origin) {
        Ok(Origin::Document { .. }) => DocumentUrl::parse(id).map_or(Identified::Itself, |url| {
            Identified::Document { host: url.host().to_owned(), signs: request.by_assertion }
        }),
        Ok(Origin::Listed(config)) => Identified::Listed { has_secret: !config.secrets.is_empty() },
        Ok(Origin::Registered { .. }) | Err(_) => Identified::Itself,
    }
}

/// Finds a client that begins something. Of one with a document only the id is known: nothing is fetched, and it
/// counts as public until it proves more.
///
/// # Errors
/// [`OpenError::Invalid`] when it is unknown, expired or revoked; [`OpenError::UnknownKey`] when it may be known in a
/// moment: also while this replica does not know the time.
pub fn find(server: &Server, id: &str) -> Result<Client, OpenError> {
    look_up(server, id, || server.store.unix().ok_or(OpenError::UnknownKey))
}

/// Finds a client that goes on with what it was given: a registration that is used lives as long as any token of it.
///
/// # Errors
/// As [`find`], except that nothing expires.
pub fn find_used(server: &Server, id: &str) -> Result<Client, OpenError> {
    // Before all time nothing has expired.
    look_up(server, id, || Ok(i64::MIN))
}

fn look_up(
    server: &Server,
    id: &str,
    now: impl FnOnce() -> Result<i64, OpenError>,
) -> Result<Client, OpenError> {
    if let Some(listed) = listed(server, id) {
        return Client::listed(listed).ok_or(OpenError::Invalid);
    }
    if let Some(url) = DocumentUrl::parse(id) {
        return from_document(server, &url);
    }
    Registration::open(&server.keys, &server.config.policy.registration, now()?, id).map(Client::from)
}

/// A client that the policy names.
fn listed<'a>(server: &'a Server, id: &str) -> Option<&'a StaticClientConfig> {
    server.config.policy.clients.iter().find(|listed| listed.client_id == id)
}

/// Why no client is admitted whose id is this URL of a document, in words for a person: registering anew, as unknown clients
/// are told to, would be no help.
fn closed_to(server: &Server, url: &DocumentUrl) -> Option<&'static str> {
    if !server.takes_documents() {
        return Some(
            "It identifies itself by a document, and this server takes none. Its administrator can allow it.",
        );
    }
    let policy = server.config.policy.metadata_documents.as_ref();
    policy.is_some_and(|policy| !policy.admits(url.host())).then_some(
        "It identifies itself by a document on a host that this server's client policy does not name. The \
         administrator can allow it.",
    )
}

/// A client of which only the URL of its document is known, if the policy admits such.
fn from_document(server: &Server, url: &DocumentUrl) -> Result<Client, OpenError> {
    if closed_to(server, url).is_some() {
        return Err(OpenError::Invalid);
    }
    Ok(Client {
        id: url.as_str().to_owned(),
        name: Some(url.host().to_owned()),
        redirect_uris: Vec::new(),
        origin: Origin::Document { by_assertion: false, digest: None },
    })
}

/// Whether the client that holds `grant` may still come, by the policy as it is now, and the scopes that it may have.
///
/// # Errors
/// As [`find_used`].
pub fn may_hold(server: &Server, grant: &Grant) -> Result<ScopeSet, OpenError> {
    let needed = if grant.identity == CLIENT_IDENTITY {
        ClientGrant::ClientCredentials
    } else {
        ClientGrant::AuthorizationCode
    };
    let client = find_used(server, &grant.client_id)?;
    if client.may_use(needed) {
        Ok(server.scopes.of_client(client.scopes()))
    } else {
        Err(OpenError::Invalid)
    }
}

/// What a client may prove itself with.
pub enum Secrets {
    /// Nothing: it is public.
    Public,
    /// Any of these. None, when the Secrets of a listed client do not exist or are empty.
    AnyOf(Vec<Zeroizing<String>>),
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Public => f.write_str("Public"),
            Self::AnyOf(secrets) => write!(f, "AnyOf({})", secrets.len()),
        }
    }
}

impl Secrets {
    /// The secrets of a client as they are now: mounted Secrets change without a restart.
    pub fn of(server: &Server, client: &Client) -> Self {
        match &client.origin {
            Origin::Registered { auth_method: AuthMethod::None, .. } | Origin::Document { .. } => {
                Self::Public
            }
            Origin::Registered { .. } => {
                Self::AnyOf(registration::secret_of(&server.keys, &client.id).into_iter().collect())
            }
            Origin::Listed(config) if config.secrets.is_empty() => Self::Public,
            Origin::Listed(config) => {
                Self::AnyOf(config.secrets.iter().filter_map(|key| mounted(server, key)).collect())
            }
        }
    }

    /// Whether any of `presented` is one of them. All are compared, by their hashes, in a time that tells nothing of
    /// them.
    pub fn hold(&self, presented: &[Zeroizing<String>]) -> bool {
        let Self::AnyOf(secrets) = self else { return false };
        let hash = |secret: &Zeroizing<String>| Hash32::of(secret.as_bytes());
        let equal = |a: &Hash32, b: &Hash32| a.as_bytes().ct_eq(b.as_bytes());
        let pairs =
            secrets.iter().map(hash).flat_map(|ours| presented.iter().map(move |p| equal(&ours, &hash(p))));
        pairs.fold(subtle::Choice::from(0), |any, this| any | this).into()
    }
}

fn mounted(server: &Server, key: &KeyRef) -> Option<Zeroizing<String>> {
    let value = server.refs.present(key);
    let text = value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    // A line break at the end is an editor's.
    let text = text.map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
    text.map(|text| Zeroizing::new(text.to_owned()))
}

/// How long what is remembered of a client's use may be needed: until its registration ends, or as long as a sign-in.
pub fn remembered_for(server: &Server, client: &Client) -> Duration {
    let policy = &server.config.policy;
    match &client.origin {
        Origin::Registered { issued_at, .. } => {
            let age = server.store.unix().map_or(0, |now| now.saturating_sub(*issued_at));
            let age = u64::try_from(age).unwrap_or_default();
            policy.registration.lifetime.saturating_sub(Duration::from_secs(age))
        }
        Origin::Listed(_) | Origin::Document { .. } => policy.lifetimes.sign_in,
    }
}
