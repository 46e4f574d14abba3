//! How many of something each holder has, where nobody may have more than a share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
