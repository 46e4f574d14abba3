//! Any interleaving of redeeming, refreshing, reusing, revoking and waiting against a simple model: at most one live
//! lineage, and never a token after a revocation.

use std::time::Duration;

use gatehouse_gateway::{
    keys::Sealed,
    model::{AccessToken, RefreshToken},
    store::{Redemption, Rotated},
};
use proptest::prelude::*;

use crate::lab::{Client, DAY, GRACE, HOUR, Lab, MINUTE, new_access, proof, refresh_with, tokens};

/// What a client, a thief or time does.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Shows the code.
    Redeem,
    /// Shows the n-th last refresh token.
    Refresh(usize),
    /// Revokes.
    Revoke,
    /// Waits for so many milliseconds.
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => Just(Op::Redeem),
        6 => (0..3_usize).prop_map(Op::Refresh),
        1 => Just(Op::Revoke),
        // No sum of a few of these comes near a limit.
        3 => prop_oneof![Just(1_103), Just(7_307), Just(101_701), Just(3_007_003), Just(400_000_009)].prop_map(Op::Wait),
    ];
    prop::collection::vec(op, 1..25)
}

/// What must be, in the fewest words.
#[derive(Default)]
struct Model {
    now: Duration,
    redeemed: Option<Duration>,
    rotated: Option<Duration>,
    dead: bool,
    pairs: Vec<(AccessToken, RefreshToken, Option<Sealed>)>,
    /// When each access token was given.
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
        let last = self.pairs.len() - 1;
        let own = self.now < self.given[n] + HOUR;
        let in_grace = self.rotated.is_some_and(|at| self.now < at + GRACE);
        self.alive() && own && (n == last || n + 1 == last && in_grace)
    }
}

struct Run<'a> {
    lab: &'a Lab,
    client: Client,
    model: Model,
}

impl Run<'_> {
    async fn redeem(&mut self) {
        let (access, refresh) = (new_access(), self.lab.refresh(self.client.grant().id, 1));
        let pair = tokens(&access, &refresh);
        let result = self.lab.store.redeem_code(&proof(&self.client.done), &pair).await.unwrap();
        let model = &mut self.model;
        match model.redeemed {
            None if model.alive() => {
                assert!(matches!(result, Redemption::Redeemed { .. }), "{result:?}");
                model.redeemed = Some(model.now);
                model.pairs.push((access, refresh, None));
                model.given.push(model.now);
            }
            Some(at) if model.now < at + 10 * MINUTE => {
                let revoked = model.now > at + Duration::from_secs(2) && model.alive();
                assert_eq!(result, Redemption::Replayed { revoked });
                model.dead |= revoked;
            }
            _ => assert_eq!(result, Redemption::Refused),
        }
    }

    async fn refresh(&mut self, back: usize) {
        let Some(n) = self.model.pairs.len().checked_sub(1 + back) else { return };
        let (mut rotation, access, refresh) = refresh_with(self.lab, &self.model.pairs[n].1.clone());
        rotation.recheck_every = None;
        let result = self.lab.store.rotate_refresh(&rotation).await.unwrap();
        let model = &mut self.model;
        if !model.alive() {
            assert_eq!(result, Rotated::Refused);
        } else if back == 0 {
            assert!(matches!(result, Rotated::Rotated { .. }), "{result:?}");
            model.pairs[n].2 = Some(rotation.successor);
            model.rotated = Some(model.now);
            model.pairs.push((access, refresh, None));
            model.given.push(model.now);
        } else if back == 1 && model.rotated.is_some_and(|at| model.now < at + GRACE) {
            match result {
                Rotated::Successor { sealed, .. } => assert_eq!(Some(sealed), model.pairs[n].2),
                other => panic!("{other:?}"),
            }
        } else {
            assert_eq!(result, Rotated::Reused);
            model.dead = true;
        }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Redeem => self.redeem().await,
            Op::Refresh(back) => self.refresh(back).await,
            Op::Revoke => {
                self.lab.store.revoke_grant(&self.client.grant().id).await.unwrap();
                self.model.dead = true;
            }
            Op::Wait(millis) => {
                self.lab.pass(Duration::from_millis(millis)).await;
                self.model.now += Duration::from_millis(millis);
            }
        }
        for (n, (access, ..)) in self.model.pairs.iter().enumerate() {
            assert_eq!(self.lab.lives(access).await, self.model.lives(n), "access token {n} after {op:?}");
        }
    }
}

async fn holds(lab: &Lab, ops: Vec<Op>) {
    let done = lab.signed_in(1).await;
    let client = Client { access: new_access(), refresh: lab.refresh(done.grant.id, 1), done };
    let mut run = Run { lab, client, model: Model::default() };
    for op in ops {
        run.step(op).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn check(cases: u32, run: impl Fn(Vec<Op>)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(ops in ops())| run(ops));
}

#[test]
fn one_lineage_in_memory() {
    let runtime = runtime();
    check(500, |ops| runtime.block_on(async { holds(&Lab::memory(), ops).await }));
}

#[test]
fn one_lineage_in_redis() {
    let runtime = runtime();
    let Some(lab) = runtime.block_on(Lab::redis()) else { return };
    // One server for all cases: each has a grant of its own.
    check(60, |ops| runtime.block_on(holds(&lab, ops)));
    runtime.block_on(async { lab.store.ping().await.unwrap() });
}
