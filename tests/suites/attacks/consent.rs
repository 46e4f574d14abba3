//! 42 to 56: the consent page and the approval.

use std::collections::HashSet;

use e2e::{
    balancer::REPLICA,
    browser::{Browser, Page},
    dev::Gateway,
    github::GitHub,
    net::eventually,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    redis::Redis,
    wire::Wire,
};
use serde_json::json;
use url::Url;

use crate::{
    bystanders::Background,
    load::REPLICAS,
    world::{Attack, PASSWORD, TEN_MINUTES, WEB_CALLBACK, code, consent, local_by, works},
};

/// The approval of a page, as an address.
fn approval(page: &Page) -> Url {
    page.url.join(&page.approve_link().expect("an approval link")).expect("a URL")
}

fn with(url: &Url, name: &str, value: Option<&str>) -> Url {
    let mut changed = url.clone();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(n, _)| n != name).collect();
    changed.query_pairs_mut().clear().extend_pairs(pairs).extend_pairs(value.map(|value| (name, value)));
    changed
}

/// Asks for an address with a browser's cookies, without following where it leads.
async fn ask(attack: &Attack, browser: &Browser, url: &Url) -> Answer {
    attack.send(attack.http.get(url.clone()).header("cookie", browser.cookies_for(url).await)).await
}

/// The code in an address that a browser is sent to.
fn code_of(location: &str) -> Option<String> {
    Url::parse(location)
        .ok()?
        .query_pairs()
        .find(|(name, _)| name == "code")
        .map(|(_, code)| code.into_owned())
}

async fn has_no_effect(attack: &Attack, browser: &Browser, url: &Url, statuses: &[u16]) {
    let answer = ask(attack, browser, url).await;
    assert!(statuses.contains(&answer.status), "{url}: {} {}", answer.status, answer.header("location"));
    assert_eq!(answer.header("location"), "");
}

pub(crate) async fn r042_the_page_is_guarded(attack: &Attack) {
    // Which guards is looked at in every answer that is a page; here that those are pages.
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let page = consent(&client, &attack.visitor_of(github).0).await;
        let headers = page.headers.to_ascii_lowercase();
        for part in
            ["content-type: text/html", "cache-control: no-store", "form-action 'self'", "base-uri 'none'"]
        {
            assert!(headers.contains(part), "{part}: {headers}");
        }
    }
    let (browser, _) = attack.local();
    let sign_in = browser.open(&attack.client(attack.b()).await.authorize_url()).await;
    assert!(sign_in.headers.to_ascii_lowercase().contains("cache-control: no-store"), "{}", sign_in.headers);
}

pub(crate) async fn r043_the_page_says_what_will_happen(attack: &Attack) {
    let browser = attack.visitor();
    for (redirect_uri, place, warning) in [
        (WEB_CALLBACK, "<strong>c1.test</strong>", "you started this yourself and trust c1.test"),
        (
            "http://127.0.0.1:7777/cb",
            "A program on this computer",
            "this yourself, with test on this computer",
        ),
        (REDIRECT_URI, "The app that opens cursor: links", "just started this yourself, in test."),
    ] {
        let client = attack.client_as(attack.a(), "none", redirect_uri).await;
        let page = consent(&client, &browser).await;
        for part in [
            "Connect <bdi>test</bdi> to <bdi>github</bdi>?",
            "nobody has checked it",
            place,
            &format!("<code>{redirect_uri}</code>"),
            "Continue only if you",
            warning,
            "Use every tool of github as you",
            "Act with your GitHub account",
            "GitHub permissions: repo, read:user, user:email, read:org",
        ] {
            assert!(page.body.contains(part), "{redirect_uri}: {part} is not on the page:\n{}", page.body);
        }
    }
    // Whoever takes a known application's name is not taken for it, and the page names the whole address.
    let body = json!({
        "client_name": "Claude Code", "redirect_uris": ["http://localhost:7777/callback", "http://[::1]/x"],
        "token_endpoint_auth_method": "none",
    });
    let mut client = attack.client(attack.b()).await;
    client.registration = attack.register(attack.b(), body.to_string()).await.json();
    let (browser, name) = attack.local();
    for redirect_uri in ["http://localhost:60001/callback", "http://[::1]:60001/x"] {
        let url = client.authorize_url_with(&[("redirect_uri", Some(redirect_uri))]);
        let mut page = browser.open(&url).await;
        if page.approve_link().is_none() {
            page = browser.next(&page).await.expect("the sign-in form");
        }
        for part in
            ["Claude Code", "Unverified", "nobody has checked it", "this computer", redirect_uri, &name]
        {
            assert!(page.body.contains(part), "{redirect_uri}: {part} is not on the page:\n{}", page.body);
        }
    }
}

