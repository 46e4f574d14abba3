//! Limits per source. What writes to the store is counted there, for all replicas; what does not, here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::OAuthError;
use crate::server::Server;

/// How many requests of one kind a source may make in a window.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The kind, part of the counter's name.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// In how long.
    pub window: Duration,
}

/// Registrations: web clients register anew for each of their users, from a few addresses.
pub const REGISTER: Limit = Limit { name: "register", count: 300, window: Duration::from_secs(60) };
/// Authorization requests: each writes a flow.
pub const AUTHORIZE: Limit = Limit { name: "authorize", count: 300, window: Duration::from_secs(60) };
/// Token requests from one source, which may be the one address of many users: enough for each of them, and little
/// against what a flood would cost.
pub const TOKEN: Limit = Limit { name: "token", count: 3000, window: Duration::from_secs(60) };
/// Sign-in attempts from one source, whoever they name: each costs an argon2id.
pub const SIGN_IN: Limit = Limit { name: "signin", count: 120, window: Duration::from_secs(60) };
/// Failed attempts for one name from one source. Counted with the source, so that nobody can lock a user out from
/// elsewhere; on each replica, so n replicas allow n times as many.
pub const SIGN_IN_NAME: Limit = Limit { name: "signin-name", count: 10, window: Duration::from_secs(300) };

/// Counts a request in the store.
///
/// # Errors
/// When there were too many, or the store is away.
pub async fn count(server: &Server, limit: Limit, of: &str) -> Result<(), OAuthError> {
    let (hits, left) = server.store.hit(&format!("{}:{of}", limit.name), limit.window).await?;
    if hits > limit.count { Err(OAuthError::TooManyRequests { retry_after: left }) } else { Ok(()) }
}

/// Counts in this process: for requests that touch no store, so that a flood of them costs nothing.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<HashMap<Counted, Window>>);

/// A limit's name and a source.
type Counted = (&'static str, String);
/// When the window ends, and the count so far.
type Window = (Duration, u64);

/// When more sources than this are counted at once, the ended windows are forgotten.
const MAX_SOURCES: usize = 20_000;

impl Limiter {
    /// Counts a request at `now` (monotonic).
    ///
    /// # Errors
    /// When there were too many.
    pub fn count(&self, limit: Limit, of: &str, now: Duration) -> Result<(), OAuthError> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_SOURCES {
            windows.retain(|_, (end, _)| *end > now);
            if windows.len() >= MAX_SOURCES {
                // More sources than are counted: bounded memory counts more than exact limits.
                windows.clear();
            }
        }
        let window = windows.entry((limit.name, of.to_owned())).or_insert((now + limit.window, 0));
        if window.0 <= now {
            *window = (now + limit.window, 0);
        }
        window.1 += 1;
        if window.1 <= limit.count {
            return Ok(());
        }
        Err(OAuthError::TooManyRequests { retry_after: window.0.saturating_sub(now) })
    }

    /// Whether the next request would be one too many, without counting it: for what counts only when it fails.
    ///
    /// # Errors
    /// When it would.
    pub fn check(&self, limit: Limit, of: &str, now: Duration) -> Result<(), OAuthError> {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.get(&(limit.name, of.to_owned())) {
            Some((end, count)) if *end > now && *count >= limit.count => {
                Err(OAuthError::TooManyRequests { retry_after: end.saturating_sub(now) })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_limited_for_a_window_and_others_are_not() {
        let limiter = Limiter::default();
        let limit = Limit { name: "x", count: 2, window: Duration::from_secs(60) };
        let at = |source, seconds| limiter.count(limit, source, Duration::from_secs(seconds));
        let check = |source, seconds| limiter.check(limit, source, Duration::from_secs(seconds));
        assert!(check("a", 0).is_ok() && at("a", 0).is_ok() && at("a", 1).is_ok());
        let over = Err(OAuthError::TooManyRequests { retry_after: Duration::from_secs(58) });
        assert_eq!((check("a", 2), at("a", 2)), (over.clone(), over));
        assert!(at("b", 2).is_ok() && check("a", 60).is_ok() && at("a", 60).is_ok());
    }
}
