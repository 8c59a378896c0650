//! What the child's process does to itself between fork and exec: it gives up what it will not have any more.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{
    landlock::{self, Files},
    seccomp::{Filter, Listen},
};

/// What root keeps where it is kept inside: power over files and its own processes. As of a container.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE);

/// What root loses everywhere: with these it could read the shim's memory.
const LOST: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// The highest capability that a kernel may know.
const LAST_CAPABILITY: u32 = 63;

/// What a process gives up for good before it becomes the command.
pub(crate) struct Confined {
    keeps: CapabilitySet,
    landlock: Option<OwnedFd>,
    filter: Option<Filter>,
    group: bool,
}

impl Confined {
    /// New privileges, and whatever would let root look into the shim.
    pub(crate) fn lightly() -> Self {
        Self {
            keeps: CapabilitySet::all().difference(LOST),
            landlock: None,
            filter: None,
            group: false,
        }
    }

    /// Files, ports, sockets and signals besides. `files`: `None` without Landlock. `ports`: `None` where the network is its own.
    pub(crate) fn closely(files: Option<&Files>, ports: Option<&[u16]>) -> io::Result<Self> {
        let listen = if ports.is_some() { Listen::Refused } else { Listen::Allowed };
        Ok(Self {
            keeps: KEPT,
            landlock: match files {
                Some(files) => landlock::ruleset(files, ports)?,
                None => None,
            },
            filter: Some(Filter::new(listen)),
            group: false,
        })
    }

    /// In a process group of its own: a signal that it sends to its group does not reach the shim.
    #[must_use]
    pub(crate) fn in_own_group(mut self, own: bool) -> Self {
        self.group = own;
        self
    }

    /// Has the command give all of it up.
    pub(crate) fn apply(self, command: &mut Command) {
        let before_exec = move || self.enter();
        // SAFETY: between fork and exec the closure makes system calls and allocates nothing on the way to `Ok`.
        #[expect(unsafe_code, reason = "std has no other way to act between fork and exec")]
        unsafe {
            command.pre_exec(before_exec);
        }
    }

    fn enter(&self) -> io::Result<()> {
        if self.group {
            rustix::process::setpgid(None, None)?;
        }
        self.drop_capabilities()?;
        rustix::thread::set_no_new_privs(true)?;
        if let Some(rules) = &self.landlock {
            restrict(rules)?;
        }
        self.filter.as_ref().map_or(Ok(()), Filter::enter)
    }

    /// Root only has something to give up; for others `no_new_privs` sees to it that they get nothing.
    fn drop_capabilities(&self) -> io::Result<()> {
        let has = rustix::thread::capabilities(None)?;
        if has.permitted.is_empty() {
            return Ok(());
        }
        if has.effective.contains(CapabilitySet::SETPCAP) {
            for number in 0..=LAST_CAPABILITY {
                let capability = CapabilitySet::from_bits_retain(1 << number);
                if self.keeps.contains(capability) {
                    continue;
                }
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // The kernel knows no capability of that number.
                    Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let keeps = has.permitted.intersection(self.keeps);
        let sets = CapabilitySets {
            effective: keeps,
            permitted: keeps,
            inheritable: CapabilitySet::empty(),
        };
        // The ambient set follows the inheritable one.
        Ok(rustix::thread::set_capabilities(None, sets)?)
    }
}

#[expect(unsafe_code, reason = "the crate's own way to this call allocates")]
fn restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: the call takes two numbers, and changes no memory.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
