//! As much of a browser as the sign-in needs.

use bytes::Bytes;
use http::{HeaderName, Method, header};
use url::Url;

use super::visit::Visit;
use crate::cli::http::Answer;

/// A browser on a visit: it opens pages and keeps their cookies.
pub(super) struct Browser<'a> {
    /// The visit.
    pub(super) visit: &'a mut Visit,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    /// One without cookies.
    pub(super) fn new(visit: &'a mut Visit) -> Self {
        Self { visit, cookies: Vec::new() }
    }

    /// Opens a page as a user does who follows a link.
    pub(super) async fn open(&mut self, url: &Url) -> Result<Answer, String> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer =
            self.visit.once(Method::GET, url, &navigation(&cookies.join("; ")), Bytes::new()).await?;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().ok().and_then(|c| c.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.cookies.retain(|(kept, _)| kept != name.trim());
                self.cookies.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Ok(answer)
    }
}

/// What a browser sends when a user follows a link.
pub(super) fn navigation(cookies: &str) -> Vec<(HeaderName, &str)> {
    let mut headers = vec![
        (header::ACCEPT, "text/html,application/xhtml+xml"),
        (HeaderName::from_static("sec-fetch-site"), "none"),
        (HeaderName::from_static("sec-fetch-mode"), "navigate"),
        (HeaderName::from_static("sec-fetch-dest"), "document"),
        (HeaderName::from_static("sec-fetch-user"), "?1"),
    ];
    if !cookies.is_empty() {
        headers.push((header::COOKIE, cookies));
    }
    headers
}
