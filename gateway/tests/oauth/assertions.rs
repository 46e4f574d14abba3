//! Attack 122: clients whose document asks for `private_key_jwt`, and what is no proof of one.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatehouse_gateway::clock::Clock;
use http::StatusCode;
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey,
    core::{CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreJwsSigningAlgorithm},
};
use serde_json::{Value, json};

use crate::{
    documents::{ID, PUBLIC, World, answer, document, ok},
    support::{Answer, Browser, CALLBACK, Client, Gateway, authorization, config, redeem, refresh, with},
};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const KEYS: &str = "https://client.example/keys.json";

/// An Ed25519 key from a seed, whose id is `k<seed>`.
fn key(seed: u8) -> CoreEdDsaPrivateSigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let label = "PRIVATE KEY";
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(format!("k{seed}")))).unwrap()
}

pub(crate) fn jwks(seeds: &[u8]) -> Value {
    let keys = seeds.iter().map(|seed| serde_json::to_value(key(*seed).as_verification_key()).unwrap());
    json!({ "keys": keys.collect::<Vec<_>>() })
}

/// An answer with JSON that is fresh for an hour.
fn fresh(body: &Value) -> Vec<u8> {
    let headers = "Content-Type: application/json\r\nCache-Control: max-age=3600\r\n";
    answer("200 OK", headers, body.to_string().as_bytes())
}

/// A document of a client that signs; `keys` is `jwks` or `jwks_uri`.
fn signing(keys: &str, value: Value) -> Vec<u8> {
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document[keys] = value;
    fresh(&document)
}

/// The client whose id is the document's address.
pub(crate) fn client() -> Client {
    Client { id: ID.to_owned(), secret: None }
}

/// What an assertion must say, with a `jti` of its own.
pub(crate) fn claims(world: &World) -> Value {
    claims_at(world.clock.unix())
}

/// As [`claims`], at this time.
pub(crate) fn claims_at(now: i64) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({"iss": ID, "sub": ID, "aud": "https://gw.test", "exp": now + 300, "jti": jti})
}

/// A token with this header and payload, and the signature that `sign` makes.
fn jwt(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

pub(crate) fn signed(seed: u8, claims: &Value) -> String {
    let header = json!({"alg": "EdDSA", "kid": format!("k{seed}")});
    jwt(&header, claims, |m| key(seed).sign(&CoreJwsSigningAlgorithm::EdDsa, m).unwrap())
}

pub(crate) fn proven<'a>(params: Vec<(&'a str, &'a str)>, assertion: &'a str) -> Vec<(&'a str, &'a str)> {
    with(with(params, "client_assertion_type", Some(TYPE)), "client_assertion", Some(assertion))
}

impl World {
    /// A world whose client signs with key 1, in its document.
    pub(crate) async fn inline() -> Self {
        Self::new(signing("jwks", jwks(&[1]))).await
    }

    /// A world whose client signs with key 1, at an address that its document names.
    async fn named() -> Self {
        let world = Self::new(signing("jwks_uri", json!(KEYS))).await;
        world.web.publish(fresh(&jwks(&[1])));
        world
    }

    async fn code(&self) -> String {
        self.gateway.code(&mut Browser::default(), &client()).await
    }

    async fn redeem(&self, code: &str, assertion: &str) -> Answer {
        self.gateway.token(&proven(redeem(&client(), code), assertion)).await
    }

    /// A whole sign-in; its refresh token.
    async fn refresh_token(&self) -> String {
        let answer = self.redeem(&self.code().await, &signed(1, &claims(self))).await;
        refresh_token(&answer)
    }

    async fn refresh(&self, token: &str, assertion: &str) -> Answer {
        self.gateway.token(&proven(refresh(&client(), token), assertion)).await
    }
}

fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_signs_redeems_refreshes_and_revokes() {
    for world in [World::inline().await, World::named().await] {
        let code = world.code().await;
        assert_eq!(world.web.seen(), ["CONNECT 8.8.8.8:443", "GET /metadata.json"]);
        let token = refresh_token(&world.redeem(&code, &signed(1, &claims(&world))).await);
        world.web.seen();
        // The id may be left out: the assertion says it.
        let mut at_endpoint = claims(&world);
        at_endpoint["aud"] = json!(["https://gw.test/oauth/token"]);
        let assertion = signed(1, &at_endpoint);
        let client = client();
        let params = with(proven(refresh(&client, &token), &assertion), "client_id", None);
        let token = refresh_token(&world.gateway.token(&params).await);
        assert_eq!(world.web.seen(), [""; 0], "what is fresh is not fetched again");
        let replica = world.replica();
        let assertion = signed(1, &claims(&world));
        let refreshed = replica.token(&proven(refresh(&client, &token), &assertion)).await;
        let token = refresh_token(&refreshed);
        let mut at_revocation = claims(&world);
        at_revocation["aud"] = json!("https://gw.test/oauth/revoke");
        let assertion = signed(1, &at_revocation);
        assert!(world.refresh(&token, &assertion).await.is_error(401, "invalid_client"), "it is for there");
        let revoked = proven(vec![("token", token.as_str())], &assertion);
        assert_eq!(world.gateway.revoke(&revoked).await.status, StatusCode::OK);
        let access = refreshed.json()["access_token"].as_str().unwrap().to_owned();
        assert!(!world.gateway.accepts(&access).await);
    }
}

/// A program that every user installs may carry its key for everybody (RFC 8252 section 8.5).
#[tokio::test]
async fn users_are_warned_of_programs_that_take_the_name_of_one_that_signs() {
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document["jwks"] = jwks(&[1]);
    let web = "https://client.example/callback";
    document["redirect_uris"] = json!([CALLBACK, "cursor://anysphere.cursor-mcp/oauth/callback", web]);
    let mut config = config();
    config["policy"] = json!({"redirectUris": {"allow": [web]}});
    let world = World::with(config, fresh(&document), &[PUBLIC]).await;
    let client = client();
    let page = async |uri: &'static str| {
        let asked = with(authorization(&client), "redirect_uri", Some(uri));
        Browser::default().consent_to(&world.gateway, &asked, "alice").await.body
    };
    let identified =
        "Identified by <strong>client.example</strong>, which says that this is its application.";
    let key = "Only whoever holds its key can use what you approve.";
    for (uri, claim) in [
        (CALLBACK, "Any program on this computer can say that it is Claude Code."),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "Any app on this device can say that it is Claude Code.",
        ),
    ] {
        let page = page(uri).await;
        assert!(page.contains(identified) && page.contains(claim) && !page.contains(key), "{uri}: {page}");
    }
    // What goes to a host goes to nobody's computer.
    let page = page(web).await;
    assert!(page.contains(&format!("{identified} {key}")) && !page.contains("can say that it is"), "{page}");
}

#[tokio::test]
async fn the_keys_of_a_named_set_are_fetched_when_the_first_assertion_comes() {
    let world = World::named().await;
    let code = world.code().await;
    world.web.seen();
    refresh_token(&world.redeem(&code, &signed(1, &claims(&world))).await);
    assert_eq!(world.web.seen(), ["CONNECT 8.8.8.8:443", "GET /keys.json"]);
}

/// What is refused whatever signs it.
fn wrong_claims(world: &World) -> Vec<(&'static str, Value)> {
    let now = world.clock.unix();
    vec![
        ("aud", json!("https://other.test")),
        ("aud", json!("https://gw.test/")),
        ("aud", json!("https://gw.test/mcp")),
        ("aud", json!("https://gw.test/oauth/revoke")),
        ("aud", json!(["https://gw.test", "https://other.test"])),
        ("aud", json!([])),
        ("aud", json!([["https://gw.test"]])),
        ("aud", Value::Null),
        ("exp", json!(now - 60)),
        ("exp", json!(now + 601)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!("soon")),
        ("exp", Value::Null),
        ("nbf", json!(now + 61)),
        ("iat", json!(now + 61)),
        ("iat", json!("now")),
        ("jti", Value::Null),
        ("jti", json!("")),
        ("jti", json!("j".repeat(257))),
        ("jti", json!(7)),
        ("iss", json!("https://client.example/other.json")),
        ("sub", json!("https://client.example/other.json")),
        ("sub", Value::Null),
    ]
}

