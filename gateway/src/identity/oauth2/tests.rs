//! Against a strict provider of GitHub's shape; the other presets have stand-ins of their own.

mod atlassian;
mod bitbucket;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatehouse_gateway_config::{KeyRef, UserInfoConfig};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::*;
use crate::{
    clock::ManualClock,
    identity::fake::{CLIENT_ID, Fake, Fault, IMPATIENT, REDIRECT_URI, setup},
};

const NOW: i64 = 1_700_000_000;

/// The parameters of an authorization request, none of which may come twice (RFC 6749 section 3.1).
fn asked(url: &Url) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for (name, value) in url.query_pairs().into_owned() {
        assert_eq!(found.insert(name, value), None, "{url}");
    }
    found
}

/// What `Authorization` says after this scheme.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix(scheme)
}

/// The preset's configuration, as the operator renders it, at the stand-in of this address.
fn preset_at(preset: Preset, address: SocketAddr) -> OAuth2Config {
    let local = |url: &str| {
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap().1;
        format!("http://{address}/{path}")
    };
    let endpoints = preset.endpoints(None);
    let info = endpoints.user_info;
    OAuth2Config {
        provider: Some(preset),
        authorization_url: endpoints.authorization_url,
        token_url: local(&endpoints.token_url),
        user_info: UserInfoConfig {
            url: local(&info.url),
            emails_url: info.emails_url.as_deref().map(local),
            teams_url: info.teams_url.as_deref().map(local),
            ..info
        },
        client_id: CLIENT_ID.into(),
        client_secret: KeyRef::secret("github", "secret"),
        scopes: Vec::new(),
        extra_parameters: preset.parameters().iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        ca: None,
    }
}

/// Serves a stand-in.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn provider() -> (OAuth2, Arc<Fake>) {
    let fake = Fake::start().await;
    let provider = OAuth2::new(fake.github(), setup(Arc::new(ManualClock::at(NOW)))).unwrap();
    (provider, fake)
}

fn answer<'a>(code: &'a str, verifier: &'a str) -> UpstreamAnswer<'a> {
    UpstreamAnswer { code, iss: None, verifier, nonce: "n" }
}

async fn sign_in(provider: &OAuth2, fake: &Fake) -> Result<SignedIn, IdentityError> {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest("verifier"));
    fake.inner().codes.insert("code-1".into(), challenge);
    provider.exchange(answer("code-1", "verifier")).await
}

fn tokens(refresh: Option<&str>) -> UpstreamTokens {
    UpstreamTokens {
        access: "access-0".into(),
        refresh: refresh.map(str::to_owned),
        expires_at: Some(0),
        issued_at: None,
        client_id: CLIENT_ID.into(),
    }
}

fn known(subject: &str) -> Profile {
    Profile { subject: subject.into(), ..Profile::default() }
}

#[tokio::test]
async fn the_browser_is_sent_with_state_and_challenge() {
    let (provider, _) = provider().await;
    let request = UpstreamRequest { state: "s&1", challenge: "c", nonce: "n", prompt: None };
    let url = provider.authorization_url(request).await.unwrap();
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(
        query,
        [
            pair("response_type", "code"),
            pair("client_id", CLIENT_ID),
            pair("redirect_uri", REDIRECT_URI),
            pair("state", "s&1"),
            pair("code_challenge", "c"),
            pair("code_challenge_method", "S256"),
            pair("scope", "repo read:org"),
            pair("allow_signup", "false"),
        ]
    );
    for prompt in [Prompt::Login, Prompt::SelectAccount] {
        let again = UpstreamRequest { prompt: Some(prompt), ..request };
        let url = provider.authorization_url(again).await.unwrap();
        assert!(url.query().unwrap().contains("prompt=select_account"), "GitHub knows no other: {url}");
    }
}

/// RFC 6749 section 3.1: a parameter comes once.
#[tokio::test]
async fn a_prompt_that_is_configured_gives_way_to_what_is_asked() {
    let fake = Fake::start().await;
    let mut config = fake.github();
    config.provider = None;
    config.extra_parameters = vec![("prompt".into(), "consent".into()), ("hd".into(), "x".into())];
    let provider = OAuth2::new(config, setup(Arc::new(ManualClock::at(NOW)))).unwrap();
    for (prompt, sent) in
        [(None, "consent"), (Some(Prompt::Login), "login"), (Some(Prompt::SelectAccount), "select_account")]
    {
        let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt };
        let url = provider.authorization_url(request).await.unwrap();
        let of = |wanted: &str| {
            let pairs = url.query_pairs().into_owned();
            pairs.filter(|(name, _)| name == wanted).map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!((of("prompt"), of("hd")), (vec![sent.to_owned()], vec!["x".to_owned()]), "{url}");
    }
}

