//! What was fetched from a URL: once for all who ask at the same time, and not again while it is fresh. A failure is for
//! those alone who waited for it: an error, or a document that is none, is never kept (section 4.4 of the draft).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{DocumentError, DocumentUrl, cache::TIMEOUT, freshness::Life};
use crate::{
    clock::Clock,
    oauth::{
        OAuthError,
        limits::{Limit, Limiter},
        source::Source,
    },
};

/// How long a host that is away is left alone where a stale value serves: nobody waits for it each time.
const PAUSE: Duration = Duration::from_secs(10);
/// A newer value than a fresh one is fetched at most this often: anybody can sign with a key that nobody knows.
const COOLDOWN: Duration = Duration::from_secs(60);
/// Fetches from one host of what is not known.
const FETCH: Limit = Limit { name: "client-document", count: 30, window: Duration::from_secs(60) };
/// The same by one source, from all hosts: anybody can name a URL, so one source must not use up what a host has.
const FETCH_SOURCE: Limit =
    Limit { name: "client-document-source", count: 10, window: Duration::from_secs(60) };
/// The same by one network, whose sources are as many as it likes.
const FETCH_NETWORK: Limit =
    Limit { name: "client-document-network", count: 20, window: Duration::from_secs(60) };
/// Fetches of one URL whose value is known, and failed when it was last asked for: as many a minute as of what is not
/// known, but of its own, and soon again. Its client's users do not wait longer than its host is away, whoever asks for
/// how much there.
const FETCH_AGAIN: Limit = Limit { name: "client-document-again", count: 5, window: Duration::from_secs(10) };
/// Of one host, so many are kept that are not known: what is being fetched, and failures.
const UNKNOWN_OF_HOST: usize = 8;
/// Of one host, so many are known.
const KNOWN_OF_HOST: usize = 100;

pub(super) type Outcome<T> = Result<Arc<T>, DocumentError>;

/// The values of URLs, in the memory of this process. What is not known yet has room of its own: whoever makes up URLs
/// takes that of others who do.
#[derive(Debug)]
pub(super) struct Kept<T> {
    clock: Arc<dyn Clock>,
    limiter: Arc<Limiter>,
    /// The most values that are known; a quarter as many are not.
    most: usize,
    entries: Mutex<HashMap<String, Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    slot: Arc<Slot<T>>,
    host: String,
    used: Duration,
}

#[derive(Debug)]
struct Slot<T> {
    /// Held while it is fetched: whoever else asks waits for the same answer.
    known: tokio::sync::Mutex<Known<T>>,
    /// How many answers came: whoever waited for one shares it, even one that is not to be kept.
    answers: AtomicU64,
    /// Whether there is a value, for those who may not wait.
    is_known: AtomicBool,
}

/// The last value, and the last failure since, with when its host is asked again while the value serves.
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
    /// While its host is away.
    usable_until: Duration,
}

impl<T> Kept<T> {
    pub(super) fn new(clock: Arc<dyn Clock>, limiter: Arc<Limiter>, most: usize) -> Self {
        Self { clock, limiter, most, entries: Mutex::default() }
    }

    /// The value at `url`, as it is or was within its life; else what `fetch` gives, with its life, to whoever asks from
    /// `source`. `newer`: the value that is known lacks something.
    pub(super) async fn get(
        &self,
        url: &DocumentUrl,
        source: &Source,
        newer: bool,
        fetch: impl Future<Output = Result<(T, Life), DocumentError>>,
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
        let counted = match (&known.good, &known.failed) {
            (None, _) => self.count(url, source, now),
            // No failure is kept.
            (Some(_), Some(_)) => self.limiter.count(FETCH_AGAIN, url.as_str(), now),
            (Some(_), None) => Ok(()),
        };
        if let Err(busy) = counted {
            return known.or_stale(now, newer, DocumentError::Busy(busy));
        }
        let fetched = fetch.await;
        let now = self.clock.monotonic();
        slot.answers.fetch_add(1, Ordering::Relaxed);
        let outcome = match fetched {
            Ok((value, life)) => Ok(known.learn(now, value, life)),
            Err(why) => {
                known.fail(now, &why);
                known.or_stale(now, newer, why)
            }
        };
        slot.is_known.store(known.good.is_some(), Ordering::Relaxed);
        if known.good.is_some() {
            self.settle(url.host());
        }
        outcome
    }

