//! `gatehouse dev` as a program: one process, or replicas behind a load balancer.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use ::redis::AsyncCommands;
use gatehouse_gateway_config::{
    AccessRule,
    denial::{self, Denial, SealedDenial},
    keys::Keyring,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    balancer::Balancer,
    mounts::Mounts,
    net::{eventually, free_port, http},
    process::Process,
    redis::Redis,
    tls::ca,
    watch::Witness,
};

/// What to start.
#[derive(Debug)]
pub struct Setup {
    port: u16,
    /// The name of an https origin; else the origin is http on loopback.
    host: Option<&'static str>,
    /// The path of its issuer; nothing where that is the origin.
    path: &'static str,
    /// Whether another server listens at its origin.
    beside: bool,
    manifest: Option<String>,
    backends: Vec<String>,
    /// The ways to its Redis, which the replicas take in turns.
    redis: Vec<String>,
    replicas: usize,
    watch: Option<Arc<dyn Witness>>,
    /// What its operator opens (`egress.allow`).
    opened: &'static [&'static str],
    /// What its pods have mounted, where they are pods.
    mounts: Option<Mounts>,
    /// Manifests and sealing keys.
    files: TempDir,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The MCP URL.
    pub url: String,
    /// The issuer: the URL without its end.
    pub issuer: String,
    /// The processes.
    pub replicas: Vec<Process>,
    /// Where each replica listens, as `host:port`.
    pub addresses: Vec<String>,
    /// The balancer, when there are several.
    pub balancer: Option<Balancer>,
    /// Where each replica shows its health and metrics.
    admins: Vec<String>,
    setup: Setup,
    /// What replicas wrote that were replaced.
    past: String,
}

impl Setup {
    /// The built-in demo, on a free port.
    pub fn demo() -> Self {
        let files = TempDir::new().expect("a temporary directory");
        Self {
            port: free_port(),
            host: None,
            path: "",
            beside: false,
            manifest: None,
            backends: Vec::new(),
            redis: Vec::new(),
            replicas: 1,
            watch: None,
            opened: &[],
            mounts: None,
            files,
        }
    }

    /// These manifests, in which `{issuer}` stands for the issuer, which is the origin.
    pub fn manifest(manifest: &str) -> Self {
        Self::with_manifest(Self::demo(), manifest)
    }

    /// The same at an https origin of this host, whose TLS ends before the balancer: it has to be [`Setup::watched`]. It
    /// trusts the authority whose certificates the web of the suites has, too.
    pub fn https(host: &'static str, manifest: &str) -> Self {
        Self::with_manifest(Self { host: Some(host), ..Self::demo() }, manifest)
    }

    /// The same at an issuer with this path.
    pub fn below(path: &'static str, manifest: &str) -> Self {
        Self::with_path(Self { path, ..Self::demo() }, manifest)
    }

    /// The same at the origin of another server, whose balancer has to send it what is below this path
    /// ([`Balancer::send_below`]).
    pub fn beside(other: &Gateway, path: &'static str, manifest: &str) -> Self {
        Self::with_path(Self { port: other.setup.port, path, beside: true, ..Self::demo() }, manifest)
    }

    fn with_path(this: Self, manifest: &str) -> Self {
        let url = "url: {issuer}/mcp";
        Self::with_manifest(this, &manifest.replace(url, &format!("{url}\n  issuer: {{issuer}}")))
    }

    fn with_manifest(mut this: Self, manifest: &str) -> Self {
        this.manifest = Some(manifest.replace("{issuer}", &this.issuer()));
        this
    }

    /// The issuer that it will be: the origin at which it will be, and its path.
    pub fn issuer(&self) -> String {
        match self.host {
            Some(host) => format!("https://{host}:{}{}", self.port, self.path),
            None => format!("http://localhost:{}{}", self.port, self.path),
        }
    }

