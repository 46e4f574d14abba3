//! Guessing a password is slow, and nobody locks a user out from elsewhere.
//!
//! OWASP's device cookies ("Slow Down Online Guessing Attacks with Device Cookies"): a browser in which a user signed
//! in keeps a cookie that proves it, for that user alone, and has a count of its own. All other browsers share one slow
//! budget for each name, beside the strict one of their source. Every attempt is counted before the password is looked
//! at, and given back when it was right: many at once do not pass together.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    OAuthError,
    cookies::Jar,
    limits::{self, Limit},
    source::Source,
};
use crate::{
    app::App,
    clock::random,
    identity::local::{LocalUsers, profile},
    keys::{Mac16, Ring},
    model::{Hash32, UserId},
    server::Server,
};

/// How long a browser is known from its last sign-in.
const KNOWN_FOR: Duration = Duration::from_secs(180 * 24 * 3600);
const LABEL: &str = "known-browser";

/// An attempt that was counted.
pub(super) struct Guess<'a> {
    app: &'a App,
    counted: Vec<(Limit, String)>,
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
        if let Some(network) = source.network() {
            app.limiter.count(limits::SIGN_IN_NETWORK, &network.to_string(), now)?;
        }
        // Hashed: what people type by mistake stays out.
        let named = Hash32::of(name.as_bytes()).to_string();
        let limits = match known_browser(&app.server, users, headers, name) {
            Some(browser) => vec![(limits::SIGN_IN_NAME, format!("browser {browser}:{named}"))],
            None => vec![
                (limits::SIGN_IN_NAME, format!("{source}:{named}")),
                (limits::SIGN_IN_NAME_ANYWHERE, named),
            ],
        };
        let mut guess = Self { app, counted: Vec::new() };
        for (limit, of) in limits {
            if let Err(error) = app.limiter.count(limit, &of, now) {
                // What is refused was no guess: it must not use the shared budget up.
                guess.refund();
                return Err(error);
            }
            guess.counted.push((limit, of));
        }
        Ok(guess)
    }

    /// The password was right, or was not looked at.
    pub(super) fn refund(self) {
        for (limit, of) in &self.counted {
            self.app.limiter.refund(*limit, of);
        }
    }
}

/// The cookie by which this browser is known as the user's.
pub(super) fn know_browser(server: &Server, jar: &Jar<'_>, user: &UserId) -> Option<HeaderValue> {
    let nonce = random::<16>(server.entropy.as_ref());
    let issued = server.clock.unix().to_be_bytes();
    let mac = server.keys.mac16(Ring::Record, LABEL, &[user.as_bytes(), &nonce, &issued]);
    let bytes = [&[mac.kid][..], &nonce, &issued, &mac.tag].concat();
    jar.set_browser(&URL_SAFE_NO_PAD.encode(bytes), KNOWN_FOR)
}

/// What tells a browser from others in which this user signed in; `None`: nobody of this name did in this one.
fn known_browser(server: &Server, users: &LocalUsers, headers: &HeaderMap, name: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(Jar::new(&server.urls, headers).browser()?).ok()?;
    let bytes = <[u8; 1 + 16 + 8 + 16]>::try_from(bytes).ok()?;
    let (kid, rest) = bytes.split_first()?;
    let (nonce, rest) = rest.split_first_chunk::<16>()?;
    let (issued, tag) = rest.split_first_chunk::<8>()?;
    let mac = Mac16 { kid: *kid, tag: tag.try_into().ok()? };
    let user = users.current()?.by_name(name).map(profile)?;
    let user = server.keys.user_id(&server.config.identity.id(), &user);
    let age = server.clock.unix().saturating_sub(i64::from_be_bytes(*issued));
    let known = server.keys.verify16(Ring::Record, LABEL, &[user.as_bytes(), nonce, issued], &mac);
    let fresh = u64::try_from(age).is_ok_and(|age| age < KNOWN_FOR.as_secs());
    (known && fresh).then(|| URL_SAFE_NO_PAD.encode(nonce))
}
