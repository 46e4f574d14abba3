//! The code grant (RFC 6749 section 4.1.3): a code becomes tokens, once, if its user may still use the server.

use std::borrow::Cow;

use axum::response::Response;

use super::{OAuthError, authorize::check_resource, client_auth::Proven, entitlement, params::Params, token};
use crate::{
    audit::{Decision, Event},
    keys::OpenError,
    model::{AuthorizationCode, Client, Grant, Hash32, TokenPair, UserRecord, pkce},
    server::Server,
    store::{CodeProof, Redemption, Replay},
};

const REFUSED: OAuthError = OAuthError::InvalidGrant(Cow::Borrowed(
    "the code is unknown, expired, used, or was issued for another client, redirect_uri or code_verifier",
));

/// The first try, one after the user was judged, and one more for what changed meanwhile.
const TRIPS: usize = 3;

/// Redeems a code.
pub(super) async fn redeem(
    server: &Server,
    Proven { client, assertion }: &Proven,
    params: &Params,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    event.decide(Decision::CodeRefused);
    let presented =
        params.some("code")?.ok_or_else(|| OAuthError::InvalidRequest("code is missing".into()))?;
    let challenge = params.some("code_verifier")?.and_then(pkce::challenge_of).ok_or(REFUSED)?;
    let code = AuthorizationCode::parse(&server.keys, presented).map_err(|error| match error {
        OpenError::UnknownKey => OAuthError::KEY_NOT_READ,
        OpenError::Invalid => REFUSED,
    })?;
    let mut proof = CodeProof {
        code: code.hash(),
        grant: code.grant,
        client_id: client.id.clone(),
        redirect_uri: params.some("redirect_uri")?.map(str::to_owned),
        challenge,
        resource: check_resource(server, params)?.then(|| server.urls.resource.clone()),
        assertion: *assertion,
        heard: String::new(),
        rules: Hash32::of(b""),
        judged: None,
    };
    let pair = token::mint(server, code.grant, 1, None);
    let mut due: Option<(Box<Grant>, Box<UserRecord>)> = None;
    let mut held = None;
    // In one trip, as a rule: the user was judged when the code was issued.
    for _ in 0..TRIPS {
        let rules = server.rules(None);
        (proof.heard, proof.rules) = (rules.heard, rules.hash);
        if let Some((grant, user)) = due.take() {
            held = Some(judge((server, client), &grant, &user, event)?);
            proof.judged = Some(user.profile);
        }
        let redeemed = server.store.redeem_code(&proof, &token::new_tokens(server, &pair)).await;
        let ended = (&proof.grant, Decision::CodeReplayed);
        match redeemed.map_err(|failed| token::unfinished((server, client), ended, failed, event))? {
            Redemption::JudgementDue { grant, user } => due = Some((grant, user)),
            outcome => return answer((server, client), (&proof, &pair), outcome, held.as_deref(), event),
        }
    }
    Err(OAuthError::Unavailable { retry_after: token::RETRY })
}

/// What the user may have of the grant as things are now. Who may have nothing loses nothing: this replica may be the last
/// with the rules of before, and another may still redeem the code, which ends by itself.
fn judge(
    (server, client): (&Server, &Client),
    grant: &Grant,
    user: &UserRecord,
    event: &mut Event,
) -> Result<String, OAuthError> {
    event.grant(grant);
    entitlement::held(server, client, grant, user, None)
        .map_err(|refused| refused.answer(server, user, event))
}

fn answer(
    (server, client): (&Server, &Client),
    (proof, pair): (&CodeProof, &TokenPair),
    outcome: Redemption,
    held: Option<&str>,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    match outcome {
        Redemption::Redeemed { grant, access_life } => {
            event.decide(Decision::CodeRedeemed).grant(&grant);
            Ok(token::answer(pair, access_life, held.unwrap_or(&grant.scope)))
        }
        Redemption::Refused | Redemption::JudgementDue { .. } => Err(REFUSED),
        Redemption::AssertionSpent => Err(OAuthError::ASSERTION_SPENT),
        Redemption::Dead(user) => {
            event.user(&user.id).grant_id(&proof.grant).because("identity_dead");
            Err(OAuthError::InvalidGrant(server.credentials.expired_sentence().into()))
        }
        Redemption::Forged => {
            token::tell_forged(server, client, &proof.grant);
            Err(REFUSED)
        }
        Redemption::Replayed(replay) => {
            event.decide(Decision::CodeReplayed).grant_id(&proof.grant).because(match replay {
                Replay::Ended => token::GRANT_REVOKED,
                Replay::EndedBefore => "grant_ended_before",
                Replay::Parallel => "parallel",
            });
            Err(REFUSED)
        }
    }
}
