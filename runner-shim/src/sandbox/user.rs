//! The user that the command runs as, where root runs guard.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

/// Where the machine's own users are (passwd(5)).
const USERS: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Its name.
    pub(crate) name: String,
    id: u32,
    group: u32,
    /// Its home.
    pub(crate) home: PathBuf,
    shell: String,
}

/// The command cannot run as that user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("the users of this machine cannot be read ({USERS})")]
    Unreadable(#[source] io::Error),
    #[error("there is no user `{0}` in {USERS}: name one that is there, or its number")]
    Unknown(String),
    #[error("the command is to run as `{0}`, and only root can run it as somebody else")]
    NotRoot(String),
    #[error("`{0}` is root: name a user with fewer rights, or leave `--user` out")]
    Root(String),
}

impl User {
    /// The user of a name or a number, if this process may run something as that user.
    pub(crate) fn find(named: &str) -> Result<Self, UserError> {
        let users = fs::read_to_string(USERS).map_err(UserError::Unreadable)?;
        let user = users.lines().filter_map(Self::parse).find(|user| user.is_named(named));
        let user = user.ok_or_else(|| UserError::Unknown(named.to_owned()))?;
        if user.id == 0 {
            return Err(UserError::Root(named.to_owned()));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(UserError::NotRoot(named.to_owned()));
        }
        Ok(user)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?.to_owned(), fields.next()?);
        let (id, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (_real_name, home) = (fields.next()?, Path::new(fields.next()?).to_owned());
        Some(Self { name, id, group, home, shell: fields.next()?.to_owned() })
    }

    fn is_named(&self, named: &str) -> bool {
        self.name == named || self.id.to_string() == named
    }

    /// What a log-in would set.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("HOME", self.home.clone().into()),
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
            ("SHELL", self.shell.clone().into()),
        ]
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.id
    }

    /// Has a command run as this user, in its own group and no other: root's groups stay behind.
    pub(crate) fn runs(&self, command: &mut Command) {
        // std leaves the other groups where root becomes somebody.
        command.uid(self.id).gid(self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number_and_lines_that_are_none_are_no_users() {
        let user = User::parse("backup:x:34:35:backup,,,:/var/backups:/usr/sbin/nologin").unwrap();
        assert_eq!((user.id, user.group, user.home.as_path()), (34, 35, Path::new("/var/backups")));
        assert!(user.is_named("backup") && user.is_named("34"));
        assert!(!user.is_named("") && !user.is_named("034") && !user.is_named("35"));
        for line in
            ["", "+::::::", "backup:x:34", "backup:x:-1:0::/:/bin/sh", "a:x:0x0:0::/:/bin/sh"]
        {
            assert_eq!(User::parse(line), None, "{line}");
        }
    }

    #[test]
    fn nobody_runs_a_command_as_root_or_as_who_is_not_there() {
        assert!(matches!(User::find("root"), Err(UserError::Root(_))));
        assert!(matches!(User::find("0"), Err(UserError::Root(_))));
        assert!(matches!(User::find("no-such-user"), Err(UserError::Unknown(_))));
    }
}