pub(crate) async fn r044_a_nonce_that_is_not_the_flows(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let (page, other) = (consent(&client, &browser).await, consent(&client, &browser).await);
    let (url, other) = (approval(&page), approval(&other));
    let own = url.query_pairs().find(|(n, _)| n == "nonce").unwrap().1.into_owned();
    let foreign = other.query_pairs().find(|(n, _)| n == "nonce").unwrap().1.into_owned();
    let (cut, longer, upper) = (&own[..own.len() - 1], format!("{own}A"), own.to_uppercase());
    for nonce in [None, Some(""), Some("x"), Some(cut), Some(longer.as_str()), Some(&upper), Some(&foreign)] {
        for decision in [None, Some("approve"), Some("deny")] {
            let url = with(&with(&url, "nonce", nonce), "decision", decision);
            has_no_effect(attack, &browser, &url, &[400]).await;
        }
    }
    for flow in [None, Some(""), Some("x"), Some("AAAAAAAAAAAAAAAAAAAAAA")] {
        has_no_effect(attack, &browser, &with(&url, "flow", flow), &[400]).await;
    }
    has_no_effect(attack, &browser, &with(&url, "decision", Some("maybe")), &[400]).await;
    // A flow that is over by its time, at each kind of tenant.
    for gateway in [attack.a(), attack.b(), attack.e()] {
        let (client, browser) = (attack.client(gateway).await, attack.user_of(gateway));
        let url = approval(&consent(&client, &browser).await);
        let flow = url.query_pairs().find(|(n, _)| n == "flow").unwrap().1.into_owned();
        attack.expire(&format!(":flow:{flow}"), TEN_MINUTES).await;
        for decision in [None, Some("approve"), Some("deny")] {
            has_no_effect(attack, &browser, &with(&url, "decision", decision), &[400]).await;
        }
    }
    let twice = Url::parse(&format!("{url}&nonce={foreign}")).unwrap();
    has_no_effect(attack, &browser, &twice, &[400]).await;
    assert!(code(&browser.sign_in(page.url.as_str()).await).is_some(), "the right one still works");
}

/// Opens an address fifty times at once, over both replicas.
async fn at_once(attack: &Attack, browser: &Browser, url: &Url) -> Vec<Answer> {
    let cookies = browser.cookies_for(url).await;
    let asked = REPLICAS.into_iter().cycle().take(50).map(async |replica| {
        attack.send(attack.http.get(url.clone()).header("cookie", &cookies).header(REPLICA, replica)).await
    });
    futures::future::join_all(asked).await
}

pub(crate) async fn r045_one_nonce_takes_effect_once(attack: &Attack) {
    // Users of the tenant's own: the approval itself makes the code.
    let client = attack.client(attack.b()).await;
    let (browser, _) = attack.local();
    let sign_in = browser.open(&client.authorize_url()).await;
    let page = browser.next(&sign_in).await.expect("the sign-in form");
    let url = approval(&page);
    let others = Background::start(attack, Attack::b);
    let answers = at_once(attack, &browser, &url).await;
    let mut codes: Vec<String> = answers
        .iter()
        .filter(|a| a.status == 303)
        .map(|a| Url::parse(a.header("location")).unwrap())
        .filter_map(|url| url.query_pairs().find(|(n, _)| n == "code").map(|(_, v)| v.into_owned()))
        .collect();
    assert!(codes.len() >= 40, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 1, "one approval made several codes");
    let tokens = client.redeem(&codes[0]).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    // After it, the approval gives no code, and what was given works on.
    let again = ask(attack, &browser, &url).await;
    assert!(again.status == 200 && again.header("location").is_empty(), "{} {}", again.status, again.text);
    assert!(works(&client, &tokens.get("access_token"), browser.user()).await);
    others.stop().await;
    // Users of a provider: every approval leads to the same attempt there.
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let url = approval(&consent(&client, &browser).await);
    let answers = at_once(attack, &browser, &url).await;
    for answer in &answers {
        assert_eq!(answer.status, 303, "{}", answer.text);
    }
    let mut places: Vec<&str> = answers.iter().map(|a| a.header("location")).collect();
    places.sort_unstable();
    places.dedup();
    assert!(places.len() == 1 && places[0].starts_with(&attack.world.github.url()), "{places:?}");
}

