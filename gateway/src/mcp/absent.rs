//! Access tokens of ours that are not there any more. Whoever had one could else make the store look for it as often as they
//! like, with any scope behind it.
//!
//! A token is written before it is given out, so what is absent stays absent. (Of one that is narrowed to scopes what is
//! remembered is that its signed part was absent with what stood behind it.)

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::model::Hash32;

/// How long it is remembered that a token was not found. Short, for the sake of a client that left off its scope once.
const LIFE: Duration = Duration::from_secs(5);
/// How many are remembered; one more displaces one.
const MAX: usize = 4096;

/// The signed parts of tokens that were not found, and until when that is believed. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<HashMap<Hash32, Duration>>);

impl Absent {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hash32, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was not found a moment ago.
    pub(super) fn has(&self, signed: &Hash32, now: Duration) -> bool {
        self.lock().get(signed).is_some_and(|until| now < *until)
    }

    /// It was not found.
    pub(super) fn insert(&self, signed: Hash32, now: Duration) {
        let mut absent = self.lock();
        let displaced = absent.keys().next().copied().filter(|_| absent.len() >= MAX);
        if let Some(displaced) = displaced {
            absent.remove(&displaced);
        }
        absent.insert(signed, now + LIFE);
    }

    /// The store was out of reach: another one may know more.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_for_so_long() {
        let (absent, begin) = (Absent::default(), Duration::ZERO);
        let token = |n: usize| Hash32::of(&n.to_be_bytes());
        for n in 0..=MAX {
            absent.insert(token(n), begin);
        }
        let last = token(MAX);
        assert!(absent.has(&last, Duration::from_millis(4_999)) && !absent.has(&last, LIFE));
        assert_eq!((0..=MAX).filter(|n| absent.has(&token(*n), begin)).count(), MAX);
        absent.clear();
        assert!(!absent.has(&last, begin));
    }
}
