//! The client credentials grant (RFC 6749 section 4.4): a robot that the policy names acts for itself. Its subject is
//! its client id, which `access` decides about on each call as about any user's.

use axum::response::Response;
use gatehouse_gateway_config::policy::ClientGrant;

use super::{
    OAuthError,
    clients::Secrets,
    finish,
    params::Params,
    token::{self, Tokens},
};
use crate::{
    audit::{Decision, Event},
    credentials::seal_profile,
    model::{AccessToken, Client, Grant, GrantId, Profile, user::CLIENT_IDENTITY},
    server::Server,
    store::{RobotGrant, UserUpdate},
};

/// Gives an access token, and no refresh token (section 4.4.3).
pub(super) async fn issue(
    server: &Server,
    client: &Client,
    params: &Params,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    // Whoever knows a public client's id would be the robot.
    let public = matches!(Secrets::of(server, client), Secrets::Public);
    if public || !client.may_use(ClientGrant::ClientCredentials) {
        return Err(OAuthError::UnauthorizedClient("the client may not use client_credentials"));
    }
    let profile =
        Profile { subject: client.id.clone(), name: Some(client.name().to_owned()), ..Profile::default() };
    let heard = admit(server, &profile).await?;
    let scopes = &server.scopes;
    let may = scopes.of_client(client.scopes());
    let asked = scopes.asked(params.one("scope")?, may).ok_or(OAuthError::InvalidScope)?;
    let held = scopes.held(&scopes.text(asked), &profile, may);
    if held.is_empty() {
        return Err(OAuthError::InvalidScope);
    }
    let scope = scopes.text(held);
    let access = AccessToken::mint(&server.keys, server.entropy.as_ref());
    let lifetimes = &server.config.policy.lifetimes;
    let mut robot = RobotGrant {
        user: user(server, &profile),
        grant: grant(server, client, &profile, scope),
        access: access.hash(),
        life: lifetimes.access_token.min(lifetimes.sign_in),
        heard,
    };
    // Once more for each word of the operator's that was not heard here yet.
    let ended = loop {
        match server.store.grant_robot(&robot).await? {
            Some(ended) => break ended,
            None => robot.heard = admit(server, &profile).await?,
        }
    };
    finish::tell_ended(&server.audit, &ended);
    event.decide(Decision::RobotTokenIssued).grant(&robot.grant);
    let tokens = Tokens { access: access.expose(), refresh: None };
    Ok(token::answer_texts(tokens, robot.life, &robot.grant.scope))
}

/// Whether `access` lets the client in; by what was heard of the operator's word.
async fn admit(server: &Server, profile: &Profile) -> Result<String, OAuthError> {
    let mut heard = server.learn_heard();
    if !server.allows(profile) {
        // It may be allowed again: a token's step would say so, and is not asked for who is refused.
        server.learn_denial().await?;
        heard = server.learn_heard();
    }
    if server.allows(profile) {
        return Ok(heard);
    }
    let why = "access of this server does not allow the client; its subject is its client_id";
    Err(OAuthError::UnauthorizedClient(why))
}

fn user(server: &Server, profile: &Profile) -> UserUpdate {
    let id = server.keys.user_id(CLIENT_IDENTITY, profile);
    let profile = seal_profile(&server.keys, server.entropy.as_ref(), &id, profile);
    UserUpdate { id, identity: CLIENT_IDENTITY.to_owned(), profile }
}

fn grant(server: &Server, client: &Client, profile: &Profile, scope: String) -> Grant {
    Grant {
        id: GrantId::random(server.entropy.as_ref()),
        client_id: client.id.clone(),
        client_name: client.name().to_owned(),
        user: server.keys.user_id(CLIENT_IDENTITY, profile),
        identity: CLIENT_IDENTITY.to_owned(),
        scope,
        resource: server.urls.resource.clone(),
        redirect_uri: String::new(),
        redirect_uri_implied: false,
        by_assertion: false,
        created: server.clock.unix(),
    }
}
