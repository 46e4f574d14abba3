//! Clients that cannot be had, as scripts that do what is publicly known of them.

mod documents;

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Client;
use serde_json::{Value, json};

use self::documents::ClientDocument;
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
    /// What it calls itself where it registers.
    client_name: &'static str,
    /// The redirect URIs that it registers. `{connector}` is an id that each connector has of its own.
    redirect_uris: &'static [&'static str],
    /// Where it then has its codes sent: the usual address first.
    pub callbacks: &'static [&'static str],
    auth_method: &'static str,
    application_type: &'static str,
    grant_types: &'static [&'static str],
    /// Whether its registration and its authorization requests name scopes.
    names_scopes: (bool, bool),
    /// Whether it registers anew at each sign-in.
    registers_anew: bool,
    /// Where it looks for the protected-resource document: each must hold the same.
    resource_documents: &'static [&'static str],
    /// What it does when a call needs a scope more.
    step_up: Challenged,
    /// What it names itself by, instead of registering, where it can ([`Scripted::by_document`]).
    pub document: Option<ClientDocument>,
    /// Where that is known from.
    pub sources: &'static [&'static str],
}

/// What a client does with a challenge for more scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenged {
    /// It signs its user in for them, and calls again.
    SignsIn,
    /// It tells its user to connect anew, and then asks for what it asked for at first.
    Reconnects,
    /// That is not public. The script then does what the specification says.
    Unknown,
}

const CODE_AND_REFRESH: &[&str] = &["authorization_code", "refresh_token"];
const INSERTED: &str = "/.well-known/oauth-protected-resource/mcp";
const ROOT: &str = "/.well-known/oauth-protected-resource";

