//! When a caller that is kept may be believed.

use super::*;
use crate::{
    keys::Sealed,
    model::{Grant, IdentityState, Profile, UserRecord},
    store::CallRecord,
};

const SECOND: Duration = Duration::from_secs(1);

fn caller(n: u8, life: Duration) -> Arc<Caller> {
    let user = UserId::from_bytes([n; 32]);
    let grant = Grant {
        id: GrantId::from_bytes([n; 16]),
        client_id: "gc_x".into(),
        client_name: "test".into(),
        user,
        identity: "local".into(),
        scope: "mcp".into(),
        resource: "http://localhost/mcp".into(),
        redirect_uri: "http://localhost/cb".into(),
        redirect_uri_implied: false,
        by_assertion: false,
        created: 0,
    };
    let user = UserRecord {
        id: user,
        identity: "local".into(),
        profile: Sealed::from_bytes(vec![]),
        state: IdentityState::Live,
        checked_ago: Duration::ZERO,
    };
    let record = CallRecord { grant, scope: "mcp".into(), user, credential: None, life };
    Arc::new(Caller::new(
        Hash32::from_bytes([n; 32]),
        record,
        Profile::default(),
        crate::model::ScopeSet::default(),
        crate::model::ScopeSet::default(),
    ))
}

fn listening(now: Duration) -> Cache {
    let cache = Cache::default();
    assert_eq!(cache.begin(now).1, StartReader(true));
    cache.reader_placed(now);
    cache
}

fn keep(cache: &Cache, caller: &Arc<Caller>, now: Duration) {
    let (mark, _) = cache.begin(now);
    cache.insert(mark, caller, now);
}

fn stream_of(caller: &Caller, listens: bool) -> Stream {
    Stream {
        access: caller.access,
        grant: caller.record.grant.id,
        user: caller.record.user.id,
        close: CancellationToken::new(),
        listens,
        ends: Duration::MAX,
        checked: Duration::ZERO,
    }
}

#[test]
fn nothing_is_kept_before_the_reader_listens() {
    let cache = Cache::default();
    let alice = caller(1, 60 * SECOND);
    let (mark, start) = cache.begin(SECOND);
    assert!(mark.is_none() && start == StartReader(true));
    cache.reader_placed(SECOND);
    cache.insert(mark, &alice, SECOND);
    assert!(cache.get(&alice.access, SECOND).is_none());
    assert_eq!(cache.begin(SECOND).1, StartReader(false));
}

#[test]
fn a_caller_lives_five_seconds_or_as_long_as_its_token() {
    let cache = listening(SECOND);
    let (alice, bob) = (caller(1, 60 * SECOND), caller(2, 2 * SECOND));
    keep(&cache, &alice, SECOND);
    keep(&cache, &bob, SECOND);
    cache.heard(&[], 3 * SECOND);
    assert!(cache.get(&alice.access, 4 * SECOND).is_some());
    assert!(cache.get(&bob.access, 3 * SECOND).is_none());
    cache.heard(&[], 6 * SECOND);
    assert!(cache.get(&alice.access, 6 * SECOND).is_none());
}

#[test]
fn a_silent_reader_ends_belief_after_four_seconds() {
    let cache = listening(SECOND);
    let alice = caller(1, 60 * SECOND);
    keep(&cache, &alice, SECOND);
    assert!(cache.get(&alice.access, 4 * SECOND).is_some());
    assert!(cache.get(&alice.access, 5 * SECOND).is_none());
}

#[test]
fn an_event_drops_the_caller_it_touches() {
    let cache = listening(SECOND);
    let (alice, bob) = (caller(1, 60 * SECOND), caller(2, 60 * SECOND));
    for event in [Event::Grant(alice.record.grant.id), Event::User(alice.record.user.id)] {
        keep(&cache, &alice, SECOND);
        keep(&cache, &bob, SECOND);
        cache.heard(&[event], SECOND);
        assert!(cache.get(&alice.access, SECOND).is_none());
        assert!(cache.get(&bob.access, SECOND).is_some());
    }
}

