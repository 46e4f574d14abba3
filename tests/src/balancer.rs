//! A load balancer that gives each request to the next replica.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header::HOST},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;

use crate::net::Server;

/// A proxy without stickiness: whatever needs the same replica twice breaks behind it.
#[derive(Debug)]
pub struct Balancer {
    /// It runs while this lives.
    pub server: Server,
    routes: Arc<Routes>,
}

#[derive(Debug)]
struct Routes {
    replicas: std::sync::Mutex<Vec<String>>,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

impl Balancer {
    /// Listens on `port` of loopback before `replicas` (`host:port` each).
    pub async fn start(port: u16, replicas: Vec<String>) -> Self {
        let routes = Arc::new(Routes {
            replicas: std::sync::Mutex::new(replicas),
            next: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build_http(),
        });
        let router = Router::new().fallback(forward).with_state(routes.clone());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        Self { server: Server::on(listener, router), routes }
    }

    /// Sends what follows to these replicas only.
    pub fn use_only(&self, replicas: Vec<String>) {
        *self.routes.replicas.lock().unwrap() = replicas;
    }
}

async fn forward(State(routes): State<Arc<Routes>>, mut request: Request) -> Response {
    let replica = {
        let replicas = routes.replicas.lock().unwrap();
        replicas[routes.next.fetch_add(1, Ordering::Relaxed) % replicas.len()].clone()
    };
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let Ok(uri) = format!("http://{replica}{target}").parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    // The public host stays, as behind any ingress.
    debug_assert!(request.headers().contains_key(HOST), "HTTP/1.1 requests name their host");
    match routes.client.request(request).await {
        Ok(response) => response.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
