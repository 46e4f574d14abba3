//! A small MCP server with sign-in that is as it should be, but for one thing.

use std::sync::Arc;

use super::tls::{Certificate, Tls};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use url::Url;

macro_rules! breaks {
    ($($name:ident),+ $(,)?) => {
        /// The one thing that is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Break { $($name),+ }

        impl Break {
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

breaks! {
    WwwRedirect, LoginPage, NoTokenNeeded, EndpointNotFound, ForbiddenNotUnauthorized, StoreAway, NoChallenge, BasicFirst,
    ErrorWithoutToken, ChallengeOfOtherOrigin, GetIsNotAllowed, ResourceBehindLogin, WellKnownIsPage, ResourceFails,
    ResourceRefusesOldVersion, ResourceNull, ResourceOfOtherHost, ResourceIsOrigin, ResourceWithSlash,
    ResourceNamesNobody, OfflineAccessOfResource, NoMetadata, IssuerWithSlash, MetadataNull, NoS256, NoNone,
    NoRegistration, RegistrationNull, RegistrationWithoutUris, RegistrationFloat, RegistrationWithoutSecret,
    RegistrationRefusesCursor, RegistrationCached, AuthorizeNotFound, AuthorizeCircle, AuthorizeSendsBack,
    AuthorizeTrustsAnybody, ApprovalByForm, PageInFrames, PageCached, CookieLost, CallbackNotRegistered, TokenIsPage,
    TokenFails, TokenSaysServerError, PagesRefused, NoPreflight, NothingExposed, PageReadable, SessionExpired, NotAllowed,
    BackendRefused, DiscoverFails, ClockOff, NothingListens, NameUnknown, PrivateAddress, PlainHttp, CertificateExpired,
    CertificateOfOtherHost, CertificateUnknown, IntermediateMissing, PrefixStripped, RateLimited, IncidentPage,
    DocumentsMisstated, DocumentsUnusable, FormActionNone, Sandboxed, PasswordChanged, BackendIncident, StaleRegistration,
    IssuerInside, TokenSaysSuccess, TokenGivesAway, NoResource, SlashRedirect, Compressed, ByteOrderMark, BasicLineFirst,
    BasicAndElsewhere, SpacedChallenge, ResourceClosed, TokenClosed, FoundRedirect, LoginRedirect, BackendAway, NotRouted,
    IssuerNameUnknown, RegistrationNameUnknown, RegistrationFails, PageIsText, AuthorizeLeadsNowhere, IssuerOfAnother,
    IssuerMissing, ResourceOfOtherPort, GetWithoutChallenge, TokenIsText, Garbled, HandshakeEnds, FormActionInPage,
    ApprovalInSingleQuotes, RedirectedTwice, EndpointPlain, EndpointRelative, EndpointMissing, NoCode, IssUnsaid,
}

/// The server; it runs until it is stopped.
pub(super) struct Server {
    /// Its MCP endpoint.
    pub(super) url: Url,
    /// The CA to trust, where it has TLS.
    pub(super) ca: Option<CertificateDer<'static>>,
    /// A registration that `mcp-remote` keeps for it.
    pub(super) saved: Option<&'static str>,
    task: JoinHandle<()>,
}

/// What says that an answer is JSON.
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
/// Where the protected-resource document is.
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

struct Site {
    origin: String,
    /// The identity provider: the same server by another name of this machine.
    provider: String,
    /// The authorization server: the same server, with a path of its own if it has one.
    issuer: String,
    broken: Option<Break>,
}

/// A name that leads nowhere: a part of it is longer than it may be (RFC 1035 section 2.3.4), so no resolver is asked.
fn nowhere(top: &str) -> String {
    format!("{}.{top}", "n".repeat(64))
}

impl Server {
    pub(super) async fn start(broken: Option<Break>) -> Self {
        let certificate = match broken {
            Some(Break::CertificateExpired) => Some(Certificate::Expired),
            Some(Break::CertificateOfOtherHost) => Some(Certificate::OfOtherHost),
            Some(Break::CertificateUnknown) => Some(Certificate::OfUnknownCa),
            Some(Break::IntermediateMissing) => Some(Certificate::WithoutIntermediate),
            _ => None,
        };
        Self::with(broken, certificate, "").await
    }

    /// [`Server::start`], with TLS, and an issuer that has this path.
    pub(super) async fn with(broken: Option<Break>, certificate: Option<Certificate>, path: &str) -> Self {
        let host = if broken == Some(Break::PrivateAddress) { "0.0.0.0" } else { "127.0.0.1" };
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{host}:{port}");
        let provider = format!("{scheme}://localhost:{port}");
        let prefix = if broken == Some(Break::PrefixStripped) { "/tools" } else { "" };
        let issuer = match broken {
            Some(Break::IssuerInside) => format!("{scheme}://0.0.0.0:{port}"),
            Some(Break::IssuerNameUnknown) => format!("http://{}", nowhere("svc")),
            _ => format!("{origin}{path}"),
        };
        let site = Site { origin: origin.clone(), provider, issuer, broken };
        let router = Router::new().fallback(answer).with_state(Arc::new(site));
        let (tls, ca) = certificate.map(Tls::new).unzip();
        let task = tokio::spawn(async move {
            match tls {
                _ if broken == Some(Break::Garbled) => say(&listener, GARBLED).await,
                _ if broken == Some(Break::HandshakeEnds) => say(&listener, "").await,
                None => axum::serve(listener, router).await.unwrap(),
                Some(tls) => axum::serve(tls.over(listener), router).await.unwrap(),
            }
        });
        let mut url: Url = format!("{origin}{prefix}/mcp").parse().unwrap();
        match broken {
            Some(Break::NothingListens) => {
                task.abort();
                while !task.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
            Some(Break::PlainHttp | Break::HandshakeEnds) => url.set_scheme("https").unwrap(),
            Some(Break::NameUnknown) => url.set_host(Some(&nowhere("test"))).unwrap(),
            Some(Break::WwwRedirect) => url.set_host(Some("localhost")).unwrap(),
            _ => {}
        }
        let saved = (broken == Some(Break::StaleRegistration)).then_some("stale");
        Self { url, ca: ca.flatten(), saved, task }
    }
}

/// An answer whose body is in chunks that are none.
const GARBLED: &str = "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n";

/// Answers every connection with this, once it has said something, and ends it.
async fn say(listener: &TcpListener, answer: &str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = vec![0; 1 << 14];
        if stream.read(&mut said).await.is_ok() {
            // The client may be gone, and that is no matter.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    if site.is(Break::PrefixStripped) {
        match path.strip_prefix("/tools") {
            Some(rest) => path = rest,
            None => return StatusCode::NOT_FOUND.into_response(),
        }
    }
    if site.is(Break::RateLimited) {
        return page(StatusCode::TOO_MANY_REQUESTS, "Too many requests", "");
    }
    let elsewhere = match (site.broken, path) {
        (Some(Break::SlashRedirect | Break::RedirectedTwice), "/mcp") => Some("/mcp/"),
        (Some(Break::RedirectedTwice), "/mcp/") => Some("/mcp/end"),
        _ => None,
    };
    let mut response = if parts.method == Method::OPTIONS {
        site.preflight(path)
    } else if let Some(elsewhere) = elsewhere {
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere)]).into_response()
    } else if matches!(path, "/mcp" | "/mcp/" | "/mcp/end") {
        site.mcp(&parts.method, &parts.headers, &body)
    } else if path.starts_with("/.well-known/") {
        site.well_known(path, &parts.headers)
    } else {
        match path {
            "/oauth/register" => site.register(&body),
            "/oauth/token" => site.token(&body),
            "/oauth/authorize" => site.authorize(query),
            "/oauth/authorize/approve" => site.approve(&parts.headers),
            "/login" => site.provider(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    };
    site.finish(path, &mut response);
    response
}

impl Site {
    fn is(&self, broken: Break) -> bool {
        self.broken == Some(broken)
    }

    fn finish(&self, path: &str, response: &mut Response) {
        let headers = response.headers_mut();
        if self.is(Break::ClockOff) {
            headers.insert(header::DATE, HeaderValue::from_static("Wed, 01 Jan 2020 00:00:00 GMT"));
        }
        let program = path != "/login" && !path.starts_with("/oauth/authorize");
        if program || self.is(Break::PageReadable) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        if (self.is(Break::ResourceClosed) && path.starts_with(RESOURCE))
            || (self.is(Break::TokenClosed)
                && path == "/oauth/token"
                && response.status() != StatusCode::NO_CONTENT)
            || (self.is(Break::PagesRefused) && path == "/mcp")
        {
            response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        }
        let headers = response.headers_mut();
        if program && !self.is(Break::NothingExposed) {
            let exposed = HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    fn preflight(&self, path: &str) -> Response {
        if self.is(Break::PagesRefused) && path == "/mcp" {
            return StatusCode::FORBIDDEN.into_response();
        }
        if self.is(Break::NoPreflight) {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let headers =
            [(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, MCP-Protocol-Version")];
        (StatusCode::NO_CONTENT, headers).into_response()
    }

    fn mcp(&self, method: &Method, headers: &HeaderMap, body: &Bytes) -> Response {
        if headers.get(header::AUTHORIZATION).is_some_and(|v| v == "Bearer good") {
            return self.session(body);
        }
        match self.broken {
            Some(Break::WwwRedirect) => return to(&self.provider.replace("http://", "http://www.")),
            Some(Break::FoundRedirect) => return to("/mcp/"),
            Some(Break::LoginRedirect) => return to(&format!("{}/login?next=/mcp", self.provider)),
            Some(Break::BackendAway) => return page(StatusCode::BAD_GATEWAY, "502 Bad Gateway", ""),
            Some(Break::NotRouted) => return page(StatusCode::NOT_FOUND, "404 Not Found", ""),
            Some(Break::GetWithoutChallenge) if method == Method::GET => {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            Some(Break::LoginPage) => return page(StatusCode::OK, "Company login", ""),
            Some(Break::IncidentPage) => {
                let says = "<p>Request unsuccessful. Incident ID: 77-1234</p>";
                return page(StatusCode::FORBIDDEN, "", says);
            }
            Some(Break::NoTokenNeeded) => return axum::Json(json!({ "result": {} })).into_response(),
            Some(Break::EndpointNotFound) => return StatusCode::NOT_FOUND.into_response(),
            Some(Break::ForbiddenNotUnauthorized) => return StatusCode::FORBIDDEN.into_response(),
            Some(Break::StoreAway) => {
                return (
                    StatusCode::SERVICE_UNAVAILABLE,
                    axum::Json(json!({ "error": "temporarily_unavailable" })),
                )
                    .into_response();
            }
            Some(Break::GetIsNotAllowed) if method == Method::GET => {
                return StatusCode::METHOD_NOT_ALLOWED.into_response();
            }
            Some(Break::NoChallenge) => return StatusCode::UNAUTHORIZED.into_response(),
            _ => {}
        }
        let origin =
            if self.is(Break::ChallengeOfOtherOrigin) { "http://10.0.0.7:8080" } else { &self.origin };
        let place = if self.is(Break::BasicAndElsewhere) { "elsewhere" } else { "mcp" };
        let metadata = format!("resource_metadata=\"{origin}{RESOURCE}/{place}\"");
        let challenge = match self.broken {
            Some(Break::SpacedChallenge) => format!("Bearer {}", metadata.replace('=', " = ")),
            Some(Break::BasicFirst | Break::BasicAndElsewhere) => {
                format!("Basic realm=\"x\", Bearer {metadata}")
            }
            Some(Break::ErrorWithoutToken) => format!("Bearer error=\"invalid_token\", {metadata}"),
            _ => format!("Bearer {metadata}"),
        };
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        if self.is(Break::BasicLineFirst) {
            let basic = HeaderValue::from_static("Basic realm=\"x\"");
            response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
        }
        let challenge = HeaderValue::from_str(&challenge).unwrap();
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        response
    }

    fn session(&self, body: &Bytes) -> Response {
        let discover = body.windows(15).any(|w| w == b"server/discover");
        match self.broken {
            Some(Break::SessionExpired) => {
                let error =
                    json!({ "error": { "message": "Your GitHub session expired, please sign in again." } });
                (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response()
            }
            Some(Break::PasswordChanged) => {
                let error =
                    json!({ "error": { "message": "the access token is unknown, expired or revoked" } });
                (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response()
            }
            Some(Break::BackendIncident) => {
                let error = json!({ "error": { "message": "the tools cannot be reached (incident 5f3a)" } });
                (StatusCode::BAD_GATEWAY, axum::Json(error)).into_response()
            }
            Some(Break::NotAllowed) => {
                (StatusCode::FORBIDDEN, axum::Json(json!({ "error": "access_denied" }))).into_response()
            }
            Some(Break::BackendRefused) => StatusCode::BAD_GATEWAY.into_response(),
            Some(Break::DiscoverFails) if discover => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => axum::Json(json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).into_response(),
        }
    }

    fn well_known(&self, path: &str, headers: &HeaderMap) -> Response {
        if self.is(Break::WellKnownIsPage) {
            return page(StatusCode::OK, "Welcome", "");
        }
        let issuer: Url = self.issuer.parse().unwrap();
        let metadata =
            format!("/.well-known/oauth-authorization-server{}", issuer.path().trim_end_matches('/'));
        match (path, path.strip_prefix(RESOURCE)) {
            (_, Some("/elsewhere")) if self.is(Break::BasicAndElsewhere) => self.resource(headers),
            (_, Some("" | "/mcp")) if !self.is(Break::NoResource) && !self.is(Break::BasicAndElsewhere) => {
                self.resource(headers)
            }
            _ if path == metadata && !self.is(Break::NoMetadata) => self.metadata(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn resource(&self, headers: &HeaderMap) -> Response {
        let old =
            headers.get(HeaderName::from_static("mcp-protocol-version")).is_some_and(|v| v == "2024-11-05");
        match self.broken {
            Some(Break::ResourceBehindLogin) => return StatusCode::UNAUTHORIZED.into_response(),
            Some(Break::ResourceFails) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(Break::ResourceRefusesOldVersion) if old => return StatusCode::BAD_REQUEST.into_response(),
            _ => {}
        }
        let mut document = json!({
            "resource": format!("{}/mcp", self.origin),
            "authorization_servers": [self.issuer],
            "scopes_supported": ["mcp"],
        });
        match self.broken {
            Some(Break::ResourceNull) => document["jwks_uri"] = Value::Null,
            Some(Break::ResourceOfOtherHost) => document["resource"] = "https://www.example.com/mcp".into(),
            Some(Break::ResourceIsOrigin) => document["resource"] = self.origin.as_str().into(),
            Some(Break::ResourceWithSlash) => document["resource"] = format!("{}/mcp/", self.origin).into(),
            Some(Break::ResourceNamesNobody) => document["authorization_servers"] = json!([]),
            Some(Break::OfflineAccessOfResource) => {
                document["scopes_supported"] = json!(["mcp", "offline_access"]);
            }
            Some(Break::ResourceOfOtherPort) => document["resource"] = "http://127.0.0.1:1/mcp".into(),
            Some(Break::ByteOrderMark) => {
                return (JSON, format!("\u{feff}{document}")).into_response();
            }
            Some(Break::Compressed) => {
                return ([(header::CONTENT_ENCODING, "gzip")], JSON, &[0x1f, 0x8b][..]).into_response();
            }
            _ => {}
        }
        axum::Json(document).into_response()
    }

    fn metadata(&self) -> Response {
        let home = if self.is(Break::IssuerInside) { &self.issuer } else { &self.origin };
        let at = |path: &str| Value::from(format!("{home}{path}"));
        let mut document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "registration_endpoint": at("/oauth/register"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        });
        match self.broken {
            Some(Break::IssuerWithSlash) => document["issuer"] = at("/"),
            Some(Break::IssuerOfAnother) => document["issuer"] = "https://other.example.com".into(),
            Some(Break::IssuerMissing) => {
                document.as_object_mut().unwrap().remove("issuer");
            }
            Some(Break::EndpointPlain) => {
                document["token_endpoint"] = format!("http://{}/oauth/token", nowhere("test")).into();
            }
            Some(Break::EndpointRelative) => document["token_endpoint"] = "/oauth/token".into(),
            Some(Break::EndpointMissing) => {
                document.as_object_mut().unwrap().remove("token_endpoint");
            }
            Some(Break::NoCode) => document["response_types_supported"] = json!(["token"]),
            Some(Break::IssUnsaid) => {
                document.as_object_mut().unwrap().remove("authorization_response_iss_parameter_supported");
            }
            Some(Break::RegistrationNameUnknown) => {
                document["registration_endpoint"] = format!("https://{}/register", nowhere("test")).into();
            }
            Some(Break::MetadataNull) => document["registration_endpoint"] = Value::Null,
            Some(Break::NoS256) => document["code_challenge_methods_supported"] = json!(["plain"]),
            Some(Break::NoNone) => {
                document["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
            }
            Some(Break::NoRegistration) => {
                document.as_object_mut().unwrap().remove("registration_endpoint");
                document["client_id_metadata_document_supported"] = false.into();
            }
            Some(Break::DocumentsMisstated) => {
                document["client_id_metadata_document_supported"] = "true".into();
            }
            _ => {}
        }
        axum::Json(document).into_response()
    }

    fn register(&self, body: &Bytes) -> Response {
        if self.is(Break::RegistrationFails) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let asked: Value = serde_json::from_slice(body).unwrap();
        let uris = asked["redirect_uris"].clone();
        if self.is(Break::RegistrationRefusesCursor) && uris.to_string().contains("cursor:") {
            return (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": "invalid_redirect_uri" })))
                .into_response();
        }
        let mut client =
            json!({ "client_id": "client", "client_id_issued_at": 1_700_000_000, "redirect_uris": uris });
        match asked["token_endpoint_auth_method"].as_str().unwrap_or("client_secret_basic") {
            "none" => client["token_endpoint_auth_method"] = "none".into(),
            method => {
                client["token_endpoint_auth_method"] = method.into();
                client["client_secret"] = "secret".into();
                client["client_secret_expires_at"] = 0.into();
            }
        }
        match self.broken {
            Some(Break::RegistrationNull) => client["client_uri"] = Value::Null,
            Some(Break::RegistrationWithoutUris) => client["redirect_uris"] = json!([]),
            Some(Break::RegistrationFloat) => client["client_id_issued_at"] = json!(1_700_000_000.5),
            Some(Break::RegistrationWithoutSecret) => {
                client.as_object_mut().unwrap().remove("client_secret");
            }
            _ => {}
        }
        let cache = if self.is(Break::RegistrationCached) { "max-age=60" } else { "no-store" };
        (StatusCode::CREATED, [(header::CACHE_CONTROL, cache)], axum::Json(client)).into_response()
    }

    fn token(&self, body: &Bytes) -> Response {
        let known = body.windows(17).any(|w| w == b"client_id=client&");
        match self.broken {
            Some(Break::TokenIsPage) => return page(StatusCode::OK, "Welcome", ""),
            Some(Break::TokenIsText) => return (StatusCode::BAD_REQUEST, "Bad Request").into_response(),
            Some(Break::TokenGivesAway) => {
                return axum::Json(json!({ "access_token": "x", "token_type": "Bearer" })).into_response();
            }
            Some(Break::TokenFails) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => {}
        }
        let (status, error) = match known {
            _ if self.is(Break::TokenSaysSuccess) => (StatusCode::OK, "bad_verification_code"),
            true if self.is(Break::TokenSaysServerError) => (StatusCode::BAD_REQUEST, "server_error"),
            true => (StatusCode::BAD_REQUEST, "invalid_grant"),
            false => (StatusCode::UNAUTHORIZED, "invalid_client"),
        };
        (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(json!({ "error": error }))).into_response()
    }

    fn authorize(&self, query: &str) -> Response {
        let get = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.into_owned())
        };
        let back = get("redirect_uri").unwrap_or_default();
        let client = get("client_id").unwrap_or_default();
        let document = client.starts_with("https://") && !self.is(Break::DocumentsUnusable);
        if client != "client" && !document {
            return page(StatusCode::BAD_REQUEST, "Unknown client", "");
        }
        let registered = back.starts_with("http://localhost:") || document;
        if !registered && !self.is(Break::AuthorizeTrustsAnybody) {
            return page(StatusCode::BAD_REQUEST, "Unknown address", "");
        }
        match self.broken {
            Some(Break::AuthorizeLeadsNowhere) => return to(&format!("https://{}/auth", nowhere("test"))),
            Some(Break::PageIsText) => return "<!doctype html><title>Approve</title>".into_response(),
            Some(Break::AuthorizeNotFound) => return StatusCode::NOT_FOUND.into_response(),
            Some(Break::AuthorizeCircle) => return to(&format!("{}/oauth/authorize?{query}", self.origin)),
            Some(Break::AuthorizeSendsBack) => return to(&format!("{back}?error=invalid_scope&state=x")),
            Some(Break::AuthorizeTrustsAnybody) if back.starts_with("https:") => {
                return to(&format!("{back}?code=1"));
            }
            _ => {}
        }
        let content = if self.is(Break::ApprovalByForm) {
            "<form method=\"post\" action=\"/consent\"><button>Approve</button></form>"
        } else if self.is(Break::ApprovalInSingleQuotes) {
            "<form method='post' action='/consent'><button>Approve</button></form>"
        } else if self.is(Break::FormActionInPage) {
            "<meta http-equiv='Content-Security-Policy' content=\"form-action 'none'\">\
             <form method=\"post\" action=\"/oauth/signin\"><button>Sign in</button></form>"
        } else if self.is(Break::FormActionNone) || self.is(Break::Sandboxed) {
            "<form method=\"post\" action=\"/oauth/signin\"><input name=\"name\"><button>Sign in</button></form>"
        } else {
            "<a href=\"/oauth/authorize/approve?nonce=1&amp;decision=deny\">Deny</a>\
             <a href=\"/oauth/authorize/approve?nonce=1\">Approve</a>"
        };
        let mut response = page(StatusCode::OK, "Approve", content);
        let headers = response.headers_mut();
        let frames = if self.is(Break::PageInFrames) { "" } else { "; frame-ancestors 'none'" };
        let forms = match self.broken {
            Some(Break::FormActionNone) => "form-action 'none'",
            Some(Break::Sandboxed) => "sandbox allow-scripts",
            _ => "form-action 'self'",
        };
        let policy = format!("default-src 'none'; {forms}{frames}");
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).unwrap());
        let cache = if self.is(Break::PageCached) { "public" } else { "no-store" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        if !self.is(Break::CookieLost) {
            headers.insert(
                header::SET_COOKIE,
                HeaderValue::from_static("flow=1; HttpOnly; Secure; SameSite=Lax"),
            );
        }
        response
    }

    fn approve(&self, headers: &HeaderMap) -> Response {
        if headers.get(header::COOKIE).is_none_or(|c| c != "flow=1") {
            return page(StatusCode::FORBIDDEN, "Begun in another browser", "");
        }
        to(&format!("{}/login?redirect_uri={}/oauth/callback", self.provider, self.origin))
    }

    fn provider(&self) -> Response {
        if self.is(Break::CallbackNotRegistered) {
            return page(StatusCode::BAD_REQUEST, "Error", "The redirect_uri does not match.");
        }
        page(StatusCode::OK, "Sign in", "")
    }
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let text =
        format!("<!doctype html><html><head><title>{title}</title></head><body>{content}</body></html>");
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], Body::from(text)).into_response()
}

fn to(location: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
