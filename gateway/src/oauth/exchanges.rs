//! Codes on their way to the identity provider. Whoever begins a sign-in can come back with any code, and each is a request
//! with our secret: so many are under way at once, and of one network half of them, so that no stranger makes the provider
//! hold this server back.

use std::time::Duration;

use axum::http::HeaderMap;

use super::{OAuthError, known::KnownBrowser, source::Source};
use crate::{
    server::Server,
    shares::{Line, Turn},
};

/// How many are under way at once.
const AT_ONCE: usize = 32;
/// How many of one network, or of the known browsers of one user, are under way or wait.
const SHARE: usize = 16;
/// How long one waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where codes wait for their turn.
#[derive(Debug)]
pub struct Exchanges(Line);

impl Default for Exchanges {
    fn default() -> Self {
        Self(Line::new(AT_ONCE, SHARE, PATIENCE))
    }
}

impl Exchanges {
    /// A turn, which lasts until it is dropped.
    ///
    /// # Errors
    /// When there is none: trying again in a moment helps.
    pub(super) async fn turn(
        &self,
        server: &Server,
        source: &Source,
        headers: &HeaderMap,
    ) -> Result<Turn, OAuthError> {
        let holder = match KnownBrowser::of(server, headers) {
            Some(known) => format!("user {}", known.user),
            None => source.network().to_string(),
        };
        self.0.turn(holder).await.ok_or(OAuthError::Unavailable { retry_after: PATIENCE })
    }
}
