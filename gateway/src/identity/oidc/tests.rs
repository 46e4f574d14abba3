//! Against a provider in this process that signs what a test tells it to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::State,
    response::IntoResponse,
    routing::{get, post},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatehouse_gateway_config::KeyRef;
use http::{HeaderMap, StatusCode};
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey,
    core::{CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreJwsSigningAlgorithm},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    clock::ManualClock,
    identity::fake::{REDIRECT_URI, SECRET, setup},
    model::{ClaimSource, ClaimSources, Unknown},
};

const NOW: i64 = 1_700_000_000;
const CLIENT: &str = "gateway";

/// An Ed25519 key from a seed, in PKCS#8.
fn key(seed: u8) -> CoreEdDsaPrivateSigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let label = "PRIVATE KEY";
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    let kid = JsonWebKeyId::new(format!("k{seed}"));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(kid)).unwrap()
}

/// A token with this header and payload, and the signature that `sign` makes.
fn jwt(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed(seed: u8, claims: &Value) -> String {
    let header = json!({"alg": "EdDSA", "kid": format!("k{seed}")});
    jwt(&header, claims, |m| key(seed).sign(&CoreJwsSigningAlgorithm::EdDsa, m).unwrap())
}

#[derive(Debug)]
struct Idp {
    address: SocketAddr,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What the discovery document says instead.
    overrides: Value,
    published: Vec<u8>,
    /// Whether the keys cannot be had.
    hidden: bool,
    id_token: Option<String>,
    user_info: Option<Value>,
    documents: usize,
    jwks: usize,
    forms: Vec<(Option<String>, HashMap<String, String>)>,
}

impl Idp {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let idp =
            Arc::new(Self { address, inner: Mutex::new(Inner { published: vec![1], ..Inner::default() }) });
        let app = Router::new()
            .route("/realms/x/.well-known/openid-configuration", get(discovery))
            .route("/realms/x/jwks", get(jwks))
            .route("/realms/x/token", post(token))
            .route("/realms/x/userinfo", get(userinfo))
            .with_state(Arc::clone(&idp));
        tokio::spawn(async move { axum::serve(listener, app).await });
        idp
    }

    fn issuer(&self) -> String {
        format!("http://{}/realms/x", self.address)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn config(&self) -> OidcConfig {
        let config = json!({
            "issuer": self.issuer(),
            "clientId": CLIENT,
            "clientSecret": {"name": "github", "key": "secret"},
            "scopes": ["email", "openid"],
        });
        serde_json::from_value(config).unwrap()
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer(), "aud": CLIENT, "sub": "u-1", "nonce": "n-1", "iat": NOW, "exp": NOW + 300,
            "name": "Alice", "email": "alice@example.com", "email_verified": true, "groups": ["dev"],
        })
    }
}

async fn discovery(State(idp): State<Arc<Idp>>) -> Json<Value> {
    let issuer = idp.issuer();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "authorization_response_iss_parameter_supported": true,
    });
    let mut inner = idp.inner();
    inner.documents += 1;
    for (name, value) in inner.overrides.as_object().into_iter().flatten() {
        document[name] = value.clone();
    }
    Json(document)
}

