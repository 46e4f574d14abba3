//! How many of something each holder has, where nobody may have more than a share; and lines in which nobody may have more
//! than a share of the places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where so many are served at once, and the others wait in turn.
#[derive(Debug)]
pub(crate) struct Line {
    served: Arc<Semaphore>,
    shares: Shares,
    share: usize,
    patience: Duration,
}

/// A place among those that are served, and one in its holder's share; given back when this is dropped.
pub(crate) type Turn = (OwnedSemaphorePermit, Held);

impl Line {
    /// Serves `at_once`; of each holder `share` are served or wait, the latter for as long as `patience`.
    pub(crate) fn new(at_once: usize, share: usize, patience: Duration) -> Self {
        Self { served: Arc::new(Semaphore::new(at_once)), shares: Shares::default(), share, patience }
    }

    /// Waits for a turn; `None`: the holder has its share, or it took too long.
    pub(crate) async fn turn(&self, holder: String) -> Option<Turn> {
        let held = self.shares.take(holder, self.share)?;
        let turn = tokio::time::timeout(self.patience, self.served.clone().acquire_owned()).await;
        Some((turn.ok()?.ok()?, held))
    }

    /// Whether nobody is served or waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }
}

/// What the holders have. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<String, usize>>>);

/// One of what a holder has; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Shares,
    holder: String,
}

impl Shares {
    /// One more for a holder who may have `most`; `None` when they have them.
    pub(crate) fn take(&self, holder: String, most: usize) -> Option<Held> {
        let mut held = self.lock();
        let count = held.entry(holder.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Held { shares: self.clone(), holder })
    }

    /// Whether nobody has anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}
