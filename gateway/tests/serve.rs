//! A gateway in this process, from start to the last drained connection.

#![expect(clippy::unwrap_used, reason = "tests say what is wrong by failing")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gatehouse_gateway::{
    clock::{SystemClock, SystemEntropy},
    keys::Keys,
    model::AccessToken,
    refs::FixedRefs,
    serve::{Options, serve},
};
use gatehouse_gateway_config::{GatewayConfig, keys::Keyring};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

struct Running {
    main: SocketAddr,
    admin: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

fn keyring() -> Keyring {
    Keyring::generate(&mut StdRng::seed_from_u64(3))
}

async fn start(redis: Option<Value>, settle: Duration) -> Running {
    let (listener, admin_listener) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (main, admin) = (listener.local_addr().unwrap(), admin_listener.local_addr().unwrap());
    let mut config = json!({"servers": [{
        "namespace": "team-a", "name": "tools",
        "url": format!("http://{main}/mcp"), "issuer": format!("http://{main}"),
        "identity": {"local": {"users": {"name": "users", "key": "users.yaml"}}},
        "access": {"allow": "everyone"},
        "backends": [{"name": "tools", "target": {"url": "http://127.0.0.1:9/mcp"}}],
    }]});
    if let Some(redis) = redis {
        config["redis"] = redis;
    }
    let shutdown = CancellationToken::new();
    let options = Options {
        config: GatewayConfig::parse(&config.to_string()).unwrap(),
        keyring: keyring(),
        refs: Arc::new(FixedRefs::default()),
        mounted: None,
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        audit: None,
        listener,
        admin: Some(admin_listener),
        settle,
        shutdown: shutdown.clone(),
    };
    let served = tokio::spawn(async move { serve(options).await.unwrap() });
    Running { main, admin, shutdown, served }
}

/// Sends a request on a connection of its own and reads all of the answer.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_gateway_says_how_it_is() {
    let gateway = start(None, Duration::ZERO).await;
    assert!(get(gateway.admin, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(gateway.admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    let answer = get(gateway.main, "/mcp").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("x-content-type-options: nosniff"));
    let rebound = "GET /mcp HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = ask(gateway.main, rebound).await;
    assert!(answer.starts_with("HTTP/1.1 4") && !answer.starts_with("HTTP/1.1 401"), "{answer}");
    let metrics = get(gateway.admin, "/metrics").await;
    let counted = r#"gatehouse_gateway_unauthenticated_requests_total{namespace="team-a",server="tools"} 1"#;
    assert!(metrics.contains(counted) && metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn without_redis_a_gateway_lives_says_why_it_is_not_ready_and_serves_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = start(Some(json!({"url": format!("redis://{gone}")})), Duration::ZERO).await;
    assert!(get(gateway.admin, "/livez").await.starts_with("HTTP/1.1 200"));
    let ready = get(gateway.admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("not ready: the store"), "{ready}");
    let call = |token: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n",
            gateway.main
        )
    };
    assert!(ask(gateway.main, &call("gha_made-up")).await.starts_with("HTTP/1.1 401"));
    let token = AccessToken::mint(&Keys::new(keyring(), Arc::new(SystemClock::default())), &SystemEntropy);
    let answer = ask(gateway.main, &call(token.expose())).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 2"), "{answer}");
    assert!(answer.contains(r#""code":-32053"#), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_what_has_begun() {
    // Within it the next two questions are asked, on a machine that is busy, too.
    let gateway = start(None, Duration::from_secs(5)).await;
    let body = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;
    let mut begun = TcpStream::connect(gateway.main).await.unwrap();
    let head = format!(
        "POST /oauth/register HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        gateway.main,
        body.len()
    );
    begun.write_all(head.as_bytes()).await.unwrap();
    // Served in turn: when this one is answered, the one before has been read.
    get(gateway.main, "/mcp").await;
    gateway.shutdown.cancel();
    while !get(gateway.admin, "/readyz").await.contains("shutting down") {}
    assert!(get(gateway.main, "/mcp").await.starts_with("HTTP/1.1 401"), "endpoints still point here");
    while TcpStream::connect(gateway.main).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!gateway.served.is_finished());
    begun.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    gateway.served.await.unwrap();
}

/// Whoever keeps connections is told on each, before they are closed.
#[tokio::test]
async fn answers_of_a_gateway_that_ends_end_their_connections() {
    let gateway = start(None, Duration::from_secs(60)).await;
    let mut kept = BufReader::new(TcpStream::connect(gateway.main).await.unwrap());
    let request = format!("HEAD /mcp HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.main);
    let mut head = async || {
        kept.write_all(request.as_bytes()).await.unwrap();
        let mut lines = String::new();
        while !lines.ends_with("\r\n\r\n") {
            assert_ne!(kept.read_line(&mut lines).await.unwrap(), 0, "{lines}");
        }
        lines
    };
    assert!(!head().await.contains("connection: close"));
    gateway.shutdown.cancel();
    while !get(gateway.admin, "/readyz").await.contains("shutting down") {}
    assert!(head().await.contains("connection: close"));
    assert_eq!(kept.read(&mut [0; 1]).await.unwrap(), 0);
}

/// Attack 104: whatever stands behind a request of two lengths is not read as a second one.
#[tokio::test]
async fn a_request_with_two_lengths_is_the_last_of_its_connection() {
    let gateway = start(None, Duration::ZERO).await;
    let address = gateway.main;
    let inner = format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let both = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ];
    for lengths in both {
        let head = format!("POST /oauth/token HTTP/1.1\r\nHost: {address}\r\n{lengths}\r\n\r\n");
        // Read to its end: the connection is closed.
        let answer = ask(address, &format!("{head}0\r\n\r\n{inner}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    // Alone, each of them is served, and the one with a length keeps its connection.
    let answer =
        ask(address, &format!("{inner}{}", inner.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

/// A gateway that cannot start says why in its log, ends with a code of its own, and prints no secret.
#[test]
fn a_gateway_names_what_it_cannot_start_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let config = json!({"servers": [{
        "namespace": "team-a", "name": "tools", "url": "http://127.0.0.1:1/mcp", "issuer": "http://127.0.0.1:1",
        "identity": {"local": {"users": {"name": "users", "key": "users.yaml"}}},
        "access": {"allow": "everyone"},
        "backends": [{"name": "tools", "target": {"url": "http://127.0.0.1:9/mcp"}}],
    }]});
    std::fs::write(path("config.json"), config.to_string()).unwrap();
    std::fs::create_dir(path("keys")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (taken.local_addr().unwrap().to_string(), "127.0.0.1:0");
    let refused = |config: &str, listen: [&str; 2], words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse-gateway"));
        let command = command.arg("--config").arg(path(config)).arg("--keys-dir").arg(path("keys"));
        let output = command.args(["--listen", listen[0], "--admin-listen", listen[1]]).output().unwrap();
        let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(words.iter().all(|word| log.contains(word)), "{log}");
    };
    refused("nothing.json", [free, free], &["nothing.json"]);
    refused("config.json", [free, free], &["keyring.json", "without keys nothing can be served"]);
    std::fs::write(path("keys").join("keyring.json"), keyring().to_json()).unwrap();
    refused("config.json", [&taken, free], &[&taken, "another process", "--listen"]);
    refused("config.json", [free, &taken], &[&taken, "another process", "--admin-listen"]);
    std::fs::write(path("broken.json"), config.to_string().replace("backends", "backend")).unwrap();
    refused("broken.json", [free, free], &["broken.json", "backend"]);
}
