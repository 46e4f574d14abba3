//! Guessing a password is slow, and nobody locks a user out from elsewhere.
//!
//! A browser in which a user signed in before ([`KnownBrowser`]) has a count of its own. All other browsers share one
//! slow budget for each name, beside the strict one of their source; when it is used up, each network still has one
//! attempt. Every attempt is counted before the password is looked at, and given back when it was right: many at once
//! do not pass together.

use axum::http::HeaderMap;

use super::{
    OAuthError,
    known::KnownBrowser,
    limits::{self, Limit},
    source::Source,
};
use crate::{
    app::App,
    identity::local::{Asking, LocalUsers, profile},
    model::Hash32,
    server::Server,
};

/// An attempt that was counted.
pub(super) struct Guess<'a> {
    app: &'a App,
    counted: Vec<(Limit, String)>,
    asking: Asking,
}

impl<'a> Guess<'a> {
    /// Counts an attempt to sign in as `name`.
    ///
    /// # Errors
    /// When there were too many.
    pub(super) fn count(
        app: &'a App,
        users: &LocalUsers,
        source: &Source,
        headers: &HeaderMap,
        name: &str,
    ) -> Result<Self, OAuthError> {
        let now = app.server.clock.monotonic();
        app.limiter.count(limits::SIGN_IN, &source.to_string(), now)?;
        let network = source.network().to_string();
        app.limiter.count(limits::SIGN_IN_NETWORK, &network, now)?;
        // Hashed: what people type by mistake stays out.
        let named = Hash32::of(name.as_bytes()).to_string();
        let known = known_as(&app.server, users, headers, name);
        let asking = match &known {
            Some(browser) => Asking::Known(browser.user),
            None => Asking::Stranger(network.clone()),
        };
        let mut guess = Self { app, counted: Vec::new(), asking };
        if let Some(browser) = known {
            guess.take(limits::SIGN_IN_NAME, format!("browser {browser}:{named}"))?;
            return Ok(guess);
        }
        guess.take(limits::SIGN_IN_NAME, format!("{source}:{named}"))?;
        let taken = guess.take(limits::SIGN_IN_NAME_ANYWHERE, named.clone());
        let taken = taken.or_else(|_| guess.take(limits::SIGN_IN_NAME_BEYOND, format!("{network}:{named}")));
        match taken {
            Ok(()) => Ok(guess),
            Err(error) => {
                // What is refused was no guess: it must not use a budget up.
                guess.refund();
                Err(error)
            }
        }
    }

    /// Who asks.
    pub(super) fn asking(&self) -> &Asking {
        &self.asking
    }

    fn take(&mut self, limit: Limit, of: String) -> Result<(), OAuthError> {
        self.app.limiter.count(limit, &of, self.app.server.clock.monotonic())?;
        self.counted.push((limit, of));
        Ok(())
    }

    /// The password was right, or was not looked at.
    pub(super) fn refund(self) {
        for (limit, of) in &self.counted {
            self.app.limiter.refund(*limit, of);
        }
    }
}

/// The browser of a request, if it is known as one of the user's of this name.
fn known_as(server: &Server, users: &LocalUsers, headers: &HeaderMap, name: &str) -> Option<KnownBrowser> {
    let known = KnownBrowser::of(server, headers)?;
    let user = users.current()?.by_name(name).map(profile)?;
    (server.keys.user_id(&server.config.identity.id(), &user) == known.user).then_some(known)
}
