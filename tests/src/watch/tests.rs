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
    watch.tenant("http://localhost:1");
    watch.provider("http://localhost:1", "http://provider.test");
    watch.tenant("https://secure.test");
    watch.keep_upstream("ghu_");
    let registered = r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:5/cb","https://c1.test/cb?x=y"],
        "client_secret":"a-secret-of-some-length"}"#;
    see(&watch, "/oauth/register", 201, &JSON, registered);
    let other = r#"{"client_id":"c2","redirect_uris":["https://c2.test/cb"]}"#;
    see(&watch, "/oauth/register", 201, &JSON, other);
    assert_eq!(watch.findings(PEER), [""; 0]);
    watch
}

fn see(watch: &Watch, uri: &str, status: u16, headers: &[(&'static str, &'static str)], answer: &str) {
    see_at(watch, "localhost:1", uri, status, headers, answer);
}

fn see_at(
    watch: &Watch,
    host: &'static str,
    uri: &str,
    status: u16,
    headers: &[(&'static str, &'static str)],
    answer: &str,
) {
    let asked = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static(host))]);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    watch.see(&Exchange {
        peer: PEER,
        method: &Method::GET,
        uri: &uri.parse().unwrap(),
        asked: &asked,
        question: r#"{"id":7}"#,
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map,
        answer,
    });
}

/// The issuer of [`watch`]'s first tenant, as an answer to a client names it.
const ISS: &str = "iss=http%3A%2F%2Flocalhost%3A1";

fn found(uri: &str, status: u16, headers: &[(&'static str, &'static str)], answer: &str) -> usize {
    let watch = watch();
    see(&watch, uri, status, headers, answer);
    watch.findings(PEER).len()
}

fn to(location: &str) -> Vec<(&'static str, &'static str)> {
    vec![("location", location.to_owned().leak()), ("cache-control", "no-store")]
}

#[test]
fn good_answers_pass() {
    assert_eq!(
        found("/oauth/authorize", 200, &PAGE, "<svg><path/></svg><a href=\"/x\">&lt;script&gt;</a>"),
        0
    );
    assert_eq!(found("/oauth/token", 400, &JSON, r#"{"error":"invalid_grant","error_description":"no"}"#), 0);
    for location in [
        "/oauth/signin?flow=x",
        "http://localhost:1/x",
        "http://provider.test/login",
        &format!("http://127.0.0.1:9/cb?code=1&{ISS}"),
        &format!("https://c1.test/cb?x=y&error=access_denied&{ISS}"),
    ] {
        assert_eq!(found("/oauth/authorize?client_id=c1", 303, &to(location), ""), 0, "{location}");
        let link = format!("<a href=\"{}\">back</a>", location.replace('&', "&amp;"));
        assert_eq!(found("/oauth/authorize?client_id=c1", 400, &PAGE, &link), 0, "{location}");
    }
    let refused = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32050,"message":"no"}}"#;
    assert_eq!(found("/mcp", 401, &JSON, refused), 0);
}

#[test]
fn a_sign_in_leads_to_its_own_client() {
    let steps = [
        ("/oauth/authorize?client_id=c1", to("/oauth/signin?flow=f1")),
        ("/oauth/authorize/approve?flow=f1", to("http://provider.test/?state=s1&code_challenge=x")),
    ];
    let own = format!("https://c1.test/cb?x=y&code=1&{ISS}");
    // The second says another client's id, which is ignored.
    for uri in ["/oauth/callback?state=s1", "/oauth/authorize/approve?flow=f1&client_id=c2"] {
        let watch = watch();
        for (step, headers) in &steps {
            see(&watch, step, 303, headers, "");
        }
        see(&watch, uri, 303, &to(&own), "");
        assert_eq!(watch.findings(PEER), [""; 0], "{uri}");
        let astray = ["https://c2.test/cb?code=1", "https://c1.test/cb?code=1", "https://secure.test/"];
        for astray in astray.map(|uri| format!("{uri}&{ISS}")) {
            let before = watch.findings(PEER).len();
            see(&watch, uri, 303, &to(&astray), "");
            assert_eq!(watch.findings(PEER).len(), before + 1, "{uri}: {astray}");
        }
    }
}

#[test]
fn a_client_that_the_policy_names_registers_nowhere() {
    let watch = watch();
    watch.listed("http://localhost:1", "listed", "https://listed.test/cb");
    let good = to(&format!("https://listed.test/cb?code=1&{ISS}"));
    see(&watch, "/oauth/authorize?client_id=listed", 303, &good, "");
    assert_eq!(watch.findings(PEER), [""; 0]);
    see(&watch, "/oauth/authorize?client_id=c1", 303, &good, "");
    see_at(&watch, "secure.test", "/oauth/authorize?client_id=listed", 303, &good, "");
    assert_eq!(watch.findings(PEER).len(), 2, "neither another client nor another tenant");
}

