//! Where events of a passing event stream begin and end (HTML standard, "Server-sent events").

/// Follows a stream of server-sent events, chunk by chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Boundary {
    place: Place,
    /// The last byte was a carriage return: a line feed right after it is part of the same line's end.
    after_cr: bool,
    /// How many bytes of `id` the line has matched so far; `NO_MATCH` once it cannot any more.
    matched: u8,
    resumable: bool,
}

/// Where the next byte falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before an event.
    #[default]
    Between,
    /// At the start of a further line of an event.
    LineStart,
    /// In a line.
    InLine,
}

const ID: &[u8; 2] = b"id";
const NO_MATCH: u8 = u8::MAX;

impl Boundary {
    /// Takes in what has passed.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            let second_half = std::mem::take(&mut self.after_cr) && byte == b'\n';
            if second_half {
                continue;
            }
            self.after_cr = byte == b'\r';
            if matches!(byte, b'\n' | b'\r') {
                self.place = if self.place == Place::InLine { Place::LineStart } else { Place::Between };
                self.matched = 0;
            } else {
                self.place = Place::InLine;
                self.follow_field(byte);
            }
        }
    }

    /// Whether nothing of an event has passed that is not complete: here a comment may stand.
    pub(super) fn between(&self) -> bool {
        self.place == Place::Between
    }

    /// Whether an event had an id, so that a client can go on where the stream broke off.
    pub(super) fn resumable(&self) -> bool {
        self.resumable
    }

    fn follow_field(&mut self, byte: u8) {
        match usize::from(self.matched) {
            at if at < ID.len() && ID[at] == byte => self.matched += 1,
            at if at == ID.len() && byte == b':' => {
                self.resumable = true;
                self.matched = NO_MATCH;
            }
            _ => self.matched = NO_MATCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Boundary {
        let mut boundary = Boundary::default();
        text.as_bytes().chunks(1).for_each(|c| boundary.feed(c));
        let mut whole = Boundary::default();
        whole.feed(text.as_bytes());
        assert_eq!(format!("{whole:?}"), format!("{boundary:?}"));
        boundary
    }

    #[test]
    fn a_comment_may_stand_only_between_events() {
        for between in
            ["", "data: x\n\n", "data: x\r\n\r\n", "data: x\r\r", ": hi\n\n", "data: a\n\ndata: b\n\n"]
        {
            assert!(after(between).between(), "{between:?}");
        }
        for inside in ["d", "data: x", "data: x\n", "data: x\r\n", "data: x\r", "data: a\n\ndata: b\n"] {
            assert!(!after(inside).between(), "{inside:?}");
        }
    }

    #[test]
    fn an_id_makes_a_stream_resumable() {
        assert!(after("id: 7\ndata: x\n\n").resumable());
        assert!(after("data: x\nid:7\n\n").resumable());
        for without in ["data: id: 7\n\n", "idx: 1\n\n", ": id:\n\n", "i\nd:\n\n"] {
            assert!(!after(without).resumable(), "{without:?}");
        }
    }
}
