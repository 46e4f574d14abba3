//! `/oauth/revoke` (RFC 7009): a client ends what is its own, once and for all, and nothing else.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use e2e::{
    balancer::REPLICA,
    browser::Browser,
    net::eventually,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    redis::Redis,
    wire::Wire,
};
use reqwest::Method;

use crate::{
    load::REPLICAS,
    world::{Attack, SEEN, SLACK, caller, dies, local_by, works},
};

async fn signed_in(attack: &Attack) -> (OAuthClient, Browser, String, String) {
    let (client, browser) = (attack.client(attack.a()).await, attack.visitor());
    let (access, refresh) = client.tokens(&browser).await;
    (client, browser, access, refresh)
}

fn is_done(answer: &Answer) -> bool {
    answer.status == 200 && answer.text.is_empty()
}

pub(crate) async fn revoke_ends_nothing_of_others(attack: &Attack) {
    let (client, browser, access, refresh) = signed_in(attack).await;
    let other = attack.client(attack.a()).await;
    let confidential = attack.client_as(attack.a(), "client_secret_basic", REDIRECT_URI).await;
    for thief in [&other, &confidential] {
        for token in [&access, &refresh] {
            let answer = thief.revoke(token).await;
            assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
        }
    }
    // At another tenant it is unknown, which is as good as revoked (section 2.2).
    for gateway in [attack.b(), attack.c()] {
        let there = attack.client(gateway).await;
        for token in [&access, &refresh] {
            assert!(is_done(&there.revoke(token).await));
        }
        // And its client is.
        let mut stray = client.clone();
        stray.issuer.clone_from(&gateway.issuer);
        assert!(stray.revoke(&refresh).await.is_error(401, "invalid_client"));
    }
    let mut liar = confidential.clone();
    liar.registration["client_secret"] = "a-secret-that-was-made-up-by-somebody".into();
    assert!(liar.revoke(&refresh).await.is_error(401, "invalid_client"));
    for form in [
        vec![("token", access.as_str())],
        vec![("token", &access), ("client_id", client.id()), ("client_secret", "a-secret-that-was-made-up")],
        vec![("token", &access), ("client_id", "")],
        vec![("token", &access), ("client_id", "gc_made-up")],
    ] {
        let request = attack.http.post(format!("{}/oauth/revoke", client.issuer)).form(&form);
        let answer = attack.send(request).await;
        assert!(answer.is_error(401, "invalid_client"), "{form:?}: {} {}", answer.status, answer.text);
    }
    // What is nearly a token, or another kind of secret, ends nothing.
    let code = client.code(&browser).await;
    let (cut, longer) = (&refresh[..refresh.len() - 1], format!("{refresh}A"));
    let long = "A".repeat(9000);
    for token in [cut, &longer, &access[1..], client.id(), &code, "null", "*", "\u{0}", "ü", &long] {
        assert!(is_done(&client.revoke(token).await), "{token:.40}");
    }
    assert!(client.revoke("").await.is_error(400, "invalid_request"));
    assert!(works(&client, &access, browser.user()).await, "nothing of that ended it");
    let next = client.refresh(&refresh).await;
    assert_eq!(next.status, 200, "{}", next.text);
    assert_eq!(client.redeem(&code).await.status, 200);
}

pub(crate) async fn revoke_ends_a_sign_in_on_every_replica(attack: &Attack) {
    let (client, browser, other_access, _) = signed_in(attack).await;
    for which in ["access", "refresh", "replaced", "successor"] {
        let (access, refresh) = client.tokens(&browser).await;
        assert!(works(&client, &access, browser.user()).await);
        let next = client.refresh(&refresh).await;
        let (next_access, next_refresh) = (next.get("access_token"), next.get("refresh_token"));
        let token = match which {
            "access" => &next_access,
            "refresh" => &next_refresh,
            "replaced" => &refresh,
            _ => &client.refresh(&next_refresh).await.get("refresh_token"),
        };
        // Fifty times at once it is ended once, and each is told that it is.
        let answers = REPLICAS.into_iter().cycle().take(50).map(async |replica| {
            client.post("/oauth/revoke", &[("token", token)], &[(REPLICA, replica)]).await
        });
        for answer in futures::future::join_all(answers).await {
            assert!(is_done(&answer), "{which}: {} {}", answer.status, answer.text);
        }
        for dead in [&access, &next_access] {
            dies(&client, dead).await;
        }
        for dead in [&refresh, &next_refresh] {
            assert!(client.refresh(dead).await.is_error(400, "invalid_grant"), "{which}");
        }
    }
    assert!(
        works(&client, &other_access, browser.user()).await,
        "another sign-in of the same user and client lives"
    );
}

/// Waits until replica 0 answers for a token from memory: nothing is looked up in a Redis that nobody else asks.
pub(crate) async fn remembers(redis: &Redis, client: &OAuthClient, access: &str) {
    eventually("replica 0 to remember a token", async || {
        let before = redis.calls("evalsha").await;
        let answer = caller(client, access, 0).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (redis.calls("evalsha").await == before).then_some(())
    })
    .await;
}

