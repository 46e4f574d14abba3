//! A connection that is made when it is needed and made again when it breaks. Every command has a timeout.

use std::{sync::Arc, time::Duration};

use redis::{Pipeline, Value};
use tokio::{sync::Mutex, time::Instant};

use super::{
    super::StoreError,
    dial::{Dial, Dialled, unavailable},
    script::{Step, unexpected},
};

/// The longest a command may take, with a reconnection before it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failed connection the next is tried this much later; until then the failure is the answer.
const REDIAL_AFTER: Duration = Duration::from_millis(250);
/// How long a claim waits for replicas.
const WAIT_MILLIS: u64 = 200;

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
        match self.dial.connect(None).await {
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

    /// Sends commands in one trip; one answer each. An answer may be an error of the server's.
    pub(super) async fn send(&self, pipe: &Pipeline, extra: Duration) -> Result<Vec<Value>, StoreError> {
        let deadline = Instant::now() + COMMAND_TIMEOUT + extra;
        let late = || StoreError::Unavailable("Redis did not answer in time".to_owned());
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

    /// Runs a step; `replicas` must acknowledge it.
    pub(super) async fn step(&self, step: &Step, replicas: u32) -> Result<Value, StoreError> {
        let mut pipe = redis::pipe();
        pipe.add_command(step.cmd.clone());
        if replicas > 0 {
            pipe.cmd("WAIT").arg(replicas).arg(WAIT_MILLIS);
        }
        let mut values = self.send(&pipe, Duration::ZERO).await?;
        if values.first().is_some_and(|value| code_of(value) == Some("NOSCRIPT")) {
            // Nothing ran. A restart or SCRIPT FLUSH forgot it.
            self.command(step.script.load()).await?;
            values = self.send(&pipe, Duration::ZERO).await?;
        }
        let mut values = values.into_iter();
        let answer = values.next().ok_or_else(unexpected)?.extract_error().map_err(|e| unavailable(&e))?;
        let acknowledged = match values.next() {
            None => return Ok(answer),
            Some(value) => value.extract_error().map_err(|e| unavailable(&e))?,
        };
        match acknowledged {
            Value::Int(n) if n >= i64::from(replicas) => Ok(answer),
            _ => Err(StoreError::Unavailable(format!(
                "fewer than {replicas} Redis replicas acknowledged a claim within {WAIT_MILLIS} ms"
            ))),
        }
    }
}

fn code_of(value: &Value) -> Option<&str> {
    match value {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

/// Refusals that a new connection may mend: another primary, or credentials that were changed.
fn wants_reconnection(value: &Value) -> bool {
    matches!(code_of(value), Some("READONLY" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS" | "NOPERM"))
}