/// The same, where ten of them and more have read the flow before any is answered: they go on together.
pub(crate) async fn r045_one_nonce_takes_effect_once_in_step(attack: &Attack) {
    // On a slow machine some wait too long for Redis.
    attack.expect(&[503]);
    let redis = Redis::start().await;
    let wire = Wire::to(&redis.address()).await;
    let url = format!("redis://{}", wire.address);
    let (gateway, _backend) = local_by(&attack.world.watch, &[&url], "team-n", None).await;
    let client = attack.client(&gateway).await;
    let (browser, _) = attack.local();
    // Redeemed before: the replicas have their connections and Redis its scripts.
    client.tokens(&browser).await;
    let read = async || redis.calls("hmget").await;
    let mut codes = HashSet::new();
    // If ten have read it only when the first gave up, then all have: another flow is tried.
    for _ in 0..10 {
        let url = approval(&browser.open(&client.authorize_url()).await);
        let before = read().await;
        wire.hold();
        let (answers, ()) = tokio::join!(at_once(attack, &browser, &url), async {
            eventually("ten to read the flow", async || (read().await >= before + 10).then_some(())).await;
            wire.release();
        });
        codes = answers.iter().filter_map(|a| code_of(a.header("location"))).collect();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert!(codes.len() <= 1, "{statuses:?}");
        if !codes.is_empty() {
            break;
        }
        assert!(statuses.contains(&503), "nobody got a code: {statuses:?}");
    }
    assert_eq!(codes.len(), 1, "nobody got a code, time and again");
    attack.inspect(&gateway, &redis).await;
}

/// A cookie of another flow, of another browser, or by a name that another host could give it (RFC 6265bis section 4.1.3)
/// opens nothing, and the browser's own still does.
async fn is_of_its_browser_alone(attack: &Attack, (gateway, github): (&Gateway, &GitHub)) {
    let client = attack.client(gateway).await;
    let (victim, attacker) = (attack.visitor_of(github).0, attack.visitor_of(github).0);
    let url = approval(&consent(&client, &victim).await);
    has_no_effect(attack, &attacker, &url, &[403]).await;
    // A cookie of its own flow does not help, nor does its value under the other's name.
    let own = consent(&client, &attacker).await;
    has_no_effect(attack, &attacker, &url, &[403]).await;
    let value = attacker.cookies_for(&own.url).await.rsplit('=').next().unwrap().to_owned();
    let name = victim.cookie_names().await.pop().unwrap();
    let mut forged = vec![format!("{name}={value}")];
    if let Some(bare) = name.strip_prefix("__Host-") {
        let cookie = victim.cookies_for(&url).await;
        let (_, value) = cookie.split_once('=').expect("a cookie has a value");
        forged.extend([format!("{bare}={value}"), format!("__Secure-{bare}={value}")]);
    }
    for cookie in forged {
        let answer = attack.send(attack.http.get(url.clone()).header("cookie", &cookie)).await;
        assert!(answer.status == 403 && answer.header("location").is_empty(), "{name}: {}", answer.status);
    }
    let deny = with(&url, "decision", Some("deny"));
    has_no_effect(attack, &attacker, &deny, &[403]).await;
    assert_eq!(ask(attack, &victim, &url).await.status, 303, "the victim's own still works");
}

