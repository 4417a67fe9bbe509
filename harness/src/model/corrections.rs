//! What is known better than LLVM's model of a core has it, put into the text of a loop before that is simulated: which
//! instructions go where others do, which is in the CPU's `machine.toml`, and that a loop waits for what it spills.

use super::multiply;
use std::collections::{BTreeMap, BTreeSet};

/// The loop with every instruction that has a substitute called by its name. What has one is an instruction's name, followed or not by
/// the kind of register that it writes.
pub(super) fn simulated(text: &str, substitutes: &BTreeMap<String, String>) -> String {
    let line = |line: &str| {
        let (before, rest) = line.strip_prefix("{vex} ").map_or(("", line), |rest| ("{vex} ", rest));
        let (name, operands) = rest.split_once(' ').unwrap_or((rest, ""));
        let target = multiply::split(operands).last().and_then(|operand| operand.strip_prefix('%')?.get(..3));
        let of_kind = target.and_then(|kind| substitutes.get(&format!("{name} {kind}")));
        match substitutes.get(name).or(of_kind) {
            Some(_) if name.contains("broadcast") && !operands.contains('(') => line.to_owned(),
            Some(other) => format!("{before}{other} {operands}"),
            None => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Cycles from storing a vector until what it is multiplied into may be stored again, but for the multiply-adds in between: the
/// way through the store buffer, 7 or 8 cycles by Fog's tables for Intel's and AMD's cores of the last ten years.
const FORWARDED: f64 = 8.0;
/// Latency of a multiply-add.
const MULTIPLIED: f64 = 4.0;
/// Iterations after which the longest way through a loop is known.
const SETTLED: usize = 8;

/// The least cycles that an iteration of a loop takes which keeps in memory what its registers have no room for, and waits for
/// the way there and back; 0 where nothing goes that way. llvm-mca takes loads for independent of stores, or else each for
/// waiting for all of them.
pub(super) fn round_trips(text: &str) -> f64 {
    let steps: Vec<Step> = text.lines().filter_map(Step::of).collect();
    let is_place = |name: &&str| name.ends_with([')', ']']);
    let (written, read): (BTreeSet<&str>, BTreeSet<&str>) = (
        steps.iter().map(|s| s.target).filter(is_place).collect(),
        steps.iter().flat_map(|s| s.sources.iter().copied()).filter(is_place).collect(),
    );
    if written.is_disjoint(&read) {
        return 0.0;
    }
    // When each register and each place is there, with everything but those two latencies free: what grows with the iterations
    // goes round a loop of dependencies.
    let mut there: BTreeMap<&str, f64> = BTreeMap::new();
    let mut last = [0.0, 0.0];
    for at in 0..2 * SETTLED {
        for Step { target, sources, accumulates } in &steps {
            let when = |name: &&str| there.get(name).copied().unwrap_or(0.0) + if is_place(name) { FORWARDED } else { 0.0 };
            let own = if *accumulates { when(target) } else { 0.0 };
            let ready = sources.iter().map(when).fold(own, f64::max) + if *accumulates { MULTIPLIED } else { 0.0 };
            there.insert(target, ready);
        }
        last[at / SETTLED] = there.values().copied().fold(0.0, f64::max);
    }
    (last[1] - last[0]) / SETTLED as f64
}

/// An instruction that writes a vector register or a place of the stack.
struct Step<'a> {
    /// The register, by its letterless name, or the place, by its address.
    target: &'a str,
    sources: Vec<&'a str>,
    /// Whether it adds to its target.
    accumulates: bool,
}

impl<'a> Step<'a> {
    /// What an instruction does, of one vector at a time; `None` if it is of no interest.
    fn of(line: &'a str) -> Option<Step<'a>> {
        let (name, operands) = line.strip_prefix("{vex} ").unwrap_or(line).split_once(' ')?;
        let x86 = operands.contains('%');
        let mut vectors: Vec<&str> = multiply::split(operands).into_iter().filter_map(|operand| vector(operand)).collect();
        if x86 {
            vectors.reverse();
        }
        // A store of Arm names its target last.
        if !x86 && name.starts_with("st") {
            vectors.reverse();
        }
        let (target, sources) = vectors.split_first()?;
        let accumulates = ACCUMULATE.iter().any(|start| name.starts_with(start));
        Some(Step { target, sources: sources.to_vec(), accumulates })
    }
}

/// What names of instructions begin with that add to their target.
const ACCUMULATE: &[&str] = &["vfm", "vfnm", "vpdp", "vdp", "fml", "bf", "sdot", "udot", "usdot", "smmla", "ummla", "usmmla", "smlal"];

/// A vector register without what says how much of it is meant, or a place of the stack.
fn vector(operand: &str) -> Option<&str> {
    let of_stack = ["(%rsp)", "(%rbp)"].iter().any(|end| operand.ends_with(end)) || operand.starts_with("[sp");
    if of_stack {
        return Some(operand);
    }
    if let Some(register) = operand.strip_prefix('%') {
        return register.find("mm").map(|at| register[at..].split(' ').next().unwrap_or_default());
    }
    let number = operand.strip_prefix(['q', 'z', 'v', 'd', 's'])?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    (digits > 0).then(|| &number[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_simulated_as_others_and_broadcasts_only_where_they_load() {
        let substitutes = [("vbroadcastss zmm", "vmovups"), ("vpdpbusd", "vfmadd231ps")].map(|(of, by)| (of.to_owned(), by.to_owned()));
        let text = "vbroadcastss 4(%rax), %zmm1\nvbroadcastss 4(%rax), %ymm1\nvbroadcastss %xmm2, %zmm1\n\
                    {vex} vpdpbusd %ymm0, %ymm1, %ymm2\nvpdpbusds %zmm0, %zmm1, %zmm2\nnop";
        let want = "vmovups 4(%rax), %zmm1\nvbroadcastss 4(%rax), %ymm1\nvbroadcastss %xmm2, %zmm1\n\
                    {vex} vfmadd231ps %ymm0, %ymm1, %ymm2\nvpdpbusds %zmm0, %zmm1, %zmm2\nnop";
        assert_eq!(simulated(text, &substitutes.into()), want);
        assert_eq!(simulated(text, &BTreeMap::new()), text);
    }

    #[test]
    fn a_loop_waits_for_what_it_keeps_on_the_stack_if_that_comes_round() {
        for (text, want) in [
            // An accumulator: stored, loaded, added to, and stored again by the next iteration.
            ("vmovaps %ymm12, (%rsp)\nvmovups (%rax), %ymm12\nvmovaps (%rsp), %ymm12\nvfmadd231ps %ymm13, %ymm0, %ymm12", 12.0),
            ("vmovaps 64(%rsp), %ymm2\nvfmadd231ps %ymm0, %ymm1, %ymm2\nvmovaps %ymm2, 64(%rsp)", 12.0),
            ("ldr q2, [sp, #16]\nfmla v2.4s, v0.4s, v1.s[0]\nstr q2, [sp, #16]", 12.0),
            // Twice in an iteration.
            (
                "vmovaps 64(%rsp), %zmm2\nvpdpbusd %zmm0, %zmm1, %zmm2\nvmovaps %zmm2, 64(%rsp)\n\
                 vmovaps 64(%rsp), %zmm3\nvpdpbusd %zmm0, %zmm1, %zmm3\nvmovaps %zmm3, 64(%rsp)",
                24.0,
            ),
            // An operand that is put away and taken out again: each iteration has its own.
            ("vmovups (%rax), %ymm12\nvmovaps %ymm12, (%rsp)\nvfmadd231ps (%rsp), %ymm1, %ymm2", 4.0),
            // Nothing is read that was written: no spill, and its own chains are llvm-mca's business.
            ("vmovaps 32(%rsp), %ymm12\nvfmadd231ps 32(%rsp), %ymm1, %ymm2", 0.0),
            ("vmovaps %ymm12, 32(%rsp)\nvmovaps 64(%rsp), %ymm12", 0.0),
            ("movq 8(%rsp), %rax\nmovq %rax, 8(%rsp)", 0.0),
            ("vmovups %ymm12, (%rax)\nvmovups (%rax), %ymm12", 0.0),
            ("nop", 0.0),
        ] {
            assert_eq!(round_trips(text), want, "{text}");
        }
    }
}
