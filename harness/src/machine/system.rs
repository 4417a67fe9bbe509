//! What the operating system says: cores, memory and its limits, pages, NUMA nodes, frequency governor,
//! kernel, virtual machine. Every field that cannot be read is `None`; nothing is guessed.

use super::cache::parse_cpu_list;
use super::numa;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Counts of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// Logical CPUs that are online.
    pub logical: usize,
    /// Physical cores among them. `None` if the system does not tell.
    pub physical: Option<usize>,
    /// How many this process may use at once: affinity and control-group quota taken into account.
    pub usable: usize,
}

/// Memory in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: Option<u64>,
    /// The limit of this process's control group, where it is below the total.
    pub group_limit: Option<u64>,
    /// Size of an ordinary page.
    pub page: usize,
    /// Size of a transparent huge page.
    pub huge_page: Option<u64>,
    /// When huge pages are given: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
}

/// The system around the CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Cores.
    pub cores: Cores,
    /// Memory and pages.
    pub memory: Memory,
    /// The NUMA nodes, by their numbers; empty if the system tells of none.
    #[serde(default)]
    pub nodes: Vec<numa::Node>,
    /// The frequency governor of CPU 0. Virtual machines have none.
    pub governor: Option<String>,
    /// The hypervisor or the maker's name of the virtual machine.
    pub virtualisation: Option<String>,
    /// The user-mode emulator that this process runs in (`qemu-aarch64`). Its times tell nothing of the
    /// CPU it imitates, and sysfs under it describes the host.
    pub emulator: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Distribution.
    pub os: Option<String>,
}

/// Reads all of it. `sys` and `proc` are where sysfs and procfs are mounted.
pub fn system(sys: &Path, proc: &Path) -> System {
    let emulator = emulator(proc);
    System {
        cores: cores(sys),
        memory: memory(sys, proc),
        // Under a user-mode emulator sysfs tells of the host's.
        nodes: if emulator.is_some() { Vec::new() } else { numa::nodes(sys) },
        governor: line(&sys.join("devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        virtualisation: virtualisation(sys),
        emulator,
        kernel: line(&proc.join("sys/kernel/osrelease")),
        os: os_name(),
    }
}

/// The first line of a file, trimmed; `None` if it cannot be read or is empty.
fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty())
}

fn cores(sys: &Path) -> Cores {
    let usable = std::thread::available_parallelism().map_or(1, |n| n.get());
    let online = online_cpus(sys);
    // Two CPUs of one core name the same set of siblings.
    let siblings: Option<BTreeSet<String>> =
        online.iter().map(|cpu| line(&sys.join(format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")))).collect();
    Cores { logical: online.len().max(1), physical: siblings.map(|sets| sets.len()).filter(|count| *count > 0), usable }
}

/// The logical CPUs that are online, ascending; at least CPU 0.
pub fn online_cpus(sys: &Path) -> Vec<usize> {
    let listed = line(&sys.join("devices/system/cpu/online")).map(|list| parse_cpu_list(&list)).unwrap_or_default();
    match listed.is_empty() {
        false => listed,
        true => (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect(),
    }
}

fn memory(sys: &Path, proc: &Path) -> Memory {
    let total = std::fs::read_to_string(proc.join("meminfo")).ok().and_then(|text| {
        let value = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let huge = sys.join("kernel/mm/transparent_hugepage");
    Memory {
        total,
        group_limit: group_limit(sys, proc).filter(|limit| total.is_none_or(|total| *limit < total)),
        page: rustix::param::page_size(),
        huge_page: line(&huge.join("hpage_pmd_size")).and_then(|s| s.parse().ok()),
        transparent_huge_pages: line(&huge.join("enabled")).and_then(|s| bracketed(&s)),
    }
}

/// `madvise` of `always [madvise] never`.
fn bracketed(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// The tightest memory limit on the way from this process's control group to the root, of either
/// hierarchy version. Unlimited groups say `max` (v2) or a number beyond any memory (v1).
fn group_limit(sys: &Path, proc: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            (sys.join("fs/cgroup"), "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            (sys.join("fs/cgroup/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            limits.extend(line(&root.join(ancestor).join(file)).and_then(|s| s.parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

fn virtualisation(sys: &Path) -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    if let Some(signature) = super::cpuid::hypervisor() {
        return Some(match signature.as_str() {
            "KVMKVMKVM" => "KVM".into(),
            "Microsoft Hv" => "Hyper-V".into(),
            "VMwareVMware" => "VMware".into(),
            "XenVMMXenVMM" => "Xen".into(),
            "TCGTCGTCGTCG" => "QEMU (emulated)".into(),
            "" => "a hypervisor without a name".into(),
            other => other.to_owned(),
        });
    }
    // The names that firmware of virtual machines gives itself; a real board names its maker here.
    let known = ["KVM", "QEMU", "VMware", "VirtualBox", "Xen", "Amazon EC2", "Google", "Alibaba Cloud", "Microsoft"];
    let named = ["sys_vendor", "product_name"].iter().filter_map(|f| line(&sys.join("class/dmi/id").join(f)));
    line(&sys.join("hypervisor/type")).or_else(|| named.into_iter().find(|name| known.iter().any(|k| name.contains(k))))
}

/// A user-mode emulator answers for `/proc/self` but not for the same link under `/proc/thread-self`,
/// where the emulator's own program stands.
fn emulator(proc: &Path) -> Option<String> {
    let claimed = std::fs::read_link(proc.join("self/exe")).ok()?;
    let real = std::fs::read_link(proc.join("thread-self/exe")).ok()?;
    (real != claimed).then(|| real.file_name().map_or_else(|| "unknown".into(), |n| n.to_string_lossy().into_owned()))
}

fn os_name() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
            std::fs::write(path, text).expect("file");
        }
        root
    }

    #[test]
    fn siblings_are_counted_once() {
        let sys = tree(&[
            ("devices/system/cpu/online", "0-3\n"),
            ("devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
            ("devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
            ("devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
            ("devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3\n"),
        ]);
        let found = cores(sys.path());
        assert_eq!((found.logical, found.physical), (4, Some(2)));
        assert_eq!(cores(tree(&[("devices/system/cpu/online", "0-1")]).path()).physical, None);
    }

    #[test]
    fn the_tightest_group_limit_wins_in_both_versions() {
        let proc = tree(&[("self/cgroup", "0::/a/b\n"), ("meminfo", "MemTotal:       2048 kB\n")]);
        let sys = tree(&[("fs/cgroup/a/memory.max", "1048576\n"), ("fs/cgroup/a/b/memory.max", "max\n")]);
        assert_eq!(memory(sys.path(), proc.path()).group_limit, Some(1 << 20));
        let proc = tree(&[("self/cgroup", "5:devices:/\n4:memory:/x\n")]);
        let sys = tree(&[("fs/cgroup/memory/x/memory.limit_in_bytes", "4096\n")]);
        assert_eq!(group_limit(sys.path(), proc.path()), Some(4096));
        assert_eq!(group_limit(sys.path(), tree(&[]).path()), None);
    }

    #[test]
    fn missing_files_are_none_not_zero() {
        let nothing = tree(&[]);
        let found = system(nothing.path(), nothing.path());
        assert_eq!((found.memory.total, found.governor, found.kernel, found.emulator), (None, None, None, None));
        assert!(found.nodes.is_empty() && found.cores.logical >= 1);
        assert_eq!(bracketed("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(bracketed("nothing"), None);
    }
}
