//! The answer on its way to the client: passed on as it comes, watched, and ended when its user may no longer listen.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep};

use super::{
    Mcp,
    caller::Caller,
    confirm,
    load::Place,
    refusal,
    scan::Scanner,
    sse::Boundary,
    stream::{AT_ONCE, Ending},
    tool_events::ToolEvents,
    trail::Trail,
};

/// A comment, which every client ignores (HTML standard, server-sent events).
const COMMENT: &[u8] = b": keep-alive\n\n";

/// A body that comes from the backend.
pub(super) struct Relay {
    inner: Incoming,
    call: Trail,
    /// Counted until the answer ends.
    place: Place,
    /// When it becomes one that can be ended; and the timer that says so, where there is something to wait for.
    ends_from: Instant,
    waits: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
    events: Option<Events>,
    filter: Option<ToolEvents>,
    search: Option<Search>,
    /// How a complete answer counts.
    complete: &'static str,
    ended: bool,
}

/// Why an answer ends that is not complete. Whoever reads it must see that: the connection breaks.
#[derive(Debug, thiserror::Error)]
pub(super) enum Incomplete {
    /// The backend's connection broke.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It was ended from our side.
    #[error("the answer was cut: {0}")]
    Cut(&'static str),
}

/// What comes of one look at the backend's answer.
type Step = Poll<Option<Result<Frame<Bytes>, Incomplete>>>;

/// What an event stream needs more.
struct Events {
    boundary: Boundary,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
    /// The id of the request that still waits for its answer on this stream.
    awaited: Option<Box<RawValue>>,
    backend: String,
}

/// The search for what betrays a dead token.
struct Search {
    scanner: Scanner,
    mcp: Arc<Mcp>,
    caller: Arc<Caller>,
}

impl Relay {
    /// The body of an answer; `failed`: its status says that the backend refused.
    pub(super) fn new(inner: Incoming, (call, place): (Trail, Place), failed: bool) -> Self {
        let complete = if failed { "backend_refused" } else { "ok" };
        let mut relay = Self {
            inner,
            call,
            place,
            ends_from: Instant::now() + AT_ONCE,
            waits: None,
            ending: None,
            events: None,
            filter: None,
            search: None,
            complete,
            ended: false,
        };
        if relay.inner.is_end_stream() {
            relay.call.outcome(complete);
        }
        relay
    }

    /// Treats the body as an event stream. `listens`: it waits for events only, and may end at any time.
    pub(super) fn events(mut self, awaited: Option<Box<RawValue>>, listens: bool) -> Self {
        let mcp = &self.call.mcp;
        self.ending = Some(Ending::of(mcp, &self.call.caller, listens));
        self.events = Some(Events {
            boundary: Boundary::default(),
            pause: mcp.keep_alive,
            timer: Box::pin(tokio::time::sleep(mcp.keep_alive)),
            awaited,
            backend: mcp.backend.config.name.clone(),
        });
        self
    }

    /// Hides the tools that are not offered from the events.
    pub(super) fn filter(mut self, filter: Option<ToolEvents>) -> Self {
        self.filter = filter;
        self
    }

    /// Searches the body for what betrays a dead token.
    pub(super) fn search(mut self, scanner: Option<Scanner>, mcp: &Arc<Mcp>, caller: &Arc<Caller>) -> Self {
        self.search = scanner.map(|scanner| Search { scanner, mcp: mcp.clone(), caller: caller.clone() });
        self
    }

    fn finish(&mut self, outcome: &'static str) {
        self.ended = true;
        self.call.outcome(outcome);
    }

    /// What of a frame goes on: `None` when that is nothing yet, or nothing any more.
    fn taken(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Some(other),
        };
        let passes = self.filter.as_mut().map(|filter| filter.feed(&data, &mut self.place)).transpose();
        let data = match passes {
            Ok(filtered) => filtered.unwrap_or(data),
            Err(refusal) => {
                tracing::warn!(?refusal, "a backend's stream cannot be read for the tools that it lists");
                self.ended = true;
                self.call.refused(&refusal);
                return None;
            }
        };
        self.passed(&data);
        if self.inner.is_end_stream() {
            self.finish(self.complete);
        }
        (!data.is_empty()).then(|| Frame::data(data))
    }

    fn passed(&mut self, data: &Bytes) {
        if let Some(events) = &mut self.events {
            events.boundary.feed(data);
            events.timer.as_mut().reset(Instant::now() + events.pause);
        }
        if let Some(search) = &mut self.search
            && search.scanner.feed(data)
        {
            // Before the client can read it, so that its next call finds the question asked.
            drop(confirm::ask(&search.mcp, search.caller.record.user.id));
            self.search = None;
        }
    }

    /// The backend's connection broke.
    fn broke(&mut self, error: hyper::Error) -> Step {
        tracing::warn!(error = %refusal::innermost(&error), "a backend broke its answer off");
        self.finish("backend_error");
        match &mut self.events {
            // Where the stream could be resumed the client will do so; else the waiting request gets its answer.
            Some(events) if events.boundary.between() && !events.boundary.resumable() => {
                Poll::Ready(self.last_event(refusal::died_body).map(|data| Ok(Frame::data(data))))
            }
            _ => Poll::Ready(Some(Err(error.into()))),
        }
    }

    /// The event that answers the waiting request, if one can still be said.
    fn last_event(&mut self, error: fn(&RawValue, &str) -> String) -> Option<Bytes> {
        let events = self.events.as_mut().filter(|events| events.boundary.between())?;
        let body = error(&events.awaited.take()?, &events.backend);
        Some(Bytes::from(format!("event: message\ndata: {body}\n\n")))
    }

    /// Why the answer is to be ended from our side, if it is.
    fn ends_here(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        if self.ending.is_none() && Instant::now() >= self.ends_from {
            self.ending = Some(Ending::of(&self.call.mcp, &self.call.caller, false));
        }
        self.ending.as_mut()?.poll(cx)
    }

    /// Ends the answer. A stream of events is over; anything else would look complete.
    fn cut(&mut self, outcome: &'static str) -> Step {
        self.finish(outcome);
        Poll::Ready(match self.events {
            Some(_) => self.last_event(refusal::cut_body).map(|data| Ok(Frame::data(data))),
            None => Some(Err(Incomplete::Cut(outcome))),
        })
    }

    /// Nothing is there yet.
    fn wait(&mut self, cx: &mut Context<'_>) -> Step {
        if self.events.is_some() {
            return self.keep_alive(cx);
        }
        if self.ending.is_none() {
            let ends_from = self.ends_from;
            let timer = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends_from)));
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    /// A comment when the stream has been silent for long, between two events.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(events) = &mut self.events else { return Poll::Pending };
        if events.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        events.timer.as_mut().reset(Instant::now() + events.pause);
        if events.boundary.between() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))));
        }
        // The new deadline must be waited for.
        let _ = events.timer.as_mut().poll(cx);
        Poll::Pending
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Incomplete;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Step {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(outcome) = this.ends_here(cx) {
            return this.cut(outcome);
        }
        loop {
            return match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match this.taken(frame) {
                    Some(frame) => Poll::Ready(Some(Ok(frame))),
                    None if this.ended => Poll::Ready(None),
                    None => continue,
                },
                Poll::Ready(Some(Err(error))) => this.broke(error),
                Poll::Ready(None) => {
                    this.finish(this.complete);
                    Poll::Ready(None)
                }
                Poll::Pending => this.wait(cx),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.events.is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.events.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}
