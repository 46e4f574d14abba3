//! The token endpoint asks Redis once for each grant step, and nothing after what it has changed.

use axum::body::Body;
use gatehouse_gateway::server::Identity;
use gatehouse_gateway_config::RedisConfig;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    assertions::{self, claims_at, proven, signed},
    callback::at_provider,
    chaos::{Chaos, Mode},
    clocks::time,
    documents::World,
    redis_server::{Admin, RedisServer},
    static_clients::{listed, robot},
    support::{
        Answer, Browser, Client, Gateway, at_redis, authorization, authorize_path, config, provider_config,
        redeem, refresh, request, seconds, with,
    },
};

/// A server whose scopes depend on the user.
fn scoped(mut config: Value) -> Value {
    config["scopes"] = json!([
        {"name": "read", "default": true},
        {"name": "write", "default": true, "allow": [{"subjects": ["uid-alice", "42"]}]},
    ]);
    config
}

fn with_robot(mut config: Value) -> Value {
    config["policy"] = json!({"clients": listed()});
    config
}

/// Ends the grace at once, so that a refresh that is not answered has lost its family.
fn graceless(mut config: Value) -> Value {
    config["policy"] = json!({"lifetimes": {
        "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": "0s", "signIn": "8760h",
    }});
    config
}

/// A code of alice, or of 42 at the provider.
async fn code(gateway: &Gateway, client: &Client) -> String {
    let mut browser = Browser::default();
    if matches!(gateway.server.identity, Identity::Local(_)) {
        return gateway.code(&mut browser, client).await;
    }
    let (_, path) = at_provider(gateway, &mut browser, client).await;
    gateway.provider.signs_in("42");
    browser.get(gateway, &path).await.redirect_param("code").unwrap()
}

/// How many scripts ran so far, how often Redis read from a connection, this time included, and how often somebody waited
/// for replicas.
pub(crate) async fn counted(admin: &Admin) -> (u64, u64, u64) {
    let info: String = admin.run(&["INFO", "all"]).await;
    let number = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    (number("cmdstat_evalsha:calls="), number("total_reads_processed:"), number("cmdstat_wait:calls="))
}

/// The answer to a token request, which is one script and no more.
async fn in_one_trip(gateway: &Gateway, admin: &Admin, params: &[(&str, &str)]) -> Option<Value> {
    let before = counted(admin).await;
    let answer = gateway.token(params).await;
    let after = counted(admin).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    // The second read is that of the count itself.
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 2), "{params:?}");
    Some(answer.json())
}

/// As [`in_one_trip`], of a gateway whose claims wait for a replica, and whose every question comes this way. `None`: that
/// took the replica too long.
async fn in_one_turn(
    (gateway, way): (&Gateway, &Chaos),
    admin: &Admin,
    params: &[(&str, &str)],
) -> Option<Value> {
    let (before, turns) = (counted(admin).await, way.turns());
    let answer = gateway.token(params).await;
    let (after, turns) = (counted(admin).await, way.turns() - turns);
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    // A robot's token claims nothing.
    let claims = u64::from(!params.contains(&("grant_type", "client_credentials")));
    assert_eq!((after.0 - before.0, after.2 - before.2, turns), (1, claims, 1), "{params:?}");
    Some(answer.json())
}

/// A client, and when it signs its assertions, by Redis's clock, if it does.
struct Asker {
    client: Client,
    signs: Option<i64>,
}

impl Asker {
    async fn of(gateway: &Gateway, signs: Option<i64>) -> Self {
        let client = match signs {
            Some(_) => assertions::client(),
            None => gateway.public_client().await,
        };
        Self { client, signs }
    }

    /// A sign-in and every step after it; `None` as soon as one is not answered.
    async fn goes_through(
        &self,
        gateway: &Gateway,
        ask: impl AsyncFn(&[(&str, &str)]) -> Option<Value>,
    ) -> Option<()> {
        let client = &self.client;
        let sent = async |params: Vec<(&str, &str)>| match self.signs {
            Some(now) => ask(&proven(params, &signed(1, &claims_at(now)))).await,
            None => ask(&params).await,
        };
        let mut tokens = sent(redeem(client, &code(gateway, client).await)).await?;
        for _ in 0..3 {
            let presented = tokens["refresh_token"].as_str().unwrap().to_owned();
            tokens = sent(refresh(client, &presented)).await?;
            let again = sent(refresh(client, &presented)).await?;
            assert_eq!(again["refresh_token"], tokens["refresh_token"]);
        }
        if self.signs.is_none() {
            ask(&robot("robot", "new-secret")).await?;
        }
        Some(())
    }

