//! The command line: one file per command.

mod challenge;
mod crds;
#[cfg(feature = "dev")]
mod demo_backend;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod http;
mod manifests;
pub mod render;
mod run;
mod token;
mod users;

use std::{fmt, future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

/// The exit code of bad input: manifests, configuration, arguments.
const BAD_INPUT: u8 = 2;

/// Gives every tenant of a Kubernetes cluster an MCP endpoint that real MCP clients can sign in to.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    DemoBackend(demo_backend::DemoBackendArgs),
    #[cfg(feature = "dev")]
    Dev(dev::DevArgs),
    Doctor(doctor::DoctorArgs),
    Render(render::RenderArgs),
    Run(run::RunArgs),
    Token(token::TokenArgs),
    Users(users::UsersArgs),
    Crds(crds::CrdsArgs),
}

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// What the user gave cannot be used; the text says what, where, and what would do. Exit code 2.
    Input(String),
    /// Something else went wrong. Exit code 1.
    Failed(String),
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl CliError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(BAD_INPUT),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        #[cfg(feature = "dev")]
        Command::DemoBackend(args) => block_on(demo_backend::run(args)),
        #[cfg(feature = "dev")]
        Command::Dev(args) => block_on(dev::run(args)),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Run(args) => block_on(run::run(args)),
        Command::Token(args) => block_on(token::run(args)),
        Command::Render(args) => render::run(&args),
        Command::Users(args) => users::run(args),
        Command::Crds(args) => crds::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            error.code()
        }
    }
}

/// Runs a command that waits for others.
fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::Failed(format!("cannot start: {e}")))?;
    let result = runtime.block_on(command);
    // What still runs must not keep a finished command from ending.
    runtime.shutdown_background();
    result
}

/// Prints a text to the standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), CliError> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
