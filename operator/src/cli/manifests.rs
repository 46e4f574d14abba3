//! What `dev` and `render` do first: read manifests and the operator's configuration, and check both.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::CliError;
use crate::{
    admission::{self, Manifests},
    config::OperatorConfig,
    server::{
        fetch::Fetched,
        validate::{ValidatedServer, validate},
    },
};

/// The operator's configuration of a file, or the defaults.
pub(super) fn config(path: Option<&Path>) -> Result<OperatorConfig, CliError> {
    match path {
        Some(path) => OperatorConfig::load(path).map_err(|e| CliError::Input(e.to_string())),
        None => Ok(OperatorConfig::offline()),
    }
}

/// The manifests of files and directories, checked as the API server would.
pub(super) fn read(paths: &[PathBuf]) -> Result<Manifests, CliError> {
    let sources = admission::sources(paths).map_err(CliError::Input)?;
    let manifests = admission::read(&sources).map_err(|findings| CliError::Input(lines(&findings)))?;
    if manifests.servers.is_empty() {
        return Err(CliError::Input("there is no McpServer in these manifests".to_owned()));
    }
    Ok(manifests)
}

/// Every server, validated; `adjust` changes what is known of the world around each.
pub(super) fn servers(
    manifests: &Manifests,
    config: &OperatorConfig,
    adjust: impl Fn(&mut Fetched),
) -> Result<Vec<ValidatedServer>, CliError> {
    let mut valid = Vec::new();
    let mut wrong = String::new();
    for located in &manifests.servers {
        let server = &located.object;
        let mut fetched = manifests.fetched(server);
        adjust(&mut fetched);
        let name = server.metadata.name.clone().unwrap_or_default();
        match validate(server, &fetched, config) {
            Ok(server) => valid.push(server),
            Err(problems) => {
                for problem in problems {
                    // Writing to a String cannot fail.
                    let _ = writeln!(
                        wrong,
                        "{}: McpServer \"{name}\": {problem} ({}=False, {})",
                        located.origin, problem.condition, problem.reason
                    );
                }
            }
        }
    }
    if wrong.is_empty() { Ok(valid) } else { Err(CliError::Input(wrong.trim_end().to_owned())) }
}

/// What is not wrong but worth saying, on the standard error.
pub(super) fn warn(servers: &[ValidatedServer]) {
    for server in servers {
        for warning in &server.warnings {
            eprintln!("warning: McpServer \"{}\": {warning}", server.name);
        }
        for capped in &server.policy.capped {
            eprintln!("warning: McpServer \"{}\": lowered by the operator's ceilings: {capped}", server.name);
        }
    }
}

fn lines(findings: &[admission::Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
