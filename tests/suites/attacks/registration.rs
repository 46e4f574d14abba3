//! 10 to 24: dynamic client registration.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::{Router, routing::any};
use e2e::{
    browser::Browser,
    dev::Gateway,
    net::{Server, http},
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    process::Process,
    redis::Redis,
};
use futures::{StreamExt, stream};
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::world::{Attack, WEB_CALLBACK, hub, works};

fn refused(answer: &e2e::oauth::Answer) -> bool {
    answer.status == 400
        && ["invalid_redirect_uri", "invalid_client_metadata"].contains(&answer.get("error").as_str())
}

pub(crate) async fn r010_bodies_that_are_no_registration(attack: &Attack) {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_member = format!("{{\"redirect_uris\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bom = format!("\u{feff}{{\"redirect_uris\":[\"{REDIRECT_URI}\"]}}");
    let utf16: Vec<u8> = format!("{{\"redirect_uris\":[\"{REDIRECT_URI}\"]}}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let twice =
        format!("{{\"redirect_uris\":[\"{REDIRECT_URI}\"],\"redirect_uris\":[\"https://evil.test/\"]}}");
    let trailing = format!("{{\"redirect_uris\":[\"{REDIRECT_URI}\"]}} {{}}");
    let lone = format!("{{\"redirect_uris\":[\"{REDIRECT_URI}\"],\"client_name\":\"\\ud800\"}}");
    let bodies: Vec<Vec<u8>> = vec![
        "null".into(),
        "[]".into(),
        "1".into(),
        "\"x\"".into(),
        "{}".into(),
        String::new().into(),
        "true".into(),
        "{\"redirect_uris\":null}".into(),
        "{\"redirect_uris\":[]}".into(),
        "{\"redirect_uris\":[1]}".into(),
        format!("{{\"redirect_uris\":\"{REDIRECT_URI}\"}}").into(),
        "{\"redirect_uris\":[null]}".into(),
        "{\"redirect_uris\":{}}".into(),
        "{\"redirect_uris\":[[\"https://c1.test/cb\"]]}".into(),
        "{'redirect_uris':[]}".into(),
        "{\"redirect_uris\":[\"https://c1.test/cb\"]".into(),
        deep.into(),
        deep_member.into(),
        bom.into(),
        utf16,
        twice.into(),
        trailing.into(),
        lone.into(),
        b"{\"redirect_uris\":[\"https://c1.test/\xff\"]}".to_vec(),
        b"\x00".to_vec(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = attack.register(attack.a(), body).await;
        assert!(refused(&answer), "{shown}: {} {}", answer.status, answer.text);
    }
}

pub(crate) async fn r011_other_content_types(attack: &Attack) {
    let body = json!({ "redirect_uris": [REDIRECT_URI] }).to_string();
    let url = format!("{}/oauth/register", attack.a().issuer);
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonp"),
        Some("text/json"),
        Some("application/json, text/plain"),
        Some(""),
    ] {
        let mut request = attack.http.post(&url).body(body.clone());
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = attack.send(request).await;
        assert!(matches!(answer.status, 400 | 415), "{kind:?}: {}", answer.status);
    }
    let twice = attack
        .http
        .post(&url)
        .header("content-type", "application/json")
        .header("content-type", "text/plain");
    assert_eq!(attack.send(twice.body(body)).await.status, 400);
}

async fn with_redirect_uris(attack: &Attack, uris: Value) -> e2e::oauth::Answer {
    let body = json!({ "redirect_uris": uris, "token_endpoint_auth_method": "none" });
    attack.register(attack.a(), body.to_string()).await
}

pub(crate) async fn r012_schemes_that_run_code(attack: &Attack) {
    for uri in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "java%0ascript:alert(1)",
        "java\tscript://x/",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://c1.test/x",
        " javascript:alert(1)",
        "\u{0}javascript:alert(1)",
        "javascript://localhost/%0aalert(1)",
        "about:blank",
        "view-source:https://c1.test/",
        "filesystem:https://c1.test/x",
        "intent://x#Intent;end",
        "mailto:a@b.test",
        "ws://localhost/cb",
        "ftp://localhost/cb",
        "chrome://settings",
        "jar:https://c1.test/x!/",
        "resource://x/y",
    ] {
        for set in [json!([uri]), json!([WEB_CALLBACK, uri])] {
            let answer = with_redirect_uris(attack, set).await;
            assert!(refused(&answer), "{uri:?}: {} {}", answer.status, answer.text);
        }
    }
}

pub(crate) async fn r013_redirect_uris_that_are_none(attack: &Attack) {
    let long = format!("https://c1.test/{}", "a".repeat(600));
    for uri in [
        "http://c1.test/cb",
        "https://c1.test/cb#x",
        "https://c1.test/cb#",
        "https://user:pass@c1.test/cb",
        "https://c1.test@evil.test/cb",
        "https://*.test/cb",
        "https://c1.test/*",
        "/cb",
        "cb",
        "//c1.test/cb",
        "https:///cb",
        "https:/cb",
        "https:cb",
        "https://",
        "https://c1.test\\@evil.test/cb",
        "https://c1.test/\u{1}",
        "https://c1.test/cb\r\nx: y",
        "https://c1.test /cb",
        "https://c1.test/cb\u{202e}",
        "http://localhost.evil.test/",
        "http://127.0.0.1.evil.test/",
        "http://localhost@evil.test/",
        "http://0x7f.1/cb",
        "http://2130706433/cb",
        "http://127.1/cb",
        "http://[::ffff:127.0.0.1]/cb",
        "http://localhost:99999/cb",
        "https://evil.test/cb",
        "https://C1.test.evil/cb",
        "https://c1.test:444/cb",
        "https://c1.test./cb",
        "https://c1.test/cb/../other",
        "",
        &long,
    ] {
        let answer = with_redirect_uris(attack, json!([uri])).await;
        assert!(refused(&answer), "{uri:?}: {} {}", answer.status, answer.text);
    }
    let many: Vec<String> = (0..11).map(|n| format!("http://localhost/{n}")).collect();
    assert!(refused(&with_redirect_uris(attack, json!(many)).await));
}

pub(crate) async fn r015_names_that_pretend(attack: &Attack) {
    let browser = attack.visitor();
    let long = "n".repeat(100 << 10);
    for name in [
        "<script>alert(1)</script>",
        "<svg onload=alert(1)>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='x",
        "Gatehouse\u{202e}lave",
        "Cl\u{200b}aude",
        "a\r\nSet-Cookie: x=y",
        "{{7*7}}",
        "\u{0}",
        "&lt;b&gt;",
        "</title></a><a href=https://evil.test>",
        &long,
    ] {
        let body = json!({ "redirect_uris": [REDIRECT_URI], "client_name": name, "token_endpoint_auth_method": "none" });
        let answer = attack.register(attack.a(), body.to_string()).await;
        if answer.status != 201 {
            assert!(
                refused(&answer) || answer.status == 413,
                "{name:.40}: {} {}",
                answer.status,
                answer.text
            );
            continue;
        }
        let kept = answer.get("client_name");
        assert!(
            kept.chars().count() <= 64 && !kept.contains(['\u{202e}', '\u{200b}', '\r', '\n', '\u{0}']),
            "{kept}"
        );
        let mut client = attack.client(attack.a()).await;
        client.registration = answer.json();
        // The page's own guard, no active element, is looked at in every answer.
        let page = browser.open(&client.authorize_url()).await;
        assert_eq!(page.status, 200, "{name:.40}");
        assert!(!page.body.contains("<img") && page.link("evil.test").is_none(), "{name:.40}");
        if name.contains("{{") {
            assert!(page.body.contains("{{7*7}}"), "a name was evaluated");
        }
        assert!(!page.headers.to_ascii_lowercase().contains("set-cookie: x=y"));
        pretends_on_no_page(attack, &body).await;
    }
}

/// The pages of a tenant that signs its users in itself show a client's name, too: before the password and afterwards.
/// What each of them holds and where its links lead is looked at in every answer.
async fn pretends_on_no_page(attack: &Attack, registration: &Value) {
    let mut client = attack.client(attack.b()).await;
    client.registration = attack.register(attack.b(), registration.to_string()).await.json();
    let (browser, _) = attack.local();
    let mut page = browser.open(&client.authorize_url()).await;
    while let Some(next) = browser.next(&page).await {
        assert!(
            page.status == 200 && !page.body.contains("<img") && !page.body.contains("<svg onload"),
            "{}",
            page.body
        );
        page = next;
    }
    assert!(page.parameter("code").is_some(), "{} {}", page.status, page.url);
    let page = browser.open(&format!("{}/account", attack.b().issuer)).await;
    assert!(page.form("disconnect").is_none(), "nothing was redeemed");
    let code = client.code(&browser).await;
    assert_eq!(client.redeem(&code).await.status, 200);
    let page = browser.open(&format!("{}/account", attack.b().issuer)).await;
    assert!(page.form("disconnect").is_some() && !page.body.contains("<img"), "{}", page.body);
}

pub(crate) async fn r016_links_that_nobody_should_follow(attack: &Attack) {
    for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
        for link in [
            "javascript:alert(1)",
            "data:image/svg+xml,<svg onload=alert(1)>",
            "file:///etc/passwd",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/",
            "http://192.168.1.1/x",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://0.0.0.0/",
            "not a url",
            "//evil.test/x",
        ] {
            let body = json!({ "redirect_uris": [REDIRECT_URI], member: link });
            let answer = attack.register(attack.a(), body.to_string()).await;
            assert!(refused(&answer), "{member} {link}: {} {}", answer.status, answer.text);
        }
    }
}

pub(crate) async fn r017_nothing_is_fetched_at_registration(attack: &Attack) {
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let record = async move || {
        // The receiver lives as long as the server.
        let _ = sender.send(());
    };
    let sink = Server::start(Router::new().fallback(any(record))).await;
    let sink = sink.origin();
    for member in
        ["jwks_uri", "sector_identifier_uri", "logo_uri", "client_uri", "initiate_login_uri", "tos_uri"]
    {
        let body = json!({ "redirect_uris": [REDIRECT_URI], member: format!("{sink}/{member}") });
        let answer = attack.register(attack.a(), body.to_string()).await;
        assert!(answer.status == 201 || refused(&answer), "{member}: {} {}", answer.status, answer.text);
        if answer.status == 201 {
            let mut client = attack.client(attack.a()).await;
            client.registration = answer.json();
            let page = attack.visitor().open(&client.authorize_url()).await;
            assert!(!page.body.contains(&sink), "{member}: the page loads it");
        }
    }
    let statement =
        json!({ "redirect_uris": [REDIRECT_URI], "software_statement": "e30.e30.", "jwks": { "keys": [] } });
    attack.register(attack.a(), statement.to_string()).await;
    assert!(arrived.try_recv().is_err(), "something was fetched");
}

pub(crate) async fn r018_a_client_chooses_neither_its_id_nor_its_rights(attack: &Attack) {
    let asked = json!({
        "redirect_uris": [REDIRECT_URI], "client_id": "admin", "client_secret": "chosen-by-the-client",
        "token_endpoint_auth_method": "client_secret_post", "scope": "admin *", "client_id_issued_at": 0,
        "grant_types": ["authorization_code", "client_credentials", "implicit", "password"],
        "response_types": ["code", "token"], "client_secret_expires_at": 99_999_999_999_i64,
    });
    let answer = attack.register(attack.a(), asked.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let (id, secret) = (answer.get("client_id"), answer.get("client_secret"));
    assert!(id.len() >= 64 && id != "admin" && secret.len() >= 43 && secret != "chosen-by-the-client");
    assert_eq!(answer.json()["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(answer.json()["response_types"], json!(["code"]));
    assert!(!answer.text.contains("admin"), "{}", answer.text);
    let other = attack.register(attack.a(), asked.to_string()).await;
    assert!(other.get("client_id") != id && other.get("client_secret") != secret);
    for only in [json!(["client_credentials"]), json!(["implicit"]), json!(["password"])] {
        let body = json!({ "redirect_uris": [REDIRECT_URI], "grant_types": only });
        assert!(refused(&attack.register(attack.a(), body.to_string()).await), "{only}");
    }
    let token = json!({ "redirect_uris": [REDIRECT_URI], "response_types": ["token"] });
    assert!(refused(&attack.register(attack.a(), token.to_string()).await));
}

/// What comes of a flood that is over before a limit of a minute begins anew. On a slow machine it may take longer: then there
/// is another one, which must be of others.
pub(crate) async fn within_a_minute<T>(flood: impl AsyncFn(usize) -> T) -> T {
    for round in 0..3 {
        let begun = Instant::now();
        let found = flood(round).await;
        if begun.elapsed() < Duration::from_secs(55) {
            return found;
        }
    }
    panic!("a flood takes a minute, time and again");
}

pub(crate) async fn r019_a_flood_from_one_address_is_limited_whatever_it_pretends(attack: &Attack) {
    let gateway = attack.a();
    let bystander = attack.elsewhere();
    let before = bystander.client(gateway).await;
    let body = json!({ "redirect_uris": [REDIRECT_URI] }).to_string();
    let url = format!("{}/oauth/register", gateway.issuer);
    let (flooded, limited) = within_a_minute(async |_| {
        let flooded = attack.elsewhere();
        // Others share the address that floods: a cloud's clients have few.
        let neighbour = (flooded.client(gateway).await, flooded.visitor());
        let (_, mut refresh) = neighbour.0.tokens(&neighbour.1).await;
        let mut limited = 0;
        for batch in 0..16_u32 {
            let requests = (0..50_u32).map(|n| {
                let pretended = format!("203.0.113.{}, 198.51.100.{}", n % 250, batch);
                let request =
                    flooded.http.post(&url).header("content-type", "application/json").body(body.clone());
                // The second half claims to be others.
                let request = if batch < 8 { request } else { request.header("x-forwarded-for", pretended) };
                flooded.send(request.header("x-real-ip", format!("192.0.2.{}", n % 250)))
            });
            let flood = futures::future::join_all(requests);
            let (answers, renewed) = tokio::join!(flood, goes_on(&neighbour, &refresh));
            refresh = renewed;
            for answer in answers {
                assert!(matches!(answer.status, 201 | 429), "{} {}", answer.status, answer.text);
                limited += usize::from(answer.status == 429);
                assert!(
                    answer.status == 201 || answer.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1)
                );
            }
        }
        (flooded, limited)
    })
    .await;
    // Who comes to a replica directly is counted by its own address, whatever it says of proxies before it.
    let place = format!("http://{}/oauth/register", gateway.addresses[0]);
    let answers = within_a_minute(async |_| {
        let direct = attack.elsewhere();
        let requests = (0..400_u32).map(|n| {
            let request = direct
                .http
                .post(&place)
                .header("host", gateway.host())
                .header("content-type", "application/json");
            let request = request.header("x-forwarded-for", format!("203.0.113.{}", n % 250));
            direct.send(request.header("forwarded", format!("for=192.0.2.{}", n % 250)).body(body.clone()))
        });
        futures::future::join_all(requests).await
    })
    .await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(refused >= 100, "only {refused} of 400 were refused");
    // 300 a minute on each of two replicas.
    assert!(limited >= 150, "only {limited} of 800 were refused");
    let page = bystander.visitor().open(&before.authorize_url()).await;
    assert_eq!(page.status, 200, "who was there before is not affected");
    bystander.client(gateway).await;
    bystander.was_answered_well();
    flooded.finish().await;
}

/// A user of a client that was there before refreshes, calls and signs in anew; the refresh token that comes next.
async fn goes_on((client, browser): &(OAuthClient, Browser), refresh: &str) -> String {
    let renewed = client.refresh(refresh).await;
    assert_eq!(renewed.status, 200, "a neighbour's refresh: {}", renewed.text);
    let (access, _) = client.tokens(browser).await;
    for access in [&renewed.get("access_token"), &access] {
        assert!(works(client, access, browser.user()).await, "a neighbour's call fails");
    }
    renewed.get("refresh_token")
}

/// So many registrations, from so many sources that none is refused.
const MANY: usize = 10_000;
const SOURCES: usize = 100;
/// What they may leave behind: less than a kibibyte each at the replicas, where allocators keep some, and in Redis less than
/// any record takes.
const LEFT_AT_REPLICAS: u64 = 8 << 20;
const LEFT_IN_REDIS: u64 = 512 << 10;

pub(crate) async fn r020_registrations_cost_nothing(attack: &Attack) {
    // A Redis in which nobody else writes.
    let redis = Redis::start().await;
    let (gateway, github, _backend) = hub(&attack.world.watch, &redis).await;
    let before = redis.keys().await;
    let body = json!({ "redirect_uris": ["http://localhost/never-used"], "client_name": "same" }).to_string();
    let mut answers = Vec::new();
    let mut sources = Vec::new();
    for _ in 0..4 {
        let source = attack.elsewhere();
        answers.extend(
            futures::future::join_all((0..250).map(|_| source.register(&gateway, body.clone()))).await,
        );
        sources.push(source);
    }
    assert!(answers.iter().all(|a| a.status == 201));
    let ids: HashSet<String> = answers.iter().map(|a| a.get("client_id")).collect();
    assert_eq!(ids.len(), 1000);
    assert_eq!(redis.keys().await, before, "registrations are stored");
    // The first make the pools and buffers that stay.
    assert_eq!(many(&gateway, &body, 1000).await, 1000);
    let memory = async || {
        let replicas: u64 = gateway.replicas.iter().map(Process::resident).sum();
        (replicas << 10, redis.used_memory().await)
    };
    let (replicas, store) = memory().await;
    assert_eq!(many(&gateway, &body, MANY).await, MANY);
    let (replicas_after, store_after) = memory().await;
    let left = (replicas_after.saturating_sub(replicas), store_after.saturating_sub(store));
    assert!(left.0 < LEFT_AT_REPLICAS && left.1 < LEFT_IN_REDIS, "so many bytes are left: {left:?}");
    assert_eq!(redis.keys().await, before, "registrations are stored");
    let client = attack.client(&gateway).await;
    client.tokens(&attack.visitor_of(&github).0).await;
    assert!(redis.keys().await.len() > before.len(), "this test looks at the wrong place");
    attack.inspect(&gateway, &redis).await;
    sources.iter().for_each(Attack::was_answered_well);
}

/// Registers so many clients as the balancer would, which is believed about who asks; how many ids they got.
async fn many(gateway: &Gateway, body: &str, count: usize) -> usize {
    let proxy = http();
    let asked = (0..count).map(async |n| {
        let place = format!("http://{}/oauth/register", gateway.addresses[n % 2]);
        let request = proxy.post(place).header("host", gateway.host()).body(body.to_owned());
        let request = request.header("x-forwarded-for", format!("198.18.{}.1", n / 2 % SOURCES));
        let request = request.header("content-type", "application/json");
        let answer = Answer::of(request.send().await.expect("the gateway answers")).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.get("client_id")
    });
    let ids: Vec<String> = stream::iter(asked).buffer_unordered(32).collect().await;
    ids.into_iter().collect::<HashSet<_>>().len()
}

pub(crate) async fn r021_a_client_survives_the_loss_of_its_record(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let (_, refresh) = client.tokens(&browser).await;
    // The records of clients are gone, as after an expiry or a flush.
    let mut connection = attack.world.redis.connection().await;
    let keys = attack.world.redis.keys().await;
    let record = keys.iter().filter(|k| k.contains(":oauth:client:"));
    for key in record {
        let _: () = connection.del(key).await.unwrap();
    }
    let renewed = client.refresh(&refresh).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    client.tokens(&browser).await;
}

pub(crate) async fn r023_a_registration_is_answered_in_full(attack: &Attack) {
    for method in ["none", "client_secret_post", "client_secret_basic"] {
        let client = attack.client_as(attack.a(), method, WEB_CALLBACK).await;
        let answer = &client.registration;
        assert_eq!(answer["token_endpoint_auth_method"], method);
        assert_eq!(answer["redirect_uris"], json!([WEB_CALLBACK]));
        assert_eq!(answer["client_secret"].is_string(), method != "none");
        assert_eq!(answer["client_secret_expires_at"].is_i64(), method != "none");
        // Not served (RFC 7592), so not named.
        assert!(
            answer.get("registration_client_uri").is_none()
                && answer.get("registration_access_token").is_none()
        );
    }
    let get = attack.get(&format!("{}/oauth/register", attack.a().issuer)).await;
    assert_eq!(get.status, 405);
}

pub(crate) async fn r024_a_client_of_one_tenant_is_unknown_to_the_other(attack: &Attack) {
    let client = attack.client_as(attack.a(), "client_secret_post", REDIRECT_URI).await;
    let mut there = client;
    there.issuer.clone_from(&attack.b().issuer);
    there.url.clone_from(&attack.b().url);
    let page = attack.local().0.open(&there.authorize_url()).await;
    assert_eq!(page.status, 400, "{}", page.url);
    assert!(page.url.as_str().starts_with(&there.issuer), "{}", page.url);
    for answer in [there.redeem("some-code").await, there.refresh("some-token").await] {
        assert!(answer.is_error(401, "invalid_client"), "{} {}", answer.status, answer.text);
    }
}
