//! Any interleaving of redeeming, refreshing, reusing, revoking and waiting, one after the other and two at once, against
//! a simple model: at most one live lineage, and never a token after a revocation.

use std::time::Duration;

use gatehouse_gateway::{
    keys::Sealed,
    model::{AccessToken, RefreshToken},
    store::{Redemption, Replay, Revocation, Rotated},
};
use proptest::prelude::*;

use crate::lab::{Client, DAY, GRACE, HOUR, Lab, MINUTE, new_access, proof, refresh_with, tokens};

/// What a client or a thief does.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Shows the code.
    Redeem,
    /// Shows the n-th last refresh token.
    Refresh(usize),
    /// Revokes.
    Revoke,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    One(Op),
    /// Two at once.
    Both(Op, Op),
    /// So many milliseconds pass.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op =
        || prop_oneof![2 => Just(Op::Redeem), 6 => (0..3_usize).prop_map(Op::Refresh), 1 => Just(Op::Revoke)];
    // No sum of a few of these comes near a limit.
    let wait = prop_oneof![Just(1_103), Just(7_307), Just(101_701), Just(3_007_003), Just(400_000_009)];
    let step = prop_oneof![
        6 => op().prop_map(Step::One),
        3 => (op(), op()).prop_map(|(a, b)| Step::Both(a, b)),
        3 => wait.prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..25)
}

/// What a client has to do with, once it is known which token an [`Op`] means.
#[derive(Debug, Clone, Copy)]
enum Act {
    Redeem,
    Refresh(usize),
    Revoke,
}

/// What the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Redeemed,
    Replayed(Replay),
    Rotated,
    Successor,
    Reused,
    Refused,
    Revoked { known: bool },
}

/// What must be, in the fewest words.
#[derive(Debug, Default, Clone)]
struct Model {
    now: Duration,
    redeemed: Option<Duration>,
    rotated: Option<Duration>,
    dead: bool,
    /// When each pair was given.
    given: Vec<Duration>,
}

impl Model {
    /// Whether the family lives: its code or its last refresh token does.
    fn alive(&self) -> bool {
        let end = match self.given.last() {
            None => 10 * MINUTE,
            Some(given) => *given + 30 * DAY,
        };
        !self.dead && self.now < end
    }

    fn lives(&self, n: usize) -> bool {
        let last = self.given.len() - 1;
        let own = self.now < self.given[n] + HOUR;
        let in_grace = self.rotated.is_some_and(|at| self.now < at + GRACE);
        self.alive() && own && (n == last || n + 1 == last && in_grace)
    }

    fn act(&mut self, act: Act) -> Told {
        match act {
            Act::Redeem => self.redeem(),
            Act::Refresh(n) => self.refresh(n),
            Act::Revoke => {
                let known = self.alive();
                self.dead = true;
                Told::Revoked { known }
            }
        }
    }

    fn redeem(&mut self) -> Told {
        match self.redeemed {
            None if self.alive() => {
                self.redeemed = Some(self.now);
                self.given.push(self.now);
                Told::Redeemed
            }
            Some(at) if self.now < at + 10 * MINUTE => {
                let late = self.now > at + Duration::from_secs(2);
                let alive = self.alive();
                self.dead |= late;
                Told::Replayed(match (late, alive) {
                    (false, _) => Replay::Parallel,
                    (true, true) => Replay::Ended,
                    (true, false) => Replay::EndedBefore,
                })
            }
            _ => Told::Refused,
        }
    }

    fn refresh(&mut self, n: usize) -> Told {
        let back = self.given.len() - 1 - n;
        if !self.alive() {
            Told::Refused
        } else if back == 0 {
            self.rotated = Some(self.now);
            self.given.push(self.now);
            Told::Rotated
        } else if back == 1 && self.rotated.is_some_and(|at| self.now < at + GRACE) {
            Told::Successor
        } else {
            self.dead = true;
            Told::Reused
        }
    }
}

/// What an act gave: a pair, or the sealed successor of one.
#[derive(Debug)]
struct Given {
    told: Told,
    pair: Option<(AccessToken, RefreshToken)>,
    successor: Option<Sealed>,
}

struct Run<'a> {
    lab: &'a Lab,
    client: Client,
    model: Model,
    pairs: Vec<(AccessToken, RefreshToken)>,
    /// What each refresh token answers with once it was replaced.
    successors: Vec<Option<Sealed>>,
}

