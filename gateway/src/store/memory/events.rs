//! The list of changes.

use std::collections::VecDeque;

use super::super::{Event, EventBatch, EventCursor, keys::EVENTS_KEPT};

/// The last events, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    last: u64,
    kept: VecDeque<Event>,
    /// Everything up to here is gone although it was never trimmed.
    flushed: u64,
}

impl EventLog {
    pub(super) fn push(&mut self, event: Event) {
        self.last += 1;
        self.kept.push_back(event);
        if self.kept.len() > EVENTS_KEPT {
            self.kept.pop_front();
        }
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn cursor(&self) -> EventCursor {
        EventCursor(self.last.to_string())
    }

    /// An empty list in which every older cursor has a gap.
    pub(super) fn after_flush(&self) -> Self {
        Self { last: self.last + 1, kept: VecDeque::new(), flushed: self.last + 1 }
    }

    pub(super) fn since(&self, cursor: &EventCursor) -> EventBatch {
        let first_kept = self.last - self.kept.len() as u64 + 1;
        let Ok(seen) = cursor.0.parse::<u64>() else {
            return EventBatch { events: Vec::new(), cursor: self.cursor(), gap: true };
        };
        let gap = seen + 1 < first_kept || seen < self.flushed || seen > self.last;
        let skip = usize::try_from((seen + 1).saturating_sub(first_kept)).unwrap_or(usize::MAX);
        EventBatch { events: self.kept.iter().skip(skip).cloned().collect(), cursor: self.cursor(), gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GrantId;

    fn event(n: u8) -> Event {
        Event::Grant(GrantId::from_bytes([n; 16]))
    }

    #[test]
    fn only_what_was_trimmed_unseen_is_a_gap() {
        let mut log = EventLog::default();
        let start = log.cursor();
        log.push(event(1));
        let after_one = log.cursor();
        for _ in 0..EVENTS_KEPT {
            log.push(event(2));
        }
        assert!(log.since(&start).gap);
        let rest = log.since(&after_one);
        assert!(!rest.gap);
        assert_eq!(rest.events.len(), EVENTS_KEPT);
        assert!(!log.since(&rest.cursor).gap);
        assert!(log.since(&rest.cursor).events.is_empty());
    }

    #[test]
    fn a_flush_is_a_gap_for_every_older_cursor() {
        let mut log = EventLog::default();
        log.push(event(1));
        let cursor = log.cursor();
        let log = log.after_flush();
        assert!(log.since(&cursor).gap);
        assert!(!log.since(&log.cursor()).gap);
    }
}
