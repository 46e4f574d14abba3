//! Who was denied after this gateway's configuration was written: the operator's word on the server's state, so that
//! an edit of `access.deny` waits for no roll-out.

use std::sync::{Arc, PoisonError, RwLock};

use gatehouse_gateway_config::denial::Denial;

/// The newest denial that this process has seen. It is never given up for an older or a missing one: another holder of
/// a shared Redis user may delete records, or put back what they held before.
#[derive(Debug, Default)]
pub struct Denied(RwLock<Arc<Denial>>);

impl Denied {
    /// Takes a denial, unless a newer one is known.
    pub fn learn(&self, denial: impl Into<Arc<Denial>>) {
        let denial = denial.into();
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if denial.generation >= current.generation {
            *current = denial;
        }
    }

    /// The newest.
    pub fn current(&self) -> Arc<Denial> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use gatehouse_gateway_config::AccessRule;

    use super::*;

    #[test]
    fn an_older_denial_replaces_no_newer_one() {
        let denial = |generation, subject: &str| Denial {
            generation,
            rules: vec![AccessRule { subjects: vec![subject.to_owned()], ..AccessRule::default() }],
        };
        let denied = Denied::default();
        let none = Denial { generation: 4, rules: Vec::new() };
        for (learned, current) in [
            (denial(2, "a"), denial(2, "a")),
            (denial(1, "b"), denial(2, "a")),
            (denial(3, "b"), denial(3, "b")),
            (none.clone(), none),
        ] {
            denied.learn(learned);
            assert_eq!(*denied.current(), current);
        }
    }
}
