//! `guard policy`.

use std::process::ExitCode;

/// Arguments of `guard policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn main(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
