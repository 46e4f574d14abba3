//! Which methods each place takes, and that a refusal names those and no other (RFC 9110 section 15.5.6).

use axum::body::Body;
use http::Method;

use crate::support::{Answer, Gateway, request};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

async fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    gateway.send(request(Method::from_bytes(method.as_bytes()).unwrap(), path, headers, Body::empty())).await
}

fn allowed(answer: &Answer) -> Vec<&str> {
    let names = answer.header("allow").split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_refused_method_is_told_which_are_not() {
    let gateway = Gateway::local();
    for (path, methods) in [
        ("/.well-known/oauth-authorization-server", &["GET", "HEAD"][..]),
        ("/.well-known/oauth-protected-resource", &["GET", "HEAD"]),
        ("/.well-known/oauth-protected-resource/mcp", &["GET", "HEAD"]),
        ("/.well-known/oauth-protected-resource/mcp/", &["GET", "HEAD"]),
        ("/oauth/register", &["POST"]),
        ("/oauth/token", &["POST"]),
        ("/oauth/revoke", &["POST"]),
        ("/oauth/authorize", &["GET"]),
        ("/oauth/authorize/approve", &["GET"]),
        ("/oauth/signin", &["GET", "POST"]),
        ("/oauth/callback", &["GET"]),
        ("/account", &["GET", "POST"]),
        ("/account/signin", &["GET"]),
    ] {
        for method in METHODS {
            let answer = ask(&gateway, method, path, &[]).await;
            let named = allowed(&answer);
            if methods.contains(&method) {
                assert!(answer.status != 405 && named.is_empty(), "{method} {path}: {answer:?}");
            } else {
                assert_eq!((answer.status.as_u16(), named.as_slice()), (405, methods), "{method} {path}");
            }
        }
    }
    // The MCP path asks for a token first.
    let tokens = gateway.tokens(&gateway.public_client().await).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let served = ["DELETE", "GET", "POST"];
    for method in METHODS.into_iter().filter(|method| !served.contains(method)) {
        let answer = ask(&gateway, method, "/mcp", &[("authorization", &bearer)]).await;
        assert_eq!((answer.status.as_u16(), allowed(&answer).as_slice()), (405, &served[..]), "{method}");
    }
}
