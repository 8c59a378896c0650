//! Nobody reads the broker's memory: it holds the secrets that it hands out.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// No core is written, and what the kernel shows of the process (`/proc/PID/mem`, ptrace) is root's only
/// (prctl(2), `PR_SET_DUMPABLE`).
pub(crate) fn memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A core that is piped to a program (core(5)) does not ask for the limit; the other does not ask for dumpable.
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?)
}

/// Lets this process have as many open files as its user may: each live session has one, where records are files.
pub(crate) fn allow_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if current != maximum && raised.is_err() {
        tracing::warn!(?current, "cannot raise the number of open files");
    }
}
