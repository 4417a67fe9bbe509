//! Bytes that an instruction moves between memory and vector registers: what loops of operations on rows are measured in.

use kiln_profiles::machine::Machine;

/// Bytes that an instruction loads into, or stores from, registers of vectors; 0 of all others, and of those that ask
/// for memory ahead. The text is LLVM's: on x86 in AT&T's order.
pub(super) fn bytes(instruction: &str, machine: &Machine) -> usize {
    let Some((name, operands)) = instruction.split_once(' ') else { return 0 };
    if machine.arch == "aarch64" { arm(name, operands, super::sve_bits(machine) / 8) } else { x86(name, operands) }
}

/// Whether an instruction makes vectors other than by moving them.
pub(super) fn computes(instruction: &str, machine: &Machine) -> bool {
    let words = || instruction.split([' ', ',', '{']).skip(1);
    match machine.arch.as_str() {
        // Loads and stores compute nothing.
        "aarch64" => {
            let vector = |word: &str| word.starts_with(['v', 'z']) && word.contains('.');
            !instruction.starts_with("mov") && bytes(instruction, machine) == 0 && words().any(vector)
        }
        // Operands may be in memory.
        _ => instruction.starts_with('v') && !instruction.starts_with("vmov"),
    }
}

fn arm(name: &str, operands: &str, sve: usize) -> usize {
    if !operands.contains('[') {
        return 0;
    }
    let registers = operands.split('[').next().unwrap_or_default().split([',', '{', '}']).map(str::trim).filter(|r| !r.is_empty());
    // Elements of the type that an SVE load widens from, or store narrows to: ld1h {z0.s} reads a half for each.
    let in_memory = |name: &str| match name.as_bytes().get(3) {
        Some(b'b') => Some(1),
        Some(b'h') => Some(2),
        Some(b'w') => Some(4),
        Some(b'd') => Some(8),
        _ => None,
    };
    let of = |register: &str| -> usize {
        let (register, shape) = register.split_once('.').unwrap_or((register, ""));
        let element = match shape.trim_start_matches(|c: char| c.is_ascii_digit()) {
            "b" => 1,
            "h" => 2,
            "s" => 4,
            "d" => 8,
            _ => 0,
        };
        match register.as_bytes().first() {
            Some(b'z') if element > 0 => in_memory(name).map_or(sve, |bytes| sve / element * bytes),
            Some(b'z' | b'p') if !name.starts_with("ld") && !name.starts_with("st") => 0,
            Some(b'z') => sve,
            Some(b'v') => shape.trim_end_matches(char::is_alphabetic).parse::<usize>().map_or(0, |lanes| lanes * element),
            Some(b'q') => 16,
            Some(b'd') => 8,
            Some(b's') => 4,
            Some(b'h') => 2,
            _ => 0,
        }
    };
    if !name.starts_with("ld") && !name.starts_with("st") {
        return 0;
    }
    registers.map(of).sum()
}

fn x86(name: &str, operands: &str) -> usize {
    if !operands.contains('(') || !name.starts_with('v') {
        return 0;
    }
    let Some((_, width)) = [("zmm", 64), ("ymm", 32), ("xmm", 16)].into_iter().find(|(register, _)| operands.contains(register)) else {
        return 0;
    };
    // One element goes to all lanes.
    if operands.contains("{1to") || name.starts_with("vbroadcastss") || name.starts_with("vpbroadcastd") || name.ends_with("ss") {
        return 4;
    }
    let part = match name {
        // What is half as wide in memory, or a quarter.
        "vcvtph2ps" | "vcvtps2ph" | "vpmovzxwd" | "vpmovsxwd" | "vpmovzxbw" | "vpmovsxbw" | "vpmovdw" => 2,
        "vpmovzxbd" | "vpmovsxbd" | "vpmovdb" => 4,
        _ => 1,
    };
    width / part
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_profiles::lookup;

    #[test]
    fn what_only_moves_does_not_compute() {
        let machine = |cpu| lookup::machine(lookup::default_root(), cpu).unwrap();
        let (n2, zen4) = (machine("neoverse-n2"), machine("zen4"));
        for (instruction, want) in [
            ("fcvtl v0.4s, v1.4h", true),
            ("fmla z1.s, p0/m, z0.s, z2.s", true),
            ("stp q0, q0, [x8], #32", false),
            ("movi v0.2d, #0", false),
            ("st1w { z0.s }, p0, [x1]", false),
            ("add x0, x0, #16", false),
        ] {
            assert_eq!(computes(instruction, &n2), want, "{instruction}");
        }
        assert!(computes("vmulps %zmm0, %zmm1, %zmm2", &zen4) && computes("vcvtph2ps 32(%rdi), %zmm0", &zen4));
        assert!(!computes("vmovups %zmm0, (%rdi)", &zen4));
        assert!(!computes("addq $64, %rax", &zen4));
    }

    #[test]
    fn vectors_are_counted_by_what_they_are_in_memory() {
        let machine = |cpu| lookup::machine(lookup::default_root(), cpu).unwrap();
        let (n2, v1, zen4) = (machine("neoverse-n2"), machine("neoverse-v1"), machine("zen4"));
        for (instruction, on_n2, on_v1) in [
            ("ldr q0, [x1, #16]", 16, 16),
            ("ldp q0, q1, [x1], #32", 32, 32),
            ("stp d0, d1, [x1]", 16, 16),
            ("ld1 {v0.8h, v1.8h}, [x1]", 32, 32),
            ("ld1w { z0.s }, p0/z, [x1, #1, mul vl]", 16, 32),
            ("ld1h { z0.s }, p0/z, [x1]", 8, 16),
            ("st1h { z0.s }, p0, [x1]", 8, 16),
            ("ldr z0, [x1]", 16, 32),
            ("prfm pldl1keep, [x1, #1024]", 0, 0),
            ("ldr x2, [x1]", 0, 0),
            ("fcvtl v0.4s, v1.4h", 0, 0),
        ] {
            assert_eq!((bytes(instruction, &n2), bytes(instruction, &v1)), (on_n2, on_v1), "{instruction}");
        }
        for (instruction, want) in [
            ("vmovups (%rdi,%rax), %zmm0", 64),
            ("vcvtph2ps 32(%rdi), %zmm0", 32),
            ("vcvtps2ph $0, %zmm0, (%rsi)", 32),
            ("vmovntps %ymm0, (%rsi)", 32),
            ("vfmadd213ps (%rdi){1to16}, %zmm1, %zmm2", 4),
            ("vmulps %zmm0, %zmm1, %zmm2", 0),
            ("prefetcht0 1024(%rdi)", 0),
            ("movq (%rdi), %rax", 0),
        ] {
            assert_eq!(bytes(instruction, &zen4), want, "{instruction}");
        }
    }
}
