// SPDX-License-Identifier: GPL-2.0

//! Device numbers.
//!
//! C header: [`include/linux/kdev_t.h`](srctree/include/linux/kdev_t.h)

use crate::bindings;

/// A device number.
///
/// # Examples
///
/// ```
/// use kernel::fs::DevT;
///
/// const NULL: DevT = DevT::new(1, 3);
///
/// assert_eq!((NULL.major(), NULL.minor()), (1, 3));
/// assert_eq!(DevT::from_raw(NULL.into_raw()), NULL);
/// ```
///
/// A number out of range is refused, at compile time in a constant.
///
/// ```ignore,compile_fail,E0080
/// # use kernel::fs::DevT;
/// const OTHER_MAJOR: DevT = DevT::new(10, 1 << 20);
/// ```
#[doc(alias = "dev_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevT(bindings::dev_t);

impl DevT {
    const MINORMASK: u32 = (1 << bindings::MINORBITS) - 1;

    /// Combines a major and a minor number.
    ///
    /// # Panics
    ///
    /// If the major number has more than 12 bits or the minor number more than 20. A call in a
    /// constant does not compile then.
    #[doc(alias = "MKDEV")]
    pub const fn new(major: u32, minor: u32) -> Self {
        assert!(major < 1 << (u32::BITS - bindings::MINORBITS));
        assert!(minor <= Self::MINORMASK);
        Self((major << bindings::MINORBITS) | minor)
    }

    /// Creates a `DevT` from the raw C type.
    pub const fn from_raw(dev: bindings::dev_t) -> Self {
        Self(dev)
    }

    /// Turns this device number into the raw C type.
    pub const fn into_raw(self) -> bindings::dev_t {
        self.0
    }

    /// Returns the major number.
    #[doc(alias = "MAJOR")]
    pub const fn major(self) -> u32 {
        self.0 >> bindings::MINORBITS
    }

    /// Returns the minor number.
    #[doc(alias = "MINOR")]
    pub const fn minor(self) -> u32 {
        self.0 & Self::MINORMASK
    }
}
