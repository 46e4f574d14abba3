//! A whole gateway on a loopback port, users who are signed in, and a client that shows every header.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use gatehouse_gateway::{
    app::{self, App},
    assemble::{Gateway, assemble},
    audit,
    clock::{ManualClock, SystemEntropy},
    credentials::{seal_profile, seal_tokens},
    egress::Egress,
    mcp::{Mcp, pods::Directory},
    model::{
        AccessToken, AuthMethod, AuthorizationCode, FlowId, FlowKind, FlowRequest, Grant, GrantId, Hash32,
        Profile, RedirectUri, RefreshToken, UpstreamTokens, UserId,
        registration::{ClientMetadata, Registration},
        user::IDENTITY_CREDENTIAL,
    },
    refs::{FixedRefs, Refs, Value as Secret},
    server::Identity,
    store::{CodeProof, Completion, NewTokens, Redemption, UserUpdate},
};
use gatehouse_gateway_config::{GatewayConfig, KeyRef, keys::Keyring};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{backend::Backend, provider::Provider};

pub(crate) const LIFE: Duration = Duration::from_secs(3600);

/// One gateway with everything around it.
pub(crate) struct Kit {
    pub gateway: Gateway,
    pub mcp: Arc<Mcp>,
    pub backend: Backend,
    pub provider: Provider,
    pub clock: ManualClock,
    pub trail: Arc<Trail>,
    pub refs: Arc<EditableRefs>,
    pub url: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// The audit events of a gateway, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Vec<u8>>);

impl audit::Sink for Trail {
    fn take(&self, record: &audit::Record<'_>) {
        record.json(&mut self.0.lock().unwrap());
    }
}

impl Trail {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The events of which a field has this value.
    pub(crate) fn with(&self, field: &str, value: &str) -> Vec<Value> {
        let events = self.text();
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event[field] == value).collect()
    }
}

/// Secrets that a test changes while the gateway runs.
#[derive(Debug)]
pub(crate) struct EditableRefs(Mutex<FixedRefs>);

impl EditableRefs {
    pub(crate) fn set(&self, key: KeyRef, value: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert(key, value.into());
    }
}

