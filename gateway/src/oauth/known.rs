//! Browsers in which a user signed in before. Each keeps a cookie that proves it, for that user alone (OWASP's device
//! cookies, "Slow Down Online Guessing Attacks with Device Cookies"): what holds strangers back leaves room for it. It
//! opens nothing.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::cookies::Jar;
use crate::{
    clock::random,
    keys::{Mac16, Ring},
    model::UserId,
    server::Server,
};

/// How long a browser is known from its last sign-in.
const KNOWN_FOR: Duration = Duration::from_secs(180 * 24 * 3600);
const LABEL: &str = "known-browser";

/// A browser in which this user signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownBrowser {
    pub(super) user: UserId,
    nonce: [u8; 16],
}

impl KnownBrowser {
    /// The browser of a request, if it is known and its proof is not too old.
    pub(super) fn of(server: &Server, headers: &HeaderMap) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(Jar::new(&server.urls, headers).browser()?).ok()?;
        let bytes = <[u8; 1 + 32 + 16 + 8 + 16]>::try_from(bytes).ok()?;
        let (kid, rest) = bytes.split_first()?;
        let (user, rest) = rest.split_first_chunk::<32>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (issued, tag) = rest.split_first_chunk::<8>()?;
        let mac = Mac16 { kid: *kid, tag: tag.try_into().ok()? };
        let age = server.store.unix()?.saturating_sub(i64::from_be_bytes(*issued));
        let fresh = u64::try_from(age).is_ok_and(|age| age < KNOWN_FOR.as_secs());
        let known = server.keys.verify16(Ring::Record, LABEL, &[user, nonce, issued], &mac);
        (known && fresh).then(|| Self { user: UserId::from_bytes(*user), nonce: *nonce })
    }

    /// The cookie by which the browser is known from now on as one of this user's.
    pub(super) fn cookie(server: &Server, jar: &Jar<'_>, user: &UserId) -> Option<HeaderValue> {
        let nonce = random::<16>(server.entropy.as_ref());
        let issued = server.store.unix()?.to_be_bytes();
        let mac = server.keys.mac16(Ring::Record, LABEL, &[user.as_bytes(), &nonce, &issued]);
        let bytes = [&[mac.kid][..], user.as_bytes(), &nonce, &issued, &mac.tag].concat();
        jar.set_browser(&URL_SAFE_NO_PAD.encode(bytes), KNOWN_FOR)
    }
}

impl std::fmt::Display for KnownBrowser {
    /// What tells it from others of its user.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.nonce))
    }
}
