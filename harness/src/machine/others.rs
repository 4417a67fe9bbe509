//! What else keeps this machine busy while something is measured: other processes, and other guests of its host.
//!
//! It is what the system counts, in ticks of about a hundredth of a second, so it says nothing of short times.

use rustix::param::clock_ticks_per_second;
use std::time::Instant;

/// What others took in some time, in cores: 1 is as much as keeps one busy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    /// Other processes of this system.
    pub others: f64,
    /// What the host gave to others while this system wanted it.
    pub stolen: f64,
}

/// Counters at a moment, in seconds of one core.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counts {
    busy: f64,
    stolen: f64,
    own: f64,
}

/// Counts from a moment on.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    began: Instant,
    before: Counts,
}

/// So much of a core is always taken by something; below it nothing is said.
const USUAL: f64 = 0.1;

impl Watch {
    /// Begins now. `None` where the system does not count.
    pub fn start() -> Option<Watch> {
        Some(Watch { began: Instant::now(), before: Counts::now()? })
    }

    /// What others took since.
    pub fn so_far(&self) -> Option<Busy> {
        let (now, seconds) = (Counts::now()?, self.began.elapsed().as_secs_f64());
        Some(now.since(&self.before, seconds))
    }

    /// A remark on it, if it is more than usual and lasted long enough to be told.
    pub fn remark(&self) -> Option<String> {
        if self.began.elapsed().as_secs_f64() < 0.2 {
            return None;
        }
        self.so_far()?.remark()
    }
}

impl Busy {
    fn remark(&self) -> Option<String> {
        let part = |cores: f64, who: &str| (cores > USUAL).then(|| format!("{who} {cores:.2} cores"));
        let parts: Vec<String> =
            [part(self.others, "other processes keep"), part(self.stolen, "the host withholds")].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("meanwhile {}", parts.join(", ")))
    }
}

impl Counts {
    fn now() -> Option<Counts> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Counts::of(&read("/proc/stat")?, &read("/proc/self/stat")?, clock_ticks_per_second() as f64)
    }

    /// From the system's first line (user nice system idle iowait irq softirq steal …) and this process's own (its name in
    /// parentheses, and from there the 12th and 13th are its time, the 14th and 15th that of children that have ended).
    fn of(system: &str, own: &str, ticks: f64) -> Option<Counts> {
        let all: Vec<f64> = system.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let [user, nice, kernel, _, _, irq, soft, stolen, ..] = all[..] else { return None };
        let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own: f64 = own.get(11..15)?.iter().filter_map(|n| n.parse::<f64>().ok()).sum();
        Some(Counts { busy: (user + nice + kernel + irq + soft) / ticks, stolen: stolen / ticks, own: own / ticks })
    }

    fn since(&self, before: &Counts, seconds: f64) -> Busy {
        let of = |total: f64| (total / seconds.max(1e-9)).max(0.0);
        Busy { others: of((self.busy - before.busy) - (self.own - before.own)), stolen: of(self.stolen - before.stolen) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  100 0 50 1000 5 0 10 20 0 0\ncpu0 1 1 1 1\n";
    const AFTER: &str = "cpu  400 0 50 1000 5 0 10 70 0 0\ncpu0 1 1 1 1\n";

    #[test]
    fn what_is_not_ones_own_is_others() {
        let own = |ticks: u32| format!("7 (a (b) c) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 0 0");
        let before = Counts::of(BEFORE, &own(0), 100.0).expect("counts");
        let after = Counts::of(AFTER, &own(200), 100.0).expect("counts");
        let Busy { others, stolen } = after.since(&before, 2.0);
        assert!((others - 0.5).abs() < 1e-9 && (stolen - 0.25).abs() < 1e-9, "{others} {stolen}");
        assert_eq!(Counts::of("intr 1", &own(0), 100.0), None);
        assert_eq!(Counts::of(BEFORE, "7", 100.0), None);
    }

    #[test]
    fn only_more_than_usual_is_remarked_on() {
        assert_eq!(Busy { others: 0.05, stolen: 0.0 }.remark(), None);
        let remark = Busy { others: 0.97, stolen: 0.3 }.remark().expect("a remark");
        assert_eq!(remark, "meanwhile other processes keep 0.97 cores, the host withholds 0.30 cores");
    }

    #[test]
    fn a_busy_process_is_noticed_and_ones_own_work_is_not_others() {
        let Some(mut watch) = Watch::start() else { return };
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let mut busy = Busy::default();
        // Where other tests keep all cores busy, it may be a while until it has its share of one.
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(600));
            busy = watch.so_far().expect("counts");
            if busy.others > 0.2 {
                break;
            }
            watch = Watch::start().expect("counts");
        }
        let _ = child.kill();
        let _ = child.wait();
        assert!(busy.others > 0.2, "{busy:?}");
    }
}
