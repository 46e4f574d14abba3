//! 25 to 41: the authorization request.

use e2e::{
    browser::{Browser, Page},
    oauth::OAuthClient,
};
use reqwest::Method;
use serde_json::json;

use crate::{
    discovery::well_known,
    world::{Attack, WEB_CALLBACK, code, consent},
};

/// Where an authorization request leads, without following it.
async fn answer(attack: &Attack, url: &str) -> e2e::oauth::Answer {
    attack.get(url).await
}

fn parameter(location: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(location).ok()?;
    let found: Vec<String> =
        url.query_pairs().filter(|(n, _)| n == name).map(|(_, v)| v.into_owned()).collect();
    assert!(found.len() <= 1, "{name} stands twice in {location}");
    found.into_iter().next()
}

/// Asks with one thing changed; the error must come to the client, with state and issuer, and nothing else.
async fn is_told(attack: &Attack, client: &OAuthClient, change: &[(&str, Option<&str>)], error: &str) {
    let answer = answer(attack, &client.authorize_url_with(change)).await;
    let location = answer.header("location");
    assert!(
        location.starts_with(&client.redirect_uri),
        "{change:?}: {} {location}\n{}",
        answer.status,
        answer.text
    );
    assert_eq!(parameter(location, "error").as_deref(), Some(error), "{change:?}");
    assert_eq!(parameter(location, "state").as_deref(), Some("the-state"), "{change:?}");
    assert_eq!(parameter(location, "iss").as_deref(), Some(client.issuer.as_str()), "{change:?}");
    for never in ["code", "access_token", "id_token"] {
        assert_eq!(parameter(location, never), None, "{change:?}");
    }
    assert!(!location.contains('#') && answer.header("set-cookie").is_empty(), "{change:?}");
}

async fn is_shown(attack: &Attack, url: &str) -> Page {
    let page = attack.visitor().open(url).await;
    assert!(page.approve_link().is_some(), "{} {}\n{}", page.status, page.url, page.body);
    page
}

async fn is_refused_here(attack: &Attack, url: &str) {
    let answer = answer(attack, url).await;
    assert!(matches!(answer.status, 400 | 414), "{url}: {}", answer.status);
    assert_eq!(answer.header("location"), "", "{url}");
    assert!(
        answer.header("content-type").starts_with("text/html") && !answer.text.contains("evil.test"),
        "{url}"
    );
}

pub(crate) async fn r025_an_unknown_client_gets_a_page(attack: &Attack) {
    let client = attack.client_as(attack.a(), "none", WEB_CALLBACK).await;
    let id = client.id();
    let swapped = if id.as_bytes()[20] == b'A' { "B" } else { "A" };
    let (cut, flipped) = (&id[..id.len() - 1], format!("{}{swapped}{}", &id[..20], &id[21..]));
    let long = format!("gc_{}", "A".repeat(5000));
    for other in ["", "gc_", "gc_AAAA", "https://evil.test/client", "null", "../x", "*", cut, &flipped, &long]
    {
        is_refused_here(attack, &client.authorize_url_with(&[("client_id", Some(other))])).await;
    }
    is_refused_here(attack, &client.authorize_url_with(&[("client_id", None)])).await;
    is_refused_here(attack, &format!("{}&client_id={id}", client.authorize_url())).await;
    for other in [
        "https://evil.test/cb",
        "https://c1.test/cb?x=y",
        "https://c1.test/cb/",
        "https://c1.test/second",
        "HTTPS://c1.test/cb",
    ] {
        is_refused_here(attack, &client.authorize_url_with(&[("redirect_uri", Some(other))])).await;
    }
    is_refused_here(attack, &format!("{}&redirect_uri=https%3A%2F%2Fevil.test", client.authorize_url()))
        .await;
}

