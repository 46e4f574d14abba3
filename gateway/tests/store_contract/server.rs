//! A `redis-server` of the test's own, on a unix socket in a temporary directory, ended with the test.

use std::{path::PathBuf, process::Stdio, time::Duration};

use gatehouse_gateway_config::{
    denial::{Denial, SealedDenial},
    keys::Keyring,
};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Value, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::redis_program::program;

pub(crate) struct RedisServer {
    pub(crate) socket: PathBuf,
    child: Child,
    dir: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one; `None` where there is none to start.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments.
    pub(crate) async fn start_with(arguments: &[String]) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let arguments = arguments.to_vec();
        let Some(child) = launch(&dir, &arguments) else {
            assert!(
                std::env::var_os("CI").is_none() && program() == "redis-server",
                "{} cannot be started: apt install redis-server",
                program().display()
            );
            eprintln!("not run: redis-server is not in PATH");
            return None;
        };
        let server = Self { socket: dir.path().join("redis.sock"), child, dir, arguments };
        server.admin().await;
        Some(server)
    }

    /// Ends the process, as a crash does, and starts it again: empty, but for what it has on disk.
    pub(crate) async fn restart(&mut self) {
        self.child.kill().await.unwrap();
        self.child = launch(&self.dir, &self.arguments).unwrap();
        self.admin().await;
    }

    /// Starts a replica that finds this one at a port of this machine, and has all that was written so far.
    pub(crate) async fn replica(&self, port: u16) -> Self {
        let replica = Self::start().await.unwrap();
        let () = replica.admin().await.run(&["REPLICAOF", "127.0.0.1", &port.to_string()]).await;
        let admin = self.admin().await;
        for _ in 0..1000 {
            let acknowledged: i64 = admin.run(&["WAIT", "1", "10"]).await;
            let info: String = admin.run(&["INFO", "replication"]).await;
            if acknowledged == 1 && info.contains("state=online") {
                return replica;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the replica does not follow");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// A connection as the user `default`, when the server is ready.
    pub(crate) async fn admin(&self) -> Admin {
        let client = redis::Client::open(self.url()).unwrap();
        // Half a second, which is redis-rs's own limit, is not enough on a machine that is busy.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
        for _ in 0..1000 {
            if let Ok(connection) = client.get_multiplexed_async_connection_with_config(&patient).await {
                return Admin(connection);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("redis-server did not come up");
    }
}

fn launch(dir: &TempDir, arguments: &[String]) -> Option<Child> {
    let mut command = Command::new(program());
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
    command.arg(dir.path().join("redis.sock")).arg("--dir").arg(dir.path());
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().ok()
}

/// What a holder of all rights can do.
#[derive(Clone)]
pub(crate) struct Admin(MultiplexedConnection);

impl Admin {
    /// Of a connection as the user `default`.
    pub(crate) fn of(connection: MultiplexedConnection) -> Self {
        Self(connection)
    }

    /// Runs a command given as words.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut cmd = Cmd::new();
        cmd.arg(words);
        cmd.query_async(&mut self.0.clone()).await.unwrap()
    }

    /// Makes the user `tenant` as the operator makes a server's (protocols, section 10).
    pub(crate) async fn give_rights(&self, instance: &str, password: &str) {
        let keys = format!("~gatehouse:{{team-a/github.{instance}}}:*");
        let password = format!(">{password}");
        let mut words = vec!["ACL", "SETUSER", "tenant", "reset", "on", &password, &keys];
        words.extend(RIGHTS.split_whitespace());
        let () = self.run(&words).await;
    }

    /// The same at a Sentinel that asks for a login.
    pub(crate) async fn give_rights_at_sentinel(&self, password: &str) {
        let password = format!(">{password}");
        let mut words = vec!["ACL", "SETUSER", "tenant", "reset", "on", &password];
        words.extend(SENTINEL_RIGHTS.split_whitespace());
        let () = self.run(&words).await;
    }

    /// Denies at the server whose keys begin with `prefix`, as the operator does.
    pub(crate) async fn deny(&self, ring: &Keyring, prefix: &str, denial: &Denial) {
        self.write_denial(ring, prefix, denial).await;
        let events = format!("{prefix}events");
        let kept: Vec<Value> = self.run(&["XRANGE", &events, "-", "+"]).await;
        let number = (kept.len() + 1).to_string();
        self.run::<String>(&["XADD", &events, "*", "n", &number, "of", "deny"]).await;
    }

    /// As [`Admin::deny`], without telling anybody.
    pub(crate) async fn write_denial(&self, ring: &Keyring, prefix: &str, denial: &Denial) {
        let SealedDenial { text, mac, .. } = denial.seal(ring, prefix, 0).unwrap();
        self.run::<i64>(&["HSET", &format!("{prefix}deny"), "r", &text, "m", &mac]).await;
    }

    /// The keys that end in or hold `pattern`, in order.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", &format!("*{pattern}*")]).await;
        keys.sort();
        keys
    }

    /// The only key that holds `pattern`.
    pub(crate) async fn key(&self, pattern: &str) -> String {
        let keys = self.keys(pattern).await;
        assert_eq!(keys.len(), 1, "{pattern}: {keys:?}");
        keys[0].clone()
    }

    /// Lets time pass for the keys whose names hold `part`, where they are written: lives are shortened, and dates are
    /// put back. Redis's own clock cannot be moved.
    pub(crate) async fn age(&self, part: &str, by: Duration) {
        let role: Vec<Value> = self.run(&["ROLE"]).await;
        if role.first() == Some(&Value::BulkString(b"master".to_vec())) {
            let () = self.run(&["EVAL", AGE, "0", &by.as_millis().to_string(), part]).await;
        }
    }
}

/// The ACL rule of protocols.md, section 10, after the keys.
const RIGHTS: &str = "resetchannels -@all +@read +@write -@dangerous -@scripting -keys -scan -randomkey -dbsize \
    +eval +evalsha +script|load +time +wait +ping +hello +auth +client|setname +role +asking +cluster|slots \
    +cluster|shards";

const SENTINEL_RIGHTS: &str = "-@all +sentinel|master +sentinel|replicas +ping +hello +auth +client|setname";

const AGE: &str = r"
local by = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*' .. ARGV[2] .. '*')) do
  local life = redis.call('PTTL', key)
  local kind = redis.call('TYPE', key).ok
  if life >= 0 then redis.call('PEXPIRE', key, string.format('%.0f', life - by)) end
  if redis.call('EXISTS', key) == 1 and kind == 'hash' then
    for _, field in ipairs({ 'at', 'redeemed', 'checked', 'leased', 'used', 'ends', 'approved' }) do
      local value = tonumber(redis.call('HGET', key, field) or '')
      if value then redis.call('HSET', key, field, string.format('%.0f', value - by)) end
    end
  elseif redis.call('EXISTS', key) == 1 and string.find(key, ':consent:', 1, true) then
    redis.call('DECRBY', key, math.floor(by / 1000))
  elseif redis.call('EXISTS', key) == 1 and kind == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -by, member) end
  end
end
return redis.status_reply('OK')
";
