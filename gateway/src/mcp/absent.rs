//! Access tokens of ours that are not there any more. Whoever had one could else make the store look for it as often as they
//! like, with any scope behind it.
//!
//! A token is written before it is given out, so what is absent stays absent.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::Hash32;

/// How long it is remembered that a token was not found. Short, for the sake of a client that left off its scope once.
const LIFE: Duration = Duration::from_secs(10);
/// How many are remembered; further ones are looked up each time.
const MAX: usize = 4096;

/// The signed parts of tokens that were not found, and until when that is believed. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<HashMap<Hash32, Duration>>);

impl Absent {
    /// Whether it was not found a moment ago.
    pub(super) fn has(&self, signed: &Hash32, now: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(signed).is_some_and(|until| now < *until)
    }

    /// It was not found.
    pub(super) fn insert(&self, signed: Hash32, now: Duration) {
        let mut absent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX {
            absent.retain(|_, until| now < *until);
        }
        if absent.len() < MAX {
            absent.insert(signed, now + LIFE);
        }
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
        assert!(
            absent.has(&token(MAX - 1), Duration::from_millis(9_999)) && !absent.has(&token(MAX - 1), LIFE)
        );
        assert!(!absent.has(&token(MAX), begin), "there was no room");
        absent.insert(token(MAX), LIFE);
        assert!(absent.has(&token(MAX), LIFE));
    }
}
