//! A real Redis.

use redis::{AsyncCommands, AsyncConnectionConfig, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    net::{PATIENCE, eventually, free_port},
    process::Process,
    redis_program::program,
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
        let mut this = Self { port, process, directory, arguments };
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
        // A machine that is busy takes its time, and so does a look at everything.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&patient).await.expect("it runs")
    }

    /// What time it is by its clock, in whole seconds since 1970.
    pub async fn second(&self) -> i64 {
        let time = redis::cmd("TIME").query_async(&mut self.connection().await).await;
        let (second, _): (i64, i64) = time.expect("TIME works");
        second
    }

    /// Waits until its clock shows this second.
    pub async fn until(&self, second: i64) {
        eventually("the time to come", async || (self.second().await >= second).then_some(())).await;
    }

    /// How often this command was run.
    pub async fn calls(&self, command: &str) -> u64 {
        let text = self.info("commandstats").await;
        let calls = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
    }

    /// How much memory it uses, in bytes.
    pub async fn used_memory(&self) -> u64 {
        let text = self.info("memory").await;
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.expect("it says so").trim().parse().expect("a number")
    }

    async fn info(&self, section: &str) -> String {
        let mut info = redis::cmd("INFO");
        info.arg(section).query_async(&mut self.connection().await).await.expect("INFO works")
    }

    /// The names of all keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.connection().await.keys("*").await.expect("KEYS works");
        keys.sort();
        keys
    }

    /// How many records of a kind the authorization servers have.
    pub async fn count(&self, kind: &str) -> usize {
        self.all(kind).await.len()
    }

    /// The keys of the records of a kind that the authorization servers have.
    pub async fn all(&self, kind: &str) -> Vec<String> {
        let mut keys = self.keys().await;
        keys.retain(|key| key.contains(&format!(":oauth:{kind}:")));
        keys
    }

    /// Waits until every access token has run out.
    pub async fn access_tokens_run_out(&self) {
        eventually("the access tokens to run out", async || (self.count("access").await == 0).then_some(()))
            .await;
    }

    /// The same, where those that were given so far live for `life` seconds, for both sides: a client's clock begins when the
    /// answer arrives. The Python SDK refreshes by that, and signs in anew where the server knows it sooner.
    pub async fn access_tokens_run_out_for_both(&self, life: i64) {
        self.until(self.second().await + life + 2).await;
        self.access_tokens_run_out().await;
    }

    /// The seconds that a key has left, rounded up.
    pub async fn ttl(&self, key: &str) -> i64 {
        let millis: i64 = self.connection().await.pttl(key).await.expect("PTTL works");
        (millis + 999) / 1000
    }

    /// Stops it without ending it: connections stay open and nothing is answered.
    pub async fn pause(&self) {
        self.process.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.process.signal("CONT").await;
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every key with all that it holds, as text: what a thief of a dump can read.
    pub async fn dump(&self) -> String {
        let mut connection = self.connection().await;
        let parts: Vec<Vec<u8>> =
            redis::Script::new(DUMP).invoke_async(&mut connection).await.expect("EVAL works");
        parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join("\n")
    }

    /// Kills it, as a crash does.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again on the same port, which something of before may still hold.
    pub async fn restart(&mut self) {
        eventually("redis-server to have its port again", async || {
            if self.process.has_ended() {
                eprintln!("redis-server ended:\n{}", self.process.output());
                self.process = Process::start(command(self.port, &self.directory, &self.arguments));
            }
            let client = redis::Client::open(self.url()).expect("the URL is good");
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }

    async fn ready(&mut self) {
        let client = redis::Client::open(self.url()).expect("the URL is good");
        let process = &mut self.process;
        eventually("redis-server to answer", async || {
            assert!(!process.has_ended(), "redis-server ended:\n{}", process.output());
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }
}

fn command(port: u16, directory: &TempDir, arguments: &[String]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(directory.path())
        .args(arguments);
    command
}

const DUMP: &str = r"
local out = {}
local function add(value)
  if type(value) == 'table' then for _, part in ipairs(value) do add(part) end else out[#out + 1] = tostring(value) end
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  add(key)
  if kind == 'string' then add(redis.call('GET', key))
  elseif kind == 'hash' then add(redis.call('HGETALL', key))
  elseif kind == 'set' then add(redis.call('SMEMBERS', key))
  elseif kind == 'zset' then add(redis.call('ZRANGE', key, 0, -1))
  elseif kind == 'list' then add(redis.call('LRANGE', key, 0, -1))
  elseif kind == 'stream' then add(redis.call('XRANGE', key, '-', '+')) end
end
return out
";
