//! Statements over time by what became of them, in so few steps that a picture of them stays small.

use guard_core::Timestamp;

use super::Fate;

/// Steps of a plot at most.
const MAX_STEPS: usize = 120;

/// How many statements there were in each step of time.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    from: Option<Timestamp>,
    /// The last moment that was heard of.
    to: Option<Timestamp>,
    /// Length of a step in milliseconds.
    step: i64,
    steps: Vec<[u64; Fate::ALL.len()]>,
}

impl Plot {
    /// Counts a statement. One from before the beginning counts in the first step.
    pub fn add(&mut self, at: Timestamp, fate: Fate) {
        self.reach(at);
        let index = self.index(at);
        if let Some(count) = self.steps.get_mut(index).and_then(|step| step.get_mut(fate as usize))
        {
            *count += 1;
        }
    }

    /// Makes room up to a moment: the first one is where the plot begins.
    pub fn reach(&mut self, at: Timestamp) {
        if self.from.is_none() {
            self.from = Some(at);
            self.step = 100;
        }
        self.to = self.to.max(Some(at));
        while self.index(at) >= MAX_STEPS {
            self.halve();
        }
        let needed = self.index(at) + 1;
        if self.steps.len() < needed {
            self.steps.resize(needed, [0; Fate::ALL.len()]);
        }
    }

    /// The counts of each step, in the order of [`Fate::ALL`].
    pub fn steps(&self) -> &[[u64; Fate::ALL.len()]] {
        &self.steps
    }

    /// Length of a step in milliseconds.
    pub const fn step(&self) -> i64 {
        self.step
    }

    /// From when to when it is.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.from.zip(self.to)
    }

    fn index(&self, at: Timestamp) -> usize {
        let Some(from) = self.from else { return 0 };
        let since = at.as_millisecond().saturating_sub(from.as_millisecond()).max(0);
        usize::try_from(since / self.step.max(1)).unwrap_or(usize::MAX)
    }

    /// Makes one step of each two.
    fn halve(&mut self) {
        self.step = self.step.saturating_mul(2);
        let mut halved = Vec::with_capacity(self.steps.len() / 2 + 1);
        for pair in self.steps.chunks(2) {
            let mut sum = [0; Fate::ALL.len()];
            for step in pair {
                for (total, more) in sum.iter_mut().zip(step) {
                    *total += more;
                }
            }
            halved.push(sum);
        }
        self.steps = halved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_stays_small_and_loses_nothing() {
        let mut plot = Plot::default();
        for second in 0..100_000_i64 {
            let at = Timestamp::from_second(second * 7).unwrap();
            plot.add(at, if second % 10 == 0 { Fate::Refused } else { Fate::Allowed });
        }
        assert!(plot.steps().len() <= MAX_STEPS);
        let total = |fate: Fate| plot.steps().iter().map(|step| step[fate as usize]).sum::<u64>();
        assert_eq!((total(Fate::Allowed), total(Fate::Refused)), (90_000, 10_000));
        assert_eq!(
            plot.span().map(|(from, to)| (from.as_second(), to.as_second())),
            Some((0, 699_993))
        );
    }
}
