//! What is known better than LLVM's model of a core has it, put into the text of a loop before that is simulated: which
//! instructions go where others do, and that what a loop spills it waits for. What is known is in the CPU's `machine.toml`.

use std::collections::{BTreeMap, BTreeSet};

/// The loop with every instruction that has a substitute called by its name.
pub(super) fn simulated(text: &str, substitutes: &BTreeMap<String, String>) -> String {
    let line = |line: &str| {
        let (before, rest) = line.strip_prefix("{vex} ").map_or(("", line), |rest| ("{vex} ", rest));
        let (name, operands) = rest.split_once(' ').unwrap_or((rest, ""));
        match substitutes.get(name) {
            Some(_) if name.contains("broadcast") && !operands.contains('(') => line.to_owned(),
            Some(other) => format!("{before}{other} {operands}"),
            None => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a loop keeps in memory what its registers have no room for: a place of the stack that it writes and reads as a
/// vector. Such a loop waits for the way there and back, which llvm-mca leaves out unless it is told that loads may be of what
/// was stored.
pub(super) fn spills(text: &str) -> bool {
    let (mut written, mut read) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        let Some((stores, place)) = place(line) else { continue };
        if stores { &mut written } else { &mut read }.insert(place);
    }
    written.intersection(&read).next().is_some()
}

/// The place of the stack that an instruction writes from a vector register, or reads into one, and whether it writes.
fn place(line: &str) -> Option<(bool, &str)> {
    let (name, operands) = line.split_once(' ')?;
    if let Some(start) = operands.find("[sp") {
        let place = &operands[start..=start + operands[start..].find(']')?];
        return operands.starts_with(['q', 'z', 'v', 'd', 's']).then_some((name.starts_with("st"), place));
    }
    let end = operands.find("(%rsp)").or_else(|| operands.find("(%rbp)"))? + "(%rsp)".len();
    let start = operands[..end].rfind(", ").map_or(0, |comma| comma + 2);
    operands.contains("mm").then_some((end == operands.len() && start > 0, &operands[start..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_simulated_as_others_and_broadcasts_only_where_they_load() {
        let substitutes = [("vbroadcastss", "vmovups"), ("vpdpbusd", "vfmadd231ps")].map(|(of, by)| (of.to_owned(), by.to_owned()));
        let text = "vbroadcastss 4(%rax), %zmm1\nvbroadcastss %xmm2, %zmm1\n{vex} vpdpbusd %ymm0, %ymm1, %ymm2\nvpdpbusds %zmm0, %zmm1, %zmm2\nnop";
        let want =
            "vmovups 4(%rax), %zmm1\nvbroadcastss %xmm2, %zmm1\n{vex} vfmadd231ps %ymm0, %ymm1, %ymm2\nvpdpbusds %zmm0, %zmm1, %zmm2\nnop";
        assert_eq!(simulated(text, &substitutes.into()), want);
        assert_eq!(simulated(text, &BTreeMap::new()), text);
    }

    #[test]
    fn what_is_written_to_the_stack_and_read_again_is_a_spill() {
        for (text, want) in [
            ("vmovaps %ymm12, (%rsp)\nvmovaps (%rsp), %ymm12", true),
            ("vfmadd231ps 64(%rsp), %ymm1, %ymm2\nvmovaps %ymm2, 64(%rsp)", true),
            // Read alone: operands that never change. Two places. Counters. Matrices.
            ("vmovaps 32(%rsp), %ymm12\nvfmadd231ps 32(%rsp), %ymm1, %ymm2", false),
            ("vmovaps %ymm12, 32(%rsp)\nvmovaps 64(%rsp), %ymm12", false),
            ("movq 8(%rsp), %rax\nmovq %rax, 8(%rsp)", false),
            ("vmovups %ymm12, (%rax)\nvmovups (%rax), %ymm12", false),
            ("str q3, [sp, #16]\nldr q4, [sp, #16]", true),
            ("ldr q4, [sp, #16]\nldr q3, [sp]\nstr x4, [sp, #16]", false),
            ("nop", false),
        ] {
            assert_eq!(spills(text), want, "{text}");
        }
    }
}
