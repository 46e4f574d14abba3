//! A tool backend that writes down every request, speaks both eras, and can fail in the ways real ones do.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use rmcp::{
    RoleServer, ServerHandler,
    handler::server::{router::tool::ToolRouter, tool::Extension, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, ServerCapabilities, ServerConfig},
    schemars,
    service::RequestContext,
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};

use crate::{
    net::{Server, http},
    record::{Log, Recorded, record},
};

/// The backend. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Backend {
    server: Arc<Server>,
    log: Log,
    fault: Arc<Mutex<Option<Fault>>>,
}

/// How the next requests fail, before the tools see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer ever.
    Hang,
    /// The connection breaks in the middle of an event stream.
    DieInStream,
    /// 200 with something that is not MCP.
    Garbage,
    /// This status, with a challenge and a cookie of the backend's own.
    Status(u16),
}

/// How the backend knows whose credential a call carries.
#[derive(Debug, Clone)]
pub enum Callers {
    /// Token to name.
    Tokens(HashMap<String, String>),
    /// It asks a GitHub at this base URL, and hides its 401 in a tool result, as most backends do.
    GitHub(String),
    /// It asks the user-info of an OpenID Connect provider at this issuer, and says of a 401 what axios makes of it.
    UserInfo(String),
}

impl Callers {
    /// Token and name, several times.
    pub fn tokens(pairs: &[(&str, &str)]) -> Self {
        Self::Tokens(pairs.iter().map(|(t, n)| ((*t).to_owned(), (*n).to_owned())).collect())
    }
}

impl Backend {
    /// Starts one.
    pub async fn start(callers: Callers) -> Self {
        let (log, fault) = (Log::default(), Arc::default());
        let tools = Tools { callers, tool_router: Tools::tool_router() };
        let service = StreamableHttpService::new(
            move || Ok(tools.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let router = Router::new()
            .nest_service("/mcp", service)
            .layer(middleware::from_fn_with_state(Arc::clone(&fault), fail))
            .layer(middleware::from_fn_with_state(log.clone(), record));
        Self { server: Arc::new(Server::start(router).await), log, fault }
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.server.origin())
    }

    /// Everything that reached it, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.log.all()
    }

    /// The requests that call a tool.
    pub fn calls(&self) -> Vec<Recorded> {
        self.requests().into_iter().filter(|r| r.rpc_method() == "tools/call").collect()
    }

    /// Forgets what reached it.
    pub fn clear(&self) {
        self.log.clear();
    }

    /// From now on every request fails like this, or none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }
}

async fn fail(State(fault): State<Arc<Mutex<Option<Fault>>>>, request: Request, next: Next) -> Response {
    let fault = *fault.lock().unwrap();
    match fault {
        None => next.run(request).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::DieInStream) => {
            let first = Ok::<_, Infallible>(Bytes::from_static(b"event: message\ndata: {\"jsonrpc\":"));
            let breaks = stream::iter([first]).map(|r| r.map_err(|never| match never {}));
            let breaks = breaks.chain(stream::once(async { Err(std::io::Error::other("the backend died")) }));
            ([("content-type", "text/event-stream")], Body::from_stream(breaks)).into_response()
        }
        Some(Fault::Garbage) => ([("content-type", "text/html")], "<h1>It works!</h1>").into_response(),
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            let headers = [("www-authenticate", "Bearer realm=\"backend\""), ("set-cookie", "backend=1")];
            (status, headers, "{\"message\":\"the backend's own words\"}").into_response()
        }
    }
}

#[derive(Debug, Clone)]
struct Tools {
    callers: Callers,
    tool_router: ToolRouter<Self>,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Write {
    /// The owner and name of the project, for example `alice/notes`.
    project: String,
}

#[tool_router]
impl Tools {
    /// Says whose credential this call carries.
    #[tool(name = "whoami")]
    async fn whoami(&self, Extension(parts): Extension<http::request::Parts>) -> CallToolResult {
        match self.caller(&parts).await {
            Ok(name) => CallToolResult::success(vec![ContentBlock::text(name)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
    }

    /// Writes to a project; only its owner may.
    #[tool(name = "write")]
    async fn write(
        &self,
        Parameters(Write { project }): Parameters<Write>,
        Extension(parts): Extension<http::request::Parts>,
    ) -> CallToolResult {
        match self.caller(&parts).await {
            Ok(name) if project.starts_with(&format!("{name}/")) => {
                CallToolResult::success(vec![ContentBlock::text(format!("{name} wrote to {project}"))])
            }
            Ok(name) => {
                CallToolResult::error(vec![ContentBlock::text(format!("{name} may not write to {project}"))])
            }
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
    }

    /// Never answers, until the client gives up.
    #[tool(name = "wait")]
    async fn wait(&self, context: RequestContext<RoleServer>) -> CallToolResult {
        context.ct.cancelled().await;
        CallToolResult::error(vec![ContentBlock::text("cancelled")])
    }
}

impl Tools {
    async fn caller(&self, parts: &http::request::Parts) -> Result<String, String> {
        let authorization = parts.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
        let token = authorization.strip_prefix("Bearer ").unwrap_or("");
        match &self.callers {
            Callers::Tokens(names) => {
                names.get(token).cloned().ok_or_else(|| format!("unknown token {token:?}"))
            }
            Callers::GitHub(base) => {
                let (status, user) = ask(&format!("{base}/api/v3/user"), token).await?;
                let name = user["login"].as_str().map(str::to_owned);
                name.ok_or_else(|| format!("GET /user: {status} {}", user["message"].as_str().unwrap_or("")))
            }
            Callers::UserInfo(issuer) => {
                let (status, user) = ask(&format!("{issuer}/userinfo"), token).await?;
                let name = user["name"].as_str().map(str::to_owned);
                name.ok_or_else(|| format!("Request failed with status code {}", status.as_u16()))
            }
        }
    }
}

/// What an API says to a token; nothing where it says no JSON.
async fn ask(url: &str, token: &str) -> Result<(StatusCode, serde_json::Value), String> {
    let request = http().get(url).bearer_auth(token).header("user-agent", "tools");
    let response = request.send().await.map_err(|e| e.to_string())?;
    Ok((response.status(), response.json().await.unwrap_or_default()))
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
