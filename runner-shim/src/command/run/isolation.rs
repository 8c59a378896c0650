//! How much of the machine the command is kept from: what was asked for, what the machine gives, and why not more.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fmt, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
};

use guard_core::{Isolation, NoIsolation, control::ReachedIsolation};

use crate::sandbox::{
    User,
    landlock::{self, Files, Support},
    strict::{Making, Ready},
};

/// Variables that name folders which belong to the job.
const FOLDERS: [&str; 15] = [
    "HOME",
    "TMPDIR",
    "GITHUB_WORKSPACE",
    "RUNNER_TEMP",
    "RUNNER_TOOL_CACHE",
    "AGENT_TOOLSDIRECTORY",
    "AGENT_WORKFOLDER",
    "CI_PROJECT_DIR",
    "CI_BUILDS_DIR",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "CIRCLE_WORKING_DIRECTORY",
    "BITBUCKET_CLONE_DIR",
    "WORKSPACE",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];

/// Of these, those of who runs guard and not of the job.
const OF_A_USER: [&str; 3] = ["HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"];

/// Folders for temporary files: everybody's, or the command's own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What `--isolation` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The best that the machine gives.
    Auto,
    /// This level and no lower one.
    Level(Isolation),
}

impl FromStr for Asked {
    type Err = NotAsked;

    fn from_str(text: &str) -> Result<Self, NotAsked> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Level).map_err(|NoIsolation| NotAsked)
    }
}

/// A word that `--isolation` does not take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotAsked;

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is one of `auto`, `strict`, `landlock` and `env`")
    }
}

impl std::error::Error for NotAsked {}

/// The command is not kept as it has to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum IsolationError {
    #[error("isolation `{wanted}` cannot be reached here, so the command is not run: {reason}")]
    NotReached { wanted: Isolation, reason: String },
    #[error(
        "the trust rule asks for isolation `{required}`, and `--isolation {asked}` is less, so the command is not run"
    )]
    TooLittle { required: Isolation, asked: Isolation },
}

/// Places that are treated apart.
pub(super) struct Places<'a> {
    /// Files that the command must not read.
    pub(super) hidden: BTreeSet<PathBuf>,
    /// A folder that it sees.
    pub(super) shown: &'a Path,
}

/// An attempt at what was asked for: the processes for `strict` are being made ready.
pub(super) struct Attempt {
    asked: Asked,
    files: Files,
    making: Option<io::Result<Making>>,
}

/// What was reached.
pub(super) struct Reached {
    pub(super) files: Files,
    pub(super) landlock: bool,
    pub(super) word: ReachedIsolation,
    /// The place inside, if it is `strict`.
    pub(super) place: Option<Ready>,
}

impl Attempt {
    /// Begins. The outputs are those of the command.
    pub(super) fn begin(
        asked: Asked,
        command: &[OsString],
        writable: &[PathBuf],
        user: Option<&User>,
        Places { hidden, shown }: Places<'_>,
        outputs: impl FnOnce() -> io::Result<(Stdio, Stdio)>,
    ) -> Self {
        let files = Files { writable: places(writable, user), hidden };
        let making = match asked {
            Asked::Auto | Asked::Level(Isolation::Strict) => {
                Some(outputs().and_then(|(out, err)| {
                    let mut kept = kept(command, &files.writable);
                    kept.insert(shown.to_owned());
                    Making::begin(files.clone(), kept, out, err)
                }))
            }
            Asked::Level(Isolation::Landlock | Isolation::Env) => None,
        };
        Self { asked, files, making }
    }

    /// What comes of it, given what the trust rule asks for.
    pub(super) fn settle(self, required: Option<Isolation>) -> Result<Reached, IsolationError> {
        let support = landlock::support();
        let mut place = None;
        let strict = || {
            let making = self.making.unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()));
            let ready = making.map_err(|error| error.to_string()).and_then(Making::ready)?;
            place = Some(ready);
            Ok(())
        };
        let landlock = || match support {
            Support::Missing(why) => Err(why.to_owned()),
            Support::WithoutSignals | Support::Whole => Ok(()),
        };
        let mut word = choose(self.asked, required, strict, landlock)?;
        if word.level == Isolation::Landlock && support == Support::WithoutSignals {
            word.why_not.push("landlock: signals are not kept in (Linux 6.12 can)".into());
        }
        if word.level == Isolation::Landlock {
            let (_, shown) = self.files.hideable();
            word.why_not.extend(shown.iter().map(|path| {
                let path = path.display();
                format!("landlock: `{path}` can be read, since the command may write to its folder")
            }));
        }
        let landlock = !matches!(support, Support::Missing(_));
        Ok(Reached { files: self.files, landlock, word, place })
    }
}