    fn count(&self, url: &DocumentUrl, source: &Source, now: Duration) -> Result<(), OAuthError> {
        let (one, network) = (source.to_string(), source.network().to_string());
        // In this order: what one is refused is not taken from the others.
        let limits = [(FETCH_SOURCE, one.as_str()), (FETCH_NETWORK, &network), (FETCH, url.host())];
        limits.into_iter().try_for_each(|(limit, of)| self.limiter.count(limit, of, now))
    }

    /// The place of a value. A new one is not known yet, and takes the place of no known one.
    fn slot(&self, url: &DocumentUrl) -> Result<Arc<Slot<T>>, DocumentError> {
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(url.as_str()) {
            let room = make_room(&mut entries, UNKNOWN_OF_HOST, |e| !e.is_known() && e.host == url.host())
                && make_room(&mut entries, self.most / 4, |entry| !entry.is_known());
            if !room {
                return Err(DocumentError::Busy(OAuthError::Unavailable { retry_after: TIMEOUT }));
            }
        }
        let entry = entries.entry(url.as_str().to_owned()).or_insert_with(|| Entry {
            slot: Arc::default(),
            host: url.host().to_owned(),
            used: now,
        });
        entry.used = now;
        Ok(Arc::clone(&entry.slot))
    }

    /// Drops what is too many once one more is known of `host`.
    fn settle(&self, host: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut entries, KNOWN_OF_HOST + 1, |entry| entry.is_known() && entry.host == host);
        make_room(&mut entries, self.most + 1, Entry::is_known);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

impl<T> Entry<T> {
    fn is_known(&self) -> bool {
        self.slot.is_known.load(Ordering::Relaxed)
    }
}

/// Leaves fewer than `most` of `those`: the ones that were not used for longest go, except where somebody waits for
/// one, beside whose fetch a second would begin. Whether it could.
fn make_room<T>(
    entries: &mut HashMap<String, Entry<T>>,
    most: usize,
    those: impl Fn(&Entry<T>) -> bool,
) -> bool {
    while entries.values().filter(|entry| those(entry)).count() >= most {
        let idle = entries.iter().filter(|(_, entry)| those(entry) && Arc::strong_count(&entry.slot) == 1);
        let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(url, _)| url.clone()) else {
            return false;
        };
        entries.remove(&oldest);
    }
    true
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let known = Known { good: None, failed: None };
        Self {
            known: tokio::sync::Mutex::new(known),
            answers: AtomicU64::default(),
            is_known: AtomicBool::default(),
        }
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
        let (why, again) = self.failed.as_ref()?;
        let outcome = self.or_stale(now, newer, why.clone());
        (shared || (outcome.is_ok() && now < *again)).then_some(outcome)
    }

    /// A value that is past its time is better than none while its host is away, unless it is what is lacking.
    fn or_stale(&self, now: Duration, newer: bool, why: DocumentError) -> Outcome<T> {
        let good = self.good.as_ref().filter(|good| !newer && now < good.usable_until);
        good.map_or(Err(why), |good| Ok(Arc::clone(&good.value)))
    }

    fn learn(&mut self, now: Duration, value: T, life: Life) -> Arc<T> {
        let value = Arc::new(value);
        let fresh_until = now + life.fresh;
        let usable_until = fresh_until + life.stale;
        self.good = Some(Good { value: Arc::clone(&value), fetched: now, fresh_until, usable_until });
        self.failed = None;
        value
    }

    /// What its host says now counts; what an outage says does not.
    fn fail(&mut self, now: Duration, why: &DocumentError) {
        self.failed = Some((why.clone(), now + PAUSE));
        if matches!(why, DocumentError::Refused(_) | DocumentError::Inside(_)) {
            self.good = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::poll;

    use super::*;
    use crate::clock::ManualClock;

    const LIFE: Life = Life { fresh: Duration::from_secs(3600), stale: Duration::from_secs(300) };

    fn kept() -> (Kept<u8>, ManualClock) {
        let clock = ManualClock::at(1_700_000_000);
        (Kept::new(Arc::new(clock.clone()), Arc::default(), 40), clock)
    }

    fn url(host: &str, n: u32) -> DocumentUrl {
        DocumentUrl::parse(&format!("https://{host}/{n}")).unwrap()
    }

    /// Each in a network of its own.
    fn source(n: u32) -> Source {
        Source(Some(Ipv4Addr::from_bits(n << 8).into()))
    }

    /// Asks for what nobody has.
    async fn ask(kept: &Kept<u8>, url: &DocumentUrl, n: u32) -> Outcome<u8> {
        kept.get(url, &source(n), false, async { Err(DocumentError::Refused("no")) }).await
    }

    /// Asks for what is there.
    async fn learn(kept: &Kept<u8>, url: &DocumentUrl, n: u32) -> Outcome<u8> {
        kept.get(url, &source(n), false, async { Ok((1, LIFE)) }).await
    }

    #[tokio::test]
    async fn made_up_urls_displace_nobody_who_is_known() {
        let (kept, clock) = kept();
        for n in 0..5 {
            learn(&kept, &url("known.example", n), n).await.unwrap();
        }
        for n in 0..200 {
            clock.advance(Duration::from_secs(1));
            assert!(ask(&kept, &url("known.example", 100 + n), n).await.is_err());
            assert!(ask(&kept, &url(&format!("h{n}.example"), 1), n).await.is_err());
        }
        // Nothing is fetched of them, or it would fail.
        for n in 0..5 {
            assert!(ask(&kept, &url("known.example", n), n).await.is_ok(), "{n}");
        }
        assert!(kept.len() <= 5 + 40 / 4, "{}", kept.len());
    }

    #[tokio::test]
    async fn a_host_displaces_its_own_before_others_go() {
        let (kept, clock) = kept();
        learn(&kept, &url("one.example", 0), 0).await.unwrap();
        for n in 0..300 {
            clock.advance(Duration::from_secs(10));
            assert!(learn(&kept, &url(&format!("h{}.example", n % 39), n), n).await.is_ok());
            assert!(learn(&kept, &url("one.example", 0), n).await.is_ok());
        }
        assert_eq!(kept.len(), 40);
        assert!(ask(&kept, &url("one.example", 0), 0).await.is_ok(), "what is used stays");
        let (large, clock) = (Kept::new(kept.clock.clone(), Arc::default(), 1000), clock);
        for n in 0..300 {
            clock.advance(Duration::from_secs(3));
            learn(&large, &url("one.example", n), n).await.unwrap();
        }
        assert_eq!(large.len(), KNOWN_OF_HOST);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_holds_a_few_places() {
        let (kept, _) = kept();
        let urls: Vec<_> = (0..20).map(|n| url("slow.example", n)).collect();
        let mut waiting = Vec::new();
        for (n, url) in (0..).zip(&urls) {
            let source = source(n);
            let kept = &kept;
            let mut fetch =
                Box::pin(async move { kept.get(url, &source, false, std::future::pending()).await });
            match poll!(&mut fetch) {
                std::task::Poll::Pending => waiting.push(fetch),
                std::task::Poll::Ready(refused) => {
                    assert!(matches!(refused, Err(DocumentError::Busy(OAuthError::Unavailable { .. }))));
                }
            }
        }
        assert_eq!(waiting.len(), UNKNOWN_OF_HOST);
        learn(&kept, &url("other.example", 1), 99).await.unwrap();
    }

    #[tokio::test]
    async fn what_fails_is_asked_for_as_seldom_as_what_is_unknown() {
        let (kept, clock) = kept();
        let (url, asked) = (url("a.example", 1), AtomicU64::default());
        let ask = async |why: DocumentError, n: u32| {
            let fetch = async {
                asked.fetch_add(1, Ordering::Relaxed);
                Err(why)
            };
            kept.get(&url, &source(n), false, fetch).await
        };
        let away = || DocumentError::Away("away");
        for n in 0..200 {
            assert!(ask(DocumentError::Refused("no"), n / 50).await.is_err());
        }
        assert_eq!(asked.swap(0, Ordering::Relaxed), 30, "ten by each source, and thirty of the host");
        // A value that may still serve while its host is away does so, whether or not that may be asked.
        clock.advance(Duration::from_secs(60));
        learn(&kept, &url, 0).await.unwrap();
        clock.advance(LIFE.fresh);
        for _ in 0..200 {
            assert!(ask(away(), 0).await.is_ok());
        }
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1, "a pause after each failure");
        clock.advance(LIFE.stale);
        for _ in 0..6 {
            for n in 0..200 {
                assert!(ask(away(), n / 50).await.is_err());
            }
            clock.advance(FETCH_AGAIN.window);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 30, "no more in a minute than of what is unknown");
    }

    /// A vendor's own server may be the one source of all its users, and others may have used up what its host has.
    #[tokio::test]
    async fn a_client_that_is_known_waits_no_longer_than_its_host_is_away() {
        let (kept, clock) = kept();
        let known = url("a.example", 1);
        let brief = || async { Ok((1, Life { fresh: Duration::from_secs(5), stale: Duration::ZERO })) };
        kept.get(&known, &source(0), false, brief()).await.unwrap();
        for n in 0..30 {
            assert!(ask(&kept, &url("a.example", 100 + n), 1 + n).await.is_err());
        }
        for second in 0..30 {
            clock.advance(Duration::from_secs(1));
            for _ in 0..20 {
                let away = async { Err(DocumentError::Away("away")) };
                assert_eq!(kept.get(&known, &source(0), false, away).await.is_ok(), second < 4, "{second}");
            }
        }
        clock.advance(FETCH_AGAIN.window);
        assert!(kept.get(&known, &source(0), false, brief()).await.is_ok());
    }

    #[tokio::test]
    async fn one_source_has_a_part_of_what_a_host_is_asked_for() {
        let (kept, _) = kept();
        let busy = |outcome: Outcome<u8>| matches!(outcome, Err(DocumentError::Busy(_)));
        for n in 0..30 {
            assert_eq!(busy(ask(&kept, &url("a.example", n), 1).await), n >= 10, "{n}");
        }
        assert!(busy(ask(&kept, &url("b.example", 1), 1).await), "of whichever host");
        assert!(!busy(ask(&kept, &url("a.example", 99), 2).await));
    }

    #[tokio::test]
    async fn one_network_has_a_part_of_what_a_host_is_asked_for() {
        let (kept, _) = kept();
        let busy = async |url: &DocumentUrl, ip: &str| {
            let source = Source(Some(ip.parse().unwrap()));
            let outcome = kept.get(url, &source, false, async { Err(DocumentError::Refused("no")) }).await;
            matches!(outcome, Err(DocumentError::Busy(_)))
        };
        // What one source is refused is not taken from its network.
        for n in 0..40 {
            assert_eq!(busy(&url("a.example", n), "2001:db8:0:1::1").await, n >= 10, "{n}");
        }
        for n in 0..30 {
            let ip = format!("2001:db8:0:{:x}::1", 2 + n % 4);
            assert_eq!(busy(&url("a.example", 100 + n), &ip).await, n >= 10, "{n}");
        }
        assert!(busy(&url("b.example", 1), "2001:db8:0:7::1").await, "of whichever host");
        for n in 0..10 {
            assert!(!busy(&url("a.example", 200 + n), "2001:db8:1::1").await, "{n}");
        }
        assert!(busy(&url("a.example", 300), "2001:db8:2::1").await, "a host has its limit");
    }
}
