//! Reaching Redis: where it is, and as whom. Read again at each connection, so that a new password or CA needs no
//! restart.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gatehouse_gateway_config::{
    KeyRef, RedisConfig,
    redis::{Address, RedisTarget, RedisTargetError},
};
use gatehouse_redis::{Login, ReachError, dial_master};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, aio::MultiplexedConnection};
use zeroize::Zeroizing;

use super::super::StoreError;
use crate::refs::{Refs, Value};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the configuration cannot name a Redis.
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL cannot be used.
    #[error("redis.url: {0}")]
    Url(#[from] RedisTargetError),
    /// Something of TLS without TLS.
    #[error("redis.{0} is set, but redis.url does not begin with rediss, so it would have no effect")]
    WithoutTls(&'static str),
}

/// How to connect.
#[derive(Debug)]
pub(super) struct Dial {
    target: RedisTarget,
    /// Lies in the slot of every key.
    key: String,
    config: RedisConfig,
    refs: Arc<dyn Refs>,
    /// The nodes of the slot, as they were found last.
    known: Mutex<BTreeSet<Address>>,
}

/// A connection, and whether it ended.
#[derive(Clone)]
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
}

impl Dialled {
    /// Whether nothing can be sent any more.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Says that this connection is not to be used again.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the two are one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ended, &other.ended)
    }
}

impl Dial {
    /// `key`: one of the keys, for all lie in one slot.
    pub(super) fn new(
        config: &RedisConfig,
        key: &str,
        refs: Arc<dyn Refs>,
    ) -> Result<Self, RedisConfigError> {
        let target = RedisTarget::parse(&config.url)?;
        let tls_only = [
            ("ca", config.ca.is_some()),
            ("clientCertificate", config.client_certificate.is_some()),
            ("serverName", config.server_name.is_some()),
        ];
        if let Some((field, _)) = tls_only.into_iter().find(|(_, set)| *set && !target.tls) {
            return Err(RedisConfigError::WithoutTls(field));
        }
        let (key, config) = (key.to_owned(), config.clone());
        Ok(Self { target, key, config, refs, known: Mutex::default() })
    }

    /// Finds the master, connects, authenticates, and says hello. `response_timeout`: how long a single answer may
    /// take.
    pub(super) async fn connect(&self, response_timeout: Option<Duration>) -> Result<Dialled, StoreError> {
        let login = self.login()?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        // The driver says when the connection ends, so that the next command is not lost to one that is long gone.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(response_timeout)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    flag.store(true, Ordering::Release);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = dial_master(&self.target, &self.key, &login, &mut known, &config).await;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(Dialled { connection: connection.map_err(|e| not_reached(&e))?, ended })
    }

    /// Whom we are now: files may have changed since the last connection.
    fn login(&self) -> Result<Login, StoreError> {
        let config = &self.config;
        let username = config.auth.as_ref().and_then(|auth| auth.username.as_ref());
        let password = config.auth.as_ref().map(|auth| &auth.password);
        let certificate = config.client_certificate.as_deref().map(|secret| {
            let part = |key: &str| self.value(&KeyRef::secret(secret, key));
            let (certificate, key) = (part("tls.crt")?, part("tls.key")?);
            Ok((certificate.to_vec(), Zeroizing::new(key.to_vec())))
        });
        Ok(Login {
            username: username.map(|key| self.text(key)).transpose()?,
            password: password.map(|key| self.text(key)).transpose()?.map(Zeroizing::new),
            ca: config.ca.as_ref().map(|key| self.value(key)).transpose()?.map(|ca| ca.to_vec()),
            certificate: certificate.transpose()?,
            server_name: config.server_name.clone(),
        })
    }

    fn text(&self, key: &KeyRef) -> Result<String, StoreError> {
        let value = self.value(key)?;
        let text = std::str::from_utf8(&value).map_err(|_| missing(key, "it is not text"))?;
        // Editors and `kubectl create secret --from-file` leave a line's end.
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn value(&self, key: &KeyRef) -> Result<Value, StoreError> {
        self.refs.get(key).ok_or_else(|| missing(key, "there is no such value"))
    }
}

fn missing(key: &KeyRef, what: &str) -> StoreError {
    StoreError::Unavailable(format!("{key} is needed to reach Redis, but {what}"))
}

fn not_reached(error: &ReachError) -> StoreError {
    StoreError::Unavailable(format!("Redis: {error}"))
}

/// Redis's refusals and all faults on the way to it are one thing to us: nothing may be minted.
pub(super) fn unavailable(error: &redis::RedisError) -> StoreError {
    StoreError::Unavailable(format!("Redis: {error}"))
}
