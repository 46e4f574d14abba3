//! `gatehouse run`: the operator.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use gatehouse_gateway_config::{ADMIN_PORT, listen::listen};
use rand::Rng;
use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use crate::{
    clock::Entropy,
    config::OperatorConfig,
    lease::Timing,
    metrics::Metrics,
    run::{self, Options},
    telemetry,
};

/// Run the operator in or against a cluster.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The operator's configuration file.
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CONFIG")]
    config: PathBuf,
    /// Where /livez, /readyz and /metrics are served; by default port 9090 of every address.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// The name of this process in the lease.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// The namespace of the lease. Default: the one of the kubeconfig or of the pod.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// The name of the lease.
    #[arg(long, value_name = "NAME", default_value = "gatehouse")]
    lease: String,
    /// Lead without a lease, as a single process.
    #[arg(long)]
    no_lease: bool,
}

/// Runs the operator until it is told to stop.
pub(super) async fn run(args: RunArgs) -> Result<(), CliError> {
    let RunArgs { config, admin_listen, identity, namespace, lease, no_lease } = args;
    telemetry::init();
    // A second installation is refused and means the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = OperatorConfig::load(&config).map_err(|e| CliError::Input(e.to_string()))?;
    let kube = kube::Config::infer().await.map_err(|e| {
        CliError::Input(format!(
            "no cluster: neither a kubeconfig nor a pod's service account can be used: {e}"
        ))
    })?;
    let admin = listen(admin_listen, ADMIN_PORT, "--admin-listen").await.map_err(CliError::Input)?;
    let namespace = namespace.unwrap_or_else(|| kube.default_namespace.clone());
    let options = Options {
        kube,
        config,
        identity: identity.unwrap_or_else(|| unnamed(&Entropy::system())),
        lease: (!no_lease).then_some((namespace, lease)),
        timing: Timing::default(),
        admin,
        metrics: Metrics::default(),
    };
    run::run(options, told_to_stop()).await.map_err(|error| match error {
        run::RunError::Redis(error) => CliError::Input(error.to_string()),
        error => CliError::Failed(error.to_string()),
    })
}

/// A name for a process that was given none. Not its number: in containers, every process has the same.
fn unnamed(entropy: &Entropy) -> String {
    format!("gatehouse-{:016x}", entropy.with(Rng::next_u64))
}

async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process at once, which the lease survives.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use clap::Parser;
    use tokio::net::TcpStream;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        run: RunArgs,
    }

    /// In a cluster of IPv6 alone no probe comes by the other family.
    #[tokio::test]
    async fn probes_are_answered_on_every_address_of_both_families() {
        let Command { run } = Command::parse_from(["run", "--config", "operator.yaml"]);
        let admin = listen(run.admin_listen, 0, "--admin-listen").await.unwrap();
        let port = admin.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // Where there is no IPv6 at all, nothing can be seen of it.
        if tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }

    #[test]
    fn two_processes_without_names_are_two_candidates() {
        let entropy = Entropy::seeded(1);
        assert_ne!(unnamed(&entropy), unnamed(&entropy));
    }
}
