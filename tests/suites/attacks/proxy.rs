//! 22 and 104: requests that are not quite HTTP, on a connection of their own to one replica.

use std::time::Duration;

use e2e::net::PATIENCE;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::Attack;

/// Sends bytes to a replica and reads until it closes, or has been silent for a second.
async fn raw(attack: &Attack, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&attack.a().addresses[0]).await.unwrap();
    // A replica may close before it has read all; what it answered is what counts.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(Ok(length @ 1..)) =
        tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await
    {
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn r104_requests_that_two_parsers_would_read_differently(attack: &Attack) {
    let gateway = attack.a();
    let client = attack.client(gateway).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let (access, _) = client.tokens(&browser).await;
    let host = gateway.issuer.trim_start_matches("http://");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }).to_string();
    let smuggled = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\nContent-Type: application/json\r\nX-Smuggled: yes\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\nContent-Type: application/json\r\n"
    );
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let cases = [
        format!("{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{body}{smuggled}", length + 10),
        format!("{head}Content-Length: {length}, {}\r\n\r\n{body}{smuggled}", length + 10),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n{chunked}{smuggled}"),
        format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{chunked}{smuggled}"),
        format!("{head}Transfer-Encoding:\u{b}chunked\r\n\r\n{chunked}{smuggled}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n{chunked}{smuggled}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{body}{smuggled}"),
        format!("{head}Content-Length: -1\r\n\r\n{body}{smuggled}"),
        format!("{head}Content-Length: 0x10\r\n\r\n{body}{smuggled}"),
        format!("{head}X-Folded: a\r\n b\r\nContent-Length: {length}\r\n\r\n{body}{smuggled}"),
        format!("{head}X-Nul: a\0b\r\nContent-Length: {length}\r\n\r\n{body}{smuggled}"),
        format!("{head}X-Cr: a\rb\r\nContent-Length: {length}\r\n\r\n{body}{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{body}{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n-1\r\n{body}{smuggled}"),
        "GET /mcp HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\0\0\0\0".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(100_000)),
        format!("GET /mcp HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X-Many: y\r\n".repeat(5_000)),
    ];
    let before = attack.world.backend_a.requests().len();
    for case in &cases {
        let answer = raw(attack, case.as_bytes()).await;
        let statuses: Vec<&str> = answer.lines().filter(|l| l.starts_with("HTTP/1.1 ")).collect();
        let answered = answer.matches("\"result\"").count();
        // One refusal and an end, or one answer to the whole of what was framed; never two requests.
        assert!(statuses.len() <= 1 && answered <= 1, "{case:.400}\n\n{answer}");
        assert!(!statuses.iter().any(|s| s.starts_with("HTTP/1.1 5")), "{case:.400}\n\n{answer}");
    }
    let all = attack.world.backend_a.requests();
    let smuggled = all.iter().skip(before).filter(|r| !r.header("x-smuggled").is_empty());
    assert_eq!(smuggled.count(), 0);
    // Pipelining as such is HTTP: the connection is not broken by what came before.
    let own = raw(attack, smuggled_free(&head, &body).as_bytes()).await;
    assert!(own.starts_with("HTTP/1.1 "), "{own}");
    assert_eq!(client.whoami(Some(&access)).await.json()["result"]["content"][0]["text"], login.as_str());
}

fn smuggled_free(head: &str, body: &str) -> String {
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) async fn r022_bodies_that_are_too_large(attack: &Attack) {
    let host = attack.a().issuer.trim_start_matches("http://").to_owned();
    let part = " ".repeat(256 << 10);
    let chunk = format!("40000\r\n{part}\r\n");
    for (path, kind) in [("register", "application/json"), ("token", "application/x-www-form-urlencoded")] {
        let head = format!("POST /oauth/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n");
        // Not read to its end: what is declared is a gigabyte, and what is chunked never says.
        for body in [
            format!("Content-Length: 1073741824\r\n\r\n{part}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        ] {
            let answer = raw(attack, format!("{head}{body}").as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 413") && answer.contains("invalid_request"),
                "{path}: {answer}"
            );
        }
    }
    // Compression is not undone: what would be a bomb is no JSON.
    let bomb = attack
        .http
        .post(format!("{}/oauth/register", attack.a().issuer))
        .header("content-type", "application/json");
    let bomb = bomb.header("content-encoding", "gzip").body(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    assert!(matches!(attack.send(bomb).await.status, 400 | 415));
}

pub(crate) async fn r022_requests_that_never_end(attack: &Attack) {
    let host = attack.a().issuer.trim_start_matches("http://").to_owned();
    let starts = [
        // A body that stays away: 408 after half a minute.
        format!(
            "POST /oauth/register HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        ),
        format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        // Headers that stay away.
        "POST /oauth/register HTTP/1.1\r\nHost:".to_owned(),
    ];
    let ending = async |start: &String| {
        let mut stream = TcpStream::connect(&attack.a().addresses[0]).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the replica gives up")
            .unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start}: {answer}");
    };
    futures::future::join_all(starts.iter().map(ending)).await;
}
