//! The gateway binary: arguments → telemetry → configuration → state → serve → drain.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use gatehouse_gateway::{
    clock::{SystemClock, SystemEntropy},
    refs::MountedRefs,
    reload::Mounted,
    serve::{Options, serve},
    shutdown, telemetry,
};
use gatehouse_gateway_config::{
    ADMIN_PORT, CONFIG_PATH, ConfigError, GatewayConfig, HTTP_PORT, KEYRING_KEY, KEYS_DIR, REFS_DIR,
    keys::Keyring, listen::listen,
};

/// How long connections are still accepted after SIGTERM: endpoints vanish from load balancers a moment later.
const SETTLE: Duration = Duration::from_secs(5);

/// Gatehouse's gateway: OAuth authorization server, protected resource and MCP proxy of one McpServer.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// The configuration file that the operator rendered.
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// The directory that holds keyring.json.
    #[arg(long, value_name = "DIR", default_value = KEYS_DIR)]
    keys_dir: PathBuf,
    /// The directory below which referenced Secrets and ConfigMaps are mounted.
    #[arg(long, value_name = "DIR", default_value = REFS_DIR)]
    refs_dir: PathBuf,
    /// Where OAuth and MCP are served; by default port 8080 of every address.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics are served; by default port 9090 of every address.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Whether audit events are written, one JSON object a line on standard output. The log's filter, GATEHOUSE_LOG,
    /// does not concern them.
    #[arg(long, value_name = "ON|OFF", env = "GATEHOUSE_AUDIT", default_value = "on")]
    audit: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The configuration is at fault; trying again without a change does not help.
const EXIT_CONFIG: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let log = telemetry::init();
    match run(args, &log).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the gateway cannot start");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

async fn run(args: Args, log: &telemetry::Guard) -> Result<(), String> {
    let config = GatewayConfig::load(&args.config).map_err(|e| match e {
        ConfigError::Read { .. } => e.to_string(),
        ConfigError::Parse(_) | ConfigError::NoServers => format!("{}: {e}", args.config.display()),
    })?;
    let keyring_path = args.keys_dir.join(KEYRING_KEY);
    let keyring = read_keyring(&keyring_path)?;
    let refs = Arc::new(MountedRefs::new(args.refs_dir));
    let listener = listen(args.listen, HTTP_PORT, "--listen").await?;
    let admin = listen(args.admin_listen, ADMIN_PORT, "--admin-listen").await?;
    let options = Options {
        config,
        keyring,
        refs: refs.clone(),
        mounted: Some(Mounted { keyring: keyring_path, refs }),
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        audit: (args.audit == Switch::On).then(|| log.audit()),
        listener,
        admin: Some(admin),
        settle: SETTLE,
        shutdown: shutdown::on_signal().map_err(|e| format!("cannot wait for signals: {e}"))?,
    };
    serve(options).await.map_err(|e| e.to_string())
}

fn read_keyring(path: &Path) -> Result<Keyring, String> {
    let bytes = std::fs::read(path).map_err(|e| {
        format!("cannot read the key ring {}: {e}; without keys nothing can be served", path.display())
    })?;
    Keyring::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}
