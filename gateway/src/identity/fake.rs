//! A strict provider in this process, for tests: it records, rotates, and fails as it is told.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Form, Router,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatehouse_gateway_config::{
    EgressConfig, KeyRef, OAuth2Config, UserInfoConfig, preset::Provider as Preset,
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::Notify};

use super::Setup;
use crate::{clock::Clock, egress::Egress, refs::FixedRefs};

pub(crate) const CLIENT_ID: &str = "Ov23liFake";
pub(crate) const SECRET: &str = "fake-secret";
pub(crate) const REDIRECT_URI: &str = "https://gw.example/oauth/callback";

/// What the next request to the token endpoint or user-info meets.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Status(u16),
    Html,
    Long,
    Redirect(String),
    /// Never answers; the grant is not used up.
    Hang,
    /// Uses the grant up, then breaks the answer off.
    CommitAndBreak,
    /// Waits until it is told to go on, then answers as always.
    Wait,
    RateLimit(u64),
    Error(u16, &'static str),
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The forms of all requests to the token endpoint.
    pub(crate) token: Vec<HashMap<String, String>>,
    /// Paths and queries of all reads.
    pub(crate) reads: Vec<String>,
    /// Requests to anything else.
    pub(crate) sink: usize,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Mutex<Inner>,
    go: Notify,
    /// Told when a request waits.
    pub(crate) waits: Notify,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) seen: Seen,
    /// code → S256 challenge.
    pub(crate) codes: HashMap<String, String>,
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) expires_in: Option<i64>,
    generation: u32,
    pub(crate) token_faults: VecDeque<Fault>,
    pub(crate) read_faults: VecDeque<Fault>,
    pub(crate) teams: usize,
    /// The status of the list of teams, and what it says of the token's scopes.
    pub(crate) team_answer: (u16, Option<&'static str>),
    /// Further headers of the list of teams.
    pub(crate) team_headers: Vec<(&'static str, &'static str)>,
    /// The status of the list of addresses.
    pub(crate) email_status: u16,
    pub(crate) id: u64,
    /// As GitHub: errors come with status 200.
    errors_with_200: bool,
    pub(crate) withhold_refresh: bool,
}

impl Fake {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            state: Mutex::new(Inner {
                seen: Seen::default(),
                codes: HashMap::new(),
                access: "access-0".into(),
                refresh: Some("refresh-0".into()),
                expires_in: Some(28_800),
                generation: 0,
                token_faults: VecDeque::new(),
                read_faults: VecDeque::new(),
                teams: 2,
                team_answer: (200, None),
                team_headers: Vec::new(),
                email_status: 200,
                id: 4242,
                errors_with_200: true,
                withhold_refresh: false,
            }),
            go: Notify::new(),
            waits: Notify::new(),
        });
        let app = Router::new()
            .route("/token", post(token))
            .route("/user", get(user))
            .route("/emails", get(emails))
            .route("/teams", get(teams))
            .fallback(|State(fake): State<Arc<Self>>| async move {
                fake.inner().seen.sink += 1;
                StatusCode::OK
            })
            .with_state(Arc::clone(&fake));
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    pub(crate) fn go(&self) {
        self.go.notify_one();
    }

    pub(crate) fn fail_token(&self, faults: &[Fault]) {
        self.inner().token_faults.extend(faults.iter().cloned());
    }

    pub(crate) fn fail_read(&self, faults: &[Fault]) {
        self.inner().read_faults.extend(faults.iter().cloned());
    }

    pub(crate) fn refreshes(&self) -> usize {
        let inner = self.inner();
        inner.seen.token.iter().filter(|form| form["grant_type"] == "refresh_token").count()
    }

    /// GitHub's shape: preset, e-mails, teams.
    pub(crate) fn github(&self) -> OAuth2Config {
        let at = |path: &str| format!("http://{}{path}", self.address);
        OAuth2Config {
            provider: Some(Preset::GitHub),
            authorization_url: at("/authorize"),
            token_url: at("/token"),
            user_info: UserInfoConfig {
                url: at("/user"),
                emails_url: Some(at("/emails")),
                teams_url: Some(at("/teams")),
                ..Preset::GitHub.endpoints(None).user_info
            },
            client_id: CLIENT_ID.into(),
            client_secret: KeyRef::secret("github", "secret"),
            scopes: vec!["repo".into(), "read:org".into()],
            extra_parameters: vec![("allow_signup".into(), "false".into())],
            ca: None,
        }
    }

    async fn meet(&self, fault: Fault) -> Option<Response> {
        Some(match fault {
            Fault::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
            Fault::Html => {
                ([(header::CONTENT_TYPE, "text/html")], "<html>secret-page</html>").into_response()
            }
            Fault::Long => Body::from("x".repeat(10 * 1024 * 1024)).into_response(),
            Fault::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            Fault::Hang => std::future::pending().await,
            Fault::RateLimit(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
            }
            Fault::Error(status, code) => {
                let body = json!({"error": code, "error_description": "<b>phish</b>"});
                (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
            }
            Fault::Wait => {
                self.waits.notify_one();
                self.go.notified().await;
                return None;
            }
            Fault::CommitAndBreak => return None,
        })
    }
}