#[tokio::test]
async fn an_assertion_that_says_something_else_is_refused() {
    let world = World::inline().await;
    let code = world.code().await;
    for (claim, value) in wrong_claims(&world) {
        let mut wrong = claims(&world);
        wrong[claim] = value.clone();
        let answer = world.redeem(&code, &signed(1, &wrong)).await;
        assert!(answer.is_error(401, "invalid_client"), "{claim} {value}: {answer:?}");
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    let mut edge = claims(&world);
    let now = world.clock.unix();
    (edge["exp"], edge["nbf"]) = (json!(now - 59), json!(now + 60));
    edge["iat"] = serde_json::from_str(&format!("{}.5", now + 59)).unwrap();
    edge["jti"] = json!("j".repeat(256));
    assert_eq!(world.redeem(&code, &signed(1, &edge)).await.status, StatusCode::OK, "the code was untouched");
}

#[tokio::test]
async fn an_assertion_that_the_client_did_not_sign_is_refused() {
    let world = World::inline().await;
    let code = world.code().await;
    let right = claims(&world);
    let ed = |seed: u8| move |m: &[u8]| key(seed).sign(&CoreJwsSigningAlgorithm::EdDsa, m).unwrap();
    let public = serde_json::to_vec(&key(1).as_verification_key()).unwrap();
    let x = URL_SAFE_NO_PAD.decode(jwks(&[1])["keys"][0]["x"].as_str().unwrap()).unwrap();
    let mac = |secret: &[u8]| {
        let key = CoreHmacKey::new(secret);
        move |m: &[u8]| key.sign(&CoreJwsSigningAlgorithm::HmacSha256, m).unwrap()
    };
    let good = signed(1, &right);
    let (message, _) = good.rsplit_once('.').unwrap();
    for wrong in [
        jwt(&json!({"alg": "none"}), &right, |_| Vec::new()),
        jwt(&json!({"alg": "none", "kid": "k1"}), &right, ed(1)),
        jwt(&json!({"alg": "HS256", "kid": "k1"}), &right, mac(&x)),
        jwt(&json!({"alg": "HS256"}), &right, mac(&public)),
        jwt(&json!({"alg": "RS256", "kid": "k1"}), &right, ed(1)),
        jwt(&json!({"alg": "eddsa", "kid": "k1"}), &right, ed(1)),
        jwt(&json!({"kid": "k1"}), &right, ed(1)),
        jwt(&json!({"alg": "EdDSA", "kid": "k1", "crit": ["exp"]}), &right, ed(1)),
        jwt(&json!({"alg": "EdDSA", "kid": "k1", "crit": null}), &right, ed(1)),
        jwt(&json!({"alg": "EdDSA", "kid": 1}), &right, ed(1)),
        jwt(&json!({"alg": "EdDSA", "kid": "k1"}), &right, ed(2)),
        jwt(&json!({"alg": "EdDSA", "kid": "k2"}), &right, ed(1)),
        jwt(&json!({"alg": "EdDSA"}), &right, ed(2)),
        signed(2, &right),
        format!("{message}."),
        message.to_owned(),
        format!("{good}.x"),
        format!("{good}="),
        "a.b.c".to_owned(),
        ".".repeat(10_000),
    ] {
        let answer = world.redeem(&code, &wrong).await;
        assert!(answer.is_error(401, "invalid_client"), "{wrong}: {answer:?}");
    }
    // Without a key id, any of the client's keys may have signed.
    let anonymous = jwt(&json!({"alg": "EdDSA"}), &right, ed(1));
    assert_eq!(world.redeem(&code, &anonymous).await.status, StatusCode::OK);
}

/// Looking at a signature costs more than anything else that a stranger can ask for.
#[tokio::test]
async fn who_sent_very_many_assertions_waits() {
    let anonymous = |seed, world: &World| {
        jwt(&json!({"alg": "EdDSA"}), &claims(world), |m| {
            key(seed).sign(&CoreJwsSigningAlgorithm::EdDsa, m).unwrap()
        })
    };
    for world in [World::inline().await, World::named().await] {
        let code = world.code().await;
        let from = async |ip: &str, assertion: &str| {
            let mut browser = Browser { address: Some(ip.parse().unwrap()), ..Browser::default() };
            let client = client();
            let params = proven(redeem(&client, &code), assertion);
            browser.post(&world.gateway, "/oauth/token", &params).await
        };
        // One is one: what is not newer is not looked at again.
        let nobodys = jwt(&json!({"alg": "EdDSA", "kid": "nobody's"}), &claims(&world), |_| vec![0; 64]);
        for n in 0..599 {
            let answer = from("203.0.113.1", &nobodys).await;
            assert!(answer.is_error(401, "invalid_client"), "{n}: {answer:?}");
        }
        let answer = from("203.0.113.1", &anonymous(2, &world)).await;
        assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
        let answer = from("203.0.113.1", &signed(1, &claims(&world))).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty());
        refresh_token(&from("198.51.100.1", &anonymous(1, &world)).await);
    }
}