#[tokio::test]
async fn a_sign_in_gives_profile_and_tokens() {
    let (provider, fake) = provider().await;
    let signed_in = sign_in(&provider, &fake).await.unwrap();
    assert_eq!(
        signed_in.profile,
        Profile {
            subject: "4242".into(),
            name: Some("octocat".into()),
            verified_email: Some("octo@example.com".into()),
            other_emails: vec!["old@example.com".into()],
            groups: vec!["acme".into(), "acme/team-0".into(), "acme/team-1".into()],
            ..Profile::default()
        }
    );
    let tokens = signed_in.tokens.unwrap();
    assert_eq!((tokens.access.as_str(), tokens.refresh.as_deref()), ("access-1", Some("refresh-1")));
    assert_eq!(tokens.expires_at, Some((NOW + 28_800) * 1000));
    assert_eq!(tokens.client_id, CLIENT_ID);
}

#[tokio::test]
async fn teams_are_read_over_their_pages_up_to_a_bound() {
    let (provider, fake) = provider().await;
    fake.inner().teams = 250;
    let profile = sign_in(&provider, &fake).await.unwrap().profile;
    assert_eq!(profile.groups.len(), 251);
    fake.inner().teams = 5000;
    let profile = sign_in(&provider, &fake).await.unwrap().profile;
    assert_eq!((profile.groups.len(), profile.unknown.groups), (1001, true));
}

#[tokio::test]
async fn what_a_missing_scope_hides_is_not_known() {
    let (provider, fake) = provider().await;
    // GitHub answers 403 or 404, or lists what another scope shows and names the token's scopes.
    for (status, scopes) in [(403, None), (404, None), (200, Some("repo, user"))] {
        fake.inner().team_answer = (status, scopes);
        let profile = sign_in(&provider, &fake).await.unwrap().profile;
        assert_eq!(profile.unknown, Unknown { email: false, groups: true }, "{status}");
        assert!(profile.groups.is_empty() && profile.verified_email.is_some());
    }
    for scopes in ["repo, read:org", "admin:org", ""] {
        fake.inner().team_answer = (200, Some(scopes));
        let profile = sign_in(&provider, &fake).await.unwrap().profile;
        assert_eq!((profile.unknown, profile.groups.len()), (Unknown::default(), 3), "{scopes}");
    }
    fake.inner().email_status = 404;
    let profile = sign_in(&provider, &fake).await.unwrap().profile;
    assert_eq!((profile.unknown, profile.verified_email), (Unknown { email: true, groups: false }, None));
}

/// A user may leave an organisation's single sign-on out, and with it what `access.deny` would find.
#[tokio::test]
async fn a_list_that_goes_on_elsewhere_or_leaves_organisations_out_is_not_all() {
    let (provider, fake) = provider().await;
    for header in [
        ("x-github-sso", "partial-results; organizations=1,2"),
        ("x-github-sso", "required; url=https://github.com/orgs/acme/sso"),
        ("link", "<https://elsewhere.test/teams?page=2>; rel=\"next\""),
    ] {
        fake.inner().team_headers = vec![header];
        let profile = sign_in(&provider, &fake).await.unwrap().profile;
        assert_eq!((profile.unknown.groups, profile.groups.len()), (true, 3), "{header:?}");
    }
    fake.inner().team_headers = vec![("link", "<https://elsewhere.test/teams?page=1>; rel=\"prev\"")];
    assert_eq!(sign_in(&provider, &fake).await.unwrap().profile.unknown, Unknown::default());
}

#[tokio::test]
async fn a_profile_that_leaves_parts_out_does_not_say_that_there_are_none() {
    let fake = Fake::start().await;
    let mut config = fake.github();
    config.user_info.emails_url = None;
    config.user_info.teams_url = None;
    config.user_info.email = Some("/email".into());
    config.user_info.email_verified = Some("/verified".into());
    config.user_info.groups = Some("/groups".into());
    let provider = OAuth2::new(config, setup(Arc::new(ManualClock::at(NOW)))).unwrap();
    let profile = sign_in(&provider, &fake).await.unwrap().profile;
    assert_eq!(profile.unknown, Unknown { email: true, groups: true });
}

#[tokio::test]
async fn a_code_that_is_wrong_or_used_is_refused() {
    let (provider, fake) = provider().await;
    sign_in(&provider, &fake).await.unwrap();
    for (code, verifier) in [("code-1", "verifier"), ("code-2", "verifier"), ("", "")] {
        let error = provider.exchange(answer(code, verifier)).await.unwrap_err();
        assert!(matches!(&error, IdentityError::Refused(why) if why == "bad_verification_code"), "{error:?}");
    }
}

