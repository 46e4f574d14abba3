//! Any interleaving of redeeming, refreshing, reusing, revoking and waiting, one after the other and two at once, against
//! a simple model: at most one live lineage, and never a token after a revocation.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use gatehouse_gateway::{
    keys::Sealed,
    model::{AccessToken, RefreshToken},
    store::{NewTokens, Redemption, Replay, Revocation, Rotated},
};
use proptest::prelude::*;

use crate::lab::{Client, GRACE, HOUR, Lab, MINUTE, new_access, proof, refresh_with, tokens};

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

/// A case: how long its sign-in lasts, and what happens.
type Case = (Duration, Vec<Step>);

/// How long sign-ins last: longer than any refresh token, and half an hour longer than the longest of the shorter waits.
const SIGN_IN_LIVES: [Duration; 2] = [days(365), Duration::from_millis(401_800_000)];
const REFRESH_LIFE: Duration = days(30);

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

fn cases() -> impl Strategy<Value = Case> {
    let op = || {
        prop_oneof![
            2 => Just(Op::Redeem),
            5 => Just(Op::Refresh(0)),
            3 => Just(Op::Refresh(1)),
            1 => Just(Op::Refresh(2)),
            1 => Just(Op::Revoke),
        ]
    };
    // No sum of a few of these comes near a limit, which real time adds to; the last is a refresh token's life.
    let wait = prop_oneof![
        1 => Just(103),
        2 => Just(7_307),
        2 => Just(101_701),
        2 => Just(3_007_003),
        3 => Just(400_000_009),
        2 => Just(2_592_011_003),
    ];
    let step = prop_oneof![
        6 => op().prop_map(Step::One),
        3 => (op(), op()).prop_map(|(a, b)| Step::Both(a, b)),
        4 => wait.prop_map(Step::Wait),
    ];
    // A code that nobody redeems in time is soon told.
    let begun = prop_oneof![4 => Just(Some(Step::One(Op::Redeem))), 1 => Just(None)];
    let steps = (begun, prop::collection::vec(step, 6..30));
    let steps = steps.prop_map(|(begun, rest)| begun.into_iter().chain(rest).collect());
    (prop::sample::select(SIGN_IN_LIVES.to_vec()), steps)
}

/// What a client has to do with, once it is known which token an [`Op`] means.
#[derive(Debug, Clone, Copy)]
enum Act {
    Redeem,
    Refresh(usize),
    Revoke,
}

/// What the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Redeemed,
    Replayed(Replay),
    Rotated,
    Successor,
    Reused,
    Refused,
    Revoked { known: bool },
}

/// What ends a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Its code was not redeemed in time.
    Code,
    /// A revocation, or a theft that was noticed.
    Revoked,
    /// Its last refresh token was not used in time.
    Refresh,
    SignIn,
}

/// What must have come up in some case, else the property says less than it seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    Told(Told),
    /// What the store refuses in a family that ended like this.
    CodeAfter(End),
    RefreshAfter(End),
    AccessAfter(End),
    /// An access token's own life, and the grace of one that was replaced.
    AccessOver,
    GraceOver,
}

const BRANCHES: [Branch; 19] = [
    Branch::Told(Told::Redeemed),
    Branch::Told(Told::Replayed(Replay::Parallel)),
    Branch::Told(Told::Replayed(Replay::Ended)),
    Branch::Told(Told::Replayed(Replay::EndedBefore)),
    Branch::Told(Told::Rotated),
    Branch::Told(Told::Successor),
    Branch::Told(Told::Reused),
    Branch::Told(Told::Revoked { known: true }),
    Branch::Told(Told::Revoked { known: false }),
    Branch::CodeAfter(End::Code),
    Branch::CodeAfter(End::Revoked),
    Branch::RefreshAfter(End::Revoked),
    Branch::RefreshAfter(End::Refresh),
    Branch::RefreshAfter(End::SignIn),
    Branch::AccessAfter(End::Revoked),
    Branch::AccessAfter(End::Refresh),
    Branch::AccessAfter(End::SignIn),
    Branch::AccessOver,
    Branch::GraceOver,
];

