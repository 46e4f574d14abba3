//! The web, as far as clients of MCP have documents on it: https on the hosts of `clients/hosts`, at the one port that a
//! document may be at. It runs as long as the program, for all of its tests.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    net::IpAddr,
    sync::{LazyLock, Mutex, MutexGuard, mpsc},
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Builder, time};

use crate::{net::Server, tls::Terminator};

/// What a suite has in the place of `/etc/hosts`.
pub(crate) const HOSTS: &str = include_str!("../clients/hosts");
/// How often another byte comes of an answer that has no end.
const DRIP: Duration = Duration::from_millis(50);

static WEB: LazyLock<Mutex<Web>> = LazyLock::new(|| {
    start();
    Mutex::default()
});

#[derive(Debug, Default)]
struct Web {
    /// By URL.
    answers: HashMap<String, Answer>,
    /// The URLs that were asked for.
    asked: Vec<String>,
}

/// What a URL answers.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    length: Length,
}

/// How whoever reads an answer knows where it ends.
#[derive(Debug, Clone, Copy)]
enum Length {
    Told,
    InChunks,
    Endless,
}

impl Answer {
    /// This document.
    pub fn json(document: &Value) -> Self {
        Self::of(document.to_string())
    }

    /// These bytes, which say that they are JSON.
    pub fn of(body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { status: StatusCode::OK, headers, body: body.into(), length: Length::Told }
    }

    /// The same with this status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("a status"), ..self }
    }

    /// The same with this header, instead of another of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header's value"));
        self
    }

    /// The same without this header.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> Self {
        self.headers.remove(name);
        self
    }

    /// The same, which does not say how long it is.
    #[must_use]
    pub fn in_chunks(self) -> Self {
        Self { length: Length::InChunks, ..self }
    }

    /// The same, after which a space follows now and then, for ever.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self { length: Length::Endless, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let first = stream::iter([Ok::<_, Infallible>(self.body.clone())]);
        let body = match self.length {
            Length::Told => Body::from(self.body),
            Length::InChunks => Body::from_stream(first),
            Length::Endless => Body::from_stream(first.chain(stream::unfold((), async |()| {
                time::sleep(DRIP).await;
                Some((Ok(Bytes::from_static(b" ")), ()))
            }))),
        };
        (self.status, self.headers, body).into_response()
    }
}

/// Serves a client's document at `url`, which is its `client_id`, from now on.
pub fn publish(url: &str, mut document: Value) {
    document["client_id"] = url.into();
    serve(url, Answer::json(&document));
}

/// Serves anything at `url` from now on.
pub fn serve(url: &str, answer: Answer) {
    web().answers.insert(url.to_owned(), answer);
}

/// How often URLs were asked for that begin like this.
pub fn asked(begin: &str) -> usize {
    web().asked.iter().filter(|url| url.starts_with(begin)).count()
}

/// The hosts with documents, and their addresses: each has one of its own.
pub fn hosts() -> impl Iterator<Item = (IpAddr, &'static str)> {
    let pairs = HOSTS.lines().filter(|line| line.starts_with("127.0.1.")).filter_map(|l| l.split_once(' '));
    pairs.map(|(address, host)| (address.parse().expect("an address"), host))
}

fn web() -> MutexGuard<'static, Web> {
    WEB.lock().unwrap()
}

fn start() {
    let (sender, ready) = mpsc::channel();
    // The runtime of a test ends with that test.
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        runtime.block_on(async {
            let server = Server::start(Router::new().fallback(answer)).await;
            let mut terminators = Vec::new();
            for (address, host) in hosts() {
                let listener = TcpListener::bind((address, 443)).await;
                let listener = listener.unwrap_or_else(|e| panic!("{host}: {e} (clients/loopback-only)"));
                terminators.push(Terminator::before(listener, host, server.address));
            }
            sender.send(()).expect("it is waited for");
            pending::<()>().await;
        });
    });
    ready.recv().expect("the web is there");
}

async fn answer(headers: HeaderMap, uri: Uri) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = format!("https://{host}{uri}");
    let found = web().answers.get(&url).cloned();
    web().asked.push(url);
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), Answer::into_response)
}
