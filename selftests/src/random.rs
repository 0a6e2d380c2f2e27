//! Small random numbers for storms, from a seed that is told, so that a storm can be told apart from
//! another one. They choose an order of acts; nothing depends on their quality.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// One whose seed comes from the clock; the seed is printed.
    pub fn new() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let seed = u64::from(nanos) | 1;
        println!("seed {seed}");
        Self { state: seed }
    }

    /// One for the worker `index`, that goes another way than this one.
    pub fn fork(&self, index: u64) -> Self {
        let mut forked = Self { state: self.state ^ (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
        forked.below(2);
        forked
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let mixed = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(mixed).unwrap_or(0) % bound
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_the_bound_and_differ() {
        let mut random = Random::new();
        let numbers: Vec<u32> = (0..100).map(|_| random.below(10)).collect();
        assert!(numbers.iter().all(|&number| number < 10));
        assert!(numbers.iter().any(|&number| number != numbers[0]));
    }

    #[test]
    fn forks_go_different_ways() {
        let random = Random::new();
        let mut first = random.fork(0);
        let mut second = random.fork(1);
        let pairs: Vec<_> = (0..20).map(|_| (first.below(1000), second.below(1000))).collect();
        assert!(pairs.iter().any(|(a, b)| a != b));
    }
}
