//! An allocator that remembers what was asked of it, for tests of how much memory a file can make its reader take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which remembers each thread's largest request.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the note beside it allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller got `at` from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

/// Does `work`, which must fail because of a bad input of `len` bytes: the message must contain `part` in one line,
/// and no request for memory may be out of proportion.
#[track_caller]
pub fn refused<T>(len: usize, part: &str, work: impl FnOnce() -> Result<T, qwen2::Error>) {
    LARGEST.with(|largest| largest.set(0));
    let Err(error) = work() else { panic!("loaded what should be refused as '{part}'") };
    let (error, largest) = (error.to_string(), LARGEST.with(Cell::get));
    assert!(error.contains(part), "'{error}' does not say '{part}'");
    assert!(!error.contains('\n'), "more than a line: {error}");
    assert!(largest <= 16 * len + (1 << 20), "{largest} bytes at once for a file of {len}");
}