/// What must be, in the fewest words.
#[derive(Debug, Clone)]
struct Model {
    sign_in_life: Duration,
    now: Duration,
    redeemed: Option<Duration>,
    rotated: Option<Duration>,
    dead: bool,
    /// When each pair was given.
    given: Vec<Duration>,
    met: BTreeSet<Branch>,
}

impl Model {
    fn new(sign_in_life: Duration) -> Self {
        let (now, given, met) = (Duration::ZERO, Vec::new(), BTreeSet::new());
        Self { sign_in_life, now, redeemed: None, rotated: None, dead: false, given, met }
    }

    /// What the family has ended by.
    fn end(&self) -> Option<End> {
        let sign_in_end = self.redeemed.map(|at| at + self.sign_in_life);
        match self.given.last() {
            _ if self.dead => Some(End::Revoked),
            None => (self.now >= 10 * MINUTE).then_some(End::Code),
            Some(_) if sign_in_end.is_some_and(|end| self.now >= end) => Some(End::SignIn),
            Some(given) => (self.now >= *given + REFRESH_LIFE).then_some(End::Refresh),
        }
    }

    fn alive(&self) -> bool {
        self.end().is_none()
    }

    /// Why an access token opens nothing any more; `None`: it does.
    fn over(&self, n: usize) -> Option<Branch> {
        let last = self.given.len() - 1;
        let in_grace = self.rotated.is_some_and(|at| self.now < at + GRACE);
        if let Some(end) = self.end() {
            Some(Branch::AccessAfter(end))
        } else if self.now >= self.given[n] + HOUR {
            Some(Branch::AccessOver)
        } else {
            (n != last && !(n + 1 == last && in_grace)).then_some(Branch::GraceOver)
        }
    }

    fn act(&mut self, act: Act) -> Told {
        let end = self.end();
        let told = match act {
            Act::Redeem => self.redeem(),
            Act::Refresh(n) => self.refresh(n),
            Act::Revoke => {
                self.dead = true;
                Told::Revoked { known: end.is_none() }
            }
        };
        self.met.insert(match (told, act, end) {
            (Told::Refused, Act::Redeem, Some(end)) => Branch::CodeAfter(end),
            (Told::Refused, Act::Refresh(_), Some(end)) => Branch::RefreshAfter(end),
            _ => Branch::Told(told),
        });
        told
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
        let pair = NewTokens { sign_in_life: self.model.sign_in_life, ..tokens(&access, &refresh) };
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
        rotation.next.sign_in_life = self.model.sign_in_life;
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
            let over = self.model.over(n);
            assert_eq!(
                self.lab.lives(access).await,
                over.is_none(),
                "access token {n} after {step:?}: {over:?}"
            );
            self.model.met.extend(over);
        }
    }
}

/// Goes through a case, and says what came up in it.
async fn holds(lab: &Lab, (sign_in_life, steps): Case) -> BTreeSet<Branch> {
    let done = lab.signed_in(1).await;
    let client = Client { access: new_access(), refresh: lab.refresh(done.grant.id, 1), done };
    let model = Model::new(sign_in_life);
    let mut run = Run { lab, client, model, pairs: Vec::new(), successors: Vec::new() };
    for step in steps {
        run.step(step).await;
    }
    run.model.met
}

/// Goes through many cases, in some of which each branch must have come up.
fn one_lineage(many: u32, run: impl Fn(Case) -> BTreeSet<Branch>) {
    let met = RefCell::new(BTreeSet::new());
    check(many, cases(), |case| {
        let of_case = run(case);
        met.borrow_mut().extend(of_case);
    });
    let met = met.into_inner();
    let missed: Vec<_> = BRANCHES.iter().filter(|branch| !met.contains(branch)).collect();
    assert!(missed.is_empty(), "no case came to {missed:?}");
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
    one_lineage(500, |case| runtime.block_on(async { holds(&Lab::memory(), case).await }));
}

#[test]
fn one_lineage_in_redis() {
    let runtime = runtime();
    let Some(lab) = runtime.block_on(Lab::redis()) else { return };
    // One server for all cases: each has a grant of its own.
    one_lineage(200, |case| runtime.block_on(holds(&lab, case)));
    runtime.block_on(async { lab.store.ping().await.unwrap() });
}
