//! 69 to 84 and 95: the token endpoint.

use std::time::{Duration, Instant};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use e2e::{
    browser::Browser,
    oauth::{Answer, OAuthClient, REDIRECT_URI, VERIFIER},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::{Attack, TEN_MINUTES, WEB_CALLBACK, dies, works};

fn endpoint(client: &OAuthClient) -> String {
    format!("{}/oauth/token", client.issuer)
}

pub(crate) async fn r069_the_answer_is_complete_and_holds_nothing_more(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let answer = client.redeem(&client.code(&browser).await).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert!(answer.header("cache-control").contains("no-store"));
    let body = answer.json();
    let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "scope", "token_type"]);
    assert_eq!((body["token_type"].as_str(), body["scope"].as_str()), (Some("Bearer"), Some("mcp")));
    assert_eq!(body["expires_in"], 3600);
    is_kept_as_long_as_it_says(attack, &answer).await;
    assert!(works(&client, &answer.get("access_token"), browser.user()).await);
    // The same of every tenant, every kind of client and every grant, and none of it is good elsewhere.
    for gateway in [attack.a(), attack.b(), attack.c()] {
        for method in ["none", "client_secret_post", "client_secret_basic"] {
            let (client, browser) =
                (attack.client_as(gateway, method, REDIRECT_URI).await, attack.user_of(gateway));
            let first = client.redeem(&client.code(&browser).await).await;
            let second = client.refresh(&first.get("refresh_token")).await;
            for answer in [&first, &second] {
                let body = answer.json();
                let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
                members.sort();
                assert_eq!(
                    members,
                    ["access_token", "expires_in", "refresh_token", "scope", "token_type"],
                    "{method}"
                );
                assert_eq!(
                    (&body["token_type"], &body["expires_in"]),
                    (&json!("Bearer"), &json!(3600)),
                    "{method}"
                );
                assert!(works(&client, &answer.get("access_token"), browser.user()).await, "{method}");
            }
            is_kept_as_long_as_it_says(attack, &second).await;
            for other in
                [attack.a(), attack.b(), attack.c()].into_iter().filter(|g| g.issuer != gateway.issuer)
            {
                let mut there = client.clone();
                there.url.clone_from(&other.url);
                let answer = there.whoami(Some(&second.get("access_token"))).await;
                assert_eq!(answer.status, 401, "{method}: {}", answer.text);
            }
        }
    }
}

/// Redis ends a token, when what was said to the client is over.
async fn is_kept_as_long_as_it_says(attack: &Attack, answer: &Answer) {
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(answer.get("access_token")));
    let keys = attack.world.redis.keys().await;
    let key = keys.iter().find(|key| key.ends_with(&format!(":oauth:access:{hash}"))).expect("it is kept");
    let (said, left) = (answer.json()["expires_in"].as_i64().unwrap(), attack.world.redis.ttl(key).await);
    assert!(left <= said && left > said - 60, "{left} s of {said} s are left");
}

pub(crate) async fn r070_a_code_is_good_once_and_its_replay_ends_the_sign_in(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let other = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let code = client.code(&browser).await;
    let first = client.redeem(&code).await;
    let access = first.get("access_token");
    assert!(works(&client, &access, browser.user()).await);
    // A thief without the verifier, or with another client, ends nothing.
    let wrong = client.redeem_with(&code, &[("code_verifier", Some(&"w".repeat(43)))]).await;
    assert!(wrong.is_error(400, "invalid_grant"), "{}", wrong.text);
    assert!(other.redeem(&code).await.is_error(400, "invalid_grant"));
    assert!(works(&client, &access, browser.user()).await);
    // The right client's replay within two seconds is a parallel loser; after that it is theft.
    let replayed = client.redeem(&code).await;
    assert!(replayed.is_error(400, "invalid_grant"), "{}", replayed.text);
    e2e::net::eventually("a replay to end the sign-in", async || {
        assert!(client.redeem(&code).await.is_error(400, "invalid_grant"));
        (!works(&client, &access, browser.user()).await).then_some(())
    })
    .await;
    dies(&client, &access).await;
    assert!(client.refresh(&first.get("refresh_token")).await.is_error(400, "invalid_grant"));
}

