//! Backends that are away, slow, broken, or something else than an MCP server.

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    kit::{Kit, tool_call},
    logs::Log,
};

fn probe() -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "server/discover"})
}

/// Both eras must survive a backend like this: a call says what is wrong, the probe is no 5xx.
async fn assert_fault(kit: &Kit, status: u16, words: &str) {
    let token = kit.sign_in("1").await;
    let answer = kit.call(&token).await;
    assert_eq!(answer.error(), (status, -32052), "{answer:?}");
    assert_eq!(answer.json()["id"], 7);
    assert!(answer.message().contains(words), "{answer:?}");
    let answer = kit.post(&token, &probe()).await;
    assert_eq!(answer.error(), (404, -32601), "{answer:?}");
}

async fn kit_to(url: String) -> Kit {
    Kit::with(|server| server["backends"][0]["target"]["url"] = url.into()).await
}

/// A backend that answers any bytes with these.
async fn raw(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    url
}

#[tokio::test]
async fn a_backend_that_is_away_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    assert_fault(&kit_to(url).await, 502, "cannot be reached").await;
}

#[tokio::test]
async fn a_backend_beyond_the_egress_rule_is_refused_and_only_the_log_says_why() {
    let kit = kit_to("http://10.255.255.1/mcp".to_owned()).await;
    assert_fault(&kit, 502, "cannot be reached (incident ").await;
    let answer = kit.call(&kit.sign_in("1").await).await;
    assert!(!answer.text.contains("10.255") && !answer.text.contains("egress"), "{answer:?}");
}

#[tokio::test]
async fn a_backend_that_is_silent_is_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let kit = Kit::with(|server| {
        server["backends"][0]["target"]["url"] = url.into();
        server["backends"][0]["timeouts"] = json!({"firstByte": "50ms"});
    })
    .await;
    assert_fault(&kit, 504, "did not answer within 50ms").await;
    drop(listener);
}

/// It accepts, and never says a word: a TLS handshake has no end of its own, and is part of connecting.
#[tokio::test]
async fn a_backend_that_never_shakes_hands_cannot_be_reached() {
    let log = Log::of_process();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", listener.local_addr().unwrap());
    let kit = Kit::with(|server| {
        server["backends"][0]["target"]["url"] = url.into();
        server["backends"][0]["timeouts"] = json!({"connect": "50ms", "firstByte": "60s"});
    })
    .await;
    assert_fault(&kit, 502, "cannot be reached (incident ").await;
    let answer = kit.call(&kit.sign_in("1").await).await.message();
    let (_, incident) = answer.split_once("(incident ").unwrap();
    let text = log.text();
    let told = text.lines().find(|line| line.contains(incident.trim_end_matches(')'))).unwrap();
    assert!(told.contains("\"why\":\"no connection within 50ms\""), "{told}");
    drop(listener);
}

#[tokio::test]
async fn a_backend_that_does_not_speak_http_is_502() {
    for garbage in [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"] {
        assert_fault(&kit_to(raw(garbage).await).await, 502, "did not answer as an MCP server").await;
    }
}

#[tokio::test]
async fn a_backend_that_is_a_web_site_is_502() {
    let kit = Kit::start().await;
    for (status, kind, body, words) in [
        (200, "text/html", "<h1>hi</h1>", "neither JSON nor an event stream"),
        (500, "text/html", "<h1>oops</h1>", "500"),
        (307, "text/plain", "", "redirects (307"),
    ] {
        kit.backend.answer(status, kind, body);
        assert_fault(&kit, 502, words).await;
    }
}

#[tokio::test]
async fn an_error_of_the_backends_own_passes() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"boom"}}"#;
    kit.backend.answer(500, "application/json", body);
    let answer = kit.call(&token).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (500, body));
    assert_eq!(kit.post(&token, &probe()).await.error(), (404, -32601));
}

#[tokio::test]
async fn a_missing_shared_credential_is_named_in_the_log_alone() {
    let kit = Kit::with(|server| server["credentials"][1]["kind"]["static"]["key"] = "gone".into()).await;
    let token = kit.sign_in("1").await;
    let answer = kit.call(&token).await;
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains("not configured completely"), "{answer:?}");
    assert!(answer.message().contains("(incident ") && !answer.text.contains("gone"), "{answer:?}");
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn smuggled_requests_never_reach_the_backend() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let address = kit.gateway.server.urls.origin.trim_start_matches("http://").to_owned();
    let body = tool_call().to_string();
    let inner = format!("POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\n\r\n{{}}");
    let cases = [
        format!("Content-Length: {}\r\nContent-Length: 5\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: xchunked\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("X-A: b\r\n c: d\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    ];
    for case in cases {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        );
        stream.write_all(format!("{head}{case}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(!answer.contains(" 200 OK"), "{case}: {answer}");
    }
    assert!(kit.backend.seen().is_empty(), "{:?}", kit.backend.seen());
    assert_eq!(kit.send(Method::DELETE, &token, &[]).await.status, 200);
}
