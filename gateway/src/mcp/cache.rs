//! What this replica remembers for a few seconds: callers by token, and the streams that are open.
//!
//! Guarantees (protocols, section 8): a cached caller counts for at most five seconds, and only while the event
//! reader heard from the store within the last four. So a revocation takes effect within a second, and within five
//! when the store is partitioned away. A caller is kept only when the reader was listening before its look-up was
//! sent, and no event has touched it since. Nothing here waits: every method holds one short lock.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use crate::{
    model::{GrantId, Hash32, UserId},
    store::Event,
};

/// How long a caller is kept.
const ENTRY_LIFE: Duration = Duration::from_secs(5);
/// How old the event reader's last answer may be.
const READER_LIFE: Duration = Duration::from_secs(4);
/// How many callers are kept; further ones are looked up each time.
const MAX_ENTRIES: usize = 4096;
/// How many events are remembered for look-ups that are under way.
const MAX_RECENT: usize = 256;

/// The memory of one server on this replica. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Hash32, Entry>,
    streams: HashMap<u64, Stream>,
    next_stream: u64,
    recent: VecDeque<Event>,
    /// How many events there were in all; `recent` holds the last of them.
    seen: u64,
    /// Counts the times at which the reader lost its place.
    epoch: u64,
    running: bool,
    last_answer: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    caller: Arc<Caller>,
    until: Duration,
}

/// An open stream, as far as closing it goes.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub access: Hash32,
    pub grant: GrantId,
    pub user: UserId,
    pub close: CancellationToken,
    /// Whether it only waits for events; else a request waits for its answer on it.
    pub listens: bool,
    /// When its token ends, or was ended by a rotation.
    pub ends: Duration,
    /// When its user was last looked at.
    pub checked: Duration,
}

/// A moment at which the reader was listening.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    epoch: u64,
    seen: u64,
    at: Duration,
}

