// SPDX-License-Identifier: GPL-2.0

//! The names that device nodes have and may be renamed to.
//!
//! This module does not depend on kernel types.

/// The name of the control node.
pub(crate) const CONTROL: &[u8] = b"loop-control";

/// What the names of devices begin with.
const PREFIX: &[u8] = b"loop";

/// What a reserved name is reserved for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserved {
    /// `loop-control` and what begins with it.
    Control,
    /// The device with this index. One with more digits than any index has is reserved too.
    Device(Option<u32>),
    /// A partition of some device.
    Partition,
}

/// Splits `name` into the decimal digits it begins with, and the rest.
fn split_digits(name: &[u8]) -> (&[u8], &[u8]) {
    let len = name.iter().take_while(|c| c.is_ascii_digit()).count();
    name.split_at(len)
}

/// Returns the number that `digits` stand for, or `None` if they are none or too many.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, digit| {
        number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    })
}

/// Returns what `name` is reserved for, if it is.
fn reserved(name: &[u8]) -> Option<Reserved> {
    if name.starts_with(CONTROL) {
        return Some(Reserved::Control);
    }
    let (index, rest) = split_digits(name.strip_prefix(PREFIX)?);
    if index.is_empty() {
        return None;
    }
    if rest.is_empty() {
        // `loop07` is the name of no device.
        let canonical = index.len() == 1 || index[0] != b'0';
        return Some(Reserved::Device(number(index).filter(|_| canonical)));
    }
    let (part, rest) = split_digits(rest.strip_prefix(b"p")?);
    (!part.is_empty() && rest.is_empty()).then_some(Reserved::Partition)
}

/// Whether the node of the device with the index `index` may be renamed to `name`.
///
/// Names that belong to another device or a partition, now or in future, are refused, so that no
/// device can be blocked.
pub(crate) fn may_have(index: u32, name: &[u8]) -> bool {
    match reserved(name) {
        None => true,
        Some(Reserved::Device(device)) => device == Some(index),
        Some(Reserved::Control | Reserved::Partition) => false,
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_LOOPFS_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(loopfs_name))]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_have_its_own_name() {
        assert!(may_have(0, b"loop0"));
        assert!(may_have(17, b"loop17"));
        assert!(may_have(4294967295, b"loop4294967295"));
    }

    #[test]
    fn a_device_may_not_have_the_name_of_another() {
        assert!(!may_have(17, b"loop1"));
        assert!(!may_have(1, b"loop17"));
        assert!(!may_have(0, b"loop4294967295"));
        assert!(!may_have(0, b"loop4294967296"));
        assert!(!may_have(0, b"loop99999999999999999999"));
    }

    #[test]
    fn a_number_with_leading_zeros_is_nobodys() {
        assert!(!may_have(7, b"loop07"));
        assert!(!may_have(0, b"loop00"));
    }

    #[test]
    fn no_device_may_have_the_name_of_a_partition() {
        assert!(!may_have(1, b"loop1p1"));
        assert!(!may_have(2, b"loop1p128"));
    }

    #[test]
    fn no_device_may_look_like_the_control_node() {
        assert!(!may_have(1, b"loop-control"));
        assert!(!may_have(1, b"loop-control2"));
    }

    #[test]
    fn other_names_are_free() {
        assert!(may_have(1, b"root"));
        assert!(may_have(1, b"loop"));
        assert!(may_have(1, b"loopy"));
        assert!(may_have(1, b"loop1p"));
        assert!(may_have(1, b"loop1q1"));
        assert!(may_have(1, b"loop1p1x"));
        assert!(may_have(1, b"Loop1"));
        assert!(may_have(1, b"loop 1"));
    }
}
