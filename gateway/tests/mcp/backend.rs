//! A backend that records what it gets and answers as it is told.

use std::{
    future::IntoFuture,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use http::{HeaderMap, Method};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type Script = dyn Fn(Seen) -> BoxFuture<'static, Response> + Send + Sync;

/// One request as the backend saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    pub(crate) fn id(&self) -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&self.body).map_or(0.into(), |m| m["id"].clone())
    }
}

/// The recording backend.
#[derive(Clone)]
pub(crate) struct Backend {
    pub address: SocketAddr,
    /// Told when a body from [`events_until_dropped`] is dropped.
    pub dropped: Arc<Notify>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Arc<Script>>>,
    stop: CancellationToken,
    serving: TaskTracker,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(|seen| {
            let body = serde_json::json!({"jsonrpc": "2.0", "id": seen.id(), "result": {"content": []}});
            answer(200, "application/json", body.to_string())
        });
        let script = Arc::new(Mutex::new(script));
        let (stop, serving) = (CancellationToken::new(), TaskTracker::new());
        let backend = Self {
            address,
            dropped: Arc::default(),
            seen: Arc::default(),
            script,
            stop: stop.clone(),
            serving: serving.clone(),
        };
        let router = Router::new().fallback(record).with_state(backend.clone());
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        serving.spawn(server.into_future());
        serving.close();
        backend
    }

    /// Closes its connections and its port, as a pod that ends does.
    pub(crate) async fn die(&self) {
        self.stop.cancel();
        self.serving.wait().await;
    }

    /// From now on answers by `script`.
    pub(crate) fn answer_with(
        &self,
        script: impl Fn(Seen) -> BoxFuture<'static, Response> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// From now on answers everything so.
    pub(crate) fn answer(&self, status: u16, kind: &'static str, body: &str) {
        let body = body.to_owned();
        self.answer_with(move |_| answer(status, kind, body.clone()));
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that came.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }
}

async fn record(State(backend): State<Backend>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let seen = Seen { method: parts.method, path: parts.uri.to_string(), headers: parts.headers, body };
    backend.seen.lock().unwrap().push(seen.clone());
    let script = backend.script.lock().unwrap().clone();
    script(seen).await
}

pub(crate) fn answer(status: u16, kind: &'static str, body: String) -> BoxFuture<'static, Response> {
    let response = http::Response::builder().status(status).header("content-type", kind);
    let response = response.body(Body::from(body)).unwrap();
    Box::pin(async move { response })
}

/// An event stream of these chunks that then stays open; its end is told to `dropped`.
pub(crate) fn events_until_dropped(chunks: Vec<&'static str>, dropped: Arc<Notify>) -> Response {
    events(until_dropped(chunks, dropped))
}

/// These chunks of a body that then stays open; its end is told to `dropped`.
pub(crate) fn until_dropped(chunks: Vec<&'static str>, dropped: Arc<Notify>) -> Body {
    struct Told(Arc<Notify>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let told = Told(dropped);
    let stream = futures::stream::unfold((chunks.into_iter(), told), |(mut chunks, told)| async move {
        let Some(chunk) = chunks.next() else { return std::future::pending().await };
        Some((Ok::<_, std::io::Error>(Bytes::from_static(chunk.as_bytes())), (chunks, told)))
    });
    Body::from_stream(stream)
}

/// An event stream of these chunks whose connection then breaks.
pub(crate) fn events_that_break(chunks: Vec<&'static str>) -> Response {
    let good = futures::stream::iter(chunks).map(|c| Ok(Bytes::from_static(c.as_bytes())));
    let broken = futures::stream::once(async {
        // What came before is on its way only once the stream has been waited for.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("broken"))
    });
    events(Body::from_stream(good.chain(broken)))
}

fn events(body: Body) -> Response {
    http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}
