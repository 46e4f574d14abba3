//! Attack 78 at an OpenID Connect provider: what it signs and gives ends at the same time on every replica.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, routing};
use gatehouse_gateway::{
    assemble::{Gateway, assemble},
    clock::{ManualClock, SystemEntropy},
    identity::{IdentityError, SignedIn, UpstreamAnswer},
    refs::FixedRefs,
    server::Identity,
};
use gatehouse_gateway_config::GatewayConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    assertions::{jwks, signed},
    clocks::time,
    redis_server::RedisServer,
    support::{config, keyring},
};

const SKEW: i64 = 300;
/// How long the provider's access tokens live.
const LIFE: i64 = 600;

/// A provider that gives whatever ID token a test puts here.
#[derive(Debug)]
struct Provider {
    issuer: String,
    id_token: Mutex<String>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let provider = Arc::new(Self { issuer, id_token: Mutex::default() });
        let router = Router::new()
            .route("/.well-known/openid-configuration", routing::get(document))
            .route("/jwks", routing::get(|| async { Json(jwks(&[1])) }))
            .route("/token", routing::post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// A replica that signs users in here, as it is put together in production.
    async fn replica(&self, redis: &str, unix: i64) -> Gateway {
        let mut server = config();
        server["identity"] = json!({"oidc": {"issuer": self.issuer, "clientId": "gateway"}});
        let parts =
            json!({"servers": [server], "redis": {"url": redis}, "egress": {"allow": ["127.0.0.1/32"]}});
        let config = GatewayConfig::parse(&parts.to_string()).unwrap();
        let (refs, clock) = (Arc::new(FixedRefs::default()), Arc::new(ManualClock::at(unix)));
        let gateway = assemble(&config, keyring(1), refs, clock, Arc::new(SystemEntropy), None).unwrap();
        gateway.server.store.ping().await.unwrap();
        gateway
    }

    /// A sign-in whose ID token says this of its times.
    async fn signs_in(&self, gateway: &Gateway, iat: i64, exp: i64) -> Result<SignedIn, IdentityError> {
        let claims = json!({
            "iss": self.issuer, "aud": "gateway", "sub": "u-1", "nonce": "n", "iat": iat, "exp": exp,
        });
        *self.id_token.lock().unwrap() = signed(1, &claims);
        let Identity::Provider(provider) = &gateway.server.identity else { panic!("no provider") };
        provider.exchange(UpstreamAnswer { code: "c", iss: None, verifier: "v", nonce: "n" }).await
    }
}

async fn document(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer, "authorization_endpoint": at("/auth"), "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"),
    }))
}

async fn token(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let id_token = provider.id_token.lock().unwrap().clone();
    Json(json!({"access_token": "at", "token_type": "Bearer", "expires_in": LIFE, "id_token": id_token}))
}

/// By its own clock the slow replica would believe an ID token five minutes too long and end its session as late, and the
/// fast one would believe none that lives for less.
#[tokio::test]
async fn an_id_token_and_the_session_behind_it_end_by_redis_time() {
    let Some(redis) = RedisServer::start().await else { return };
    let provider = Provider::start().await;
    let now = time(&redis).await;
    for skew in [-SKEW, SKEW] {
        let gateway = provider.replica(&redis.url(), now + skew).await;
        for (from_now, good) in [(60, true), (-50, true), (-61, false)] {
            let now = time(&redis).await;
            let answer = provider.signs_in(&gateway, now - 120, now + from_now).await;
            match answer {
                Ok(signed_in) if good => {
                    let ends = signed_in.tokens.unwrap().expires_at.unwrap();
                    assert!(ends.div_euclid(1000).abs_diff(now + LIFE) < 10, "{skew}: {ends} at {now}");
                }
                Err(IdentityError::Invalid(why)) if !good => assert!(why.contains("expired"), "{why}"),
                other => panic!("{skew} {from_now}: {other:?}"),
            }
        }
    }
}
