//! How a replay goes on: its speed, its halts, and what keys do to them. A function of keys and times, without a terminal.

use std::time::Duration;

/// The bounds of a speed, as of `--speed`.
pub(super) const SLOWEST: f64 = 0.001;
pub(super) const FASTEST: f64 = 1_000_000.0;
/// What one key changes it by.
const STEP: f64 = 2.0;

/// What somebody who watches asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Hold,
    Faster,
    Slower,
    Next,
    Quit,
}

impl Key {
    /// The key of a byte; `+` is `=` where nobody holds the shift key.
    pub(super) fn of(byte: u8) -> Option<Self> {
        match byte {
            b' ' => Some(Self::Hold),
            b'+' | b'=' => Some(Self::Faster),
            b'-' | b'_' => Some(Self::Slower),
            b'n' | b'N' => Some(Self::Next),
            b'q' | b'Q' => Some(Self::Quit),
            _ => None,
        }
    }
}

/// A replay that goes on.
#[derive(Debug)]
pub(super) struct Player {
    speed: f64,
    /// No pause is longer.
    most: Duration,
    held: bool,
    /// The next moment is a statement.
    statement: bool,
    /// It comes at once.
    now: bool,
    /// And so does what comes after it, until a statement is shown.
    to_next: bool,
    /// What is left of the pause, in the session's own time.
    left: Duration,
}

impl Player {
    pub(super) fn new(speed: f64, most: Duration) -> Self {
        Self {
            speed,
            most,
            held: false,
            statement: false,
            now: false,
            to_next: false,
            left: Duration::ZERO,
        }
    }

    /// The next moment comes so long after the one before.
    pub(super) fn coming(&mut self, between: Duration, statement: bool) {
        let most = Duration::try_from_secs_f64(self.most.as_secs_f64() * self.speed);
        self.left = between.min(most.unwrap_or(between));
        self.statement = statement;
        self.now = self.to_next;
        self.to_next &= !statement;
    }

    /// How long the next moment is waited for; until a key comes, if `None`.
    pub(super) fn wait(&self) -> Option<Duration> {
        if self.now {
            return Some(Duration::ZERO);
        }
        let time = Duration::try_from_secs_f64(self.left.as_secs_f64() / self.speed);
        (!self.held).then(|| time.unwrap_or(self.most).min(self.most))
    }

    /// So much time went by.
    pub(super) fn passed(&mut self, time: Duration) {
        if self.held {
            return;
        }
        let gone = Duration::try_from_secs_f64(time.as_secs_f64() * self.speed);
        self.left = self.left.saturating_sub(gone.unwrap_or(Duration::MAX));
    }

    /// Somebody pressed a key. `false` ends the replay.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Hold => self.held = !self.held,
            Key::Faster => self.speed = (self.speed * STEP).min(FASTEST),
            Key::Slower => self.speed = (self.speed / STEP).max(SLOWEST),
            Key::Next => {
                self.now = true;
                self.to_next = !self.statement;
            }
            Key::Quit => return false,
        }
        true
    }

    /// The line below what is shown, of at most so many characters.
    pub(super) fn status(&self, columns: usize) -> String {
        let state = if self.held { "paused" } else { "playing" };
        let again = if self.held { "goes on" } else { "pauses" };
        let words = format!(
            "{state}, speed {} | space {again}, + faster, - slower, n next statement, q quits",
            (self.speed * 1000.0).round() / 1000.0
        );
        words.chars().take(columns).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_are_those_of_the_session_within_a_bound() {
        for (between, speed, expected) in [
            (Duration::ZERO, 0.001, 0),
            (SECOND, 1.0, 1000),
            (3 * SECOND, 1.0, 2000),
            (3 * SECOND, 4.0, 750),
            (3 * SECOND, 0.001, 2000),
            (Duration::MAX, FASTEST, 2000),
        ] {
            let mut player = Player::new(speed, 2 * SECOND);
            player.coming(between, false);
            let wait = player.wait().unwrap();
            assert_eq!(wait.as_millis(), expected, "{between:?} at {speed}");
        }
    }

    #[test]
    fn what_was_waited_counts_when_the_speed_changes() {
        let mut player = Player::new(1.0, 60 * SECOND);
        player.coming(10 * SECOND, false);
        player.passed(4 * SECOND);
        assert!(player.press(Key::Faster));
        assert_eq!(player.wait(), Some(3 * SECOND));
        player.passed(SECOND);
        assert!(player.press(Key::Slower) && player.press(Key::Slower));
        assert_eq!(player.wait(), Some(8 * SECOND));
        for _ in 0..100 {
            assert!(player.press(Key::Slower));
        }
        assert!(player.status(80).contains("speed 0.001"), "{}", player.status(80));
        for _ in 0..100 {
            assert!(player.press(Key::Faster));
        }
        assert!(player.status(80).contains("speed 1000000"), "{}", player.status(80));
    }

    #[test]
    fn a_held_replay_waits_for_a_key_and_goes_to_the_next_statement_by_one() {
        let mut player = Player::new(1.0, 60 * SECOND);
        player.coming(SECOND, false);
        assert!(player.press(Key::Hold));
        assert_eq!(player.wait(), None);
        player.passed(100 * SECOND);
        assert!(player.press(Key::Next));
        // What stands before the statement, and the statement itself, come at once; then it is held again.
        player.coming(SECOND, false);
        assert_eq!(player.wait(), Some(Duration::ZERO));
        player.coming(SECOND, true);
        assert_eq!(player.wait(), Some(Duration::ZERO));
        player.coming(SECOND, false);
        assert_eq!(player.wait(), None);
        // One that is a statement itself is the next one.
        player.coming(SECOND, true);
        assert!(player.press(Key::Next));
        assert_eq!(player.wait(), Some(Duration::ZERO));
        player.coming(SECOND, true);
        assert_eq!(player.wait(), None);
        assert!(player.press(Key::Hold));
        assert_eq!(player.wait(), Some(SECOND));
        assert!(!player.press(Key::Quit));
    }

    #[test]
    fn the_status_never_breaks_its_line() {
        let player = Player::new(1.0, SECOND);
        for columns in [0, 1, 20, 500] {
            assert!(player.status(columns).chars().count() <= columns);
        }
        for byte in 0..=u8::MAX {
            assert_eq!(Key::of(byte).is_some(), b" +=-_nNqQ".contains(&byte), "{byte}");
        }
    }
}
