//! `gatehouse run`: the operator.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use rand::Rng;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

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
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    admin_listen: SocketAddr,
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
    let admin = TcpListener::bind(admin_listen).await.map_err(|e| {
        CliError::Input(format!(
            "cannot listen on {admin_listen}: {e}; choose another address with --admin-listen"
        ))
    })?;
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
    use super::*;

    #[test]
    fn two_processes_without_names_are_two_candidates() {
        let entropy = Entropy::seeded(1);
        assert_ne!(unnamed(&entropy), unnamed(&entropy));
    }
}
