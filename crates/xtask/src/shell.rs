//! Running other programs: what is run is shown, and a failure says what failed.

use std::{
    ffi::OsStr,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors().nth(2).unwrap_or(here).to_path_buf()
    });
    &ROOT
}

/// A command in the repository's root, with nothing on its standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// `cargo`, the one that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("CARGO_TERM_COLOR", if std::io::stdout().is_terminal() { "always" } else { "never" });
    cargo
}

/// Runs to the end with our own standard output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` failed with {status}") }
}

/// Runs to the end and gives what it printed.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files that git knows or would know, of all kinds or those that fit a pattern, a line each.
pub(crate) fn files(pattern: Option<&str>) -> Result<String> {
    let listing = ["ls-files", "--cached", "--others", "--exclude-standard"];
    read(command("git").args(listing).args(pattern))
}

/// Whether a program of that name is on the path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Does a named part of a task, with a heading and the time that it took.
pub(crate) fn section(name: &str, part: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("{}", bold(&format!("== {name}")));
    let start = Instant::now();
    part().with_context(|| format!("{name} failed"))?;
    println!("{}\n", dim(&format!("   {name}: {:.1} s", start.elapsed().as_secs_f64())));
    Ok(())
}

/// Bold on a terminal.
pub(crate) fn bold(text: &str) -> String {
    colour("1", text)
}

/// Dim on a terminal.
pub(crate) fn dim(text: &str) -> String {
    colour("2", text)
}

/// `text` in an SGR colour, on a terminal that was not asked to be plain (<https://no-color.org>).
pub(crate) fn colour(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
