//! Keys of somebody who watches a replay, and the terminal as it was before, whatever ends it.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Signal, getpid, kill_process},
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{self, SignalKind},
};

use super::{
    Stopped,
    player::{Key, Player},
};

/// A terminal that does not say how wide it is.
const COLUMNS: usize = 80;
/// A halt is looked at again so often; a key ends it at once.
const LONGEST_LOOK: Duration = Duration::from_secs(3600);

/// The mode of the terminal at standard input: keys come one by one and are not shown. Ctrl-C and Ctrl-Z stay signals.
#[derive(Debug)]
struct Mode {
    before: Termios,
    keys: Termios,
    /// Whether it is still ours to set.
    ours: Mutex<bool>,
}

impl Mode {
    fn of_stdin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut keys = before.clone();
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        Some(Self { before, keys, ours: Mutex::new(true) })
    }

    fn set(&self) -> rustix::io::Result<()> {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if *ours { tcsetattr(io::stdin(), OptionalActions::Now, &self.keys) } else { Ok(()) }
    }

    fn restore(&self) {
        // A terminal that is gone needs no mode.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Restores it for good.
    fn leave(&self) {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        *ours = false;
        self.restore();
    }
}

/// The signals that end a replay, and those that halt it and let it go on.
struct Signals {
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    stop: unix::Signal,
    go_on: unix::Signal,
}

impl Signals {
    fn caught() -> io::Result<Self> {
        let of = |signal: Signal| unix::signal(SignalKind::from_raw(signal.as_raw()));
        Ok(Self {
            interrupt: of(Signal::INT)?,
            quit: of(Signal::QUIT)?,
            terminate: of(Signal::TERM)?,
            hang_up: of(Signal::HUP)?,
            stop: of(Signal::TSTP)?,
            go_on: of(Signal::CONT)?,
        })
    }

    /// Sees to the terminal until a signal ends the program, which it tells.
    async fn watch(mut self, mode: &Mode) -> Signal {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Signal::INT,
                _ = self.quit.recv() => return Signal::QUIT,
                _ = self.terminate.recv() => return Signal::TERM,
                _ = self.hang_up.recv() => return Signal::HUP,
                _ = self.stop.recv() => {
                    mode.restore();
                    let _stopped = kill_process(getpid(), Signal::STOP);
                }
                // A shell may have set its own.
                _ = self.go_on.recv() => { let _gone = mode.set(); }
            }
        }
    }
}

/// Keys of the terminal at standard input. Dropping it leaves the terminal as it was.
#[derive(Debug)]
pub(super) struct Keys(Arc<Mode>);

impl Keys {
    /// Keys, if standard input and output are a terminal whose lines can be written anew.
    pub(super) fn listen() -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let mode = Arc::new(Mode::of_stdin()?);
        let runtime = Builder::new_current_thread().enable_io().build().ok()?;
        let signals = {
            let _within = runtime.enter();
            Signals::caught().ok()?
        };
        // From here on no signal ends the program but by this thread.
        let keys = Self(Arc::clone(&mode));
        let watching = move || watch(&runtime, signals, &mode);
        std::thread::Builder::new().name("signals".to_owned()).spawn(watching).ok()?;
        keys.0.set().ok()?;
        Some(keys)
    }

    /// Waits for the next moment, and does what keys ask for.
    pub(super) fn wait(&self, player: &mut Player, out: &mut impl Write) -> Result<(), Stopped> {
        status(player, out)?;
        loop {
            let began = Instant::now();
            let pressed = key_within(player.wait().unwrap_or(LONGEST_LOOK))?;
            player.passed(began.elapsed());
            match pressed {
                // A signal interrupts a wait that has to go on.
                Pressed::Nothing if player.wait() == Some(Duration::ZERO) => break,
                Pressed::Nothing => {}
                Pressed::Gone => return Err(Stopped::Unseen),
                Pressed::Byte(byte) => {
                    if Key::of(byte).is_some_and(|key| !player.press(key)) {
                        clear(out)?;
                        return Err(Stopped::Unseen);
                    }
                    status(player, out)?;
                }
            }
        }
        Ok(clear(out)?)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The end of the program by a signal: the terminal first. Nothing else of a replay has to be put in order.
#[expect(clippy::disallowed_methods, reason = "the other thread may be held by the terminal")]
fn watch(runtime: &Runtime, signals: Signals, mode: &Mode) {
    let signal = runtime.block_on(signals.watch(mode));
    mode.leave();
    std::process::exit(128 + signal.as_raw());
}

enum Pressed {
    Nothing,
    Byte(u8),
    /// The terminal hung up.
    Gone,
}

/// Waits for one byte of standard input.
fn key_within(time: Duration) -> Result<Pressed, Stopped> {
    let stdin = io::stdin();
    let time = Timespec::try_from(time.min(LONGEST_LOOK)).ok();
    match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], time.as_ref()) {
        Ok(0) => return Ok(Pressed::Nothing),
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Pressed::Nothing),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let mut byte = [0];
    let read = rustix::io::read(&stdin, &mut byte);
    let [byte] = byte;
    match read {
        Ok(0) | Err(Errno::IO) => Ok(Pressed::Gone),
        Ok(_) => Ok(Pressed::Byte(byte)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(Pressed::Nothing),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Writes the status over the one before, and stays in its line.
fn status(player: &Player, out: &mut impl Write) -> io::Result<()> {
    let columns = tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col)).unwrap_or(0);
    let columns = if columns == 0 { COLUMNS } else { columns };
    write!(out, "\r\x1b[K{}", player.status(columns.saturating_sub(1)))?;
    out.flush()
}

fn clear(out: &mut impl Write) -> io::Result<()> {
    write!(out, "\r\x1b[K")?;
    out.flush()
}
