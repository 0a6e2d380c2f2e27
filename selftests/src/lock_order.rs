//! The order of locks that `drivers/block/loopfs/private.c` writes down, in a form that can be held against what
//! lockdep has seen. A test of this crate holds it against the comment.

use std::collections::BTreeSet;

use crate::lockdep::{Dependencies, base_name};

/// A lock, as the comment calls it and as lockdep does.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Its name in the comment.
    pub name: &'static str,
    /// The name that all its classes have in lockdep, see [`base_name`].
    class: &'static str,
    /// The comment says that nothing is taken below it.
    is_innermost: bool,
}

impl Lock {
    const fn new(name: &'static str, class: &'static str) -> Self {
        Self { name, class, is_innermost: false }
    }

    const fn innermost(mut self) -> Self {
        self.is_innermost = true;
        self
    }
}

const S_UMOUNT: &str = "&type->s_umount_key";
const I_RWSEM: &str = "&sb->s_type->i_mutex_key";
const DEVICES: &str = "loopfs_instance::devices";
const LIMIT: &str = "loopfs_instance::limit";
const OPEN_MUTEX: &str = "&disk->open_mutex";
const VALIDATE_MUTEX: &str = "loop_validate_mutex";
const GFP_MUTEX: &str = "loop_gfp_mutex";
const LO_MUTEX: &str = "&lo->lo_mutex";

/// The locks of the comment, in its order: the outermost first.
pub const LOCKS: [Lock; 8] = [
    Lock::new("s_umount", S_UMOUNT),
    Lock::new("i_rwsem", I_RWSEM),
    Lock::new("Instance::devices", DEVICES).innermost(),
    Lock::new("Quota::limit", LIMIT).innermost(),
    Lock::new("disk->open_mutex", OPEN_MUTEX),
    Lock::new("lo->lo_mutex", LO_MUTEX),
    Lock::new("loop_validate_mutex", VALIDATE_MUTEX).innermost(),
    Lock::new("loop_gfp_mutex", GFP_MUTEX).innermost(),
];

/// What is taken directly below what, by the acts that the comment names.
const TAKEN: [(&str, &str, &str); 7] = [
    (S_UMOUNT, I_RWSEM, "mount makes the control node"),
    (S_UMOUNT, LIMIT, "remount changes max="),
    (I_RWSEM, DEVICES, "a node comes or goes"),
    (I_RWSEM, LO_MUTEX, "unlink"),
    (OPEN_MUTEX, LO_MUTEX, "last close and shutdown"),
    (LO_MUTEX, VALIDATE_MUTEX, "a device is bound"),
    (LO_MUTEX, GFP_MUTEX, "a device is bound to a file that it may write to"),
];

/// What `seen` has otherwise than the comment, or not at all.
pub fn differences(seen: &Dependencies) -> Vec<String> {
    let position = |class: &str| LOCKS.iter().position(|lock| lock.class == base_name(class));
    // Superblocks and inodes of all file systems have locks of these names: those of an instance are known by what is
    // taken below them.
    let above = |inner: &dyn Fn(&str) -> bool, base: &str| -> BTreeSet<&str> {
        let classes = seen.iter().filter(|(outer, taken)| base_name(outer) == base && inner(taken));
        classes.map(|(outer, _)| outer).collect()
    };
    let inodes = above(&|taken| taken == DEVICES, I_RWSEM);
    let superblocks = above(&|taken| taken == LIMIT || inodes.contains(taken), S_UMOUNT);
    let is_ours = |class: &str| match base_name(class) {
        S_UMOUNT => superblocks.contains(class),
        I_RWSEM => inodes.contains(class),
        _ => position(class).is_some(),
    };

    let mut differences = Vec::new();
    for (outer, inner, when) in TAKEN {
        let taken = seen.iter().any(|(held, taken)| {
            base_name(held) == outer && is_ours(held) && base_name(taken) == inner && is_ours(taken)
        });
        if !taken {
            differences.push(format!("{inner} was never taken below {outer}: {when}"));
        }
    }
    for (held, taken) in seen.iter().filter(|(held, _)| is_ours(held)) {
        let (Some(outer), Some(inner)) = (position(held), position(taken)) else { continue };
        // The inode of a backing file is locked by who does I/O to it, below the locks of the device.
        if base_name(taken) == I_RWSEM && !inodes.contains(taken) {
            continue;
        }
        let nested = base_name(held) == base_name(taken);
        if LOCKS[outer].is_innermost || (inner < outer && !nested) {
            differences.push(format!("{taken} was taken below {held}"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lockdep sees of a kernel that keeps to the comment, and of other file systems.
    const GOOD: &[(&str, &str)] = &[
        ("&type->s_umount_key#21/1", "&sb->s_type->i_mutex_key#10/1"),
        ("&type->s_umount_key#22", "loopfs_instance::limit"),
        ("&sb->s_type->i_mutex_key#10/1", "loopfs_instance::devices"),
        ("&sb->s_type->i_mutex_key#10/1", "&sb->s_type->i_mutex_key#12"),
        ("&sb->s_type->i_mutex_key#12", "loopfs_instance::devices"),
        ("&sb->s_type->i_mutex_key#12", "&lo->lo_mutex"),
        ("&disk->open_mutex", "&lo->lo_mutex"),
        ("&disk->open_mutex", "&root->kernfs_rwsem"),
        ("&lo->lo_mutex", "&sb->s_type->i_mutex_key#16"),
        ("&lo->lo_mutex", "loop_validate_mutex"),
        ("&lo->lo_mutex", "loop_gfp_mutex"),
        // ext4 closes a device while it is unmounted, and has an inode that is locked before it.
        ("&type->s_umount_key#27", "&disk->open_mutex"),
        ("&sb->s_type->i_mutex_key#7", "&type->s_umount_key#27"),
    ];

    fn with(more: &[(&str, &str)]) -> Vec<String> {
        differences(&GOOD.iter().chain(more).copied().collect())
    }

    #[test]
    fn the_documented_order_is_no_difference() {
        assert_eq!(with(&[]), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_was_never_seen_is_told() {
        let seen = GOOD.iter().copied().filter(|(_, taken)| *taken != "loopfs_instance::limit").collect();
        assert_eq!(
            differences(&seen),
            ["loopfs_instance::limit was never taken below &type->s_umount_key: remount changes max="]
        );
    }

    #[test]
    fn a_lock_taken_the_other_way_round_is_told() {
        for pair in [
            ("&lo->lo_mutex", "&disk->open_mutex"),
            ("&lo->lo_mutex", "&sb->s_type->i_mutex_key#12"),
            ("&disk->open_mutex", "&type->s_umount_key#27"),
            ("loopfs_instance::limit", "loopfs_instance::devices"),
            ("loop_validate_mutex", "&lo->lo_mutex"),
        ] {
            assert_eq!(with(&[pair]), [format!("{} was taken below {}", pair.1, pair.0)]);
        }
    }
}
