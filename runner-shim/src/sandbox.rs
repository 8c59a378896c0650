//! What the kernel is asked for: keep the shim's memory to itself, and let no child outlive it
//! unnoticed. The only place with `unsafe` code.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior};

/// Hides this process from others of the same user: `/proc/<pid>/{mem,environ,fd}` and `ptrace` are
/// then for root only, and no core is ever written (prctl(2), `PR_SET_DUMPABLE`).
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Has the kernel send SIGTERM to the child when the thread that starts it ends, which is the
/// main thread: with a shim that was killed its child loses its resources, and is told so.
pub(crate) fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have died before the kernel was asked.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::other("the shim is gone"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing on the
    // way to `Ok`.
    #[expect(unsafe_code, reason = "std has no other way to act between fork and exec")]
    unsafe {
        command.pre_exec(before_exec);
    }
}
