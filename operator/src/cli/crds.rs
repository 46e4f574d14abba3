//! `gatehouse crds`: the custom resource definitions as YAML.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, print};
use crate::crd::definition;

/// Print the custom resource definitions as YAML, for kubectl apply and GitOps.
#[derive(Debug, Args)]
pub(super) struct CrdsArgs {
    /// Write one file for each definition, and REFERENCE.md, into this directory instead.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &CrdsArgs) -> Result<(), CliError> {
    let failed = |e: serde_saphyr::ser::Error| CliError::Failed(format!("cannot write YAML: {e}"));
    let Some(directory) = &args.out else {
        let documents: Result<String, _> = definition::definitions().iter().map(definition::yaml).collect();
        return print(&documents.map_err(failed)?);
    };
    let files = definition::files().map_err(failed)?;
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text)
            .map_err(|e| CliError::Failed(format!("cannot write {}: {e}", path.display())))?;
    }
    Ok(())
}