pub(crate) async fn r074_the_redirect_uri_is_the_one_of_the_request(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let (longer, query) = (format!("{REDIRECT_URI}/"), format!("{REDIRECT_URI}?x=y"));
    for other in [WEB_CALLBACK, &longer, &query, "cursor://", "x"] {
        let code = client.code(&browser).await;
        let answer = client.redeem_with(&code, &[("redirect_uri", Some(other))]).await;
        assert!(answer.is_error(400, "invalid_grant"), "{other}: {}", answer.text);
    }
    // Left out where one was sent: RFC 6749 section 4.1.3.
    let code = client.code(&browser).await;
    let answer = client.redeem_with(&code, &[("redirect_uri", None)]).await;
    assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
}

pub(crate) async fn r075_r076_the_verifier_is_proven(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let (short, long) = (&VERIFIER[..42], "v".repeat(129));
    let (unicode, padded, upper) = ("ü".repeat(43), format!("{VERIFIER}="), VERIFIER.to_uppercase());
    for verifier in [
        None,
        Some(""),
        Some(challenge),
        Some(short),
        Some(long.as_str()),
        Some(&unicode),
        Some(&padded),
        Some(&upper),
    ] {
        let code = client.code(&browser).await;
        let answer = client.redeem_with(&code, &[("code_verifier", verifier)]).await;
        assert!(answer.is_error(400, "invalid_grant"), "{verifier:?}: {} {}", answer.status, answer.text);
        let plain = client
            .redeem_with(&code, &[("code_verifier", verifier), ("code_challenge_method", Some("plain"))])
            .await;
        assert!(plain.is_error(400, "invalid_grant"), "{verifier:?}: {}", plain.text);
    }
}

/// The ids of keys count up from 1, and anybody can write one: only a gateway that cannot read its own keys asks for
/// patience. That nothing is answered with a server error is looked at after every row.
pub(crate) async fn r009_a_key_that_nobody_has_is_no_outage(attack: &Attack) {
    for gateway in [attack.a(), attack.b(), attack.c()] {
        let (client, browser) = (attack.client(gateway).await, attack.user_of(gateway));
        let code = client.code(&browser).await;
        let (access, refresh) = client.tokens(&browser).await;
        for step in [1, 2, u8::MAX] {
            let other = |prefix: usize, text: &str| {
                let mut bytes = URL_SAFE_NO_PAD.decode(&text[prefix..]).unwrap();
                bytes[0] = bytes[0].wrapping_add(step);
                format!("{}{}", &text[..prefix], URL_SAFE_NO_PAD.encode(bytes))
            };
            let mut stranger = client.clone();
            stranger.registration["client_id"] = other("gc_".len(), client.id()).into();
            for answer in [
                stranger.redeem(&code).await,
                stranger.refresh(&refresh).await,
                stranger.revoke(&refresh).await,
            ] {
                assert!(answer.is_error(401, "invalid_client"), "{step}: {} {}", answer.status, answer.text);
            }
            let page = attack.get(&stranger.authorize_url()).await;
            assert_eq!((page.status, page.header("location")), (400, ""), "{step}: {}", page.text);
            let (access, refresh) = (other("gha_".len(), &access), other(0, &refresh));
            for answer in [client.redeem(&other(0, &code)).await, client.refresh(&refresh).await] {
                assert!(answer.is_error(400, "invalid_grant"), "{step}: {} {}", answer.status, answer.text);
            }
            let called = client.whoami(Some(&access)).await;
            assert_eq!(called.status, 401, "{step}: {}", called.text);
            for token in [&access, &refresh] {
                let answer = client.revoke(token).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{step}");
            }
        }
        assert!(works(&client, &access, browser.user()).await, "nothing ended");
        assert_eq!(client.redeem(&code).await.status, 200, "nothing took the code");
    }
}

pub(crate) async fn r078_an_old_code_is_refused(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let code = client.code(&attack.visitor()).await;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&code));
    attack.expire(&format!(":oauth:code:{hash}"), TEN_MINUTES).await;
    assert!(client.redeem(&code).await.is_error(400, "invalid_grant"));
}