/// Whether the reader must be started; by whoever is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) struct StartReader(pub bool);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller of this token, if that may still be believed.
    pub(super) fn get(&self, access: &Hash32, now: Duration) -> Option<Arc<Caller>> {
        let inner = self.lock();
        let entry = inner.entries.get(access)?;
        (inner.listening(now) && now < entry.until).then(|| entry.caller.clone())
    }

    /// Before a look-up is sent: where the reader stands, if it listens.
    pub(super) fn begin(&self, now: Duration) -> (Option<Mark>, StartReader) {
        let mut inner = self.lock();
        let start = !std::mem::replace(&mut inner.running, true);
        let mark = inner.listening(now).then_some(Mark { epoch: inner.epoch, seen: inner.seen, at: now });
        (mark, StartReader(start))
    }

    /// Keeps a caller whose look-up was sent at `mark`, unless something has happened to it since.
    pub(super) fn insert(&self, mark: Option<Mark>, caller: &Arc<Caller>, now: Duration) {
        let mut inner = self.lock();
        let Some(mark) = mark.filter(|mark| inner.untouched(*mark, caller)) else { return };
        if inner.entries.len() >= MAX_ENTRIES {
            inner.entries.retain(|_, entry| now < entry.until);
        }
        if inner.entries.len() < MAX_ENTRIES {
            let until = mark.at + ENTRY_LIFE.min(caller.record.life);
            inner.entries.insert(caller.access, Entry { caller: caller.clone(), until });
        }
    }

    /// Forgets what is known of a user: a backend refused their credential.
    pub(super) fn forget(&self, user: &UserId) {
        self.lock().entries.retain(|_, entry| entry.caller.record.user.id != *user);
    }

    /// Registers an open stream; the number is for [`Cache::close`].
    pub(super) fn open(&self, stream: Stream) -> (u64, StartReader) {
        let mut inner = self.lock();
        let id = inner.next_stream;
        inner.next_stream += 1;
        inner.streams.insert(id, stream);
        (id, StartReader(!std::mem::replace(&mut inner.running, true)))
    }

    /// A stream has ended.
    pub(super) fn close(&self, id: u64) {
        self.lock().streams.remove(&id);
    }

    /// The open streams.
    pub(super) fn streams(&self) -> Vec<Stream> {
        self.lock().streams.values().cloned().collect()
    }

    /// Up to `most` streams whose users were not looked at for `every`; they count as looked at now.
    pub(super) fn due(&self, now: Duration, every: Duration, most: usize) -> Vec<Stream> {
        let mut inner = self.lock();
        let due = inner.streams.values_mut().filter(|s| now.saturating_sub(s.checked) >= every);
        let due = due.take(most).map(|stream| {
            stream.checked = now;
            stream.clone()
        });
        due.collect()
    }

    /// The reader has a place in the list of events.
    pub(super) fn reader_placed(&self, now: Duration) {
        self.lock().last_answer = Some(now);
    }

    /// The reader lost its place: nothing that is kept may be believed.
    pub(super) fn reader_lost(&self) {
        let mut inner = self.lock();
        inner.epoch += 1;
        inner.last_answer = None;
        inner.entries.clear();
        inner.recent.clear();
    }

    /// The reader heard these events. Returns the users with open streams whose state must be looked at.
    pub(super) fn heard(&self, events: &[Event], now: Duration) -> Vec<UserId> {
        let mut inner = self.lock();
        inner.last_answer = Some(now);
        let mut users = Vec::new();
        for event in events {
            inner.entries.retain(|_, entry| !touches(event, &entry.caller));
            match event {
                Event::Grant(id) => {
                    inner.streams.values().filter(|s| s.grant == *id).for_each(|s| s.close.cancel());
                }
                // Requests may be answered a little later, see [`super::stream`].
                Event::Access(access) => {
                    for stream in inner.streams.values_mut().filter(|s| s.access == *access) {
                        stream.ends = stream.ends.min(now);
                        if stream.listens {
                            stream.close.cancel();
                        }
                    }
                }
                Event::User(id) if inner.streams.values().any(|s| s.user == *id) => users.push(*id),
                Event::User(_) | Event::Denial => {}
            }
            inner.seen += 1;
            if inner.recent.len() == MAX_RECENT {
                inner.recent.pop_front();
            }
            inner.recent.push_back(event.clone());
        }
        users
    }

    /// Closes the streams of a user.
    pub(super) fn close_user(&self, user: &UserId) {
        self.lock().streams.values().filter(|s| s.user == *user).for_each(|s| s.close.cancel());
    }

    /// Whether the reader may stop, because nothing is kept; if so it counts as stopped from now on.
    pub(super) fn reader_may_stop(&self, now: Duration) -> bool {
        let mut inner = self.lock();
        inner.entries.retain(|_, entry| now < entry.until);
        let idle = inner.entries.is_empty() && inner.streams.is_empty();
        if idle {
            inner.running = false;
            inner.epoch += 1;
            inner.last_answer = None;
            inner.recent.clear();
        }
        idle
    }
}

impl Inner {
    fn listening(&self, now: Duration) -> bool {
        self.last_answer.is_some_and(|last| now.saturating_sub(last) < READER_LIFE)
    }

    /// Whether nothing that we heard since `mark` concerns the caller.
    fn untouched(&self, mark: Mark, caller: &Caller) -> bool {
        let since = usize::try_from(self.seen - mark.seen).unwrap_or(usize::MAX);
        mark.epoch == self.epoch
            && since <= self.recent.len()
            && !self.recent.iter().rev().take(since).any(|event| touches(event, caller))
    }
}

fn touches(event: &Event, caller: &Caller) -> bool {
    match event {
        Event::Grant(id) => caller.record.grant.id == *id,
        Event::Access(access) => caller.access == *access,
        Event::User(id) => caller.record.user.id == *id,
        // `access` is decided anew on each call.
        Event::Denial => false,
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