#[tokio::test]
async fn a_client_that_names_its_algorithm_signs_by_no_other() {
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document["jwks"] = jwks(&[1]);
    document["token_endpoint_auth_signing_alg"] = json!("ES256");
    let world = World::new(fresh(&document)).await;
    let code = world.code().await;
    let answer = world.redeem(&code, &signed(1, &claims(&world))).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
}

#[tokio::test]
async fn an_assertion_proves_one_request_on_all_replicas() {
    let world = World::inline().await;
    let replica = world.replica();
    let (code, other) = (world.code().await, world.code().await);
    let assertion = signed(1, &claims(&world));
    let token = refresh_token(&world.redeem(&code, &assertion).await);
    for gateway in [&world.gateway, &replica] {
        for params in [redeem(&client(), &other), refresh(&client(), &token)] {
            let answer = gateway.token(&proven(params, &assertion)).await;
            assert!(
                answer.is_error(401, "invalid_client") && answer.body.contains("used before"),
                "{answer:?}"
            );
        }
        let answer = gateway.revoke(&proven(vec![("token", &token)], &assertion)).await;
        assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
    }
    let answer = replica.token(&proven(redeem(&client(), &other), &signed(1, &claims(&world)))).await;
    assert_eq!(answer.status, StatusCode::OK, "nothing was spent but the assertion: {answer:?}");
    refresh_token(&world.refresh(&token, &signed(1, &claims(&world))).await);
}

/// Nor is it told that they are inside.
#[tokio::test]
async fn keys_inside_are_not_asked_for() {
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"] {
        let document = signing("jwks_uri", json!(KEYS));
        let world = World::with(config(), document, &[PUBLIC, address]).await;
        let code = world.code().await;
        world.web.seen();
        let answer = world.redeem(&code, &signed(1, &claims(&world))).await;
        assert!(answer.is_error(503, "temporarily_unavailable"), "{address}: {answer:?}");
        assert_eq!(world.web.seen(), [""; 0], "{address}");
    }
}

