//! A visit to a server: what is asked, how long it takes, and in which order it is looked at.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, Method, header};
use secrecy::SecretString;
use url::Url;

use super::{
    challenge, cors, documents, finding::Check, issuer, outside, pages, reach, redirect, registration,
    report::Report, resource, saved, session, token_endpoint,
};
use crate::cli::{
    CliError,
    http::{Answer, Content, Http},
    print,
};

/// How many redirects of one request are followed: as many as the Python SDK follows.
const REDIRECTS: usize = 5;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// What an answer may take before it is called slow.
    pub(super) slow: Duration,
    /// What the visit may take.
    pub(super) whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { slow: Duration::from_secs(3), whole: Duration::from_secs(120) }
    }
}

/// A visit to a server, and what was found so far.
pub(super) struct Visit {
    /// The MCP endpoint.
    pub(super) url: Url,
    /// What was found so far.
    pub(super) report: Report,
    http: Http,
    patience: Patience,
    /// Whether findings are printed as they come.
    aloud: bool,
    slowest: Duration,
}

impl Visit {
    /// One that has found nothing yet.
    pub(super) fn new(http: Http, url: Url, patience: Patience, aloud: bool) -> Self {
        Self { url, report: Report::default(), http, patience, aloud, slowest: Duration::ZERO }
    }

    /// Goes as far as there is something to go on with, and as there is time.
    ///
    /// # Errors
    /// When findings cannot be printed.
    pub(super) async fn walk(
        &mut self,
        register: bool,
        token: Option<&SecretString>,
        home: Option<&Path>,
    ) -> Result<(), CliError> {
        let whole = self.patience.whole;
        match tokio::time::timeout(whole, self.steps(register, token, home)).await {
            Ok(done) => done?,
            Err(_) => self.report.unseen(
                Check::Reach,
                format!(
                    "the visit ends here, after {} seconds: what would follow was not looked at.",
                    whole.as_secs()
                ),
                "Find out why answers take so long, and look again.",
            ),
        }
        self.tell()
    }

    async fn steps(
        &mut self,
        register: bool,
        token: Option<&SecretString>,
        home: Option<&Path>,
    ) -> Result<(), CliError> {
        let Some(first) = reach::check(self).await else { return Ok(()) };
        self.tell()?;
        let Some(challenge) = challenge::check(self, &first).await else { return Ok(()) };
        self.tell()?;
        let named = resource::check(self, &challenge).await;
        self.tell()?;
        // Servers before the resource document are their own authorization server.
        let resource = named.as_ref().map_or_else(|| self.url.to_string(), |named| named.name.clone());
        let origin = self.url.origin().ascii_serialization();
        let issuer = issuer::check(self, named.as_ref().map_or(&origin, |named| &named.issuer)).await;
        self.tell()?;
        if let Some(issuer) = &issuer {
            outside::endpoints(self, issuer).await;
            let client = if register { registration::check(self, issuer).await } else { None };
            self.tell()?;
            let asked = pages::Asked { resource: &resource, challenge: &challenge };
            if let Some(client) = &client {
                pages::check(self, issuer, client, &asked).await;
            } else if register {
                self.report.unseen(
                    Check::Authorize,
                    "the sign-in page was not looked at: no client could be registered.",
                    "",
                );
            } else {
                self.report.unseen(
                    Check::Authorize,
                    "the sign-in page was not looked at: that takes a client, and none was registered (--no-register).",
                    "Look again without --no-register.",
                );
            }
            if register {
                documents::check(self, issuer, &asked).await;
            }
            self.tell()?;
            token_endpoint::check(self, issuer, client.as_ref(), &resource).await;
            saved::check(self, issuer, home).await;
            self.tell()?;
        }
        cors::check(self, issuer.as_ref(), named.as_ref(), register).await;
        self.tell()?;
        if let Some(token) = token {
            session::check(self, token).await;
        }
        Ok(())
    }

    /// Prints what was found since the last time, where it is printed as it comes.
    fn tell(&mut self) -> Result<(), CliError> {
        if self.slowest >= self.patience.slow {
            let slowest = std::mem::take(&mut self.slowest).as_secs_f32();
            // Once is enough.
            self.patience.slow = Duration::MAX;
            self.report.warn(
                Check::Reach,
                format!("an answer took {slowest:.1} seconds: a sign-in is a dozen requests, one after the other, and the user waits for all of them."),
                "Look for what is slow: the server, a proxy in front, name resolution, or a resource limit.",
            );
        }
        if self.aloud { print(&self.report.untold()) } else { Ok(()) }
    }

    /// Asks as the clients' programs do: they follow redirects within the origin, or to its https, as long as the method stays.
    ///
    /// # Errors
    /// When no answer comes: what happened.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut answer = self.once(method.clone(), url, headers, body.clone()).await?;
        for _ in 0..REDIRECTS {
            let Some(next) = redirect::followed(&method, &answer) else { break };
            redirect::report_followed(self, &answer.url, &next);
            answer = self.once(method.clone(), &next, headers, body.clone()).await?;
        }
        Ok(answer)
    }

    /// GET, as [`Visit::ask`] does it.
    ///
    /// # Errors
    /// When no answer comes: what happened.
    pub(super) async fn get(&mut self, url: &Url) -> Result<Answer, String> {
        self.ask(Method::GET, url, &[], Bytes::new()).await
    }

    /// POST, as [`Visit::ask`] does it, from a page of `origin` if there is one.
    ///
    /// # Errors
    /// When no answer comes: what happened.
    pub(super) async fn post(
        &mut self,
        url: &Url,
        content: Content,
        origin: Option<&str>,
    ) -> Result<Answer, String> {
        let mut headers = vec![(header::CONTENT_TYPE, content.kind)];
        headers.extend(origin.map(|origin| (header::ORIGIN, origin)));
        self.ask(Method::POST, url, &headers, content.bytes).await
    }

    /// Asks once, and follows nothing.
    ///
    /// # Errors
    /// When no answer comes: what happened.
    pub(super) async fn once(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut all = vec![(header::ACCEPT_ENCODING, "identity")];
        all.extend(headers.iter().cloned());
        let began = Instant::now();
        let answer = self.http.send(method, url, &all, body).await;
        self.slowest = self.slowest.max(began.elapsed());
        answer
    }
}
