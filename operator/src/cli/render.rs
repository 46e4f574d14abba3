//! `gatehouse render`: what the operator would apply, for review.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{CliError, manifests, print};
use crate::server::{
    build::{Desired, build},
    names,
    validate::ValidatedServer,
};

/// Print what the operator would apply for manifests, as YAML, for review.
///
/// Secrets that the operator generates, and owner references, are left out: the output is to be read and compared, not to
/// be applied. Secrets, ConfigMaps and Services that the manifests only name are taken to exist.
#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// A file or directory with manifests, or - for the standard input. May be repeated.
    #[arg(short, long = "file", value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// The operator's configuration file. Absent: the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &RenderArgs) -> Result<(), CliError> {
    let config = manifests::config(args.config.as_deref())?;
    let read = manifests::read(&args.files)?;
    let servers = manifests::servers(&read, &config, |fetched| fetched.assume_refs = true)?;
    manifests::warn(&servers);
    let mut out = String::from(
        "# What the operator would apply, for review. Generated Secrets and owner references are left out: do not apply this.\n",
    );
    for server in &servers {
        out += &render(server).map_err(|e| CliError::Failed(format!("cannot write YAML: {e}")))?;
    }
    print(&out)
}

/// The objects of a server as YAML documents, in the order in which they are applied.
///
/// # Errors
/// Those of the serializer.
pub fn render(server: &ValidatedServer) -> Result<String, serde_saphyr::ser::Error> {
    let Desired { service_account, config_map, deployment, service, twin, config_hash: _ } = build(server);
    let mut out = format!(
        "# McpServer {}/{}; its keys are in Secret {}, which the operator makes\n",
        server.namespace,
        server.name,
        names::keys_secret(&server.name)
    );
    out += &document(&service_account)?;
    out += &document(&config_map)?;
    out += &document(&service)?;
    if let Some(twin) = &twin {
        out += &document(twin)?;
    }
    out += &document(&deployment)?;
    Ok(out)
}

fn document(object: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("---\n{}", serde_saphyr::to_string(object)?))
}
