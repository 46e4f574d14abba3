//! `gatehouse token URL`: signs in like any MCP client and prints a bearer, for curl and scripts.

mod browser;
mod callback;
mod discovery;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use rand::Rng;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use url::Url;

use self::{callback::Callback, discovery::Server};
use super::{
    CliError,
    http::{Content, Http, Trust},
    print,
};

/// How long a user may take to sign in, unless told otherwise: as long as a sign-in lives at the gateway.
const PATIENCE: u64 = 600;

/// Sign in to an MCP server through the browser, like any client, and print the access token on the standard output.
///
/// Works with every MCP server that follows the MCP authorization specification: discovery (RFC 9728, RFC 8414),
/// dynamic registration (RFC 7591), PKCE. Everything but the token goes to the standard error.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The MCP endpoint, for example http://localhost:8080/mcp.
    url: Url,
    #[command(flatten)]
    trust: Trust,
    /// The id of a public client that the server knows, instead of registering one.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The scopes to ask for, separated by spaces. Default: what the server asks for.
    #[arg(long)]
    scope: Option<String>,
    /// Print the address of the sign-in page only; do not open a browser.
    #[arg(long)]
    no_browser: bool,
    /// How many seconds you have to sign in.
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE)]
    timeout: u64,
}

/// RFC 7591 section 3.2.1, as far as we need it.
#[derive(Deserialize)]
struct Registration {
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

pub(super) async fn run(args: TokenArgs) -> Result<(), CliError> {
    let TokenArgs { url, trust, client_id, scope, no_browser, timeout } = args;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(CliError::Input(format!(
            "{url} is not an MCP endpoint: it must begin with https:// or http://"
        )));
    }
    let http = trust.client()?;
    let server = discovery::discover(&http, &url).await.map_err(CliError::Failed)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|e| CliError::Failed(format!("cannot listen on 127.0.0.1: {e}")))?;
    let port = listener.local_addr().map_err(|e| CliError::Failed(e.to_string()))?.port();
    let redirect_uri = format!("http://127.0.0.1:{port}/callback");
    let client = match client_id {
        Some(client_id) => Registration { client_id, client_secret: None },
        None => register(&http, &server, &redirect_uri).await.map_err(CliError::Failed)?,
    };
    let scope = scope.or_else(|| server.scope.clone());
    let (verifier, state) = (random_text(), random_text());
    let page = authorization_url(&server, &client, &redirect_uri, scope.as_deref(), &verifier, &state);
    eprintln!("Sign in here:\n\n  {page}\n");
    if !no_browser {
        browser::open(page.as_str());
    }
    let wait = callback::receive(listener, &state, server.issuer_to_expect());
    let code = match tokio::time::timeout(Duration::from_secs(timeout), wait).await {
        Ok(Ok(Callback { code })) => code,
        Ok(Err(why)) => return Err(CliError::Failed(why)),
        Err(_) => {
            return Err(CliError::Failed(format!("nobody signed in within {timeout} seconds (--timeout)")));
        }
    };
    let tokens =
        redeem(&http, &server, &client, &redirect_uri, &code, &verifier).await.map_err(CliError::Failed)?;
    if let Some(seconds) = tokens.expires_in {
        eprintln!("Signed in. The token is good for {seconds} seconds.");
    }
    print(&format!("{}\n", tokens.access_token))
}

async fn register(http: &Http, server: &Server, redirect_uri: &str) -> Result<Registration, String> {
    let Some(endpoint) = &server.registration_endpoint else {
        return Err(format!(
            "{} does not register clients by itself: ask its owner for a client id and pass --client-id",
            server.issuer
        ));
    };
    let metadata = json!({
        "client_name": "gatehouse token",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    http.post(endpoint, Content::json(&metadata)).await?.json("the registration")
}

fn authorization_url(
    server: &Server,
    client: &Registration,
    redirect_uri: &str,
    scope: Option<&str>,
    verifier: &str,
    state: &str,
) -> Url {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let mut page = server.authorization_endpoint.clone();
    page.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &client.client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", state)
        .append_pair("resource", &server.resource);
    if let Some(scope) = scope {
        page.query_pairs_mut().append_pair("scope", scope);
    }
    page
}

async fn redeem(
    http: &Http,
    server: &Server,
    client: &Registration,
    redirect_uri: &str,
    code: &str,
    verifier: &str,
) -> Result<Tokens, String> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("client_id", &client.client_id),
        ("code_verifier", verifier),
        ("resource", &server.resource),
    ];
    // A server may register a confidential client although we asked for a public one.
    if let Some(secret) = &client.client_secret {
        form.push(("client_secret", secret));
    }
    http.post(&server.token_endpoint, Content::form(&form)).await?.json("the token endpoint's answer")
}

/// 256 random bits as 43 unreserved characters: a PKCE verifier (RFC 7636 section 4.1) or a state.
#[expect(clippy::disallowed_methods, reason = "a command that runs once has nothing to repeat")]
pub(super) fn random_text() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
