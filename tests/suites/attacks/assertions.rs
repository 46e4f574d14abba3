//! 122: clients that prove themselves by what they sign (`private_key_jwt`).

use std::sync::Arc;

use axum::http::header::LOCATION;
use e2e::{
    balancer::REPLICA,
    idp::{
        now,
        signing::{SigningKey, unsigned},
    },
    oauth::{ASSERTION_TYPE, Answer, OAuthClient, REDIRECT_URI, VERIFIER},
    web,
};
use serde_json::{Value, json};

use crate::{
    documents::{authorize, good, is_page, named},
    load::REPLICAS,
    world::{Attack, works},
};

/// The document of a client that signs.
pub(crate) fn signing(member: &str, keys: Value) -> Value {
    let mut document = good();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document[member] = keys;
    document
}

/// What a good assertion says.
fn claims(client: &OAuthClient, jti: &str) -> Value {
    let (id, now) = (client.id(), now());
    json!({ "iss": id, "sub": id, "aud": client.issuer, "iat": now, "exp": now + 60, "jti": jti })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

/// A token request, or another, that this assertion is to prove.
async fn prove(client: &OAuthClient, path: &str, form: &[(&str, &str)], assertion: &str, at: &str) -> Answer {
    let proof = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
    client.post(path, &[form, &proof].concat(), &[(REPLICA, at)]).await
}

/// Assertions that say something else than they must.
fn wrong(client: &OAuthClient, attack: &Attack) -> Vec<Value> {
    let (now, own) = (now(), client.issuer.as_str());
    let other = "https://signed.test/other.json";
    let changes = [
        ("aud", json!(attack.b().issuer)),
        ("aud", json!(format!("{}/oauth/token", attack.c().issuer))),
        ("aud", json!(client.url)),
        ("aud", json!([own, "https://evil.test"])),
        ("aud", json!(format!("{own}/"))),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("exp", json!(now - 120)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(now + 86_400)),
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!(now + 600)),
        ("iat", json!(now + 600)),
        ("jti", json!("")),
        ("jti", json!("j".repeat(1000))),
        ("jti", Value::Null),
        ("iss", json!(other)),
        ("sub", json!(other)),
        ("sub", Value::Null),
    ];
    changes.into_iter().map(|(name, value)| with(claims(client, "wrong"), name, value)).collect()
}

/// Assertions that the client's key did not sign as they are.
fn forged(client: &OAuthClient, key: &SigningKey, strangers: [&SigningKey; 2]) -> Vec<String> {
    let right = claims(client, "forged");
    let [same, other] = strangers;
    let good = key.sign(&right);
    let (message, signature) = good.rsplit_once('.').expect("a JWT has three parts");
    let head = |name: &str, value: Value| with(json!({ "alg": "RS256", "kid": "k1" }), name, value);
    let said = unsigned(&json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }), &claims(client, "changed"));
    let mut assertions: Vec<String> = ["none", "None", "NONE", ""]
        .into_iter()
        .map(|algorithm| format!("{}.", unsigned(&head("alg", json!(algorithm)), &right)))
        .collect();
    assertions.extend([
        format!("{}.{signature}", unsigned(&head("alg", json!("none")), &right)),
        key.sign_symmetric(&right),
        same.sign(&right),
        other.sign(&right),
        same.sign_below(&json!({ "alg": "RS256" }), &right),
        same.sign_below(&head("jwk", same.public()), &right),
        same.sign_below(&head("jku", json!("https://private.inside.test/keys")), &right),
        same.sign_below(&head("x5u", json!("https://10.0.0.1/keys")), &right),
        key.sign_below(&head("crit", json!(["exp"])), &right),
        key.sign_below(&head("alg", json!("RS512")), &right),
        format!("{said}.{signature}"),
        format!("{message}."),
        message.to_owned(),
        format!("{good}.{signature}"),
    ]);
    assertions
}

