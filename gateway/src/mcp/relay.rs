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
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Mcp, caller::Caller, confirm, load::Place, refusal, scan::Scanner, sse::Boundary, stream::OpenStream,
    tool_events::ToolEvents, trail::Trail,
};

/// A comment, which every client ignores (HTML standard, server-sent events).
const COMMENT: &[u8] = b": keep-alive\n\n";

/// A body that comes from the backend.
pub(super) struct Relay {
    inner: Incoming,
    call: Trail,
    /// Counted until the answer ends.
    place: Place,
    events: Option<Events>,
    filter: Option<ToolEvents>,
    search: Option<Search>,
    /// How a complete answer counts.
    complete: &'static str,
    ended: bool,
}

/// A request that was under way when its token ended may be answered for so long: clients renew their tokens beside
/// their calls, and nobody would wait for the answer of a second one. Streams that only listen end with their token.
const LATE_ANSWER: Duration = Duration::from_secs(300);

/// What an event stream needs more.
struct Events {
    boundary: Boundary,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When the token has ended.
    expired: Pin<Box<Sleep>>,
    /// Closed at the start of a drain: streams that only listen.
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// The id of the request that still waits for its answer on this stream.
    awaited: Option<Box<RawValue>>,
    backend: String,
    /// Ends the registration when the stream ends.
    _open: OpenStream,
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
        let mut relay =
            Self { inner, call, place, events: None, filter: None, search: None, complete, ended: false };
        if relay.inner.is_end_stream() {
            relay.call.outcome(complete);
        }
        relay
    }

    /// Treats the body as an event stream. `listens`: it waits for events only, and may end at any time.
    pub(super) fn events(mut self, open: OpenStream, awaited: Option<Box<RawValue>>, listens: bool) -> Self {
        let draining = open.mcp.draining.clone();
        let life = if listens { open.life } else { open.life.saturating_add(LATE_ANSWER) };
        self.events = Some(Events {
            boundary: Boundary::default(),
            pause: open.mcp.keep_alive,
            timer: Box::pin(tokio::time::sleep(open.mcp.keep_alive)),
            closed: Box::pin(open.close.clone().cancelled_owned()),
            expired: Box::pin(tokio::time::sleep(life)),
            drained: listens.then(|| Box::pin(CancellationToken::cancelled_owned(draining))),
            awaited,
            backend: open.mcp.backend.config.name.clone(),
            _open: open,
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
    fn broke(&mut self, error: hyper::Error) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        tracing::warn!(error = %refusal::innermost(&error), "a backend broke its answer off");
        self.finish("backend_error");
        match &mut self.events {
            // Where the stream could be resumed the client will do so; else the waiting request gets its answer.
            Some(events) if events.boundary.between() && !events.boundary.resumable() => {
                Poll::Ready(self.last_event(refusal::died_body).map(|data| Ok(Frame::data(data))))
            }
            _ => Poll::Ready(Some(Err(error))),
        }
    }

    /// The event that answers the waiting request, if one can still be said.
    fn last_event(&mut self, error: fn(&RawValue, &str) -> String) -> Option<Bytes> {
        let events = self.events.as_mut().filter(|events| events.boundary.between())?;
        let body = error(&events.awaited.take()?, &events.backend);
        Some(Bytes::from(format!("event: message\ndata: {body}\n\n")))
    }

    /// Whether the stream is to be ended from our side.
    fn ends_here(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        let events = self.events.as_mut()?;
        if events.closed.as_mut().poll(cx).is_ready() {
            return Some("revoked");
        }
        if events.expired.as_mut().poll(cx).is_ready() {
            return Some("expired");
        }
        let drained = events.drained.as_mut()?;
        drained.as_mut().poll(cx).is_ready().then_some("drained")
    }

    /// A comment when the stream has been silent for long, between two events.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(outcome) = this.ends_here(cx) {
            this.finish(outcome);
            return Poll::Ready(this.last_event(refusal::cut_body).map(|data| Ok(Frame::data(data))));
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
                Poll::Pending => this.keep_alive(cx),
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
