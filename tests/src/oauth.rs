//! An OAuth and MCP client at the level of HTTP, for what the SDKs do not let a test do wrong.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    browser::{Browser, Page},
    idp::{now, signing::SigningKey},
    net::http,
};

/// An application's own scheme: the browser stops there, and its address holds the code.
pub const REDIRECT_URI: &str = "cursor://anysphere.cursor-mcp/oauth/callback";
/// A PKCE verifier (RFC 7636 section 4.1).
pub const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-0123";

/// A registered client of one MCP endpoint.
#[derive(Debug, Clone)]
pub struct OAuthClient {
    /// The MCP URL.
    pub url: String,
    /// The issuer.
    pub issuer: String,
    /// Where codes go.
    pub redirect_uri: String,
    /// The registration's answer.
    pub registration: Value,
    http: Client,
    /// What it signs its assertions with.
    key: Option<Arc<SigningKey>>,
}

/// The kind of an assertion that is a JWT (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An answer, read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The challenge, or nothing.
    pub challenge: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap_or_default();
        let mut this = Self { status, challenge: String::new(), headers, text };
        this.challenge = this.header("www-authenticate").to_owned();
        this
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// A parameter of the challenge, or nothing.
    pub fn challenge_parameter(&self, name: &str) -> String {
        challenge_parameter(&self.challenge, name)
    }

    /// Whether it is this error of OAuth's.
    pub fn is_error(&self, status: u16, code: &str) -> bool {
        self.status == status && self.get("error") == code
    }

    /// The body as JSON, also when it is the first event of a stream.
    pub fn json(&self) -> Value {
        let event = self.text.lines().filter_map(|l| l.strip_prefix("data:")).find(|l| l.contains('{'));
        serde_json::from_str(event.unwrap_or(&self.text)).unwrap_or_default()
    }

    /// A text in the body.
    pub fn get(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }
}

impl OAuthClient {
    /// Registers a public client.
    pub async fn register(issuer: &str) -> Self {
        Self::register_with(issuer, "none", REDIRECT_URI).await
    }

    /// Registers a client that authenticates with `method` at the token endpoint.
    pub async fn register_as(issuer: &str, method: &str) -> Self {
        Self::register_with(issuer, method, REDIRECT_URI).await
    }

    /// Registers a client with a redirect URI of its own.
    pub async fn register_with(issuer: &str, method: &str, redirect_uri: &str) -> Self {
        Self::register_through(http(), issuer, method, redirect_uri).await
    }

    /// [`OAuthClient::register_with`], asking through this HTTP client, now and later.
    pub async fn register_through(http: Client, issuer: &str, method: &str, redirect_uri: &str) -> Self {
        let metadata = json!({
            "client_name": "test", "redirect_uris": [redirect_uri], "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        });
        Self::register_metadata(http, issuer, &metadata).await
    }

    /// Registers with this metadata, and uses its first redirect URI.
    pub async fn register_metadata(http: Client, issuer: &str, metadata: &Value) -> Self {
        let response = http.post(format!("{issuer}/oauth/register")).json(metadata).send().await;
        let answer = Answer::of(response.expect("the gateway answers")).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self {
            url: format!("{issuer}/mcp"),
            issuer: issuer.to_owned(),
            redirect_uri: metadata["redirect_uris"][0].as_str().expect("it has one").to_owned(),
            registration: answer.json(),
            http,
            key: None,
        }
    }

    /// A public client that registers nowhere: `id` is the URL of its document.
    pub fn named(http: Client, issuer: &str, id: &str, redirect_uri: &str) -> Self {
        Self {
            url: format!("{issuer}/mcp"),
            issuer: issuer.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            registration: json!({ "client_id": id }),
            http,
            key: None,
        }
    }

    /// Proves itself with this key from now on (`private_key_jwt`).
    pub fn signs_with(&mut self, key: Arc<SigningKey>) {
        self.key = Some(key);
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.registration["client_id"].as_str().expect("a registration has a client_id")
    }

    /// The address of the consent page.
    pub fn authorize_url(&self) -> String {
        self.authorize_url_with(&[])
    }

    /// [`OAuthClient::authorize_url`] with some parameters replaced, or left out.
    pub fn authorize_url_with(&self, other: &[(&str, Option<&str>)]) -> String {
        let mut url = Url::parse(&format!("{}/oauth/authorize", self.issuer)).expect("the issuer is a URL");
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.id()),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "the-state"),
            ("resource", &self.url),
        ];
        replace(&mut parameters, other);
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// Signs the browser's user in; the page that it ends at.
    pub async fn sign_in(&self, browser: &Browser) -> Page {
        browser.sign_in(&self.authorize_url()).await
    }

