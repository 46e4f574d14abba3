//! One process of a fleet.

use std::{process::Stdio, time::Duration};

use gatehouse_gateway_config::redis::Address;
use gatehouse_redis::Login;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, Value, aio::MultiplexedConnection};
use tokio::process::{Child, Command};

use crate::redis_program::program;

/// How long a node may take to answer on a machine that is busy.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) struct Node {
    pub(super) port: u16,
    pub(super) arguments: Vec<String>,
    pub(super) process: Child,
    /// As whom the test comes, over TLS; absent: without either.
    pub(super) access: Option<Login>,
}

impl Node {
    pub(super) fn start(port: u16, arguments: Vec<String>, access: Option<Login>) -> Self {
        let process = launch(&arguments);
        Self { port, arguments, process, access }
    }

    /// Kills it, as a crash does, where it still runs, and starts it with these arguments.
    pub(super) async fn restart(&mut self, arguments: Vec<String>) {
        if self.process.id().is_some() {
            self.process.kill().await.expect("it is our child");
        }
        *self = Self::start(self.port, arguments, self.access.take());
    }

    pub(super) async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
        let login = self.access.clone().unwrap_or_default();
        let dialled = gatehouse_redis::dial(&address, self.access.is_some(), &login, &patient).await;
        dialled.map_err(|error| redis::RedisError::from(std::io::Error::other(error.to_string())))
    }

    pub(super) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        cmd.query_async(&mut self.connection().await?).await
    }

    pub(super) async fn is(&self, role: &str) -> bool {
        let found: RedisResult<Vec<Value>> = self.run(&["ROLE"]).await;
        let first = found.ok().and_then(|fields| String::from_redis_value_ref(fields.first()?).ok());
        first.as_deref() == Some(role)
    }

    /// Whether it is a master with so many replicas that follow it.
    pub(super) async fn leads(&self, replicas: usize) -> bool {
        let info: String = self.run(&["INFO", "replication"]).await.unwrap_or_default();
        info.contains("role:master") && info.matches("state=online").count() >= replicas
    }
}

fn launch(arguments: &[String]) -> Child {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("redis-server can be started (tests/run installs it)")
}