pub(crate) async fn r080_only_forms_are_read(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let code = client.code(&attack.visitor()).await;
    let url = endpoint(&client);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT_URI),
        ("client_id", client.id()),
    ];
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    assert_eq!(attack.get(&url).await.status, 405);
    let in_query = attack.send(attack.http.post(format!("{url}?{encoded}"))).await;
    assert!(in_query.is_error(400, "invalid_request"), "{}", in_query.text);
    let both = attack.send(attack.http.post(format!("{url}?{encoded}")).form(&form)).await;
    assert!(both.is_error(400, "invalid_request"), "{}", both.text);
    for kind in [
        "application/json",
        "multipart/form-data; boundary=x",
        "application/json, application/x-www-form-urlencoded",
        "text/plain",
        "application/x-www-form-urlencoded-evil",
        "",
    ] {
        let answer =
            attack.send(attack.http.post(&url).header("content-type", kind).body(encoded.clone())).await;
        assert!(answer.is_error(400, "invalid_request"), "{kind}: {} {}", answer.status, answer.text);
    }
    assert!(attack.send(attack.http.post(&url).body(encoded.clone())).await.is_error(400, "invalid_request"));
    for repeated in ["code", "grant_type", "client_id", "code_verifier", "redirect_uri", "unknown"] {
        let body = format!("{encoded}&{repeated}=a&{repeated}=b");
        let request =
            attack.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
        assert!(attack.send(request).await.is_error(400, "invalid_request"), "{repeated}");
    }
    for broken in ["%", "%zz", "%ff", "a=%e0%80%af"] {
        let body = format!("{encoded}&x={broken}");
        let request =
            attack.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
        assert!(attack.send(request).await.is_error(400, "invalid_request"), "{broken}");
    }
    for kinds in [
        vec!["application/x-www-form-urlencoded", "application/json"],
        vec!["application/x-www-form-urlencoded, application/x-www-form-urlencoded"],
        vec!["x-www-form-urlencoded"],
        vec!["application/x-www-form-urlencoded\u{b}"],
    ] {
        let request = kinds.iter().fold(attack.http.post(&url), |r, kind| r.header("content-type", *kind));
        // What is no header cannot be sent.
        let Ok(request) = request.body(encoded.clone()).build() else { continue };
        let answer = Answer::of(attack.http.execute(request).await.unwrap()).await;
        assert!(answer.is_error(400, "invalid_request"), "{kinds:?}: {} {}", answer.status, answer.text);
    }
    for method in ["HEAD", "PUT", "PATCH", "DELETE", "TRACE", "FOO"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        for target in [url.clone(), format!("{url}?{encoded}")] {
            let answer = attack.send(attack.http.request(method.clone(), target).form(&form)).await;
            assert_eq!(answer.status, 405, "{method}: {}", answer.text);
        }
    }
    let utf16: Vec<u8> = encoded.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bodies = [
        utf16,
        format!("\u{feff}{encoded}").into_bytes(),
        encoded.replace('&', ";").into_bytes(),
        json!(form).to_string().into_bytes(),
    ];
    for body in bodies {
        let request = attack.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
        let answer = attack.send(request.body(body)).await;
        assert!(matches!(answer.status, 400 | 401), "{}", answer.text);
    }
    assert_eq!(client.redeem(&code).await.status, 200, "none of them took the code");
}

pub(crate) async fn r082_other_grant_types(attack: &Attack) {
    let client = attack.client_as(attack.a(), "client_secret_post", REDIRECT_URI).await;
    other_grants(&client).await;
    let robot = client.token(&[("grant_type", "client_credentials"), ("scope", "mcp")]).await;
    assert!(robot.is_error(400, "unauthorized_client"), "{} {}", robot.status, robot.text);
}

/// What nobody is given anything for, whatever a client that proves itself may use.
pub(crate) async fn other_grants(client: &OAuthClient) {
    for (grant_type, error) in [
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:device_code", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:token-exchange", "unsupported_grant_type"),
        ("AUTHORIZATION_CODE", "unsupported_grant_type"),
        ("authorization_code refresh_token", "unsupported_grant_type"),
        ("", "unsupported_grant_type"),
        ("CLIENT_CREDENTIALS", "unsupported_grant_type"),
        ("client_credentials authorization_code", "unsupported_grant_type"),
    ] {
        let form =
            [("grant_type", grant_type), ("username", "alice"), ("password", "alice"), ("scope", "mcp")];
        let answer = client.token(&form).await;
        let missing = grant_type.is_empty() && answer.is_error(400, "invalid_request");
        assert!(missing || answer.is_error(400, error), "{grant_type}: {} {}", answer.status, answer.text);
    }
    assert!(client.token(&[]).await.is_error(400, "invalid_request"));
}

