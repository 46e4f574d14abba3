//! Looks for texts in passing bytes, also where they are cut between chunks, without keeping more than their length.

use std::sync::Arc;

use gatehouse_gateway_config::preset::DeadToken;
use memchr::memmem::Finder;

/// How a tool's result says that it is an error.
const ERROR: [&str; 2] = ["\"isError\":true", "\"isError\": true"];

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Patterns(Arc<Wanted>);

#[derive(Debug)]
struct Wanted {
    certain: Vec<Finder<'static>>,
    in_errors: Vec<Finder<'static>>,
    error: [Finder<'static>; 2],
}

impl Patterns {
    pub(super) fn new(texts: DeadToken) -> Self {
        let finders = |texts: &[&'static str]| texts.iter().map(|text| Finder::new(*text)).collect();
        let DeadToken { certain, in_errors } = texts;
        let error = ERROR.map(Finder::new);
        Self(Arc::new(Wanted { certain: finders(certain), in_errors: finders(in_errors), error }))
    }

    /// A search through one answer; `None` when there is nothing to look for.
    pub(super) fn scanner(&self) -> Option<Scanner> {
        let Wanted { certain, in_errors, error } = &*self.0;
        let wanted = certain.iter().chain(in_errors);
        wanted.clone().next()?;
        let longest = wanted.chain(error).map(|finder| finder.needle().len()).max()?;
        // A word is told by what stands on either side of it.
        let keep = longest + 1;
        Some(Scanner { patterns: self.clone(), keep, tail: Vec::new(), says_so: false, is_error: false })
    }
}

/// One search.
#[derive(Debug)]
pub(super) struct Scanner {
    patterns: Patterns,
    keep: usize,
    tail: Vec<u8>,
    /// A word was found that counts in an error.
    says_so: bool,
    /// The result is an error.
    is_error: bool,
}

impl Scanner {
    /// Whether it is certain with this chunk.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> bool {
        let Wanted { certain, in_errors, error } = &*self.patterns.0;
        let begins = self.tail.is_empty();
        let head = &chunk[..chunk.len().min(self.keep)];
        self.tail.extend_from_slice(head);
        let has = |finders: &[Finder<'_>]| {
            finders.iter().any(|f| f.find(&self.tail).is_some() || f.find(chunk).is_some())
        };
        let found = has(certain);
        self.is_error = self.is_error || has(error);
        self.says_so = self.says_so
            || in_errors.iter().any(|f| has_word(f, &self.tail, begins) || has_word(f, chunk, false));
        if chunk.len() > self.keep {
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - self.keep..]);
        } else {
            let surplus = self.tail.len().saturating_sub(self.keep);
            self.tail.drain(..surplus);
        }
        found || (self.says_so && self.is_error)
    }
}

/// Whether a text stands there as a word of its own: 401 in "status 401", and not in 14012. Where nothing follows yet, it
/// is found again with what does. `begins`: nothing is before these bytes.
fn has_word(finder: &Finder<'_>, bytes: &[u8], begins: bool) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    finder.find_iter(bytes).any(|at| {
        let alone = at.checked_sub(1).map_or(begins, |before| !inner(&bytes[before]));
        alone && bytes.get(at + finder.needle().len()).is_some_and(|after| !inner(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTAIN: DeadToken = DeadToken { certain: &["Bad credentials", "401"], in_errors: &[] };

    fn finds(texts: DeadToken, answer: &str, size: usize) -> bool {
        let mut scanner = Patterns::new(texts).scanner().unwrap();
        answer.as_bytes().chunks(size).any(|chunk| scanner.feed(chunk))
    }

    #[test]
    fn a_text_is_found_however_it_is_cut() {
        let text = "{\"message\":\"Bad credentials\"} and some more of the answer";
        for size in 1..text.len() {
            assert!(finds(CERTAIN, text, size), "in chunks of {size}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert!(Patterns::new(DeadToken::OF_NONE).scanner().is_none());
        let mut scanner = Patterns::new(CERTAIN).scanner().unwrap();
        assert!(!b"Bad cred".chunks(3).any(|c| scanner.feed(c)));
        assert!(!scanner.feed(b"Bad credential and entials"));
    }

    #[test]
    fn a_word_counts_in_a_result_that_is_an_error() {
        let result = |text: &str, error: &str| {
            format!("{{\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],{error}}}}}")
        };
        let error = "\"isError\":true";
        for text in [
            "Request failed with status code 401",
            "401 Client Error: for url: https://api.test/me",
            "HTTP 401: token refused",
            "{\\\"status\\\":401,\\\"code\\\":\\\"x\\\"}",
            "the API says Unauthorized.",
            "error=\\\"invalid_token\\\"",
        ] {
            let answer = result(text, error);
            for size in 1..=answer.len() {
                assert!(finds(DeadToken::OF_ANY, &answer, size), "{answer} in chunks of {size}");
            }
            assert!(finds(DeadToken::OF_ANY, &result(text, "\"isError\": true"), 7), "{text}");
            assert!(!finds(DeadToken::OF_ANY, &result(text, "\"isError\":false"), 7), "{text}");
        }
        for text in ["order 14012", "4011", "E401", "line 401_000", "invalid_tokens", "Unauthorizedly"] {
            let answer = result(text, error);
            for size in 1..=answer.len() {
                assert!(!finds(DeadToken::OF_ANY, &answer, size), "{answer} in chunks of {size}");
            }
        }
        let first = format!("{{{error},\"content\":[{{\"text\":\"401\"}}]}}");
        assert!(finds(DeadToken::OF_ANY, &first, 3), "also where it says so first");
    }
}
