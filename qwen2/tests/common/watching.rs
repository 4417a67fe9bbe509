//! An allocator that remembers what was asked of it, for tests and fuzzers that say how much memory a file may make
//! its reader take. Threads are apart from each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts.
struct Watching;

thread_local! {
    /// The largest request.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are held; below 0 where another thread's were given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that were held at a time.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the notes beside it allocate nothing. What grows is
// counted as if it were moved, which is what the methods that are not given here do.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        HELD.set(HELD.get() + layout.size() as isize);
        PEAK.set(PEAK.get().max(HELD.get()));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller got `at` from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

/// Does `work`, which may hold at most `limit` bytes more at any time than were held before.
#[track_caller]
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    let taken = PEAK.get() - before;
    assert!(taken <= limit as isize, "{taken} bytes taken, {limit} allowed");
    result
}

/// Does `work`, which must fail because of a bad input of `len` bytes: the message must contain `part` in one line,
/// and no request for memory may be out of proportion.
#[track_caller]
pub fn refused<T>(len: usize, part: &str, work: impl FnOnce() -> Result<T, qwen2::Error>) {
    LARGEST.set(0);
    let Err(error) = work() else { panic!("loaded what should be refused as '{part}'") };
    let (error, largest) = (error.to_string(), LARGEST.get());
    assert!(error.contains(part), "'{error}' does not say '{part}'");
    assert!(!error.contains('\n'), "more than a line: {error}");
    assert!(largest <= 16 * len + (1 << 20), "{largest} bytes at once for a file of {len}");
}
