//! What was fetched from a URL: once for all who ask at the same time, and not again while it is fresh.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{DocumentError, DocumentUrl, cache::TIMEOUT};
use crate::{
    clock::Clock,
    oauth::{
        OAuthError,
        limits::{Limit, Limiter},
    },
};

/// How long a failure is remembered, so that asking again and again does not fetch again and again.
const FAILURE_LIFE: Duration = Duration::from_secs(10);
/// How long a value is still used after its life while its host is away (RFC 5861 section 4).
const STALE: Duration = Duration::from_secs(300);
/// A newer value than a fresh one is fetched at most this often: anybody can sign with a key that nobody knows.
const COOLDOWN: Duration = Duration::from_secs(60);
/// Fetches from one host of what is not known yet.
const FETCH: Limit = Limit { name: "client-document", count: 30, window: Duration::from_secs(60) };

pub(super) type Outcome<T> = Result<Arc<T>, DocumentError>;

/// The values of URLs, in the memory of this process.
#[derive(Debug)]
pub(super) struct Kept<T> {
    clock: Arc<dyn Clock>,
    hosts: Arc<Limiter>,
    /// The most values that are kept or being fetched.
    most: usize,
    entries: Mutex<HashMap<String, Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    slot: Arc<Slot<T>>,
    used: Duration,
}

#[derive(Debug)]
struct Slot<T> {
    /// Held while it is fetched: whoever else asks waits for the same answer.
    known: tokio::sync::Mutex<Known<T>>,
    /// How many answers came: whoever waited for one shares it, even one that is not to be kept.
    answers: AtomicU64,
}

/// The last value, and the last failure since.
#[derive(Debug)]
struct Known<T> {
    good: Option<Good<T>>,
    failed: Option<(DocumentError, Duration)>,
}

#[derive(Debug)]
struct Good<T> {
    value: Arc<T>,
    fetched: Duration,
    fresh_until: Duration,
    /// As [`STALE`] says.
    usable_until: Duration,
}

impl<T> Kept<T> {
    pub(super) fn new(clock: Arc<dyn Clock>, hosts: Arc<Limiter>, most: usize) -> Self {
        Self { clock, hosts, most, entries: Mutex::default() }
    }

    /// The value at `url`, as it is or was within its life; else what `fetch` gives, with its life. `newer`: the value
    /// that is known lacks something.
    pub(super) async fn get(
        &self,
        url: &DocumentUrl,
        newer: bool,
        fetch: impl Future<Output = Result<(T, Duration), DocumentError>>,
    ) -> Outcome<T> {
        let slot = self.slot(url)?;
        let answers = slot.answers.load(Ordering::Relaxed);
        let mut known = slot.known.lock().await;
        let now = self.clock.monotonic();
        let shared = slot.answers.load(Ordering::Relaxed) != answers;
        if let Some(outcome) = known.outcome(now, newer, shared) {
            return outcome;
        }
        // Whoever makes up URLs of a host must not hold back a client that is known.
        if known.good.is_none() {
            self.hosts.count(FETCH, url.host(), now).map_err(DocumentError::Busy)?;
        }
        let fetched = fetch.await;
        let now = self.clock.monotonic();
        slot.answers.fetch_add(1, Ordering::Relaxed);
        match fetched {
            Ok((value, life)) => Ok(known.learn(now, value, life)),
            Err(why) => {
                known.fail(now, &why);
                known.or_stale(now, newer, why)
            }
        }
    }

    /// The place of a value; the one that was not used for longest makes room.
    fn slot(&self, url: &DocumentUrl) -> Result<Arc<Slot<T>>, DocumentError> {
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most && !entries.contains_key(url.as_str()) {
            // One that somebody waits for stays: a second fetch would begin beside the first.
            let idle = entries.iter().filter(|(_, entry)| Arc::strong_count(&entry.slot) == 1);
            let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(url, _)| url.clone());
            let full = DocumentError::Busy(OAuthError::Unavailable { retry_after: TIMEOUT });
            entries.remove(&oldest.ok_or(full)?);
        }
        let entry = entries
            .entry(url.as_str().to_owned())
            .or_insert_with(|| Entry { slot: Arc::default(), used: now });
        entry.used = now;
        Ok(Arc::clone(&entry.slot))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let known = Known { good: None, failed: None };
        Self { known: tokio::sync::Mutex::new(known), answers: AtomicU64::new(0) }
    }
}

impl<T> Known<T> {
    /// What there is without a fetch. `shared`: an answer came while this asker waited.
    fn outcome(&self, now: Duration, newer: bool, shared: bool) -> Option<Outcome<T>> {
        if let Some(good) = &self.good {
            let current = now < good.fresh_until || (shared && self.failed.is_none());
            let enough = if newer { now < good.fetched + COOLDOWN } else { current };
            if enough {
                return Some(Ok(Arc::clone(&good.value)));
            }
        }
        let (why, _) = self.failed.as_ref().filter(|(_, until)| now < *until)?;
        Some(self.or_stale(now, newer, why.clone()))
    }

    /// A value that is past its time is better than none while its host is away, unless it is what is lacking.
    fn or_stale(&self, now: Duration, newer: bool, why: DocumentError) -> Outcome<T> {
        let good = self.good.as_ref().filter(|good| !newer && now < good.usable_until);
        good.map_or(Err(why), |good| Ok(Arc::clone(&good.value)))
    }

    fn learn(&mut self, now: Duration, value: T, life: Duration) -> Arc<T> {
        let value = Arc::new(value);
        let fresh_until = now + life;
        // What is not to be kept is not kept for bad days either.
        let usable_until = if life.is_zero() { now } else { fresh_until + STALE };
        self.good = Some(Good { value: Arc::clone(&value), fetched: now, fresh_until, usable_until });
        self.failed = None;
        value
    }

    /// What its host says now counts; what an outage says does not.
    fn fail(&mut self, now: Duration, why: &DocumentError) {
        self.failed = Some((why.clone(), now + FAILURE_LIFE));
        if matches!(why, DocumentError::Refused(_)) {
            self.good = None;
        }
    }
}
