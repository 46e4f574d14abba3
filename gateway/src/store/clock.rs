//! The store's time as a clock.

use std::{sync::Arc, time::Duration};

use super::Store;
use crate::clock::Clock;

/// Dates by the store and measures by the machine, so that what an identity provider gave begins and ends for every
/// replica at the same time, whatever its own clock shows.
#[derive(Debug)]
pub struct StoreClock {
    store: Arc<dyn Store>,
    machine: Arc<dyn Clock>,
}

impl StoreClock {
    /// The time of this store.
    pub fn new(store: Arc<dyn Store>, machine: Arc<dyn Clock>) -> Self {
        Self { store, machine }
    }
}

impl Clock for StoreClock {
    /// The machine's date as long as the store was never heard: no flow and nobody's tokens are known then.
    fn unix_millis(&self) -> i64 {
        self.store.unix_millis().unwrap_or_else(|| self.machine.unix_millis())
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}