/// The clients that cannot be had.
pub const PROFILES: [Profile; 4] = [
    Profile {
        name: "claude.ai",
        client_name: "Claude",
        redirect_uris: &["https://claude.ai/api/mcp/auth_callback"],
        callbacks: &["https://claude.ai/api/mcp/auth_callback"],
        auth_method: "client_secret_post",
        application_type: "web",
        grant_types: CODE_AND_REFRESH,
        names_scopes: (false, true),
        registers_anew: true,
        resource_documents: &[ROOT, INSERTED],
        step_up: Challenged::Reconnects,
        document: Some(documents::CLAUDE_AI),
        sources: &[
            // Its name, its callback, and that it registers anew when the token endpoint says invalid_client.
            "https://support.claude.com/en/articles/11503834-building-custom-connectors-via-remote-mcp-servers",
            // That it registers with every fresh connection.
            "https://claude.com/docs/connectors/building/authentication",
            // That it asks for the scopes of the challenge.
            "https://claude.com/docs/connectors/building/lazy-authentication",
            "https://github.com/anthropics/claude-ai-mcp/issues/667",
            "https://github.com/anthropics/claude-ai-mcp/issues/217",
            // That a challenge for more scopes ends in a reconnection for the first ones.
            "https://github.com/anthropics/claude-ai-mcp/issues/931",
        ],
    },
    Profile {
        name: "ChatGPT",
        client_name: "ChatGPT",
        redirect_uris: &["https://chatgpt.com/connector/oauth/{connector}"],
        callbacks: &["https://chatgpt.com/connector/oauth/{connector}"],
        auth_method: "none",
        application_type: "web",
        grant_types: CODE_AND_REFRESH,
        names_scopes: (false, false),
        registers_anew: false,
        resource_documents: &[INSERTED],
        step_up: Challenged::Unknown,
        document: Some(documents::CHATGPT),
        sources: &[
            "https://developers.openai.com/apps-sdk/build/auth",
            // The callback of each connector, and that it has no secret.
            "https://github.com/BasedHardware/omi/issues/8824",
            // That it reconnects without a scope.
            "https://community.openai.com/t/1366784",
        ],
    },
    Profile {
        name: "Cursor",
        client_name: "Cursor",
        redirect_uris: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        callbacks: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        auth_method: "none",
        application_type: "native",
        grant_types: CODE_AND_REFRESH,
        names_scopes: (false, true),
        registers_anew: false,
        resource_documents: &[INSERTED],
        step_up: Challenged::Unknown,
        document: None,
        sources: &[
            // The three of them in one request, and which one it uses.
            "https://github.com/erp-mafia/accounted/pull/2225",
            "https://github.com/soflyy/agent-connector-for-wp/issues/111",
            "https://github.com/bytebase/bytebase/issues/20510",
            // That it registers without a secret.
            "https://github.com/different-ai/openwork/pull/3059",
        ],
    },
    Profile {
        name: "VS Code",
        client_name: "Visual Studio Code",
        redirect_uris: &[
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
        ],
        // The last one where 33418 is taken.
        callbacks: &["http://127.0.0.1:33418/", "https://vscode.dev/redirect", "http://127.0.0.1:49321/"],
        auth_method: "none",
        application_type: "native",
        grant_types: &["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        names_scopes: (true, true),
        registers_anew: false,
        resource_documents: &[INSERTED],
        step_up: Challenged::SignsIn,
        document: Some(documents::VS_CODE),
        sources: &[
            // All of its registration, and that it compares the resource with the URL.
            "https://github.com/microsoft/vscode/blob/main/src/vs/base/common/oauth.ts",
            // That it registers anew when a refresh is answered invalid_client.
            "https://github.com/microsoft/vscode/blob/main/src/vs/workbench/api/common/extHostAuthentication.ts",
            "https://github.com/microsoft/vscode/issues/269883",
        ],
    },
];

/// A scripted client of one user.
#[derive(Debug)]
pub struct Scripted {
    profile: &'static Profile,
    url: String,
    http: Client,
    browser: Browser,
    redirect_uris: Vec<String>,
    callback: String,
    connector: String,
    /// Whether it names itself by its document.
    by_document: bool,
    client: Option<OAuthClient>,
    tokens: Option<(String, String)>,
    /// How often it has registered.
    pub registrations: usize,
}

/// What the server says about itself.
struct Discovered {
    issuer: String,
    /// What the challenge asks for.
    scope: String,
    /// What the resource's document lists.
    scopes_supported: String,
}

impl Scripted {
    /// A client that has never heard of `url`.
    pub fn new(profile: &'static Profile, url: &str, user: &str) -> Self {
        Self::with_callback(profile, url, user, profile.callbacks[0])
    }

    /// [`Scripted::new`], which has its codes sent to this one of its callbacks.
    pub fn with_callback(profile: &'static Profile, url: &str, user: &str, callback: &str) -> Self {
        static CONNECTORS: AtomicUsize = AtomicUsize::new(0);
        let connector = format!("OUbdUMlL{:04}", CONNECTORS.fetch_add(1, Ordering::Relaxed));
        let own = |uri: &str| uri.replace("{connector}", &connector);
        let callback = own(callback);
        Self {
            profile,
            url: url.to_owned(),
            http: http(),
            browser: Browser::of(user).stopping_at(&callback),
            redirect_uris: profile.redirect_uris.iter().map(|uri| own(uri)).collect(),
            callback,
            connector,
            by_document: false,
            client: None,
            tokens: None,
            registrations: 0,
        }
    }

    /// [`Scripted::with_callback`], which registers nowhere: it names itself by its document.
    ///
    /// # Panics
    /// When the client is not known to have one.
    pub fn by_document(profile: &'static Profile, url: &str, user: &str, callback: &str) -> Self {
        assert!(profile.document.is_some(), "{} has no document", profile.name);
        Self { by_document: true, ..Self::with_callback(profile, url, user, callback) }
    }

    /// Its id, once it has signed in.
    pub fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(OAuthClient::id)
    }

    fn document(&self) -> Option<&'static ClientDocument> {
        self.profile.document.as_ref().filter(|_| self.by_document)
    }

    /// Whom the backend takes the caller for, after whatever that takes: a refresh, or a new sign-in.
    pub async fn whoami(&mut self) -> String {
        text(&self.call("whoami", json!({})).await)
    }

    /// Calls a tool, after whatever that takes.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        let mut answer = self.try_call(tool, &arguments).await;
        if answer.status == 401 {
            self.renew().await;
            answer = self.try_call(tool, &arguments).await;
        }
        let challenged = answer.status == 403 && answer.challenge_parameter("error") == "insufficient_scope";
        if challenged && self.profile.step_up != Challenged::Reconnects {
            self.sign_in(Some(&answer.challenge_parameter("scope"))).await;
            answer = self.try_call(tool, &arguments).await;
        }
        answer
    }

    /// What it does when a call needs a scope more.
    pub fn challenged(&self) -> Challenged {
        self.profile.step_up
    }

    /// What its user does who is told to connect anew.
    pub async fn reconnect(&mut self) {
        self.client = None;
        self.sign_in(None).await;
    }

    async fn try_call(&mut self, tool: &str, arguments: &Value) -> Answer {
        if self.tokens.is_none() {
            self.sign_in(None).await;
        }
        let (client, tokens) = (self.client.as_ref().unwrap(), self.tokens.as_ref().unwrap());
        client.call(Some(&tokens.0), tool, arguments.clone()).await
    }

    /// Refreshes, or forgets what is no longer good: the tokens, and the registration where the server says so.
    pub async fn renew(&mut self) {
        let (client, tokens) = (self.client.as_ref().unwrap(), self.tokens.take().unwrap());
        let renewed = client.refresh(&tokens.1).await;
        match (renewed.status, renewed.get("error").as_str()) {
            (200, _) => self.tokens = Some((renewed.get("access_token"), renewed.get("refresh_token"))),
            (400, "invalid_grant") => {}
            // Nothing was decided.
            (503, "temporarily_unavailable") => self.tokens = Some(tokens),
            (401, "invalid_client") => self.client = None,
            _ => panic!("nothing that tells a client what to do: {} {}", renewed.status, renewed.text),
        }
    }

    /// Signs its user in, for `scope` instead of what it asks for at first.
    async fn sign_in(&mut self, scope: Option<&str>) {
        let found = self.discover().await;
        if let Some(document) = self.document() {
            let (name, issuer) = (self.profile.client_name, &found.issuer);
            let client = document.client(&self.http, name, issuer, &self.connector, &self.callback).await;
            self.client = Some(client);
        } else if self.client.is_none() || self.profile.registers_anew {
            self.client = Some(self.register(&found).await);
            self.registrations += 1;
        }
        let client = self.client.as_ref().unwrap();
        let first = Some(found.scope.as_str()).filter(|_| self.profile.names_scopes.1);
        let url = client.authorize_url_with(&[("scope", scope.or(first))]);
        let page = self.browser.sign_in(&url).await;
        assert!(
            page.url.as_str().starts_with(&self.callback) && page.status == 0,
            "{} {}\n{}",
            page.status,
            page.url,
            page.body
        );
        assert_eq!(page.parameter("iss").as_deref(), Some(&*found.issuer), "{}", page.url);
        assert_eq!(page.parameter("state").as_deref(), Some("the-state"), "{}", page.url);
        let answer = client.redeem(&page.parameter("code").unwrap_or_else(|| panic!("{}", page.url))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.tokens = Some((answer.get("access_token"), answer.get("refresh_token")));
    }

    /// The issuer and its scopes, found as it finds them.
    async fn discover(&self) -> Discovered {
        let refused = Answer::of(self.http.post(&self.url).send().await.unwrap()).await;
        assert_eq!(refused.status, 401, "{}", refused.text);
        let origin = self.url.strip_suffix("/mcp").unwrap();
        let mut documents = Vec::new();
        for place in self.profile.resource_documents {
            let document = Answer::of(self.http.get(format!("{origin}{place}")).send().await.unwrap()).await;
            // VS Code compares the URL letter by letter; the others accept a prefix.
            assert_eq!(document.get("resource"), self.url, "{}", document.text);
            documents.push(document.json());
        }
        assert!(documents.iter().all(|d| d == &documents[0]), "{documents:#?}");
        let issuer = documents[0]["authorization_servers"][0].as_str().unwrap().to_owned();
        let metadata = format!("{issuer}/.well-known/oauth-authorization-server");
        let metadata = Answer::of(self.http.get(&metadata).send().await.unwrap()).await.json();
        assert_eq!(metadata["issuer"], issuer.as_str(), "{metadata}");
        let wanted = self.document().map_or(self.profile.auth_method, ClientDocument::auth_method);
        let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
        assert!(methods.iter().any(|m| m == wanted), "{metadata}");
        let takes_documents = &metadata["client_id_metadata_document_supported"];
        assert!(!self.by_document || takes_documents == true, "{metadata}");
        let scopes = documents[0]["scopes_supported"].as_array().into_iter().flatten();
        let scopes: Vec<_> = scopes.filter_map(Value::as_str).collect();
        // What a client that registers a scope names, and may have to ask for more than.
        assert!(!scopes.is_empty(), "{}", documents[0]);
        let scope = refused.challenge_parameter("scope");
        Discovered { issuer, scope, scopes_supported: scopes.join(" ") }
    }

    async fn register(&self, found: &Discovered) -> OAuthClient {
        let Profile { client_name, auth_method, application_type, grant_types, .. } = self.profile;
        let mut metadata = json!({
            "client_name": client_name, "redirect_uris": self.redirect_uris,
            "token_endpoint_auth_method": auth_method, "grant_types": grant_types, "response_types": ["code"],
            "application_type": application_type,
        });
        if self.profile.names_scopes.0 {
            metadata["scope"] = found.scopes_supported.as_str().into();
        }
        let mut client = OAuthClient::register_metadata(self.http.clone(), &found.issuer, &metadata).await;
        assert_eq!(client.registration["redirect_uris"], metadata["redirect_uris"], "it uses any of them");
        client.redirect_uri.clone_from(&self.callback);
        client
    }
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
