//! The `gatehouse` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatehouse_operator::cli::main()
}
