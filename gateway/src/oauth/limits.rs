//! Limits. What writes to the store is counted there, for all replicas (see [`super::admission`]); what does not, here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{OAuthError, cookies::FLOW_LIFE};

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
/// Sign-ins that one source begins: counted for all replicas there, and before that on each replica here, where a flood
/// asks nothing of the store.
pub const AUTHORIZE: Limit = Limit { name: "authorize", count: 300, window: Duration::from_secs(60) };
/// What else the browsers of one source look at: three pages for each sign-in of a local user that it may begin. On each
/// replica.
pub const PAGES: Limit = Limit { name: "pages", count: 1200, window: Duration::from_secs(60) };
/// Answers on the consent page and returns from the identity provider, of one source: two for each sign-in that it may
/// begin. Each may be a claim that replicas must acknowledge, or a request to the provider with our secret. On each
/// replica.
pub const ANSWERS: Limit = Limit { name: "answers", count: 600, window: Duration::from_secs(60) };
/// The same from one network.
pub const ANSWERS_NETWORK: Limit = Limit { name: "answers-network", count: 1200, window: ANSWERS.window };
/// Token requests from one source, which may be the one address of many users: enough for each of them, and little
/// against what a flood would cost.
pub const TOKEN: Limit = Limit { name: "token", count: 3000, window: Duration::from_secs(60) };
/// Access tokens of one source that are not good here: as many as [`TOKEN`], so that a network whose tokens end together
/// reads that they ended. A good one is never held back. On each replica.
pub const BEARER: Limit = Limit { name: "bearer", count: 3000, window: Duration::from_secs(60) };
/// Access tokens of one source that could not be checked, of which is told. An outage takes nothing from [`BEARER`], by
/// which whoever comes after it is held back. On each replica.
pub const BEARER_UNCHECKED: Limit = Limit { name: "bearer-unchecked", ..BEARER };
/// Sign-ins that one source begins over the life of a flow, without having finished one in that browser before. Many
/// users may share an address; a dozen of addresses must not take the room of all strangers.
pub const FLOWS_SOURCE: Limit = Limit { name: "flows-source", count: 400, window: FLOW_LIFE };
/// The same from one network.
pub const FLOWS_NETWORK: Limit = Limit { name: "flows-network", count: 800, window: FLOW_LIFE };
/// The same from everywhere.
pub const FLOWS_STRANGERS: Limit = Limit { name: "flows-strangers", count: 5000, window: FLOW_LIFE };
/// Once those are used up, sign-ins of a network are let in that began fewer than this, counted with [`FLOWS_NETWORK`].
pub const FLOWS_FEW: Limit = Limit { count: 10, ..FLOWS_NETWORK };
/// The same of all such networks: seven take what all strangers share, and hundreds more it takes to fill this.
pub const FLOWS_RESERVE: Limit = Limit { name: "flows-reserve", count: 3000, window: FLOW_LIFE };
/// Sign-ins that begin in the known browsers of one user.
pub const FLOWS_USER: Limit = Limit { name: "flows-user", count: 60, window: FLOW_LIFE };
/// The same of all users: with those of strangers, what one server holds.
pub const FLOWS_KNOWN: Limit = Limit { name: "flows-known", count: 2000, window: FLOW_LIFE };
/// Sign-in attempts from one source, whoever they name: each costs an argon2id.
pub const SIGN_IN: Limit = Limit { name: "signin", count: 120, window: Duration::from_secs(60) };
/// The same from one network, which holds 256 sources of IPv4 or 65,536 of IPv6.
pub const SIGN_IN_NETWORK: Limit =
    Limit { name: "signin-network", count: 600, window: Duration::from_secs(60) };
/// Failed attempts for one name from one source, or with one cookie of a browser that signed in before. On each
/// replica, so n replicas allow n times as many.
pub const SIGN_IN_NAME: Limit = Limit { name: "signin-name", count: 10, window: Duration::from_secs(300) };
/// Failed attempts for one name from all unknown browsers together. Browsers that signed in before are not held back
/// by it, see [`super::guesses`].
pub const SIGN_IN_NAME_ANYWHERE: Limit =
    Limit { name: "signin-name-anywhere", count: 100, window: Duration::from_secs(3600) };