pub(crate) async fn r046_a_nonce_opens_nothing_in_another_browser(attack: &Attack) {
    for hub in attack.hubs() {
        is_of_its_browser_alone(attack, hub).await;
    }
    // Users of the tenant's own: the page is for whoever signed in for it, not for who signed in since.
    let client = attack.client(attack.b()).await;
    let ((victim, _), (other, _)) = (attack.local(), attack.local());
    let form = victim.open(&client.authorize_url()).await;
    let url = approval(&victim.next(&form).await.expect("the sign-in form"));
    client.tokens(&other).await;
    let is_session = |pair: &&str| pair.split('=').next().is_some_and(|name| name.ends_with("-s"));
    let (own, theirs) = (victim.cookies_for(&url).await, other.cookies_for(&url).await);
    let flow = own.split("; ").filter(|pair| !is_session(pair)).collect::<Vec<_>>().join("; ");
    let session = theirs.split("; ").find(is_session).expect("a session");
    for cookies in [flow.clone(), format!("{flow}; {session}")] {
        let answer = attack.send(attack.http.get(url.clone()).header("cookie", cookies)).await;
        let asks = answer.status == 303 && answer.header("location").starts_with("/oauth/signin?");
        assert!(asks, "{} {}", answer.status, answer.header("location"));
    }
    assert!(ask(attack, &victim, &url).await.header("location").starts_with(&client.redirect_uri));
}

pub(crate) async fn r047_the_stored_request_wins(attack: &Attack) {
    let tenants = [attack.a(), attack.b(), attack.e()];
    for gateway in tenants {
        let client = attack.client(gateway).await;
        let other = attack.client_as(gateway, "none", WEB_CALLBACK).await;
        let browser = attack.user_of(gateway);
        let page = consent(&client, &browser).await;
        let url = approval(&page);
        let mut changed = url.clone();
        changed
            .query_pairs_mut()
            .append_pair("client_id", other.id())
            .append_pair("redirect_uri", WEB_CALLBACK)
            .append_pair("scope", "admin")
            .append_pair("resource", &attack.c().url)
            .append_pair("state", "evil")
            .append_pair("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        // The other tenants know neither flow nor nonce.
        for elsewhere in tenants.into_iter().filter(|tenant| tenant.issuer != gateway.issuer) {
            let mut there = Url::parse(&format!("{}/oauth/authorize/approve", elsewhere.issuer)).unwrap();
            there.set_query(url.query());
            let cookies = browser.cookies_for(&url).await;
            let answer = attack.send(attack.http.get(there.clone()).header("cookie", cookies)).await;
            let refused = matches!(answer.status, 400 | 403) && answer.header("location").is_empty();
            assert!(refused, "{there}: {} {}", answer.status, answer.header("location"));
        }
        // Nor is a host or scheme taken over that only a header names.
        let asked = attack.http.get(changed.clone()).header("cookie", browser.cookies_for(&url).await);
        let asked = asked.header("x-forwarded-host", "evil.test").header("x-forwarded-proto", "ftp");
        let answer = attack.send(asked).await;
        let location = Url::parse(answer.header("location")).expect("the approval leads on");
        let back = location.query_pairs().find(|(name, _)| name == "redirect_uri");
        let ours = format!("{}/oauth/callback", gateway.issuer);
        assert!(back.is_none_or(|(_, back)| back == ours), "{location}");
        let mut landed = browser.follow(&page, changed.as_str()).await;
        landed = browser.next(&landed).await.unwrap_or(landed);
        assert!(landed.url.as_str().starts_with(&client.redirect_uri), "{} {}", landed.status, landed.url);
        assert_eq!(landed.parameter("state").as_deref(), Some("the-state"));
        let tokens = client.redeem(&code(&landed).expect("a code")).await;
        assert_eq!(tokens.get("scope"), "mcp", "{}", tokens.text);
    }
}

pub(crate) async fn r049_another_site_cannot_approve(attack: &Attack) {
    for gateway in [attack.a(), attack.b(), attack.e()] {
        let (client, browser) = (attack.client(gateway).await, attack.user_of(gateway));
        // Signed in, so that the attacker's page meets a consent page at once.
        client.tokens(&browser).await;
        let url = approval(&consent(&client, &browser).await);
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-dest", "image"),
            ("sec-fetch-dest", "empty"),
            ("sec-purpose", "prefetch"),
            ("purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
        ] {
            let request = attack.http.get(url.clone()).header("cookie", browser.cookies_for(&url).await);
            let answer = attack.send(request.header(name, value)).await;
            assert!(
                answer.status == 403 && answer.header("location").is_empty(),
                "{name}: {value}: {}",
                answer.status
            );
        }
        assert_eq!(ask(attack, &browser, &url).await.status, 303, "the user's own click still works");
    }
    // The sign-in form of another site, with the attacker's own password (login CSRF).
    let (stranger, _) = attack.local();
    let form = stranger.open(&attack.client(attack.b()).await.authorize_url()).await;
    let post = attack.http.post(form.url.clone()).header("cookie", stranger.cookies_for(&form.url).await);
    let flow = form.parameter("flow").expect("the form names its flow");
    let body =
        [("flow", flow.as_str()), ("username", "user-0"), ("password", PASSWORD), ("token", "guessed")];
    let answer = attack.send(post.header("sec-fetch-site", "cross-site").form(&body)).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    let post = attack.http.post(form.url.clone()).header("cookie", stranger.cookies_for(&form.url).await);
    assert_eq!(attack.send(post.form(&body)).await.status, 403, "the form's token is what counts");
}

pub(crate) async fn r050_a_page_shown_twice_works_from_either(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let browser = attack.visitor_of(github).0;
        let (first, second) = (consent(&client, &browser).await, consent(&client, &browser).await);
        let login = browser.follow(&first, &first.approve_link().unwrap()).await;
        let landed = browser.next(&login).await.expect("the provider's form");
        assert!(code(&landed).is_some(), "{} {}", landed.status, landed.url);
        // The provider knows the browser by now, and asks nothing.
        let landed = browser.follow(&second, &second.approve_link().unwrap()).await;
        assert!(code(&landed).is_some(), "{} {}", landed.status, landed.url);
    }
}