impl Refs for EditableRefs {
    fn get(&self, key: &KeyRef) -> Option<Secret> {
        self.0.lock().unwrap().get(key)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn error(&self) -> (u16, i64) {
        (self.status.as_u16(), self.json()["error"]["code"].as_i64().unwrap())
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

impl Kit {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A gateway whose server configuration was changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Value)) -> Self {
        Self::build(change, None).await
    }

    /// As [`Kit::with`], with other parts of the configuration.
    pub(crate) async fn with_parts(change: impl FnOnce(&mut Value), parts: Value) -> Self {
        Self::assembled(change, parts, None).await
    }

    pub(crate) async fn build(change: impl FnOnce(&mut Value), pods: Option<Arc<dyn Directory>>) -> Self {
        Self::assembled(change, json!({}), pods).await
    }

    async fn assembled(
        change: impl FnOnce(&mut Value),
        mut config: Value,
        pods: Option<Arc<dyn Directory>>,
    ) -> Self {
        let backend = Backend::start().await;
        let (provider, provider_url) = Provider::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let mut server = server(&origin, &provider_url, backend.address);
        change(&mut server);
        config["egress"] = json!({"allow": ["127.0.0.0/8"]});
        config["servers"] = json!([server]);
        let config = GatewayConfig::parse(&config.to_string()).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let refs = Arc::new(EditableRefs(Mutex::new(refs())));
        let trail = Arc::new(Trail::default());
        let gateway = assemble(
            &config,
            keyring(),
            refs.clone(),
            Arc::new(clock.clone()),
            Arc::new(SystemEntropy),
            Some(trail.clone()),
        )
        .unwrap();
        let (mcp, router) = routes(&gateway, &config, pods);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { gateway, mcp, backend, provider, clock, trail, refs, url: format!("{origin}/mcp"), http }
    }

    /// Signs a user in, as the OAuth endpoints do, and returns an access token.
    pub(crate) async fn sign_in(&self, subject: &str) -> String {
        self.sign_in_as(subject, |_| {}).await
    }

    pub(crate) async fn sign_in_as(&self, subject: &str, change: impl FnOnce(&mut Grant)) -> String {
        self.sign_in_for(subject, LIFE, change).await
    }

    /// As [`Kit::sign_in_as`], with another life of the access token.
    pub(crate) async fn sign_in_for(
        &self,
        subject: &str,
        access_life: Duration,
        change: impl FnOnce(&mut Grant),
    ) -> String {
        self.tokens_for(subject, access_life, change).await.0
    }

    /// As [`Kit::sign_in_for`]; the refresh token, too.
    pub(crate) async fn tokens_for(
        &self,
        subject: &str,
        access_life: Duration,
        change: impl FnOnce(&mut Grant),
    ) -> (String, String) {
        let server = &self.gateway.server;
        let (store, entropy) = (&server.store, SystemEntropy);
        let secret = Hash32::of(b"cookie");
        let flow = FlowRequest {
            id: FlowId::new(&self.clock, &entropy),
            kind: FlowKind::Authorize,
            client_id: self.client_id(),
            client_name: "test client".into(),
            redirect_uri: "http://127.0.0.1/callback".into(),
            redirect_uri_implied: false,
            by_assertion: false,
            document: None,
            state: None,
            prompt: None,
            scope: "mcp".into(),
            resource: server.urls.resource.clone(),
            challenge: "challenge".into(),
            cookie: secret,
            nonce: secret,
        };
        store.create_flow(&flow, LIFE).await.unwrap();
        store.approve_flow(&flow.id, &secret, &secret, LIFE).await.unwrap();
        store.claim_callback(&flow.id, &secret, 1).await.unwrap();
        let completion = self.completion(&flow, subject, change);
        let (grant, code) = (completion.grant.clone(), completion.code);
        assert!(store.complete_flow(&completion).await.unwrap().is_some());
        let access = AccessToken::mint(&server.keys, &entropy);
        let proof = CodeProof {
            code,
            grant: grant.id,
            client_id: grant.client_id.clone(),
            redirect_uri: Some(flow.redirect_uri.clone()),
            challenge: flow.challenge,
            resource: None,
            assertion: None,
            heard: store.heard().mark,
            rules: completion.rules,
            judged: None,
        };
        let refresh = RefreshToken::mint(&server.keys, &entropy, grant.id, 1);
        let tokens = NewTokens {
            access: access.hash(),
            access_life,
            refresh: refresh.hash(),
            refresh_life: LIFE,
            sign_in_life: LIFE,
        };
        let redeemed = store.redeem_code(&proof, &tokens).await.unwrap();
        assert!(matches!(redeemed, Redemption::Redeemed { .. }), "{redeemed:?}");
        (access.expose().to_owned(), refresh.expose().to_owned())
    }

    /// A client that registers itself.
    pub(crate) fn client_id(&self) -> String {
        let metadata = ClientMetadata {
            issued_at: 1_800_000_000,
            auth_method: AuthMethod::None,
            name: Some("test client".into()),
            redirect_uris: vec![RedirectUri::parse("http://127.0.0.1/callback").unwrap()],
        };
        Registration::register(&self.gateway.server.keys, &SystemEntropy, metadata).unwrap().id
    }

    fn completion(&self, flow: &FlowRequest, subject: &str, change: impl FnOnce(&mut Grant)) -> Completion {
        let (server, entropy) = (&self.gateway.server, SystemEntropy);
        let identity = server.config.identity.id();
        let profile = profile(subject);
        let user = self.user(subject);
        let tokens = UpstreamTokens {
            access: format!("upstream-{subject}"),
            refresh: None,
            expires_at: None,
            issued_at: None,
            client_id: "upstream-client".into(),
        };
        let place = (identity.as_str(), &user, IDENTITY_CREDENTIAL);
        let mut grant = Grant {
            id: GrantId::random(&entropy),
            client_id: flow.client_id.clone(),
            client_name: flow.client_name.clone(),
            user,
            identity: identity.clone(),
            scope: flow.scope.clone(),
            resource: flow.resource.clone(),
            redirect_uri: flow.redirect_uri.clone(),
            redirect_uri_implied: flow.redirect_uri_implied,
            by_assertion: flow.by_assertion,
            created: 0,
        };
        change(&mut grant);
        Completion {
            flow: flow.id,
            attempt: 1,
            user: UserUpdate {
                id: user,
                identity: identity.clone(),
                profile: seal_profile(&server.keys, &entropy, &user, &profile),
            },
            // A file of users gives no tokens of an identity.
            identity_credential: matches!(server.identity, Identity::Provider(_))
                .then(|| seal_tokens(&server.keys, &entropy, place, &tokens)),
            code: AuthorizationCode::mint(&server.keys, &entropy, grant.id).hash(),
            grant,
            rules: server.rules(None).hash,
            challenge: flow.challenge.clone(),
            code_life: LIFE,
            client_life: LIFE,
            consent: Hash32::of(b"consent"),
            sealed_redirect: String::new(),
            session: None,
        }
    }

    /// The user of a subject.
    pub(crate) fn user(&self, subject: &str) -> UserId {
        let server = &self.gateway.server;
        server.keys.user_id(&server.config.identity.id(), &profile(subject))
    }

    /// Sends a request and returns when the answer's headers are there.
    pub(crate) async fn open(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.http.request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    /// Posts a message with a token and more headers.
    pub(crate) async fn post_with(
        &self,
        token: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        all.extend(headers);
        read(self.open(Method::POST, &self.url, &all, body).await).await
    }

    pub(crate) async fn post(&self, token: &str, message: &Value) -> Answer {
        self.post_with(token, &[], message.to_string()).await
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, token: &str) -> Answer {
        self.post(token, &tool_call()).await
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&self, method: Method, token: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {token}");
        let all = [&[("authorization", bearer.as_str())], headers].concat();
        read(self.open(method, &self.url, &all, Bytes::new()).await).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: http::Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// The next piece of a stream; `None` at its end.
pub(crate) async fn next(body: &mut Incoming) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

pub(crate) fn tool_call() -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "whoami"}})
}

