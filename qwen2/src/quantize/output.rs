//! Writing a file so that there is never half of it under its name: it grows beside it, under another, and takes the
//! name when it is whole. What is left of one that was given up is removed, unless the process was killed.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::Error;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// A file that will be called otherwise.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    force: bool,
    file: BufWriter<NamedTempFile>,
}

impl Output {
    /// A file that will lie at `path`, made from the file at `input`. One that is there is replaced only with `force`,
    /// and never if it is `input` itself, or no regular file.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is a file, [`Error::Write`] when none can be made there.
    pub fn create(path: &Path, input: &Path, force: bool) -> Result<Self, Error> {
        let refused = |why: &str| Err(Error::Usage(format!("'{}' {why}", path.display())));
        if let Ok(there) = path.metadata() {
            let is_input = input.metadata().is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()));
            if is_input {
                return refused("is the input; give the output another name");
            }
            if !there.is_file() {
                return refused("is there and is not a regular file; give a file name");
            }
            if !force {
                return refused("is there already; give --force to replace it");
            }
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".qwen2-")
            .suffix(".part")
            // As any other new file; the default is for secrets.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), force, file: BufWriter::with_capacity(BUFFER, file) })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`]; also when a file of this name has appeared meanwhile that was not to be replaced.
    pub fn keep(self) -> Result<(), Error> {
        let Self { path, force, file } = self;
        let keep = || -> io::Result<File> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            // What has the name must not be empty after a power cut.
            file.as_file().sync_all()?;
            Ok(if force { file.persist(&path)? } else { file.persist_noclobber(&path)? })
        };
        keep().map(drop).map_err(|source| Error::Write { path: path.clone(), source })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
