//! The identity provider of these tests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Json, Router, routing::get};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};

/// An identity provider of GitHub's kind: it says who a token belongs to while it is alive.
#[derive(Clone, Default)]
pub(crate) struct Provider {
    pub dead: Arc<AtomicBool>,
    pub asked: Arc<AtomicUsize>,
    /// Whoever holds it keeps the provider from answering.
    pub turn: Arc<Mutex<()>>,
}

impl Provider {
    pub(crate) async fn start() -> (Self, String) {
        let provider = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = provider.clone();
        let who = async move |headers: HeaderMap| Self::who(&asked, &headers).await;
        let router = Router::new().route("/user", get(who));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, url)
    }

    async fn who(provider: &Self, headers: &HeaderMap) -> (StatusCode, Json<Value>) {
        provider.asked.fetch_add(1, Ordering::SeqCst);
        let _turn = provider.turn.lock().await;
        if provider.dead.load(Ordering::SeqCst) {
            return (StatusCode::UNAUTHORIZED, Json(json!({"message": "Bad credentials"})));
        }
        let token = headers["authorization"].to_str().unwrap();
        let subject = token.rsplit_once("upstream-").unwrap().1;
        (StatusCode::OK, Json(json!({"id": subject, "login": format!("user-{subject}")})))
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
