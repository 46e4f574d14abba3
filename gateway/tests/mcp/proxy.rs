//! What reaches the backend, what comes back, and what is refused before.

use http::Method;
use serde_json::json;

use super::{
    backend::answer,
    kit::{Kit, read, tool_call},
};

type Headers<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn each_call_carries_its_own_users_credential_and_nothing_of_the_clients() {
    let kit = Kit::start().await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    let strange = [
        ("cookie", "a=b"),
        ("proxy-authorization", "Basic x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-access-token", "stolen"),
        ("x-user-id", "root"),
        ("x-api-key", "mine"),
        ("x_api_key", "mine"),
        ("x-toolsets", "all"),
        ("te", "trailers"),
        ("accept", "application/json, text/event-stream"),
        ("baggage", "user=root"),
        ("mcp-param-region", "eu"),
        ("mcp-session_id", "another's"),
        ("mcp_session_id", "another's"),
        ("mcp-user-id", "root"),
        ("mcp_param_region", "us"),
    ];
    let body = tool_call().to_string();
    let calls = (0..20).map(|n| {
        let token = if n % 2 == 0 { &alice } else { &bob };
        kit.post_with(token, &strange, body.clone())
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.status, 200);
    }
    let seen = kit.backend.seen();
    let of = |subject: &str| {
        let bearer = format!("Bearer upstream-{subject}");
        seen.iter().filter(|s| s.header("authorization") == Some(&bearer)).count()
    };
    assert_eq!((of("1"), of("2")), (10, 10));
    for request in &seen {
        let mut names: Vec<_> = request.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "mcp-param-region",
            "x-api-key",
            "x-toolsets",
        ];
        assert_eq!(names, expected);
        assert_eq!(request.header("host"), Some(kit.backend.address.to_string().as_str()));
        assert_eq!(request.header("x-api-key"), Some("shared-key"));
        assert_eq!(request.header("x-toolsets"), Some("repos"));
        assert_eq!(request.body, body);
    }
}

#[tokio::test]
async fn the_backend_does_not_speak_for_the_gateways_origin() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer_with(|_| {
        Box::pin(async {
            http::Response::builder()
                .status(403)
                .header("content-type", "application/json")
                .header("www-authenticate", "Bearer resource_metadata=\"https://evil.example\"")
                .header("set-cookie", "a=b")
                .header("access-control-allow-credentials", "true")
                .header("x-accel-redirect", "/secret")
                .body(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#.into())
                .unwrap()
        })
    });
    let answer = kit.call(&token).await;
    assert_eq!(answer.error(), (403, -1), "the backend's own error survives");
    for name in ["www-authenticate", "set-cookie", "access-control-allow-credentials", "x-accel-redirect"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

/// A shared cache in front would hand one user's answer to the next.
#[tokio::test]
async fn no_answer_may_be_kept_by_others() {
    let kit = Kit::with(|server| server["backends"][0]["tools"] = json!({"deny": ["secret"]})).await;
    let token = kit.sign_in("1").await;
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    let body = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}"#;
    for (kind, said) in [
        ("application/json", &["public, max-age=3600"][..]),
        ("application/json", &["private", "s-maxage=9"]),
        ("text/event-stream", &["public"]),
        ("text/event-stream", &[]),
    ] {
        kit.backend.answer_with(move |_| {
            Box::pin(async move {
                let body =
                    if kind.starts_with("text") { format!("data: {body}\n\n") } else { body.to_owned() };
                let mut response = answer(200, kind, body).await;
                for said in said {
                    response.headers_mut().append("cache-control", said.parse().unwrap());
                }
                response
            })
        });
        for message in [&tool_call(), &list] {
            let answer = kit.post(&token, message).await;
            let said: Vec<_> = answer.headers.get_all("cache-control").iter().collect();
            assert_eq!(said, ["private, no-store"], "{kind} {message}");
        }
    }
}

#[tokio::test]
async fn era_deciding_statuses_survive_with_their_bodies() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    for status in [200, 202, 400, 404, 405, 406, 415] {
        let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32022,"message":"x"}}"#;
        kit.backend.answer(status, "application/json", body);
        let answer = kit.call(&token).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, body));
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let body = tool_call().to_string();
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
        let answer = kit.post_with(&token, &[("origin", origin)], body.clone()).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    assert!(kit.backend.seen().is_empty());
    let own = kit.gateway.server.urls.origin.clone();
    assert_eq!(kit.post_with(&token, &[("origin", &own)], body).await.status, 200);
    assert_eq!(kit.backend.only().header("origin"), None);
}

