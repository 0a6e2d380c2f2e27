//! Memory that direct I/O takes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

const ALIGNMENT: usize = 4096;

/// Zero bytes at an address that is a multiple of a page.
#[derive(Debug)]
pub struct Aligned {
    start: *mut u8,
    layout: Layout,
}

impl Aligned {
    /// `length` bytes.
    ///
    /// # Panics
    ///
    /// When `length` is 0.
    pub fn new(length: usize) -> Self {
        assert!(length > 0, "nothing has no address");
        let layout = Layout::from_size_align(length, ALIGNMENT).expect("a sane length");
        // SAFETY: The layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, layout }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: The memory is ours, initialised, and as long.
        unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: The memory is ours, initialised, as long, and borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }
}

// SAFETY: It owns its memory like a Box.
unsafe impl Send for Aligned {}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: The memory was allocated with this layout.
        unsafe { dealloc(self.start, self.layout) }
    }
}