pub(crate) async fn r083_a_client_authenticates_in_one_way(attack: &Attack) {
    let public = attack.client(attack.a()).await;
    let basic = attack.client_as(attack.a(), "client_secret_basic", REDIRECT_URI).await;
    authenticates_in_one_way(attack, &basic, &public, "invalid_grant").await;
    // The secret of another client, and that of this one at another tenant.
    let (id, secret) = (basic.id(), basic.registration["client_secret"].as_str().unwrap());
    let other = attack.client_as(attack.a(), "client_secret_basic", REDIRECT_URI).await;
    let theirs = other.registration["client_secret"].as_str().unwrap();
    let foreign = attack.client_as(attack.c(), "client_secret_basic", REDIRECT_URI).await;
    let of_c = foreign.registration["client_secret"].as_str().unwrap();
    for (id, secret) in
        [(id, theirs), (id, of_c), (foreign.id(), of_c), (id, &secret[1..]), (id, &secret.to_uppercase())]
    {
        let answer = ask(attack, &basic, Some(basic_header(id, secret)), &[]).await;
        assert!(answer.is_error(401, "invalid_client"), "{} {}", answer.status, answer.text);
    }
}

/// Asks the token endpoint for nothing that could be given, with this `Authorization` and these fields.
async fn ask(
    attack: &Attack,
    client: &OAuthClient,
    header: Option<String>,
    extra: &[(&str, &str)],
) -> Answer {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", "x")];
    form.extend(extra);
    let request = attack.http.post(endpoint(client)).form(&form);
    attack
        .send(match header {
            Some(header) => request.header("authorization", header),
            None => request,
        })
        .await
}

