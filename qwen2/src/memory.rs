//! How much memory this process may still take, and whether what is asked for fits: said before it is allocated, with the
//! arithmetic, since a control group kills whoever exceeds its limit.
//!
//! It reads what the system tells and allocates nothing on anybody's behalf.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::Error;

/// Something to be allocated: what it is, and its bytes.
pub type Part<'a> = (&'a str, u64);

/// Where the room ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are left.
    pub bytes: u64,
    /// Whose limit that is.
    pub limit: String,
}

/// Bytes left to this process: of the machine's memory, or of a control group's that leaves less; `None` where the system
/// does not tell.
pub fn room() -> Option<Room> {
    room_at(Path::new("/"))
}

/// Checks that `parts` fit into what is left, all together.
///
/// # Errors
/// [`Error::TooLarge`] with the arithmetic. None where the system does not tell what is left.
pub fn check(parts: &[Part<'_>]) -> Result<(), Error> {
    room().map_or(Ok(()), |room| check_in(&room, parts))
}

fn check_in(room: &Room, parts: &[Part<'_>]) -> Result<(), Error> {
    let needed = parts.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if needed <= room.bytes {
        return Ok(());
    }
    let mut sum = String::new();
    for (what, bytes) in parts {
        let _ = write!(sum, "{}{what} {}", if sum.is_empty() { "" } else { " + " }, shown(*bytes));
    }
    Err(Error::TooLarge { sum, needed: shown(needed), room: shown(room.bytes), limit: room.limit.clone() })
}

/// Bytes in MiB.
fn shown(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// As [`room`], of a system whose files begin at `root`.
fn room_at(root: &Path) -> Option<Room> {
    let machine = available(&fs::read_to_string(root.join("proc/meminfo")).ok()?)?;
    let machine = Room { bytes: machine, limit: "this machine's memory".to_owned() };
    Some(groups(root).into_iter().fold(machine, |least, group| if group.bytes < least.bytes { group } else { least }))
}

/// What `/proc/meminfo` says is available without swapping.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// What the control groups of this process leave, from its own up to the root, of version 2 and of version 1.
fn groups(root: &Path) -> Vec<Room> {
    let Ok(own) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut rooms = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, names) = match controllers {
            "" => ("sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file"]),
            v1 if v1.split(',').any(|controller| controller == "memory") => {
                ("sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
            }
            _ => continue,
        };
        let mount = root.join(mount);
        let mut group = mount.join(path.trim_start_matches('/'));
        loop {
            rooms.extend(left_in(&group, names));
            if group == mount || !group.pop() || !group.starts_with(&mount) {
                break;
            }
        }
    }
    rooms
}

/// What a group leaves: its limit less what it holds, of which files that nobody uses are given back. A group without a
/// limit leaves all.
fn left_in(group: &Path, [limit, usage, inactive]: [&str; 3]) -> Option<Room> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let (limit, usage) = (number(limit)?, number(usage)?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let bytes = limit.saturating_sub(usage.saturating_sub(inactive));
    // Version 1 writes a number beyond all memory where there is no limit.
    (limit < 1 << 60).then(|| Room { bytes, limit: format!("the limit of control group '{}'", group.display()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24604120 kB\nMemFree:         1604120 kB\nMemAvailable:     2048 kB\n";

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", MEMINFO)].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn without_groups_the_machine_is_the_limit() {
        let root = system(&[]);
        assert_eq!(room_at(root.path()).unwrap(), Room { bytes: 2 << 20, limit: "this machine's memory".into() });
        assert!(room_at(Path::new("/nowhere")).is_none());
        assert!(room().is_some_and(|room| room.bytes > 0));
    }

    #[test]
    fn the_narrowest_group_counts_and_unused_files_are_given_back() {
        let root = system(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/memory.max", "1048576\n"),
            ("sys/fs/cgroup/outer/memory.current", "900000\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 400000\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "5\n"),
        ]);
        let room = room_at(root.path()).unwrap();
        assert_eq!(room.bytes, 1_048_576 - 500_000);
        assert!(room.limit.contains("outer") && !room.limit.contains("inner"));
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let root = system(&[
            ("proc/self/cgroup", "5:cpu:/a\n4:memory:/job\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "400\n"),
        ]);
        assert_eq!(room_at(root.path()).unwrap().bytes, 600);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_arithmetic() {
        let room = Room { bytes: 10 << 20, limit: "this machine's memory".into() };
        assert!(check_in(&room, &[("weights", 9 << 20), ("keys and values", 1 << 20)]).is_ok());
        let error = check_in(&room, &[("weights", 9 << 20), ("keys and values", 2 << 20)]).unwrap_err().to_string();
        assert!(error.contains("weights 9.0 MiB + keys and values 2.0 MiB = 11.0 MiB") && error.contains("10.0 MiB"), "{error}");
    }
}