/// Whoever shows nothing that was given here does not read why not.
#[tokio::test]
async fn what_cannot_be_fetched_is_refused_in_the_same_words() {
    let client = client();
    let of_document = async |(bytes, address)| World::with(config(), bytes, &[address]).await;
    let of_keys = async |(bytes, address): (Vec<u8>, &'static str)| {
        let world = World::with(config(), signing("jwks_uri", json!(KEYS)), &[PUBLIC, address]).await;
        world.web.publish(bytes);
        world
    };
    let (mut documents, mut keys) = (Vec::new(), Vec::new());
    for failure in [
        (answer("404 Not Found", "", b""), PUBLIC),
        (answer("503 Away", "", b""), PUBLIC),
        (answer("200 OK", "Content-Type: text/html\r\n", b"<html>"), PUBLIC),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), PUBLIC),
        (ok(), "10.0.0.1"),
        (ok(), "169.254.169.254"),
    ] {
        let worlds = [of_document(failure.clone()).await, of_keys(failure).await];
        for (world, told) in worlds.iter().zip([&mut documents, &mut keys]) {
            for form in [redeem(&client, "x"), refresh(&client, "x"), vec![("token", "x")]] {
                let assertion = signed(1, &claims(world));
                let form = proven(form, &assertion);
                let refused = if form[0].0 == "token" {
                    world.gateway.revoke(&form).await
                } else {
                    world.gateway.token(&form).await
                };
                assert!(refused.is_error(401, "invalid_client"), "{refused:?}");
                assert!(refused.body.contains("cannot be fetched"), "{refused:?}");
                told.push(refused.body);
            }
        }
    }
    for mut told in [documents, keys] {
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[tokio::test]
async fn keys_that_are_no_public_keys_are_refused() {
    let json = "Content-Type: application/json\r\n";
    let good = jwks(&[1]).to_string();
    let mut private = jwks(&[1]);
    private["keys"][0]["d"] = json!("x");
    let padded = format!("{good}{}", " ".repeat(64 * 1024));
    for keys in [
        answer("200 OK", json, b"{}"),
        answer("200 OK", json, private.to_string().as_bytes()),
        answer("200 OK", json, padded.as_bytes()),
        answer("200 OK", "Content-Type: text/html\r\n", good.as_bytes()),
        answer("302 Found", "Location: https://client.example/keys2.json\r\n", b""),
        answer("404 Not Found", json, good.as_bytes()),
    ] {
        let world = World::named().await;
        world.web.publish(keys);
        let refused = world.redeem(&world.code().await, &signed(1, &claims(&world))).await;
        assert!(refused.is_error(401, "invalid_client"), "{refused:?}");
    }
}

#[tokio::test]
async fn two_proofs_at_once_and_proofs_of_others_are_refused() {
    let world = World::inline().await;
    let code = world.code().await;
    let assertion = signed(1, &claims(&world));
    let client = client();
    let right = proven(redeem(&client, &code), &assertion);
    let basic = format!("Basic {}", STANDARD.encode(format!("{ID}:s")));
    let answer = world.gateway.token_with(&[("authorization", &basic)], &right).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
    for (name, value) in [
        ("client_secret", Some("s")),
        ("client_assertion_type", None),
        ("client_assertion_type", Some("urn:ietf:params:oauth:client-assertion-type:saml2-bearer")),
        ("client_assertion", None),
        ("client_id", Some("https://client.example/other.json")),
    ] {
        let answer = world.gateway.token(&with(right.clone(), name, value)).await;
        assert!(answer.is_error(401, "invalid_client"), "{name} {value:?}: {answer:?}");
    }
    assert_eq!(world.gateway.token(&right).await.status, StatusCode::OK);

    let registered = world.gateway.public_client().await;
    let mut of_registered = claims(&world);
    (of_registered["iss"], of_registered["sub"]) = (json!(registered.id), json!(registered.id));
    let assertion = signed(1, &of_registered);
    let code = world.gateway.code(&mut Browser::default(), &registered).await;
    let answer = world.gateway.token(&proven(redeem(&registered, &code), &assertion)).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
}

#[tokio::test]
async fn a_grant_is_held_to_the_method_of_its_sign_in() {
    let world = World::inline().await;
    let code = world.code().await;
    let unproven = world.gateway.token(&redeem(&client(), &code)).await;
    assert!(unproven.is_error(400, "invalid_grant"), "{unproven:?}");
    let token = refresh_token(&world.redeem(&code, &signed(1, &claims(&world))).await);
    // Whoever takes over the document may not make the client public for those who approved it before.
    world.clock.advance(Duration::from_secs(3601));
    world.web.say(fresh(&document()));
    let unproven = world.gateway.token(&refresh(&client(), &token)).await;
    assert!(unproven.is_error(400, "invalid_grant"), "{unproven:?}");
    let answer = world.gateway.revoke(&[("client_id", ID), ("token", &token)]).await;
    assert!(answer.is_error(400, "invalid_grant"), "{answer:?}");
    let answer = world.refresh(&token, &signed(1, &claims(&world))).await;
    assert!(answer.is_error(401, "invalid_client"), "the document has no keys now: {answer:?}");

    // The other way round: a grant of a public client goes on as it began, and fetches nothing.
    let public = refresh_token(&world.gateway.token(&redeem(&client(), &world.code().await)).await);
    world.clock.advance(Duration::from_secs(3601));
    world.web.say(signing("jwks", jwks(&[1])));
    let answer = world.refresh(&public, &signed(1, &claims(&world))).await;
    assert!(answer.is_error(400, "invalid_grant"), "{answer:?}");
    world.web.seen();
    let public = refresh_token(&world.gateway.token(&refresh(&client(), &public)).await);
    assert_eq!(world.web.seen(), [""; 0], "{public}");
    refresh_token(&world.refresh(&token, &signed(1, &claims(&world))).await);
}

#[tokio::test]
async fn while_keys_cannot_be_had_the_client_is_asked_to_come_back() {
    let world = World::named().await;
    let away = answer("503 Service Unavailable", "", b"");
    world.web.publish(away.clone());
    let code = world.code().await;
    let answer = world.redeem(&code, &signed(1, &claims(&world))).await;
    assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
    world.web.publish(fresh(&jwks(&[1])));
    world.clock.advance(Duration::from_secs(11));
    let token = refresh_token(&world.redeem(&code, &signed(1, &claims(&world))).await);

    // Keys that are known outlast an outage; whether another was added since cannot be said.
    world.clock.advance(Duration::from_secs(3601));
    world.web.publish(away);
    let token = refresh_token(&world.refresh(&token, &signed(1, &claims(&world))).await);
    let answer = world.refresh(&token, &signed(2, &claims(&world))).await;
    assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");

    // The same of a document, on a replica that does not know it.
    world.web.say(b"".to_vec());
    let (replica, client) = (world.replica(), client());
    let refused = async |form: Vec<(&str, &str)>, status, error| {
        let assertion = signed(1, &claims(&world));
        let revokes = form[0].0 == "token";
        let form = proven(form, &assertion);
        let answer = if revokes { replica.revoke(&form).await } else { replica.token(&form).await };
        assert!(answer.is_error(status, error), "{answer:?}");
    };
    refused(refresh(&client, &token), 503, "temporarily_unavailable").await;
    refused(vec![("token", &token)], 503, "temporarily_unavailable").await;
    // What is another's, or is over, is nothing of its own.
    let registered = world.gateway.public_client().await;
    let code = world.gateway.code(&mut Browser::default(), &registered).await;
    refused(redeem(&client, &code), 401, "invalid_client").await;
    let assertion = signed(1, &claims(&world));
    let revoked = proven(vec![("token", token.as_str())], &assertion);
    assert_eq!(world.gateway.revoke(&revoked).await.status, StatusCode::OK);
    refused(refresh(&client, &token), 401, "invalid_client").await;
}

#[tokio::test]
async fn a_key_that_was_added_is_found_and_asked_for_once_a_minute() {
    for inline in [true, false] {
        let world = if inline { World::inline().await } else { World::named().await };
        let publish = |seeds: &[u8]| {
            if inline {
                world.web.say(signing("jwks", jwks(seeds)));
            } else {
                world.web.publish(fresh(&jwks(seeds)));
            }
        };
        let token = world.refresh_token().await;
        publish(&[1, 2]);
        world.web.seen();
        for _ in 0..3 {
            let answer = world.refresh(&token, &signed(2, &claims(&world))).await;
            assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
        }
        assert_eq!(world.web.fetches(), 0, "they were fetched a moment ago");
        world.clock.advance(Duration::from_secs(60));
        let token = refresh_token(&world.refresh(&token, &signed(2, &claims(&world))).await);
        assert_eq!(world.web.fetches(), 1);
        let crowd = (3..20).map(|seed| signed(seed, &claims(&world))).collect::<Vec<_>>();
        world.clock.advance(Duration::from_secs(60));
        let asked = crowd.iter().map(|assertion| world.refresh(&token, assertion));
        for answer in futures::future::join_all(asked).await {
            assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
        }
        assert_eq!(world.web.fetches(), 1, "one for a crowd");
        // A key that was withdrawn is not believed any more.
        publish(&[2]);
        world.clock.advance(Duration::from_secs(3601));
        let answer = world.refresh(&token, &signed(1, &claims(&world))).await;
        assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_without_documents_does_not_offer_to_be_proven_to_by_assertion() {
    let mut config = config();
    config["policy"] = json!({"metadataDocuments": {"mode": "Refused"}});
    let offered = Gateway::new(config).get("/.well-known/oauth-authorization-server").await.json();
    assert!(!offered.to_string().contains("private_key_jwt"), "{offered}");
    for endpoint in ["token", "revocation"] {
        assert_eq!(offered[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")], Value::Null);
    }
}