#[test]
fn a_token_that_was_replaced_is_dropped_and_its_successor_is_kept() {
    let cache = listening(SECOND);
    let old = caller(1, 60 * SECOND);
    let new = Arc::new(Caller {
        access: Hash32::from_bytes([9; 32]),
        ..Arc::into_inner(caller(1, 60 * SECOND)).unwrap()
    });
    keep(&cache, &old, SECOND);
    keep(&cache, &new, SECOND);
    let streams: Vec<_> = [(&old, true), (&old, false), (&new, true)]
        .into_iter()
        .map(|(caller, listens)| {
            let stream = stream_of(caller, listens);
            let _ = cache.open(stream.clone());
            stream
        })
        .collect();
    cache.heard(&[Event::Access(old.access)], SECOND);
    assert!(cache.get(&old.access, SECOND).is_none());
    assert!(cache.get(&new.access, SECOND).is_some());
    let closed = streams.iter().map(|stream| stream.close.is_cancelled()).collect::<Vec<_>>();
    assert_eq!(closed, [true, false, false], "a request waits for its answer");
    let mut ends: Vec<_> = cache.streams().iter().map(|stream| stream.ends).collect();
    ends.sort();
    assert_eq!(ends, [SECOND, SECOND, Duration::MAX], "and not for as long as the token would have lived");
}

#[test]
fn an_event_during_the_look_up_prevents_keeping() {
    let cache = listening(SECOND);
    let (alice, bob) = (caller(1, 60 * SECOND), caller(2, 60 * SECOND));
    let (mark, _) = cache.begin(SECOND);
    cache.heard(&[Event::Grant(alice.record.grant.id)], SECOND);
    cache.insert(mark, &alice, SECOND);
    cache.insert(mark, &bob, SECOND);
    assert!(cache.get(&alice.access, SECOND).is_none());
    assert!(cache.get(&bob.access, SECOND).is_some());
}

#[test]
fn more_events_than_are_remembered_prevent_keeping() {
    let cache = listening(SECOND);
    let alice = caller(1, 60 * SECOND);
    let (mark, _) = cache.begin(SECOND);
    let others = vec![Event::Grant(GrantId::from_bytes([9; 16])); MAX_RECENT + 1];
    cache.heard(&others, SECOND);
    cache.insert(mark, &alice, SECOND);
    assert!(cache.get(&alice.access, SECOND).is_none());
}

#[test]
fn a_lost_place_drops_everything_and_what_is_under_way() {
    let cache = listening(SECOND);
    let (alice, bob) = (caller(1, 60 * SECOND), caller(2, 60 * SECOND));
    keep(&cache, &alice, SECOND);
    let (mark, _) = cache.begin(SECOND);
    cache.reader_lost();
    cache.reader_placed(SECOND);
    cache.insert(mark, &bob, SECOND);
    assert!(cache.get(&alice.access, SECOND).is_none());
    assert!(cache.get(&bob.access, SECOND).is_none());
}

#[test]
fn a_reader_stops_when_nothing_is_kept_or_streamed() {
    let cache = listening(SECOND);
    let alice = caller(1, 60 * SECOND);
    keep(&cache, &alice, SECOND);
    assert!(!cache.reader_may_stop(SECOND));
    let stream = stream_of(&alice, true);
    let (close, record) = (stream.close.clone(), &alice.record);
    let (id, start) = cache.open(stream);
    assert_eq!(start, StartReader(false));
    assert!(!cache.reader_may_stop(60 * SECOND));
    assert!(cache.heard(&[Event::User(record.user.id)], SECOND) == [record.user.id]);
    assert!(!close.is_cancelled());
    cache.heard(&[Event::Grant(record.grant.id)], SECOND);
    assert!(close.is_cancelled());
    cache.close(id);
    assert!(cache.reader_may_stop(60 * SECOND));
    assert_eq!(cache.begin(60 * SECOND).1, StartReader(true));
}