pub(crate) async fn r052_refusing_is_told_and_final(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let page = consent(&client, &browser).await;
    let denied = browser.follow(&page, &page.deny_link().unwrap()).await;
    assert_eq!(denied.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(denied.parameter("state").as_deref(), Some("the-state"));
    assert_eq!(denied.parameter("iss").as_deref(), Some(client.issuer.as_str()));
    let after = ask(attack, &browser, &approval(&page)).await;
    assert!(
        after.header("location").is_empty(),
        "an approval after the refusal: {}",
        after.header("location")
    );
    assert!(attack.world.github.tokens_of(&login).is_empty());
    let again = ask(attack, &browser, &with(&approval(&page), "decision", Some("deny"))).await;
    assert!(again.header("location").is_empty(), "a second refusal: {}", again.header("location"));
    // Of both at once only one is true.
    let client = attack.client(attack.b()).await;
    for _ in 0..5 {
        let (browser, _) = attack.local();
        let form = browser.open(&client.authorize_url()).await;
        let url = approval(&browser.next(&form).await.expect("the sign-in form"));
        let deny = with(&url, "decision", Some("deny"));
        let asked = (0..20).map(|n| ask(attack, &browser, if n % 2 == 0 { &url } else { &deny }));
        let answers = futures::future::join_all(asked).await;
        let denied = answers.iter().any(|answer| answer.header("location").contains("error=access_denied"));
        let codes: HashSet<String> = answers.iter().filter_map(|a| code_of(a.header("location"))).collect();
        assert!(denied || !codes.is_empty(), "neither approved nor refused");
        assert!(codes.len() <= 1, "one sign-in has one code");
        // A refusal takes back the code of an approval that was faster.
        for code in codes {
            let redeemed = client.redeem(&code).await;
            assert_eq!(redeemed.status == 200, !denied, "approved and refused: {}", redeemed.text);
        }
    }
}

pub(crate) async fn r053_consent_is_never_silent(attack: &Attack) {
    let c1 = attack.client(attack.b()).await;
    let (u1, _) = attack.local();
    c1.tokens(&u1).await;
    c1.tokens(&u1).await;
    let (u2, _) = attack.local();
    c1.tokens(&u2).await;
    let same_name = attack.client(attack.b()).await;
    let other_redirect = attack.client_as(attack.b(), "none", WEB_CALLBACK).await;
    let asks = async |client: &OAuthClient, browser: &Browser, change: &[(&str, Option<&str>)]| {
        let page = browser.open(&client.authorize_url_with(change)).await;
        assert!(page.approve_link().is_some(), "{} {}", page.status, page.url);
        page.body.contains("You approved")
    };
    assert!(asks(&c1, &u1, &[]).await, "the page says that it was approved before");
    // Of somebody else, to whom it does not say so.
    let (u3, _) = attack.local();
    let form = u3.open(&c1.authorize_url()).await;
    let page = u3.next(&form).await.expect("the sign-in form");
    assert!(page.approve_link().is_some() && !page.body.contains("You approved"), "{}", page.body);
    // `offline_access` is no scope of its own: what is asked for is the same.
    for (client, browser, change, before) in [
        (&c1, &u1, vec![("scope", Some("mcp offline_access"))], true),
        (&c1, &u1, vec![("prompt", Some("none"))], true),
        (&c1, &u2, vec![], true),
        (&same_name, &u1, vec![], false),
        (&other_redirect, &u1, vec![], false),
    ] {
        assert_eq!(asks(client, browser, &change).await, before, "{} {change:?}", client.id());
    }
    // One client, whose answer is to go elsewhere.
    let metadata =
        json!({ "redirect_uris": [REDIRECT_URI, WEB_CALLBACK], "token_endpoint_auth_method": "none" });
    let two = OAuthClient::register_metadata(attack.http.clone(), &attack.b().issuer, &metadata).await;
    two.tokens(&u1).await;
    assert!(asks(&two, &u1, &[]).await, "the page says that it was approved before");
    assert!(
        !asks(&two, &u1, &[("redirect_uri", Some(WEB_CALLBACK))]).await,
        "the other address was not approved"
    );
    // At a provider that knows the browser and was given everything before: no step without a click.
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    client.tokens(&browser).await;
    let tokens = attack.world.github.tokens_of(&login).len();
    for change in [
        vec![],
        vec![("prompt", Some("none"))],
        vec![("scope", Some("mcp"))],
        vec![("login_hint", Some("x"))],
    ] {
        asks(&client, &browser, &change).await;
    }
    assert_eq!(attack.world.github.tokens_of(&login).len(), tokens);
}

pub(crate) async fn r055_cookies_are_guarded(attack: &Attack) {
    // Their attributes are looked at in every answer.
    let client = attack.client(attack.b()).await;
    let (browser, _) = attack.local();
    client.tokens(&browser).await;
    let names = browser.cookie_names().await;
    assert!(names.len() >= 2 && names.iter().all(|name| name.starts_with("gh-")), "{names:?}");
    // Another tenant's cookies, on the same host, are not its own.
    let there = attack.client(attack.a()).await;
    let page = consent(&there, &browser).await;
    let names: Vec<String> = browser.cookie_names().await;
    let prefixes: HashSet<&str> = names.iter().filter_map(|n| n.split('-').nth(1)).collect();
    assert_eq!(prefixes.len(), 2, "{names:?}");
    let url = approval(&page);
    // The same value under a name that a neighbour could set.
    let value = browser.cookies_for(&url).await;
    let renamed = value.split("; ").map(|pair| format!("x-{pair}")).collect::<Vec<_>>().join("; ");
    let answer = attack.send(attack.http.get(url).header("cookie", renamed)).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
}

pub(crate) async fn r056_two_hundred_open_requests_in_one_browser(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let browser = attack.visitor_of(github).0;
        let mut last = consent(&client, &browser).await;
        for _ in 1..200 {
            last = consent(&client, &browser).await;
        }
        let header = browser.cookies_for(&last.url).await;
        assert!(
            header.len() < 2048 && browser.cookie_names().await.len() <= 8,
            "{} bytes of cookies",
            header.len()
        );
        let login = browser.next(&last).await.expect("the approval link");
        assert!(code(&browser.next(&login).await.expect("the provider's form")).is_some());
    }
}
