//! The store in Redis or Valkey, shared by all replicas.
//!
//! Every step is one Lua script (or one command), so it is atomic; lives and dates are Redis's (`TIME`). All keys of a
//! server begin with one prefix, which is one slot and the pattern of its ACL user. Four connections: one for
//! everything; one for claims that wait for replicas, because `WAIT` blocks its connection; one for those claims that
//! anybody may cause, so that no token waits behind them; one for the reader of events. They are made on first use and
//! made again when they break.
//!
//! Under Sentinel and Cluster the master is looked for at each connection. What a node refused because it is not the
//! master is sent to the one that is; an answer that was lost is not asked for again, for the step may have run.
//!
//! What is not promised: Redis replicates asynchronously, so a failover at the wrong instant can forget even an
//! acknowledged claim. PKCE confines what is left to the same client.

mod account;
mod dial;
mod events;
mod flow;
mod link;
mod record;
mod script;
mod time;
mod token;
mod user;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gatehouse_gateway_config::{RedisConfig, denial::Denial};
use redis::{FromRedisValue, Value};

pub use dial::RedisConfigError;

use self::{
    dial::Dial,
    link::{Link, Quorum, WAIT},
    script::{Reply, Script, Step, millis, timed, unexpected},
    time::RedisClock,
};
use super::{
    Approval, CallRecord, CallbackClaim, CodeProof, CodeStanding, Completion, EndedSignIns, Ending,
    EventBatch, EventCursor, GrantEnd, Heard, IdentityRefusal, Lease, NewTokens, Quota, Redemption, Result,
    Revocation, RobotGrant, Rotated, Rotation, Store, TakenBack, Unfinished, UserUpdate, keys,
};
use crate::{
    clock::Clock,
    keys::{Keys, Sealed},
    model::{
        AttemptId, CredentialRecord, Flow, FlowId, FlowRequest, Grant, GrantId, Hash32, IdentityState,
        Session, UserId, UserRecord,
    },
    refs::Refs,
};

/// State in Redis.
#[derive(Debug)]
pub struct RedisStore {
    prefix: String,
    keys: Keys,
    clock: RedisClock,
    heard: Mutex<Heard>,
    quorum: Quorum,
    main: Link,
    claims: Link,
    open_claims: Link,
    reader: Link,
    reader_turn: tokio::sync::Mutex<()>,
}

impl RedisStore {
    /// The store of the server `namespace`/`name`. Connects on first use.
    ///
    /// # Errors
    /// When the configuration cannot name a Redis; one that is not there shows at the first step.
    pub fn new(
        config: &RedisConfig,
        namespace: &str,
        name: &str,
        keys: Keys,
        refs: Arc<dyn Refs>,
        clock: Arc<dyn Clock>,
    ) -> std::result::Result<Self, RedisConfigError> {
        let prefix = keys::prefix(&config.key_prefix, namespace, name, &keys.instance());
        let dial = Arc::new(Dial::new(config, &prefix, refs)?);
        Ok(Self {
            prefix,
            keys,
            clock: RedisClock::new(clock),
            heard: Mutex::default(),
            quorum: Quorum { replicas: config.min_replicas, wait: WAIT },
            main: Link::new(dial.clone()),
            claims: Link::new(dial.clone()),
            open_claims: Link::new(dial.clone()),
            reader: Link::new(dial),
            reader_turn: tokio::sync::Mutex::default(),
        })
    }