fn basic_header(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// How a client that has a secret proves itself, and how it does not; whoever is proven is told `proven`.
pub(crate) async fn authenticates_in_one_way(
    attack: &Attack,
    basic: &OAuthClient,
    public: &OAuthClient,
    proven: &str,
) {
    let (id, secret) = (basic.id(), basic.registration["client_secret"].as_str().unwrap());
    let ask = async |header: Option<String>, extra: &[(&str, &str)]| -> Answer {
        ask(attack, basic, header, extra).await
    };
    let encoded = |text: &str| STANDARD.encode(text);
    let right = encoded(&format!("{id}:{secret}"));
    for good in [format!("Basic {right}"), format!("basic {right}"), format!("BASIC  {right}")] {
        assert!(ask(Some(good.clone()), &[]).await.is_error(400, proven), "{good}");
    }
    assert!(ask(Some(format!("Basic {right}")), &[("client_id", id)]).await.is_error(400, proven));
    let cases = [
        (format!("Basic {right}"), vec![("client_secret", secret)]),
        (format!("Basic {right}"), vec![("client_id", public.id())]),
        (format!("Basic {}", encoded(&format!("{id}:wrong"))), vec![]),
        (format!("Basic {}", encoded(&format!("{id}:"))), vec![]),
        (format!("Basic {}", encoded(id)), vec![]),
        (format!("Basic {}", encoded(&format!("{}:secret", public.id()))), vec![]),
        (format!("Basic {}", encoded("%zz:%zz")), vec![]),
        ("Basic !!!".to_owned(), vec![]),
        ("Basic".to_owned(), vec![]),
        (format!("Bearer {right}"), vec![("client_id", id), ("client_secret", secret)]),
        (format!("Digest {right}"), vec![]),
    ];
    for (header, extra) in cases {
        let answer = ask(Some(header.clone()), &extra).await;
        assert!(answer.is_error(401, "invalid_client"), "{header}: {} {}", answer.status, answer.text);
        assert!(answer.challenge.starts_with("Basic "), "{header}: {}", answer.challenge);
    }
    let twice = attack.http.post(endpoint(basic)).header("authorization", format!("Basic {right}"));
    let twice =
        twice.header("authorization", format!("Basic {right}")).form(&[("grant_type", "refresh_token")]);
    assert!(attack.send(twice).await.is_error(401, "invalid_client"));
    let in_query = attack.http.post(format!("{}?client_id={id}&client_secret={secret}", endpoint(basic)));
    let in_query = in_query.form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let answer = attack.send(in_query).await;
    assert!(answer.is_error(400, "invalid_request"), "{} {}", answer.status, answer.text);
    for extra in [
        vec![("client_id", id)],
        vec![("client_id", id), ("client_secret", "wrong")],
        vec![("client_id", public.id()), ("client_secret", "made up")],
        vec![],
    ] {
        let answer = ask(None, &extra).await;
        assert!(answer.is_error(401, "invalid_client"), "{extra:?}: {} {}", answer.status, answer.text);
    }
}

pub(crate) async fn r083_assertions_of_clients_that_have_none(attack: &Attack) {
    let basic = attack.client_as(attack.a(), "client_secret_basic", REDIRECT_URI).await;
    assertions_are_refused(attack, &basic).await;
}

/// An assertion beside a secret, of a client that has none, and of no kind that there is.
pub(crate) async fn assertions_are_refused(attack: &Attack, basic: &OAuthClient) {
    let id = basic.id();
    let secret = basic.registration["client_secret"].as_str().unwrap();
    let right = STANDARD.encode(format!("{id}:{secret}"));
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let claims = json!({ "iss": id, "sub": id, "aud": basic.issuer, "exp": 4_102_444_800_u64, "jti": "x" });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(json!({ "alg": "none" })), part(claims.clone()));
    let symmetric = format!("{}.{}.{}", part(json!({ "alg": "HS256" })), part(claims), part(json!("x")));
    for assertion in [unsigned.as_str(), &symmetric, "x", "..", "e30.e30."] {
        for kind in [kind, "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ""] {
            let extra = [
                ("client_id", id),
                ("client_assertion", assertion),
                ("client_assertion_type", kind),
                ("grant_type", "refresh_token"),
                ("refresh_token", "x"),
            ];
            for header in [None, Some(format!("Basic {right}"))] {
                let request = attack.http.post(endpoint(basic)).form(&extra);
                let request =
                    header.iter().fold(request, |request, value| request.header("authorization", value));
                let answer = attack.send(request).await;
                assert!(
                    answer.is_error(401, "invalid_client"),
                    "{assertion:.20} {kind}: {} {}",
                    answer.status,
                    answer.text
                );
            }
        }
    }
}

pub(crate) async fn r084_codes_and_tokens_stay_with_their_tenant(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let there = attack.client(attack.b()).await;
    let browser = attack.visitor();
    let code = client.code(&browser).await;
    for change in [vec![], vec![("resource", Some(client.url.as_str()))], vec![("resource", None)]] {
        let answer = there.redeem_with(&code, &change).await;
        assert!(
            answer.status == 400
                && ["invalid_grant", "invalid_target"].contains(&answer.get("error").as_str())
        );
    }
    let tokens = client.redeem(&code).await;
    assert_eq!(tokens.status, 200, "the other tenant took nothing: {}", tokens.text);
    let refresh = tokens.get("refresh_token");
    assert!(there.refresh(&refresh).await.is_error(400, "invalid_grant"));
    let target = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", &there.url)];
    assert!(client.token(&target).await.is_error(400, "invalid_target"));
    assert_eq!(client.refresh(&refresh).await.status, 200);
}

/// How many requests of each kind are timed: a difference that a network does not hide shows in fewer. The 10,000 of the
/// row take more than three minutes on two busy cores: `TIMINGS=10000` asks for them by hand.
const SAMPLES: usize = 1000;
/// So many of three kinds are what one source may ask in a minute.
const OF_ONE_SOURCE: usize = 1000;

/// A request that is timed, from one source or another.
type Timed<'a> = &'a dyn Fn(&reqwest::Client) -> reqwest::RequestBuilder;