    /// Makes Redis know the scripts, which are loaded when they are first sent.
    async fn loads(&self, gateway: &Gateway) -> Option<()> {
        let ask = async |params: &[(&str, &str)]| {
            let answer = gateway.token(params).await;
            (answer.status == StatusCode::OK).then(|| answer.json())
        };
        self.goes_through(gateway, ask).await
    }
}

#[tokio::test]
async fn every_grant_step_is_one_round_trip() {
    let Some(redis) = RedisServer::start().await else { return };
    let (admin, now, world) = (redis.admin().await, time(&redis).await, World::inline().await);
    let mut gateways = vec![(world.on_redis_at(&redis.url(), now).await, Some(now))];
    for config in [config(), provider_config(), scoped(config()), scoped(provider_config())] {
        gateways.push((Gateway::on_redis(with_robot(config), &redis.url()).await, None));
    }
    for (gateway, signs) in &gateways {
        Asker::of(gateway, *signs).await.loads(gateway).await.unwrap();
        let ask = async |params: &[(&str, &str)]| in_one_trip(gateway, &admin, params).await;
        Asker::of(gateway, *signs).await.goes_through(gateway, ask).await.unwrap();
    }
}

/// The script and the wait for replicas go together.
#[tokio::test]
async fn every_grant_step_that_replicas_acknowledge_is_one_round_trip() {
    let Some(redis) = RedisServer::start().await else { return };
    let (admin, now, world) = (redis.admin().await, time(&redis).await, World::inline().await);
    let link = Chaos::before(redis.socket.clone()).await;
    let _replica = redis.replica(link.port).await;
    let way = Chaos::before(redis.socket.clone()).await;
    let strict = RedisConfig { min_replicas: 1, ..at_redis(&way.url()) };
    let gateways = [
        (Gateway::unacknowledged(with_robot(scoped(config())), &way.url()).await, None),
        (world.on(&strict, now).await, Some(now)),
    ];
    for (gateway, signs) in &gateways {
        let asker = Asker::of(gateway, *signs).await;
        let ask = async |params: &[(&str, &str)]| in_one_turn((gateway, &way), &admin, params).await;
        let mut tries = 0;
        // A machine that is busy may take longer than the gateway waits: then all is tried again.
        while asker.loads(gateway).await.is_none() || asker.goes_through(gateway, &ask).await.is_none() {
            tries += 1;
            assert!(tries < 50, "too little is acknowledged");
        }
    }
}

/// What the backend answers does not matter here: it is refused when it is dialled, which is after the token was judged.
#[tokio::test]
async fn a_call_is_one_round_trip_and_none_when_its_token_was_just_seen() {
    let Some(redis) = RedisServer::start().await else { return };
    let admin = redis.admin().await;
    let mut config = config();
    config["backends"][0]["target"]["url"] = "https://127.0.0.1:1/mcp".into();
    let gateway = Gateway::on_redis(config, &redis.url()).await;
    let client = gateway.public_client().await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}});
    let scripts_of_a_call = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let before = counted(&admin).await.0;
        let answer =
            gateway.send(request(Method::POST, "/mcp", &headers, Body::from(message.to_string()))).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
        counted(&admin).await.0 - before
    };
    // Redis is sent the script with the first call.
    let first = gateway.tokens(&client).await;
    scripts_of_a_call(first["access_token"].as_str().unwrap()).await;
    let second = gateway.tokens(&client).await;
    let second = second["access_token"].as_str().unwrap();
    assert_eq!(scripts_of_a_call(second).await, 1);
    // It is kept once the reader of events has heard of what the sign-in itself changed.
    loop {
        match scripts_of_a_call(second).await {
            0 => break,
            trips => assert_eq!(trips, 1),
        }
    }
    for _ in 0..3 {
        assert_eq!(scripts_of_a_call(second).await, 0);
    }
}

