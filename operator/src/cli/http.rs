//! As much of an HTTP client as the commands need that speak to a gateway from outside.

use std::{future::Future, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::CliError;

/// How much of an answer is read.
const LIMIT: usize = 1 << 20;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What every request carries, unless it says otherwise.
const OURS: [(HeaderName, &str); 2] = [
    (header::ACCEPT, "application/json, text/event-stream"),
    (header::USER_AGENT, concat!("gatehouse/", env!("CARGO_PKG_VERSION"))),
];

/// Whom a command trusts.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// A PEM file with the CAs to trust, instead of those of the web.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Trust {
    /// A client that trusts them.
    ///
    /// # Errors
    /// When the file holds no certificate.
    pub(super) fn client(&self) -> Result<Http, CliError> {
        let Some(file) = &self.ca else { return Ok(Http::new()) };
        let wrong = |why: String| CliError::Input(format!("--ca {}: {why}", file.display()));
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?.collect();
        let found = found.map_err(|e| wrong(e.to_string()))?;
        if found.is_empty() {
            return Err(wrong("holds no certificate".to_owned()));
        }
        Ok(Http::trusting(found))
    }
}

/// A client that follows no redirects.
pub(super) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer, read to its end.
pub(super) struct Answer {
    /// Who was asked.
    pub(super) url: Url,
    /// The status.
    pub(super) status: StatusCode,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The body; empty when it is an event stream, which may have no end.
    pub(super) body: Bytes,
}

/// What is posted.
pub(super) struct Content {
    /// Its media type.
    pub(super) kind: &'static str,
    /// The bytes.
    pub(super) bytes: Bytes,
}

impl Content {
    /// A JSON document.
    pub(super) fn json(document: &Value) -> Self {
        Self { kind: "application/json", bytes: document.to_string().into() }
    }

    /// A form.
    pub(super) fn form(form: &[(&str, &str)]) -> Self {
        let bytes = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into();
        Self { kind: "application/x-www-form-urlencoded", bytes }
    }
}

impl Http {
    /// A client that trusts the CAs of the web.
    pub(super) fn new() -> Self {
        Self::over(HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build())
    }

    /// A client that trusts these CAs alone.
    pub(super) fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self::over(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build())
    }

    fn over(connector: HttpsConnector<HttpConnector>) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// GET.
    pub(super) fn get(&self, url: &Url) -> impl Future<Output = Result<Answer, String>> {
        self.send(Method::GET, url, &[], Bytes::new())
    }

    /// POST.
    ///
    /// # Errors
    /// When no answer comes: what happened, down to its cause.
    pub(super) async fn post(&self, url: &Url, content: Content) -> Result<Answer, String> {
        self.send(Method::POST, url, &[(header::CONTENT_TYPE, content.kind)], content.bytes).await
    }

    /// Any request. Headers given here win over our own.
    ///
    /// # Errors
    /// When no answer comes: what happened, down to its cause.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let failed = |why: String| format!("{url} cannot be reached: {why}");
        let mut request = Request::builder().method(method).uri(url.as_str());
        for (name, value) in OURS.iter().filter(|(ours, _)| headers.iter().all(|(name, _)| name != ours)) {
            request = request.header(name, *value);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|e| failed(e.to_string()))?;
        let work = async {
            let response = self.0.request(request).await.map_err(|e| failed(causes(&e)))?;
            let (parts, body) = response.into_parts();
            // The body of a probe may be an endless event stream; of a 2xx nothing is wanted.
            let body = if is_stream(&parts.headers) {
                Bytes::new()
            } else {
                Limited::new(body, LIMIT).collect().await.map_err(|e| failed(e.to_string()))?.to_bytes()
            };
            Ok(Answer { url: url.clone(), status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer in {TIMEOUT:?}"))))
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"))
}

/// An error and what caused it: hyper's own text is "client error (Connect)".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl Answer {
    /// The document of a successful answer; `what` names it.
    ///
    /// # Errors
    /// With the status, and the OAuth error where there is one.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, String> {
        if !self.status.is_success() {
            let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
            let part = |name: &str| body[name].as_str().unwrap_or_default().escape_debug().to_string();
            let why = format!("{} {}", part("error"), part("error_description"));
            return Err(format!("{what} failed: {} answered {} {}", self.url, self.status, why.trim()));
        }
        serde_json::from_slice(&self.body)
            .map_err(|e| format!("{what}: {} did not answer with the JSON that was expected: {e}", self.url))
    }
}
