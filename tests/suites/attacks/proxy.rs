//! 22 and 104: requests that are not quite HTTP, on a connection of their own to one replica.

use std::time::{Duration, Instant};

use e2e::net::PATIENCE;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::Attack;

/// A call that is framed in some way, and one that would follow it unseen. The backend would write both down.
struct Parts {
    /// Request line and headers of the first, but for what says how long its body is.
    head: String,
    body: String,
    length: usize,
    /// The body in chunks.
    chunked: String,
    /// A whole second call.
    second: String,
    marks: [String; 2],
}

impl Parts {
    fn new(host: &str, access: &str, name: &str) -> Self {
        let marks = ["first", "second"].map(|which| format!("{which}-of-{name}"));
        let [body, other] = marks.clone().map(|mark| call(&mark));
        let head = head(host, access);
        let length = body.len();
        let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
        let second = format!("{head}Content-Length: {}\r\n\r\n{other}", other.len());
        Self { head, body, length, chunked, second, marks }
    }

    /// The first call with these lines about its length, then as much of it as `body` says, then the second.
    fn framed(&self, lines: &str, body: &str) -> String {
        format!("{}{lines}\r\n{body}{}", self.head, self.second)
    }
}

/// Request line and headers of a call, but for what says how long its body is.
pub(crate) fn head(host: &str, access: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         MCP-Method: tools/call\r\nMCP-Name: whoami\r\n"
    )
}

/// The body of a call, with a mark by which the backend's record is searched.
pub(crate) fn call(mark: &str) -> String {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "whoami", "arguments": { "mark": mark },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
    .to_string()
}

