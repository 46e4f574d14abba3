//! Event streams without the tools that are not offered: a client that lost the answer to `tools/list` gets it again by
//! resuming its stream, where nothing says what was asked.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Mcp,
    load::Place,
    refusal::Refusal,
    sse::Boundary,
    tool_list::{MAX_LIST, not_a_list, of_events},
};

/// Passes whole events on. What has begun is held until its end is there.
pub(super) struct ToolEvents {
    mcp: Arc<Mcp>,
    boundary: Boundary,
    held: Vec<u8>,
}

impl ToolEvents {
    /// A filter for one stream; `None` when every tool is offered.
    pub(super) fn of(mcp: &Arc<Mcp>) -> Option<Self> {
        let hides = mcp.tools.hide_some();
        hides.then(|| Self { mcp: mcp.clone(), boundary: Boundary::default(), held: Vec::new() })
    }

    /// Takes in what has come and gives what may go on, which may be nothing yet. What is held counts as the call's.
    ///
    /// # Errors
    /// When an event is too long, or no message that can be read: nobody could say what it lists.
    pub(super) fn feed(&mut self, data: &[u8], place: &mut Place) -> Result<Bytes, Refusal> {
        if self.held.len() + data.len() > MAX_LIST {
            return Err(Refusal::BadAnswer("one of its events is longer than 4 MiB".to_owned()));
        }
        place.take(data.len())?;
        let before = self.held.len();
        self.held.extend_from_slice(data);
        let mut whole = 0;
        for (at, byte) in data.iter().enumerate() {
            self.boundary.feed(std::slice::from_ref(byte));
            if self.boundary.between() {
                whole = before + at + 1;
            }
        }
        let begun = self.held.split_off(whole);
        let events = std::mem::replace(&mut self.held, begun);
        let events = std::str::from_utf8(&events).map_err(|_| not_a_list())?;
        let passes = of_events(events, &self.mcp.tools).ok_or_else(not_a_list)?;
        place.sent();
        place.take(self.held.len())?;
        Ok(Bytes::from(passes))
    }
}
