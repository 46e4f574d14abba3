//! 1 to 9: metadata, and calls without a good token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{dev::Gateway, oauth::REDIRECT_URI};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{AN_HOUR, Attack, dies, works};

/// The origin of a tenant's issuer, and its path.
fn place(gateway: &Gateway) -> (&str, &str) {
    let begin = gateway.issuer.find("://").expect("a URL") + 3;
    let end = gateway.issuer[begin..].find('/').map_or(gateway.issuer.len(), |at| begin + at);
    gateway.issuer.split_at(end)
}

/// Where a document of a tenant is: what it is about comes after its name (RFC 8414 section 3.1, RFC 9728 section 3.1).
pub(crate) fn well_known(gateway: &Gateway, document: &str, about: &str) -> String {
    let (origin, path) = place(gateway);
    format!("{origin}/.well-known/{document}{path}{about}")
}

pub(crate) async fn r001_metadata_is_exact_and_every_endpoint_answers(attack: &Attack) {
    for gateway in attack.world.tenants() {
        let answer = attack.get(&well_known(gateway, "oauth-authorization-server", "")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let metadata = answer.json();
        assert_eq!(metadata["issuer"], gateway.issuer);
        assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(metadata["response_types_supported"], json!(["code"]));
        let endpoints = metadata
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
        for (name, url) in endpoints {
            let answer = attack.get(url.as_str().unwrap()).await;
            assert!(matches!(answer.status, 200 | 400 | 405), "{name}: {} {}", answer.status, answer.text);
        }
        assert!(!has_null(&metadata), "{metadata}");
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

const DOCUMENTS: [&str; 3] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
];

pub(crate) async fn r002_a_forged_host_is_never_repeated(attack: &Attack) {
    let gateway = attack.a();
    let own = gateway.issuer.trim_start_matches("http://");
    for path in DOCUMENTS.into_iter().chain(["/mcp", "/oauth/authorize", "/oauth/token"]) {
        for (name, value) in [
            ("host", "evil.test"),
            ("host", "localhost.evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("x-original-host", "evil.test"),
            ("x-host", "evil.test"),
            ("forwarded", "host=evil.test;proto=https"),
            ("x-forwarded-server", "evil.test"),
            ("x-original-url", "https://evil.test/mcp"),
            ("x-rewrite-url", "https://evil.test/mcp"),
            ("x-forwarded-prefix", "//evil.test"),
        ] {
            let answer =
                attack.send(attack.http.get(format!("{}{path}", gateway.issuer)).header(name, value)).await;
            assert!(!answer.text.contains("evil.test"), "{path} {name}: {}", answer.text);
            assert!(
                !answer.challenge.contains("evil.test") && !answer.header("location").contains("evil.test")
            );
            if name == "host" {
                assert_eq!(answer.status, 421, "{path}: {}", answer.text);
            } else if path.starts_with("/.well-known") {
                assert!(answer.status == 200 && answer.text.contains(own), "{path} {name}");
            }
        }
    }
}

pub(crate) async fn r003_a_forged_scheme_changes_no_url(attack: &Attack) {
    let gateway = attack.a();
    for path in DOCUMENTS {
        let plain = attack.get(&format!("{}{path}", gateway.issuer)).await;
        for (name, value) in [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-port", "1"),
            ("x-url-scheme", "javascript"),
            ("front-end-https", "on"),
            ("forwarded", "proto=https;host=localhost"),
        ] {
            let request = attack.http.get(format!("{}{path}", gateway.issuer)).header(name, value);
            assert_eq!(attack.send(request).await.text, plain.text, "{path} {name}: {value}");
        }
    }
}

pub(crate) async fn r004_other_documents_are_the_same_or_a_plain_404(attack: &Attack) {
    for gateway in attack.world.tenants() {
        let document = attack.get(&well_known(gateway, "oauth-authorization-server", "")).await;
        assert_eq!(document.status, 200, "{}", document.text);
        let (origin, own) = place(gateway);
        for path in ["", own] {
            for other in [
                format!("/.well-known/openid-configuration{path}"),
                format!("/.well-known/openid-configuration{path}/mcp"),
                format!("{path}/.well-known/openid-configuration"),
                format!("{path}/mcp/.well-known/openid-configuration"),
                format!("/.well-known/oauth-authorization-server{path}"),
                format!("/.well-known/oauth-authorization-server{path}/mcp"),
                format!("{path}/.well-known/oauth-authorization-server"),
                format!("{path}/mcp/.well-known/oauth-authorization-server"),
                format!("/.well-known/oauth-authorization-server{path}/"),
                format!("/.well-known/oauth-authorization-server{path}/other-tenant"),
                format!("{path}/.well-known/"),
                format!("{path}/.well-known"),
            ] {
                let answer = attack.get(&format!("{origin}{other}")).await;
                let same = answer.status == 200 && answer.text == document.text;
                let absent = answer.status == 404 && answer.json()["error"].is_string();
                assert!(same || absent, "{other}: {} {}", answer.status, answer.text);
            }
        }
    }
}

pub(crate) async fn r005_the_resource_document_is_exact(attack: &Attack) {
    for gateway in attack.world.tenants() {
        for path in ["/mcp", "/mcp/", ""] {
            let answer = attack.get(&well_known(gateway, "oauth-protected-resource", path)).await;
            // Only an origin may be asked without saying for what.
            if path.is_empty() && !place(gateway).1.is_empty() {
                assert!(answer.is_error(404, "invalid_request"), "{} {}", answer.status, answer.text);
                continue;
            }
            let document = answer.json();
            assert_eq!(document["resource"], gateway.url, "{path}");
            assert_eq!(document["authorization_servers"], json!([gateway.issuer]));
            assert!(!answer.text.contains("offline_access"), "{}", answer.text);
            assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        }
    }
}

pub(crate) async fn r006_odd_paths_are_refused_and_not_reflected(attack: &Attack) {
    let issuer = &attack.a().issuer;
    for suffix in [
        "/mcp-evil",
        "/mcp/evil",
        "/team-b/tools/mcp",
        "/mcp;evil",
        "/mcp%00evil",
        "/mcp%2fevil",
        "/%2e%2e/evil",
        "//evil.test/mcp",
        "/mcp//evil",
        "/%6dcp%0d%0aevil",
        "/mcp/..;/evil",
        "/MCP",
        "/mcp%20",
        "/mcp%3fevil",
    ] {
        for document in ["oauth-protected-resource", "oauth-authorization-server"] {
            let answer = attack.get(&format!("{issuer}/.well-known/{document}{suffix}")).await;
            assert!(matches!(answer.status, 400 | 404), "{document}{suffix}: {}", answer.status);
            assert!(!answer.text.contains("evil"), "{document}{suffix}: {}", answer.text);
        }
    }
}

pub(crate) async fn r007_cors_never_comes_with_credentials(attack: &Attack) {
    let gateway = attack.a();
    let pages = ["/oauth/authorize", "/oauth/authorize/approve", "/oauth/signin", "/oauth/callback"];
    let programs = ["/oauth/token", "/oauth/register", "/mcp"].into_iter().chain(DOCUMENTS);
    for path in pages.into_iter().chain(programs) {
        for origin in ["https://x.test", "null", &gateway.issuer, "http://localhost:1"] {
            let url = format!("{}{path}", gateway.issuer);
            let plain = attack.send(attack.http.get(&url).header("origin", origin)).await;
            let preflight = attack
                .http
                .request(Method::OPTIONS, &url)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization, x-evil, mcp-param-region");
            let preflight = attack.send(preflight).await;
            // Reflection and credentials are looked for in every answer.
            let allowed =
                |answer: &e2e::oauth::Answer| answer.header("access-control-allow-origin").to_owned();
            // Pages that may not call the endpoint read nothing of it.
            let may_call = origin == gateway.issuer || origin == "http://localhost:1";
            let hidden = pages.contains(&path) || (path == "/mcp" && !may_call);
            let expected = if hidden { "" } else { "*" };
            assert_eq!(
                (allowed(&plain).as_str(), allowed(&preflight).as_str()),
                (expected, expected),
                "{path}"
            );
            let headers = preflight.header("access-control-allow-headers").to_ascii_lowercase();
            assert!(!headers.contains("x-evil") && !headers.contains("cookie"), "{headers}");
        }
    }
}

pub(crate) async fn r008_without_a_token_the_challenge_names_no_error(attack: &Attack) {
    let gateway = attack.a();
    for method in [Method::POST, Method::GET, Method::DELETE, Method::PUT] {
        for body in ["", "{}", "not JSON"] {
            let answer = attack.send(attack.http.request(method.clone(), &gateway.url).body(body)).await;
            assert_eq!(answer.status, 401, "{method} {body}");
            let document = format!(
                "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"",
                gateway.issuer
            );
            assert!(answer.challenge.starts_with(&document), "{}", answer.challenge);
            assert!(!answer.challenge.contains("error"), "{}", answer.challenge);
        }
    }
}

pub(crate) async fn r009_a_bad_token_is_refused_without_being_repeated(attack: &Attack) {
    let gateway = attack.a();
    let long = "x".repeat(16 << 10);
    let tokens = [
        "garbage",
        "a\"b",
        "a\\b",
        "a, error=\"x",
        "a\tb",
        "Bearer",
        "null",
        "undefined",
        "eyJhbGciOiJub25lIn0.e30.",
        "gc_AAAA",
        "../../etc/passwd",
        "*",
        "{{7*7}}",
        "%00",
        "é",
        &long,
    ];
    for token in tokens {
        let request =
            attack.http.post(&gateway.url).header("authorization", format!("Bearer evil-{token}").as_bytes());
        let answer = attack.send(request.json(&json!({}))).await;
        assert_eq!(answer.status, 401, "{token}");
        let text = format!("{:?}{}", answer.headers, answer.text);
        assert!(!text.contains("evil-"), "{text}");
        assert!(answer.challenge.starts_with("Bearer resource_metadata="), "{}", answer.challenge);
        if token.is_ascii() {
            assert!(answer.challenge.contains("error=\"invalid_token\""), "{token}: {}", answer.challenge);
        }
    }
    // Once good, on both replicas, and not any more.
    let client = attack.client(gateway).await;
    let browser = attack.visitor();
    let ((expired, _), (revoked, _)) = (client.tokens(&browser).await, client.tokens(&browser).await);
    for token in [&expired, &revoked] {
        assert!(works(&client, token, browser.user()).await);
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&expired));
    attack.expire(&format!(":oauth:access:{hash}"), AN_HOUR).await;
    assert_eq!(client.revoke(&revoked).await.status, 200);
    for token in [&expired, &revoked] {
        // What it was is not repeated either: that is looked at in every log.
        dies(&client, token).await;
    }
    // What would split the header does not: hyper's client sends no such thing.
    for token in ["evil-a\r\nX-Injected: yes", "evil-a\nX-Injected: yes", "evil-a\r\n\r\nGET /evil HTTP/1.1"]
    {
        let (host, body) = (gateway.host(), "{}");
        let bytes = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Authorization: Bearer {token}\r\n\r\n{body}"
        );
        let heard = attack.raw(bytes.as_bytes()).await;
        assert!(heard.answers[0].status.is_client_error(), "{token:?}: {}", heard.text);
        let text = heard.text.to_ascii_lowercase();
        assert!(!text.contains("injected") && !text.contains("evil"), "{token:?}: {}", heard.text);
    }
    let twice = attack
        .http
        .post(&gateway.url)
        .header("authorization", "Bearer a")
        .header("authorization", "Bearer b");
    assert_eq!(attack.send(twice).await.status, 401);
}

pub(crate) async fn r097_nothing_tells_of_a_token(attack: &Attack) {
    for gateway in [attack.a(), attack.b(), attack.c()] {
        let client = attack.client_as(gateway, "client_secret_basic", REDIRECT_URI).await;
        let (access, _) = client.tokens(&attack.user_of(gateway)).await;
        let metadata =
            attack.get(&format!("{}/.well-known/oauth-authorization-server", gateway.issuer)).await;
        for name in ["introspection", "userinfo", "jwks"] {
            assert!(!metadata.text.contains(name), "{}", metadata.text);
        }
        for path in [
            "/oauth/introspect",
            "/oauth/introspection",
            "/introspect",
            "/oauth/userinfo",
            "/oauth/tokeninfo",
        ] {
            let url = format!("{}{path}", gateway.issuer);
            let form = [("token", access.as_str())];
            let known = client.post(path, &form, &[]).await;
            let anybody = attack.send(attack.http.post(&url).form(&form)).await;
            let asked = attack.send(attack.http.get(&url).bearer_auth(&access)).await;
            for answer in [known, anybody, asked] {
                assert!(answer.is_error(404, "invalid_request"), "{path}: {} {}", answer.status, answer.text);
            }
        }
    }
}
