//! Each rule finds what it is for: a watch that sees nothing would let every attack pass.

use http::HeaderValue;

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// A good page's headers.
const PAGE: [(&str, &str); 6] = [
    ("content-type", "text/html"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
];
const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("cache-control", "no-store")];

fn watch() -> Watch {
    let watch = Watch::default();
    watch.trust_origin("http://localhost:1");
    watch.keep_upstream("ghu_");
    let registered =
        r#"{"redirect_uris":["http://127.0.0.1:5/cb"],"client_secret":"a-secret-of-some-length"}"#;
    see(&watch, "/oauth/register", 201, &JSON, registered);
    assert_eq!(watch.findings(PEER), [""; 0]);
    watch
}

fn see(watch: &Watch, uri: &str, status: u16, headers: &[(&'static str, &'static str)], answer: &str) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    watch.see(&Exchange {
        peer: PEER,
        method: &Method::GET,
        uri: &uri.parse().unwrap(),
        asked: &HeaderMap::new(),
        question: "",
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map,
        answer,
    });
}

fn found(uri: &str, status: u16, headers: &[(&'static str, &'static str)], answer: &str) -> usize {
    let watch = watch();
    see(&watch, uri, status, headers, answer);
    watch.findings(PEER).len()
}

fn to(location: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![("location", location), ("cache-control", "no-store")]
}

#[test]
fn good_answers_pass() {
    assert_eq!(
        found("/oauth/authorize", 200, &PAGE, "<svg><path/></svg><a href=\"/x\">&lt;script&gt;</a>"),
        0
    );
    assert_eq!(found("/oauth/token", 400, &JSON, r#"{"error":"invalid_grant","error_description":"no"}"#), 0);
    for location in ["/oauth/signin?flow=x", "http://localhost:1/x", "http://127.0.0.1:9/cb?code=1"] {
        assert_eq!(found("/oauth/authorize", 303, &to(location), ""), 0, "{location}");
    }
}

#[test]
fn redirects_elsewhere_are_found() {
    for location in [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "http://localhost:1.evil.test/",
        "http://localhost:12/",
        "http://127.0.0.1:5/cb2",
        "javascript:alert(1)",
    ] {
        assert_eq!(found("/oauth/authorize", 303, &to(location), ""), 1, "{location}");
    }
    assert_eq!(found("/oauth/authorize", 307, &to("/x"), ""), 1);
}

#[test]
fn bad_bodies_and_headers_are_found() {
    assert_eq!(found("/mcp", 500, &[], ""), 1);
    for body in [
        "",
        "{}",
        "oops",
        r#"{"error":"oops"}"#,
        "{\"error\":\"invalid_grant\",\"error_description\":\"\\\"\"}",
    ] {
        assert_eq!(found("/oauth/token", 400, &JSON, body), 1, "{body}");
    }
    assert_eq!(found("/oauth/token", 200, &JSON[..1], r#"{"access_token":"x"}"#), 1);
    for body in
        ["<script>", "<b onclick=x>", "<a href=' JavaScript:x'>", "<iframe>", "<meta http-equiv=refresh>"]
    {
        assert_eq!(found("/oauth/authorize", 200, &PAGE, body), 1, "{body}");
    }
    for (missing, _) in &PAGE[1..5] {
        let headers: Vec<_> = PAGE.into_iter().filter(|(name, _)| name != missing).collect();
        assert_eq!(found("/oauth/authorize", 200, &headers, ""), 1, "without {missing}");
    }
    for cookie in ["a=b", "a=b; HttpOnly; SameSite=Lax; Path=/; Domain=x", "a=b; HttpOnly; Path=/"] {
        assert_eq!(
            found("/x", 200, &[("set-cookie", cookie), ("cache-control", "no-store")], ""),
            1,
            "{cookie}"
        );
    }
    for cors in [
        &[("access-control-allow-origin", "https://x.test")][..],
        &[("access-control-allow-origin", "*"), ("access-control-allow-credentials", "true")],
    ] {
        assert_eq!(found("/x", 200, cors, ""), 1, "{cors:?}");
    }
    assert_eq!(found("/mcp", 200, &[], "Bearer ghu_x"), 1);
}

#[test]
fn secrets_are_collected_wherever_they_pass() {
    let watch = watch();
    see(
        &watch,
        "/oauth/callback?code=a-code-of-the-provider",
        303,
        &to("http://127.0.0.1:5/cb?code=our-code-to-the-client"),
        "",
    );
    see(
        &watch,
        "/oauth/token",
        200,
        &JSON,
        r#"{"access_token":"an-access-token-x","refresh_token":"a-refresh-token-x"}"#,
    );
    let cookie = "gh=a-cookie-of-some-length; HttpOnly; SameSite=Lax; Path=/";
    see(&watch, "/x", 200, &[("set-cookie", cookie), ("cache-control", "no-store")], "");
    let secrets = watch.secrets(PEER);
    for secret in [
        "a-secret-of-some-length",
        "a-code-of-the-provider",
        "our-code-to-the-client",
        "an-access-token-x",
        "a-refresh-token-x",
        "a-cookie-of-some-length",
    ] {
        assert!(secrets.contains(secret), "{secret}: {secrets:?}");
        assert_eq!(watch.leaks(PEER, &format!("log: {secret}!")), [secret]);
    }
}
