// SPDX-License-Identifier: GPL-2.0

//! How many devices an instance has, and may have.
//!
//! This module does not depend on kernel types.

/// A count with a limit that can change.
pub(crate) struct Limit {
    max: Option<u32>,
    count: u32,
}

impl Limit {
    /// Creates a zero count, limited to `max` if given.
    pub(crate) const fn new(max: Option<u32>) -> Self {
        Self { max, count: 0 }
    }

    /// Returns the limit.
    pub(crate) const fn max(&self) -> Option<u32> {
        self.max
    }

    /// Changes the limit. A count that is above it now is left as it is, but does not grow.
    pub(crate) fn set_max(&mut self, max: u32) {
        self.max = Some(max);
    }

    /// Counts one more, if the limit allows. Returns whether it does.
    #[must_use]
    pub(crate) fn take(&mut self) -> bool {
        if self.max.is_some_and(|max| self.count >= max) {
            return false;
        }
        let Some(count) = self.count.checked_add(1) else {
            return false;
        };
        self.count = count;
        true
    }

    /// Counts one less, of those that [`take`](Self::take) counted. Returns whether there was one;
    /// if not, the caller has given one back twice.
    #[must_use]
    pub(crate) fn give_back(&mut self) -> bool {
        let Some(count) = self.count.checked_sub(1) else {
            return false;
        };
        self.count = count;
        true
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_LOOPFS_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(loopfs_limit))]
mod tests {
    use super::*;

    #[test]
    fn no_limit_allows_any_number() {
        let mut limit = Limit::new(None);
        for _ in 0..1000 {
            assert!(limit.take());
        }
    }

    #[test]
    fn a_limit_of_zero_allows_none() {
        assert!(!Limit::new(Some(0)).take());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let mut limit = Limit::new(Some(2));
        assert!(limit.take());
        assert!(limit.take());
        assert!(!limit.take());
        assert!(limit.give_back());
        assert!(limit.take());
        assert!(!limit.take());
    }

    #[test]
    fn a_refused_take_does_not_count() {
        let mut limit = Limit::new(Some(1));
        assert!(limit.take());
        assert!(!limit.take());
        assert!(limit.give_back());
        assert!(limit.take());
    }

    #[test]
    fn no_more_can_be_given_back_than_was_taken() {
        let mut limit = Limit::new(Some(1));
        assert!(!limit.give_back());
        assert!(limit.take());
        assert!(limit.give_back());
        assert!(!limit.give_back());
        assert!(limit.take());
        assert!(!limit.take());
    }

    #[test]
    fn a_limit_below_the_count_only_stops_new_ones() {
        let mut limit = Limit::new(None);
        for _ in 0..3 {
            assert!(limit.take());
        }
        limit.set_max(1);
        assert!(!limit.take());
        assert!(limit.give_back());
        assert!(limit.give_back());
        assert!(!limit.take());
        assert!(limit.give_back());
        assert!(limit.take());
    }
}