impl Inner {
    fn issue(&mut self) -> Response {
        self.generation += 1;
        self.access = format!("access-{}", self.generation);
        let mut answer = json!({"access_token": self.access, "token_type": "bearer", "scope": "repo"});
        if let Some(seconds) = self.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        if self.refresh.is_some() && !self.withhold_refresh {
            self.refresh = Some(format!("refresh-{}", self.generation));
            answer["refresh_token"] = json!(self.refresh);
        }
        axum::Json(answer).into_response()
    }

    fn refuse(&self, code: &str) -> Response {
        let status = if self.errors_with_200 { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        (status, axum::Json(json!({"error": code}))).into_response()
    }

    fn grant(&mut self, form: &HashMap<String, String>) -> Response {
        let has = |key: &str, value: &str| form.get(key).is_some_and(|found| found == value);
        if !has("client_id", CLIENT_ID) || !has("client_secret", SECRET) {
            return self.refuse("incorrect_client_credentials");
        }
        if has("grant_type", "refresh_token") {
            let current = self.refresh.clone();
            return match current.filter(|current| has("refresh_token", current)) {
                Some(_) => self.issue(),
                None => self.refuse("bad_refresh_token"),
            };
        }
        let verifier = form.get("code_verifier").map_or("", String::as_str);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let code = form.get("code").map_or("", String::as_str);
        let good = self.codes.remove(code).is_some_and(|expected| expected == challenge);
        if good && has("grant_type", "authorization_code") && has("redirect_uri", REDIRECT_URI) {
            self.issue()
        } else {
            self.refuse("bad_verification_code")
        }
    }
}

async fn token(
    State(fake): State<Arc<Fake>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    assert_eq!(headers[header::ACCEPT], "application/json");
    assert!(headers.contains_key(header::USER_AGENT));
    let fault = {
        let mut inner = fake.inner();
        inner.seen.token.push(form.clone());
        inner.token_faults.pop_front()
    };
    let breaks = matches!(fault, Some(Fault::CommitAndBreak));
    if let Some(fault) = fault
        && let Some(answer) = fake.meet(fault).await
    {
        return answer;
    }
    let answer = fake.inner().grant(&form);
    if breaks {
        let torn = futures::stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("torn"))]);
        return Body::from_stream(torn).into_response();
    }
    answer
}

/// `None`: the request may be answered.
async fn guard(fake: &Fake, headers: &HeaderMap, read: String) -> Option<Response> {
    let (fault, access) = {
        let mut inner = fake.inner();
        inner.seen.reads.push(read);
        (inner.read_faults.pop_front(), inner.access.clone())
    };
    if let Some(fault) = fault
        && let Some(answer) = fake.meet(fault).await
    {
        return Some(answer);
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let body = axum::Json(json!({"message": "Bad credentials"}));
    (bearer != Some(&format!("Bearer {access}"))).then(|| (StatusCode::UNAUTHORIZED, body).into_response())
}

async fn user(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    if let Some(answer) = guard(&fake, &headers, "/user".into()).await {
        return answer;
    }
    let id = fake.inner().id;
    axum::Json(json!({"id": id, "login": "octocat", "email": "unproven@evil.test"})).into_response()
}

async fn emails(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    if let Some(answer) = guard(&fake, &headers, "/emails".into()).await {
        return answer;
    }
    let status = StatusCode::from_u16(fake.inner().email_status).unwrap();
    if !status.is_success() {
        return status.into_response();
    }
    axum::Json(json!([
        {"email": "old@example.com", "primary": false, "verified": true},
        {"email": "octo@example.com", "primary": true, "verified": true},
        {"email": "another@example.com", "primary": false, "verified": false},
    ]))
    .into_response()
}

async fn teams(
    State(fake): State<Arc<Fake>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, usize>>,
) -> Response {
    let page = query.get("page").copied().unwrap_or(1);
    if let Some(answer) = guard(&fake, &headers, format!("/teams page {page}")).await {
        return answer;
    }
    let (teams, (status, scopes), more) = {
        let inner = fake.inner();
        (inner.teams, inner.team_answer, inner.team_headers.clone())
    };
    if status != 200 {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let size = query["per_page"];
    let this = (page - 1) * size..(page * size).min(teams);
    let items: Vec<Value> =
        this.map(|n| json!({"slug": format!("team-{n}"), "organization": {"login": "acme"}})).collect();
    let mut answer = axum::Json(items).into_response();
    if page * size < teams {
        let next = format!("<http://{}/teams?per_page={size}&page={}>; rel=\"next\"", fake.address, page + 1);
        answer.headers_mut().insert(header::LINK, next.parse().unwrap());
    }
    if let Some(scopes) = scopes {
        answer.headers_mut().insert("x-oauth-scopes", scopes.parse().unwrap());
    }
    for (name, value) in more {
        answer.headers_mut().append(name, value.parse().unwrap());
    }
    answer
}

/// Loopback is allowed, and the client secret is there.
pub(crate) fn setup(clock: Arc<dyn Clock>) -> Setup {
    let egress =
        Egress::new(&EgressConfig { allow: vec!["127.0.0.1".into()], ..EgressConfig::default() }).unwrap();
    let mut refs = FixedRefs::default();
    refs.insert(KeyRef::secret("github", "secret"), format!("{SECRET}\n").into_bytes());
    Setup { egress, refs: Arc::new(refs), clock, redirect_uri: REDIRECT_URI.into() }
}

/// Short enough for a test, long enough for a busy machine to answer in.
pub(crate) const IMPATIENT: Duration = Duration::from_millis(1500);