/// A name, and how a call is framed.
type Frame = (&'static str, fn(&Parts) -> String);

/// Frames of which two parsers could see other ends.
const FRAMES: [Frame; 29] = [
    ("gzip-chunked", |p| p.framed("Transfer-Encoding: gzip, chunked\r\n", &p.chunked)),
    ("chunked-twice", |p| p.framed("Transfer-Encoding: chunked, chunked\r\n", &p.chunked)),
    ("both", |p| {
        p.framed(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", p.length), &p.chunked)
    }),
    ("both-turned", |p| {
        p.framed(&format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", p.length), "0\r\n\r\n")
    }),
    ("two-lengths", |p| {
        p.framed(&format!("Content-Length: {}\r\nContent-Length: {}\r\n", p.length, p.length + 10), &p.body)
    }),
    ("two-lengths-in-one", |p| {
        p.framed(&format!("Content-Length: {}, {}\r\n", p.length, p.length + 10), &p.body)
    }),
    ("short-and-long", |p| {
        p.framed(&format!("Content-Length: 0\r\nContent-Length: {}\r\n", p.length), &p.body)
    }),
    ("xchunked", |p| p.framed("Transfer-Encoding: xchunked\r\n", &p.chunked)),
    ("not-last", |p| p.framed("Transfer-Encoding: chunked, identity\r\n", &p.chunked)),
    ("gzip", |p| p.framed("Transfer-Encoding: gzip\r\n", &p.chunked)),
    ("not-last-in-two", |p| p.framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", &p.chunked)),
    ("both-in-two", |p| {
        p.framed(
            &format!(
                "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n",
                p.length
            ),
            &p.chunked,
        )
    }),
    ("vertical-tab", |p| p.framed("Transfer-Encoding:\u{b}chunked\r\n", &p.chunked)),
    ("space-before-colon", |p| p.framed("Transfer-Encoding : chunked\r\n", &p.chunked)),
    ("length-space", |p| p.framed(&format!("Content-Length : {}\r\n", p.length), &p.body)),
    ("plus", |p| p.framed(&format!("Content-Length: +{}\r\n", p.length), &p.body)),
    ("minus", |p| p.framed("Content-Length: -1\r\n", &p.body)),
    ("hex", |p| p.framed(&format!("Content-Length: 0x{:x}\r\n", p.length), &p.body)),
    ("long-length", |p| p.framed("Content-Length: 99999999999999999999999\r\n", &p.body)),
    ("folded", |p| p.framed(&format!("X-Folded: a\r\n b\r\nContent-Length: {}\r\n", p.length), &p.body)),
    ("folded-length", |p| p.framed(&format!("Content-Length:\r\n {}\r\n", p.length), &p.body)),
    ("first-folded", |p| {
        p.framed(&format!("Content-Length: {}\r\n", p.length), &p.body).replacen("Host", " Host", 1)
    }),
    ("nul", |p| p.framed(&format!("X-Nul: a\0b\r\nContent-Length: {}\r\n", p.length), &p.body)),
    ("cr", |p| p.framed(&format!("X-Cr: a\rb\r\nContent-Length: {}\r\n", p.length), &p.body)),
    ("no-colon", |p| p.framed(&format!("Content-Length\r\nContent-Length: {}\r\n", p.length), &p.body)),
    ("chunk-too-long", |p| {
        p.framed("Transfer-Encoding: chunked\r\n", &format!("fffffffffffffffff\r\n{}", p.body))
    }),
    ("chunk-minus", |p| p.framed("Transfer-Encoding: chunked\r\n", &format!("-1\r\n{}", p.body))),
    ("chunk-hex", |p| p.framed("Transfer-Encoding: chunked\r\n", &format!("0x{}", p.chunked))),
    ("chunk-without-end", |p| {
        p.framed("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{}0\r\n\r\n", p.length, p.body))
    }),
];

/// No HTTP at all, or more of it than anybody reads.
fn no_requests(host: &str) -> [String; 6] {
    [
        "GET /mcp HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\0\0\0\0".to_owned(),
        format!("GET /mcp\tHTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(100_000)),
        format!("GET /mcp HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X-Many: y\r\n".repeat(5_000)),
    ]
}

/// How often the backend of tenant A saw this mark.
pub(crate) fn arrived(attack: &Attack, mark: &str) -> usize {
    let mark = format!("\"{mark}\"");
    attack.world.backend_a.requests().iter().filter(|request| request.body.contains(&mark)).count()
}

pub(crate) async fn r104_requests_that_two_parsers_would_read_differently(attack: &Attack) {
    let gateway = attack.a();
    let client = attack.client(gateway).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let (access, _) = client.tokens(&browser).await;
    let host = gateway.host();
    let arrived = |mark: &str| arrived(attack, mark);
    // What is framed well arrives twice: a second request would be seen.
    let good = Parts::new(host, &access, &format!("{login}-good"));
    let lines = format!("Content-Length: {}\r\n", good.length);
    let heard = attack.raw(good.framed(&lines, &good.body).as_bytes()).await;
    assert_eq!(
        heard.answers.iter().map(|a| a.status.as_u16()).collect::<Vec<_>>(),
        [200, 200],
        "{}",
        heard.text
    );
    assert_eq!(good.marks.each_ref().map(|mark| arrived(mark)), [1, 1]);
    // And so does a chunked one, after which the connection ends.
    let chunked = Parts::new(host, &access, &format!("{login}-chunked"));
    let heard =
        attack.raw(chunked.framed("Transfer-Encoding: chunked\r\n", &chunked.chunked).as_bytes()).await;
    assert!(heard.closed && heard.answers.len() == 1 && heard.answers[0].status == 200, "{}", heard.text);
    assert_eq!(chunked.marks.each_ref().map(|mark| arrived(mark)), [1, 0]);
    let refused = FRAMES.iter().map(async |(name, frame)| {
        let parts = Parts::new(host, &access, &format!("{login}-{name}"));
        let heard = attack.raw(frame(&parts).as_bytes()).await;
        let statuses: Vec<u16> = heard.answers.iter().map(|a| a.status.as_u16()).collect();
        // Where chunks are said after a length, they may count (RFC 9112 section 6.1), once.
        let counts = *name == "both" && statuses == [200];
        assert!(heard.closed && (counts || statuses == [400]), "{name}: {}\n{}", heard.closed, heard.text);
        let seen = parts.marks.each_ref().map(|mark| arrived(mark));
        assert_eq!(seen, [usize::from(counts), 0], "{name} reached the backend");
    });
    futures::future::join_all(refused).await;
    let nothing = no_requests(host).into_iter().map(async |bytes| {
        let heard = attack.raw(bytes.as_bytes()).await;
        assert!(heard.closed && heard.answers.len() <= 1, "{bytes:.100}\n{}", heard.text);
        assert!(heard.answers.iter().all(|a| a.status.is_client_error()), "{bytes:.100}\n{}", heard.text);
    });
    futures::future::join_all(nothing).await;
}

/// A good registration, and the same as `gzip -9n` makes it.
const REGISTRATION: &str =
    r#"{"redirect_uris":["http://localhost/callback"],"token_endpoint_auth_method":"none"}"#;
const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x0d\xc5\x31\x0a\xc0\x20\x0c\x05\xd0\xbb\xfc\xb9\xe0\xee\x55\x4a\x09\x56\x03\x91\xda\x44\x34\x4e\xa5\x77\x6f\xdf\xf2\x1e\x0c\x2e\x75\x70\x76\x5a\xa3\x4e\xc4\x1d\xe2\xde\x63\x08\xcd\x72\x6a\x62\xd3\xc3\x7f\x3b\x53\xbe\x70\x6c\x70\xbb\x58\x89\xb5\x74\xab\xea\x94\x96\x0b\xdd\xec\x62\x05\x11\x6a\xca\x78\x3f\x07\x09\x2a\x0c\x53\x00\x00\x00";

pub(crate) async fn r022_bodies_that_are_too_large(attack: &Attack) {
    let host = attack.a().host();
    let part = " ".repeat(256 << 10);
    let chunk = format!("40000\r\n{part}\r\n");
    for (path, kind) in [("register", "application/json"), ("token", "application/x-www-form-urlencoded")] {
        let head = format!("POST /oauth/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n");
        // Not read to its end: what is declared is a gigabyte, and what is chunked never says.
        for body in [
            format!("Content-Length: 1073741824\r\n\r\n{part}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        ] {
            let heard = attack.raw(format!("{head}{body}").as_bytes()).await;
            assert!(
                heard.text.starts_with("HTTP/1.1 413") && heard.text.contains("invalid_request"),
                "{path}: {}",
                heard.text
            );
        }
    }
    // The MCP path has a bound of its own, and says so in its own shape.
    let client = attack.client(attack.a()).await;
    let (access, _) = client.tokens(&attack.visitor()).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\nContent-Type: application/json\r\n"
    );
    for body in [
        format!("Content-Length: 1073741824\r\n\r\n{part}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(20)),
    ] {
        let heard = attack.raw(format!("{head}{body}").as_bytes()).await;
        assert!(heard.text.starts_with("HTTP/1.1 413") && heard.text.contains("-32054"), "{}", heard.text);
    }
    // Compression is not undone, and what is said to be compressed is not read: neither a registration that is, nor one
    // that is not.
    for (path, kind, body) in [
        ("oauth/register", "application/json", COMPRESSED),
        ("oauth/register", "application/json", REGISTRATION.as_bytes()),
        ("oauth/token", "application/x-www-form-urlencoded", &b"grant_type=authorization_code"[..]),
        ("oauth/revoke", "application/x-www-form-urlencoded", &b"token=x"[..]),
        ("mcp", "application/json", COMPRESSED),
    ] {
        let post = attack.http.post(format!("{}/{path}", attack.a().issuer)).bearer_auth(&access);
        let post = post.header("content-type", kind).header("content-encoding", "gzip").body(body);
        let answer = attack.send(post).await;
        assert_eq!(answer.status, 415, "{path}: {}", answer.text);
    }
    assert_eq!(
        attack.register(attack.a(), REGISTRATION).await.status,
        201,
        "but for its encoding it is good"
    );
}

pub(crate) async fn r022_a_flood_of_bodies_takes_no_memory(attack: &Attack) {
    let host = attack.a().host();
    let part = "x".repeat(64 << 10);
    let paths = [
        ("/oauth/register", "application/json"),
        ("/oauth/token", "application/x-www-form-urlencoded"),
        ("/mcp", "application/json"),
    ];
    let flood = async || {
        let sent = (0..90).map(async |n| {
            let (path, kind) = paths[n % 3];
            let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunks = format!("10000\r\n{part}\r\n").repeat(32);
            attack.raw(format!("{head}{chunks}").as_bytes()).await
        });
        for heard in futures::future::join_all(sent).await {
            assert!(
                heard.answers.iter().all(|answer| answer.status.is_client_error()),
                "{:.200}",
                heard.text
            );
        }
    };
    // The first makes the pools and buffers that stay.
    flood().await;
    let before = attack.a().replicas[0].resident();
    for _ in 0..2 {
        flood().await;
    }
    let grown = attack.a().replicas[0].resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more after 360 MiB of bodies that are refused");
}

/// How long a replica waits for a body, or for the headers of a connection's first request, with what a busy machine adds.
const GIVES_UP: Duration = Duration::from_secs(15);

pub(crate) async fn r022_requests_that_never_end(attack: &Attack) {
    let host = attack.a().host();
    let starts = [
        // A body that stays away: 408 after ten seconds.
        format!(
            "POST /oauth/register HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        ),
        format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        // Headers that stay away: as long.
        "POST /oauth/register HTTP/1.1\r\nHost:".to_owned(),
    ];
    let ending = async |start: &String| {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(&attack.a().addresses[0]).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the replica gives up")
            .unwrap();
        let took = begun.elapsed();
        assert!(took <= GIVES_UP, "{start}: it gave up after {took:?}");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Whose headers stay away is nobody who could read an answer.
        let told = answer.starts_with("HTTP/1.1 408");
        assert!(told || answer.is_empty() && !start.contains("\r\n\r\n"), "{start}: {answer}");
    };
    // A body that comes a byte a second is as late as one that stays away.
    let dripping = async {
        let begun = Instant::now();
        let stream = TcpStream::connect(&attack.a().addresses[0]).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(starts[0].as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let drip = async {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            while writing.write_all(b" ").await.is_ok() {
                every.tick().await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer));
        tokio::select! {
            // The other side closed: what it said before is in the answer.
            () = drip => {}
            read = answered => {
                // A reset ends it as well as an end does.
                let _ = read.expect("the replica gives up");
            }
        }
        let took = begun.elapsed();
        assert!(took <= GIVES_UP, "it read for {took:?}");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    };
    tokio::join!(futures::future::join_all(starts.iter().map(ending)), dripping);
}
