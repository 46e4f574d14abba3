//! The web, as far as clients of MCP have documents on it: https on the hosts of `clients/hosts`, at the one port that a
//! document may be at. It runs as long as the program, for all of its tests.

use std::{
    collections::HashMap,
    future::pending,
    net::IpAddr,
    sync::{LazyLock, Mutex, mpsc},
    thread,
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, Uri, header::HOST},
};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Builder};

use crate::{net::Server, tls::Terminator};

/// What a suite has in the place of `/etc/hosts`.
const HOSTS: &str = include_str!("../clients/hosts");

/// By URL.
static DOCUMENTS: LazyLock<Mutex<HashMap<String, Value>>> = LazyLock::new(|| {
    start();
    Mutex::default()
});

/// Serves a client's document at `url`, which is its `client_id`, from now on.
pub fn publish(url: &str, mut document: Value) {
    document["client_id"] = url.into();
    put(url, document);
}

/// Serves something else of a client's at `url`.
pub(crate) fn put(url: &str, document: Value) {
    DOCUMENTS.lock().unwrap().insert(url.to_owned(), document);
}

/// The hosts with documents, and their addresses: each has one of its own.
pub fn hosts() -> impl Iterator<Item = (IpAddr, &'static str)> {
    let pairs = HOSTS.lines().filter(|line| line.starts_with("127.0.1.")).filter_map(|l| l.split_once(' '));
    pairs.map(|(address, host)| (address.parse().expect("an address"), host))
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

async fn answer(headers: HeaderMap, uri: Uri) -> Result<Json<Value>, StatusCode> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let found = DOCUMENTS.lock().unwrap().get(&format!("https://{host}{uri}")).cloned();
    found.map(Json).ok_or(StatusCode::NOT_FOUND)
}
