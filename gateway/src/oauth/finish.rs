//! The end of a sign-in: user, credential, grant and code in one step, then the redirect that carries the code.

use axum::{http::HeaderMap, response::Response};
use gatehouse_gateway_config::{CredentialKind, IdentityConfig};

use super::{
    Failure, OAuthError, account, clients,
    cookies::{CookieSecret, SESSION_LIFE},
    failure::Over,
    redirect, session,
};
use crate::{
    audit::{Audit, Decision, Event},
    credentials::standing::{to_its_end, told},
    keys::{Sealed, open_for, seal_for},
    model::{
        AuthorizationCode, Client, Flow, FlowKind, FlowRequest, FlowState, Grant, GrantId, Hash32, Profile,
        RedirectUri,
        access::{Attribute, Decision as Access},
    },
    server::Server,
    store::{CodeStanding, Completion, StoreError, UserUpdate},
};

/// What a client learns whose user is not allowed.
pub(super) const NOT_ALLOWED: OAuthError =
    OAuthError::AccessDenied("the user signed in but is not allowed to use this server");

/// Finishes an approved flow, in this attempt, for `user`, who was admitted by `rules`; `event` is of the request. The
/// browser whose `headers` these are gets a session: it shows who signed in here last, and opens the user's own page; no
/// approval depends on it.
pub(super) async fn finish(
    server: &Server,
    (flow, attempt): (&Flow, u32),
    cookie: &CookieSecret,
    (user, scope, rules): (UserUpdate, String, Hash32),
    identity_credential: Option<Sealed>,
    headers: Option<&HeaderMap>,
    event: &Event,
) -> Result<Response, Failure> {
    let request = &flow.request;
    // Its life may have ended, or been ended, while the user was deciding.
    let client = clients::find(server, &request.client_id)?;
    let grant = grant(server, request, &user, scope);
    let code = AuthorizationCode::mint(&server.keys, server.entropy.as_ref(), grant.id);
    let location = redirect::with_code(server, request, code.expose());
    let place = request.id.as_bytes();
    let opened = headers.map(|headers| (headers, session::new(server, headers, &user.id)));
    let completion = Completion {
        flow: request.id,
        attempt,
        user,
        identity_credential,
        grant,
        rules,
        code: code.hash(),
        challenge: request.challenge.clone(),
        code_life: server.config.policy.lifetimes.authorization_code,
        client_life: clients::remembered_for(server, &client),
        consent: consent_hash(server, request),
        sealed_redirect: seal_for(cookie.expose(), server.entropy.as_ref(), place, location.as_bytes())
            .to_text(),
        session: opened.as_ref().map(|(_, (secret, session))| (secret.hash(), session.clone(), SESSION_LIFE)),
    };
    let id = completion.user.id;
    if complete(server, completion, event.beside(Decision::CodeIssued)).await? {
        let mut response = redirect::see_other(&location);
        if let Some((headers, (secret, _))) = opened {
            session::give(server, headers, (&secret, &id), &mut response).await;
        }
        return Ok(response);
    }
    // Somebody was faster: a second click, or a newer attempt.
    let flow = server.store.flow(&request.id).await?.ok_or(Failure::Expired)?;
    over(server, &flow, cookie).await
}

/// Whether the sign-in was finished. Its code is told in any case in which there is one: where this is not acknowledged,
/// whoever repeats the request gets it.
async fn complete(server: &Server, completion: Completion, mut issued: Event) -> Result<bool, StoreError> {
    let (store, audit) = (server.store.clone(), server.audit.clone());
    to_its_end(&server.tasks, async move {
        let (ended, all) = told(store.complete_flow(&completion).await);
        if let Some(ended) = &ended {
            audit.write(issued.grant(&completion.grant));
            tell_ended(&audit, ended);
        }
        all.map(|()| ended.is_some())
    })
    .await
}

/// Tells of grants that ended because there was one more.
pub(super) fn tell_ended(audit: &Audit, grants: &[Grant]) {
    for grant in grants {
        audit.write(Event::new(Decision::GrantRevoked).grant(grant).because("too_many"));
    }
}

/// What a flow answers that is over: the same redirect while its code can still be redeemed (a redeemed code, sent
/// again, would revoke the sign-in), else a page.
pub(super) async fn over(server: &Server, flow: &Flow, cookie: &CookieSecret) -> Result<Response, Failure> {
    match &flow.state {
        FlowState::Done { sealed_redirect, code } => {
            let place = flow.request.id.as_bytes();
            let location = Sealed::from_text(sealed_redirect)
                .and_then(|sealed| open_for(cookie.expose(), place, &sealed));
            let location = location.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
            match (server.store.code_standing(code).await?, location) {
                (CodeStanding::Waits, Some(location)) => Ok(redirect::see_other(location)),
                (CodeStanding::Redeemed, _) => Err(Failure::Over(Over::Finished)),
                (CodeStanding::Waits | CodeStanding::Gone, _) => Err(Failure::Over(Over::Lapsed)),
            }
        }
        FlowState::Denied => Err(Failure::Over(Over::Declined)),
        FlowState::Pending { .. } | FlowState::Approved { .. } => Err(Failure::Expired),
    }
}

