//! A provider's token endpoint: one form post, and an answer of which little is believed.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use gatehouse_gateway_config::preset::ClientAuth;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{IdentityError, RenewError};
use crate::{
    clock::Clock,
    egress::{HttpClient, HttpError},
    model::UpstreamTokens,
};

/// After a 429 without a readable `Retry-After`.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(30);
/// However long a provider asks us to wait, a user is told within this time.
const RATE_LIMIT_MAX: Duration = Duration::from_secs(300);

/// One provider's token endpoint.
pub(super) struct TokenEndpoint<'a> {
    pub(super) http: &'a HttpClient,
    pub(super) clock: &'a dyn Clock,
    pub(super) url: &'a Url,
    pub(super) client_id: &'a str,
    /// `None`: a public client.
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) auth: ClientAuth,
}

/// What the endpoint gave.
pub(super) struct Granted {
    pub(super) tokens: UpstreamTokens,
    pub(super) id_token: Option<Zeroizing<String>>,
}

/// Both shapes of an answer: GitHub sends its errors with status 200.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<Seconds>,
    error: Option<String>,
}

/// Some providers write the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn millis(&self) -> Option<i64> {
        let seconds = match self {
            Self::Number(n) => *n,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        // Ten years are as good as for ever, and what is not positive says nothing.
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        (seconds > 0.0 && seconds < 315_360_000.0).then_some((seconds * 1000.0) as i64)
    }
}

impl TokenEndpoint<'_> {
    /// Sends one grant.
    pub(super) async fn request(&self, grant: &[(&str, &str)]) -> Result<Granted, RenewError> {
        let sent_at = self.clock.unix_millis();
        let answer = self.http.send(self.form(grant)?).await.map_err(|e| http_error(&e))?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(RenewError::RateLimited(retry_after(answer.headers())));
        }
        if status.is_server_error() || status.is_redirection() {
            return Err(RenewError::Transient(format!("the token endpoint answered {}", status.as_u16())));
        }
        let body = Zeroizing::new(answer.into_body().to_vec());
        let Ok(parsed) = serde_json::from_slice::<Answer>(&body) else {
            let found = format!("the token endpoint answered {} without readable JSON", status.as_u16());
            // A failure that is not JSON is some proxy's; a success that is not may have used the grant up.
            let unknown = status.is_success();
            return Err(if unknown { RenewError::Unknown(found) } else { RenewError::Transient(found) });
        };
        if let Some(code) = &parsed.error {
            return Err(error_code(code, status));
        }
        if !status.is_success() {
            return Err(RenewError::Transient(format!("the token endpoint answered {}", status.as_u16())));
        }
        self.granted(parsed, sent_at)
    }

    fn granted(&self, answer: Answer, sent_at: i64) -> Result<Granted, RenewError> {
        let bearer = answer.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let Some(access) = answer.access_token.filter(|token| bearer && !token.is_empty()) else {
            return Err(RenewError::Unknown("the answer holds no bearer token".to_owned()));
        };
        let tokens = UpstreamTokens {
            access,
            refresh: answer.refresh_token.filter(|token| !token.is_empty()),
            // Counted from before the request, so that we never believe a token longer than its issuer does.
            expires_at: answer.expires_in.as_ref().and_then(Seconds::millis).map(|life| sent_at + life),
            issued_at: Some(sent_at),
            client_id: self.client_id.to_owned(),
        };
        Ok(Granted { tokens, id_token: answer.id_token.map(Zeroizing::new) })
    }

    fn form(&self, grant: &[(&str, &str)]) -> Result<Request<Vec<u8>>, RenewError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(grant);
        let mut request = Request::post(self.url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, super::connect::USER_AGENT);
        match (&self.secret, self.auth) {
            (Some(secret), ClientAuth::Basic) => {
                // RFC 6749 section 2.3.1: both halves are form-encoded first.
                let encode =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Zeroizing::new(format!("{}:{}", encode(self.client_id), encode(secret)));
                request = request
                    .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            }
            (Some(secret), ClientAuth::Post) => {
                form.append_pair("client_id", self.client_id).append_pair("client_secret", secret);
            }
            (None, _) => {
                form.append_pair("client_id", self.client_id);
            }
        }
        let body = form.finish().into_bytes();
        request.body(body).map_err(|_| RenewError::Misconfigured("tokenUrl is not a URL".to_owned()))
    }
}

/// RFC 6749 section 5.2 and GitHub's own codes. The code is ours to print only when it is one that we know.
fn error_code(code: &str, status: StatusCode) -> RenewError {
    match code {
        // 401 is for a client that cannot prove itself; Atlassian writes this code with it.
        "access_denied" if status == StatusCode::UNAUTHORIZED => {
            RenewError::Misconfigured("the provider refuses the client's secret".to_owned())
        }
        "invalid_grant"
        | "bad_refresh_token"
        | "bad_verification_code"
        | "access_denied"
        | "interaction_required"
        | "login_required"
        | "consent_required"
        | "unverified_user_email" => RenewError::Refused(code.to_owned()),
        "invalid_client"
        | "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_scope"
        | "invalid_request"
        | "incorrect_client_credentials"
        | "redirect_uri_mismatch"
        | "application_suspended" => RenewError::Misconfigured(format!("the provider answers {code}")),
        "slow_down" => RenewError::RateLimited(RATE_LIMIT_PAUSE),
        "temporarily_unavailable" | "server_error" => RenewError::Transient(code.to_owned()),
        _ => RenewError::Transient("the provider answers an error that no standard names".to_owned()),
    }
}

/// How long a provider asks us to wait.
pub(super) fn retry_after(headers: &http::HeaderMap) -> Duration {
    let value = headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
    let seconds = value.and_then(|v| v.trim().parse::<u64>().ok());
    seconds.map_or(RATE_LIMIT_PAUSE, Duration::from_secs).min(RATE_LIMIT_MAX)
}

fn http_error(error: &HttpError) -> RenewError {
    match error {
        HttpError::Refused(_) | HttpError::Tls(_) => RenewError::Misconfigured(error.to_string()),
        HttpError::Connect(_) => RenewError::Transient(error.to_string()),
        HttpError::Timeout(_) | HttpError::Broken(_) | HttpError::TooLong(_) => {
            RenewError::Unknown(error.to_string())
        }
    }
}

impl From<RenewError> for IdentityError {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Refused(why) => Self::Refused(why),
            RenewError::RateLimited(_) | RenewError::Transient(_) | RenewError::Unknown(_) => {
                Self::Unavailable(error.to_string())
            }
            RenewError::Misconfigured(why) => Self::Misconfigured(why),
        }
    }
}

impl From<HttpError> for IdentityError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Refused(_) | HttpError::Tls(_) => Self::Misconfigured(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
