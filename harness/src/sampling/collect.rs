//! Puts what happened into order and counts the stacks.
//!
//! The rings of different CPUs are read one after the other, so records arrive out of order. A round of
//! reading sees everything that happened before the round began: whatever is no younger than the
//! youngest record of the *previous* round can be settled. Settled samples are kept as counts of
//! distinct stacks, so memory stays small however long the program runs.

use super::Profile;
use super::perf::{Happening, What};
use super::space::{Space, parse_maps_line};
use super::symbols::{Place, name_places};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One distinct stack: the process's name and its frames, innermost first.
#[derive(PartialEq, Eq, Hash)]
struct Stack {
    process: String,
    frames: Vec<Place>,
}

/// Samples on their way to a profile.
#[derive(Default)]
pub struct Collector {
    waiting: Vec<Happening>,
    settled_until: u64,
    spaces: HashMap<u32, Space>,
    names: HashMap<u32, String>,
    files: Vec<String>,
    file_numbers: HashMap<String, u32>,
    stacks: HashMap<Stack, u64>,
    lost: u64,
}

impl Collector {
    /// Takes one record, in any order.
    pub fn happened(&mut self, happening: Happening) {
        self.waiting.push(happening);
    }

    /// The kernel threw `count` records away.
    pub fn lost(&mut self, count: u64) {
        self.lost += count;
    }

    /// All rings have been read once more.
    pub fn round_is_over(&mut self) {
        // A stable sort: records of one ring with equal times stay in order.
        self.waiting.sort_by_key(|happening| happening.time);
        let youngest = self.waiting.last().map_or(self.settled_until, |happening| happening.time);
        let settled = self.waiting.partition_point(|happening| happening.time <= self.settled_until);
        let rest = self.waiting.split_off(settled);
        for happening in std::mem::replace(&mut self.waiting, rest) {
            self.settle(happening);
        }
        self.settled_until = self.settled_until.max(youngest);
    }

    /// Tells of a process that was there before sampling began: its name and its `/proc/PID/maps`.
    pub fn already_running(&mut self, pid: u32, name: &str, maps: &str) {
        self.names.insert(pid, name.to_owned());
        for (start, len, offset, path) in maps.lines().filter_map(parse_maps_line) {
            let file = self.file_number(path);
            self.spaces.entry(pid).or_default().map(start, len, offset, file);
        }
    }

    fn settle(&mut self, Happening { pid, what, .. }: Happening) {
        match what {
            What::Mapped { start, len, file_offset, path } => {
                let file = self.file_number(&path);
                self.spaces.entry(pid).or_default().map(start, len, file_offset, file);
            }
            What::Named { name, exec } => {
                self.names.insert(pid, name);
                if exec {
                    self.spaces.remove(&pid);
                }
            }
            What::Forked { parent } => {
                let space = self.spaces.get(&parent).cloned().unwrap_or_default();
                self.spaces.insert(pid, space);
                if let Some(name) = self.names.get(&parent).cloned() {
                    self.names.insert(pid, name);
                }
            }
            What::Sample { chain, in_kernel } => self.count(pid, &chain, in_kernel),
        }
    }

    fn count(&mut self, pid: u32, chain: &[u64], in_kernel: bool) {
        let space = self.spaces.get(&pid);
        let innermost = in_kernel.then_some(Place::Kernel);
        let walked = chain.iter().enumerate().map(|(depth, address)| {
            // A return address may be the first byte after its caller; the call itself is before it.
            let address = if depth == 0 { *address } else { address.saturating_sub(1) };
            match space.and_then(|space| space.find(address)) {
                Some((file, offset)) => Place::File { file, offset },
                None => Place::Nowhere,
            }
        });
        let mut frames: Vec<Place> = innermost.into_iter().chain(walked).collect();
        // A walk that left the known files wandered through whatever the frame pointer register held:
        // what follows may be no frame at all, so it ends there.
        if let Some(end) = frames.iter().position(|place| *place == Place::Nowhere) {
            frames.truncate(end + 1);
        }
        let process = self.names.get(&pid).cloned().unwrap_or_else(|| format!("process {pid}"));
        *self.stacks.entry(Stack { process, frames }).or_default() += 1;
    }

    fn file_number(&mut self, path: &str) -> u32 {
        if let Some(number) = self.file_numbers.get(path) {
            return *number;
        }
        let number = self.files.len() as u32;
        self.files.push(path.to_owned());
        self.file_numbers.insert(path.to_owned(), number);
        number
    }

