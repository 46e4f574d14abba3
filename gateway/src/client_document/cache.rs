//! When a document and a client's keys are fetched, and which answers are one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gatehouse_gateway_config::policy::RedirectUrisConfig;
use http::{HeaderMap, Request, Response, StatusCode, header};
use openidconnect::core::CoreJwsSigningAlgorithm;

use super::{
    Document, DocumentError, DocumentUrl, KeySet, Mismatch,
    document::{Auth, KeySource},
    freshness::{self, Life},
    kept::{Kept, Outcome},
    proofs::{Proofs, Signed},
};
use crate::{
    clock::Clock,
    egress::{Destination, Egress, HttpClient, HttpError},
    identity::USER_AGENT,
    oauth::{OAuthError, limits::Limiter, params::media_type, source::Source},
    refs::Refs,
};

/// The longest document that is read (section 6.6 of the draft).
const MAX_DOCUMENT: usize = 5 * 1024;
/// The longest set of keys that is read.
const MAX_KEY_SET: usize = 64 * 1024;
/// From the request to the last byte: a person waits for it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The most documents that are known.
const MAX_DOCUMENTS: usize = 1000;
/// The same of sets of keys, which are larger.
const MAX_KEY_SETS: usize = 250;

/// The documents of clients, and the keys that they name.
#[derive(Debug)]
pub struct Documents {
    http: HttpClient,
    known: Kept<Document>,
    keys: Kept<KeySet>,
    proofs: Arc<Proofs>,
}

/// With what a client signs, as it says now.
#[derive(Debug)]
pub struct Signing {
    keys: Arc<KeySet>,
    algorithm: Option<CoreJwsSigningAlgorithm>,
    proofs: Arc<Proofs>,
}

/// What is said of a fetch that fails, whatever the reason is: strangers choose what is fetched.
const OF_DOCUMENT: &str =
    "Its document cannot be fetched: it must be JSON, at the very address that is its client_id.";
const OF_KEYS: &str = "The keys that its document names cannot be fetched: they must be JSON, at the very address of its jwks_uri.";

/// Why a fetch failed; for the log.
#[derive(Debug, thiserror::Error)]
enum Unfetched {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("its status is {0}")]
    Status(StatusCode),
    #[error("it is not JSON, or encoded")]
    NotJson,
}

impl Unfetched {
    /// What it is to whoever asked, who reads `what`.
    fn told(&self, what: &'static str) -> DocumentError {
        match self {
            Self::Http(HttpError::Refused(_)) => DocumentError::Inside(what),
            Self::Http(HttpError::TooLong(_)) | Self::NotJson => DocumentError::Refused(what),
            Self::Http(_) => DocumentError::Away(what),
            Self::Status(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                DocumentError::Away(what)
            }
            // A redirect is not followed (section 6.5 of the draft): its target is another client.
            Self::Status(_) => DocumentError::Refused(what),
        }
    }
}

impl Documents {
    /// Nothing known yet. What `egress.allow` opens is for the administrator's own configuration: of documents and keys
    /// it opens those `hosts` alone that the policy names exactly.
    pub fn new(
        egress: &Egress,
        destination: Destination,
        refs: Arc<dyn Refs>,
        hosts: &[String],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let http = HttpClient::new(egress.for_strangers(hosts).transport(destination, refs));
        let limiter = Arc::new(Limiter::default());
        Self {
            http: http.with_timeout(TIMEOUT),
            known: Kept::new(Arc::clone(&clock), Arc::clone(&limiter), MAX_DOCUMENTS),
            keys: Kept::new(Arc::clone(&clock), Arc::clone(&limiter), MAX_KEY_SETS),
            proofs: Arc::new(Proofs::new(clock, limiter)),
        }
    }

