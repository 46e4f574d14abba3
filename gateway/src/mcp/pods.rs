//! The pods behind a Service, by the DNS of its headless twin: where sessions live, and whether they still do.

use std::{
    fmt::Debug,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gatehouse_gateway_config::PodsConfig;

/// How long an answer is used. An address may be given to another pod soon after it left the DNS.
const FRESH: Duration = Duration::from_secs(2);

/// Where pods are looked up.
#[async_trait]
pub trait Directory: Send + Sync + Debug {
    /// The addresses behind an SRV name; an error says that nobody answered.
    async fn pods(&self, name: &str) -> Result<Vec<SocketAddr>, String>;
}

/// The pods of one backend.
#[derive(Debug)]
pub(super) struct Pods {
    name: String,
    directory: Arc<dyn Directory>,
    seen: Mutex<Option<(Duration, Vec<SocketAddr>)>>,
}

impl Pods {
    pub(super) fn new(config: &PodsConfig, directory: Arc<dyn Directory>) -> Self {
        let name = format!("_{}._tcp.{}", config.port, config.host);
        Self { name, directory, seen: Mutex::default() }
    }

    /// The pods that are ready. While DNS does not answer, those it named last.
    pub(super) async fn current(&self, now: Duration) -> Vec<SocketAddr> {
        let last = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, pods)) = &last
            && now.saturating_sub(*at) < FRESH
        {
            return pods.clone();
        }
        match self.directory.pods(&self.name).await {
            Ok(pods) => {
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, pods.clone()));
                pods
            }
            Err(error) => {
                tracing::warn!(name = self.name, error, "pods cannot be looked up");
                last.map(|(_, pods)| pods).unwrap_or_default()
            }
        }
    }
}
