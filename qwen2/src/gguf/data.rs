//! Where the bytes of tensors are: in a file, from which they are read when they are wanted, or in memory.
//! Nothing is kept: what was read is the reader's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The data section of a file.
#[derive(Debug)]
pub(super) struct Data {
    place: Place,
    /// Where it begins.
    start: usize,
}

#[derive(Debug)]
enum Place {
    File(File),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Data {
    /// What begins at byte `start` of a file.
    pub(super) fn in_file(file: File, start: usize) -> Self {
        Self { place: Place::File(file), start }
    }

    /// What begins at byte `start` of a part of the program.
    pub(super) fn in_program(bytes: &'static [u8], start: usize) -> Self {
        Self { place: Place::Static(bytes), start }
    }

    /// What begins at byte `start` of a file's content.
    pub(super) fn in_memory(bytes: Vec<u8>, start: usize) -> Self {
        Self { place: Place::Owned(bytes), start }
    }

    /// Reads bytes that are known to be there.
    ///
    /// # Errors
    /// What the system says; that the file has ended when it was shortened since it was opened.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        let start = self.start + offset;
        let bytes: &[u8] = match &self.place {
            Place::File(file) => return file.read_exact_at(out, start as u64),
            Place::Static(bytes) => bytes,
            Place::Owned(bytes) => bytes,
        };
        out.copy_from_slice(&bytes[start..][..out.len()]);
        Ok(())
    }
}