pub(crate) async fn r122_assertions_that_prove_nothing(attack: &Attack) {
    let id = "https://signed.test/client.json";
    let (key, same, other) =
        tokio::join!(SigningKey::generate("k1"), SigningKey::generate("k1"), SigningKey::generate("k2"));
    web::publish(id, signing("jwks", json!({ "keys": [key.public()] })));
    attack.world.watch.listed(&attack.d().issuer, id, REDIRECT_URI);
    let client = named(attack, id);
    let (browser, name) = attack.local();
    let code = client.code(&browser).await;
    let redeem = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ];
    let wrong = wrong(&client, attack).iter().map(|claims| key.sign(claims)).collect::<Vec<_>>();
    let forged = forged(&client, &key, [&same, &other]);
    for (assertion, at) in wrong.iter().chain(&forged).zip(REPLICAS.into_iter().cycle()) {
        let answer = prove(&client, "/oauth/token", &redeem, assertion, at).await;
        assert!(answer.is_error(401, "invalid_client"), "{assertion}: {} {}", answer.status, answer.text);
    }
    let good = key.sign(&claims(&client, "good"));
    let tokens = prove(&client, "/oauth/token", &redeem, &good, "0").await;
    assert_eq!(tokens.status, 200, "none of those took the code: {}", tokens.text);
    assert!(works(&client, &tokens.get("access_token"), &name).await);
    // Nobody proves anything by it any more, at either replica, nor by another of its `jti`.
    let token = tokens.get("refresh_token");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    let again = key.sign(&with(claims(&client, "good"), "exp", json!(now() + 90)));
    for (assertion, at) in [(&good, "0"), (&good, "1"), (&again, "0"), (&again, "1")] {
        for (path, form) in [("/oauth/token", &refresh[..]), ("/oauth/revoke", &[("token", &*token)])] {
            let answer = prove(&client, path, form, assertion, at).await;
            assert!(answer.is_error(401, "invalid_client"), "{path} {at}: {} {}", answer.status, answer.text);
        }
    }
    let renewed = prove(&client, "/oauth/token", &refresh, &key.sign(&claims(&client, "next")), "1").await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    proves_one_of_many(&client, &key, &renewed.get("refresh_token")).await;
}

/// Of many requests at once, over both replicas, one assertion proves one.
async fn proves_one_of_many(client: &OAuthClient, key: &SigningKey, token: &str) {
    let assertion = key.sign(&claims(client, "raced"));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let asked = REPLICAS.into_iter().cycle().take(20);
    let asked = asked.map(async |at| prove(client, "/oauth/token", &refresh, &assertion, at).await);
    let answers = futures::future::join_all(asked).await;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.is_error(401, "invalid_client")).count();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!((good, refused), (1, 19), "{statuses:?}");
}

pub(crate) async fn r122_keys_that_lead_inside(attack: &Attack) {
    let key = Arc::new(SigningKey::generate("k1").await);
    let publish = |name: &str, keys: &str| {
        let id = format!("https://signed.test/{name}.json");
        web::publish(&id, signing("jwks_uri", json!(keys)));
        id
    };
    let client = |attack: &Attack, id: &str| {
        let mut client = named(attack, id);
        client.signs_with(key.clone());
        client
    };
    for (nth, keys) in [
        "https://10.0.0.1/keys",
        "https://2130706433/keys",
        "https://[::ffff:169.254.169.254]/keys",
        "https://localhost/keys",
        "https://private.inside.test:8443/keys",
        "http://private.inside.test/keys",
        "file:///etc/passwd",
    ]
    .into_iter()
    .enumerate()
    {
        let page = authorize(attack, &publish(&format!("literal-{nth}"), keys), nth % 2).await;
        assert!(is_page(&page, 400), "{keys}: {} {}", page.status, page.text);
    }
    for host in ["private.inside.test", "metadata.inside.test", "nat64.inside.test", "kubernetes.default.svc"]
    {
        let attack = attack.elsewhere();
        let id = publish(host, &format!("https://{host}/keys"));
        let answer = client(&attack, &id).refresh("x").await;
        assert!(answer.is_error(401, "invalid_client"), "{host}: {} {}", answer.status, answer.text);
        attack.was_answered_well();
    }
    let moved = "https://signed.test/keys";
    let keys = web::Answer::json(&json!({ "keys": [key.public()] }));
    web::serve(moved, keys.status(302).header(LOCATION, "https://private.inside.test/keys"));
    let elsewhere = attack.elsewhere();
    let answer = client(&elsewhere, &publish("moved", moved)).refresh("x").await;
    assert!(answer.is_error(401, "invalid_client"), "{} {}", answer.status, answer.text);
    assert_eq!(web::asked(moved), 1);
    elsewhere.was_answered_well();
    assert!(attack.world.sink.reached().is_empty(), "{:?}", attack.world.sink.reached());
}
