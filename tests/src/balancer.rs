//! A load balancer that gives each request to the next replica.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderValue, StatusCode, Uri,
        header::{AUTHORIZATION, HOST},
    },
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::{
    net::Server,
    tls::Terminator,
    watch::{Exchange, Witness},
};

/// The longest message that a watched balancer carries.
const MAX_WATCHED: usize = 32 << 20;

/// The header by which a test chooses a replica, by its place among those that are sent to; it goes no further.
pub const REPLICA: &str = "x-replica";

/// A proxy without stickiness: whatever needs the same replica twice breaks behind it.
#[derive(Debug)]
pub struct Balancer {
    /// It runs while this lives.
    pub server: Server,
    routes: Arc<Routes>,
    _tls: Option<Terminator>,
}

#[derive(Debug)]
struct Routes {
    replicas: std::sync::Mutex<Vec<String>>,
    /// Other servers at this origin: a path and who has what is below it.
    below: std::sync::Mutex<Vec<(&'static str, String)>>,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
    watch: Option<Arc<dyn Witness>>,
    bearer: std::sync::Mutex<Option<HeaderValue>>,
    holding: std::sync::Mutex<Option<(&'static [&'static str], mpsc::UnboundedSender<Held>)>>,
}

/// An answer that has left its replica, and waits to go on to whoever asked.
#[derive(Debug)]
pub struct Held {
    /// Method and path of what was asked.
    pub what: String,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Lets it go on.
    pub fn go(self) {
        // Nobody waits any more where the client hung up.
        let _ = self.go.send(());
    }
}

impl Balancer {
    /// Listens on `port` of loopback before `replicas` (`host:port` each).
    pub async fn start(port: u16, replicas: Vec<String>) -> Self {
        Self::watched(port, replicas, None).await
    }

    /// [`Balancer::start`], where a witness sees each exchange.
    pub async fn watched(port: u16, replicas: Vec<String>, watch: Option<Arc<dyn Witness>>) -> Self {
        let routes = Arc::new(Routes {
            replicas: std::sync::Mutex::new(replicas),
            below: std::sync::Mutex::default(),
            next: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build_http(),
            watch,
            bearer: std::sync::Mutex::default(),
            holding: std::sync::Mutex::default(),
        });
        let router = Router::new().fallback(forward).with_state(routes.clone());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        Self { server: Server::on(listener, router), routes, _tls: None }
    }

    /// The same, before which the TLS of `host` ends at `port`.
    #[must_use]
    pub async fn behind_tls(self, host: &str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let tls = Terminator::before(listener, host, self.server.address);
        Self { _tls: Some(tls), ..self }
    }

    /// Gives this access token to every request that has none: for programs that know nothing of signing in.
    ///
    /// # Panics
    /// When it is no header.
    pub fn lend(&self, token: &str) {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is ASCII");
        *self.routes.bearer.lock().unwrap() = Some(bearer);
    }

    /// Holds the answers to these requests (`method path`) from now on, one after the other.
    pub fn hold(&self, what: &'static [&'static str]) -> mpsc::UnboundedReceiver<Held> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.routes.holding.lock().unwrap() = Some((what, sender));
        receiver
    }

    /// Sends what is below `path`, and what documents say of it, to another server at this origin (`host:port`).
    pub fn send_below(&self, path: &'static str, replica: &str) {
        self.routes.below.lock().unwrap().push((path, replica.to_owned()));
    }

    /// Sends what follows to these replicas only.
    pub fn use_only(&self, replicas: Vec<String>) {
        *self.routes.replicas.lock().unwrap() = replicas;
    }
}

async fn forward(
    State(routes): State<Arc<Routes>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let chosen = request.headers_mut().remove(REPLICA);
    let chosen = chosen.and_then(|value| value.to_str().ok()?.parse().ok());
    let replica = routes.replica(chosen, request.uri().path());
    let what = format!("{} {}", request.method(), request.uri().path());
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let Ok(uri) = format!("http://{replica}{target}").parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    // The public host stays, and whoever asks is named last, as behind any ingress.
    debug_assert!(request.headers().contains_key(HOST), "HTTP/1.1 requests name their host");
    let client = HeaderValue::from_str(&peer.ip().to_string()).expect("an address is ASCII");
    request.headers_mut().append("x-forwarded-for", client);
    if let Some(bearer) = routes.bearer.lock().unwrap().clone() {
        request.headers_mut().entry(AUTHORIZATION).or_insert(bearer);
    }
    let response = match &routes.watch {
        None => routes.pass(request).await,
        Some(watch) => routes.show(watch.as_ref(), peer, request).await,
    };
    routes.held(what).await;
    response
}

impl Routes {
    fn replica(&self, chosen: Option<usize>, path: &str) -> String {
        let below = self.below.lock().unwrap();
        if let Some((_, replica)) = below.iter().find(|(of, _)| is_below(path, of)) {
            return replica.clone();
        }
        let replicas = self.replicas.lock().unwrap();
        let index = chosen.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        replicas[index % replicas.len()].clone()
    }

    async fn pass(&self, request: Request) -> Response {
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new).into_response(),
            Err(error) => nobody(&error),
        }
    }

    /// Waits where answers like this one are held.
    async fn held(&self, what: String) {
        let (go, gone) = oneshot::channel();
        match &*self.holding.lock().unwrap() {
            // Nobody looks any more: nothing is held.
            Some((held, sender)) if held.contains(&&*what) && sender.send(Held { what, go }).is_ok() => {}
            _ => return,
        }
        let _ = gone.await;
    }

    /// Passes a request on and shows the exchange to the witness; a stream is shown without its body.
    async fn show(&self, watch: &dyn Witness, peer: SocketAddr, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, MAX_WATCHED).await else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let (method, uri, asked) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
        let request = Request::from_parts(parts, Body::from(body.clone()));
        let (parts, answer) = match self.client.request(request).await {
            Ok(response) => response.map(Body::new).into_parts(),
            // No answer of the gateway's.
            Err(error) => return nobody(&error),
        };
        let kind = parts.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (shown, answer) = if kind.starts_with("text/event-stream") {
            (String::new(), answer)
        } else {
            let Ok(bytes) = to_bytes(answer, MAX_WATCHED).await else {
                return StatusCode::BAD_GATEWAY.into_response();
            };
            (String::from_utf8_lossy(&bytes).into_owned(), Body::from(bytes))
        };
        watch.see(&Exchange {
            peer: peer.ip(),
            method: &method,
            uri: &uri,
            asked: &asked,
            question: &String::from_utf8_lossy(&body),
            status: parts.status,
            headers: &parts.headers,
            answer: &shown,
        });
        Response::from_parts(parts, answer)
    }
}

/// Whether a path is below another, or that of a document about something that is (RFC 8414 section 3.1, RFC 9728
/// section 3.1).
fn is_below(path: &str, other: &str) -> bool {
    let document = path.strip_prefix("/.well-known/").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    let rest = document.unwrap_or(path).strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a balancer answers whose replica did not.
fn nobody(error: &hyper_util::client::legacy::Error) -> Response {
    (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
}
