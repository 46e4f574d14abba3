//! What calls hold while they are under way: bounded for the process, and for each user, so that one user's slow
//! calls leave room for the others.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::refusal::Refusal;
use crate::{capacity::Capacity, model::UserId, pieces};

/// The largest request, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The calls of one server in this process.
#[derive(Debug)]
pub(super) struct Load {
    capacity: Capacity,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    users: HashMap<UserId, Share>,
}

/// What one user's calls hold.
#[derive(Debug, Default)]
struct Share {
    calls: usize,
    bytes: usize,
}

/// A call's place, from its first byte to the end of its answer.
#[derive(Debug)]
pub(super) struct Place {
    load: Arc<Load>,
    user: UserId,
    bytes: usize,
}

impl Load {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more call of this user.
    pub(super) fn enter(self: &Arc<Self>, user: UserId) -> Result<Place, Refusal> {
        let mut held = self.lock();
        let share = held.users.entry(user).or_default();
        if share.calls >= self.capacity.user_calls {
            return Err(Refusal::TooManyCalls);
        }
        share.calls += 1;
        drop(held);
        Ok(Place { load: self.clone(), user, bytes: 0 })
    }
}

impl Place {
    /// Holds so many bytes more.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Capacity { call_bytes, user_call_bytes, .. } = self.load.capacity;
        let mut held = self.load.lock();
        if held.bytes + bytes > call_bytes {
            return Err(Refusal::Overloaded);
        }
        let share = held.users.entry(self.user).or_default();
        if share.bytes + bytes > user_call_bytes {
            return Err(Refusal::TooManyCalls);
        }
        share.bytes += bytes;
        held.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// The backend has the request: its bytes are gone, the call goes on.
    pub(super) fn sent(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut held = self.load.lock();
        held.bytes -= bytes;
        if let Some(share) = held.users.get_mut(&self.user) {
            share.bytes -= bytes;
        }
    }

    /// Reads a request. What it takes is held before it is read: all of it where its length is said.
    pub(super) async fn read(&mut self, body: Body) -> Result<Bytes, Refusal> {
        tokio::time::timeout(BODY_TIME, self.collect(body)).await.unwrap_or(Err(Refusal::Incomplete))
    }

    async fn collect(&mut self, mut body: Body) -> Result<Bytes, Refusal> {
        use http_body::Body as _;
        let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if said > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        self.take(said)?;
        let mut all = Vec::with_capacity(said);
        while let Some(frame) = body.frame().await {
            // It broke off, or is not framed as HTTP is.
            let unread = |_| Refusal::Parse("the body could not be read".to_owned());
            let Ok(piece) = frame.map_err(unread)?.into_data() else { continue };
            let length = all.len() + piece.len();
            if length > MAX_BODY {
                return Err(Refusal::TooLarge);
            }
            if length > self.bytes {
                self.take(pieces::room(length) - self.bytes)?;
            }
            pieces::append(&mut all, &piece);
        }
        Ok(all.into())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sent();
        let mut held = self.load.lock();
        if let Entry::Occupied(mut share) = held.users.entry(self.user) {
            share.get_mut().calls -= 1;
            if share.get().calls == 0 {
                share.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};

    use super::*;

    fn load(call_bytes: usize, user_call_bytes: usize) -> Arc<Load> {
        let capacity = Capacity::of_memory(0);
        Arc::new(Load::new(Capacity { call_bytes, user_call_bytes, user_calls: 2, ..capacity }))
    }

    fn user(n: u8) -> UserId {
        UserId::from_bytes([n; 32])
    }

    #[test]
    fn one_user_holds_so_many_calls_and_leaves_room_for_the_others() {
        let load = load(100, 50);
        let first = load.enter(user(1)).unwrap();
        let _second = load.enter(user(1)).unwrap();
        assert_eq!(load.enter(user(1)).err(), Some(Refusal::TooManyCalls));
        let _other = load.enter(user(2)).unwrap();
        drop(first);
        load.enter(user(1)).unwrap();
    }

    #[test]
    fn bytes_are_held_until_they_are_sent_or_the_call_is_over() {
        let load = load(100, 50);
        let mut places = [1, 2, 3].map(|n| load.enter(user(n)).unwrap());
        places[0].take(40).unwrap();
        assert_eq!(places[0].take(11), Err(Refusal::TooManyCalls));
        places[1].take(50).unwrap();
        assert_eq!(places[2].take(11), Err(Refusal::Overloaded));
        places[0].sent();
        places[2].take(50).unwrap();
        drop(places);
        let held = load.lock();
        assert!(held.bytes == 0 && held.users.is_empty(), "{held:?}");
    }

    #[tokio::test]
    async fn a_body_is_refused_before_it_is_read() {
        let load = load(10_000, 5120);
        let mut place = load.enter(user(1)).unwrap();
        let unread = Body::from(vec![0; 5121]);
        assert_eq!(place.read(unread).await, Err(Refusal::TooManyCalls));
        assert_eq!(place.read(Body::from(vec![7; 5120])).await, Ok(Bytes::from(vec![7; 5120])));
        assert_eq!(place.bytes, 5120);
        place.sent();
        // Without a length it is counted as it comes.
        let pieces = |n: usize| {
            Body::from_stream(stream::iter(
                (0..n).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 1024]))),
            ))
        };
        assert_eq!(place.read(pieces(5)).await, Ok(Bytes::from(vec![7; 5120])));
        assert_eq!(place.bytes, 5120);
        place.sent();
        assert_eq!(place.read(pieces(6)).await, Err(Refusal::TooManyCalls));
    }

    #[tokio::test]
    async fn no_piece_is_kept_while_others_come() {
        let piece: Arc<[u8]> = b"x".as_slice().into();
        for count in [1, 1000] {
            let ours = piece.clone();
            let sent = stream::repeat_with(move || Ok::<_, std::io::Error>(Bytes::from_owner(ours.clone())));
            let body = Body::from_stream(sent.take(count).chain(stream::pending()));
            let mut place = load(10_000, 5120).enter(user(1)).unwrap();
            let mut reading = Box::pin(place.read(body));
            assert_eq!((&mut reading).now_or_never(), None);
            assert_eq!(Arc::strong_count(&piece), 1, "all came, and went");
            drop(reading);
            assert_eq!(place.bytes, pieces::room(count));
        }
    }
}
