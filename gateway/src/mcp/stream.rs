//! Streams that are open, so that they can be closed when their user may no longer listen; and answers that are awaited.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Mcp, cache::Stream, caller::Caller, refusal::Refusal, watch};

/// One open stream; its registration ends with it.
pub(super) struct OpenStream {
    mcp: Arc<Mcp>,
    close: CancellationToken,
    /// What is left of the token's life.
    life: Duration,
    id: u64,
}

/// A request that was under way when its token ended may be answered for so long: clients renew their tokens beside
/// their calls, and nobody would wait for the answer of a second one. Streams that only listen end with their token.
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(300);

/// An answer that takes longer, to its head or from there on, can be ended under way, as event streams can from their start.
/// Nearly all are over by then and cost nothing more. What was asked for in time and answered at once is let through: it
/// has been done.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

/// What ends an open stream from our side.
pub(super) struct Ending {
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When the token has ended.
    expired: Pin<Box<Sleep>>,
    /// Closed at the start of a drain: streams that only listen.
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Ends the registration when the stream ends.
    _open: OpenStream,
}

impl Ending {
    /// Registers a stream of this caller, to be ended. `listens`: it waits for events only, and may end at any time.
    pub(super) fn of(mcp: &Arc<Mcp>, caller: &Caller, listens: bool) -> Self {
        let open = OpenStream::register(mcp, caller, listens);
        let life = if listens { open.life } else { open.life.saturating_add(LATE_ANSWER) };
        let draining = || Box::pin(mcp.draining.clone().cancelled_owned());
        Self {
            closed: Box::pin(open.close.clone().cancelled_owned()),
            expired: Box::pin(tokio::time::sleep(life)),
            drained: listens.then(draining),
            _open: open,
        }
    }

    /// Why the stream is to be ended, once it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Some("revoked");
        }
        if self.expired.as_mut().poll(cx).is_ready() {
            return Some("expired");
        }
        let drained = self.drained.as_mut()?;
        drained.as_mut().poll(cx).is_ready().then_some("drained")
    }
}

/// Waits for what the backend answers this caller, as long as they may have it.
///
/// # Errors
/// Those of the answer, and when its user's right ended first.
pub(super) async fn awaited<T>(
    mcp: &Arc<Mcp>,
    caller: &Caller,
    answer: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut answer = pin!(answer);
    if let Ok(answer) = tokio::time::timeout(AT_ONCE, &mut answer).await {
        return answer;
    }
    let mut ending = Ending::of(mcp, caller, false);
    poll_fn(|cx| match ending.poll(cx) {
        Some(why) => Poll::Ready(Err(Refusal::Ended(why))),
        None => answer.as_mut().poll(cx),
    })
    .await
}

impl OpenStream {
    /// Registers a stream of this caller. `listens`: it waits for events only.
    fn register(mcp: &Arc<Mcp>, caller: &Caller, listens: bool) -> Self {
        let close = CancellationToken::new();
        let (record, now) = (&caller.record, mcp.now());
        let stream = Stream {
            access: caller.access,
            grant: record.grant.id,
            user: record.user.id,
            close: close.clone(),
            listens,
            ends: now.saturating_add(record.life),
            checked: now,
        };
        let (id, reader) = mcp.cache.open(stream.clone());
        watch::start(mcp, reader);
        mcp.metrics.open_streams.inc();
        watch::verify(mcp, stream);
        Self { mcp: mcp.clone(), close, life: record.life, id }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.mcp.cache.close(self.id);
        self.mcp.metrics.open_streams.dec();
    }
}