/// The best level that is wanted and that works, tried from the best on; or the reason why the lowest that would do does not.
fn choose(
    asked: Asked,
    required: Option<Isolation>,
    strict: impl FnOnce() -> Result<(), String>,
    landlock: impl FnOnce() -> Result<(), String>,
) -> Result<ReachedIsolation, IsolationError> {
    let (best, lowest) = match (asked, required) {
        (Asked::Auto, required) => (Isolation::Strict, required.unwrap_or(Isolation::Env)),
        (Asked::Level(asked), Some(required)) if asked < required => {
            return Err(IsolationError::TooLittle { required, asked });
        }
        (Asked::Level(asked), _) => (asked, asked),
    };
    let mut why_not = Vec::new();
    let not_reached = |why_not: &[String]| IsolationError::NotReached {
        wanted: lowest,
        reason: why_not.join("; "),
    };
    if best == Isolation::Strict {
        match strict() {
            Ok(()) => {
                return Ok(ReachedIsolation { level: Isolation::Strict, why_not, step: None });
            }
            Err(reason) => why_not.push(format!("strict: {reason}")),
        }
        if lowest == Isolation::Strict {
            return Err(not_reached(&why_not));
        }
    }
    if best >= Isolation::Landlock {
        match landlock() {
            Ok(()) => {
                return Ok(ReachedIsolation { level: Isolation::Landlock, why_not, step: None });
            }
            Err(reason) => why_not.push(format!("landlock: {reason}")),
        }
        if lowest == Isolation::Landlock {
            return Err(not_reached(&why_not));
        }
    }
    Ok(ReachedIsolation { level: Isolation::Env, why_not, step: None })
}

/// Where a job writes.
fn places(said: &[PathBuf], user: Option<&User>) -> BTreeSet<PathBuf> {
    // Of another user's home and caches the command has no use.
    let named = FOLDERS.iter().filter(|name| user.is_none() || !OF_A_USER.contains(name));
    let named = named.filter_map(env::var_os).map(PathBuf::from);
    let places = named
        .chain(user.map(|user| user.home.clone()))
        .chain(env::current_dir())
        .chain(TEMPORARY.map(PathBuf::from))
        // All of the machine is no place of a job's.
        .filter(|path| path.is_absolute() && path.parent().is_some());
    places.chain(said.iter().cloned()).collect()
}

/// What the command sees of folders that it has its own of: its own places in them, its program, and the files and folders
/// that its arguments and its environment name.
fn kept(command: &[OsString], places: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let here = env::current_dir().unwrap_or_default();
    let arguments = command.iter().map(|argument| here.join(Path::new(argument)));
    let paths = env::var_os("PATH").unwrap_or_default();
    let programs: Vec<_> = env::split_paths(&paths).collect();
    let values = env::vars_os().map(|(_, value)| PathBuf::from(value));
    let named = arguments.chain(programs).chain(values).filter(|path| in_temporary(path));
    places
        .iter()
        .filter(|path| is_below(path))
        .cloned()
        .chain(named)
        .filter(|path| is_kept(path))
        .collect()
}

fn in_temporary(path: &Path) -> bool {
    TEMPORARY.iter().any(|folder| path.starts_with(folder) && path != Path::new(folder))
}

/// Whether it is more than a whole of the folders that the command has its own of.
fn is_below(path: &Path) -> bool {
    in_temporary(path) || !TEMPORARY.iter().any(|folder| path == Path::new(folder))
}

/// Files and folders are; sockets, through which others answer, are not.
fn is_kept(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| {
        let kind = found.file_type();
        (kind.is_file() || kind.is_dir()) && !kind.is_socket()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKS: fn() -> Result<(), String> = || Ok(());
    const EPERM: fn() -> Result<(), String> =
        || Err("namespaces of its own: Operation not permitted (os error 1)".into());

    type Tried = fn() -> Result<(), String>;

    fn reached(
        asked: Asked,
        required: Option<Isolation>,
        strict: Tried,
        landlock: Tried,
    ) -> String {
        match choose(asked, required, strict, landlock) {
            Ok(word) => format!("{} {}", word.level, word.why_not.len()),
            Err(IsolationError::NotReached { wanted, .. }) => format!("not {wanted}"),
            Err(IsolationError::TooLittle { .. }) => "too little".into(),
        }
    }

    #[test]
    fn the_best_that_works_is_taken_and_what_is_required_is_never_undercut() {
        use Asked::{Auto, Level};
        use Isolation::{Env, Landlock, Strict};
        for (asked, required, strict, landlock, expected) in [
            (Auto, None, WORKS, WORKS, "strict 0"),
            // Ubuntu 24.04: AppArmor lets nobody but its own programs have user namespaces.
            (Auto, None, EPERM, WORKS, "landlock 1"),
            (Auto, None, EPERM, EPERM, "env 2"),
            (Auto, Some(Landlock), EPERM, WORKS, "landlock 1"),
            (Auto, Some(Landlock), EPERM, EPERM, "not landlock"),
            (Auto, Some(Strict), EPERM, WORKS, "not strict"),
            (Level(Strict), None, WORKS, WORKS, "strict 0"),
            (Level(Strict), None, EPERM, WORKS, "not strict"),
            (Level(Strict), Some(Landlock), EPERM, WORKS, "not strict"),
            (Level(Landlock), None, EPERM, WORKS, "landlock 0"),
            (Level(Landlock), None, WORKS, EPERM, "not landlock"),
            (Level(Landlock), Some(Strict), WORKS, WORKS, "too little"),
            (Level(Env), None, WORKS, WORKS, "env 0"),
            (Level(Env), Some(Env), WORKS, WORKS, "env 0"),
            (Level(Env), Some(Landlock), WORKS, WORKS, "too little"),
        ] {
            let found = reached(asked, required, strict, landlock);
            assert_eq!(found, expected, "{asked:?} {required:?}");
        }
    }

    #[test]
    fn only_the_four_words_are_asked() {
        assert_eq!("auto".parse::<Asked>().unwrap(), Asked::Auto);
        assert_eq!("env".parse::<Asked>().unwrap(), Asked::Level(Isolation::Env));
        assert!("none".parse::<Asked>().is_err());
    }
}
