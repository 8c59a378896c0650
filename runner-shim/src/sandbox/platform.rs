//! The platform's tokens: taken out of the process's environment, once, at its start.
//!
//! `remove_var` alone leaves a variable's text where the kernel put it at exec, and `/proc/<pid>/environ` shows
//! exactly that block. So each entry is overwritten in place. What is taken is kept where only this program's code
//! finds it, and is given to the programs that print tokens and to nobody else.

use std::{
    collections::BTreeMap,
    ffi::{CStr, OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    process::Command,
    sync::OnceLock,
};

use guard_core::Secret;

static TAKEN: OnceLock<BTreeMap<String, Secret>> = OnceLock::new();

/// Takes these variables. To be called before any other thread is there.
pub(crate) fn take_platform<'a>(names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the environment is changed only before threads are started"));
    }
    let mut taken = BTreeMap::new();
    for name in names {
        if let Some(value) = take(name) {
            // A token is text. What is none is of no use, and gone.
            if let Ok(value) = value.into_string() {
                taken.insert(name.to_owned(), Secret::new(value));
            }
        }
    }
    TAKEN.set(taken).map_err(|_| io::Error::other("the environment was taken before"))
}

/// A variable: as it is, or as it was before it was taken.
pub(crate) fn platform_variable(name: &str) -> Option<String> {
    let taken = TAKEN.get().and_then(|taken| taken.get(name));
    let value = taken.map(|value| value.expose().to_owned());
    value.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

/// What was taken, for whoever looks for it where it must not be. Addresses and paths are no secrets.
pub(crate) fn platform_secrets() -> Vec<Secret> {
    let secret = |name: &str| !["_URL", "URI", "_FILE"].iter().any(|end| name.ends_with(end));
    let taken = TAKEN.get().into_iter().flatten();
    taken.filter(|(name, _)| secret(name)).map(|(_, value)| value.clone()).collect()
}

/// Gives a program that prints identity tokens what was taken.
pub(crate) fn give_platform(command: &mut Command) {
    for (name, value) in TAKEN.get().into_iter().flatten() {
        command.env(name, value.expose());
    }
}

/// Takes one variable, and overwrites every entry of its name in the block that the process was started with.
#[expect(unsafe_code, reason = "std neither shows nor overwrites the block of the process's start")]
#[expect(
    clippy::disallowed_methods,
    reason = "there is one thread, and the shim's own block is what it is about"
)]
fn take(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name);
    let entries = entries(name);
    // SAFETY: there is one thread, as the caller has seen to.
    unsafe { std::env::remove_var(name) };
    for entry in entries {
        // SAFETY: the entries are strings that end with a zero, in the process's stack or on the heap, where the C
        // library keeps what it was given by `setenv` for good. Nobody points to them any more: there is one
        // thread, and the variable is removed.
        unsafe {
            let length = CStr::from_ptr(entry).to_bytes().len();
            for offset in 0..length {
                entry.add(offset).write_volatile(0);
            }
        }
    }
    value
}

/// Where the entries of a name are.
#[expect(unsafe_code, reason = "std gives copies of the variables only")]
fn entries(name: &str) -> Vec<*mut libc::c_char> {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    let mut found = Vec::new();
    // SAFETY: `environ` is a list of strings with a null pointer at its end (environ(7)), and nobody changes it:
    // there is one thread.
    unsafe {
        let mut place = environ;
        while !place.is_null() && !(*place).is_null() {
            let entry = CStr::from_ptr(*place).to_bytes();
            let rest = entry.strip_prefix(OsStr::new(name).as_bytes());
            if rest.is_some_and(|rest| rest.first() == Some(&b'=')) {
                found.push(*place);
            }
            place = place.add(1);
        }
    }
    found
}