    /// A code for the browser's user.
    pub async fn code(&self, browser: &Browser) -> String {
        let page = self.sign_in(browser).await;
        page.parameter("code")
            .unwrap_or_else(|| panic!("no code: {} {}\n{}", page.status, page.url, page.body))
    }

    /// Redeems a code.
    pub async fn redeem(&self, code: &str) -> Answer {
        self.redeem_with(code, &[]).await
    }

    /// Redeems a code with some parameters replaced, or left out.
    pub async fn redeem_with(&self, code: &str, other: &[(&str, Option<&str>)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
            ("resource", &self.url),
        ];
        replace(&mut form, other);
        self.token(&form).await
    }

    /// Uses a refresh token.
    pub async fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Signs the browser's user in all the way; access and refresh token.
    pub async fn tokens(&self, browser: &Browser) -> (String, String) {
        let answer = self.redeem(&self.code(browser).await).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (answer.get("access_token"), answer.get("refresh_token"))
    }

    /// Asks the token endpoint, authenticated as it was registered.
    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token", form, &[]).await
    }

    /// Gives a token back, authenticated as it was registered (RFC 7009 section 2.1).
    pub async fn revoke(&self, token: &str) -> Answer {
        self.post("/oauth/revoke", &[("token", token)], &[]).await
    }

    /// Posts a form to an endpoint of programs with more headers, authenticated as it was registered.
    pub async fn post(&self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let secret = self.registration["client_secret"].as_str();
        let assertion = self.key.as_ref().map(|key| key.sign(&self.claims()));
        let mut form = form.to_vec();
        if let Some(assertion) = &assertion {
            form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)]);
        }
        let mut request = self.http.post(format!("{}{path}", self.issuer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match (secret, self.registration["token_endpoint_auth_method"].as_str()) {
            (Some(secret), Some("client_secret_basic")) => {
                request = request.basic_auth(self.id(), Some(secret));
            }
            (Some(secret), _) => form.extend([("client_id", self.id()), ("client_secret", secret)]),
            (None, _) => form.push(("client_id", self.id())),
        }
        Answer::of(request.form(&form).send().await.expect("the gateway answers")).await
    }

    /// What an assertion says of it (RFC 7523 section 3), each once.
    fn claims(&self) -> Value {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (id, now) = (self.id(), now());
        json!({
            "iss": id, "sub": id, "aud": format!("{}/oauth/token", self.issuer), "iat": now, "exp": now + 60,
            "jti": format!("assertion-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// A POST to the MCP endpoint.
    pub fn mcp(&self, token: Option<&str>, body: &Value) -> RequestBuilder {
        mcp(&self.http, &self.url, token, body)
    }

    /// Calls `whoami` without a session, as curl does.
    pub async fn whoami(&self, token: Option<&str>) -> Answer {
        self.call(token, "whoami", json!({})).await
    }

    /// Calls a tool without a session.
    pub async fn call(&self, token: Option<&str>, tool: &str, arguments: Value) -> Answer {
        let request = self.call_request(token, tool, arguments);
        Answer::of(request.send().await.expect("the gateway answers")).await
    }

    /// The request of [`OAuthClient::call`].
    pub fn call_request(&self, token: Option<&str>, tool: &str, arguments: Value) -> RequestBuilder {
        let mut body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": tool,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        body["params"]["arguments"] = arguments;
        self.mcp(token, &body)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
    }
}

fn replace<'a>(parameters: &mut Vec<(&'a str, &'a str)>, other: &[(&'a str, Option<&'a str>)]) {
    for (name, value) in other {
        parameters.retain(|(found, _)| found != name);
        parameters.extend(value.map(|value| (*name, value)));
    }
}

/// A parameter of a `WWW-Authenticate: Bearer` challenge (RFC 6750 section 3), or nothing. Ours are all quoted.
pub fn challenge_parameter(challenge: &str, name: &str) -> String {
    let parameters = challenge.trim_start_matches("Bearer ").split(", ");
    let found = parameters.filter_map(|p| p.split_once("=\"")).find(|(n, _)| *n == name);
    found.map(|(_, value)| value.trim_end_matches('"').to_owned()).unwrap_or_default()
}

/// A POST to an MCP endpoint.
pub fn mcp(http: &Client, url: &str, token: Option<&str>, body: &Value) -> RequestBuilder {
    let request = http.post(url).header("accept", "application/json, text/event-stream").json(body);
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}
