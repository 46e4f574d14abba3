//! The operator's second port: `/livez`, `/readyz`, `/metrics`.
//!
//! Alive says that the process makes progress, and that its controllers do; ready says that its caches are filled, so that it could lead. Neither
//! looks at Redis or at leadership: a standby is ready, and a Redis that is away must not stop the operator from
//! saying so.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch, time::Instant};

use crate::{metrics::Metrics, work::Work};

/// How long the heart may stand still before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(1);

/// What the process says of itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    beat: Arc<Mutex<Instant>>,
    /// What readiness still waits for; empty is ready.
    waiting: watch::Sender<Vec<String>>,
    /// What the controllers have to do.
    work: Vec<(&'static str, Work)>,
}

impl Health {
    /// A process that is not ready until each of `waiting` was reported by [`Health::done`].
    pub fn waiting_for(waiting: Vec<String>) -> Self {
        let beat = Arc::new(Mutex::new(Instant::now()));
        Self { beat, waiting: watch::Sender::new(waiting), work: Vec::new() }
    }

    /// The same, and alive only while these get on with their work.
    #[must_use]
    pub fn working(self, work: Vec<(&'static str, Work)>) -> Self {
        Self { work, ..self }
    }

    /// One thing that readiness waited for has happened.
    pub fn done(&self, what: &str) {
        self.waiting.send_if_modified(|waiting| {
            let before = waiting.len();
            waiting.retain(|w| w != what);
            waiting.len() != before
        });
    }

    /// Waits until everything has happened.
    pub async fn until_ready(&self) {
        // The sender lives as long as this value.
        let _ = self.waiting.subscribe().wait_for(Vec::is_empty).await;
    }

    /// Beats as long as the runtime that also runs the controllers gets to run tasks.
    pub async fn beat(self) {
        loop {
            *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Whether the process makes progress. An API server that is away stops none: passes end, and are begun again.
    pub(crate) fn live(&self, now: Instant) -> (StatusCode, String) {
        let stuck = self.work.iter().find_map(|(whose, work)| Some((whose, work.stuck(now)?)));
        if let Some((whose, why)) = stuck {
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{whose}: {why}"));
        }
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        let still = now.saturating_duration_since(beat);
        if still < STUCK_AFTER {
            (StatusCode::OK, "ok".to_owned())
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("no task ran for {} s", still.as_secs()))
        }
    }

    fn ready(&self) -> (StatusCode, String) {
        let waiting = self.waiting.borrow();
        if waiting.is_empty() {
            (StatusCode::OK, "ok".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}", waiting.join(", ")))
        }
    }
}

/// The routes.
pub fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|State((health, _)): State<(Health, Metrics)>| async move { health.live(Instant::now()) }),
        )
        .route("/readyz", get(|State((health, _)): State<(Health, Metrics)>| async move { health.ready() }))
        .route("/metrics", get(show_metrics))
        .with_state((health, metrics))
}

async fn show_metrics(
    State((_, metrics)): State<(Health, Metrics)>,
) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.render())
}

/// Serves the routes until the future is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, health: Health, metrics: Metrics) -> std::io::Result<()> {
    axum::serve(listener, router(health, metrics)).await
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use kube::runtime::reflector::ObjectRef;
    use tower::ServiceExt;

    use super::*;
    use crate::server::{guarded::GuardedServer, scope::Queue};

    async fn ask(health: &Health, path: &str) -> (StatusCode, String) {
        let app = router(health.clone(), Metrics::default());
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_it_waits_for() {
        let health = Health::waiting_for(vec!["mcpservers".to_owned(), "deployments".to_owned()]);
        health.done("deployments");
        let answer = (StatusCode::SERVICE_UNAVAILABLE, "waiting for mcpservers".to_owned());
        assert_eq!(ask(&health, "/readyz").await, answer);
        health.done("mcpservers");
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::OK);
    }

    #[test]
    fn a_runtime_that_runs_no_task_is_not_alive() {
        let health = Health::waiting_for(Vec::new());
        assert_eq!(health.live(Instant::now()).0, StatusCode::OK);
        let later = Instant::now() + STUCK_AFTER + BEAT;
        assert_eq!(health.live(later).0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_queue_that_nobody_serves_is_not_alive() {
        let queue = Queue::<GuardedServer>::default();
        let health = Health::waiting_for(Vec::new()).working(vec![("mcpserver", queue.work().clone())]);
        let server = ObjectRef::new("s").within("a");
        queue.push(server.clone());
        // The heart beats whatever the controllers do.
        let late = || {
            let later = Instant::now() + Duration::from_secs(400);
            *health.beat.lock().unwrap() = later;
            health.live(later)
        };
        assert_eq!(late().0, StatusCode::OK, "a standby has none to serve");
        let _receiver = queue.open();
        queue.push(server);
        assert_eq!(ask(&health, "/livez").await.0, StatusCode::OK);
        let (code, said) = late();
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(said.starts_with("mcpserver: nothing came of what was asked for"), "{said}");
        queue.work().answered();
        assert_eq!(late().0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let (status, body) = ask(&Health::waiting_for(Vec::new()), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.ends_with("# EOF\n"), "{body}");
    }
}