/// Anybody can write a link with a flow in it.
#[tokio::test]
async fn a_flow_without_its_cookie_costs_no_trip() {
    let Some(redis) = RedisServer::start().await else { return };
    let admin = redis.admin().await;
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let begun = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let form = browser.get(&gateway, begun.location()).await;
    let (flow, token) = (form.field("flow"), form.field("token"));
    let sign_in = [("flow", flow.as_str()), ("token", &token), ("username", "alice"), ("password", "alice")];
    let before = counted(&admin).await.1;
    for path in [
        format!("/oauth/signin?flow={flow}"),
        format!("/oauth/authorize?flow={flow}"),
        format!("/oauth/authorize/approve?flow={flow}&nonce=x"),
        format!("/oauth/authorize/approve?flow={flow}&nonce=x&decision=deny"),
    ] {
        assert!(Browser::default().get(&gateway, &path).await.is_page(403), "{path}");
    }
    assert!(Browser::default().post(&gateway, "/oauth/signin", &sign_in).await.is_page(403));
    assert_eq!(counted(&admin).await.1 - before, 1, "that of the count itself");
    // A cookie ends with its flow: who began it and comes late reads so.
    gateway.clock.advance(seconds(600));
    let late = Browser::default().get(&gateway, &format!("/oauth/signin?flow={flow}")).await;
    assert!(late.is_page(400) && late.body.contains("has expired"), "{late:?}");
}

#[tokio::test]
async fn what_a_user_was_judged_by_is_asked_once() {
    let Some(redis) = RedisServer::start().await else { return };
    let admin = redis.admin().await;
    let gateway = Gateway::on_redis(scoped(config()), &redis.url()).await;
    let client = gateway.public_client().await;
    let mut tokens = gateway.tokens(&client).await;
    let mut refreshes = async |scope: Option<&str>| {
        let before = counted(&admin).await.0;
        let presented = tokens["refresh_token"].as_str().unwrap().to_owned();
        let answer = gateway.token(&with(refresh(&client, &presented), "scope", scope)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        tokens = answer.json();
        counted(&admin).await.0 - before
    };
    // The first of all loads its script.
    refreshes(None).await;
    assert_eq!(refreshes(None).await, 1);
    for changed in [true, false] {
        if changed {
            gateway.deny(Some(&admin), 2, &["somebody else"]).await;
        }
        assert_eq!(refreshes(None).await, if changed { 2 } else { 1 });
    }
    assert_eq!((refreshes(Some("read")).await, refreshes(Some("read")).await), (2, 1));
    gateway.users.add("carol");
    assert_eq!((refreshes(Some("read")).await, refreshes(Some("read")).await), (2, 1));
}

#[tokio::test]
async fn a_redis_that_dies_after_the_rotation_costs_no_client_its_tokens() {
    let Some(redis) = RedisServer::start().await else { return };
    let away = Chaos::before(redis.socket.clone()).await;
    for config in [config(), scoped(config()), scoped(provider_config())] {
        let gateway = Gateway::on_redis(graceless(config), &away.url()).await;
        let client = gateway.public_client().await;
        let first = gateway.token(&redeem(&client, &code(&gateway, &client).await)).await.json();
        let second = refreshed(&gateway, &client, &first).await.json();
        away.set(Mode::Answers(1));
        let third = refreshed(&gateway, &client, &second).await;
        assert_eq!(third.status, StatusCode::OK, "{third:?}");
        assert_eq!(third.json()["scope"], second["scope"]);
        let down = refreshed(&gateway, &client, &third.json()).await;
        assert!(down.is_error(503, "temporarily_unavailable"), "{down:?}");
        away.set(Mode::Pass);
        while gateway.server.store.ping().await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(refreshed(&gateway, &client, &third.json()).await.status, StatusCode::OK);
    }
}

async fn refreshed(gateway: &Gateway, client: &Client, tokens: &Value) -> Answer {
    gateway.token(&refresh(client, tokens["refresh_token"].as_str().unwrap())).await
}