impl Run<'_> {
    /// Which token is meant; `None`: there is no such token yet.
    fn meant(&self, op: Op) -> Option<Act> {
        match op {
            Op::Redeem => Some(Act::Redeem),
            Op::Refresh(back) => self.pairs.len().checked_sub(1 + back).map(Act::Refresh),
            Op::Revoke => Some(Act::Revoke),
        }
    }

    async fn act(&self, act: Act) -> Given {
        match act {
            Act::Redeem => self.redeem().await,
            Act::Refresh(n) => self.refresh(n).await,
            Act::Revoke => {
                let known = match self.lab.revoke(self.client.grant()).await {
                    Revocation::Revoked(grant) => *grant == *self.client.grant(),
                    Revocation::Unknown => false,
                    other => panic!("{other:?}"),
                };
                Given { told: Told::Revoked { known }, pair: None, successor: None }
            }
        }
    }

    async fn redeem(&self) -> Given {
        let (access, refresh) = (new_access(), self.lab.refresh(self.client.grant().id, 1));
        let pair = tokens(&access, &refresh);
        let told = match self.lab.store.redeem_code(&proof(&self.client.done), &pair).await.unwrap() {
            Redemption::Redeemed { .. } => Told::Redeemed,
            Redemption::Replayed(replay) => Told::Replayed(replay),
            Redemption::Refused => Told::Refused,
            other => panic!("{other:?}"),
        };
        Given { told, pair: (told == Told::Redeemed).then_some((access, refresh)), successor: None }
    }

    async fn refresh(&self, n: usize) -> Given {
        let (mut rotation, access, refresh) = refresh_with(self.lab, &self.pairs[n].1.clone());
        rotation.recheck_every = None;
        let (told, successor) = match self.lab.store.rotate_refresh(&rotation).await.unwrap() {
            Rotated::Rotated { .. } => (Told::Rotated, Some(rotation.successor)),
            Rotated::Successor { sealed, .. } => (Told::Successor, Some(sealed)),
            Rotated::Reused => (Told::Reused, None),
            Rotated::Refused => (Told::Refused, None),
            other => panic!("{other:?}"),
        };
        Given { told, pair: (told == Told::Rotated).then_some((access, refresh)), successor }
    }

    /// Notes what was given; a successor that is told again must be the one that was.
    fn note(&mut self, act: Act, given: Given) {
        if let (Act::Refresh(n), Some(successor)) = (act, given.successor) {
            let told = self.successors[n].get_or_insert_with(|| successor.clone());
            assert_eq!(*told, successor);
        }
        if let Some(pair) = given.pair {
            self.pairs.push(pair);
            self.successors.push(None);
        }
    }

    async fn one(&mut self, op: Op) {
        let Some(act) = self.meant(op) else { return };
        let given = self.act(act).await;
        assert_eq!(given.told, self.model.act(act), "{act:?}");
        self.note(act, given);
    }

    /// What two acts at once do must be what they do in one of the two orders.
    async fn both(&mut self, one: Op, other: Op) {
        let (Some(a), Some(b)) = (self.meant(one), self.meant(other)) else { return };
        let (first, second) = tokio::join!(self.act(a), self.act(b));
        let (mut forth, mut back) = (self.model.clone(), self.model.clone());
        if (forth.act(a), forth.act(b)) == (first.told, second.told) {
            self.model = forth;
            self.note(a, first);
            self.note(b, second);
            return;
        }
        let (second_first, first_second) = (back.act(b), back.act(a));
        assert_eq!((first.told, second.told), (first_second, second_first), "{a:?} beside {b:?}");
        self.model = back;
        self.note(b, second);
        self.note(a, first);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::One(op) => self.one(op).await,
            Step::Both(one, other) => self.both(one, other).await,
            Step::Wait(millis) => {
                self.lab.pass(Duration::from_millis(millis)).await;
                self.model.now += Duration::from_millis(millis);
            }
        }
        for (n, (access, _)) in self.pairs.iter().enumerate() {
            assert_eq!(self.lab.lives(access).await, self.model.lives(n), "access token {n} after {step:?}");
        }
    }
}

async fn holds(lab: &Lab, steps: Vec<Step>) {
    let done = lab.signed_in(1).await;
    let client = Client { access: new_access(), refresh: lab.refresh(done.grant.id, 1), done };
    let mut run = Run { lab, client, model: Model::default(), pairs: Vec::new(), successors: Vec::new() };
    for step in steps {
        run.step(step).await;
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn check<S: Strategy>(cases: u32, strategy: S, run: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(input in strategy)| run(input));
}

#[test]
fn one_lineage_in_memory() {
    let runtime = runtime();
    check(500, steps(), |steps| runtime.block_on(async { holds(&Lab::memory(), steps).await }));
}

#[test]
fn one_lineage_in_redis() {
    let runtime = runtime();
    let Some(lab) = runtime.block_on(Lab::redis()) else { return };
    // One server for all cases: each has a grant of its own.
    check(80, steps(), |steps| runtime.block_on(holds(&lab, steps)));
    runtime.block_on(async { lab.store.ping().await.unwrap() });
}
