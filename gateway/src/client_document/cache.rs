//! When a document is fetched: once for all who ask at the same time, and not again while it is fresh.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatehouse_gateway_config::policy::RedirectUrisConfig;
use http::{Request, StatusCode, header};

use super::{Document, DocumentError, DocumentUrl, freshness};
use crate::{
    clock::Clock,
    egress::HttpClient,
    identity::USER_AGENT,
    oauth::{
        OAuthError,
        limits::{Limit, Limiter},
        params::media_type,
    },
};

/// The longest document that is read (section 6.6 of the draft).
const MAX_DOCUMENT: usize = 5 * 1024;
/// From the request to the document's last byte: a person waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failure is remembered, so that asking again and again does not fetch again and again.
const FAILURE_LIFE: Duration = Duration::from_secs(10);
/// The most documents that are kept or being fetched.
const MAX_ENTRIES: usize = 1000;
/// Fetches from one host of documents that are not known yet.
const FETCH: Limit = Limit { name: "client-document", count: 30, window: Duration::from_secs(60) };

type Outcome = Result<Arc<Document>, DocumentError>;

/// The documents of clients, in the memory of this process.
#[derive(Debug)]
pub struct Documents {
    http: HttpClient,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<String, Entry>>,
    hosts: Limiter,
}

#[derive(Debug)]
struct Entry {
    /// Held while it is fetched: whoever else asks waits for the same answer.
    slot: Arc<tokio::sync::Mutex<Option<Known>>>,
    used: Duration,
}

/// The last answer, until when it holds.
#[derive(Debug)]
struct Known {
    outcome: Outcome,
    until: Duration,
}

impl Documents {
    /// Nothing known yet. `http` is a checked client: see [`crate::egress`].
    pub fn new(http: HttpClient, clock: Arc<dyn Clock>) -> Self {
        let http = http.with_timeout(TIMEOUT).with_body_limit(MAX_DOCUMENT);
        Self { http, clock, entries: Mutex::default(), hosts: Limiter::default() }
    }

    /// The same with another time limit of a fetch, for tests.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { http: self.http.with_timeout(timeout), ..self }
    }

    /// The document at `url`, as it is or was within its life.
    ///
    /// # Errors
    /// When it cannot be had, is refused, or too many of its host were asked for.
    pub async fn get(&self, url: &DocumentUrl, policy: &RedirectUrisConfig) -> Outcome {
        let slot = self.slot(url)?;
        let mut known = slot.lock().await;
        let now = self.clock.monotonic();
        if let Some(known) = known.as_ref().filter(|known| now < known.until) {
            return known.outcome.clone();
        }
        // Whoever makes up URLs of a host must not hold back a client that is known.
        if known.as_ref().is_none_or(|known| known.outcome.is_err()) {
            self.hosts.count(FETCH, url.host(), now).map_err(DocumentError::Busy)?;
        }
        let (outcome, life) = match self.fetch(url, policy).await {
            Ok((document, life)) => (Ok(Arc::new(document)), life),
            Err(why) => (Err(why), FAILURE_LIFE),
        };
        *known = Some(Known { outcome: outcome.clone(), until: self.clock.monotonic() + life });
        outcome
    }

    /// The place of a document; the one that was not used for longest makes room.
    fn slot(&self, url: &DocumentUrl) -> Result<Arc<tokio::sync::Mutex<Option<Known>>>, DocumentError> {
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(url.as_str()) {
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

    async fn fetch(
        &self,
        url: &DocumentUrl,
        policy: &RedirectUrisConfig,
    ) -> Result<(Document, Duration), DocumentError> {
        let unavailable = DocumentError::Refused("Its document cannot be fetched.");
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Vec::new());
        let request = request.map_err(|_| unavailable.clone())?;
        let answer = self.http.send(request).await.map_err(|error| {
            tracing::warn!(url = url.as_str(), %error, "a client's document cannot be fetched");
            unavailable.clone()
        })?;
        // A redirect is not followed (section 6.5 of the draft): its target is another client.
        if answer.status() != StatusCode::OK {
            return Err(DocumentError::Refused("Its document is not at the address that is its client_id."));
        }
        let json = media_type(answer.headers()).is_some_and(|media_type| {
            media_type == "application/json"
                || (media_type.starts_with("application/") && media_type.ends_with("+json"))
        });
        if !json || answer.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(DocumentError::Refused("Its document is not sent as application/json."));
        }
        let document = Document::read(answer.body(), url, policy)?;
        Ok((document, freshness::lifetime(answer.headers())))
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use gatehouse_gateway_config::EgressConfig;

    use super::*;
    use crate::{
        clock::ManualClock,
        egress::{Destination, Egress, Resolve},
        refs::FixedRefs,
    };

    /// Says that every host is this one.
    #[derive(Debug)]
    struct Here;

    #[async_trait::async_trait]
    impl Resolve for Here {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }
    }

    #[tokio::test]
    async fn a_flood_of_hosts_fills_no_memory() {
        let egress = Egress::new(&EgressConfig::default()).unwrap().with_resolver(Arc::new(Here));
        let http = HttpClient::new(egress.transport(Destination::default(), Arc::new(FixedRefs::default())));
        let documents = Documents::new(http, Arc::new(ManualClock::at(1_700_000_000)));
        for n in 0..MAX_ENTRIES + 50 {
            let url = DocumentUrl::parse(&format!("https://c{n}.example.com/c")).unwrap();
            assert!(documents.get(&url, &RedirectUrisConfig::default()).await.is_err());
        }
        assert_eq!(documents.entries.lock().unwrap().len(), MAX_ENTRIES);
    }
}
