//! Properties that hold for any input, which the kernel's own tests show only examples of.

use proptest::prelude::*;

use crate::{limit::Limit, name};

proptest! {
    /// SPEC U2: a node can always get back the name its device was made with.
    #[test]
    fn every_device_may_have_its_own_name(index: u32) {
        let own = format!("loop{index}");
        prop_assert!(name::may_have(index, own.as_bytes()));
    }

    /// SPEC U2: no rename can take a name from a device that may come.
    #[test]
    fn no_device_may_have_the_name_of_another(index: u32, other: u32) {
        prop_assume!(index != other);
        let foreign = format!("loop{other}");
        prop_assert!(!name::may_have(index, foreign.as_bytes()));
    }

    /// SPEC U2: nor from a partition, of another device or of its own.
    #[test]
    fn no_device_may_have_the_name_of_a_partition(index: u32, other: u32, part: u32) {
        let partition = format!("loop{other}p{part}");
        prop_assert!(!name::may_have(index, partition.as_bytes()));
    }

    /// SPEC U2: all that does not begin like a device or the control node is free to use.
    #[test]
    fn names_of_other_kinds_are_free(index: u32, name in "[a-km-z][a-z0-9._-]{0,40}") {
        prop_assert!(name::may_have(index, name.as_bytes()));
    }

    /// No sequence of bytes makes the rules panic: the kernel must not.
    #[test]
    fn any_name_gets_an_answer(index: u32, name: Vec<u8>) {
        let _ = name::may_have(index, &name);
        let _ = name::may_have(index, &[b"loop".as_slice(), &name].concat());
    }

    /// SPEC L2, L3: whatever happens, a count that was allowed to grow was below its limit, and the
    /// number given back can be taken again.
    #[test]
    fn a_limit_behaves_like_a_counter_beside_it(steps in prop::collection::vec(0..4u8, 0..200), max in 0..10u32) {
        let mut limit = Limit::new(None);
        let (mut count, mut bound) = (0u32, None);
        for step in steps {
            match step {
                0 | 1 => {
                    let allowed = bound.is_none_or(|bound| count < bound);
                    prop_assert_eq!(limit.take(), allowed);
                    count += u32::from(allowed);
                }
                2 if count > 0 => {
                    prop_assert!(limit.give_back());
                    count -= 1;
                }
                2 => {}
                _ => {
                    limit.set_max(max);
                    bound = Some(max);
                    prop_assert_eq!(limit.max(), Some(max));
                }
            }
        }
    }
}
