//! Who calls: the bearer token, and what the store says it stands for. Sessions never authenticate.

use std::sync::Arc;

use http::{HeaderMap, header};

use super::{Mcp, caller::Caller, refusal::Refusal, watch};
use crate::{
    credentials,
    keys::OpenError,
    metrics::CacheLabels,
    model::{
        AccessToken, Hash32, IdentityState, Profile, UserRecord, token::MAX_TOKEN_LEN, user::CLIENT_IDENTITY,
    },
    oauth::clients,
    server::{Identity, Server},
    store::{CallRecord, StoreError},
};

/// The caller of these headers: from memory where that may be believed, else by one question to the store.
pub(super) async fn authenticate(mcp: &Arc<Mcp>, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
    let token = bearer(headers)?;
    let access = AccessToken::hash_presented(token);
    let now = mcp.now();
    if let Some(caller) =
        mcp.cache.get(&access, now).filter(|c| is_present(&mcp.server, &c.record.user, &c.profile))
    {
        mcp.metrics.token_cache.get_or_create(&CacheLabels { result: "hit" }).inc();
        return Ok(caller);
    }
    // What somebody made up is refused without a look-up.
    AccessToken::check(&mcp.server.keys, token).map_err(not_open)?;
    let signed = AccessToken::hash_signed(token);
    if mcp.absent.has(&signed, now) {
        return Err(Refusal::BadToken);
    }
    mcp.metrics.token_cache.get_or_create(&CacheLabels { result: "miss" }).inc();
    let (mark, reader) = mcp.cache.begin(now);
    watch::start(mcp, reader);
    let record = look_up(mcp, &access, mark.is_none()).await.map_err(|error| {
        tracing::warn!(%error, "a call could not be checked");
        Refusal::Store
    })?;
    let Some(record) = record else {
        mcp.absent.insert(signed, mcp.now());
        return Err(Refusal::BadToken);
    };
    let caller = Arc::new(admit(&mcp.server, access, AccessToken::narrowed(token).as_deref(), record)?);
    if caller.record.user.state == IdentityState::Live {
        mcp.cache.insert(mark, &caller, mcp.now());
    }
    Ok(caller)
}

/// What the store knows of a token. While no reader listens, what was denied meanwhile is asked for at the same time.
async fn look_up(mcp: &Mcp, access: &Hash32, deaf: bool) -> Result<Option<CallRecord>, StoreError> {
    let store = &mcp.server.store;
    if !deaf {
        return store.call(access).await;
    }
    let (record, learned) = tokio::join!(store.call(access), mcp.server.learn_denial());
    learned?;
    record
}

/// The token of the one `Authorization` header (RFC 6750 section 2.1); tokens elsewhere are not looked at.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::NoToken)?;
    if values.next().is_some() {
        return Err(Refusal::BadToken);
    }
    let (scheme, token) = split_once(value.as_bytes()).ok_or(Refusal::NoToken)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::NoToken);
    }
    // Whatever stands there was meant as a token.
    let token = std::str::from_utf8(token).ok().filter(|token| token.is_ascii());
    let token = token.ok_or(Refusal::BadToken)?.trim();
    if token.is_empty() || token.len() > MAX_TOKEN_LEN { Err(Refusal::BadToken) } else { Ok(token) }
}

fn split_once(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    Some((&value[..space], &value[space + 1..]))
}

/// Whether what the store knows is good here: for this identity and this resource, held by a client that may still come.
/// `narrowed`: what the token itself says of its scope.
pub(super) fn admit(
    server: &Server,
    access: Hash32,
    narrowed: Option<&str>,
    record: CallRecord,
) -> Result<Caller, Refusal> {
    let (grant, user) = (&record.grant, &record.user);
    let ours = grant.identity == CLIENT_IDENTITY || grant.identity == server.config.identity.id();
    let here = ours && grant.resource == server.urls.resource;
    if !here || user.identity != grant.identity || grant.user != user.id {
        return Err(Refusal::BadToken);
    }
    let client = clients::may_hold(server, grant).map_err(not_open)?;
    let profile = profile(server, &record.user)?;
    let scopes = server.scopes.of_token(&record.scope, narrowed, &profile, client);
    let grantable = server.scopes.grantable(&profile).intersection(client);
    Ok(Caller::new(access, record, profile, scopes, grantable))
}

/// Opens a user's profile.
pub(super) fn profile(server: &Server, user: &UserRecord) -> Result<Profile, Refusal> {
    credentials::open_profile(&server.keys, &user.id, &user.profile).map_err(not_open)
}

fn not_open(error: OpenError) -> Refusal {
    match error {
        // The key file is newer on another replica: it is read again within seconds.
        OpenError::UnknownKey => Refusal::Store,
        OpenError::Invalid => Refusal::BadToken,
    }
}

/// Whether a user is, with `identity.local`, in the file as it is now. Who is not is not remembered: the call learns why
/// from its credentials.
fn is_present(server: &Server, user: &UserRecord, profile: &Profile) -> bool {
    match &server.identity {
        _ if user.identity == CLIENT_IDENTITY => true,
        Identity::Provider(_) => true,
        Identity::Local(users) => users.has(&profile.subject),
    }
}

/// Whether a user who listens may go on: alive, allowed, and with `identity.local` still in the file.
pub(super) fn may_listen(server: &Server, user: &UserRecord, profile: &Profile) -> bool {
    is_present(server, user, profile) && user.state == IdentityState::Live && server.allows(profile)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        assert_eq!(of(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(of(&["bearer abc"]), Ok("abc".to_owned()));
        for none in [&[][..], &["Basic abc"], &["Bearer"], &["abc"]] {
            assert_eq!(of(none), Err(Refusal::NoToken), "{none:?}");
        }
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_LEN + 1));
        for bad in [&["Bearer a", "Bearer b"][..], &["Bearer  "], &[&long], &["Bearer tök€n"]] {
            assert_eq!(of(bad), Err(Refusal::BadToken), "{bad:?}");
        }
        let binary = HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, binary)]);
        assert_eq!(bearer(&headers), Err(Refusal::BadToken));
    }
}
