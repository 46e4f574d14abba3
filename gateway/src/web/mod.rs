//! The pages that people see: consent, sign-in, account, and messages. No script, no external resource but the server's logo.

mod ability;
mod account;
mod consent;
pub(crate) mod date;
mod message;
mod signin;

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use url::Url;

pub use ability::{Ability, abilities};
pub use account::{AccountPage, ConnectedClient, OpenSession};
pub use consent::{ConsentPage, Destination, Identified, SignedInUser, Who};
pub use date::{Day, ago, day, span};
pub use message::{Link, MessagePage, Tone};
pub use signin::SignInPage;

use crate::server::Server;

/// The one style sheet, inside each page: its hash is what the policy of the page allows.
pub const STYLE: &str = include_str!("style.css");

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE)));

/// What every page shows of the server.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    /// Its name.
    pub name: &'a str,
    /// The first letter of its name, in place of a logo.
    pub initial: String,
    /// The host that users know from the address bar.
    pub host: &'a str,
    /// Its logo, https only.
    pub logo_url: Option<&'a str>,
    /// Where help is, https only.
    pub support_url: Option<&'a str>,
    /// The user's own page.
    pub account_link: String,
}

impl<'a> Site<'a> {
    /// What pages show of `server`.
    pub fn of(server: &'a Server) -> Self {
        let https = |url: &'a Option<String>| {
            let url = url.as_deref()?;
            Url::parse(url).ok().filter(|u| u.scheme() == "https").map(|_| url)
        };
        let name = server.display_name();
        let origin = &server.urls.origin;
        Self {
            name,
            initial: initial(name),
            host: origin.split_once("://").map_or(origin.as_str(), |(_, host)| host),
            logo_url: https(&server.config.display.logo_url),
            support_url: https(&server.config.display.support_url),
            account_link: format!("{}/account", server.urls.issuer_path),
        }
    }

    /// The logo as a policy names it (CSP 3 section 2.3.1): without a query, and with what would end it escaped.
    fn logo_source(&self) -> Option<String> {
        let url = Url::parse(self.logo_url?).ok()?;
        let path = url.path().replace(';', "%3B").replace(',', "%2C");
        Some(format!("{}{path}", url.origin().ascii_serialization()))
    }
}

/// The first letter or digit of a name.
pub fn initial(name: &str) -> String {
    let first = name.chars().find(|c| c.is_alphanumeric());
    first.map_or_else(|| "·".to_owned(), |c| c.to_uppercase().collect())
}

/// A page as a response: never stored, never framed, without script, leaking no address.
pub fn respond(status: StatusCode, site: &Site<'_>, page: &impl Template) -> Response {
    let body = match page.render() {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let images = site.logo_source().map(|logo| format!("; img-src {logo}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'{images}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_HASH
    );
    let mut response = (status, Html(body)).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A URL's serialization and base64 are ASCII.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
