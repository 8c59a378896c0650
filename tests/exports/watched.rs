//! A replay that somebody watches at a terminal, with keys; and the terminal after it, whatever ended it.

use std::process::{Command, Stdio};

use guard_tests::{Programs, Stage, script, terminal::Terminal};
use rustix::process::Signal;

/// Nothing of the session comes within the time of a test, unless a key asks for it.
const SLOWLY: [&str; 4] = ["--speed", "0.001", "--max-pause", "60m"];

fn stage() -> Stage {
    let stage = Stage::builder().shop(10).start().unwrap();
    let read = |name: &str| format!("-c \"SELECT '{name}', pg_sleep(0.5)\"");
    let reads = ["first", "second", "third"].map(read).join(" ");
    let _ok = stage.run(&script(&format!("psql -XAtq {reads}"))).unwrap().ok();
    stage
}

fn replay(stage: &Stage, arguments: &[&str]) -> Command {
    let record = stage.report_dirs().pop().unwrap().join("record.jsonl");
    let mut command = Command::new(Programs::built().unwrap().guard);
    command.args(["audit", "replay"]).arg(record).args(arguments);
    command
}

fn watch(stage: &Stage) -> Terminal {
    let terminal = Terminal::start(&replay(stage, &SLOWLY), 100).unwrap();
    terminal.wait_for("playing, speed 0.001 | space pauses").unwrap();
    assert!(!terminal.is_as_before().unwrap(), "keys come as they are pressed");
    terminal
}

#[test]
fn keys_pause_a_replay_change_its_speed_go_to_the_next_statement_and_end_it() {
    let stage = stage();
    let mut terminal = watch(&stage);
    assert!(!terminal.shown().contains("first"), "{}", terminal.shown());
    terminal.press(b" ").unwrap();
    terminal.wait_for("paused, speed 0.001 | space goes on").unwrap();
    terminal.press(b"+").unwrap();
    terminal.wait_for("paused, speed 0.002").unwrap();
    terminal.press(b"--").unwrap();
    terminal.wait_for("speed 0.001 ").unwrap();
    terminal.press(b"x\x1b[A\xff").unwrap();
    for statement in ["first", "second", "third"] {
        assert!(!terminal.shown().contains(statement), "{}", terminal.shown());
        terminal.press(b"n").unwrap();
        terminal.wait_for(statement).unwrap();
    }
    assert!(!terminal.shown().contains("the run has finished"), "{}", terminal.shown());
    terminal.press(b"q").unwrap();
    assert_eq!(terminal.end().unwrap(), 0, "{}", terminal.shown());
    assert!(terminal.is_as_before().unwrap());
    assert!(!terminal.shown().contains("the run has finished"), "{}", terminal.shown());
}

#[test]
fn fast_enough_a_replay_comes_to_its_end_by_itself() {
    let stage = stage();
    let mut terminal = watch(&stage);
    terminal.press(&[b'+'; 40]).unwrap();
    terminal.wait_for("the run has finished").unwrap();
    assert_eq!(terminal.end().unwrap(), 0);
    assert!(terminal.is_as_before().unwrap());
    assert!(terminal.shown().ends_with("exit code 0\r\n"), "{:?}", terminal.shown());
}

#[test]
fn the_terminal_is_as_it_was_after_each_signal_and_while_a_replay_is_stopped() {
    let stage = stage();
    for (signal, key, code) in [
        (Signal::INT, &b"\x03"[..], 130),
        (Signal::QUIT, b"\x1c", 131),
        (Signal::TERM, b"", 143),
        (Signal::HUP, b"", 129),
    ] {
        let mut terminal = watch(&stage);
        if key.is_empty() {
            terminal.signal(signal).unwrap();
        } else {
            terminal.press(key).unwrap();
        }
        assert_eq!(terminal.end().unwrap(), code, "{}", terminal.shown());
        assert!(terminal.is_as_before().unwrap(), "after {signal:?}");
    }
    let mut terminal = watch(&stage);
    terminal.signal(Signal::TSTP).unwrap();
    terminal.wait_stopped().unwrap();
    assert!(terminal.is_as_before().unwrap());
    terminal.signal(Signal::CONT).unwrap();
    terminal.press(b"n").unwrap();
    terminal.wait_for("first").unwrap();
    assert!(!terminal.is_as_before().unwrap());
    assert!(!terminal.shown().contains("second"), "{}", terminal.shown());
    terminal.press(b"q").unwrap();
    assert_eq!(terminal.end().unwrap(), 0);
}

#[test]
fn the_terminal_is_as_it_was_after_a_record_that_breaks() {
    let stage = stage();
    let record = stage.report_dirs().pop().unwrap().join("record.jsonl");
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, &whole[..whole.len() / 2]).unwrap();
    let mut terminal = watch(&stage);
    terminal.press(&[b'+'; 40]).unwrap();
    assert_eq!(terminal.end().unwrap(), 1, "{}", terminal.shown());
    assert!(terminal.shown().contains("the record is broken"), "{}", terminal.shown());
    assert!(terminal.is_as_before().unwrap());
}

#[test]
fn no_keys_are_taken_where_input_or_output_is_no_terminal_or_nothing_waits() {
    let stage = stage();
    let quickly = ["--max-pause", "1ms"];
    let program = replay(&stage, &quickly);
    let words: Vec<_> =
        program.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let guard = program.get_program().to_string_lossy().into_owned();
    for redirected in [r#""$@" < /dev/null"#, r#""$@" | cat"#, r#""$@" --no-wait"#] {
        let mut shell = Command::new("sh");
        shell.args(["-c", redirected, "sh", &guard]).args(&words);
        let mut terminal = Terminal::start(&shell, 100).unwrap();
        assert_eq!(terminal.end().unwrap(), 0, "{}", terminal.shown());
        terminal.wait_for("the run has finished").unwrap();
        assert!(!terminal.shown().contains("space"), "{redirected}: {}", terminal.shown());
        assert!(terminal.is_as_before().unwrap());
    }
    let piped = replay(&stage, &quickly).stdin(Stdio::null()).output().unwrap();
    assert!(!String::from_utf8_lossy(&piped.stdout).contains('\u{1b}'));
}