async fn jwks(State(idp): State<Arc<Idp>>) -> axum::response::Response {
    let mut inner = idp.inner();
    inner.jwks += 1;
    if inner.hidden {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let keys: Vec<_> = inner.published.iter().map(|seed| key(*seed).as_verification_key()).collect();
    Json(json!({"keys": keys})).into_response()
}

async fn token(
    State(idp): State<Arc<Idp>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Json<Value> {
    let mut inner = idp.inner();
    let basic = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    inner.forms.push((basic, form));
    Json(json!({
        "access_token": "at", "token_type": "Bearer", "expires_in": 300, "refresh_token": "rt",
        "id_token": inner.id_token,
    }))
}

async fn userinfo(State(idp): State<Arc<Idp>>, headers: HeaderMap) -> axum::response::Response {
    assert_eq!(headers["authorization"], "Bearer at");
    match &idp.inner().user_info {
        Some(claims) => Json(claims.clone()).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn provider() -> (Oidc, Arc<Idp>, ManualClock) {
    let idp = Idp::start().await;
    let clock = ManualClock::at(NOW);
    (Oidc::new(idp.config(), setup(Arc::new(clock.clone()))).unwrap(), idp, clock)
}

async fn sign_in(provider: &Oidc, idp: &Idp, id_token: String) -> Result<SignedIn, IdentityError> {
    idp.inner().id_token = Some(id_token);
    let issuer = idp.issuer();
    let answer = UpstreamAnswer { code: "c-1", iss: Some(&issuer), verifier: "v-1", nonce: "n-1" };
    provider.exchange(answer).await
}

async fn refused(provider: &Oidc, idp: &Idp, id_token: String) -> String {
    match sign_in(provider, idp, id_token).await {
        Err(IdentityError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_sign_in_gives_profile_and_tokens() {
    let (provider, idp, _) = provider().await;
    let request =
        UpstreamRequest { state: "s", challenge: "c", nonce: "n-1", prompt: Some(Prompt::SelectAccount) };
    let url = provider.authorization_url(request).await.unwrap();
    assert!(url.as_str().starts_with(&format!("{}/auth?response_type=code", idp.issuer())), "{url}");
    for part in ["scope=openid+email", "state=s", "nonce=n-1", "code_challenge=c", "prompt=login"] {
        assert!(url.query().unwrap().split('&').any(|p| p == part), "{url} lacks {part}");
    }
    let signed_in = sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    assert_eq!(
        signed_in.profile,
        Profile {
            subject: "u-1".into(),
            name: Some("Alice".into()),
            verified_email: Some("alice@example.com".into()),
            groups: vec!["dev".into()],
            told: ClaimSources { email: Some(ClaimSource::IdToken), groups: Some(ClaimSource::IdToken) },
            ..Profile::default()
        }
    );
    let tokens = signed_in.tokens.unwrap();
    assert_eq!((tokens.access.as_str(), tokens.refresh.as_deref()), ("at", Some("rt")));
    let (basic, form) = idp.inner().forms[0].clone();
    assert_eq!(basic.unwrap(), format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}"))));
    assert_eq!((form["code"].as_str(), form["code_verifier"].as_str()), ("c-1", "v-1"));
    assert_eq!(form["redirect_uri"], REDIRECT_URI);
    assert!(!form.contains_key("client_secret"));
    // Documents are kept.
    sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    let fetched = {
        let inner = idp.inner();
        (inner.documents, inner.jwks)
    };
    assert_eq!(fetched, (1, 1));
}

/// Attack 66.
#[tokio::test]
async fn a_token_that_is_not_ours_is_refused() {
    let (provider, idp, _) = provider().await;
    let with = |name: &str, value: Value| {
        let mut claims = idp.claims();
        claims[name] = value;
        claims
    };
    // The code was another sign-in's, which the browser brought.
    for nonce in [json!("n-2"), Value::Null] {
        let answer = sign_in(&provider, &idp, signed(1, &with("nonce", nonce))).await;
        assert!(matches!(&answer, Err(IdentityError::Foreign(why)) if why.contains("nonce")), "{answer:?}");
    }
    for (claims, expected) in [
        (with("aud", json!("other")), "audience"),
        (with("aud", json!([CLIENT, "other"])), "audience"),
        (with("iss", json!("https://evil.test")), "issuer"),
        (with("exp", json!(NOW - 61)), "expired"),
    ] {
        let why = refused(&provider, &idp, signed(1, &claims)).await;
        assert!(why.contains(expected), "{claims}: {why}");
    }
    // A minute of skew is accepted.
    sign_in(&provider, &idp, signed(1, &with("exp", json!(NOW - 30)))).await.unwrap();

    let claims = idp.claims();
    let none = jwt(&json!({"alg": "none"}), &claims, |_| Vec::new());
    let public = serde_json::to_value(key(1).as_verification_key()).unwrap();
    let public = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
    let hmac = |secret: &[u8]| {
        let key = CoreHmacKey::new(secret.to_vec());
        let header = json!({"alg": "HS256", "kid": "k1"});
        jwt(&header, &claims, |m| key.sign(&CoreJwsSigningAlgorithm::HmacSha256, m).unwrap())
    };
    let forged = jwt(&json!({"alg": "EdDSA", "kid": "k1"}), &claims, |m| {
        key(9).sign(&CoreJwsSigningAlgorithm::EdDsa, m).unwrap()
    });
    for token in [none, hmac(&public), hmac(SECRET.as_bytes()), forged] {
        let why = refused(&provider, &idp, token.clone()).await;
        assert!(why.contains("signature") || why.contains("algorithm"), "{token}: {why}");
    }
    for token in ["", "a.b.c", "x", &"y".repeat(200_000)] {
        refused(&provider, &idp, token.to_owned()).await;
    }
}

/// RFC 9207: a foreign or missing `iss` is refused before the code goes anywhere.
#[tokio::test]
async fn an_answer_of_another_issuer_is_refused() {
    let (provider, idp, _) = provider().await;
    for iss in [Some("https://evil.test"), Some(""), None] {
        let answer = UpstreamAnswer { code: "c", iss, verifier: "v", nonce: "n" };
        assert!(matches!(provider.exchange(answer).await, Err(IdentityError::Foreign(_))), "{iss:?}");
    }
    assert!(idp.inner().forms.is_empty());
}

#[tokio::test]
async fn rotated_keys_are_fetched_but_not_for_every_stranger() {
    let (provider, idp, clock) = provider().await;
    sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    idp.inner().published = vec![1, 2];
    // Within the cooldown an unknown key id fetches nothing.
    assert!(refused(&provider, &idp, signed(2, &idp.claims())).await.contains("does not publish"));
    assert_eq!(idp.inner().jwks, 1);
    clock.advance(Duration::from_secs(61));
    sign_in(&provider, &idp, signed(2, &idp.claims())).await.unwrap();
    sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    assert_eq!(idp.inner().jwks, 2);
}

#[tokio::test]
async fn user_info_completes_what_the_id_token_leaves_out() {
    let (provider, idp, _) = provider().await;
    let mut claims = idp.claims();
    for claim in ["groups", "email", "email_verified"] {
        claims.as_object_mut().unwrap().remove(claim);
    }
    let more = json!({"sub": "u-1", "email": "a@example.com", "email_verified": "true", "groups": ["ops"]});
    idp.inner().user_info = Some(more);
    let profile = sign_in(&provider, &idp, signed(1, &claims)).await.unwrap().profile;
    assert_eq!(
        (profile.verified_email.as_deref(), profile.groups),
        (Some("a@example.com"), vec!["ops".into()])
    );

    idp.inner().user_info = Some(json!({"sub": "u-2", "groups": ["admin"]}));
    assert!(refused(&provider, &idp, signed(1, &claims)).await.contains("another subject"));

    // An address that nobody calls verified is none, and the truth about one address says nothing of another.
    let mut unverified = idp.claims();
    unverified.as_object_mut().unwrap().remove("email_verified");
    unverified.as_object_mut().unwrap().remove("groups");
    idp.inner().user_info = Some(json!({"sub": "u-1", "email": "other@example.com", "email_verified": true}));
    let profile = sign_in(&provider, &idp, signed(1, &unverified)).await.unwrap().profile;
    assert_eq!(profile.verified_email, None);
    // A claim that is left out says nothing; an empty one says that there are none.
    assert_eq!(profile.unknown, Unknown { email: true, groups: true });
    idp.inner().user_info = Some(json!({"sub": "u-1", "groups": []}));
    let profile = sign_in(&provider, &idp, signed(1, &unverified)).await.unwrap().profile;
    assert_eq!(profile.unknown, Unknown { email: true, groups: false });
}

/// `email_verified` speaks of the claim `email` (OIDC Core section 5.1): users choose what stands in others.
#[tokio::test]
async fn an_address_of_another_claim_is_verified_by_a_claim_that_was_named() {
    let idp = Idp::start().await;
    let mut config = idp.config();
    config.email_claim = "upn".into();
    let mut claims = idp.claims();
    claims["upn"] = json!("boss@example.com");
    claims["email_verified"] = json!(true);
    let profile = |config: &OidcConfig| {
        let provider = Oidc::new(config.clone(), setup(Arc::new(ManualClock::at(NOW)))).unwrap();
        let (idp, token) = (idp.clone(), signed(1, &claims));
        async move { sign_in(&provider, &idp, token).await.unwrap().profile }
    };
    let unverified = profile(&config).await;
    assert_eq!((unverified.verified_email, unverified.unknown.email), (None, true));
    config.email_verified_claim = Some("email_verified".into());
    assert_eq!(profile(&config).await.verified_email.as_deref(), Some("boss@example.com"));
}

#[tokio::test]
async fn a_check_asks_user_info_and_a_renewal_reads_the_new_id_token() {
    let (provider, idp, _) = provider().await;
    let signed_in = sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    let (known, tokens) = (signed_in.profile, signed_in.tokens.unwrap());
    assert!(matches!(provider.profile(&tokens, &known).await, Err(IdentityError::Refused(_))));
    // Groups that user-info does not speak of stay.
    idp.inner().user_info = Some(json!({"sub": "u-1", "name": "Alice B"}));
    let profile = provider.profile(&tokens, &known).await.unwrap();
    assert_eq!((profile.name.as_deref(), &profile.groups), (Some("Alice B"), &known.groups));
    idp.inner().user_info = Some(json!({"sub": "u-2"}));
    assert!(matches!(provider.profile(&tokens, &known).await, Err(IdentityError::Refused(_))));

    let mut claims = idp.claims();
    claims["groups"] = json!([]);
    claims.as_object_mut().unwrap().remove("nonce");
    idp.inner().id_token = Some(signed(1, &claims));
    let renewed = provider.refresh(&tokens, &known).await.unwrap();
    assert!(renewed.profile.unwrap().groups.is_empty());
    // OIDC Core sections 12.2 and 5.3.2: an answer about another user, or about nobody, is not about this one.
    claims["sub"] = json!("u-2");
    idp.inner().id_token = Some(signed(1, &claims));
    let error = provider.refresh(&tokens, &known).await.unwrap_err();
    assert!(matches!(error, RenewError::Refused(_)), "{error:?}");
    claims["sub"] = json!("u-1");
    idp.inner().user_info = Some(json!({"name": "Somebody", "groups": ["admin"]}));
    assert!(matches!(provider.profile(&tokens, &known).await, Err(IdentityError::Refused(_))));
    // Tokens are kept although their ID token is not believed.
    idp.inner().id_token = Some(signed(9, &claims));
    let renewed = provider.refresh(&tokens, &known).await.unwrap();
    assert!(renewed.profile.is_none() && renewed.tokens.access == "at");
}

/// Providers leave an empty claim out: whoever left their last group must not keep it.
#[tokio::test]
async fn what_is_not_told_any_more_by_what_told_it_is_gone() {
    let (provider, idp, _) = provider().await;
    let signed_in = sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    let (known, tokens) = (signed_in.profile, signed_in.tokens.unwrap());
    let mut claims = idp.claims();
    for claim in ["groups", "email", "email_verified", "nonce"] {
        claims.as_object_mut().unwrap().remove(claim);
    }
    idp.inner().id_token = Some(signed(1, &claims));
    let renewed = async || provider.refresh(&tokens, &known).await.unwrap().profile.unwrap();
    // A shorter ID token is no news while user-info tells the same, as at sign-in.
    let more = json!({"sub": "u-1", "email": "alice@example.com", "email_verified": true, "groups": ["dev"]});
    idp.inner().user_info = Some(more);
    let completed = renewed().await;
    assert_eq!((&completed.groups, &completed.verified_email), (&known.groups, &known.verified_email));
    assert_eq!(
        completed.told,
        ClaimSources { email: Some(ClaimSource::UserInfo), groups: Some(ClaimSource::UserInfo) }
    );
    idp.inner().user_info = Some(json!({"sub": "u-1"}));
    let gone = renewed().await;
    assert_eq!((gone.groups.len(), gone.verified_email), (0, None));
    assert_eq!((gone.unknown, gone.told), (Unknown { email: true, groups: true }, ClaimSources::default()));
    // User-info takes back what it told itself, and nothing else.
    assert_eq!(provider.profile(&tokens, &known).await.unwrap().groups, known.groups);
    let checked = provider.profile(&tokens, &completed).await.unwrap();
    assert_eq!((checked.groups.len(), checked.verified_email), (0, None));
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_without_tls_is_refused() {
    let idp = Idp::start().await;
    let clock = Arc::new(ManualClock::at(NOW));
    let new = |config: OidcConfig| Oidc::new(config, setup(clock.clone())).unwrap();
    let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt: None };

    idp.inner().overrides = json!({"issuer": "https://evil.test"});
    let error = new(idp.config()).authorization_url(request).await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Misconfigured(why) if why.contains("must be equal")),
        "{error:?}"
    );

    // The public issuer is https; only the backchannel may be http, and what lies below the issuer is reached there.
    let public = "https://sso.example/auth/realms/x";
    let mut config = idp.config();
    config.issuer = public.into();
    config.backchannel_url = Some(idp.issuer());
    idp.inner().overrides = json!({
        "issuer": public,
        "authorization_endpoint": format!("{public}/auth"),
        "token_endpoint": format!("{public}/token"),
        "jwks_uri": format!("{public}/jwks"),
    });
    let provider = new(config.clone());
    let url = provider.authorization_url(request).await.unwrap();
    assert!(url.as_str().starts_with("https://sso.example/auth/realms/x/auth?"), "{url}");
    let mut claims = idp.claims();
    claims["iss"] = json!(public);
    idp.inner().id_token = Some(signed(1, &claims));
    let answer = UpstreamAnswer { code: "c-1", iss: Some(public), verifier: "v-1", nonce: "n-1" };
    assert_eq!(provider.exchange(answer).await.unwrap().profile.subject, "u-1");

    idp.inner().overrides["token_endpoint"] = json!("http://elsewhere.example/token");
    let error = new(config).authorization_url(request).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Invalid(why) if why.contains("not https")), "{error:?}");
}

/// Attack 128: sign-ins fail fast while the provider is away, and work again by themselves.
#[tokio::test]
async fn a_provider_that_is_away_is_asked_again_after_a_pause() {
    let (provider, idp, clock) = provider().await;
    let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt: None };
    idp.inner().overrides = json!({"token_endpoint": 7});
    for _ in 0..3 {
        let error = provider.authorization_url(request).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable(_)), "{error:?}");
    }
    assert_eq!(idp.inner().documents, 1);
    idp.inner().overrides = Value::Null;
    clock.advance(Duration::from_secs(6));
    provider.authorization_url(request).await.unwrap();
}

