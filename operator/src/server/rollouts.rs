//! Whose turn it is to be rolled when the operator itself is the cause (its image, its defaults). Pure: time comes in.
//!
//! A server holds a place from the moment its turn comes until its pods run the new configuration, its roll-out failed,
//! or it took too long: what is broken must not stop the others for ever. Who frees a place gives it to the one that
//! waits longest, so nobody has to ask again and again.
//!
//! What fails on one server after the other is broken for all. Then nobody is given a turn until one of those gets well;
//! other defaults come with another process, which remembers nothing of these.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::fetch::ServerName;

/// How long a place is held at most. Longer than the Deployment's own deadline, after which it says that it failed.
const DEADLINE: Duration = Duration::from_secs(600);
/// How many roll-outs may fail, with none between them that works, before nobody else's begins: in more than one namespace,
/// where there are more, so that no tenant's broken servers keep an upgrade from all others.
const FAILURES: usize = 3;

/// Whether a roll-out may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// It waits for these.
    After(Vec<ServerName>),
    /// It may not while these, on which the same failed, are as they are.
    Stopped(Vec<ServerName>),
}

/// What became of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All pods run the new configuration.
    Worked,
    /// It does not get on.
    Failed,
    /// Something else ended it, such as a quota, which says nothing of what the operator changed.
    Untold,
    /// There is nothing any more that could be well or not: the server is gone, or parked.
    Gone,
}

/// What follows from the end of a roll-out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Those to look at: whose turn it is now, all that wait where what they wait for is another, and those on which the
    /// operator's change failed where that no longer counts.
    pub look_at: Vec<ServerName>,
    /// Those on which the operator's change failed, when roll-outs stop with this one.
    pub stopped_by: Option<Vec<ServerName>>,
}

/// Who rolls.
#[derive(Debug)]
struct Place {
    since: Instant,
    /// Whether its failure would be the operator's: the server was well before, and nobody edited it since.
    ours: bool,
}

/// The roll-outs that the operator causes.
#[derive(Debug, Default)]
pub struct Rollouts {
    /// Who holds a place.
    rolling: BTreeMap<ServerName, Place>,
    /// Who waits, the longest first.
    waiting: VecDeque<ServerName>,
    /// On whom the operator's change failed since it last worked on one.
    failed: BTreeSet<ServerName>,
    /// Whether all servers are of one namespace.
    of_one_namespace: bool,
}

impl Rollouts {
    /// Those of one namespace alone, or of any.
    pub fn new(of_one_namespace: bool) -> Self {
        Self { of_one_namespace, ..Self::default() }
    }

    /// Asks for a place among so many, for a server that is well or was not before. Who gets none is given one in its turn
    /// by [`Rollouts::free`].
    pub fn ask(&mut self, server: &ServerName, is_well: bool, places: usize, now: Instant) -> Turn {
        self.rolling.retain(|_, place| now.duration_since(place.since) < DEADLINE);
        if self.is_stopped() {
            // Who asks has not begun, although it may have been given a turn before.
            self.rolling.remove(server);
            self.wait(server);
            return Turn::Stopped(self.failed.iter().cloned().collect());
        }
        if let Some(place) = self.rolling.get_mut(server) {
            place.ours = is_well;
            return Turn::Now;
        }
        // Whoever waits longer is first, also for a place that was freed by its deadline, which nobody told.
        let before = self.waiting.iter().take_while(|other| *other != server).count();
        if self.rolling.len() + before < places {
            self.waiting.retain(|other| other != server);
            self.rolling.insert(server.clone(), Place { since: now, ours: is_well });
            return Turn::Now;
        }
        self.wait(server);
        Turn::After(self.rolling.keys().cloned().collect())
    }

    fn wait(&mut self, server: &ServerName) {
        if !self.waiting.contains(server) {
            self.waiting.push_back(server.clone());
        }
    }

    /// Notes that a server waits no more: there is nothing to roll.
    pub fn withdraw(&mut self, server: &ServerName) {
        self.waiting.retain(|other| other != server);
    }

    /// Notes that an edit brings a server's roll-out along: it waits no more, and what becomes of it is not the operator's.
    pub fn edit(&mut self, server: &ServerName) {
        self.withdraw(server);
        if let Some(place) = self.rolling.get_mut(server) {
            place.ours = false;
        }
    }

