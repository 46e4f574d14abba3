//! The Rust SDK's client, signed in through a browser.

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};

use crate::{browser::Browser, net::http};

/// A connected client of one user.
#[derive(Debug)]
pub struct Rmcp(RunningService<RoleClient, ()>);

/// Where the codes go: an application's own scheme, so that the browser itself is the callback.
const REDIRECT_URI: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

impl Rmcp {
    /// Signs `user` in and connects, with the modern era first.
    pub async fn connect(url: &str, user: &str) -> Self {
        // Installs the crypto provider that rmcp's own client wants.
        let _ = http();
        let mut oauth = OAuthState::new(url, None).await.expect("the URL is good");
        let request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("Rust SDK");
        oauth.start_authorization(request).await.expect("discovery and registration work");
        let page = oauth.get_authorization_url().await.expect("it was started");
        let landed = Browser::of(user).sign_in(&page).await;
        assert_eq!(landed.status, 0, "{}\n{}", landed.url, landed.body);
        oauth.handle_callback_url(landed.url.as_str()).await.expect("the code is good");
        let manager = oauth.into_authorization_manager().expect("it is authorized");
        let client = AuthClient::new(reqwest::Client::default(), manager);
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::LATEST],
            legacy_version: None,
        };
        Self(().serve_with_lifecycle(transport, lifecycle).await.expect("it connects"))
    }

    /// The names of the tools.
    pub async fn tools(&self) -> Vec<String> {
        let tools = self.0.list_all_tools().await.expect("tools are listed");
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
        let result =
            self.0.call_tool(CallToolRequestParams::new("whoami")).await.map_err(|e| e.to_string())?;
        let result = serde_json::to_value(&result).map_err(|e| e.to_string())?;
        if result["isError"] == true {
            return Err(result.to_string());
        }
        Ok(result["content"][0]["text"].as_str().unwrap_or_default().to_owned())
    }
}
