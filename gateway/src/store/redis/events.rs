//! The list of changes: a stream, read on a connection of its own, for a blocked read blocks its connection.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use gatehouse_gateway_config::denial::{self, Denial};
use redis::{FromRedisValue, Value, streams::StreamId, streams::StreamRangeReply, streams::StreamReadReply};

use super::{
    RedisStore,
    dial::unavailable,
    script::{Reply, millis, unexpected},
};
use crate::{
    model::{GrantId, Hash32, UserId},
    store::{Event, EventBatch, EventCursor, Heard, Result, keys},
};

/// How many events one read returns.
const BATCH: usize = keys::EVENTS_KEPT;

/// A place in the stream: `<id>/<number>`. Numbers count entries, so that missing ones show; they begin anew when
/// Redis was flushed, which shows, too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    id: String,
    number: u64,
}

impl Place {
    fn start() -> Self {
        Self { id: "0-0".to_owned(), number: 0 }
    }

    fn parse(cursor: &EventCursor) -> Option<Self> {
        let (id, number) = cursor.0.split_once('/')?;
        let (millis, sequence) = id.split_once('-')?;
        let valid = millis.parse::<u64>().is_ok() && sequence.parse::<u64>().is_ok();
        valid.then_some(())?;
        Some(Self { id: id.to_owned(), number: number.parse().ok()? })
    }

    fn of(entry: &StreamId) -> Option<Self> {
        Some(Self { id: entry.id.clone(), number: entry.get("n")? })
    }

    fn cursor(self) -> EventCursor {
        EventCursor(format!("{}/{}", self.id, self.number))
    }
}

impl RedisStore {
    fn newest(&self) -> redis::Cmd {
        let mut cmd = redis::cmd("XREVRANGE");
        cmd.arg(self.full(keys::EVENTS)).arg("+").arg("-").arg("COUNT").arg(1);
        cmd
    }

    pub(super) async fn end_of_events(&self) -> Result<EventCursor> {
        Ok(place_of_newest(self.main.command(self.newest()).await?)?.cursor())
    }

    /// The operator's record; one with a wrong MAC is as absent.
    pub(super) async fn read_denial(&self) -> Result<Option<Denial>> {
        let mut get = redis::cmd("HMGET");
        get.arg(self.full(denial::KEY)).arg("r").arg("m");
        let mut reply = Reply::of(self.main.command(get).await?)?;
        Ok(self.hear_denial(&mut reply).denial.as_deref().cloned())
    }

    /// Reads the operator's record and its MAC, and keeps them as the last that was heard.
    pub(super) fn hear_denial(&self, reply: &mut Reply) -> Heard {
        let (text, mac) = (reply.text(), reply.text());
        let denial = self.json(denial::KEY, text, mac.as_deref()).map(Arc::new);
        // Kept also when it is not authentic: it is as absent, and need not be told again.
        let heard = Heard { mark: mac.unwrap_or_default(), denial };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&heard);
        heard
    }

    pub(super) async fn read_events(&self, cursor: &EventCursor, wait: Duration) -> Result<EventBatch> {
        let Some(place) = Place::parse(cursor) else {
            return Ok(EventBatch { events: Vec::new(), cursor: self.end_of_events().await?, gap: true });
        };
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(BATCH);
        if !wait.is_zero() {
            // BLOCK 0 would wait forever.
            read.arg("BLOCK").arg(millis(wait).max(1));
        }
        read.arg("STREAMS").arg(self.full(keys::EVENTS)).arg(&place.id);
        let mut pipe = redis::pipe();
        pipe.add_command(read).add_command(self.newest());
        // One reader at a time: another's read would wait behind this one's in the connection anyway.
        let _turn = self.reader_turn.lock().await;
        let mut values = self.reader.send(&pipe, wait).await?.into_iter();
        let mut next = || -> Result<Value> {
            values.next().ok_or_else(unexpected)?.extract_error().map_err(|e| unavailable(&e))
        };
        let (read, newest) = (next()?, place_of_newest(next()?)?);
        let entries = entries_of(read)?;
        Ok(batch(place, &entries, newest))
    }
}

/// What was read after `place`; `newest` is the stream's end at that time.
fn batch(place: Place, entries: &[StreamId], newest: Place) -> EventBatch {
    // Without entries the stream must still end where we are; else it was flushed, or replaced by an older one.
    if entries.is_empty() {
        return EventBatch { events: Vec::new(), gap: newest != place, cursor: newest.cursor() };
    }
    let (mut at, mut gap, mut events) = (place, false, Vec::new());
    for entry in entries {
        let (Some(here), Some(event)) = (Place::of(entry), event_of(entry)) else {
            // Not an entry of ours: whatever it says, nothing that is cached may be trusted.
            return EventBatch { events, cursor: newest.cursor(), gap: true };
        };
        gap |= here.number != at.number + 1;
        at = here;
        events.push(event);
    }
    EventBatch { events, cursor: at.cursor(), gap }
}

fn event_of(entry: &StreamId) -> Option<Event> {
    let of: String = entry.get("of")?;
    if of == denial::EVENT {
        return Some(Event::Denial);
    }
    if let Some(id) = of.strip_prefix(keys::GRANT) {
        return GrantId::parse(id).map(Event::Grant);
    }
    if let Some(hash) = of.strip_prefix(keys::ACCESS) {
        return Hash32::parse(hash).map(Event::Access);
    }
    of.strip_prefix(keys::USER).and_then(UserId::parse).map(Event::User)
}

fn place_of_newest(value: Value) -> Result<Place> {
    let range = StreamRangeReply::from_redis_value(value).map_err(|e| unavailable(&e.into()))?;
    Ok(range.ids.first().and_then(Place::of).unwrap_or_else(Place::start))
}

fn entries_of(value: Value) -> Result<Vec<StreamId>> {
    if value == Value::Nil {
        return Ok(Vec::new());
    }
    let reply = StreamReadReply::from_redis_value(value).map_err(|e| unavailable(&e.into()))?;
    Ok(reply.keys.into_iter().flat_map(|stream| stream.ids).collect())
}