    /// The same with another time limit of a fetch, for tests.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { http: self.http.with_timeout(timeout), ..self }
    }

    /// The document at `url`, as it is or was within its life, for whoever asks from `source`.
    ///
    /// # Errors
    /// When it cannot be had, is refused, or too many of its host, or by this source, were asked for.
    pub async fn get(
        &self,
        url: &DocumentUrl,
        policy: &RedirectUrisConfig,
        source: &Source,
    ) -> Outcome<Document> {
        self.known.get(url, source, false, self.fetch(url, policy)).await
    }

    /// With what the client of the document at `url` signs; `None`: it is public. `newer`: the key that signed was not
    /// among those that are known.
    ///
    /// # Errors
    /// As [`Documents::get`], of the document or of the keys that it names.
    pub async fn signing(
        &self,
        url: &DocumentUrl,
        policy: &RedirectUrisConfig,
        source: &Source,
        newer: bool,
    ) -> Result<Option<Signing>, DocumentError> {
        let mut document = self.get(url, policy, source).await?;
        if newer && matches!(&document.auth, Auth::PrivateKeyJwt { keys: KeySource::Inline(_), .. }) {
            document = self.known.get(url, source, newer, self.fetch(url, policy)).await?;
        }
        let Auth::PrivateKeyJwt { keys, algorithm } = &document.auth else { return Ok(None) };
        let keys = match keys {
            KeySource::Inline(keys) => Arc::clone(keys),
            KeySource::At(url) => self.keys.get(url, source, newer, self.fetch_keys(url)).await?,
        };
        Ok(Some(Signing { keys, algorithm: algorithm.clone(), proofs: Arc::clone(&self.proofs) }))
    }

    async fn fetch(
        &self,
        url: &DocumentUrl,
        policy: &RedirectUrisConfig,
    ) -> Result<(Document, Life), DocumentError> {
        let answer = self.ask(url, MAX_DOCUMENT, OF_DOCUMENT).await?;
        Ok((Document::read(answer.body(), url, policy)?, freshness::life(answer.headers())))
    }

    async fn fetch_keys(&self, url: &DocumentUrl) -> Result<(KeySet, Life), DocumentError> {
        let answer = self.ask(url, MAX_KEY_SET, OF_KEYS).await?;
        Ok((KeySet::read(answer.body())?, freshness::life(answer.headers())))
    }

    async fn ask(
        &self,
        url: &DocumentUrl,
        longest: usize,
        what: &'static str,
    ) -> Result<Response<Bytes>, DocumentError> {
        self.exchange(url, longest).await.map_err(|why| {
            tracing::warn!(url = url.as_str(), error = %why, "what a client says of itself cannot be fetched");
            if matches!(why, Unfetched::Http(HttpError::Refused(_))) {
                let host = url.host();
                tracing::warn!(host, "of client documents egress.allow opens hosts that allowedHosts names exactly");
            }
            why.told(what)
        })
    }

    async fn exchange(&self, url: &DocumentUrl, longest: usize) -> Result<Response<Bytes>, Unfetched> {
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Vec::new());
        let request = request.map_err(|error| HttpError::Connect(error.to_string()))?;
        let answer = self.http.clone().with_body_limit(longest).send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(Unfetched::Status(answer.status()));
        }
        if !is_json(answer.headers()) || answer.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(Unfetched::NotJson);
        }
        Ok(answer)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| {
        media_type == "application/json"
            || (media_type.starts_with("application/") && media_type.ends_with("+json"))
    })
}

impl Signing {
    /// Verifies what came from `source`, by the algorithm that the client said it would use, if it did.
    ///
    /// # Errors
    /// When too many came, or there is no turn; within, as [`KeySet::verify`].
    pub async fn verify(
        &self,
        source: &Source,
        signed: &Arc<Signed>,
    ) -> Result<Result<(), Mismatch>, OAuthError> {
        if self.algorithm.as_ref().is_some_and(|only| *only != signed.algorithm) {
            return Ok(Err(Mismatch::Signature));
        }
        self.proofs.verify(source, &self.keys, signed).await
    }

    /// Whether its keys are others than those `before`.
    pub fn has_changed(&self, before: &Self) -> bool {
        self.keys != before.keys
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use gatehouse_gateway_config::EgressConfig;

    use super::*;
    use crate::{clock::ManualClock, egress::Resolve, refs::FixedRefs};

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
        let (refs, clock) = (Arc::new(FixedRefs::default()), Arc::new(ManualClock::at(1_700_000_000)));
        let documents = Documents::new(&egress, Destination::default(), refs, &[], clock);
        for n in 0..MAX_DOCUMENTS + 50 {
            let url = DocumentUrl::parse(&format!("https://c{n}.example.com/c")).unwrap();
            let ip = std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap());
            let source = Source(Some(ip.into()));
            assert!(documents.get(&url, &RedirectUrisConfig::default(), &source).await.is_err());
        }
        assert_eq!(documents.known.len(), MAX_DOCUMENTS / 4);
    }
}