    /// Frees the place of a server, or takes it out of those that wait.
    pub fn free(&mut self, server: &ServerName, end: End, places: usize, now: Instant) -> Freed {
        let was_stopped = self.is_stopped();
        let place = self.rolling.remove(server);
        self.withdraw(server);
        let mut forgiven = BTreeSet::new();
        match end {
            End::Worked if place.is_some() || self.failed.contains(server) => {
                forgiven = std::mem::take(&mut self.failed);
                forgiven.remove(server);
            }
            End::Failed if place.is_some_and(|place| place.ours) => {
                self.failed.insert(server.clone());
            }
            End::Gone => {
                self.failed.remove(server);
            }
            End::Worked | End::Failed | End::Untold => {}
        }
        self.rolling.retain(|_, place| now.duration_since(place.since) < DEADLINE);
        let is_stopped = self.is_stopped();
        let free = if is_stopped { 0 } else { places.saturating_sub(self.rolling.len()) };
        let mut look_at: Vec<ServerName> = self.waiting.drain(..free.min(self.waiting.len())).collect();
        // Whether they are well is told when they ask, which they do before they begin.
        let place = |server: &ServerName| (server.clone(), Place { since: now, ours: false });
        self.rolling.extend(look_at.iter().map(place));
        if was_stopped != is_stopped {
            look_at.extend(self.waiting.iter().cloned());
        }
        look_at.extend(forgiven);
        let stops = is_stopped && !was_stopped;
        Freed { look_at, stopped_by: stops.then(|| self.failed.iter().cloned().collect()) }
    }

    /// Notes a server on which the operator's change failed under another process.
    pub fn recall(&mut self, server: ServerName) {
        self.failed.insert(server);
    }

    /// Whether the operator's change failed on a server.
    pub fn has_failed(&self, server: &ServerName) -> bool {
        self.failed.contains(server)
    }

    /// Whether nobody is given a turn.
    pub fn is_stopped(&self) -> bool {
        let mut namespaces = self.failed.iter().map(|server| &server.namespace);
        let first = namespaces.next();
        let in_several = self.of_one_namespace || namespaces.any(|other| Some(other) != first);
        self.failed.len() >= FAILURES && in_several
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName { namespace: "a".to_owned(), name: name.to_owned() }
    }

    /// One place, and one moment.
    struct World {
        rollouts: Rollouts,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { rollouts: Rollouts::new(true), now: Instant::now() }
        }

        fn ask(&mut self, server: &str) -> Turn {
            self.rollouts.ask(&name(server), true, 1, self.now)
        }

        fn ends(&mut self, server: &str, end: End) -> Freed {
            self.rollouts.free(&name(server), end, 1, self.now)
        }

        /// Whose turn it is when a place is freed.
        fn free(&mut self, server: &str) -> Vec<ServerName> {
            self.ends(server, End::Untold).look_at
        }

