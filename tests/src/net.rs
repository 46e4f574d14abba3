//! Ports, servers and waiting.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use http::{
    HeaderMap, HeaderName,
    header::{COOKIE, SET_COOKIE},
};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

pub use crate::ports::free_port;
use crate::tls::ca;

/// How long anything may take before its test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `condition` gives a value, asking every 20 ms.
///
/// # Panics
/// When it has given none within [`PATIENCE`]; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An HTTP server on loopback that ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a free port of 127.0.0.1.
    pub async fn start(router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        Self::on(listener, router)
    }

    /// Serves `router` on a listener.
    pub fn on(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            // Serving a bound listener ends only with the task.
            let _ = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await;
        });
        Self { address, task }
    }

    /// `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A cookie of a request (RFC 6265 section 5.4).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let sent = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = sent.flat_map(|line| line.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// The header that keeps a stand-in's session in the browser, as identity providers keep theirs.
pub(crate) fn session_cookie(name: &str, value: &str) -> [(HeaderName, String); 1] {
    [(SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax"))]
}

/// A client that follows no redirects.
pub fn http() -> reqwest::Client {
    http_from(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// [`http()`], where this address of loopback asks.
pub fn http_from(address: IpAddr) -> reqwest::Client {
    client(Some(address))
}

/// [`http()`], where the route says which address asks: loopback's reaches no other.
pub fn http_by_route() -> reqwest::Client {
    client(None)
}

/// [`http_from`], for which `host` is this machine, whatever its certificate says: what is looked at is behind it.
pub fn http_to(host: &str, address: IpAddr) -> reqwest::Client {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let builder = builder(Some(address)).resolve(host, here).tls_danger_accept_invalid_certs(true);
    builder.build().expect("a plain client can be built")
}

fn client(address: Option<IpAddr>) -> reqwest::Client {
    builder(address).build().expect("a plain client can be built")
}

/// A client as programs have it, which may be answered by a stream without end.
pub fn http_for_streams() -> reqwest::Client {
    trusting().build().expect("a plain client can be built")
}

fn builder(address: Option<IpAddr>) -> reqwest::ClientBuilder {
    trusting().redirect(reqwest::redirect::Policy::none()).local_address(address).timeout(PATIENCE)
}

fn trusting() -> reqwest::ClientBuilder {
    // `reqwest` is built without a crypto provider of its own; a second installation is refused and means the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(ca().as_bytes()).expect("the authority's certificate");
    reqwest::Client::builder().tls_certs_merge([ca])
}

/// Fails where packets of this process leave for somewhere but loopback.
///
/// # Panics
/// When a route leads out.
pub fn assert_no_way_out() {
    let table = std::fs::read_to_string("/proc/net/route").expect("Linux tells its routes");
    let interfaces = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let out: Vec<_> = interfaces.filter(|name| *name != "lo").collect();
    assert!(out.is_empty(), "{out:?}: run it by tests/run");
}
