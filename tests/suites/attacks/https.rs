//! What holds of a tenant at an https issuer, behind the TLS of something else: 2, 3, 7, 55, 110 and 115.

use e2e::browser::Browser;
use reqwest::Method;
use url::Url;

use crate::world::{Attack, WEB_CALLBACK, code, works};

const DOCUMENTS: [&str; 3] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
];

pub(crate) async fn r002_r003_https_no_header_changes_a_url(attack: &Attack) {
    let gateway = attack.c();
    for path in DOCUMENTS {
        let plain = attack.get(&format!("{}{path}", gateway.issuer)).await;
        assert!(plain.status == 200 && plain.text.contains(&gateway.issuer), "{path}: {}", plain.text);
        assert!(!plain.text.contains("http://"), "{path}: {}", plain.text);
        for (name, value) in [
            ("x-forwarded-proto", "http"),
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-scheme", "http"),
            ("x-forwarded-ssl", "off"),
            ("x-forwarded-port", "80"),
            ("x-url-scheme", "http"),
            ("front-end-https", "off"),
            ("forwarded", "proto=http;host=evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("host", "evil.test"),
            ("host", "evil.test:80"),
        ] {
            let request = attack.http.get(format!("{}{path}", gateway.issuer)).header(name, value);
            let answer = attack.send(request).await;
            let same = answer.status == 200 && answer.text == plain.text;
            let refused =
                name == "host" && matches!(answer.status, 400 | 421) && !answer.text.contains("evil");
            assert!(same || refused, "{path} {name}: {value}: {} {}", answer.status, answer.text);
        }
    }
    let challenge =
        attack.http.post(&gateway.url).header("host", "evil.test").header("x-forwarded-proto", "http");
    let challenge = attack.send(challenge).await;
    let document = format!("{}/.well-known/oauth-protected-resource/mcp", gateway.issuer);
    assert!(challenge.challenge.contains(&document), "{}", challenge.challenge);
}

/// The cookies that a browser would send, by the names that `rename` makes of theirs.
async fn renamed(browser: &Browser, url: &Url, rename: impl Fn(&str) -> String) -> String {
    let sent = browser.cookies_for(url).await;
    let pairs = sent.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| format!("{}={value}", rename(name))).collect::<Vec<_>>().join("; ")
}

pub(crate) async fn r055_https_cookies_are_bound_to_their_host(attack: &Attack) {
    let gateway = attack.c();
    let client = attack.client(gateway).await;
    let (browser, name) = attack.local();
    let form = browser.open(&client.authorize_url()).await;
    let page = browser.next(&form).await.expect("the sign-in form");
    // That each is Secure, HttpOnly, Lax and without a domain is looked at in every answer.
    let names = browser.cookie_names().await;
    assert!(names.len() >= 2 && names.iter().all(|name| name.starts_with("__Host-gh-")), "{names:?}");
    let url = page.url.join(&page.approve_link().expect("an approval link")).unwrap();
    let account = Url::parse(&format!("{}/account", gateway.issuer)).unwrap();
    // What another host of the same domain, or a page without TLS, could set is not ours.
    let bare = |name: &str| name.trim_start_matches("__Host-").to_owned();
    let secure = |name: &str| name.replace("__Host-", "__Secure-");
    let lower = |name: &str| name.replace("__Host-", "__host-");
    for sent in [
        renamed(&browser, &url, bare).await,
        renamed(&browser, &url, secure).await,
        renamed(&browser, &url, lower).await,
    ] {
        let answer = attack.send(attack.http.get(url.clone()).header("cookie", &sent)).await;
        assert!(answer.status == 403 && answer.header("location").is_empty(), "{}", answer.status);
        let page = attack.send(attack.http.get(account.clone()).header("cookie", &sent)).await;
        assert!(!page.text.contains(&name), "a session by a cookie that a neighbour could set");
    }
    // Nor does one beside it take its place, wherever it stands.
    let own = browser.cookies_for(&url).await;
    let planted = renamed(&browser, &url, bare)
        .await
        .split("; ")
        .map(|pair| format!("{}={}", pair.split_once('=').unwrap().0, "A".repeat(43)))
        .collect::<Vec<_>>()
        .join("; ");
    for sent in [format!("{planted}; {own}"), format!("{own}; {planted}")] {
        let page = attack.send(attack.http.get(account.clone()).header("cookie", &sent)).await;
        assert!(page.text.contains(&name), "{}", page.text);
    }
    let landed = browser.follow(&page, url.as_str()).await;
    let tokens = client.redeem(&code(&landed).expect("a code")).await;
    assert!(works(&client, &tokens.get("access_token"), &name).await);
}

