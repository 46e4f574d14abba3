//! Whether the controllers get on: what is asked for is looked at, and each look ends.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long nothing may come of what is asked for, and how long a look may take. Every pass ends itself within 70 s, also
/// while the API server says nothing: what takes longer does not end any more.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// The work of one controller. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Work(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Since when something has been asked for and nothing came of anything.
    waits_since: Option<Instant>,
    /// When each look began that goes on.
    looks: BTreeMap<u64, Instant>,
    /// The number of the next look.
    next: u64,
    /// What is asked for again within this time waits anew.
    folds: Duration,
    /// When something was asked for last.
    asked_last: Option<Instant>,
}

impl Work {
    /// That of a controller which folds what is asked for within `time`: each time its wait begins anew, so that whoever
    /// goes on asking is no sign of a controller that does not get on.
    pub fn folding(time: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { folds: time, ..State::default() })))
    }

    /// Something is asked for.
    pub fn asked(&self, now: Instant) {
        let mut state = self.lock();
        let last = state.asked_last.replace(now);
        let folded = last.filter(|last| now.saturating_duration_since(*last) < state.folds);
        // Only the first of what waits: what came after a pause in which it could have looked does not excuse it.
        if folded.is_some() && folded == state.waits_since {
            state.waits_since = Some(now);
        } else {
            state.waits_since.get_or_insert(now);
        }
    }

    /// Something came of what was asked for: a look, or the word that the object is gone.
    pub fn answered(&self) {
        self.lock().waits_since = None;
    }

    /// A look, which lasts as long as its future.
    pub async fn look<F: Future>(self, look: F) -> F::Output {
        let _look = self.begin(Instant::now());
        look.await
    }

    fn begin(&self, now: Instant) -> Look {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.looks.insert(number, now);
        Look { work: self.clone(), number }
    }

    /// What does not get on, in words.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let long = |since: &Instant| {
            Some(now.saturating_duration_since(*since))
                .filter(|long| *long >= STUCK_AFTER)
                .map(|long| long.as_secs())
        };
        if let Some(seconds) = state.looks.values().filter_map(long).max() {
            return Some(format!("a look has gone on for {seconds} s"));
        }
        let seconds = state.waits_since.as_ref().and_then(long)?;
        Some(format!("nothing came of what was asked for {seconds} s ago"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that goes on until this is dropped.
#[derive(Debug)]
struct Look {
    work: Work,
    number: u64,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.work.lock().looks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_must_be_looked_at_in_time() {
        let (work, now) = (Work::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(work.stuck(after(9999)), None, "nothing is asked for");
        work.asked(now);
        work.asked(after(200));
        assert_eq!(work.stuck(after(299)), None);
        assert!(work.stuck(after(300)).unwrap().contains("300 s ago"));
        work.answered();
        assert_eq!(work.stuck(after(9999)), None);
        work.asked(after(400));
        assert_eq!(work.stuck(after(699)), None);
    }

    #[test]
    fn who_goes_on_asking_makes_no_folding_controller_stuck() {
        let (work, now) = (Work::folding(Duration::from_secs(2)), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        for second in 0..=400 {
            work.asked(after(second));
            assert_eq!(work.stuck(after(second)), None);
        }
        assert_eq!(work.stuck(after(699)), None);
        // Between these it could have looked.
        for second in [500, 501, 600, 601] {
            work.asked(after(second));
        }
        assert!(work.stuck(after(700)).is_some());
    }

    #[tokio::test]
    async fn a_look_must_end() {
        let (work, now) = (Work::default(), Instant::now());
        let (hangs, ends) = (work.begin(now), work.begin(now + Duration::from_secs(100)));
        drop(ends);
        // Others get on meanwhile.
        work.answered();
        assert_eq!(work.stuck(now + Duration::from_secs(299)), None);
        assert!(work.stuck(now + STUCK_AFTER).unwrap().contains("a look has gone on"));
        drop(hangs);
        work.clone().look(async {}).await;
        assert_eq!(work.stuck(now + Duration::from_secs(9999)), None);
    }
}