        /// Servers whose own roll-outs fail one after the other.
        fn fail(&mut self, servers: &[&str]) -> Freed {
            let mut freed = Freed::default();
            for server in servers {
                assert_eq!(self.ask(server), Turn::Now, "{server}");
                freed = self.ends(server, End::Failed);
            }
            freed
        }
    }

    fn names(servers: &[&str]) -> Vec<ServerName> {
        servers.iter().map(|server| name(server)).collect()
    }

    #[test]
    fn who_frees_a_place_gives_it_to_the_one_that_waits_longest() {
        let mut world = World::new();
        assert_eq!(world.ask("one"), Turn::Now);
        for waits in ["two", "three", "two"] {
            assert_eq!(world.ask(waits), Turn::After(vec![name("one")]));
        }
        assert_eq!(world.ask("one"), Turn::Now, "it holds its place");
        assert_eq!(world.free("one"), [name("two")]);
        assert_eq!(world.ask("three"), Turn::After(vec![name("two")]));
        assert_eq!(world.ask("two"), Turn::Now);
        assert_eq!(world.free("two"), [name("three")]);
        assert_eq!(world.free("three"), []);
        assert_eq!(world.free("three"), [], "a second time it has none");
    }

    #[test]
    fn one_tenant_stops_nobody_else() {
        let now = Instant::now();
        let mut rollouts = Rollouts::new(false);
        let of = |namespace: &str, name: &str| ServerName { namespace: namespace.into(), name: name.into() };
        let mut fail = |server: &ServerName| {
            assert_eq!(rollouts.ask(server, true, 1, now), Turn::Now);
            rollouts.free(server, End::Failed, 1, now);
            rollouts.is_stopped()
        };
        for name in ["one", "two", "three", "four"] {
            assert!(!fail(&of("a", name)));
        }
        assert!(fail(&of("b", "one")));
    }

    #[test]
    fn who_waits_and_goes_away_holds_nobody_up() {
        let mut world = World::new();
        for server in ["one", "two", "three"] {
            world.ask(server);
        }
        assert_eq!(world.free("two"), []);
        assert_eq!(world.free("one"), [name("three")]);
    }

    #[test]
    fn an_edit_gives_up_its_turn_and_keeps_no_place() {
        let mut world = World::new();
        for server in ["one", "edited", "three"] {
            world.ask(server);
        }
        world.rollouts.edit(&name("edited"));
        world.rollouts.withdraw(&name("one"));
        assert_eq!(world.ask("one"), Turn::Now, "who rolls has its place");
        assert_eq!(world.free("one"), [name("three")]);
    }

    #[test]
    fn a_place_is_not_held_for_ever() {
        let mut world = World::new();
        world.ask("broken");
        world.ask("next");
        world.ask("later");
        world.now += DEADLINE;
        assert_eq!(world.ask("later"), Turn::After(Vec::new()), "another is first");
        assert_eq!(world.ask("next"), Turn::Now);
        assert_eq!(world.free("next"), [name("later")]);
    }

    #[test]
    fn what_fails_on_one_after_the_other_stops_and_goes_on_when_one_of_them_is_well() {
        let mut world = World::new();
        assert_eq!(world.fail(&["one", "two"]), Freed::default());
        assert_eq!(world.ask("three"), Turn::Now);
        for waits in ["four", "five"] {
            assert_eq!(world.ask(waits), Turn::After(vec![name("three")]));
        }
        let failed = names(&["one", "three", "two"]);
        let stopped = Freed { look_at: names(&["four", "five"]), stopped_by: Some(failed.clone()) };
        assert_eq!(world.ends("three", End::Failed), stopped, "those that wait say why");
        assert_eq!(world.ends("three", End::Failed), Freed::default(), "it is told once");
        for waits in ["four", "five", "six"] {
            assert_eq!(world.ask(waits), Turn::Stopped(failed.clone()));
        }
        assert_eq!(world.ends("other", End::Worked), Freed::default(), "the operator did not roll that one");
        let on = world.ends("two", End::Worked);
        let look_at = names(&["four", "five", "six", "one", "three"]);
        assert_eq!(on, Freed { look_at, stopped_by: None });
        assert_eq!(world.ask("four"), Turn::Now);
        assert_eq!(world.ask("five"), Turn::After(vec![name("four")]));
    }

    #[test]
    fn what_works_on_one_between_them_is_not_broken_for_all() {
        let mut world = World::new();
        world.fail(&["one", "two"]);
        world.ask("three");
        assert_eq!(world.ends("three", End::Worked).look_at, names(&["one", "two"]), "they say so no more");
        world.fail(&["four", "five"]);
        assert_eq!(world.ask("six"), Turn::Now);
    }

    #[test]
    fn what_is_not_the_operators_doing_stops_nobody() {
        let mut world = World::new();
        world.fail(&["one", "two"]);
        assert_eq!(world.rollouts.ask(&name("ill"), false, 1, world.now), Turn::Now);
        world.ends("ill", End::Failed);
        world.ask("edited");
        world.rollouts.edit(&name("edited"));
        world.ends("edited", End::Failed);
        world.ends("stranger", End::Failed);
        world.ask("refused");
        world.ends("refused", End::Untold);
        assert_eq!(world.ask("three"), Turn::Now);
    }

    #[test]
    fn who_was_given_a_turn_and_has_not_begun_does_not_begin() {
        let mut world = World::new();
        let two_places =
            |world: &mut World, server: &str| world.rollouts.ask(&name(server), true, 2, world.now);
        world.fail(&["one", "two"]);
        two_places(&mut world, "three");
        assert_eq!(two_places(&mut world, "four"), Turn::Now);
        world.ends("three", End::Failed);
        assert!(matches!(two_places(&mut world, "four"), Turn::Stopped(_)));
        assert_eq!(world.ends("one", End::Worked).look_at, names(&["four", "three", "two"]), "it waits");
    }

    #[test]
    fn one_that_is_gone_can_get_well_no_more_and_another_is_tried() {
        let mut world = World::new();
        world.fail(&["one", "two", "three"]);
        world.ask("four");
        world.ask("five");
        let freed = world.ends("two", End::Gone);
        assert_eq!(freed, Freed { look_at: names(&["four", "five"]), stopped_by: None });
        assert_eq!(world.ask("four"), Turn::Now);
        assert!(world.ends("four", End::Failed).stopped_by.is_some());
    }

    #[test]
    fn what_failed_under_another_process_is_remembered() {
        let mut world = World::new();
        for server in ["one", "two", "three"] {
            world.rollouts.recall(name(server));
        }
        assert!(world.rollouts.has_failed(&name("one")));
        assert_eq!(world.ask("four"), Turn::Stopped(names(&["one", "three", "two"])));
    }
}
