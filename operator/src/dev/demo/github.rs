//! A small GitHub in memory: two people, their tokens and repositories.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The people, with the tokens that `crds/examples/quickstart.yaml` gives them.
const PEOPLE: [(&str, &str, [&str; 2]); 2] = [
    ("gho_demo_alice", "alice", ["alice/notes", "alice/website"]),
    ("gho_demo_bob", "bob", ["bob/dotfiles", "bob/robots"]),
];
/// Issues beyond this are refused: nobody cleans up behind a demo.
const ISSUES: usize = 1000;

/// The GitHub.
#[derive(Debug, Default)]
pub(super) struct GitHub {
    /// The titles of each repository's issues.
    issues: Mutex<BTreeMap<String, Vec<String>>>,
}

/// Why a call was refused, in GitHub's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The token is nobody's.
    #[error("401 Unauthorized: Bad credentials")]
    BadCredentials,
    /// Not there, or not theirs: GitHub does not say which.
    #[error("404 Not Found: {user} has no repository {repository}")]
    NotFound {
        /// Who asked.
        user: String,
        /// What for.
        repository: String,
    },
    /// The demo is full.
    #[error("403 Forbidden: this demo keeps {ISSUES} issues; restart it")]
    Full,
}

impl GitHub {
    /// Who owns a token.
    pub(super) fn user(token: &str) -> Result<&'static str, Refusal> {
        person(token).map(|(user, _)| user)
    }

    /// The repositories of a token's owner.
    pub(super) fn repositories(token: &str) -> Result<&'static [&'static str], Refusal> {
        person(token).map(|(_, repositories)| repositories)
    }

    /// Opens an issue, and gives its number.
    pub(super) fn open_issue(&self, token: &str, repository: &str, title: String) -> Result<usize, Refusal> {
        let (user, repositories) = person(token)?;
        if !repositories.contains(&repository) {
            let repository = repository.chars().take(100).collect();
            return Err(Refusal::NotFound { user: user.to_owned(), repository });
        }
        let mut issues = self.issues.lock().unwrap_or_else(PoisonError::into_inner);
        if issues.values().map(Vec::len).sum::<usize>() >= ISSUES {
            return Err(Refusal::Full);
        }
        let titles = issues.entry(repository.to_owned()).or_default();
        titles.push(title);
        Ok(titles.len())
    }
}

fn person(token: &str) -> Result<(&'static str, &'static [&'static str]), Refusal> {
    let known = PEOPLE.iter().find(|(of, ..)| *of == token);
    known.map(|(_, user, repositories)| (*user, repositories.as_slice())).ok_or(Refusal::BadCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_writes_to_their_own_repositories_alone() {
        let github = GitHub::default();
        assert_eq!(GitHub::user("gho_demo_alice").unwrap(), "alice");
        assert_eq!(github.open_issue("gho_demo_alice", "alice/notes", "one".to_owned()), Ok(1));
        assert_eq!(github.open_issue("gho_demo_alice", "alice/notes", "two".to_owned()), Ok(2));
        let refused = github.open_issue("gho_demo_bob", "alice/notes", "three".to_owned());
        assert!(matches!(refused, Err(Refusal::NotFound { .. })));
        assert_eq!(GitHub::user("gho_demo_mallory"), Err(Refusal::BadCredentials));
    }
}
