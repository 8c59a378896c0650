//! The process inside: makes the namespaces, then is process 1 of them.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::FromRawFd as _,
        unix::{net::UnixStream, process::ExitStatusExt as _},
    },
    process::{Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, WaitOptions, kill_process, wait, waitpid},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::{
    Answer, Go, Plan, frames,
    mounts::{self, Failed, step},
};
use crate::sandbox::{confine::Confined, hide_memory};

/// Exit code of a process inside that is no more use.
const LOST: u8 = 125;
/// Added to a signal's number.
const SIGNALLED: i32 = 128;
/// A command whose shim is gone is told so, and has so long to go.
const GRACE: Duration = Duration::from_secs(5);
/// The first descriptor that is none of the standard ones.
const FIRST_DESCRIPTOR: i32 = 3;

/// What this program does when it is started as the process inside; `None`: the arguments are not the shim's.
pub(crate) fn main(arguments: &[std::ffi::OsString]) -> Option<ExitCode> {
    let [descriptor] = arguments else { return None };
    let descriptor: i32 = descriptor.to_str()?.parse().ok()?;
    if descriptor < FIRST_DESCRIPTOR {
        return None;
    }
    // SAFETY: the shim opened it for this process; nothing else here knows of it.
    #[expect(unsafe_code, reason = "a descriptor that was inherited has no owner yet")]
    let mut control = unsafe { UnixStream::from_raw_fd(descriptor) };
    Some(ExitCode::from(serve(&mut control).unwrap_or(LOST)))
}

/// `Err`: the shim is gone, or does not need this process any more.
fn serve(control: &mut UnixStream) -> io::Result<u8> {
    let number = rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&*control, number)?;
    let plan: Plan = frames::receive(control)?;
    if let Err(failed) = namespaces() {
        return fail(control, &failed);
    }
    frames::send(control, &Answer::Unshared)?;
    let () = frames::receive(control)?;
    match fork()? {
        Some(inside) => outer(inside),
        None => inside(control, &plan),
    }
}

fn fail(control: &mut UnixStream, failed: &Failed) -> io::Result<u8> {
    let (step, reason) = (failed.step.clone(), failed.error.to_string());
    frames::send(control, &Answer::Failed { step, reason })?;
    Ok(LOST)
}

fn namespaces() -> Result<(), Failed> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC;
    // SAFETY: there is one thread, and no descriptor table is unshared.
    #[expect(unsafe_code, reason = "what is unsafe of it are flags that are not here")]
    let done = unsafe { unshare_unsafe(flags) };
    done.map_err(io::Error::from).map_err(step("namespaces of its own"))
}

/// Process 1 of the new namespace is the first that is forked after it was made.
#[expect(unsafe_code, reason = "std has no fork")]
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, so whatever is locked or half done in the parent is not so in the child.
    let forked = unsafe { libc::fork() };
    match forked {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        number => Ok(Pid::from_raw(number)),
    }
}

/// Ends as process 1 does. Signals are the shim's to pass on.
fn outer(inside: Pid) -> io::Result<u8> {
    for signal in
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2]
    {
        // SAFETY: no handler is installed: the signal is ignored.
        #[expect(unsafe_code, reason = "std does not ignore signals")]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    loop {
        match waitpid(Some(inside), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(code(ExitStatus::from_raw(status.as_raw()))),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    u8::try_from(code.unwrap_or(SIGNALLED) & 0xff).unwrap_or(u8::MAX)
}

/// Process 1.
fn inside(control: &mut UnixStream, plan: &Plan) -> io::Result<u8> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let ready = mounts::arrange(plan)
        .and_then(|()| loopback().map_err(step("an own loopback")))
        .and_then(|()| hide_memory().map_err(step("hiding its memory")));
    if let Err(failed) = ready {
        return fail(control, &failed);
    }
    frames::send(control, &Answer::Ready)?;
    let go: Go = frames::receive(control)?;
    match listen(&go.ports) {
        Ok(listeners) => frames::send_listeners(control, &listeners)?,
        Err(error) => return fail(control, &Failed { step: "listeners".into(), error }),
    }
    let started = start(&go, plan);
    drop(go);
    let command = match started {
        Ok(command) => command,
        Err(error) => {
            frames::send(control, &Answer::NotStarted(error.raw_os_error()))?;
            return Ok(LOST);
        }
    };
    frames::send(control, &Answer::Started)?;
    let signals = control.try_clone()?;
    thread::spawn(move || pass_on(signals, command));
    Ok(reap(command))
}

fn listen(ports: &[u16]) -> io::Result<Vec<TcpListener>> {
    if ports.len() > frames::MAX_LISTENERS {
        return Err(io::Error::other("there are too many"));
    }
    ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect()
}

fn start(go: &Go, plan: &Plan) -> io::Result<Pid> {
    let Some((program, arguments)) = go.command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    let environment = go.environment.iter().map(|(name, value)| (name, value));
    command.args(arguments).env_clear().envs(environment);
    if let Some(user) = &go.user {
        user.runs(&mut command);
    }
    let confined = Confined::closely(go.landlock.then_some(&plan.files), None)?;
    confined.in_own_group(go.own_group).apply(&mut command);
    let child = command.spawn()?;
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::ErrorKind::Other.into())
}

/// Waits for all that die here, until the command is among them. With this process the others end.
fn reap(command: Pid) -> u8 {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process == command => {
                return code(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return LOST,
        }
    }
}

/// Gives the command the signals that the shim says, each a byte, until there is no shim.
fn pass_on(mut control: UnixStream, command: Pid) {
    let mut byte = [0];
    while let Ok(1) = control.read(&mut byte) {
        if let Some(signal) = Signal::from_named_raw(i32::from(byte[0])) {
            let _ = kill_process(command, signal);
        }
    }
    let _ = kill_process(command, Signal::TERM);
    #[expect(clippy::disallowed_methods, reason = "nobody is left who could say anything")]
    thread::sleep(GRACE);
    #[expect(
        clippy::disallowed_methods,
        reason = "with process 1 the others end; it waits for the command"
    )]
    std::process::exit(i32::from(LOST));
}

/// Takes the loopback interface up.
#[expect(unsafe_code, reason = "interfaces are changed by ioctl")]
fn loopback() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let mut name = [0; libc::IFNAMSIZ];
    for (place, letter) in name.iter_mut().zip(*b"lo") {
        *place = letter.cast_signed();
    }
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: the request is one of the kind that this ioctl reads (netdevice(7)), with a name that ends in a zero.
    let done = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
