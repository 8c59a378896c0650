//! What the kernel is asked for: keep the shim's memory to itself, and keep the child to what it is given. The
//! only place with `unsafe` code.

mod confine;
mod descendants;
pub(crate) mod landlock;
mod memory;
mod platform;
mod seccomp;
pub(crate) mod strict;
mod user;

use std::{io, os::unix::process::CommandExt as _, process::Command};

use rustix::process::Signal;

pub(crate) use confine::Confined;
pub(crate) use descendants::{adopt_descendants, end_descendants, parent as parent_of};
pub(crate) use memory::{hide_memory, lock_memory};
pub(crate) use platform::{give_platform, platform_secrets, platform_variable, take_platform};
pub(crate) use user::{User, UserError};

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

/// The first descriptor that is not standard input, output or error.
const FIRST_OTHER: libc::c_int = 3;
/// Where the kernel cannot close a range, so many are closed one by one.
const MANY: libc::c_int = 4096;

/// Has a command begin a session of its own, without a terminal, and without what else of its parent's is open.
pub(crate) fn detach(command: &mut Command) {
    let before_exec = || {
        rustix::process::setsid()?;
        close_others();
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only.
    #[expect(unsafe_code, reason = "std has no other way to act between fork and exec")]
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Has all other descriptors closed at exec: std needs one of them until then.
#[expect(unsafe_code, reason = "only the C library has close_range")]
fn close_others() {
    // SAFETY: the calls set flags of descriptors, and touch no memory. A number that is no descriptor is an error, and nothing else.
    unsafe {
        let closed = libc::syscall(
            libc::SYS_close_range,
            FIRST_OTHER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        if closed != 0 {
            for descriptor in FIRST_OTHER..MANY {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}
