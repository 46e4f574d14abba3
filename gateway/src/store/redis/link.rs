//! A connection that is made when it is needed and made again when it breaks. Every command has a timeout.

use std::{sync::Arc, time::Duration};

use redis::{Pipeline, Value};
use tokio::{sync::Mutex, time::Instant};

use super::{
    super::StoreError,
    dial::{Dial, Dialled, unavailable},
    script::{Step, millis, unexpected},
};

/// The longest a command may take, with a reconnection before it and [`WAIT`] in it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest it may take to find the master and connect to it: less than a command, so that a failure is the answer
/// of those who come next, and they do not wait for the same.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// While a master is replaced or a slot is moved, a command that was not run is sent again this much later.
const RESEND_AFTER: Duration = Duration::from_millis(50);
/// After a failed connection the next is tried this much later; until then the failure is the answer.
const REDIAL_AFTER: Duration = Duration::from_millis(250);
/// How long a claim waits for replicas.
pub(super) const WAIT: Duration = Duration::from_millis(200);
/// The life of the mark that follows a claim.
const MARK_MILLIS: u64 = 1000;

/// One connection to Redis, shared by many callers.
#[derive(Debug)]
pub(super) struct Link {
    dial: Arc<Dial>,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    dialled: Option<Dialled>,
    failed: Option<(Instant, StoreError)>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("connected", &self.dialled.is_some()).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(dial: Arc<Dial>) -> Self {
        Self { dial, slot: Mutex::default() }
    }

    async fn connection(&self) -> Result<Dialled, StoreError> {
        let mut slot = self.slot.lock().await;
        if let Some(dialled) = slot.dialled.as_ref().filter(|d| !d.ended()) {
            return Ok(dialled.clone());
        }
        slot.dialled = None;
        if let Some((at, error)) = &slot.failed
            && at.elapsed() < REDIAL_AFTER
        {
            return Err(error.clone());
        }
        // No timeout of the connection's own: those of the callers differ, and they set theirs.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.dial.connect(None)).await;
        match connected.unwrap_or_else(|_| Err(late())) {
            Ok(dialled) => {
                *slot = Slot { dialled: Some(dialled.clone()), failed: None };
                Ok(dialled)
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Sends commands in one trip; one answer each. An answer may be an error of the server's. What a node refused
    /// without running it, because it is not or not yet the master of the slot, goes to the one that is.
    pub(super) async fn send(&self, pipe: &Pipeline, extra: Duration) -> Result<Vec<Value>, StoreError> {
        let deadline = Instant::now() + COMMAND_TIMEOUT + extra;
        loop {
            let values = self.send_once(pipe, deadline).await?;
            if !values.first().is_some_and(is_elsewhere) || Instant::now() + RESEND_AFTER >= deadline {
                return Ok(values);
            }
            tokio::time::sleep(RESEND_AFTER).await;
        }
    }

    async fn send_once(&self, pipe: &Pipeline, deadline: Instant) -> Result<Vec<Value>, StoreError> {
        let dialled = tokio::time::timeout_at(deadline, self.connection()).await.map_err(|_| late())??;
        let mut connection = dialled.connection.clone();
        let sent = connection.send_packed_commands(pipe, 0, pipe.len());
        match tokio::time::timeout_at(deadline, sent).await {
            Ok(Ok(values)) => {
                if values.iter().any(wants_reconnection) {
                    self.give_up(&dialled).await;
                }
                Ok(values)
            }
            Ok(Err(error)) => {
                self.give_up(&dialled).await;
                Err(unavailable(&error))
            }
            Err(_) => {
                // Nobody knows whether it is only slow; answers of a half-open connection never come.
                self.give_up(&dialled).await;
                Err(late())
            }
        }
    }

    async fn give_up(&self, dialled: &Dialled) {
        dialled.end();
        let mut slot = self.slot.lock().await;
        if slot.dialled.as_ref().is_some_and(|current| current.is(dialled)) {
            slot.dialled = None;
        }
    }

    /// Runs one command.
    pub(super) async fn command(&self, cmd: redis::Cmd) -> Result<Value, StoreError> {
        let mut pipe = redis::pipe();
        pipe.add_command(cmd);
        let value = self.send(&pipe, Duration::ZERO).await?.pop().ok_or_else(unexpected)?;
        value.extract_error().map_err(|e| unavailable(&e))
    }

    /// Runs a step.
    pub(super) async fn step(&self, step: &Step) -> Result<Value, StoreError> {
        let answer = self.run(step, None, Duration::ZERO).await?.into_iter().next().ok_or_else(unexpected)?;
        answer.extract_error().map_err(|e| unavailable(&e))
    }

    /// Runs a step that so many replicas must acknowledge, with everything that it has read.
    ///
    /// `WAIT` waits for what its own connection wrote. A step that repeats the answer of an earlier one (the grace of
    /// a refresh) writes nothing, and would be acknowledged although that earlier one is not: so `mark` is written
    /// after the step, and whoever has it has all that came before.
    ///
    /// The answer, and whether it was acknowledged: what was done stays done where it was not.
    pub(super) async fn claim(
        &self,
        step: &Step,
        quorum: Quorum,
        mark: &str,
    ) -> Result<(Value, Result<(), StoreError>), StoreError> {
        let tail = quorum.waiting(mark);
        let mut values = self.run(step, Some(&tail), quorum.extra()).await?.into_iter();
        let answer = next(&mut values)?;
        Ok((answer, quorum.acknowledged(&mut values)))
    }

    /// Waits until the replicas have everything that was read. See [`Link::claim`] for `mark`.
    pub(super) async fn settle(&self, quorum: Quorum, mark: &str) -> Result<(), StoreError> {
        let values = self.send(&quorum.waiting(mark), quorum.extra()).await?;
        quorum.acknowledged(&mut values.into_iter())
    }

    /// Sends a step and what follows it.
    async fn run(
        &self,
        step: &Step,
        tail: Option<&Pipeline>,
        extra: Duration,
    ) -> Result<Vec<Value>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.add_command(step.cmd.clone());
        for cmd in tail.into_iter().flat_map(Pipeline::cmd_iter) {
            pipe.add_command(cmd.clone());
        }
        let values = self.send(&pipe, extra).await?;
        if values.first().and_then(code_of) != Some("NOSCRIPT") {
            return Ok(values);
        }
        // Nothing ran. A restart, a failover or SCRIPT FLUSH forgot it.
        self.command(step.script.load()).await?;
        self.send(&pipe, extra).await
    }
}

/// The replicas that must acknowledge a claim, and how long it waits for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quorum {
    pub(super) replicas: u32,
    pub(super) wait: Duration,
}

impl Quorum {
    /// What a longer wait than the usual one adds to a command.
    fn extra(self) -> Duration {
        self.wait.saturating_sub(WAIT)
    }

