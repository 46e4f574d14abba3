//! The connector against real sockets: attacks 67, 116, 117 and 118 on the wire.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use gatehouse_gateway_config::EgressConfig;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::refs::FixedRefs;

/// Gives its answers in order, the last one for ever, and remembers what it was asked.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>, Mutex<Vec<String>>);

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|list| list.iter().map(|a| a.parse().unwrap()).collect());
        Arc::new(Self(Mutex::new(answers.collect()), Mutex::default()))
    }
}

#[async_trait::async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.1.lock().unwrap().push(host.to_owned());
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
    }
}

/// A server that answers each connection with these bytes, and counts connections.
async fn serve(bind: &str, answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((bind, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, answer) = (Arc::clone(&seen), answer.into());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            tokio::spawn(async move { reply(stream, &log, &answer).await });
        }
    });
    (address, seen)
}

async fn reply(mut stream: TcpStream, log: &Mutex<Vec<String>>, answer: &[u8]) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    log.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    stream.write_all(answer).await?;
    stream.shutdown().await
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn client(allow: &[&str], proxy: Option<String>, resolver: Arc<Scripted>) -> HttpClient {
    let allow = allow.iter().map(|a| (*a).to_owned()).collect();
    let egress = Egress::new(&EgressConfig { allow, proxy, ca: None }).unwrap().with_resolver(resolver);
    HttpClient::new(egress.transport(Destination::default(), Arc::new(FixedRefs::default())))
}

