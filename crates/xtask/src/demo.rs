//! Later.
use anyhow::Result;
#[derive(clap::Args, Default)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options) -> Result<()> {
    Ok(())
}