/// Failed attempts for one name from one network once those are used up: nobody locks a user out from elsewhere.
pub const SIGN_IN_NAME_BEYOND: Limit =
    Limit { name: "signin-name-beyond", count: 1, window: SIGN_IN_NAME_ANYWHERE.window };

/// Counts in this process: for requests that touch no store, so that a flood of them costs nothing.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<HashMap<&'static str, HashMap<String, Window>>>);

/// When the window ends, and the count so far.
type Window = (Duration, u64);

/// So many windows of one limit are counted. Beyond that a quarter is forgotten, those with the lowest counts first:
/// a flood of sources cannot make us forget those that are being held back.
const MAX_WINDOWS: usize = 20_000;

impl Limiter {
    /// Counts a request at `now` (monotonic).
    ///
    /// # Errors
    /// When there were too many.
    pub fn count(&self, limit: Limit, of: &str, now: Duration) -> Result<(), OAuthError> {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = limits.entry(limit.name).or_default();
        if windows.len() >= MAX_WINDOWS {
            make_room(windows, now);
        }
        let window = windows.entry(of.to_owned()).or_insert((now + limit.window, 0));
        if window.0 <= now {
            *window = (now + limit.window, 0);
        }
        window.1 += 1;
        if window.1 <= limit.count {
            return Ok(());
        }
        Err(OAuthError::TooManyRequests { retry_after: window.0.saturating_sub(now) })
    }

    /// Takes one count back: for what counts only when it fails, and was counted before, so that many at once do not
    /// pass together.
    pub fn refund(&self, limit: Limit, of: &str) {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = limits.get_mut(limit.name).and_then(|windows| windows.get_mut(of)) {
            *count = count.saturating_sub(1);
        }
    }
}

fn make_room(windows: &mut HashMap<String, Window>, now: Duration) {
    windows.retain(|_, (end, _)| *end > now);
    if windows.len() < MAX_WINDOWS {
        return;
    }
    let mut ranks: Vec<(u64, Duration)> = windows.values().map(|(end, count)| (*count, *end)).collect();
    let (_, middle, _) = ranks.select_nth_unstable(MAX_WINDOWS / 4);
    let rank = *middle;
    let mut surplus = MAX_WINDOWS / 4;
    windows.retain(|_, (end, count)| {
        let goes = surplus > 0 && (*count, *end) <= rank;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { name: "x", count: 2, window: Duration::from_secs(60) };

    #[test]
    fn a_source_is_limited_for_a_window_and_others_are_not() {
        let limiter = Limiter::default();
        let at = |source, seconds| limiter.count(LIMIT, source, Duration::from_secs(seconds));
        assert!(at("a", 0).is_ok() && at("a", 1).is_ok());
        assert_eq!(at("a", 2), Err(OAuthError::TooManyRequests { retry_after: Duration::from_secs(58) }));
        assert!(at("b", 2).is_ok() && at("a", 60).is_ok());
        limiter.refund(LIMIT, "a");
        assert!(at("a", 61).is_ok() && at("a", 62).is_ok() && at("a", 63).is_err());
    }

    #[test]
    fn a_flood_of_sources_frees_nobody_who_is_held_back_and_touches_no_other_limit() {
        let limiter = Limiter::default();
        let other = Limit { name: "y", ..LIMIT };
        let now = Duration::ZERO;
        for _ in 0..3 {
            let _ = limiter.count(LIMIT, "held back", now);
            let _ = limiter.count(other, "held back", now);
        }
        for n in 0..3 * MAX_WINDOWS {
            limiter.count(LIMIT, &n.to_string(), now).unwrap();
        }
        assert!(limiter.count(LIMIT, "held back", now).is_err());
        assert!(limiter.count(other, "held back", now).is_err());
        assert!(limiter.0.lock().unwrap()["x"].len() <= MAX_WINDOWS);
    }
}
