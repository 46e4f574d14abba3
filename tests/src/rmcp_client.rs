//! The Rust SDK's client, signed in through a browser.

use std::{fmt, sync::Arc};

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::{RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationCallback, AuthorizationManager, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{browser::Browser, net::http_for_streams, oauth::challenge_parameter};

/// A connected client of one user.
pub struct Rmcp {
    service: RunningService<RoleClient, ()>,
    auth: Arc<Mutex<AuthorizationManager>>,
    user: String,
}

impl fmt::Debug for Rmcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rmcp").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where the codes go: an application's own scheme, so that the browser itself is the callback.
const REDIRECT_URI: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

impl Rmcp {
    /// Signs `user` in and connects, with the modern era first.
    pub async fn connect(url: &str, user: &str) -> Self {
        Self::connect_by(url, user, None).await
    }

    /// [`Rmcp::connect`], with a document at this URL.
    pub async fn connect_by(url: &str, user: &str, document: Option<&str>) -> Self {
        // Making one installs the crypto provider that rmcp's own client wants, which trusts no CA of ours.
        let http = http_for_streams();
        let own = url.starts_with("https:").then(|| http.clone());
        let mut oauth = OAuthState::new(url, own).await.expect("the URL is good");
        let mut request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("Rust SDK");
        if let Some(document) = document {
            request = request.with_client_metadata_url(document);
        }
        oauth.start_authorization(request).await.expect("discovery and registration work");
        let page = oauth.get_authorization_url().await.expect("it was started");
        let landed = Browser::of(user).sign_in(&page).await;
        assert_eq!(landed.status, 0, "{}\n{}", landed.url, landed.body);
        oauth.handle_callback_url(landed.url.as_str()).await.expect("the code is good");
        let manager = oauth.into_authorization_manager().expect("it is authorized");
        let client = AuthClient::new(http, manager);
        let auth = Arc::clone(&client.auth_manager);
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::LATEST],
            legacy_version: None,
        };
        let service = ().serve_with_lifecycle(transport, lifecycle).await.expect("it connects");
        Self { service, auth, user: user.to_owned() }
    }

    /// The names of the tools.
    pub async fn tools(&self) -> Vec<String> {
        let tools = self.service.list_all_tools().await.expect("tools are listed");
        tools.into_iter().map(|t| t.name.into_owned()).collect()
    }

    /// Whom the backend takes the caller for.
    pub async fn whoami(&self) -> String {
        self.try_whoami().await.expect("the call works")
    }

    /// Whom the backend takes the caller for, or what the client says instead.
    ///
    /// # Errors
    /// Whatever stopped the call.
    pub async fn try_whoami(&self) -> Result<String, String> {
        let result = self.call("whoami", &json!({})).await.map_err(|e| e.to_string())?;
        if result["isError"] == true {
            return Err(result.to_string());
        }
        Ok(result["content"][0]["text"].as_str().unwrap_or_default().to_owned())
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// Whatever stopped the call; [`ServiceError::auth_challenge`] is what [`Rmcp::step_up`] wants.
    pub async fn call(&self, tool: &'static str, arguments: &Value) -> Result<Value, ServiceError> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let call = CallToolRequestParams::new(tool).with_arguments(arguments);
        let result = self.service.call_tool(call).await?;
        Ok(serde_json::to_value(&result).expect("a result is JSON"))
    }

    /// Signs the user in for what a challenge asks for. The SDK leaves that to its host.
    pub async fn step_up(&self, challenge: &str) {
        let auth = self.auth.lock().await;
        let scope = challenge_parameter(challenge, "scope");
        let page = auth.request_scope_upgrade(&scope).await.expect("the challenge names scopes");
        let landed = Browser::of(&self.user).sign_in(&page).await;
        let callback = AuthorizationCallback::from_redirect_url(landed.url.as_str());
        let AuthorizationCallback { code, csrf_token, issuer, .. } = callback.expect("a code arrived");
        let redeemed = auth.exchange_code_for_token_with_issuer(&code, &csrf_token, issuer.as_deref()).await;
        redeemed.expect("the code is good");
    }
}
