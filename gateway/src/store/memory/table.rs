//! Entries that end: what expired is as absent, and swept away from time to time.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, time::Duration};

/// A map whose entries have an end, in the clock's monotonic time.
#[derive(Debug)]
pub(super) struct Table<K, V>(HashMap<K, (V, Duration)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// Writes an entry that ends at `until`.
    pub(super) fn put(&mut self, key: K, value: V, until: Duration) {
        self.0.insert(key, (value, until));
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Duration) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    /// Takes an entry out.
    pub(super) fn take<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.remove(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    /// What is left of an entry's life; zero when there is none.
    pub(super) fn life<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Duration) -> Duration
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map_or(Duration::ZERO, |(_, until)| until.saturating_sub(now))
    }

    /// Lets a living entry end after `life`, later or sooner than before.
    pub(super) fn renew<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration, life: Duration)
    where
        K: Borrow<Q>,
    {
        if let Some((_, end)) = self.0.get_mut(key).filter(|(_, end)| *end > now) {
            *end = now + life;
        }
    }

    /// Cuts an entry's life to `life`.
    pub(super) fn cut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration, life: Duration)
    where
        K: Borrow<Q>,
    {
        if let Some((_, end)) = self.0.get_mut(key) {
            *end = (now + life).min(*end);
        }
    }

    /// Keeps only what lives and what `keep` keeps.
    pub(super) fn retain(&mut self, now: Duration, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|key, (value, until)| *until > now && keep(key, value));
    }

    /// Takes out what of the entries of a kind is beyond `most`: those that would end first.
    pub(super) fn keep(&mut self, now: Duration, most: usize, of_kind: impl Fn(&K, &V) -> bool)
    where
        K: Clone,
    {
        let living = self.0.iter().filter(|(_, (_, until))| *until > now);
        let mut kind: Vec<(Duration, K)> = living
            .filter(|(key, (value, _))| of_kind(key, value))
            .map(|(key, (_, until))| (*until, key.clone()))
            .collect();
        kind.sort_unstable_by_key(|(until, _)| *until);
        for (_, key) in kind.iter().take(kind.len().saturating_sub(most)) {
            self.0.remove(key);
        }
    }

    /// The living entries.
    pub(super) fn iter(&self, now: Duration) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().filter(move |(_, (_, until))| *until > now).map(|(key, (value, _))| (key, value))
    }

    /// How many entries take memory, living or not.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