pub(crate) async fn r027_only_the_port_of_loopback_is_free(attack: &Attack) {
    let client = attack.client_as(attack.a(), "none", "http://127.0.0.1:5000/cb").await;
    for good in ["http://127.0.0.1:61000/cb", "http://127.0.0.1/cb", "http://127.0.0.1:1/cb"] {
        is_shown(attack, &client.authorize_url_with(&[("redirect_uri", Some(good))])).await;
    }
    for bad in [
        "http://127.0.0.1:5000/other",
        "http://127.0.0.1:5000/cb/",
        "http://localhost:5000/cb",
        "http://[::1]:5000/cb",
        "https://127.0.0.1:5000/cb",
        "http://127.0.0.1:5000/cb?x=y",
        "http://127.0.0.1:5000/CB",
        "http://127.0.0.2/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:5000@evil.test/cb",
        "http://127.0.0.1:5000/cb#x",
    ] {
        is_refused_here(attack, &client.authorize_url_with(&[("redirect_uri", Some(bad))])).await;
    }
    let web = attack.client_as(attack.a(), "none", WEB_CALLBACK).await;
    is_refused_here(attack, &web.authorize_url_with(&[("redirect_uri", Some("https://c1.test:444/cb"))]))
        .await;
}

pub(crate) async fn r028_a_redirect_uri_may_be_left_out_when_there_is_one(attack: &Attack) {
    let one = attack.client(attack.a()).await;
    is_shown(attack, &one.authorize_url_with(&[("redirect_uri", None)])).await;
    let body = json!({ "redirect_uris": [WEB_CALLBACK, "https://c1.test/second"], "token_endpoint_auth_method": "none" });
    let mut two = one;
    two.registration = attack.register(attack.a(), body.to_string()).await.json();
    is_refused_here(attack, &two.authorize_url_with(&[("redirect_uri", None)])).await;
    is_shown(attack, &two.authorize_url_with(&[("redirect_uri", Some("https://c1.test/second"))])).await;
}

pub(crate) async fn r029_r030_r031_pkce_is_s256_and_well_formed(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    is_told(attack, &client, &[("code_challenge", None)], "invalid_request").await;
    for method in [None, Some("plain"), Some("s256"), Some("S512"), Some(""), Some("S256 plain")] {
        is_told(attack, &client, &[("code_challenge_method", method)], "invalid_request").await;
    }
    is_told(attack, &client, &[("code_challenge", None), ("code_challenge_method", None)], "invalid_request")
        .await;
    let base = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c";
    let (short, padded, standard) = (base.to_owned(), format!("{base}M="), format!("{}+/", &base[..41]));
    let long = "a".repeat(129);
    for challenge in [&short, &padded, &standard, &long, "", " ", "ü", &format!("{base}M\n")] {
        is_told(attack, &client, &[("code_challenge", Some(challenge))], "invalid_request").await;
    }
}

pub(crate) async fn r032_only_codes_in_queries(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    for kind in ["token", "code token", "id_token", "code id_token", "none", "CODE", "code "] {
        is_told(attack, &client, &[("response_type", Some(kind))], "unsupported_response_type").await;
    }
    is_told(attack, &client, &[("response_type", None)], "invalid_request").await;
    for mode in ["fragment", "form_post", "web_message", "query.jwt", "jwt"] {
        is_told(attack, &client, &[("response_mode", Some(mode))], "invalid_request").await;
    }
    is_shown(attack, &client.authorize_url_with(&[("response_mode", Some("query"))])).await;
}

pub(crate) async fn r034_state_comes_back_byte_for_byte(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let long = "s".repeat(4096);
    for state in
        ["", "x", "ä€🔑", "a b+c%20&=#", "\r\nSet-Cookie: evil=1", "\u{0}", "<script>", "&error=x", &long]
    {
        state_comes_back(attack, &client, &browser, Some(state)).await;
    }
    is_refused_here(attack, &client.authorize_url_with(&[("state", Some(&"s".repeat(8192)))])).await;
    is_refused_here(attack, &format!("{}&state=again", client.authorize_url())).await;
    is_refused_here(attack, &format!("{}&x=%ff", client.authorize_url())).await;
    state_comes_back(attack, &client, &browser, None).await;
}

