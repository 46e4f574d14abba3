//! Redis's clock, as every script tells it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crate::clock::Clock;

/// The last known time of Redis, carried on by this machine's monotonic clock: its own date may be wrong, and may jump.
#[derive(Debug)]
pub(super) struct RedisClock {
    clock: Arc<dyn Clock>,
    /// Milliseconds since 1970, and when they were heard.
    heard: RwLock<Option<(i64, Duration)>>,
}

impl RedisClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, heard: RwLock::default() }
    }

    /// Takes what Redis says, in milliseconds since 1970.
    pub(super) fn hear(&self, millis: i64) {
        let heard = Some((millis, self.clock.monotonic()));
        *self.heard.write().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// Milliseconds since 1970; `None` when nothing was heard yet.
    pub(super) fn unix_millis(&self) -> Option<i64> {
        let (millis, at) = (*self.heard.read().unwrap_or_else(PoisonError::into_inner))?;
        let since = self.clock.monotonic().saturating_sub(at);
        Some(millis.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_date_of_the_machine_does_not_count() {
        let machine = ManualClock::at(9_000);
        let redis = RedisClock::new(Arc::new(machine.clone()));
        assert_eq!(redis.unix_millis(), None);
        redis.hear(1_000_900);
        assert_eq!(redis.unix_millis(), Some(1_000_900));
        machine.advance(Duration::from_millis(100));
        assert_eq!(redis.unix_millis(), Some(1_001_000));
        redis.hear(1_000_000);
        assert_eq!(redis.unix_millis(), Some(1_000_000), "what was heard last holds");
    }
}