fn grant(server: &Server, request: &FlowRequest, user: &UserUpdate, scope: String) -> Grant {
    Grant {
        id: GrantId::random(server.entropy.as_ref()),
        client_id: request.client_id.clone(),
        client_name: request.client_name.clone(),
        user: user.id,
        identity: user.identity.clone(),
        scope,
        resource: request.resource.clone(),
        redirect_uri: request.redirect_uri.clone(),
        redirect_uri_implied: request.redirect_uri_implied,
        by_assertion: request.by_assertion,
        created: server.clock.unix(),
    }
}

/// What the user is granted of what the client asked for; `None`: nothing is left. (The account page asks for nothing.)
pub(super) fn scope_for(server: &Server, request: &FlowRequest, profile: &Profile) -> Option<String> {
    if request.kind == FlowKind::Account {
        return Some(String::new());
    }
    // The policy may have changed since the client asked. One that it names no more is refused where the code is made.
    let client = clients::find_used(server, &request.client_id).ok();
    let may = server.scopes.of_client(client.as_ref().and_then(Client::scopes));
    let held = server.scopes.held(&request.scope, profile, may);
    (!held.is_empty()).then(|| server.scopes.text(held))
}

/// What a remembered consent is about: client, redirect URI without its loopback port, scope, upstream accounts, and the
/// client's document as it was: one that changed under its URL may be another application.
pub(super) fn consent_hash(server: &Server, request: &FlowRequest) -> Hash32 {
    let redirect_uri = RedirectUri::parse(&request.redirect_uri)
        .map_or_else(|_| request.redirect_uri.clone(), |uri| uri.without_loopback_port());
    let scopes: &[String] = match &server.config.identity {
        IdentityConfig::Oauth2(config) => &config.scopes,
        IdentityConfig::Oidc(config) => &config.scopes,
        IdentityConfig::Local(_) => &[],
    };
    let accounts: Vec<&str> = server
        .config
        .credentials
        .iter()
        .filter(|credential| matches!(credential.kind, CredentialKind::FromIdentity))
        .map(|credential| credential.name.as_str())
        .collect();
    let identity = server.config.identity.id();
    let scopes = scopes.join(" ");
    let accounts = accounts.join(" ");
    let document = request.document.as_ref().map(Hash32::to_string);
    let mut parts = vec![&request.client_id, &redirect_uri, &request.scope, &identity, &scopes, &accounts];
    parts.extend(&document);
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Hash32::of(&bytes)
}

/// The client's name, and the link by which a user who gives up tells it so; without a client, the user's own page.
pub(super) fn give_up(server: &Server, request: &FlowRequest, error: &OAuthError) -> (String, String) {
    if request.kind == FlowKind::Account {
        return ("your account".to_owned(), account::link(server));
    }
    let to = redirect::with_error(server, &request.redirect_uri, request.state.as_deref(), error);
    (request.client_name.clone(), to)
}

/// A user's name and address, for the user.
pub(super) fn who(profile: &Profile) -> String {
    match (&profile.name, &profile.verified_email) {
        (Some(name), Some(email)) => format!("{name} ({email})"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => profile.subject.clone(),
    }
}

/// What a user reads whom `access` cannot judge, because the identity provider withheld what it needs. The user may
/// have done that: by removing a scope from the address of the provider's page, or by not ticking a permission.
pub(super) fn withheld(server: &Server, profile: &Profile) -> Option<String> {
    let Access::Unknown(attribute) = server.decide(profile) else {
        return None;
    };
    let preset = match &server.config.identity {
        IdentityConfig::Oauth2(config) => config.provider,
        IdentityConfig::Oidc(_) | IdentityConfig::Local(_) => None,
    };
    let scope = preset.and_then(|preset| match attribute {
        Attribute::Email => preset.email_scope(),
        Attribute::Groups => preset.groups_scope(),
    });
    let what = match attribute {
        Attribute::Email => "verified e-mail address",
        Attribute::Groups => "groups",
    };
    let lacks = match (&server.config.identity, scope, attribute) {
        (_, Some(scope), _) => format!("the permission \"{scope}\""),
        (IdentityConfig::Oidc(config), _, Attribute::Email) => {
            format!("the claim \"{}\"", config.email_claim)
        }
        (IdentityConfig::Oidc(config), _, Attribute::Groups) => {
            format!("the claim \"{}\"", config.groups_claim)
        }
        _ => "that part of the profile".to_owned(),
    };
    let (name, provider) = (server.display_name(), server.config.identity.display_name());
    Some(format!(
        "{name} lets people in by their {what}, and {provider} did not tell yours: {lacks} is missing. Sign in \
         again without taking permissions away; if that does not help, tell the administrator of {name}."
    ))
}
