//! `/proc/lockdep`: which lock was ever taken while another one was held.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};

/// Where the kernel tells it.
pub const PATH: &str = "/proc/lockdep";

/// All pairs of lock classes of which the second was taken while the first was held, and no other lock in
/// between.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dependencies(BTreeSet<(String, String)>);

impl Dependencies {
    /// What the kernel has seen until now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read() -> Result<Self> {
        Ok(Self::parse(&fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?))
    }

    fn parse(text: &str) -> Self {
        let mut pairs = BTreeSet::new();
        let mut outer = None;
        for line in text.lines() {
            if let Some((_, inner)) = line.strip_prefix(" -> ").and_then(|rest| rest.split_once("] ")) {
                pairs.extend(outer.map(|outer: &str| (outer.to_owned(), inner.to_owned())));
            } else {
                outer = line.rsplit_once(": ").map(|(_, name)| name);
            }
        }
        Self(pairs)
    }

    /// Each pair, the outer lock first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(outer, inner)| (outer.as_str(), inner.as_str()))
    }
}

impl<'name> FromIterator<(&'name str, &'name str)> for Dependencies {
    fn from_iter<T: IntoIterator<Item = (&'name str, &'name str)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(outer, inner)| (outer.to_owned(), inner.to_owned())).collect())
    }
}

/// The name of a lock without what tells its classes apart: the number that a name used more than once gets, and
/// the subclass.
pub fn base_name(class: &str) -> &str {
    let without = |name, mark| match str::rsplit_once(name, mark) {
        Some((base, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => name,
    };
    without(without(class, '/'), '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_from_the_kernels_list() {
        let text = "all lock classes:\n\
                    ffffffff82580700 FD:   23 BD:    1 +.+.: loop_ctl_mutex\n\
                    \n\
                    ffffffff8424b620 FD:   56 BD:    4 +.+.: &disk->open_mutex\n \
                    -> [ffffffff8424b640] &lo->lo_mutex\n \
                    -> [ffffffff8424b660] lock#3\n\
                    \n";
        let pairs = Dependencies::parse(text);
        assert_eq!(
            pairs.iter().collect::<Vec<_>>(),
            [("&disk->open_mutex", "&lo->lo_mutex"), ("&disk->open_mutex", "lock#3")]
        );
    }

    #[test]
    fn classes_of_one_lock_have_one_base_name() {
        for (class, base) in [
            ("&sb->s_type->i_mutex_key#10/1", "&sb->s_type->i_mutex_key"),
            ("&type->s_umount_key#21", "&type->s_umount_key"),
            ("&lo->lo_mutex", "&lo->lo_mutex"),
            ("loopfs_instance::limit", "loopfs_instance::limit"),
        ] {
            assert_eq!(base_name(class), base);
        }
    }
}