    /// What follows a claim.
    fn waiting(self, mark: &str) -> Pipeline {
        let mut pipe = redis::pipe();
        pipe.cmd("SET").arg(mark).arg("").arg("PX").arg(MARK_MILLIS);
        pipe.cmd("WAIT").arg(self.replicas).arg(millis(self.wait));
        pipe
    }

    /// Reads what [`Quorum::waiting`] is answered.
    fn acknowledged(self, values: &mut impl Iterator<Item = Value>) -> Result<(), StoreError> {
        let Self { replicas, wait } = self;
        let (mark, acknowledged) = (next(values), next(values));
        match mark.and(acknowledged)? {
            Value::Int(n) if n >= i64::from(replicas) => Ok(()),
            _ => Err(StoreError::Unavailable(format!(
                "fewer than {replicas} Redis replicas acknowledged a claim within {} ms",
                wait.as_millis()
            ))),
        }
    }
}

fn next(values: &mut impl Iterator<Item = Value>) -> Result<Value, StoreError> {
    values.next().ok_or_else(unexpected)?.extract_error().map_err(|e| unavailable(&e))
}

fn late() -> StoreError {
    StoreError::Unavailable("Redis did not answer in time".to_owned())
}

fn code_of(value: &Value) -> Option<&str> {
    match value {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

/// Refusals that a new connection may mend: another master, or credentials that were changed.
fn wants_reconnection(value: &Value) -> bool {
    let mended = ["MASTERDOWN", "CLUSTERDOWN", "UNBLOCKED", "NOAUTH", "WRONGPASS", "NOPERM"];
    is_elsewhere(value) || code_of(value).is_some_and(|code| mended.contains(&code))
}

/// Refusals by a node that is not the master (any more), or not of the whole slot. A script fails so at its first
/// write or before it begins, so nothing was done and it may be sent again. `ASK` is not followed: while a slot moves,
/// a script would see on either node only the keys that are there.
fn is_elsewhere(value: &Value) -> bool {
    matches!(code_of(value), Some("READONLY" | "MOVED" | "ASK" | "TRYAGAIN"))
}