pub(crate) async fn r007_r110_https_pages_of_other_origins(attack: &Attack) {
    let gateway = attack.c();
    let client = attack.client(gateway).await;
    let (browser, _) = attack.local();
    let (access, _) = client.tokens(&browser).await;
    let call = || client.call_request(Some(&access), "whoami", serde_json::json!({}));
    let plain = gateway.issuer.replace("https://", "http://");
    let near = format!("{}.evil.test", gateway.issuer);
    let other_port = format!("{}0", gateway.issuer);
    // Here pages of the user's own machine are foreign ones, too.
    for origin in [
        "https://x.test",
        "null",
        "",
        "http://localhost:6274",
        "http://127.0.0.1",
        &plain,
        &near,
        &other_port,
        "https://tools.test",
    ] {
        let answer = attack.send(call().header("origin", origin)).await;
        assert_eq!(answer.status, 403, "{origin}: {}", answer.text);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let preflight = attack
            .http
            .request(Method::OPTIONS, &gateway.url)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        assert_eq!(attack.send(preflight).await.header("access-control-allow-origin"), "", "{origin}");
    }
    let twice =
        attack.send(call().header("origin", &gateway.issuer).header("origin", "https://x.test")).await;
    assert_eq!(twice.status, 403, "{}", twice.text);
    assert_eq!(attack.send(call().header("origin", &gateway.issuer)).await.status, 200);
    for path in
        ["/oauth/authorize", "/oauth/authorize/approve", "/oauth/signin", "/oauth/callback", "/account"]
    {
        for origin in ["https://x.test", &gateway.issuer] {
            let url = format!("{}{path}", gateway.issuer);
            let answer = attack.send(attack.http.get(url).header("origin", origin)).await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path} {origin}");
        }
    }
}

/// A tenant at an https issuer takes clients whose id is the URL of a document; these are none.
pub(crate) async fn r115_ids_that_are_no_documents_address(attack: &Attack) {
    let gateway = attack.c();
    let metadata = attack.get(&format!("{}/.well-known/oauth-authorization-server", gateway.issuer)).await;
    assert_eq!(metadata.json()["client_id_metadata_document_supported"], true);
    let client = attack.client_as(gateway, "none", WEB_CALLBACK).await;
    let long = format!("https://client.test/{}", "a".repeat(600));
    for id in [
        "http://client.test/c",
        "HTTPS://client.test/c",
        "https:client.test/c",
        "https:/client.test/c",
        "https:\\\\client.test\\c",
        "https://client.test",
        "https://client.test/",
        "https://client.test/?x=1",
        "https://user@client.test/c",
        "https://user:pass@client.test/c",
        "https://client.test/c#fragment",
        "https://client.test/./c",
        "https://client.test/x/../c",
        "https://client.test/x/%2e%2e/c",
        "https://client.test:443/c",
        "https://client.test:8443/c",
        "https://CLIENT.test/c",
        "https://client.test./c",
        "https://localhost/c",
        "https://kubernetes/c",
        "https://127.0.0.1/c",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/c",
        "https://0x7f.0.0.1/c",
        "https://0177.0.0.1/c",
        "https://[::1]/c",
        "https://[::ffff:169.254.169.254]/c",
        "https://b\u{fc}cher.test/c",
        "https://client.test/c d",
        "https://client.test/c\n",
        " https://client.test/c",
        "ftp://client.test/c",
        "file:///etc/passwd",
        &long,
    ] {
        let page = attack.get(&client.authorize_url_with(&[("client_id", Some(id))])).await;
        assert!(page.status == 400 && page.header("location").is_empty(), "{id:?}: {}", page.status);
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", id)];
        let request = attack.http.post(format!("{}/oauth/token", gateway.issuer)).form(&form);
        let answer = attack.send(request).await;
        assert!(answer.is_error(401, "invalid_client"), "{id:?}: {} {}", answer.status, answer.text);
    }
    // Tenant A, whose issuer is on loopback, takes none at all.
    let here = attack.client_as(attack.a(), "none", WEB_CALLBACK).await;
    let good = Some("https://client.test/c");
    let page = attack.get(&here.authorize_url_with(&[("client_id", good)])).await;
    assert!(page.status == 400 && page.header("location").is_empty(), "{}", page.status);
    // And nothing is fetched for the ids above: the log would say that it could not be.
    assert!(!gateway.output().contains("what a client says of itself cannot be fetched"));
    // As it does where one is.
    let page = attack.get(&client.authorize_url_with(&[("client_id", good)])).await;
    assert!(page.status == 400 && page.header("location").is_empty(), "{}", page.status);
    assert!(
        gateway.output().contains("what a client says of itself cannot be fetched"),
        "this test looks for the wrong thing"
    );
}
