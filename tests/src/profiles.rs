//! Clients that cannot be had, as scripts that do what is known of them.

use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    net::http,
    oauth::{Answer, OAuthClient},
};

/// What is known of a client.
#[derive(Debug)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// The redirect URIs that it registers, of which it uses the first.
    pub redirect_uris: &'static [&'static str],
    /// How it authenticates at the token endpoint.
    auth_method: &'static str,
    /// More of its registration.
    application_type: &'static str,
    /// Whether it registers anew at each sign-in.
    registers_anew: bool,
    /// Where it looks for the protected-resource document.
    resource_document: &'static str,
    /// Where that is known from.
    pub source: &'static str,
}

/// The clients that cannot be had.
pub const PROFILES: [Profile; 4] = [
    Profile {
        name: "claude.ai",
        redirect_uris: &["https://claude.ai/api/mcp/auth_callback"],
        auth_method: "client_secret_post",
        application_type: "web",
        registers_anew: true,
        resource_document: "/.well-known/oauth-protected-resource",
        source: "Anthropic, \"Building custom connectors via remote MCP servers\"",
    },
    Profile {
        name: "ChatGPT",
        redirect_uris: &["https://chatgpt.com/connector/oauth/4f2c9d1e7a"],
        auth_method: "none",
        application_type: "web",
        registers_anew: false,
        resource_document: "/.well-known/oauth-protected-resource/mcp",
        source: "OpenAI, Apps SDK, \"Authentication\"",
    },
    Profile {
        name: "Cursor",
        redirect_uris: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        auth_method: "none",
        application_type: "native",
        registers_anew: false,
        resource_document: "/.well-known/oauth-protected-resource/mcp",
        source: "Cursor documentation, \"Model Context Protocol\", and its public issues",
    },
    Profile {
        name: "VS Code",
        redirect_uris: &[
            "http://127.0.0.1:33418/",
            "http://127.0.0.1/",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
        ],
        auth_method: "none",
        application_type: "native",
        registers_anew: false,
        resource_document: "/.well-known/oauth-protected-resource/mcp",
        source: "microsoft/vscode, src/vs/base/common/oauth.ts",
    },
];

/// A scripted client of one user.
#[derive(Debug)]
pub struct Scripted {
    profile: &'static Profile,
    url: String,
    http: Client,
    browser: Browser,
    client: Option<OAuthClient>,
    tokens: Option<(String, String)>,
}

impl Scripted {
    /// A client that has never heard of `url`.
    pub fn new(profile: &'static Profile, url: &str, user: &str) -> Self {
        let browser = Browser::of(user).stopping_at(profile.redirect_uris);
        Self { profile, url: url.to_owned(), http: http(), browser, client: None, tokens: None }
    }

    /// Whom the backend takes the caller for, after whatever that takes: a refresh, or a new sign-in.
    pub async fn whoami(&mut self) -> String {
        if let (Some(client), Some((access, refresh))) = (&self.client, self.tokens.take()) {
            let answer = client.whoami(Some(&access)).await;
            if answer.status == 200 {
                self.tokens = Some((access, refresh));
                return text(&answer);
            }
            let renewed = client.refresh(&refresh).await;
            if renewed.status == 200 {
                self.tokens = Some((renewed.get("access_token"), renewed.get("refresh_token")));
            } else {
                // What tells a client to sign in again, and nothing else.
                assert!(
                    ["invalid_grant", "invalid_client"].contains(&renewed.get("error").as_str()),
                    "{}",
                    renewed.text
                );
            }
        }
        if self.tokens.is_none() {
            self.sign_in().await;
        }
        let (client, tokens) = (self.client.as_ref().unwrap(), self.tokens.as_ref().unwrap());
        text(&client.whoami(Some(&tokens.0)).await)
    }

    async fn sign_in(&mut self) {
        let resource = self.discover().await;
        if self.client.is_none() || self.profile.registers_anew {
            self.client = Some(self.register(&resource).await);
        }
        let client = self.client.as_ref().unwrap();
        self.tokens = Some(client.tokens(&self.browser).await);
    }

    /// The issuer, found as it finds it.
    async fn discover(&self) -> String {
        let challenge = Answer::of(self.http.post(&self.url).send().await.unwrap()).await;
        assert_eq!(challenge.status, 401, "{}", challenge.text);
        let origin = self.url.strip_suffix("/mcp").unwrap();
        let place = format!("{origin}{}", self.profile.resource_document);
        let document = Answer::of(self.http.get(&place).send().await.unwrap()).await;
        // VS Code compares the URL letter by letter; the others accept a prefix.
        assert_eq!(document.get("resource"), self.url, "{}", document.text);
        let issuer = document.json()["authorization_servers"][0].as_str().unwrap().to_owned();
        let metadata = format!("{issuer}/.well-known/oauth-authorization-server");
        let metadata = Answer::of(self.http.get(&metadata).send().await.unwrap()).await.json();
        assert_eq!(metadata["issuer"], issuer.as_str(), "{metadata}");
        let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
        assert!(methods.iter().any(|m| m == self.profile.auth_method), "{metadata}");
        issuer
    }

    async fn register(&self, issuer: &str) -> OAuthClient {
        let Profile { name, redirect_uris, auth_method, application_type, .. } = self.profile;
        let metadata = json!({
            "client_name": name, "redirect_uris": redirect_uris, "token_endpoint_auth_method": auth_method,
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "application_type": application_type,
        });
        let client = OAuthClient::register_metadata(self.http.clone(), issuer, &metadata).await;
        let granted: Vec<_> =
            client.registration["redirect_uris"].as_array().unwrap().iter().map(Value::as_str).collect();
        assert!(
            redirect_uris.iter().all(|uri| granted.contains(&Some(uri))),
            "{name} uses any of them: {granted:?}"
        );
        client
    }
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