    /// Lets claims wait so long for replicas, instead of the 200 ms after which a client had better ask again. For tests of
    /// what is not about that time.
    #[must_use]
    pub fn with_claims_wait(mut self, longest: Duration) -> Self {
        // None at all would be for ever.
        self.quorum.wait = longest.max(Duration::from_millis(1));
        self
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn step(&self, script: &'static Script) -> Step {
        script.step(&self.prefix)
    }

    async fn run(&self, step: Step) -> Result<Reply> {
        self.reply(self.main.step(&step).await?)
    }

    fn reply(&self, answer: Value) -> Result<Reply> {
        let (now, reply) = timed(answer)?;
        self.clock.hear(now);
        Ok(reply)
    }

    /// A step that must not be forgotten: the configured number of replicas must have it, too.
    async fn claim(&self, step: Step) -> Result<Reply> {
        let (reply, acknowledged) = self.try_claim(step).await?;
        acknowledged.map(|()| reply)
    }

    /// The same, for what anybody may ask for who begins a sign-in.
    async fn open_claim(&self, step: Step) -> Result<Reply> {
        let (reply, acknowledged) = self.claim_on(&self.open_claims, step).await?;
        acknowledged.map(|()| reply)
    }

    /// The same, where what was done must be told in any case: the answer, and whether the replicas have it.
    async fn try_claim(&self, step: Step) -> Result<(Reply, Result<()>)> {
        self.claim_on(&self.claims, step).await
    }

    async fn claim_on(&self, link: &Link, step: Step) -> Result<(Reply, Result<()>)> {
        if self.quorum.replicas == 0 {
            return Ok((self.run(step).await?, Ok(())));
        }
        let mark = self.full(keys::CLAIMED);
        let (answer, acknowledged) = link.claim(&step, self.quorum, &mark).await?;
        Ok((self.reply(answer)?, acknowledged))
    }

    /// The same, as the step's result: `read` says what an answer means, `done` what happened where it is not
    /// acknowledged.
    async fn ending<T, D: Default>(
        &self,
        step: Step,
        read: impl FnOnce(&mut Reply) -> Result<T>,
        done: impl FnOnce(T) -> D,
    ) -> Ending<T, D> {
        let answered = self.try_claim(step).await;
        let answered = answered.and_then(|(mut reply, acknowledged)| Ok((read(&mut reply)?, acknowledged)));
        match answered {
            Ok((answer, Ok(()))) => Ok(answer),
            Ok((answer, Err(error))) => Err(Unfinished { done: done(answer), error }),
            Err(error) => Err(Unfinished { done: D::default(), error }),
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn ping(&self) -> Result<()> {
        // As good a sign of life as PING, and it tells the time.
        let time = self.main.command(redis::cmd("TIME")).await?;
        let (seconds, micros) = <(i64, i64)>::from_redis_value(time).map_err(|_| unexpected())?;
        self.clock.hear(seconds.saturating_mul(1000).saturating_add(micros / 1000));
        Ok(())
    }

    fn unix_millis(&self) -> Option<i64> {
        self.clock.unix_millis()
    }

    async fn create_flow(&self, request: &FlowRequest, life: Duration) -> Result<()> {
        self.write_flow(request, life).await
    }

    async fn flow(&self, id: &FlowId) -> Result<Option<Flow>> {
        self.read_one_flow(id).await
    }

    async fn sign_in(
        &self,
        flow: &FlowId,
        user: &UserUpdate,
        credential: Option<&Sealed>,
        session: (&Hash32, &Session, Duration),
    ) -> Result<bool> {
        self.sign_in_step(flow, user, credential, session).await
    }

    async fn pin(&self, flow: &FlowId, user: &UserId, session: &Hash32) -> Result<bool> {
        self.pin_step(flow, user, session).await
    }

    async fn session(&self, id: &Hash32) -> Result<Option<Session>> {
        self.read_one_session(id).await
    }

    async fn end_session(&self, id: &Hash32) -> Result<()> {
        self.claim(self.step(&script::END_SESSION).arg(keys::session(id))).await.map(drop)
    }

    async fn approve_flow(
        &self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Result<Approval> {
        self.approve(id, nonce, cookie, life).await
    }

    async fn deny_flow(&self, id: &FlowId, nonce: &Hash32, cookie: &Hash32) -> Result<Option<TakenBack>> {
        self.deny(id, nonce, cookie).await
    }

    async fn next_attempt(
        &self,
        id: &FlowId,
        cookie: &Hash32,
        after: u32,
        life: Duration,
    ) -> Result<Option<u32>> {
        self.again(id, cookie, after, life).await
    }

    async fn claim_callback(&self, id: &FlowId, cookie: &Hash32, attempt: u32) -> Result<CallbackClaim> {
        self.claim_answer(id, cookie, attempt).await
    }

    async fn complete_flow(&self, completion: &Completion) -> Ending<Option<Vec<Grant>>> {
        self.complete(completion).await
    }

    async fn code_standing(&self, code: &Hash32) -> Result<CodeStanding> {
        self.standing_of_code(code).await
    }

    async fn consented(&self, user: &UserId, consent: &Hash32) -> Result<Option<i64>> {
        let mut get = redis::cmd("GET");
        get.arg(self.full(&keys::consent(user, consent)));
        let value: Value = self.main.command(get).await?;
        // Not a number is not ours: it grants nothing, it only adds a line to a page.
        Ok(Option::<i64>::from_redis_value(value).unwrap_or_default())
    }

    async fn redeem_code(
        &self,
        proof: &CodeProof,
        tokens: &NewTokens,
    ) -> Ending<Redemption, Option<GrantEnd>> {
        self.redeem(proof, tokens).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>> {
        self.read_one_grant(id).await
    }

    async fn rotate_refresh(&self, rotation: &Rotation) -> Ending<Rotated, Option<GrantEnd>> {
        self.rotate(rotation).await
    }

    async fn revoke_for_client(
        &self,
        id: &GrantId,
        client_id: &str,
        assertion: Option<&Hash32>,
    ) -> Ending<Revocation, Option<Box<Grant>>> {
        self.revoke_as_client(id, client_id, assertion).await
    }

    async fn grant_robot(&self, robot: &RobotGrant) -> Result<Option<Vec<Grant>>> {
        self.write_robot(robot).await
    }

    async fn call(&self, access: &Hash32) -> Result<Option<CallRecord>> {
        self.read_call(access).await
    }

    async fn settled(&self) -> Result<()> {
        if self.quorum.replicas == 0 {
            return Ok(());
        }
        self.claims.settle(self.quorum, &self.full(keys::CLAIMED)).await
    }

    async fn user(&self, id: &UserId) -> Result<Option<UserRecord>> {
        self.read_one_user(id).await
    }

    async fn user_checked(&self, update: &UserUpdate) -> Result<()> {
        self.checked(update).await
    }

    async fn set_identity_state(&self, user: &UserId, state: &IdentityState) -> Ending<bool> {
        self.set_state(user, state).await
    }

    async fn refuse_identity(
        &self,
        user: &UserId,
        version: u64,
        reason: &str,
    ) -> Ending<IdentityRefusal, bool> {
        self.refuse(user, version, reason).await
    }

    async fn users(&self) -> Result<Vec<UserId>> {
        self.all_users().await
    }

    async fn end_sign_ins(&self, user: &UserId) -> Ending<EndedSignIns> {
        self.end_all(user).await
    }

    async fn purge_user(&self, user: &UserId) -> Ending<bool> {
        self.purge(user).await
    }

    async fn credential(&self, user: &UserId, name: &str) -> Result<Option<CredentialRecord>> {
        self.read_one_credential(user, name).await
    }

    async fn lease_refresh(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        attempt: &AttemptId,
        lease: Duration,
    ) -> Result<Lease> {
        self.lease(user, name, version, attempt, lease).await
    }

    async fn store_credential(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        sealed: &Sealed,
    ) -> Result<bool> {
        self.store_refreshed(user, name, version, sealed).await
    }

    async fn release_refresh(&self, user: &UserId, name: &str, attempt: &AttemptId) -> Result<()> {
        self.release(user, name, attempt).await
    }

    async fn hit(&self, key: &str, window: Duration) -> Result<(u64, Duration)> {
        let mut reply = self.run(self.step(&script::HIT).arg(keys::limit(key)).arg(millis(window))).await?;
        match (reply.number(), reply.millis()) {
            (Some(count), Some(left)) => Ok((count, left)),
            _ => Err(unexpected()),
        }
    }

    async fn admit(&self, quotas: &[Quota]) -> Result<Option<Duration>> {
        let step = quotas.iter().fold(self.step(&script::ADMIT), |step, quota| {
            step.arg(keys::limit(&quota.key)).arg(quota.count).arg(millis(quota.window))
        });
        let mut reply = self.run(step).await?;
        match reply.tag()?.as_str() {
            "full" => reply.millis().map(Some).ok_or_else(unexpected),
            _ => Ok(None),
        }
    }

    async fn denial(&self) -> Result<Option<Denial>> {
        self.read_denial().await
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn event_cursor(&self) -> Result<EventCursor> {
        self.end_of_events().await
    }

    async fn events(&self, cursor: &EventCursor, wait: Duration) -> Result<EventBatch> {
        self.read_events(cursor, wait).await
    }
}