/// A replica that hears nothing of Redis any more trusts what it remembers no longer than that.
pub(crate) async fn revoke_reaches_a_replica_that_is_cut_off(attack: &Attack) {
    attack.expect(&[503]);
    let redis = Redis::start().await;
    let wire = Wire::to(&redis.address()).await;
    let (cut, whole) = (format!("redis://{}", wire.address), redis.url());
    let (gateway, _backend) = local_by(&attack.world.watch, &[&cut, &whole], "team-w", None).await;
    let client = attack.client(&gateway).await;
    let (browser, _) = attack.local();
    let (access, refresh) = client.tokens(&browser).await;
    remembers(&redis, &client, &access).await;
    wire.hold();
    let begun = Instant::now();
    assert_eq!(caller(&client, &access, 0).await.status, 200, "from memory");
    let revoked = client.post("/oauth/revoke", &[("token", &refresh)], &[(REPLICA, REPLICAS[1])]).await;
    assert!(is_done(&revoked), "{} {}", revoked.status, revoked.text);
    let mut last = Duration::ZERO;
    eventually("replica 0 to stop trusting what it remembers", async || {
        let asked = begun.elapsed();
        let answer = caller(&client, &access, 0).await;
        match answer.status {
            200 => last = asked,
            503 => return Some(()),
            _ => panic!("it cannot know better: {} {}", answer.status, answer.text),
        }
        None
    })
    .await;
    assert!(last <= SEEN + SLACK, "a token was taken {last:?} after the replica was cut off");
    wire.release();
    dies(&client, &access).await;
    attack.inspect(&gateway, &redis).await;
}

pub(crate) async fn revoke_leaves_nothing_of_a_race_with_refreshes(attack: &Attack) {
    // Twenty races at least, and until one was close: a refresh won, and another came too late.
    let (mut races, mut was_close) = (0, false);
    while races < 20 || !was_close {
        assert!(races < 100, "no refresh is ever as fast as a revocation");
        let (client, _, access, refresh) = signed_in(attack).await;
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        // One revocation, somewhere among the first refreshes: a second would end what the first left.
        let place = races % 6;
        let asked = (0..20).map(async |n| {
            let headers = [(REPLICA, REPLICAS[n % 2])];
            if n == place {
                client.post("/oauth/revoke", &[("token", refresh.as_str())], &headers).await
            } else {
                client.post("/oauth/token", &form, &headers).await
            }
        });
        races += 1;
        let answers = futures::future::join_all(asked).await;
        for answer in &answers {
            let lost = answer.is_error(400, "invalid_grant");
            assert!(answer.status == 200 || lost, "{} {}", answer.status, answer.text);
        }
        dies(&client, &access).await;
        let won = answers.iter().filter(|answer| !answer.text.is_empty() && answer.status == 200);
        let won: HashSet<_> = won.map(|a| (a.get("access_token"), a.get("refresh_token"))).collect();
        was_close |= !won.is_empty() && answers.iter().any(|answer| answer.status == 400);
        for (access, refresh) in won {
            dies(&client, &access).await;
            let again = client.refresh(&refresh).await;
            assert!(again.is_error(400, "invalid_grant"), "a lineage outlived its end: {}", again.text);
        }
    }
}

pub(crate) async fn revoke_reads_posted_forms_alone(attack: &Attack) {
    let (client, browser, access, refresh) = signed_in(attack).await;
    let url = format!("{}/oauth/revoke", client.issuer);
    let form = [("token", refresh.as_str()), ("client_id", client.id())];
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "FOO"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for request in [
            attack.http.request(method.clone(), format!("{url}?{encoded}")),
            attack.http.request(method.clone(), &url).form(&form),
            attack.http.post(format!("{url}?{encoded}")).header("x-http-method-override", "DELETE"),
        ] {
            let answer = attack.send(request).await;
            assert!(matches!(answer.status, 400 | 405), "{method}: {} {}", answer.status, answer.text);
        }
    }
    let post = || attack.http.post(&url);
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let answer = attack.send(post().header("content-type", kind).body(encoded.clone())).await;
        assert!(answer.is_error(400, "invalid_request"), "{kind}: {} {}", answer.status, answer.text);
    }
    let kind = "application/x-www-form-urlencoded";
    for body in [
        format!("{encoded}&token=x"),
        format!("{encoded}&client_id={}", client.id()),
        format!("{encoded}&unknown=a&unknown=b"),
        format!("{encoded}&x=%ff"),
        format!("{encoded}{}", "&a=b".repeat(100)),
        format!("client_id={}", client.id()),
        String::new(),
    ] {
        let answer = attack.send(post().header("content-type", kind).body(body.clone())).await;
        let nobody = body.is_empty() && answer.is_error(401, "invalid_client");
        assert!(
            nobody || answer.is_error(400, "invalid_request"),
            "{body:.200}: {} {}",
            answer.status,
            answer.text
        );
    }
    let both = attack.send(attack.http.post(format!("{url}?{encoded}")).form(&form)).await;
    assert!(both.is_error(400, "invalid_request"), "{} {}", both.status, both.text);
    assert!(works(&client, &access, browser.user()).await);
    assert_eq!(client.refresh(&refresh).await.status, 200, "none of them ended it");
}
