//! Where the bytes of tensors are: in a file, from which they are read when they are wanted, or in memory.
//! Nothing is kept: what was read is the reader's. Only regular files are opened, and nothing is believed of them here.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;

/// The data section of a file.
#[derive(Debug)]
pub(crate) struct Data {
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
    pub(crate) fn in_file(file: File, start: usize) -> Self {
        Self { place: Place::File(file), start }
    }

    /// What begins at byte `start` of a part of the program.
    pub(crate) fn in_program(bytes: &'static [u8], start: usize) -> Self {
        Self { place: Place::Static(bytes), start }
    }

    /// What begins at byte `start` of a file's content.
    pub(crate) fn in_memory(bytes: Vec<u8>, start: usize) -> Self {
        Self { place: Place::Owned(bytes), start }
    }

    /// Reads bytes that are known to be there.
    ///
    /// # Errors
    /// What the system says; that the file has ended when it was shortened since it was opened.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
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

/// Opens a regular file; the second value is its length in bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::NotAFile`] for a folder, a device or a pipe, which opening might wait for.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let is_file = |metadata: &std::fs::Metadata| if metadata.is_file() { Ok(()) } else { Err(Error::NotAFile(path.to_owned())) };
    is_file(&std::fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    // Asked again of what was opened, which may be another one by now.
    let metadata = file.metadata().map_err(io)?;
    is_file(&metadata)?;
    Ok((file, metadata.len()))
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`]; that it is longer.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let (file, len) = open_regular(path)?;
    let mut bytes = Vec::new();
    if len <= limit {
        bytes.reserve_exact(len as usize);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    // It may have grown since.
    if len.max(bytes.len() as u64) > limit {
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes, which no such file needs"))));
    }
    Ok(bytes)
}
