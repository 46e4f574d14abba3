//! Whose turn it is to be rolled when the operator itself is the cause (its image, its defaults). Pure: time comes in.
//!
//! A server holds a place from the moment its turn comes until its pods run the new configuration, its roll-out failed,
//! or it took too long: what is broken must not stop the others for ever. Who frees a place gives it to the one that
//! waits longest, so nobody has to ask again and again.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::fetch::ServerName;

/// How long a place is held at most. Longer than the Deployment's own deadline, after which it says that it failed.
const DEADLINE: Duration = Duration::from_secs(600);

/// Whether a roll-out may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// It waits for these.
    After(Vec<ServerName>),
}

/// The roll-outs that the operator causes.
#[derive(Debug, Default)]
pub struct Rollouts {
    /// Who holds a place, and since when.
    rolling: BTreeMap<ServerName, Instant>,
    /// Who waits, the longest first.
    waiting: VecDeque<ServerName>,
}

impl Rollouts {
    /// Asks for a place among so many. Who gets none is given one in its turn by [`Rollouts::free`].
    pub fn ask(&mut self, server: &ServerName, places: usize, now: Instant) -> Turn {
        self.rolling.retain(|_, since| now.duration_since(*since) < DEADLINE);
        if self.rolling.contains_key(server) {
            return Turn::Now;
        }
        // Whoever waits longer is first, also for a place that was freed by its deadline, which nobody told.
        let before = self.waiting.iter().take_while(|other| *other != server).count();
        if self.rolling.len() + before < places {
            self.waiting.retain(|other| other != server);
            self.rolling.insert(server.clone(), now);
            return Turn::Now;
        }
        if before == self.waiting.len() {
            self.waiting.push_back(server.clone());
        }
        Turn::After(self.rolling.keys().cloned().collect())
    }

    /// Notes that a server waits no more: an edit brought its roll-out along.
    pub fn withdraw(&mut self, server: &ServerName) {
        self.waiting.retain(|other| other != server);
    }

    /// Frees the place of a server, or takes it out of those that wait. Gives those whose turn it is now.
    pub fn free(&mut self, server: &ServerName, places: usize, now: Instant) -> Vec<ServerName> {
        self.rolling.remove(server);
        self.withdraw(server);
        self.rolling.retain(|_, since| now.duration_since(*since) < DEADLINE);
        let free = places.saturating_sub(self.rolling.len()).min(self.waiting.len());
        let next: Vec<ServerName> = self.waiting.drain(..free).collect();
        self.rolling.extend(next.iter().map(|server| (server.clone(), now)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName { namespace: "a".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn who_frees_a_place_gives_it_to_the_one_that_waits_longest() {
        let (mut rollouts, now) = (Rollouts::default(), Instant::now());
        assert_eq!(rollouts.ask(&name("one"), 1, now), Turn::Now);
        for waits in ["two", "three", "two"] {
            assert_eq!(rollouts.ask(&name(waits), 1, now), Turn::After(vec![name("one")]));
        }
        assert_eq!(rollouts.ask(&name("one"), 1, now), Turn::Now, "it holds its place");
        assert_eq!(rollouts.free(&name("one"), 1, now), [name("two")]);
        assert_eq!(rollouts.ask(&name("three"), 1, now), Turn::After(vec![name("two")]));
        assert_eq!(rollouts.ask(&name("two"), 1, now), Turn::Now);
        assert_eq!(rollouts.free(&name("two"), 1, now), [name("three")]);
        assert_eq!(rollouts.free(&name("three"), 1, now), []);
        assert_eq!(rollouts.free(&name("three"), 1, now), [], "a second time it has none");
    }

    #[test]
    fn who_waits_and_goes_away_holds_nobody_up() {
        let (mut rollouts, now) = (Rollouts::default(), Instant::now());
        for server in ["one", "two", "three"] {
            rollouts.ask(&name(server), 1, now);
        }
        assert_eq!(rollouts.free(&name("two"), 1, now), []);
        assert_eq!(rollouts.free(&name("one"), 1, now), [name("three")]);
    }

    #[test]
    fn an_edit_gives_up_its_turn_and_keeps_no_place() {
        let (mut rollouts, now) = (Rollouts::default(), Instant::now());
        for server in ["one", "edited", "three"] {
            rollouts.ask(&name(server), 1, now);
        }
        rollouts.withdraw(&name("edited"));
        rollouts.withdraw(&name("one"));
        assert_eq!(rollouts.ask(&name("one"), 1, now), Turn::Now, "who rolls has its place");
        assert_eq!(rollouts.free(&name("one"), 1, now), [name("three")]);
    }

    #[test]
    fn a_place_is_not_held_for_ever() {
        let (mut rollouts, now) = (Rollouts::default(), Instant::now());
        rollouts.ask(&name("broken"), 1, now);
        rollouts.ask(&name("next"), 1, now);
        rollouts.ask(&name("later"), 1, now);
        let late = now + DEADLINE;
        assert_eq!(rollouts.ask(&name("later"), 1, late), Turn::After(Vec::new()), "another is first");
        assert_eq!(rollouts.ask(&name("next"), 1, late), Turn::Now);
        assert_eq!(rollouts.free(&name("next"), 1, late), [name("later")]);
    }
}