#[test]
fn an_answer_names_its_issuer_and_has_its_state_once() {
    let (begin, callback) = ("/oauth/authorize?client_id=c1", "/oauth/callback?state=s1");
    for (asked, good) in [("", ""), ("&state=", "&state="), ("&state=a%26b", "&state=a%26b")] {
        for told in ["code=1", "error=access_denied"] {
            let watch = watch();
            let begin = format!("{begin}{asked}");
            see(&watch, &begin, 303, &to("http://provider.test/?state=s1&code_challenge=x"), "");
            let mut findings = 0;
            for (answer, wrong) in [
                (format!("{ISS}{good}"), false),
                (format!("{good}&{ISS}"), false),
                (good.to_owned(), true),
                (format!("{ISS}&{ISS}{good}"), true),
                (format!("iss=http%3A%2F%2Flocalhost%3A2{good}"), true),
                (format!("{ISS}%2F{good}"), true),
                (format!("iss={good}"), true),
                (format!("{ISS}&state=another"), true),
                (format!("{ISS}{good}&state=another"), true),
                (ISS.to_owned(), !asked.is_empty()),
            ] {
                let answer = format!("https://c1.test/cb?x=y&{told}&{answer}");
                let page = format!("<a href=\"{}\">Give up</a>", answer.replace('&', "&amp;"));
                for uri in [begin.as_str(), callback] {
                    see(&watch, uri, 303, &to(&answer), "");
                    see(&watch, uri, 400, &PAGE, &page);
                    findings += if wrong { 2 } else { 0 };
                    assert_eq!(watch.findings(PEER).len(), findings, "{uri}: {answer}");
                }
            }
        }
    }
}

#[test]
fn a_tenant_may_have_a_path() {
    let watch = watch();
    watch.tenant("http://localhost:2/t/tools");
    let registered = r#"{"client_id":"c1","redirect_uris":["https://c1.test/cb"]}"#;
    let see =
        |uri, status, headers: &[_], answer| see_at(&watch, "localhost:2", uri, status, headers, answer);
    see("/t/tools/oauth/register", 201, &JSON, registered);
    let begin = "/t/tools/oauth/authorize?client_id=c1";
    see(begin, 303, &to("/t/tools/oauth/signin?flow=x"), "");
    see(begin, 303, &to("https://c1.test/cb?code=1&iss=http%3A%2F%2Flocalhost%3A2%2Ft%2Ftools"), "");
    assert_eq!(watch.findings(PEER), [""; 0]);
    see(begin, 303, &to("/oauth/signin?flow=x"), "");
    see(begin, 303, &to("https://c1.test/cb?code=1&iss=http%3A%2F%2Flocalhost%3A2"), "");
    see("/t/tools/mcp", 403, &JSON, r#"{"error":"invalid_request"}"#);
    assert_eq!(watch.findings(PEER).len(), 3, "{:?}", watch.findings(PEER));
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
        "http://127.0.0.1:5/cb?y=x&code=1",
        "https://c2.test/cb",
        "https://secure.test/",
        "javascript:alert(1)",
    ] {
        assert_eq!(found("/oauth/authorize?client_id=c1", 303, &to(location), ""), 1, "{location}");
        let page = format!("<a href=\"{location}\">back</a>");
        // Where a link runs something, that is a finding too.
        assert!(found("/oauth/authorize?client_id=c1", 400, &PAGE, &page) >= 1, "{location}");
    }
    assert_eq!(found("/oauth/authorize", 303, &to("https://c2.test/cb"), ""), 1, "nobody's sign-in");
    assert_eq!(found("/oauth/authorize", 307, &to("/x"), ""), 1);
}

#[test]
fn bad_bodies_and_headers_are_found() {
    let no_store = &JSON[1..];
    assert_eq!(found("/x", 500, no_store, ""), 1);
    for body in [
        "",
        "{}",
        r#"{"error":"invalid_request"}"#,
        r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}"#,
    ] {
        assert_eq!(found("/mcp", 403, &JSON, body), 1, "{body}");
    }
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
        ["<script>", "<b onclick=x>", "<area href=' JavaScript:x'>", "<iframe>", "<meta http-equiv=refresh>"]
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
    let secure = ["__Host-gh-1-s=b", "__Host-gh-1-s=b; Secure", "gh-1-s=b; Secure"];
    for (cookie, wrong) in secure.into_iter().zip([1, 0, 1]) {
        let watch = watch();
        let line: &'static str = format!("{cookie}; HttpOnly; SameSite=Lax; Path=/").leak();
        let headers = [("set-cookie", line), ("cache-control", "no-store")];
        see_at(&watch, "secure.test", "/x", 200, &headers, "");
        assert_eq!(watch.findings(PEER).len(), wrong, "{cookie}");
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
    assert_eq!(watch.leaks(PEER, "log: ghu_x"), ["ghu_"], "nobody's upstream token");
}

#[test]
fn everybodys_secrets_are_found_in_every_shape() {
    use base64::engine::{
        Engine,
        general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };

    let watch = watch();
    let (plain, odd) = ("an-access-token-x", "a?code>with=all&that~is odd");
    let answer = format!(r#"{{"access_token":"{plain}"}}"#);
    see(&watch, "/oauth/token", 200, &JSON, &answer);
    let encoded: String = url::form_urlencoded::byte_serialize(odd.as_bytes()).collect();
    see(&watch, &format!("/oauth/callback?code={encoded}"), 404, &JSON, "");
    let leaks = |text: &str| Vec::from_iter(watch.all_leaks(&[text]).remove(0));
    for secret in [plain, odd] {
        assert_eq!(leaks(secret), [secret]);
        assert_eq!(leaks(&format!("<{secret}>")), [secret]);
        for before in ["", "a", "ab", "abc"] {
            for after in ["", ":", "::"] {
                let longer = format!("{before}{secret}{after}");
                for text in [STANDARD.encode(&longer), URL_SAFE_NO_PAD.encode(&longer)] {
                    assert_eq!(leaks(&format!("Basic {text}, and more")), [secret], "{longer}");
                }
            }
        }
        assert_eq!(leaks(&secret[1..]), [""; 0]);
    }
    assert_eq!(leaks(&format!("?code={encoded}&x")), [odd]);
    assert_eq!(leaks(&format!("{plain} ghu_x")), [plain, "ghu_"]);
    assert_eq!(leaks("a-secret-of-some"), [""; 0], "the beginning of one");
}