    /// Puts `value` where the manifests say `{name}`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.manifest = self.manifest.map(|m| m.replace(&format!("{{{name}}}"), value));
        self
    }

    /// The address of a backend that the manifests call a Service.
    #[must_use]
    pub fn backend(mut self, name: &str, url: &str) -> Self {
        self.backends.push(format!("{name}={url}"));
        self
    }

    /// Keeps its state in this Redis.
    #[must_use]
    pub fn redis(self, redis: &Redis) -> Self {
        self.redis_at(&redis.url())
    }

    /// Keeps its state in the Redis at this URL.
    #[must_use]
    pub fn redis_at(self, url: &str) -> Self {
        self.redis_by(&[url])
    }

    /// The same, where each replica has a way of its own to the one Redis.
    #[must_use]
    pub fn redis_by(mut self, urls: &[&str]) -> Self {
        self.redis = urls.iter().map(|&url| url.to_owned()).collect();
        self
    }

    /// Runs the replicas as pods run: the gateway's own program with what the operator renders, and with its Secrets as
    /// files. It has to be [`Setup::watched`] and needs a Redis.
    #[must_use]
    pub fn mounted(mut self) -> Self {
        self.mounts = Some(Mounts::at(self.files.path().join("mounts")));
        self
    }

    /// Its operator lets it connect to these (`egress.allow`). It has to be [`Setup::watched`].
    #[must_use]
    pub fn opened(self, opened: &'static [&'static str]) -> Self {
        Self { opened, ..self }
    }

    /// Shows every exchange to this witness: what comes through the balancer, which then stands before a single
    /// replica too and is believed about who asks.
    #[must_use]
    pub fn watched<W: Witness + 'static>(mut self, watch: &Arc<W>) -> Self {
        self.watch = Some(watch.clone());
        self
    }

    /// Starts this many replicas, which need a Redis.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        assert!(!self.redis.is_empty() || replicas == 1, "replicas share a Redis");
        self.replicas = replicas;
        self
    }

    /// The command line.
    pub fn command(&self, listen: Option<&str>) -> Command {
        self.command_of(0, listen, None)
    }

    fn command_of(&self, index: usize, listen: Option<&str>, admin: Option<&str>) -> Command {
        let mut command = match &self.mounts {
            Some(mounts) => mounts.command(),
            None => self.dev(index),
        };
        if let Some(listen) = listen {
            command.args(["--listen", listen]);
        }
        if let Some(admin) = admin {
            command.args(["--admin-listen", admin]);
        }
        if self.watch.is_some() {
            command.env("GATEHOUSE_LOG", "info,gatehouse_gateway=trace");
        }
        command
    }

    fn dev(&self, index: usize) -> Command {
        let mut command = gatehouse();
        command.arg("dev").arg("--state").arg(self.files.path().join("state"));
        match &self.manifest {
            None => {
                command.arg("--port").arg(self.port.to_string());
            }
            Some(text) => {
                let file = self.files.path().join("manifest.yaml");
                std::fs::write(&file, text).expect("the directory can be written to");
                command.arg("-f").arg(file);
            }
        }
        if let Some(url) = self.redis.iter().cycle().nth(index) {
            command.args(["--redis", url]);
        }
        for backend in &self.backends {
            command.arg("--backend").arg(backend);
        }
        if self.watch.is_some() {
            let file = self.files.path().join("operator.yaml");
            std::fs::write(&file, self.config().to_string()).expect("the directory can be written to");
            command.arg("--config").arg(file);
        }
        command
    }

    /// The operator's configuration, where the balancer is the proxy in front. The Redis in it is that of pods: `dev` has
    /// `--redis`, and reaches this machine without being told.
    fn config(&self) -> Value {
        let redis = self.redis.first().map_or("redis://127.0.0.1", String::as_str);
        let mut config = json!({
            "redis": { "url": redis, "users": "Shared" }, "gateway": { "trustedProxies": ["127.0.0.1/32"] },
        });
        if self.host.is_some() {
            config["egress"] = json!({ "ca": ca() });
        }
        let own: &[_] = if self.mounts.is_some() { &["127.0.0.0/8", "localhost"] } else { &[] };
        config["egress"]["allow"] = json!([self.opened, own].concat());
        config
    }

    /// Starts it and waits until it serves.
    pub async fn start(self) -> Gateway {
        if let (Some(mounts), Some(manifest)) = (&self.mounts, &self.manifest) {
            mounts.fill(manifest, &self.config());
        }
        let single = format!("127.0.0.1:{}", self.port);
        let balanced = self.replicas > 1 || self.watch.is_some() || self.beside;
        let addresses: Vec<String> = if balanced {
            (0..self.replicas).map(|_| format!("127.0.0.1:{}", free_port())).collect()
        } else {
            vec![single]
        };
        let admins = addresses.iter().filter(|_| self.watch.is_some());
        let admins = admins.map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut gateway = Gateway {
            url: format!("{}/mcp", self.issuer()),
            issuer: self.issuer(),
            replicas: Vec::new(),
            addresses,
            balancer: None,
            admins,
            setup: self,
            past: String::new(),
        };
        for index in 0..gateway.setup.replicas {
            gateway.replicas.push(gateway.process(index));
            // One after the other: the first makes the sealing keys that the others read.
            gateway.serves(index).await;
        }
        if balanced && !gateway.setup.beside {
            let (public, watch) = (gateway.setup.port, gateway.setup.watch.clone());
            let port = if gateway.setup.host.is_some() { free_port() } else { public };
            let balancer = Balancer::watched(port, gateway.addresses.clone(), watch).await;
            gateway.balancer = Some(match gateway.setup.host {
                Some(host) => balancer.behind_tls(host, public).await,
                None => balancer,
            });
        }
        gateway
    }
}

impl Gateway {
    /// Kills replica `index`, as a crash does, and sends nothing there any more.
    pub async fn kill(&mut self, index: usize) {
        self.replicas[index].kill().await;
        let address = self.addresses[index].clone();
        if let Some(balancer) = &self.balancer {
            balancer.use_only(self.addresses.iter().filter(|a| **a != address).cloned().collect());
        }
    }

