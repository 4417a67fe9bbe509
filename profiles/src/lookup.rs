//! Finding profiles: by name under a folder, by path, or by the CPU at hand.

use crate::cpu::CpuId;
use crate::error::Error;
use crate::machine::Machine;
use crate::schema::{SCHEMA, Tuned};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

/// File name of the winners in a profile's folder.
pub const TUNED: &str = "tuned.toml";
/// File name of the description in a profile's folder.
pub const MACHINE: &str = "machine.toml";

/// Where the project keeps its profiles, as this crate was built.
pub fn default_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every machine under `root`, by name.
///
/// # Errors
/// If a `machine.toml` cannot be read or parsed.
pub fn machines(root: &Path) -> Result<Vec<Machine>, Error> {
    let mut all = Vec::new();
    let entries = fs::read_dir(root).map_err(|source| Error::Io { path: root.into(), source })?;
    for entry in entries.flatten() {
        let path = entry.path().join(MACHINE);
        if path.is_file() {
            all.push(read::<Machine>(&path)?);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The machine that a CPU is, when there is a profile for it.
///
/// # Errors
/// As [`machines`].
pub fn recognise(root: &Path, cpu: &CpuId) -> Result<Option<Machine>, Error> {
    Ok(machines(root)?.into_iter().find(|m| m.recognises(cpu)))
}

/// Name of the profile that serves any CPU of an architecture.
pub fn generic(arch: &str) -> String {
    format!("generic-{arch}")
}

/// The `machine.toml` of a name.
///
/// # Errors
/// [`Error::Unknown`] when there is none.
pub fn machine(root: &Path, name: &str) -> Result<Machine, Error> {
    machines(root)?.into_iter().find(|m| m.name == name).ok_or_else(|| unknown(root, name))
}

/// A tuned profile and the file it came from, by name or by path (of a folder or a file).
///
/// # Errors
/// When there is none, or it is malformed or of another schema.
pub fn tuned(root: &Path, name_or_path: &str) -> Result<(Tuned, PathBuf), Error> {
    let given = Path::new(name_or_path);
    let path = if given.is_dir() && given.components().count() > 1 {
        given.join(TUNED)
    } else if given.extension().is_some_and(|e| e == "toml") {
        given.to_path_buf()
    } else {
        root.join(name_or_path).join(TUNED)
    };
    if !path.is_file() {
        return Err(unknown(root, name_or_path));
    }
    let tuned: Tuned = read(&path)?;
    if tuned.schema != SCHEMA {
        return Err(Error::Malformed {
            path,
            message: format!("schema {}, but this build reads schema {SCHEMA}; bake it again", tuned.schema),
        });
    }
    Ok((tuned, path))
}

/// Writes a tuned profile to its folder under `root` and returns the file's path. The file is
/// replaced whole: an interrupted write leaves the old one.
///
/// # Errors
/// If it cannot be written.
pub fn write_tuned(root: &Path, tuned: &Tuned) -> Result<PathBuf, Error> {
    let path = root.join(&tuned.cpu).join(TUNED);
    let io = |source| Error::Io { path: path.clone(), source };
    let text = toml::to_string(tuned).map_err(|e| Error::Malformed { path: path.clone(), message: e.to_string() })?;
    fs::create_dir_all(root.join(&tuned.cpu)).map_err(io)?;
    let new = path.with_extension("toml.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(io)?;
    Ok(path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
    toml::from_str(&text).map_err(|e| Error::Malformed { path: path.into(), message: e.to_string().trim().replace('\n', " ") })
}

fn unknown(root: &Path, name: &str) -> Error {
    let known: Vec<String> = machines(root).unwrap_or_default().into_iter().map(|m| m.name).collect();
    Error::Unknown { name: name.into(), known: if known.is_empty() { "none".into() } else { known.join(", ") } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_parses_and_is_named_as_its_folder() {
        let machines = machines(default_root()).unwrap();
        assert!(machines.len() >= 4);
        for m in machines {
            let (tuned, path) = tuned(default_root(), &m.name).unwrap();
            assert_eq!(tuned.cpu, m.name);
            assert_eq!(tuned.arch, m.arch);
            assert_eq!(path.parent().unwrap().file_name().unwrap().to_str(), Some(m.name.as_str()));
        }
    }

    #[test]
    fn cpus_are_recognised_by_their_identity() {
        let name = |cpu: CpuId| recognise(default_root(), &cpu).unwrap().map(|m| m.name);
        assert_eq!(name(CpuId::from_cpuid("AuthenticAMD", 0x00a0_0f11)).as_deref(), Some("zen3"));
        assert_eq!(name(CpuId::from_cpuid("AuthenticAMD", 0x00a1_0f11)).as_deref(), Some("zen4"));
        for (midr, cpu) in
            [(0x410f_d490, "neoverse-n2"), (0x413f_d0c1, "neoverse-n1"), (0x411f_d401, "neoverse-v1"), (0x410f_d4f1, "neoverse-v2")]
        {
            assert_eq!(name(CpuId::from_midr(midr)).as_deref(), Some(cpu));
        }
        assert_eq!(name(CpuId::from_midr(0x000f_0000)), None);
    }

    #[test]
    fn unknown_names_and_other_schemas_are_refused_in_one_line() {
        let error = tuned(default_root(), "zen99").unwrap_err().to_string();
        assert!(error.contains("zen99") && error.contains("zen3") && !error.contains('\n'), "{error}");
        let dir = std::env::temp_dir().join(format!("kiln-profiles-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("odd.toml");
        for (text, part) in [
            ("schema = 1", "missing field"),
            ("schema =", "TOML"),
            ("schema = 7\ncpu='x'\narch='x'\ntier='measured'\nvariant=[]", "schema 7"),
        ] {
            fs::write(&file, text).unwrap();
            let error = tuned(default_root(), file.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
