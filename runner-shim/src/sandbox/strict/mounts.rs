//! What the command sees of the files: the machine's, but for temporary files, what runs (`/run`: sockets, users' keyrings),
//! shared memory and processes, of which it has its own.

use std::{
    ffi::CStr,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};

use super::Plan;

/// Folders that the command has its own of, and their mounts' options.
const OWN: [(&str, &CStr); 5] = [
    ("/tmp", c"mode=1777"),
    ("/var/tmp", c"mode=1777"),
    ("/dev/shm", c"mode=1777"),
    ("/run", c"mode=755"),
    ("/var/run", c"mode=755"),
];

/// What root could change the machine by.
const READ_ONLY: [&str; 5] =
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// A step that failed.
pub(super) struct Failed {
    pub(super) step: String,
    pub(super) error: io::Error,
}

/// Names the step that an error belongs to.
pub(super) fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Failed {
    let step = step.into();
    move |error| Failed { step, error }
}

/// Arranges the files. To be called in a mount namespace of its own, by its process 1.
pub(super) fn arrange(plan: &Plan) -> Result<(), Failed> {
    let changes = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", changes).map_err(io::Error::from).map_err(step("private mounts"))?;
    let mut kept = Vec::new();
    for path in plan.kept.iter().filter(|path| OWN.iter().any(|(own, _)| path.starts_with(own))) {
        let open = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
        if let Ok(file) = open {
            kept.push((path, file));
        }
    }
    for (folder, options) in OWN {
        let real = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
        if real {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", folder, "tmpfs", flags, options)
                .map_err(io::Error::from)
                .map_err(step(format!("an own {folder}")))?;
        }
    }
    for (path, file) in kept {
        show(path, &file).map_err(step(format!("{} in it", path.display())))?;
    }
    runtime_folder();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None::<&CStr>)
        .map_err(io::Error::from)
        .map_err(step("an own /proc"))?;
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind(path, path)
            .and_then(|()| mount_remount(path, flags | MountFlags::BIND | MountFlags::RDONLY, c""))
            .map_err(io::Error::from)
            .map_err(step(format!("{path} for reading only")))?;
    }
    for path in plan.files.hidden.iter().filter(|path| path.exists()) {
        mount_bind("/dev/null", path)
            .map_err(io::Error::from)
            .map_err(step(format!("hiding {}", path.display())))?;
    }
    std::env::set_current_dir(&plan.folder).map_err(step("the current folder"))
}

/// Shows a file or folder in one that was replaced. What is there already is shown with a folder around it, and is the
/// machine's own: nothing may be made in its place.
fn show(path: &Path, file: &File) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    if file.metadata()?.is_dir() {
        fs::create_dir_all(path)?;
    } else {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        File::create_new(path)?;
    }
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(mount_bind_recursive(source, path)?)
}

/// Programs expect the folder that `XDG_RUNTIME_DIR` names to be there.
fn runtime_folder() {
    let folder = format!("/run/user/{}", rustix::process::geteuid().as_raw());
    // Those that need it say so themselves.
    drop(fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
}
