//! A real Redis.

use redis::{AsyncCommands, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    net::{eventually, free_port},
    process::Process,
};

/// A `redis-server` on a free port of loopback, with a directory of its own.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    process: Process,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts one that keeps nothing on disk and evicts nothing.
    pub async fn start() -> Self {
        Self::with(&["--maxmemory-policy", "noeviction"]).await
    }

    /// Starts one with more arguments of `redis-server`.
    pub async fn with(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let port = free_port();
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let process = Process::start(command(port, &directory, &arguments));
        let this = Self { port, process, directory, arguments };
        this.ready().await;
        this
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("the URL is good");
        client.get_multiplexed_async_connection().await.expect("it runs")
    }

    /// The names of all keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.connection().await.keys("*").await.expect("KEYS works");
        keys.sort();
        keys
    }

    /// The seconds that a key has left, rounded up.
    pub async fn ttl(&self, key: &str) -> i64 {
        let millis: i64 = self.connection().await.pttl(key).await.expect("PTTL works");
        (millis + 999) / 1000
    }

    /// Kills it, as a crash does.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self) {
        self.process = Process::start(command(self.port, &self.directory, &self.arguments));
        self.ready().await;
    }

    async fn ready(&self) {
        let client = redis::Client::open(self.url()).expect("the URL is good");
        eventually("redis-server to answer", async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }
}

fn command(port: u16, directory: &TempDir, arguments: &[String]) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(directory.path())
        .args(arguments);
    command
}
