//! Names of code addresses, from the symbol tables of the ELF files they were mapped from.
//!
//! Files are read by their path, so the sampled process need not live any more. Functions that the
//! compiler inlined have no symbol and count for their caller.

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Where an address points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Into the kernel.
    Kernel,
    /// Into no mapping that we know of.
    Nowhere,
    /// Into file number `file`, at `offset`.
    File {
        /// Index into the list of files.
        file: u32,
        /// Byte offset in it.
        offset: u64,
    },
}

/// What a place is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The function, or a stand-in in brackets.
    pub text: String,
    /// Whether it is a function's name.
    pub known: bool,
}

/// Names every place. `files` are the paths by number.
pub fn name_places(files: &[String], places: impl IntoIterator<Item = Place>) -> HashMap<Place, Name> {
    let mut names = HashMap::new();
    let mut offsets: BTreeMap<u32, HashSet<u64>> = BTreeMap::new();
    for place in places {
        match place {
            Place::Kernel => drop(names.insert(place, Name { text: "[kernel]".into(), known: true })),
            Place::Nowhere => drop(names.insert(place, Name { text: "[unknown]".into(), known: false })),
            Place::File { file, offset } => drop(offsets.entry(file).or_default().insert(offset)),
        }
    }
    let symbolizer = Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build();
    for (file, offsets) in offsets {
        let path = files.get(file as usize).map_or("", String::as_str);
        let offsets: Vec<u64> = offsets.into_iter().collect();
        let found = functions(&symbolizer, path, &offsets);
        for (offset, function) in offsets.into_iter().zip(found) {
            let name = match function {
                Some(text) => Name { text, known: true },
                // The vDSO is the kernel's, too small to be worth taking apart.
                None => Name { text: stand_in(path), known: path == "[vdso]" },
            };
            names.insert(Place::File { file, offset }, name);
        }
    }
    names
}

/// The function at each offset of an ELF file; as many as there are offsets.
fn functions(symbolizer: &Symbolizer, path: &str, offsets: &[u64]) -> Vec<Option<String>> {
    let nothing = || vec![None; offsets.len()];
    if !path.starts_with('/') || path.starts_with("//") || !Path::new(path).is_file() {
        return nothing();
    }
    let mut elf = Elf::new(path);
    elf.debug_syms = false;
    match symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)) {
        Ok(found) if found.len() == offsets.len() => found.iter().map(|one| one.as_sym().map(|symbol| symbol.name.to_string())).collect(),
        // Not an ELF file, or a damaged one.
        _ => nothing(),
    }
}

/// `[libc.so.6]` for a file without symbols, `[vdso]` as it is, `[anonymous]` for memory without a file.
fn stand_in(path: &str) -> String {
    if path.starts_with('[') {
        return path.to_owned();
    }
    let file = Path::new(path).file_name().filter(|_| path.starts_with('/') && !path.starts_with("//"));
    file.map_or_else(|| "[anonymous]".into(), |name| format!("[{}]", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_say_what_is_known() {
        assert_eq!(stand_in("/usr/lib/libc.so.6"), "[libc.so.6]");
        assert_eq!(stand_in("[vdso]"), "[vdso]");
        assert_eq!(stand_in("//anon"), "[anonymous]");
        assert_eq!(stand_in(""), "[anonymous]");
    }

    #[test]
    fn files_that_are_gone_or_no_elf_leave_places_unnamed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "not an ELF file").expect("file");
        let files = ["/no/such/file".to_owned(), text.to_string_lossy().into_owned()];
        let places = [0, 1].map(|file| Place::File { file, offset: 16 });
        let names = name_places(&files, places);
        assert_eq!(names[&places[0]].text, "[file]");
        assert_eq!(names[&places[1]].text, "[notes.txt]");
        assert!(names.values().all(|name| !name.known));
    }

    #[test]
    fn this_test_finds_itself() {
        let here = files_that_are_gone_or_no_elf_leave_places_unnamed as fn() as usize as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let mapping =
            maps.lines().filter_map(super::super::space::parse_maps_line).find(|(start, len, ..)| (*start..start + len).contains(&here));
        let (start, _, offset, path) = mapping.expect("the mapping of this code");
        let place = Place::File { file: 0, offset: here - start + offset };
        let names = name_places(&[path.to_owned()], [place]);
        assert!(names[&place].text.contains("files_that_are_gone"), "{:?}", names[&place]);
    }
}