async fn get(client: &HttpClient, url: &str) -> Result<Response<Bytes>, HttpError> {
    client.send(Request::get(url).body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn every_spelling_of_a_private_destination_is_refused_without_a_connection() {
    let (address, seen) = serve("127.0.0.1", ok("secret")).await;
    let port = address.port();
    for (host, resolved) in [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[64:ff9b::7f00:1]", "127.0.0.1"),
        ("[2002:7f00:1::]", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("localhost.", "127.0.0.1"),
        ("evil.test", "127.0.0.1"),
        ("tools.team-b.svc", "127.0.0.1"),
    ] {
        let client = client(&[], None, Scripted::new(&[&[resolved]]));
        let error = get(&client, &format!("http://{host}:{port}/")).await.unwrap_err();
        assert!(matches!(&error, HttpError::Refused(_)), "{host}: {error:?}");
        assert!(error.to_string().contains("add this line to egress.allow"), "{error}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_allowed_destination_is_reached_by_a_permitted_address_only() {
    let (address, seen) = serve("127.0.0.1", ok("hello")).await;
    // 10.255.255.1 is not allowed and would hang; the second address is.
    let client = client(&["127.0.0.0/8"], None, Scripted::new(&[&["10.255.255.1", "127.0.0.1"]]));
    let answer = get(&client, &format!("http://idp.test:{}/x", address.port())).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
    assert!(seen.lock().unwrap()[0].starts_with("GET /x HTTP/1.1\r\n"));
}

/// In a pod, `tools.team-b` is a Service's name by its search domains.
#[tokio::test]
async fn a_name_is_looked_up_as_it_is_unless_it_is_seen_to_be_a_services() {
    let (address, _) = serve("127.0.0.1", ok("hello")).await;
    let port = address.port();
    for (host, asked) in [
        ("tools.team-b", "tools.team-b."),
        ("tools", "tools."),
        ("idp.test.", "idp.test."),
        ("keycloak.idp.svc", "keycloak.idp.svc"),
        ("keycloak.idp.SVC", "keycloak.idp.svc"),
        ("keycloak.idp.svc.", "keycloak.idp.svc."),
        ("keycloak.idp.svc.cluster.local", "keycloak.idp.svc.cluster.local."),
        ("svc", "svc."),
    ] {
        let resolver = Scripted::new(&[&["127.0.0.1"]]);
        let allow = ["127.0.0.1", "keycloak.idp.svc", "*.cluster.local"];
        get(&client(&allow, None, resolver.clone()), &format!("http://{host}:{port}/")).await.unwrap();
        let seen = resolver.1.lock().unwrap().iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
        assert_eq!(seen, [asked], "{host}");
    }
}

/// Attack 117: the first answer is permitted, every later one is not. One resolution a connection, and its address
/// is the one that is dialled.
#[tokio::test]
async fn a_name_that_changes_its_answer_is_checked_at_each_connection() {
    let (public, _) = serve("127.0.0.1", ok("public")).await;
    let sink = TcpListener::bind(("127.0.0.2", public.port())).await.unwrap();
    let client = client(&["127.0.0.1"], None, Scripted::new(&[&["127.0.0.1"], &["127.0.0.2"]]));
    let url = format!("http://rebind.test:{}/", public.port());
    assert_eq!(&get(&client, &url).await.unwrap().body()[..], b"public");
    assert!(matches!(get(&client, &url).await.unwrap_err(), HttpError::Refused(_)));
    assert!(tokio::time::timeout(Duration::ZERO, sink.accept()).await.is_err());
}

/// Attack 118.
#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (sink, seen) = serve("127.0.0.1", ok("sink")).await;
    for status in ["301", "302", "303", "307", "308"] {
        let answer = format!("HTTP/1.1 {status} x\r\nLocation: http://{sink}/\r\nContent-Length: 0\r\n\r\n");
        let (address, _) = serve("127.0.0.1", answer).await;
        let client = client(&["127.0.0.1"], None, Scripted::new(&[&["127.0.0.1"]]));
        let answer = get(&client, &format!("http://{address}/")).await.unwrap();
        assert_eq!(answer.status().as_str(), status);
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

/// Attack 67: size and time are bounded.
#[tokio::test]
async fn a_long_or_slow_answer_ends() {
    let resolver = || Scripted::new(&[&["127.0.0.1"]]);
    let (long, _) = serve("127.0.0.1", ok(&"x".repeat(10 * 1024 * 1024))).await;
    let error = get(&client(&["127.0.0.1"], None, resolver()), &format!("http://{long}/")).await.unwrap_err();
    assert_eq!(error, HttpError::TooLong(1024 * 1024));

    // The headers come, the body never does.
    let slow = serve_open("127.0.0.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let impatient = client(&["127.0.0.1"], None, resolver()).with_timeout(Duration::from_millis(100));
    let error = get(&impatient, &format!("http://{slow}/")).await.unwrap_err();
    assert_eq!(error, HttpError::Timeout(Duration::from_millis(100)));
    assert!(!error.nothing_sent());

    let (garbage, _) = serve("127.0.0.1", "SSH-2.0-OpenSSH\r\n").await;
    let error =
        get(&client(&["127.0.0.1"], None, resolver()), &format!("http://{garbage}/")).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken(_)) && !error.to_string().contains("OpenSSH"), "{error:?}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        get(&client(&["127.0.0.1"], None, resolver()), &format!("http://{closed}/")).await.unwrap_err();
    assert!(error.nothing_sent(), "{error:?}");
}

/// As [`serve`], but the connection stays open.
async fn serve_open(bind: &str, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((bind, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_checked_address() {
    let inner = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        for answer in ["HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n", inner] {
            let start = head.len();
            while !head[start..].ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        String::from_utf8(head).unwrap()
    });
    let through = Some(format!("http://{proxy}"));
    let client_ok = client(&[], through.clone(), Scripted::new(&[&["8.8.8.8"]]));
    let answer = get(&client_ok, "http://dns.google/path").await.unwrap();
    assert_eq!(&answer.body()[..], b"hi");
    let head = served.await.unwrap();
    assert!(
        head.starts_with("CONNECT 8.8.8.8:80 HTTP/1.1\r\nHost: 8.8.8.8:80\r\n\r\nGET /path HTTP/1.1"),
        "{head}"
    );

    // The check stands before the proxy.
    let inside = client(&[], through, Scripted::new(&[&["10.0.0.1"]]));
    assert!(matches!(get(&inside, "http://inside.test/").await.unwrap_err(), HttpError::Refused(_)));

    let (no, _) = serve("127.0.0.1", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let refused = client(&[], Some(format!("http://{no}")), Scripted::new(&[&["8.8.8.8"]]));
    let error = get(&refused, "http://dns.google/").await.unwrap_err();
    assert_eq!(error, HttpError::Connect(format!("the proxy {no} answered CONNECT 8.8.8.8:80 with 403")));
}

#[tokio::test]
async fn a_service_is_not_proxied_and_is_where_it_was_accepted() {
    let (address, seen) = serve("127.0.0.1", ok("pod")).await;
    // A Service has no address of the machine itself; here one stands for its own.
    let get = async |host: &str, allow: &str, pin: Pinned, answers: &[&[&str]]| {
        let config = EgressConfig {
            allow: vec![allow.to_owned()],
            proxy: Some("http://127.0.0.1:9".to_owned()),
            ca: None,
        };
        let egress = Egress::new(&config).unwrap().with_resolver(Scripted::new(answers));
        let destination = Destination { service: Some(pin), ..Destination::default() };
        let transport: Transport<Full<Bytes>> = egress.transport(destination, Arc::new(FixedRefs::default()));
        let request = Request::get(format!("http://{host}:{}/", address.port()));
        let answer = transport.client().unwrap().request(request.body(Full::default()).unwrap()).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| find(&error).unwrap().to_string())
    };
    let (name, here, open) = ("tools.team-a.svc", "127.0.0.1", "127.0.0.0/8");
    let own = || Pinned::Addresses(vec![here.parse().unwrap()]);
    assert_eq!(get(name, open, Pinned::Any, &[&[here]]).await, Ok(200));
    assert_eq!(get(name, open, own(), &[&[here]]).await, Ok(200));
    assert_eq!(
        get(here, open, Pinned::Addresses(vec!["10.0.0.1".parse().unwrap()]), &[&[]]).await,
        Ok(200),
        "a pod"
    );
    let twin = Pinned::Name("twin.team-a.svc".to_owned());
    assert_eq!(get(name, open, twin.clone(), &[&[here]]).await, Ok(200));

    // The name is that of something else since.
    let elsewhere = get(name, open, Pinned::Addresses(vec!["10.0.0.1".parse().unwrap()]), &[&[here]]).await;
    assert!(elsewhere.unwrap_err().contains("leads to 127.0.0.1"));
    let never = get(name, "10.0.0.0/8", twin, &[&[here]]).await.unwrap_err();
    assert!(
        never.starts_with("twin.team-a.svc is refused: 127.0.0.1 is "),
        "its own name is not asked: {never}"
    );
    for never in
        ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1"]
    {
        let refused = get(name, "10.0.0.0/8", Pinned::Any, &[&[never]]).await.unwrap_err();
        assert!(refused.starts_with(&format!("{name} is refused: {never} is ")), "{refused}");
    }
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn a_missing_or_wrong_ca_says_which() {
    let ca = gatehouse_gateway_config::KeyRef::secret("idp-ca", "ca.crt");
    let destination = Destination {
        tls: TlsConfig { ca: Some(ca.clone()), ..TlsConfig::default() },
        ..Destination::default()
    };
    let egress = Egress::new(&EgressConfig::default()).unwrap();
    let missing: Transport<Full<Bytes>> =
        egress.transport(destination.clone(), Arc::new(FixedRefs::default()));
    assert_eq!(missing.client().unwrap_err(), TlsError::Missing(ca.clone()));
    let mut refs = FixedRefs::default();
    refs.insert(ca.clone(), b"not pem".to_vec());
    let wrong: Transport<Full<Bytes>> = egress.transport(destination, Arc::new(refs));
    assert_eq!(wrong.client().unwrap_err(), TlsError::NotPem { key: ca, expected: "certificate" });
}

#[test]
fn a_proxy_is_http_host_and_port() {
    for proxy in ["proxy:3128", "https://proxy:1", "http://u:p@proxy:1", "http://proxy:1/x", "socks5://p:1"] {
        let config = EgressConfig { proxy: Some(proxy.to_owned()), ..EgressConfig::default() };
        assert_eq!(Egress::new(&config).unwrap_err(), EgressError::Proxy(proxy.to_owned()));
    }
}
