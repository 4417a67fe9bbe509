//! Operands between guard pages: a kernel that reads or writes one element too far on the flush side
//! faults at once, and one that writes too far on the other side is caught when the buffer goes.
//!
//! Mappings are kept and used again, because a conformance run asks for hundreds of thousands of
//! buffers. An arena belongs to one thread. It never times anything.

use kiln_kernels::conformance::{Arena, Flush};
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Bytes beside a buffer, on the side that no guard page touches, that must survive.
const MARGIN: usize = 256;
/// What they hold.
const CANARY: u8 = 0xa5;

/// Hands out buffers that end, or begin, at a page which must not be touched.
#[derive(Clone, Default)]
pub struct Guarded {
    free: Rc<RefCell<HashMap<usize, Vec<Mapping>>>>,
}

/// Whole pages with a forbidden page on either end.
struct Mapping {
    base: *mut u8,
    /// Usable bytes between the forbidden pages.
    len: usize,
    page: usize,
}

impl Mapping {
    /// Maps `len` usable bytes (a multiple of the page size).
    fn new(len: usize, page: usize) -> std::io::Result<Mapping> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        let whole = len + 2 * page;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
        let mapping = Mapping { base: base.cast(), len, page };
        for end in [0, page + len] {
            // SAFETY: both pages lie in the mapping just made, which nobody else knows of yet.
            unsafe { mprotect(base.byte_add(end), page, MprotectFlags::empty())? };
        }
        Ok(mapping)
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the first usable byte is one page into a mapping of at least two pages.
        unsafe { self.base.add(self.page) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping that `new` made; every buffer in it is gone,
        // because a buffer owns its mapping until it gives it back. A failure leaves it mapped: harmless.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len + 2 * self.page) };
    }
}

/// Elements beside a forbidden page; it verifies its other side when dropped.
pub struct Buffer<T> {
    /// Always there until the drop.
    mapping: Option<Mapping>,
    offset: usize,
    len: usize,
    home: Rc<RefCell<HashMap<usize, Vec<Mapping>>>>,
    elements: PhantomData<T>,
}

impl<T> Buffer<T> {
    fn first(&self) -> *mut T {
        match &self.mapping {
            // SAFETY: `buffer` chose the offset so that all elements lie inside the usable bytes.
            Some(mapping) => unsafe { mapping.start().add(self.offset).cast() },
            None => std::ptr::dangling_mut(),
        }
    }
}

/// The bytes beside a buffer, inside its mapping, that hold the canary.
fn margins(mapping: &Mapping, offset: usize, bytes: usize) -> [(usize, usize); 2] {
    let end = offset + bytes;
    [(offset.saturating_sub(MARGIN), offset), (end, (end + MARGIN).min(mapping.len))]
}

impl Arena for Guarded {
    type Buffer<T: Copy + 'static> = Buffer<T>;

    fn buffer<T: Copy + 'static>(&self, len: usize, fill: T, flush: Flush) -> Buffer<T> {
        let page = rustix::param::page_size();
        let bytes = len * size_of::<T>();
        let usable = bytes.max(1).next_multiple_of(page);
        let reused = self.free.borrow_mut().get_mut(&usable).and_then(Vec::pop);
        let mapping = match reused.map_or_else(|| Mapping::new(usable, page), Ok) {
            Ok(mapping) => mapping,
            Err(error) => panic!("cannot map {usable} bytes for an operand: {error}"),
        };
        let offset = match flush {
            Flush::Start => 0,
            Flush::End => usable - bytes,
        };
        assert!(offset.is_multiple_of(align_of::<T>()), "elements would not be aligned");
        for (from, to) in margins(&mapping, offset, bytes) {
            // SAFETY: `margins` stays inside the usable bytes, which only this function refers to now.
            unsafe { mapping.start().add(from).write_bytes(CANARY, to - from) };
        }
        let buffer = Buffer::<T> { mapping: Some(mapping), offset, len, home: self.free.clone(), elements: PhantomData };
        let first = buffer.first();
        for i in 0..len {
            // SAFETY: element i is inside the buffer, aligned by the assertion above; writing needs no
            // initialised value there.
            unsafe { first.add(i).write(fill) };
        }
        buffer
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `buffer` initialised these elements, and they live as long as `self` owns the mapping.
        unsafe { std::slice::from_raw_parts(self.first(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; `&mut self` makes it the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.first(), self.len) }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        let intact = margins(&mapping, self.offset, self.len * size_of::<T>()).into_iter().all(|(from, to)| {
            // SAFETY: these bytes are inside the mapping, and `buffer` initialised them.
            unsafe { std::slice::from_raw_parts(mapping.start().add(from), to - from) }.iter().all(|b| *b == CANARY)
        });
        self.home.borrow_mut().entry(mapping.len).or_default().push(mapping);
        // A second panic would abort the process and hide the first.
        if !std::thread::panicking() {
            assert!(intact, "wrote outside of a buffer of {} elements", self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_what_was_asked_for_and_are_used_again() {
        let arena = Guarded::default();
        for flush in [Flush::Start, Flush::End] {
            for len in [0, 1, 7, 1023, 1024, 1025, 5000] {
                let mut b = arena.buffer(len, 1.5f32, flush);
                assert!(b.len() == len && b.iter().all(|x| *x == 1.5));
                b.fill(2.0);
            }
        }
        // One mapping of one, two and five pages each, whatever was asked for in between.
        assert!(arena.free.borrow().values().all(|kept| kept.len() == 1));
    }

    #[test]
    fn the_flush_side_lies_against_the_forbidden_page() {
        let arena = Guarded::default();
        let page = rustix::param::page_size();
        let end = arena.buffer(3, 0u16, Flush::End);
        assert_eq!((end.as_ptr() as usize + 6) % page, 0);
        let start = arena.buffer(3, 0u16, Flush::Start);
        assert_eq!(start.as_ptr() as usize % page, 0);
    }

    #[test]
    fn a_write_beside_a_buffer_is_noticed() {
        let result = std::panic::catch_unwind(|| {
            let arena = Guarded::default();
            let mut b = arena.buffer(4, 0u8, Flush::Start);
            let past = b.as_mut_ptr().wrapping_add(4);
            // SAFETY: four bytes into a page of our own, where the canary lies: the very mistake to notice.
            unsafe { past.write(0) };
        });
        assert!(result.is_err());
    }
}