/// Waits until something is so; the tests' own time limit ends a wait that is in vain.
pub(crate) async fn until(what: impl AsyncFn() -> bool) {
    while !what().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The keys of every kit.
pub(crate) fn keyring() -> Keyring {
    Keyring::generate(&mut StdRng::seed_from_u64(3))
}

fn profile(subject: &str) -> Profile {
    Profile { subject: subject.into(), name: Some(format!("user-{subject}")), ..Profile::default() }
}

fn refs() -> FixedRefs {
    let mut refs = FixedRefs::default();
    refs.insert(KeyRef::secret("idp", "secret"), b"upstream-secret".to_vec());
    refs.insert(KeyRef::secret("api", "key"), b"shared-key".to_vec());
    refs
}

fn routes(gateway: &Gateway, config: &GatewayConfig, pods: Option<Arc<dyn Directory>>) -> (Arc<Mcp>, Router) {
    let Some(pods) = pods else { return (gateway.mcp.clone(), gateway.router.clone()) };
    let egress = Egress::new(&config.egress).unwrap();
    let mcp = Mcp::new(gateway.server.clone(), &egress, pods, gateway.metrics.clone()).unwrap();
    let mcp = Arc::new(mcp.with_keep_alive(Duration::from_millis(30)));
    let app = Arc::new(App::new(gateway.server.clone(), Vec::new()));
    let router = app::router(&app, &mcp);
    (mcp, router)
}

fn server(origin: &str, provider: &str, backend: SocketAddr) -> Value {
    json!({
        "namespace": "team-a", "name": "tools",
        "url": format!("{origin}/mcp"), "issuer": origin,
        "identity": {"oauth2": {
            "provider": "GitHub",
            "authorizationUrl": format!("{provider}/authorize"), "tokenUrl": format!("{provider}/token"),
            "userInfo": {"url": format!("{provider}/user"), "subject": "/id", "name": "/login"},
            "clientId": "upstream-client", "clientSecret": {"name": "idp", "key": "secret"},
        }},
        "access": {"allow": "everyone"},
        "credentials": [
            {"name": "me", "kind": "fromIdentity"},
            {"name": "api", "kind": {"static": {"name": "api", "key": "key"}}},
        ],
        "backends": [{
            "name": "tools", "target": {"url": format!("http://{backend}/backend/mcp")},
            "inject": [
                {"credential": "me", "header": "Authorization", "format": "Bearer {token}"},
                {"credential": "api", "header": "X-Api-Key", "format": "{token}"},
            ],
            "headers": [{"name": "X-Toolsets", "value": "repos"}],
        }],
    })
}