/// With a code, with a refusal and with an error, and once.
async fn state_comes_back(attack: &Attack, client: &OAuthClient, browser: &Browser, state: Option<&str>) {
    let url = client.authorize_url_with(&[("state", state)]);
    let page = browser.open(&url).await;
    let denied = browser.follow(&page, &page.deny_link().expect("a link to refuse")).await;
    let landed = browser.sign_in(&url).await;
    assert!(code(&landed).is_some(), "{state:?}: {} {}", landed.status, landed.url);
    let wrong = client.authorize_url_with(&[("state", state), ("response_type", Some("token"))]);
    let refused = answer(attack, &wrong).await;
    for (place, error) in [
        (denied.url.as_str(), Some("access_denied")),
        (landed.url.as_str(), None),
        (refused.header("location"), Some("unsupported_response_type")),
    ] {
        assert_eq!(parameter(place, "error").as_deref(), error, "{state:?}: {place}");
        assert_eq!(parameter(place, "state").as_deref(), state, "{place}");
    }
    assert!(browser.cookie_names().await.iter().all(|name| name != "evil"));
}

pub(crate) async fn r035_every_answer_names_its_issuer(attack: &Attack) {
    for gateway in attack.world.tenants() {
        let metadata = attack.get(&well_known(gateway, "oauth-authorization-server", "")).await;
        assert_eq!(metadata.json()["authorization_response_iss_parameter_supported"], true);
        let client = attack.client(gateway).await;
        let browser = attack.user_of(gateway);
        let landed = client.sign_in(&browser).await;
        assert!(code(&landed).is_some(), "{}", landed.url);
        assert_eq!(landed.parameter("iss"), Some(metadata.get("issuer")));
        // Errors and links are looked at wherever one is sent; each tenant sends its own.
        is_told(attack, &client, &[("scope", Some("no\"scope"))], "invalid_scope").await;
    }
}

pub(crate) async fn r036_scopes_are_known_and_bounded(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let many = (0..500).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
    for scope in ["admin", "*", "mcp \"", "mcp \\", "\u{0}", "mcp\tmcp", "mcp\nadmin", &many, "é", "MCP"] {
        is_told(attack, &client, &[("scope", Some(scope))], "invalid_scope").await;
    }
    let browser = attack.visitor();
    for scope in [None, Some(""), Some("mcp"), Some("mcp offline_access"), Some("mcp admin *")] {
        let page = browser.open(&client.authorize_url_with(&[("scope", scope)])).await;
        let landed = browser.sign_in(page.url.as_str()).await;
        let answer =
            client.redeem(&code(&landed).unwrap_or_else(|| panic!("{scope:?}: {}", landed.url))).await;
        let granted = answer.get("scope");
        assert!(!granted.contains("admin") && !granted.contains('*'), "{scope:?}: {granted}");
    }
}

pub(crate) async fn r037_the_resource_is_this_server(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let own = client.url.clone();
    let upper = own.replace("http://localhost", "HTTP://LOCALHOST");
    for good in [None, Some(""), Some(own.as_str()), Some(&format!("{own}/")), Some(&upper)] {
        is_shown(attack, &client.authorize_url_with(&[("resource", good)])).await;
    }
    let (fragment, query) = (format!("{own}#x"), format!("{own}?x=y"));
    for bad in [
        attack.b().url.as_str(),
        &fragment,
        &query,
        "mcp",
        "/mcp",
        "//localhost/mcp",
        "https://evil.test/mcp",
        &own.replace("/mcp", "/MCP"),
        &own.replace("/mcp", "/mcp/other"),
        &own.replace("/mcp", "/mcp/../mcp2"),
        "urn:x",
        &own.replace("localhost", "user@localhost"),
        &own.replace("localhost", "localhost.evil.test"),
    ] {
        is_told(attack, &client, &[("resource", Some(bad))], "invalid_target").await;
    }
    let twice = format!("{}&resource={}", client.authorize_url(), attack.b().url);
    let answer = answer(attack, &twice).await;
    assert_eq!(parameter(answer.header("location"), "error").as_deref(), Some("invalid_target"));
}