/// Attack 62: another server's answer is refused before its code goes anywhere.
#[tokio::test]
async fn an_answer_of_another_issuer_is_refused() {
    let (provider, fake) = provider().await;
    let own = format!("http://{}/login/oauth", fake.address);
    for iss in ["https://evil.test", "", "evil", "null"] {
        let foreign = UpstreamAnswer { iss: Some(iss), ..answer("code-1", "verifier") };
        assert!(matches!(provider.exchange(foreign).await, Err(IdentityError::Foreign(_))), "{iss:?}");
    }
    assert!(fake.inner().seen.token.is_empty());
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest("verifier"));
    fake.inner().codes.insert("code-1".into(), challenge);
    let ours = UpstreamAnswer { iss: Some(&own), ..answer("code-1", "verifier") };
    provider.exchange(ours).await.unwrap();
}

/// Attack 67: bounded, no redirect followed, nothing echoed.
#[tokio::test]
async fn a_provider_that_misbehaves_is_unavailable() {
    let (mut provider, fake) = provider().await;
    provider.http = provider.http.with_timeout(IMPATIENT);
    let sink = Fault::Redirect(format!("http://{}/sink", fake.address));
    let faults = [Fault::Status(500), Fault::Html, Fault::Long, sink, Fault::Hang, Fault::RateLimit(5)];
    for fault in &faults {
        fake.fail_token(std::slice::from_ref(fault));
        let error = sign_in(&provider, &fake).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable(_)), "{fault:?}: {error:?}");
        assert!(!error.to_string().contains("secret-page"), "{error}");

        fake.fail_read(std::slice::from_ref(fault));
        let error = sign_in(&provider, &fake).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable(_)), "{fault:?}: {error:?}");
    }
    assert_eq!(fake.inner().seen.sink, 0);
    fake.fail_token(&[Fault::Error(400, "<script>")]);
    let error = sign_in(&provider, &fake).await.unwrap_err().to_string();
    assert!(!error.contains("script") && !error.contains("phish"), "{error}");
    fake.fail_token(&[Fault::Error(401, "invalid_client")]);
    assert!(matches!(sign_in(&provider, &fake).await.unwrap_err(), IdentityError::Misconfigured(_)));
}

#[tokio::test]
async fn a_renewal_keeps_a_refresh_token_that_is_not_given_again() {
    let (provider, fake) = provider().await;
    let renewed = provider.refresh(&tokens(Some("refresh-0")), &known("4242")).await.unwrap().tokens;
    assert_eq!((renewed.access.as_str(), renewed.refresh.as_deref()), ("access-1", Some("refresh-1")));
    fake.inner().withhold_refresh = true;
    let renewed = provider.refresh(&renewed, &known("4242")).await.unwrap().tokens;
    assert_eq!((renewed.access.as_str(), renewed.refresh.as_deref()), ("access-2", Some("refresh-1")));
}

#[tokio::test]
async fn a_renewal_tells_what_may_be_tried_again() {
    let (mut provider, fake) = provider().await;
    provider.http = provider.http.with_timeout(IMPATIENT);
    let refresh = async |fault: Option<Fault>, tokens: UpstreamTokens| {
        fake.inner().token_faults.extend(fault);
        provider.refresh(&tokens, &known("4242")).await.map(|_| ()).unwrap_err()
    };
    let good = || tokens(Some("refresh-0"));
    let error = refresh(None, tokens(Some("stale"))).await;
    assert_eq!(error, RenewError::Refused("bad_refresh_token".into()));
    let error = refresh(Some(Fault::Error(400, "invalid_grant")), good()).await;
    assert_eq!(error, RenewError::Refused("invalid_grant".into()));
    assert!(matches!(refresh(None, tokens(None)).await, RenewError::Refused(_)));
    let mut foreign = good();
    foreign.client_id = "other".into();
    assert!(matches!(refresh(None, foreign).await, RenewError::Refused(_)));
    assert_eq!(
        refresh(Some(Fault::RateLimit(7)), good()).await,
        RenewError::RateLimited(Duration::from_secs(7))
    );
    for fault in [Fault::Status(500), Fault::Status(302), Fault::Error(400, "server_error")] {
        let error = refresh(Some(fault), good()).await;
        assert!(matches!(error, RenewError::Transient(_)), "{error:?}");
    }
    for fault in [Fault::Html, Fault::Long, Fault::Hang, Fault::CommitAndBreak] {
        let error = refresh(Some(fault), good()).await;
        assert!(matches!(error, RenewError::Unknown(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_dead_token_and_a_rate_limit_are_told_apart() {
    let (provider, fake) = provider().await;
    assert_eq!(provider.profile(&tokens(None), &known("4242")).await.unwrap().subject, "4242");
    let mut dead = tokens(None);
    dead.access = "gone".into();
    assert!(matches!(provider.profile(&dead, &known("4242")).await, Err(IdentityError::Refused(_))));
    assert!(matches!(provider.profile(&tokens(None), &known("1")).await, Err(IdentityError::Refused(_))));
    fake.fail_read(&[Fault::RateLimit(1)]);
    assert!(matches!(
        provider.profile(&tokens(None), &known("4242")).await,
        Err(IdentityError::Unavailable(_))
    ));
}
