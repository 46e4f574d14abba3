//! What can be wrong with a request to an OAuth endpoint, and the one place that maps it to an RFC's code.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::store::StoreError;

/// An error as a client reads it. Descriptions are ours: nothing that a request or a provider said is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthError {
    /// The request is malformed (RFC 6749 section 5.2).
    InvalidRequest(Cow<'static, str>),
    /// Unknown client or wrong credentials (RFC 6749 section 5.2). `basic`: the client used the `Authorization`
    /// header, and must read a challenge.
    InvalidClient {
        /// Why, and what to do.
        description: &'static str,
        /// Whether the client used HTTP Basic.
        basic: bool,
    },
    /// The code or refresh token is not good (RFC 6749 section 5.2).
    InvalidGrant(Cow<'static, str>),
    /// The client may not use this grant type (RFC 6749 section 5.2).
    UnauthorizedClient(&'static str),
    /// No such grant type (RFC 6749 section 5.2).
    UnsupportedGrantType,
    /// No such response type (RFC 6749 section 4.1.2.1).
    UnsupportedResponseType,
    /// The scope is malformed, unknown, or more than was granted (RFC 6749 section 5.2).
    InvalidScope,
    /// The refresh token was replaced a moment ago by tokens of a wider scope than is asked for (RFC 6749 section 6).
    ScopeReplaced,
    /// The resource is not this server's (RFC 8707 section 2).
    InvalidTarget,
    /// `request` and its kin are not supported (OpenID Connect Core section 6).
    RequestNotSupported,
    /// A redirect URI of a registration is refused (RFC 7591 section 3.2.2).
    InvalidRedirectUri(Cow<'static, str>),
    /// Other metadata of a registration is refused (RFC 7591 section 3.2.2).
    InvalidClientMetadata(Cow<'static, str>),
    /// The user, or the administrator's rules, said no (RFC 6749 section 4.1.2.1).
    AccessDenied(&'static str),
    /// The identity provider failed (RFC 6749 section 4.1.2.1).
    ServerError(&'static str),
    /// The store or the identity provider is away; trying again helps.
    Unavailable {
        /// When.
        retry_after: Duration,
    },
    /// Too many requests from one source.
    TooManyRequests {
        /// When the next is welcome.
        retry_after: Duration,
    },
    /// The body is encoded, which nothing here undoes (RFC 9110 section 15.5.16).
    Encoded,
    /// The body is longer than anything that we would read.
    TooLarge,
    /// The request did not arrive in time.
    TimedOut,
    /// Nothing is here.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// A loopback server was asked under another name.
    ForeignHost,
}

/// The body of RFC 6749 section 5.2, which RFC 7591 shares.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl OAuthError {
    /// This replica has not heard what time it is: nothing may be dated yet.
    pub const NOT_DATED: Self = Self::Unavailable { retry_after: Duration::from_secs(5) };
    /// What was presented may be sealed under a key that this replica cannot read: nothing is wrong with it then.
    pub const KEY_NOT_READ: Self = Self::Unavailable { retry_after: Duration::from_secs(5) };

    /// An assertion proves one request (RFC 7523 section 3).
    pub const ASSERTION_SPENT: Self = Self::InvalidClient {
        description: "the client_assertion was used before: sign a new one, with another jti, for each request",
        basic: false,
    };

    /// The RFC's code, for bodies and redirects.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_)
            | Self::Encoded
            | Self::TooLarge
            | Self::TimedOut
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::ForeignHost => "invalid_request",
            Self::InvalidClient { .. } => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope | Self::ScopeReplaced => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::RequestNotSupported => "request_not_supported",
            Self::InvalidRedirectUri(_) => "invalid_redirect_uri",
            Self::InvalidClientMetadata(_) => "invalid_client_metadata",
            Self::AccessDenied(_) => "access_denied",
            Self::ServerError(_) => "server_error",
            // `server_error` makes some clients start a sign-in in the browser.
            Self::Unavailable { .. } | Self::TooManyRequests { .. } => "temporarily_unavailable",
        }
    }

    /// What is wrong and what to do, in the characters that RFC 6749 allows.
    pub fn description(&self) -> &str {
        match self {
            Self::InvalidRequest(d)
            | Self::InvalidGrant(d)
            | Self::InvalidRedirectUri(d)
            | Self::InvalidClientMetadata(d) => d,
            Self::InvalidClient { description, .. }
            | Self::UnauthorizedClient(description)
            | Self::AccessDenied(description)
            | Self::ServerError(description) => description,
            Self::UnsupportedGrantType => {
                "grant_type must be authorization_code, refresh_token or client_credentials"
            }
            Self::UnsupportedResponseType => "response_type must be code",
            Self::InvalidScope => "scope is malformed, unknown, or more than was granted",
            Self::ScopeReplaced => {
                "the refresh token was replaced by tokens of a wider scope: ask with its successor, or for that scope"
            }
            Self::InvalidTarget => "resource must be the URL of this MCP server, once",
            Self::RequestNotSupported => "request, request_uri and registration are not supported",
            Self::Unavailable { .. } => "the service is briefly unavailable, please try again",
            Self::TooManyRequests { .. } => "too many requests, please try again later",
            Self::Encoded => "the body must be sent without a Content-Encoding",
            Self::TooLarge => "the request is too large",
            Self::TimedOut => "the request took too long",
            Self::NotFound => "there is nothing here",
            Self::MethodNotAllowed => "this method is not allowed here",
            Self::ForeignHost => "this server answers to localhost, 127.0.0.1 and [::1] only",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidGrant(_)
            | Self::UnauthorizedClient(_)
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::ScopeReplaced
            | Self::InvalidTarget
            | Self::RequestNotSupported
            | Self::InvalidRedirectUri(_)
            | Self::InvalidClientMetadata(_) => StatusCode::BAD_REQUEST,
            Self::InvalidClient { .. } => StatusCode::UNAUTHORIZED,
            Self::AccessDenied(_) => StatusCode::FORBIDDEN,
            Self::ServerError(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// After how long trying again makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after } | Self::TooManyRequests { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a sign-in step was refused: the store is away");
        Self::Unavailable { retry_after: Duration::from_secs(2) }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(Body { error: self.code(), error_description: self.description() });
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::InvalidClient { basic: true, .. }) {
            let challenge = HeaderValue::from_static("Basic realm=\"oauth\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self == Self::Encoded {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
