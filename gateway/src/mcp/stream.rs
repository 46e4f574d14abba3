//! Streams that are open, so that they can be closed when their user may no longer listen.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Mcp, cache::Stream, caller::Caller, watch};

/// One open stream; its registration ends with it.
pub(super) struct OpenStream {
    pub mcp: Arc<Mcp>,
    pub close: CancellationToken,
    /// What is left of the token's life.
    pub life: Duration,
    id: u64,
}

impl OpenStream {
    /// Registers a stream of this caller. `listens`: it waits for events only.
    pub(super) fn register(mcp: &Arc<Mcp>, caller: &Caller, listens: bool) -> Self {
        let close = CancellationToken::new();
        let record = &caller.record;
        let stream = Stream {
            access: caller.access,
            grant: record.grant.id,
            user: record.user.id,
            close: close.clone(),
            listens,
            checked: mcp.now(),
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
