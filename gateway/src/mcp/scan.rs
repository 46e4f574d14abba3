//! Looks for texts in passing bytes, also where they are cut between chunks, without keeping more than their length.

use std::sync::Arc;

use memchr::memmem::Finder;

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns(Arc<[Finder<'static>]>);

impl Patterns {
    pub(super) fn new(texts: &[&str]) -> Self {
        Self(texts.iter().map(|text| Finder::new(text).into_owned()).collect())
    }

    /// A search through one answer; `None` when there is nothing to look for.
    pub(super) fn scanner(&self) -> Option<Scanner> {
        let longest = self.0.iter().map(|f| f.needle().len()).max()?;
        Some(Scanner { patterns: self.clone(), keep: longest.saturating_sub(1), tail: Vec::new() })
    }

    fn find(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|finder| finder.find(bytes).is_some())
    }
}

/// One search.
#[derive(Debug)]
pub(super) struct Scanner {
    patterns: Patterns,
    keep: usize,
    tail: Vec<u8>,
}

impl Scanner {
    /// Whether a text ends in this chunk.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> bool {
        let head = &chunk[..chunk.len().min(self.keep)];
        self.tail.extend_from_slice(head);
        let across = self.patterns.find(&self.tail);
        let found = across || self.patterns.find(chunk);
        if chunk.len() > self.keep {
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - self.keep..]);
        } else {
            let surplus = self.tail.len().saturating_sub(self.keep);
            self.tail.drain(..surplus);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_is_cut() {
        let patterns = Patterns::new(&["Bad credentials", "401"]);
        let text = b"{\"message\":\"Bad credentials\"} and some more of the answer";
        for size in 1..text.len() {
            let mut scanner = patterns.scanner().unwrap();
            assert!(text.chunks(size).any(|chunk| scanner.feed(chunk)), "in chunks of {size}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert!(Patterns::default().scanner().is_none());
        let mut scanner = Patterns::new(&["Bad credentials"]).scanner().unwrap();
        assert!(!b"Bad cred".chunks(3).any(|c| scanner.feed(c)));
        assert!(!scanner.feed(b"Bad credential and entials"));
    }
}