pub(crate) async fn r038_request_objects_are_not_fetched(attack: &Attack) {
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let record = async move || {
        // The receiver lives as long as the server.
        let _ = sender.send(());
    };
    let sink = e2e::net::Server::start(axum::Router::new().fallback(axum::routing::any(record))).await;
    let client = attack.client(attack.a()).await;
    for name in ["request", "request_uri", "registration"] {
        is_told(attack, &client, &[(name, Some(&sink.origin()))], "request_not_supported").await;
    }
    is_told(attack, &client, &[("request", Some("eyJhbGciOiJub25lIn0.e30."))], "request_not_supported").await;
    assert!(arrived.try_recv().is_err(), "something was fetched");
}

pub(crate) async fn r039_no_prompt_skips_consent(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    for (name, value) in [
        ("prompt", "none"),
        ("prompt", "consent"),
        ("prompt", "login"),
        ("prompt", "none login"),
        ("max_age", "0"),
        ("login_hint", "<script>alert(1)</script>"),
        ("login_hint", "\"><b>x"),
        ("ui_locales", "<b>"),
        ("display", "<b>"),
        ("approval_prompt", "auto"),
        ("skip_consent", "true"),
        ("decision", "approve"),
        ("nonce", "<b>"),
    ] {
        let page = is_shown(attack, &client.authorize_url_with(&[(name, Some(value))])).await;
        assert!(!page.body.contains("<b>"), "{name}={value}");
    }
}

pub(crate) async fn r040_other_methods_and_long_queries(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    for method in ["HEAD", "PUT", "TRACE", "POST", "DELETE", "PATCH", "FOO"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = attack.send(attack.http.request(method.clone(), client.authorize_url())).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let long = format!("{}&x={}", client.authorize_url(), "a".repeat(30 << 10));
    is_refused_here(attack, &long).await;
    let many = format!("{}{}", client.authorize_url(), "&a".repeat(3000));
    is_refused_here(attack, &many).await;
    // Longer than anything that is read, and what no client library sends.
    let (target, host) = (client.authorize_url(), attack.a().host());
    let target = target.strip_prefix(&attack.a().issuer).expect("it begins with the issuer");
    for line in [
        format!("GET {target}&x={} HTTP/1.1", "a".repeat(64 << 10)),
        format!("GET {target}&x=\u{1} HTTP/1.1"),
        format!("get {target} HTTP/1.1"),
        format!("CONNECT {target} HTTP/1.1"),
        format!("OPTIONS {target} HTTP/1.1"),
        format!("GET {target} HTTP/2.0"),
    ] {
        let heard = attack.raw(format!("{line}\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        let refused = heard.answers.iter().all(|answer| answer.status.is_client_error());
        assert!(refused && heard.answers.len() <= 1, "{line:.60}: {}", heard.text);
    }
    // A flow names its client.
    assert!(!attack.world.redis.dump().await.contains(client.id()), "a refused request stored a flow");
    is_shown(attack, &client.authorize_url()).await;
    assert!(attack.world.redis.dump().await.contains(client.id()), "this test looks for the wrong thing");
}

pub(crate) async fn r041_redirects_after_a_post_are_303(attack: &Attack) {
    // That no redirect of any kind is another status is looked at in every answer; this makes one after a POST.
    let client = attack.client(attack.b()).await;
    let (browser, _) = attack.local();
    let page = browser.open(&client.authorize_url()).await;
    let shown = browser.next(&page).await.expect("the sign-in form");
    assert!(shown.approve_link().is_some(), "{}", shown.body);
    let provider = attack.client(attack.a()).await;
    let visitor = attack.visitor();
    let page = consent(&provider, &visitor).await;
    assert!(code(&visitor.sign_in(page.url.as_str()).await).is_some());
}
