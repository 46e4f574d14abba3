//! The event reader: keeps the cache honest and closes the streams of those who may no longer call.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{TryStreamExt, stream};

use super::{
    Mcp, authenticate,
    cache::{StartReader, Stream},
    stream::LATE_ANSWER,
};
use crate::{
    model::UserId,
    oauth::clients,
    store::{Event, EventCursor, Result},
};

/// How long one read waits for the first event.
const WAIT: Duration = Duration::from_millis(1000);
/// How long to wait before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// How often the user of each open stream is looked at, whether there was an event or not: what ends by itself (a
/// token, an entry in a file of users) writes none.
const RECHECK: Duration = Duration::from_secs(60);
/// How many streams are looked at between two reads, so that the reader is never late.
const RECHECKED_AT_ONCE: usize = 64;
/// How many are asked about at the same time, so that thousands of streams do not keep the reader from the next event.
const ASKED_AT_ONCE: usize = 32;

/// Starts the reader if it is wanted.
pub(super) fn start(mcp: &Arc<Mcp>, wanted: StartReader) {
    if wanted.0 {
        let mcp = mcp.clone();
        tokio::spawn(async move { run(&mcp).await });
    }
}

async fn run(mcp: &Mcp) {
    loop {
        match follow(mcp).await {
            Ok(()) => return,
            Err(error) => {
                mcp.cache.reader_lost();
                mcp.absent.clear();
                tracing::warn!(%error, "cannot read revocations: nothing is cached until the store answers");
                tokio::time::sleep(PAUSE).await;
            }
        }
        if mcp.cache.reader_may_stop(mcp.now()) {
            return;
        }
    }
}

/// Reads events until nothing is kept, or the store fails.
async fn follow(mcp: &Mcp) -> Result<()> {
    let mut cursor = place(mcp).await?;
    loop {
        let batch = mcp.server.store.events(&cursor, WAIT).await?;
        if batch.gap {
            mcp.cache.reader_lost();
            cursor = place(mcp).await?;
            continue;
        }
        cursor = batch.cursor;
        for user in mcp.cache.heard(&batch.events, mcp.now()) {
            check_user(mcp, user).await?;
        }
        if batch.events.contains(&Event::Denial) {
            // Also when it is no news: a sign-in or a refresh may have heard it first.
            mcp.server.learn_denial().await?;
            each_user(mcp, mcp.cache.streams()).await?;
        }
        let due = mcp.cache.due(mcp.now(), RECHECK, RECHECKED_AT_ONCE);
        each_stream(mcp, due).await?;
        if mcp.cache.reader_may_stop(mcp.now()) {
            return Ok(());
        }
    }
}

/// Takes a place at the end of the list. Streams that are already open could have missed something: they are checked.
async fn place(mcp: &Mcp) -> Result<EventCursor> {
    let cursor = mcp.server.store.event_cursor().await?;
    mcp.server.learn_denial().await?;
    mcp.cache.reader_placed(mcp.now());
    each_stream(mcp, mcp.cache.streams()).await?;
    Ok(cursor)
}

async fn each_stream(mcp: &Mcp, streams: Vec<Stream>) -> Result<()> {
    let checks = streams.into_iter().map(Ok);
    stream::iter(checks).try_for_each_concurrent(ASKED_AT_ONCE, |one| check_stream(mcp, one)).await
}

/// Checks the users of these streams, each once.
async fn each_user(mcp: &Mcp, streams: Vec<Stream>) -> Result<()> {
    let users: HashSet<UserId> = streams.into_iter().map(|stream| stream.user).collect();
    let checks = users.into_iter().map(Ok);
    stream::iter(checks).try_for_each_concurrent(ASKED_AT_ONCE, |user| check_user(mcp, user)).await
}

/// Checks a stream that has just begun, unless its caller is known to be current: something may have happened between
/// the look-up and the registration.
pub(super) fn verify(mcp: &Arc<Mcp>, stream: Stream) {
    if mcp.cache.get(&stream.access, mcp.now()).is_some() {
        return;
    }
    let mcp = mcp.clone();
    tokio::spawn(async move {
        // If the store fails now, the reader fails too, and checks the stream when it has a place again.
        let _ = check_stream(&mcp, stream).await;
    });
}

async fn check_stream(mcp: &Mcp, stream: Stream) -> Result<()> {
    if !stream.listens {
        return check_request(mcp, stream).await;
    }
    let record = mcp.server.store.call(&stream.access).await?;
    let caller = record.and_then(|record| authenticate::admit(&mcp.server, stream.access, None, record).ok());
    let allowed = caller.is_some_and(|c| authenticate::may_listen(&mcp.server, &c.record.user, &c.profile));
    if !allowed {
        stream.close.cancel();
    }
    Ok(())
}

/// Checks a request that waits for its answer: it may do so a little longer than its token lives, but not than its grant,
/// unless that went with the token (a robot's does).
async fn check_request(mcp: &Mcp, stream: Stream) -> Result<()> {
    let grant = mcp.server.store.grant(&stream.grant).await?;
    let held = match grant {
        Some(grant) => clients::may_hold(&mcp.server, &grant).is_ok(),
        None => mcp.now() >= stream.ends,
    };
    // Its token may have ended before its time, by a rotation.
    if !held || mcp.now() >= stream.ends.saturating_add(LATE_ANSWER) {
        stream.close.cancel();
    }
    check_user(mcp, stream.user).await
}

/// Closes the streams of a user who is dead, gone or denied.
async fn check_user(mcp: &Mcp, id: UserId) -> Result<()> {
    let user = mcp.server.store.user(&id).await?;
    let allowed = user.is_some_and(|user| {
        let profile = authenticate::profile(&mcp.server, &user);
        profile.is_ok_and(|profile| authenticate::may_listen(&mcp.server, &user, &profile))
    });
    if !allowed {
        mcp.cache.close_user(&id);
    }
    Ok(())
}
