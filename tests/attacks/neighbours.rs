//! Other processes on the job's machine, the child among them, look for what is not theirs.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
};

use guard_tests::{EnforceAt, Finished, Stage, postgres::PASSWORD, process::is_root, script};

use super::wire::Held;

/// Nobody, on Debian and elsewhere.
const NOBODY: u32 = 65_534;

#[test]
fn a_listener_is_closed_to_who_lacks_the_password() {
    let stage = Stage::builder().start().unwrap();
    let held = Held::start(&stage);
    let url = held.variable("DATABASE_URL").to_owned();
    let password = held.variable("PGPASSWORD");
    let psql = |url: &str| -> Finished {
        let mut psql = Command::new(stage.postgres.programs().join("psql"));
        psql.env_remove("PGPASSWORD").args(["-X", "-w", "-A", "-t", "-c", "SELECT 42", url]);
        psql.output().unwrap().into()
    };
    assert_eq!(psql(&url).ok().text(), "42", "who has it may");
    for wrong in ["", "wrong", PASSWORD, "\u{0}"] {
        let wrong = url.replace(password, &guard_tests::http::escape(wrong));
        let run = psql(&wrong);
        assert_ne!(run.code, 0, "{}", run.text());
        assert!(!run.text().contains("42"), "{}", run.text());
    }
}

#[test]
fn another_user_does_not_get_at_the_socket() {
    if !is_root() {
        return;
    }
    let stage = Stage::builder().start().unwrap();
    let held = Held::start(&stage);
    let run: Finished = Command::new(stage.postgres.programs().join("psql"))
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .env("PGHOST", held.variable("PGHOST"))
        .env("PGPORT", held.variable("PGPORT"))
        .env("PGPASSWORD", held.variable("PGPASSWORD"))
        .env("PGUSER", "job")
        .args(["-X", "-w", "-c", "SELECT 42", "shop"])
        .output()
        .unwrap()
        .into();
    assert_ne!(run.code, 0, "{}", run.text());
}

/// What a child that wants the credential does: it looks everywhere it may look.
const SEARCH: &str = r#"
    # Backwards, so that the search does not find itself in the arguments of its parents.
    wanted=$(printf %s "$1" | rev)
    exec 2>/dev/null
    env | grep -F -e "$wanted" && echo FOUND in the environment
    pid=$PPID
    while [ "$pid" -gt 1 ] && [ "$(cat /proc/$pid/comm)" != guard ]; do
        pid=$(awk '/^PPid:/ { print $2 }' /proc/$pid/status)
    done
    if [ "$pid" -gt 1 ]; then
        tr '\0' '\n' < /proc/$pid/environ | grep -F -e "$wanted" && echo FOUND in the environment of $pid
        tr '\0' '\n' < /proc/$pid/cmdline | grep -F -e "$wanted" && echo FOUND in the arguments of $pid
        for fd in /proc/$pid/fd/*; do
            [ -f "$fd" ] && head -c 1000000 "$fd" | grep -F -e "$wanted" && echo FOUND in a file of $pid
        done
        grep -E '^[0-9a-f]+-[0-9a-f]+ rw' /proc/$pid/maps | while IFS='- ' read -r from to rest; do
            dd if=/proc/$pid/mem bs=4096 skip=$((0x$from / 4096)) count=$(((0x$to - 0x$from) / 4096)) |
                grep -a -c -F -e "$wanted" | grep -v '^0$' && echo FOUND in the memory of $pid
        done
        [ -r /proc/$pid/mem ] && head -c 0 /proc/$pid/mem && echo "memory of $pid can be opened"
        echo searched the shim
    fi
    find "${TMPDIR:-/tmp}" "$HOME" "$PWD" -maxdepth 3 -type f -size -1000k -exec grep -l -F -e "$wanted" {} + |
        sed 's/^/FOUND in the file /'
"#;

/// As the job's user: root may read every process's memory, and guard promises nothing against it.
#[test]
fn the_child_finds_no_credential() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder().enforce_at(place).start().unwrap();
        let home = stage.dir().join("job");
        fs::create_dir(&home).unwrap();
        // So that the search has the shim's memory with the credential in it, if it ever is there.
        let mut child =
            script("psql -X -q -c 'SELECT 1' > /dev/null; sh -uc \"$0\" search \"$1\" | cat");
        child.arg(SEARCH).arg(PASSWORD.chars().rev().collect::<String>());
        let mut guard = stage.guard(&child);
        guard.current_dir(&home).env("HOME", &home).env("TMPDIR", &home);
        if is_root() {
            let program = home.join("guard");
            fs::copy(guard.get_program(), &program).unwrap();
            fs::set_permissions(&home, Permissions::from_mode(0o777)).unwrap();
            fs::create_dir_all(stage.reports()).unwrap();
            fs::set_permissions(stage.reports(), Permissions::from_mode(0o777)).unwrap();
            let mut as_nobody = Command::new(program);
            as_nobody.uid(NOBODY).gid(NOBODY).args(guard.get_args()).current_dir(&home);
            for (name, value) in guard.get_envs() {
                match value {
                    Some(value) => as_nobody.env(name, value),
                    None => as_nobody.env_remove(name),
                };
            }
            guard = as_nobody;
        }
        let run = Finished::from(guard.output().unwrap()).ok();
        let text = run.text();
        assert!(text.contains("searched the shim"), "{text}\n{}", run.stderr);
        assert!(!text.contains("FOUND"), "{place:?}: {text}");
        assert!(!text.contains("can be opened"), "{place:?}: {text}");
        assert!(!run.stderr.contains(PASSWORD));
    }
}

#[test]
fn no_log_report_or_record_holds_a_secret() {
    let stage = Stage::builder().start().unwrap();
    let run = stage.psql("SELECT 1").unwrap().ok();
    let held = Held::start(&stage);
    let [_, (_, bearer)] = stage.issuer.variables();
    let secrets = [PASSWORD.to_owned(), bearer, held.variable("PGPASSWORD").to_owned()];
    let mut texts = vec![
        ("standard error".to_owned(), run.stderr),
        ("the broker's log".to_owned(), stage.broker.log()),
        ("the gateway's log".to_owned(), stage.gateway.as_ref().unwrap().log()),
    ];
    for file in stage.records() {
        texts.push((file.display().to_string(), fs::read_to_string(&file).unwrap()));
    }
    for dir in stage.report_dirs() {
        for file in fs::read_dir(dir).unwrap() {
            let file = file.unwrap().path();
            texts.push((file.display().to_string(), fs::read_to_string(&file).unwrap()));
        }
    }
    for (place, text) in texts {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is in {place}");
        }
    }
}
