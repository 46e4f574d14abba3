//! Reaching Redis: where it is, and as whom. Read again at each connection, so that a new password or CA needs no
//! restart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gatehouse_gateway_config::{KeyRef, RedisConfig};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, TlsCertificates, aio::MultiplexedConnection,
};

use super::super::StoreError;
use crate::refs::Refs;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the configuration cannot name a Redis.
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL cannot be used.
    #[error(
        "redis.url \"{url}\": {reason}; write redis://HOST:PORT or rediss://HOST:PORT, without user and password"
    )]
    Url {
        /// What was found, without user and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A CA without TLS.
    #[error("redis.ca is set, but redis.url does not begin with rediss://, so it would have no effect")]
    CaWithoutTls,
}

/// How to connect.
#[derive(Debug)]
pub(super) struct Dial {
    info: ConnectionInfo,
    config: RedisConfig,
    refs: Arc<dyn Refs>,
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
    pub(super) fn new(config: &RedisConfig, refs: Arc<dyn Refs>) -> Result<Self, RedisConfigError> {
        let shown = without_user(&config.url);
        let fail = |reason: String| RedisConfigError::Url { url: shown.clone(), reason };
        let info = config.url.as_str().into_connection_info().map_err(|e| fail(e.to_string()))?;
        if info.redis_settings().password().is_some() || info.redis_settings().username().is_some() {
            return Err(fail("it holds a user or password, which belong in redis.auth".to_owned()));
        }
        if config.ca.is_some() && !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(RedisConfigError::CaWithoutTls);
        }
        Ok(Self { info, config: config.clone(), refs })
    }

    /// Connects, authenticates, and says hello. `response_timeout`: how long a single answer may take.
    pub(super) async fn connect(&self, response_timeout: Option<Duration>) -> Result<Dialled, StoreError> {
        let client = self.client()?;
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
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        Ok(Dialled { connection: connection.map_err(|e| unavailable(&e))?, ended })
    }

    fn client(&self) -> Result<Client, StoreError> {
        let mut settings = self
            .info
            .redis_settings()
            .clone()
            // RESP3 carries the notice of a disconnection.
            .set_protocol(ProtocolVersion::RESP3)
            // CLIENT SETINFO is not among the rights of our user.
            .set_skip_set_lib_name();
        if let Some(auth) = &self.config.auth {
            if let Some(username) = &auth.username {
                settings = settings.set_username(self.text(username)?);
            }
            settings = settings.set_password(self.text(&auth.password)?);
        }
        let info = self.info.clone().set_redis_settings(settings);
        let client = match &self.config.ca {
            None => Client::open(info),
            Some(ca) => {
                let root_cert = Some(self.text(ca)?.into_bytes());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
        };
        client.map_err(|e| unavailable(&e))
    }

    fn text(&self, key: &KeyRef) -> Result<String, StoreError> {
        let missing = |what| StoreError::Unavailable(format!("{key} is needed to reach Redis, but {what}"));
        let value = self.refs.get(key).ok_or_else(|| missing("there is no such value"))?;
        let text = std::str::from_utf8(&value).map_err(|_| missing("it is not text"))?;
        // Editors and `kubectl create secret --from-file` leave a line's end.
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Redis's refusals and all faults on the way to it are one thing to us: nothing may be minted.
pub(super) fn unavailable(error: &redis::RedisError) -> StoreError {
    StoreError::Unavailable(format!("Redis: {error}"))
}

fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://..@{host}"),
        _ => url.to_owned(),
    }
}