#[tokio::test]
async fn what_is_not_one_plain_message_is_refused() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let duplicate = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#;
    let batch = format!("[{}]", tool_call());
    let good = tool_call().to_string();
    let cases: [(&str, Headers, (u16, i64)); 11] = [
        ("{", &[], (400, -32700)),
        ("", &[], (400, -32700)),
        (r#"{"jsonrpc":"2.0"}"#, &[], (400, -32600)),
        (&batch, &[], (400, -32600)),
        (duplicate, &[], (400, -32600)),
        (&batch, &[("mcp-method", "tools/call")], (400, -32020)),
        (duplicate, &[("mcp-method", "tools/list")], (400, -32020)),
        (&good, &[("mcp-method", "tools/list")], (400, -32020)),
        (&good, &[("mcp-name", "other")], (400, -32020)),
        (&good, &[("content-type", "text/plain")], (415, -32054)),
        (&good, &[("content-encoding", "gzip")], (415, -32054)),
    ];
    for (body, headers, expected) in cases {
        let answer = kit.post_with(&token, headers, body.to_owned()).await;
        assert_eq!(answer.error(), expected, "{body} {headers:?}");
    }
    assert!(kit.backend.seen().is_empty());
}

/// What the gateway read as UTF-8 is another tool's name in UTF-7, and some backends decode as they are told.
#[tokio::test]
async fn a_backend_reads_the_message_that_was_read_here() {
    let kit = Kit::with(|server| server["backends"][0]["tools"] = json!({"deny": ["delete_*"]})).await;
    let token = kit.sign_in("1").await;
    let body = tool_call().to_string().replace("whoami", "+AGQ-elete_repo");
    let types: [Headers; 6] = [
        &[("content-type", "application/json; charset=utf-7")],
        &[("content-type", "application/json;charset=\"UTF-7\"")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "application/json; charset=utf-8; charset=utf-7")],
        &[("content-type", "application/json"), ("content-type", "application/json; charset=utf-7")],
        &[("content-type", "application/json"), ("content-encoding", "deflate")],
    ];
    for headers in types {
        let answer = kit.post_with(&token, headers, body.clone()).await;
        assert_eq!(answer.error(), (415, -32054), "{headers:?}");
    }
    assert!(kit.backend.seen().is_empty());
    let plain = [("content-type", "Application/JSON; Charset=\"utf-8\"")];
    assert_eq!(kit.post_with(&token, &plain, body).await.status, 200);
    assert_eq!(kit.backend.only().header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_request_may_have_four_mebibytes_and_no_more() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let mut message = tool_call();
    message["params"]["arguments"] = json!({"text": ""});
    let room = 4 * 1024 * 1024 - message.to_string().len();
    message["params"]["arguments"]["text"] = "x".repeat(room).into();
    assert_eq!(kit.post(&token, &message).await.status, 200);
    assert_eq!(kit.backend.only().body.len(), 4 * 1024 * 1024);
    message["params"]["arguments"]["text"] = "x".repeat(room + 1).into();
    assert_eq!(kit.post(&token, &message).await.status, 413);
    assert_eq!(kit.backend.seen().len(), 1);
}

#[tokio::test]
async fn only_the_methods_of_mcp_are_served() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    for method in [Method::PUT, Method::PATCH, Method::OPTIONS] {
        let answer = kit.send(method, &token, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST, GET, DELETE"));
    }
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn the_old_transport_is_named_where_its_clients_look() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let beside = kit.url.replace("/mcp", "/sse");
    for url in [beside, format!("{}/sse", kit.url)] {
        let answer = read(kit.open(Method::GET, &url, &[], "").await).await;
        assert_eq!(answer.status, 404);
        assert!(answer.message().contains("use Streamable HTTP at"), "{answer:?}");
    }
    kit.backend.answer_with(|_| answer(405, "text/plain", "no".into()));
    let answer = kit.send(Method::GET, &token, &[("accept", "text/event-stream")]).await;
    assert_eq!(answer.status, 405);
    assert!(answer.message().contains("Streamable HTTP"));
}
