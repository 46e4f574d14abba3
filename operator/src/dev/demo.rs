//! The demo backend: an MCP server whose tools act on a small in-memory GitHub with the token that each call carries.

mod github;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::Router;
use rmcp::{
    ServerHandler,
    handler::server::{tool::Extension, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig},
    schemars::{self, JsonSchema},
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde::Deserialize;
use tokio::net::TcpListener;

use self::github::{GitHub, Refusal};

/// The path of the MCP endpoint.
const PATH: &str = "/mcp";

/// Serves the demo backend until the process ends.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, router()).await
}

/// Starts a demo backend on a free port of loopback, and gives its MCP endpoint.
///
/// # Errors
/// When loopback cannot be listened on.
pub async fn start() -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = endpoint(listener.local_addr()?);
    // It ends with the process.
    tokio::spawn(serve(listener));
    Ok(endpoint)
}

/// The MCP endpoint of a demo backend that listens there.
pub fn endpoint(address: SocketAddr) -> String {
    format!("http://{address}{PATH}")
}

fn router() -> Router {
    let tools = Tools { github: Arc::default() };
    // Without sessions, so that any replica, and curl, may call a tool at any time. It is meant to stand in a cluster
    // behind its Service's name, so every Host is right.
    let mut config = StreamableHttpServerConfig::default().disable_allowed_hosts();
    config.legacy_session_mode = false;
    config.json_response = true;
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new().nest_service(PATH, service)
}

#[derive(Debug, Clone)]
struct Tools {
    github: Arc<GitHub>,
}

/// What `create-issue` takes.
#[derive(Debug, Deserialize, JsonSchema)]
struct NewIssue {
    /// The repository, for example `alice/notes`.
    repository: String,
    /// The issue's title.
    title: String,
}

#[tool_router]
impl Tools {
    #[tool(
        name = "whoami",
        description = "Whose credential this call carries.",
        annotations(read_only_hint = true)
    )]
    async fn whoami(&self, Extension(parts): Extension<http::request::Parts>) -> CallToolResult {
        result(GitHub::user(token(&parts)).map(str::to_owned))
    }

    #[tool(
        name = "get-my-repos",
        description = "The repositories of the signed-in user.",
        annotations(read_only_hint = true)
    )]
    async fn get_my_repos(&self, Extension(parts): Extension<http::request::Parts>) -> CallToolResult {
        result(GitHub::repositories(token(&parts)).map(|names| names.join("\n")))
    }

    #[tool(name = "create-issue", description = "Opens an issue in a repository of the signed-in user.")]
    async fn create_issue(
        &self,
        Parameters(NewIssue { repository, title }): Parameters<NewIssue>,
        Extension(parts): Extension<http::request::Parts>,
    ) -> CallToolResult {
        let opened = self.github.open_issue(token(&parts), &repository, title);
        result(opened.map(|number| format!("opened {repository}#{number}")))
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("gatehouse-demo", env!("CARGO_PKG_VERSION")))
    }
}

fn token(parts: &http::request::Parts) -> &str {
    let value = parts.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    value.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or("")
}

fn result(outcome: Result<String, Refusal>) -> CallToolResult {
    match outcome {
        Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
        Err(refusal) => CallToolResult::error(vec![ContentBlock::text(refusal.to_string())]),
    }
}