    /// Starts replica `index` again and sends to all.
    pub async fn restart(&mut self, index: usize) {
        self.past.push_str(&self.replicas[index].output());
        self.replicas[index] = self.process(index);
        self.serves(index).await;
        if let Some(balancer) = &self.balancer {
            balancer.use_only(self.addresses.clone());
        }
    }

    /// Puts `new` where the manifests say `old`, and starts every replica again.
    pub async fn edit(&mut self, old: &str, new: &str) {
        let manifest = self.setup.manifest.as_mut().expect("the demo has no manifests");
        assert!(manifest.contains(old), "{manifest}");
        *manifest = manifest.replace(old, new);
        for index in 0..self.replicas.len() {
            self.kill(index).await;
            self.restart(index).await;
        }
    }

    /// Denies at its server, called `namespace.name`, whose state is in this Redis: as an operator does whose
    /// `access.deny` was edited, without a roll-out.
    pub async fn deny(&self, redis: &Redis, server: &str, rules: Vec<AccessRule>) {
        let file = self.setup.files.path().join("state").join(format!("{server}.keyring.json"));
        let ring = std::fs::read(&file).expect("a gateway that runs has its keys");
        let ring = Keyring::parse(&ring).expect("it can read them");
        let prefix = format!("gatehouse:{{{}.{}}}:", server.replace('.', "/"), ring.instance);
        let now = redis.second().await;
        let denial = Denial { generation: now, rules };
        let SealedDenial { text, mac, .. } = denial.seal(&ring, &prefix, now).expect("it is short");
        let mut connection = redis.connection().await;
        let record = format!("{prefix}{}", denial::KEY);
        let _: () = connection.hset_multiple(record, &[("r", text), ("m", mac)]).await.expect("HSET works");
        let events = format!("{prefix}events");
        let kept: usize = connection.xlen(&events).await.expect("XLEN works");
        let event = [("n", (kept + 1).to_string()), ("of", denial::EVENT.to_owned())];
        let _: String = connection.xadd(&events, "*", &event).await.expect("XADD works");
    }

    /// Sets a key of a Secret that its pods have mounted ([`Setup::mounted`]), or takes it out.
    pub fn set_secret(&self, name: &str, key: &str, value: Option<&str>) {
        let mounts = self.setup.mounts.as_ref().expect("its replicas are pods");
        match value {
            Some(value) => mounts.put(name, key, value),
            None => mounts.take(name, key),
        }
    }

    /// What the replicas wrote, those included that were replaced.
    pub fn output(&self) -> String {
        let now = self.replicas.iter().map(Process::output);
        std::iter::once(self.past.clone()).chain(now).collect::<Vec<_>>().join("\n---\n")
    }

    /// The metrics of the replicas that run, where an exchange with them is watched.
    pub async fn metrics(&self) -> String {
        let shown = self.admins.iter().map(async |admin| {
            let response = http().get(format!("http://{admin}/metrics")).send().await.ok()?;
            response.text().await.ok()
        });
        futures::future::join_all(shown).await.into_iter().flatten().collect()
    }

    /// Whether each replica says that it can work, where an exchange with them is watched.
    pub async fn ready(&self) -> Vec<bool> {
        let asked = self.admins.iter().map(async |admin| {
            let response = http().get(format!("http://{admin}/readyz")).send().await;
            response.is_ok_and(|response| response.status().is_success())
        });
        futures::future::join_all(asked).await
    }

    /// Its host and port, as a `Host` header says them.
    pub fn host(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    fn process(&self, index: usize) -> Process {
        // The demo takes its address from --port; manifests are served where we say, also when they say it too.
        let (listen, admin) = (self.addresses[index].as_str(), self.admins.get(index).map(String::as_str));
        Process::start(self.setup.command_of(index, Some(listen), admin))
    }

    async fn serves(&mut self, index: usize) {
        let (address, path, host) = (&self.addresses[index], self.setup.path, self.host().to_owned());
        let client = http();
        let replica = &mut self.replicas[index];
        eventually(&format!("gatehouse dev to serve at {address}"), async || {
            assert!(!replica.has_ended(), "gatehouse dev ended:\n{}", replica.output());
            let document = format!("http://{address}/.well-known/oauth-protected-resource{path}/mcp");
            client.get(document).header("host", &host).send().await.ok().filter(|r| r.status().is_success())
        })
        .await;
    }
}

/// The `gatehouse` program that was built with these suites.
pub fn gatehouse() -> Command {
    let mut command = Command::new(gatehouse_path());
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Where that program is.
pub fn gatehouse_path() -> PathBuf {
    beside("gatehouse", "cargo build --package gatehouse-operator --features dev")
}

/// A program of this workspace, in the directory above the test's own.
pub(crate) fn beside(name: &str, build: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    let directory = test.ancestors().find(|d| d.join(".fingerprint").exists()).map(Path::to_owned);
    let program = directory.expect("tests run from cargo's target directory").join(name);
    assert!(program.exists(), "{} does not exist: {build}", program.display());
    program
}