/// Attack 128: who is on the way back while the provider is away does not meet the failure of somebody else's attempt.
#[tokio::test]
async fn a_user_who_comes_from_the_provider_is_not_told_that_it_is_away() {
    let (provider, idp, clock) = provider().await;
    let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt: None };
    let broken = json!({"token_endpoint": 7});
    let documents = |expected: usize, when: &str| assert_eq!(idp.inner().documents, expected, "{when}");
    let begins = async |good: bool, when: &str| {
        assert_eq!(provider.authorization_url(request).await.is_ok(), good, "{when}");
    };
    idp.inner().overrides = broken.clone();
    begins(false, "away").await;
    // Those who come together ask once, and what begins does not ask.
    let returning = (0..10).map(|_| sign_in(&provider, &idp, signed(1, &idp.claims())));
    let answers = futures::future::join_all(returning).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(IdentityError::Unavailable(_)))), "{answers:?}");
    documents(2, "ten callbacks");
    begins(false, "still away").await;
    documents(2, "a failure is a failure");
    idp.inner().overrides = Value::Null;
    begins(false, "back, but not asked").await;
    sign_in(&provider, &idp, signed(1, &idp.claims())).await.unwrap();
    documents(3, "back");
    begins(true, "back").await;
    // The same of the keys, which are lacking although some are known.
    clock.advance(Duration::from_secs(61));
    idp.inner().published = vec![2];
    idp.inner().hidden = true;
    for _ in 0..2 {
        assert!(refused(&provider, &idp, signed(2, &idp.claims())).await.contains("does not publish"));
    }
    idp.inner().hidden = false;
    sign_in(&provider, &idp, signed(2, &idp.claims())).await.unwrap();
    assert_eq!(idp.inner().jwks, 4);
}

#[tokio::test]
async fn a_missing_secret_names_itself() {
    let idp = Idp::start().await;
    let mut config = idp.config();
    config.client_secret = Some(KeyRef::secret("gone", "key"));
    let provider = Oidc::new(config, setup(Arc::new(ManualClock::at(NOW)))).unwrap();
    let issuer = idp.issuer();
    let answer = UpstreamAnswer { code: "c", iss: Some(&issuer), verifier: "v", nonce: "n" };
    let error = provider.exchange(answer).await.unwrap_err().to_string();
    assert!(error.contains("Secret \"gone\", key \"key\" does not exist"), "{error}");
}
