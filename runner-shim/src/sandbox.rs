//! What the kernel is asked for: keep the shim's memory to itself, and keep the child to what it is given. The
//! only place with `unsafe` code.

mod confine;
mod descendants;
pub(crate) mod landlock;
mod memory;
mod platform;
mod seccomp;
pub(crate) mod strict;

use std::{io, os::unix::process::CommandExt as _, process::Command};

use rustix::process::Signal;

pub(crate) use confine::Confined;
pub(crate) use descendants::{adopt_descendants, end_descendants};
pub(crate) use memory::{hide_memory, lock_memory};
pub(crate) use platform::{give_platform, platform_secrets, platform_variable, take_platform};

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