    /// Names all frames and folds the stacks. Fills in what a profile knows of its samples.
    pub fn finish(mut self) -> Profile {
        self.waiting.sort_by_key(|happening| happening.time);
        for happening in std::mem::take(&mut self.waiting) {
            self.settle(happening);
        }
        let places: HashSet<Place> = self.stacks.keys().flat_map(|stack| stack.frames.iter().copied()).collect();
        let names = name_places(&self.files, places);
        let mut profile = Profile { lost: self.lost, ..Profile::default() };
        let mut folded: BTreeMap<String, u64> = BTreeMap::new();
        for (stack, count) in self.stacks {
            profile.samples += count;
            if stack.frames.contains(&Place::Nowhere) {
                profile.astray += count;
            } else if stack.frames.first().and_then(|place| names.get(place)).is_none_or(|name| !name.known) {
                profile.unnamed += count;
            }
            let mut line = tidy(&stack.process);
            for name in stack.frames.iter().rev().filter_map(|place| names.get(place)) {
                line.push(';');
                line.push_str(&tidy(&name.text));
            }
            *folded.entry(line).or_default() += count;
        }
        profile.folded = folded;
        profile
    }
}

/// A name that cannot be mistaken for two frames or for the end of a line.
fn tidy(name: &str) -> String {
    let tidy: String = name.replace("; ", " × ").replace(';', ":").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if tidy.trim().is_empty() { "[unnamed]".into() } else { tidy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time: u64, pid: u32, chain: &[u64]) -> Happening {
        Happening { time, pid, what: What::Sample { chain: chain.to_vec(), in_kernel: false } }
    }

    fn named(time: u64, pid: u32, name: &str) -> Happening {
        Happening { time, pid, what: What::Named { name: name.into(), exec: true } }
    }

    fn mapped(time: u64, pid: u32, start: u64, path: &str) -> Happening {
        Happening { time, pid, what: What::Mapped { start, len: 0x1000, file_offset: 0, path: path.into() } }
    }

    #[test]
    fn records_that_arrive_late_are_put_in_order() {
        let mut collector = Collector::default();
        // The sample comes from one CPU's ring before the mapping it needs comes from another's.
        collector.happened(sample(30, 7, &[0x1010]));
        collector.round_is_over();
        collector.happened(named(10, 7, "a"));
        collector.happened(mapped(20, 7, 0x1000, "/no/such/file"));
        collector.round_is_over();
        let profile = collector.finish();
        assert_eq!(profile.folded, BTreeMap::from([("a;[file]".to_owned(), 1)]));
        assert_eq!((profile.samples, profile.astray, profile.unnamed), (1, 0, 1));
    }

    #[test]
    fn forks_copy_and_execs_clear() {
        let mut collector = Collector::default();
        collector.happened(named(1, 7, "parent"));
        collector.happened(mapped(2, 7, 0x1000, "/no/such/file"));
        collector.happened(Happening { time: 3, pid: 8, what: What::Forked { parent: 7 } });
        collector.happened(sample(4, 8, &[0x1010]));
        collector.happened(named(5, 8, "child"));
        collector.happened(sample(6, 8, &[0x1010]));
        collector.happened(sample(7, 7, &[0x1010, 0x9000, 0x1010]));
        collector.lost(3);
        let profile = collector.finish();
        let expected = [("child;[unknown]", 1), ("parent;[file]", 1), ("parent;[unknown];[file]", 1)];
        assert_eq!(profile.folded, expected.map(|(stack, n)| (stack.to_owned(), n)).into());
        assert_eq!((profile.astray, profile.lost), (2, 3));
        assert_eq!(profile.unknown_share(), Some(1.0));
    }

    #[test]
    fn the_kernel_is_the_innermost_frame() {
        let mut collector = Collector::default();
        let what = What::Sample { chain: Vec::new(), in_kernel: true };
        collector.happened(Happening { time: 1, pid: 9, what });
        let profile = collector.finish();
        assert_eq!(profile.folded, BTreeMap::from([("process 9;[kernel]".to_owned(), 1)]));
        assert_eq!(profile.unknown_share(), Some(0.0));
    }

    #[test]
    fn names_cannot_break_the_format() {
        assert_eq!(tidy("<[f32; 8] as A>::b\n"), "<[f32 × 8] as A>::b ");
        assert_eq!(tidy("a;b"), "a:b");
        assert_eq!(tidy("\t"), "[unnamed]");
    }
}
