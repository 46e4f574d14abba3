//! Leader election on a `coordination.k8s.io` Lease, by client-go's rules.
//!
//! - Every write is a replace with `resourceVersion`, so of two candidates one loses.
//! - Expiry is measured by when *this process saw* the record change, never by comparing wall clocks.
//! - The holder stops writing (its [`Fence`] closes) before anyone else may take over, and its process then ends.
//!
//! The lease saves work. What must not happen twice is guarded by preconditions of its own (`server/keys.rs`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, time::Instant};

use crate::clock::Clock;

/// How long things of a lease take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long after its last change the record is honoured by the others.
    pub duration: Duration,
    /// How long after its last renewal the holder may write. Below `duration`, by more than a request takes.
    pub renew_deadline: Duration,
    /// How often the record is looked at.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Whether this process may write, decided by a monotonic deadline.
#[derive(Debug, Clone)]
pub struct Fence {
    start: Instant,
    /// Milliseconds after `start`; 0 is closed.
    until: Arc<AtomicU64>,
}

impl Default for Fence {
    fn default() -> Self {
        Self { start: Instant::now(), until: Arc::default() }
    }
}

impl Fence {
    /// A fence that never closes, for one process alone.
    pub fn open() -> Self {
        let fence = Self::default();
        fence.until.store(u64::MAX, Ordering::Release);
        fence
    }

    /// Whether a write may start now.
    pub fn is_open(&self) -> bool {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        now < self.until.load(Ordering::Acquire)
    }

    fn open_until(&self, deadline: Instant) {
        let until = deadline.saturating_duration_since(self.start).as_millis();
        self.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn close(&self) {
        self.until.store(0, Ordering::Release);
    }
}

/// One candidate for a lease.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    clock: Clock,
    fence: Fence,
    /// The record as last seen, and when it was first seen so.
    observed: Option<(String, Instant)>,
    /// When our last successful write was sent.
    renewed: Option<Instant>,
}

impl Elector {
    /// A candidate called `identity` for the lease `name` in `namespace`.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
        clock: Clock,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
            clock,
            fence: Fence::default(),
            observed: None,
            renewed: None,
        }
    }

    /// The fence that is open while this candidate leads.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Competes until `stop` turns true, telling `leading` whether this candidate leads.
    ///
    /// Returns when leadership was lost (the process should end: whatever it was doing is no longer its own) or when
    /// it was given back at a stop.
    pub async fn run(mut self, leading: &watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        loop {
            self.try_once().await;
            let leads = self.fence.is_open();
            let led = leading.send_replace(leads);
            if led && !leads {
                tracing::error!(lease = self.name, "the lease could not be renewed in time");
                return;
            }
            // At the deadline at the latest: the loss must not wait for the next look.
            let until_deadline = self.renewed.map_or(self.timing.retry, |at| {
                (at + self.timing.renew_deadline).saturating_duration_since(Instant::now())
            });
            let pause = if leads { self.timing.retry.min(until_deadline) } else { self.timing.retry };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told(&mut stop) => {
                    self.release().await;
                    leading.send_replace(false);
                    return;
                }
            }
        }
    }

    async fn try_once(&mut self) {
        let sent = Instant::now();
        let limit = match self.renewed {
            Some(at) => (at + self.timing.renew_deadline).saturating_duration_since(sent),
            None => self.timing.renew_deadline,
        };
        match tokio::time::timeout(limit, self.acquire(sent)).await {
            Ok(Ok(true)) => {
                self.renewed = Some(sent);
                self.fence.open_until(sent + self.timing.renew_deadline);
            }
            Ok(Ok(false)) => {
                self.renewed = None;
                self.fence.close();
            }
            Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "the lease cannot be reached"),
            Err(_) => tracing::warn!(lease = self.name, "the lease did not answer"),
        }
    }

    /// Takes or renews the record; whether this candidate holds it.
    async fn acquire(&mut self, now: Instant) -> Result<bool, kube::Error> {
        // Twice: somebody may have edited a record that is still ours.
        for _ in 0..2 {
            let Some(lease) = self.api.get_opt(&self.name).await? else {
                if accepted(self.api.create(&PostParams::default(), &self.record(None)).await)? {
                    return Ok(true);
                }
                continue;
            };
            let version = lease.metadata.resource_version.clone().unwrap_or_default();
            if self.observed.as_ref().is_none_or(|(seen, _)| *seen != version) {
                self.observed = Some((version, now));
            }
            if self.is_held_by_another(&lease, now) {
                return Ok(false);
            }
            let lease = self.record(Some(lease));
            if accepted(self.api.replace(&self.name, &PostParams::default(), &lease).await)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_held_by_another(&self, lease: &Lease, now: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        holder != self.identity && !holder.is_empty() && !self.expired(&spec, now)
    }

    fn expired(&self, spec: &LeaseSpec, now: Instant) -> bool {
        let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        let duration = seconds.map_or(self.timing.duration, Duration::from_secs);
        self.observed.as_ref().is_some_and(|(_, since)| now.saturating_duration_since(*since) > duration)
    }

    /// The record with us as its holder; keeps the `resourceVersion` it was read with.
    fn record(&self, old: Option<Lease>) -> Lease {
        let now = MicroTime(self.clock.now());
        let old = old.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let before = old.spec.unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs().max(1)).ok(),
            acquire_time: if ours { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        };
        Lease { metadata: old.metadata, spec: Some(spec) }
    }

    /// Gives the lease back, so that the standby leads at its next look.
    async fn release(&mut self) {
        self.fence.close();
        let release = async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        if let Ok(Err(error)) = tokio::time::timeout(self.timing.retry, release).await {
            tracing::warn!(%error, lease = self.name, "the lease could not be given back; it runs out by itself");
        }
    }
}

/// Waits until `stop` turns true, or nobody can turn it any more.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A write that lost to another candidate (409) is a plain no.
fn accepted(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