/// The time that a tenth of the requests of each kind take at most, asked in turns: what else the machine does only adds
/// to it, and hides less in the fastest answers, which is where an attacker looks.
async fn deciles(attack: &Attack, kinds: &[Timed<'_>]) -> Vec<Duration> {
    let samples = std::env::var("TIMINGS").map_or(SAMPLES, |n| n.parse().expect("TIMINGS is a number"));
    let mut times = vec![Vec::new(); kinds.len()];
    let mut http = attack.http.clone();
    for sample in 0..samples {
        if sample.is_multiple_of(OF_ONE_SOURCE) {
            http = attack.elsewhere().http;
        }
        for (kind, times) in kinds.iter().zip(&mut times) {
            let start = Instant::now();
            let answer = kind(&http).send().await.expect("the gateway answers");
            answer.bytes().await.expect("it answers in full");
            times.push(start.elapsed());
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort();
            times[times.len() / 10]
        })
        .collect()
}

/// A network hides differences of microseconds; what must not show is a look-up, a hash of a password or a comparison
/// that ends early.
pub(crate) async fn r095_refusals_take_the_same_time(attack: &Attack) {
    let client = attack.client_as(attack.a(), "client_secret_post", REDIRECT_URI).await;
    let secret = client.registration["client_secret"].as_str().unwrap();
    let (access, _) = client.tokens(&attack.visitor()).await;
    let near_secret = format!("{}{}", &secret[..40], "AAA");
    let near_token = format!("{}{}", &access[..access.len() - 3], "AAA");
    // It shares what says that it is a token, and of which key: that is no secret, and what else has no MAC to check.
    let far_token = format!("{}{}", &access[..6], "A".repeat(access.len() - 6));
    let post = |http: &reqwest::Client, id: String, secret: String| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("client_id", &id),
            ("client_secret", &secret),
        ];
        http.post(endpoint(&client)).form(&form)
    };
    let call =
        |http: &reqwest::Client, token: &str| http.post(&client.url).bearer_auth(token).json(&json!({}));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let stranger = format!("{}AAA", &client.id()[..client.id().len() - 3]);
        let wrong: Timed<'_> = &|http| post(http, client.id().to_owned(), "A".repeat(43));
        let near: Timed<'_> = &|http| post(http, client.id().to_owned(), near_secret.clone());
        let unknown: Timed<'_> = &|http| post(http, stranger.clone(), "A".repeat(43));
        let clients = deciles(attack, &[wrong, near, unknown]).await;
        let near_call: Timed<'_> = &|http| call(http, &near_token);
        let far_call: Timed<'_> = &|http| call(http, &far_token);
        let tokens = deciles(attack, &[near_call, far_call]).await;
        let same = |times: &[Duration]| {
            let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            most.saturating_sub(*least) < Duration::from_micros(200)
                || most.as_secs_f64() < least.as_secs_f64() * 1.15
        };
        if same(&clients) && same(&tokens) {
            return;
        }
        seen.push((clients, tokens));
    }
    panic!("the time tells them apart, four times over: {seen:?}");
}

/// Whether a name exists is told neither by words nor by time: a name that nobody has costs a hash, too.
pub(crate) async fn r095_a_sign_in_form_does_not_tell_who_exists(attack: &Attack) {
    let client = attack.client(attack.b()).await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for round in 0..12 {
        let (_, name) = attack.local();
        for (name, times) in [(name, &mut known), (format!("nobody-{round}"), &mut unknown)] {
            let browser =
                Browser::with_password(&name, "a-wrong-password-of-the-suite").through(attack.http.clone());
            let form = browser.open(&client.authorize_url()).await;
            let start = Instant::now();
            let page = browser.next(&form).await.expect("the form");
            times.push(start.elapsed());
            assert_eq!(page.status, 403, "{}", page.body);
            let problem = "The user name or password is wrong.";
            assert!(page.body.contains(problem), "{}", page.body);
        }
    }
    known.sort();
    unknown.sort();
    // A look-up that fails at once would be a hundredth of a hash of a password; the machine does other things too.
    let (known, unknown) = (known[known.len() / 2].as_secs_f64(), unknown[unknown.len() / 2].as_secs_f64());
    assert!((0.5..2.0).contains(&(known / unknown)), "the time tells them apart: {known} and {unknown}");
}
