//! One measurement at a time on a machine: two that share it would measure each other.
//!
//! The lock is the system's, on a file that all users of the machine see; it ends with the process that holds it, however
//! that ends.

use anyhow::Context;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it lets go")] File);

/// Takes hold of the machine, as soon as no other process does; `waiting` is told once when that takes a while.
///
/// # Errors
/// If there can be no lock.
pub fn machine(waiting: impl FnOnce(&str)) -> anyhow::Result<Lock> {
    at(&std::env::temp_dir().join("kiln.lock"), waiting)
}

fn at(path: &Path, waiting: impl FnOnce(&str)) -> anyhow::Result<Lock> {
    let cannot = || format!("cannot lock the machine by {}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o666);
    // Another user's file can be locked without being written to.
    let file = options.open(path).or_else(|_| File::open(path)).with_context(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            let holder = holder.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
            waiting(&format!("another measurement runs on this machine{holder}; this one waits for its end"));
            file.lock().with_context(cannot)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
    }
    // For whoever comes next; of no other use.
    let _ = (&file).rewind();
    let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_machine_and_the_other_is_told_who_and_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = &folder.path().join("lock");
        let held = at(path, |_| panic!("nobody holds it")).expect("a lock");
        let (told, waits) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let other = scope.spawn(move || at(path, |note| told.send(note.to_owned()).expect("heard")).expect("a lock"));
            let note = waits.recv().expect("a note");
            assert!(note.contains(&format!("process {}", std::process::id())), "{note}");
            assert!(!other.is_finished());
            drop(held);
            other.join().expect("it has the machine");
        });
    }
}
