//! Where documents go: stdout, a file, or a folder with a file each. A file has its name only when it is whole.

use crate::store;
use anyhow::{Context, ensure};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// Files that are open at a time.
const OPEN: usize = 64;

/// Where a command is told to write.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// On stdout.
    Stdout,
    /// Into a file.
    File(&'a Path),
    /// Into a folder, a file for each document.
    Folder(&'a Path),
}

/// A file that is being written.
struct Growing {
    path: PathBuf,
    /// Where it grows until it is whole; `None`: it is a device, which has no other place.
    temporary: Option<TempPath>,
    open: Option<BufWriter<File>>,
}

impl Growing {
    /// Begins it.
    fn new(path: &Path, not: &Path) -> anyhow::Result<Growing> {
        ensure!(!path.is_dir(), "{} is a folder: --out wants a file", path.display());
        ensure!(!store::is_same(path, not), "{} is the store that is read: give another file", path.display());
        let cannot = || format!("cannot write {}", path.display());
        if path.exists() && !path.is_file() {
            let file = OpenOptions::new().write(true).open(path).with_context(cannot)?;
            return Ok(Growing { path: path.into(), temporary: None, open: Some(BufWriter::new(file)) });
        }
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let all_may_read = Permissions::from_mode(0o666);
        let temporary = tempfile::Builder::new().prefix(".kiln-").permissions(all_may_read).tempfile_in(folder).with_context(cannot)?;
        let (file, temporary) = NamedTempFile::into_parts(temporary);
        Ok(Growing { path: path.into(), temporary: Some(temporary), open: Some(BufWriter::new(file)) })
    }

    fn writer(&mut self) -> anyhow::Result<&mut BufWriter<File>> {
        if self.open.is_none() {
            let from = self.temporary.as_deref().unwrap_or(&self.path);
            let file = OpenOptions::new().append(true).open(from).with_context(|| format!("cannot write {}", self.path.display()))?;
            self.open = Some(BufWriter::new(file));
        }
        self.open.as_mut().context("a file that was just opened")
    }

    /// Leaves it until it is written to again.
    fn close(&mut self) -> anyhow::Result<()> {
        let flushed = self.open.take().map_or(Ok(()), |mut open| open.flush());
        flushed.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// It is whole, and gets its name.
    fn end(mut self) -> anyhow::Result<PathBuf> {
        self.close()?;
        if let Some(temporary) = self.temporary.take() {
            temporary.persist(&self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        }
        Ok(self.path)
    }
}

/// Documents, by their numbers.
pub struct Documents {
    to: To,
}

enum To {
    Stdout(BufWriter<std::io::Stdout>),
    Files(Vec<Growing>),
}

impl Documents {
    /// One for each name; on stdout or in a file there can be one only. `not` is a file that none may be.
    ///
    /// # Errors
    /// If they cannot be written there.
    pub fn begin(place: Place, names: &[String], not: &Path) -> anyhow::Result<Documents> {
        let to = match place {
            Place::Stdout => To::Stdout(BufWriter::new(std::io::stdout())),
            Place::File(path) => To::Files(vec![Growing::new(path, not)?]),
            Place::Folder(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
                let mut files = Vec::new();
                for name in names {
                    let mut file = Growing::new(&folder.join(name), not)?;
                    file.close()?;
                    files.push(file);
                }
                To::Files(files)
            }
        };
        Ok(Documents { to })
    }

    /// Where a document is written.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn writer(&mut self, number: usize) -> anyhow::Result<&mut (dyn Write + Send)> {
        match &mut self.to {
            To::Stdout(out) => Ok(out),
            To::Files(files) => {
                if files[number].open.is_none() && files.iter().filter(|f| f.open.is_some()).count() >= OPEN {
                    files.iter_mut().try_for_each(Growing::close)?;
                }
                Ok(files[number].writer()?)
            }
        }
    }

    /// All are whole: the files that there are now.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn end(self) -> anyhow::Result<Vec<PathBuf>> {
        match self.to {
            To::Stdout(mut out) => {
                out.flush()?;
                Ok(Vec::new())
            }
            To::Files(files) => files.into_iter().map(Growing::end).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_documents_than_may_be_open_are_each_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let names: Vec<String> = (0..OPEN * 2 + 3).map(|i| format!("{i}.json")).collect();
        let mut documents = Documents::begin(Place::Folder(dir.path()), &names, Path::new("none")).expect("begun");
        for round in 0..3 {
            for number in 0..names.len() {
                write!(documents.writer(number).expect("a writer"), "{number}/{round} ").expect("written");
            }
        }
        assert!(names.iter().all(|name| !dir.path().join(name).exists()), "a file has its name before it is whole");
        documents.end().expect("written");
        for (number, name) in names.iter().enumerate() {
            let text = std::fs::read_to_string(dir.path().join(name)).expect("a file");
            assert_eq!(text, format!("{number}/0 {number}/1 {number}/2 "));
        }
    }

    #[test]
    fn what_was_begun_and_not_ended_leaves_what_was_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out.csv");
        std::fs::write(&path, "before").expect("written");
        let mut documents = Documents::begin(Place::File(&path), &[], Path::new("none")).expect("begun");
        write!(documents.writer(0).expect("a writer"), "half").expect("written");
        drop(documents);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "before");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1, "a half file was left");
    }
}
