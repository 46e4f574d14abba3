//! Codes on their way to the identity provider. Whoever begins a sign-in can come back with any code, and each is a request
//! with our secret: so many are under way at once, of one network half of them, so that no stranger makes the provider hold
//! this server back. Browsers in which a user signed in before stand in a line of their own, of which no user has more than
//! half, and besides where strangers do: none of them is worse off than a stranger.

use std::time::Duration;

use axum::http::HeaderMap;

use super::{OAuthError, known::KnownBrowser, source::Source};
use crate::{
    server::Server,
    shares::{Line, Turn},
};

/// How many of strangers are under way at once.
const STRANGERS: usize = 24;
/// How many of known browsers are.
const KNOWN: usize = 8;
/// How many of strangers of one network are under way or wait.
const NETWORK: usize = 12;
/// How many of the known browsers of one user are, in the line of those.
const USER: usize = 4;
/// How long one waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where codes wait for their turn.
#[derive(Debug)]
pub struct Exchanges {
    strangers: Line,
    known: Line,
}

impl Default for Exchanges {
    fn default() -> Self {
        let line = |at_once, share| Line::new(at_once, share, PATIENCE);
        Self { strangers: line(STRANGERS, NETWORK), known: line(KNOWN, USER) }
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
        let as_stranger = self.strangers.turn(source.network().to_string());
        let turn = match KnownBrowser::of(server, headers) {
            // Whoever finds no place at once waits in both lines together, so no longer than in one.
            Some(known) => tokio::select! {
                biased;
                Some(turn) = self.known.turn(known.user.to_string()) => Some(turn),
                Some(turn) = as_stranger => Some(turn),
                else => None,
            },
            None => as_stranger.await,
        };
        turn.ok_or(OAuthError::Unavailable { retry_after: PATIENCE })
    }
}
