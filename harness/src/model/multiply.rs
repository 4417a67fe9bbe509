//! Multiply-add instructions: the one list of what the model counts, and what each does.

use kiln_profiles::machine::Machine;

/// The kinds: what their names begin with, the longest first where one begins another, and the
/// multiply-adds that go into an element of the result.
const KINDS: &[(&str, usize)] = &[
    // Arm.
    ("fmlal", 1),
    ("fmla", 1),
    ("fmadd", 1),
    ("bfmmla", 4),
    ("bfdot", 2),
    ("bfmlal", 1),
    ("smmla", 8),
    ("ummla", 8),
    ("usmmla", 8),
    ("sdot", 4),
    ("udot", 4),
    ("usdot", 4),
    ("smlal", 1),
    ("smull", 1),
    // x86.
    ("vfmadd", 1),
    ("vdpbf16ps", 2),
    ("vpdpb", 4),
    ("vpdpw", 2),
    ("vpmaddubsw", 2),
    ("vpmaddwd", 2),
];

/// A multiply-add instruction, as it stands in a loop.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Multiply {
    /// What its name begins with: instructions of a kind share their pipes.
    pub kind: &'static str,
    /// Multiply-adds that it does.
    pub macs: usize,
    text: String,
}

impl Multiply {
    /// What an instruction is, if it is one. The text is LLVM's: operands separated by ", ", and on x86 in
    /// AT&T's order.
    pub(super) fn of(instruction: &str, machine: &Machine) -> Option<Multiply> {
        // What encoding it has is no part of its name.
        let name = instruction.trim_start_matches("{vex} ").split_whitespace().next()?;
        let (kind, per_element) = *KINDS.iter().find(|(kind, _)| name.starts_with(kind))?;
        let elements = if machine.arch == "aarch64" { arm_elements(instruction, machine)? } else { x86_elements(instruction, name)? };
        Some(Multiply { kind, macs: elements * per_element, text: instruction.to_owned() })
    }

    /// What instructions have in common that differ in their registers alone: name and kinds of operands, and multiply-adds.
    pub(super) fn form(&self) -> String {
        let (encoding, text) = self.encoding();
        let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
        let operands: String = operands.chars().filter(|c| !c.is_ascii_digit()).collect();
        format!("{encoding}{name} {operands}, {}", self.macs)
    }

    /// Instructions of this form that do not wait for each other, and their number: each has a destination of
    /// its own, and no source changes.
    pub(super) fn independent(&self) -> (String, usize) {
        let (encoding, text) = self.encoding();
        let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
        let mut operands: Vec<String> = split(operands).into_iter().map(str::to_owned).collect();
        let x86 = self.text.contains('%');
        if x86 {
            operands.reverse();
        }
        let target = operands.first().cloned().unwrap_or_default();
        // A source in memory would measure loads: the target's neighbour in its place.
        let spare = renumbered(&target, number(&target).map_or(0, |n| n ^ 1));
        for source in operands.iter_mut().skip(1).filter(|o| o.contains('(') || o.contains('[') && !o.contains('.')) {
            *source = spare.clone();
        }
        let sources: Vec<usize> = operands.iter().skip(1).filter_map(|o| number(o)).collect();
        let registers = if x86 && !target.contains("zmm") { 16 } else { 32 };
        let mut lines = Vec::new();
        for register in (0..registers).filter(|r| !sources.contains(r)) {
            operands[0] = renumbered(&target, register);
            let mut line = operands.clone();
            if x86 {
                line.reverse();
            }
            lines.push(format!("{encoding}{name} {}", line.join(", ")));
        }
        (lines.join("\n"), lines.len())
    }

    /// The prefix that asks for an encoding, and the instruction behind it.
    fn encoding(&self) -> (&str, &str) {
        if self.text.starts_with("{vex} ") { self.text.split_at("{vex} ".len()) } else { ("", &self.text) }
    }
}

/// Elements of an Arm instruction's result, from the shape of its first operand: `v7.4s`, `z7.s`, `s7`.
fn arm_elements(instruction: &str, machine: &Machine) -> Option<usize> {
    let target = instruction.split_whitespace().nth(1)?.trim_end_matches(',');
    let Some((register, shape)) = target.split_once('.') else { return Some(1) };
    if !register.starts_with('z') {
        return shape.trim_end_matches(char::is_alphabetic).parse().ok();
    }
    let bits = match shape {
        "h" => 16,
        "s" => 32,
        "d" => 64,
        _ => return None,
    };
    Some(super::sve_bits(machine) / bits)
}

/// Elements of an x86 instruction's result.
fn x86_elements(instruction: &str, name: &str) -> Option<usize> {
    let bits = ["zmm", "ymm", "xmm"].iter().zip([512, 256, 128]).find(|(register, _)| instruction.contains(*register))?.1;
    match name {
        _ if name.ends_with("ss") || name.ends_with("sd") && name.starts_with("vfmadd") => Some(1),
        _ if name.ends_with("pd") => Some(bits / 64),
        "vpmaddubsw" => Some(bits / 16),
        _ => Some(bits / 32),
    }
}

/// Operands at the commas that stand outside of brackets.
pub(super) fn split(operands: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let outside = |c: char| {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    operands.split(outside).map(str::trim).collect()
}

/// Where the number of a vector register stands in an operand.
fn digits(operand: &str) -> Option<(usize, usize)> {
    let vector = operand.starts_with("%") && operand.contains("mm") || operand.starts_with(['v', 'z', 's', 'd', 'h']);
    let start = operand.find(|c: char| c.is_ascii_digit()).filter(|_| vector)?;
    let length = operand[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(operand.len() - start);
    Some((start, start + length))
}

fn number(operand: &str) -> Option<usize> {
    digits(operand).and_then(|(start, end)| operand[start..end].parse().ok())
}

fn renumbered(operand: &str, register: usize) -> String {
    digits(operand).map_or_else(|| operand.to_owned(), |(start, end)| format!("{}{register}{}", &operand[..start], &operand[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_profiles::lookup;

    fn macs(cpu: &str, instruction: &str) -> Option<usize> {
        let machine = lookup::machine(lookup::default_root(), cpu).unwrap();
        Multiply::of(instruction, &machine).map(|m| m.macs)
    }

    #[test]
    fn multiply_adds_are_counted_by_kind_and_width() {
        for (instruction, on_n2, on_v1) in [
            ("fmla v1.4s, v0.4s, v2.s[0]", 4, 4),
            ("fmla v1.2d, v0.2d, v2.d[0]", 2, 2),
            ("fmlal2 v1.4s, v0.4h, v2.h[1]", 4, 4),
            ("bfdot v1.4s, v0.8h, v2.2h[1]", 8, 8),
            ("bfmmla v1.4s, v0.8h, v2.8h", 16, 16),
            ("sdot v1.4s, v0.16b, v2.4b[3]", 16, 16),
            ("smmla v1.4s, v0.16b, v2.16b", 32, 32),
            ("smull v1.8h, v0.8b, v2.8b", 8, 8),
            ("fmadd s1, s0, s2, s1", 1, 1),
            ("fmla z1.s, z0.s, z2.s[0]", 4, 8),
            ("smmla z1.s, z0.b, z2.b", 32, 64),
        ] {
            assert_eq!((macs("neoverse-n2", instruction), macs("neoverse-v1", instruction)), (Some(on_n2), Some(on_v1)), "{instruction}");
        }
        for (instruction, want) in [
            ("vfmadd231ps (%rax){1to16}, %zmm1, %zmm2", Some(16)),
            ("vfmadd213ps %ymm0, %ymm1, %ymm2", Some(8)),
            ("vfmadd231ss %xmm0, %xmm1, %xmm2", Some(1)),
            ("vdpbf16ps %zmm0, %zmm1, %zmm2", Some(32)),
            ("vpdpbusd %ymm0, %ymm1, %ymm2", Some(32)),
            ("{vex} vpdpbusd (%rax), %ymm1, %ymm2", Some(32)),
            ("vpaddd %ymm0, %ymm1, %ymm2", None),
        ] {
            assert_eq!(macs("zen4", instruction), want, "{instruction}");
        }
    }

    #[test]
    fn instructions_that_differ_in_registers_alone_have_one_form() {
        let form = |cpu: &str, text: &str| Multiply::of(text, &lookup::machine(lookup::default_root(), cpu).unwrap()).unwrap().form();
        let arm = |text: &str| form("neoverse-n2", text);
        assert_eq!(arm("fmla v1.4s, v0.4s, v2.s[0]"), arm("fmla v19.4s, v7.4s, v30.s[3]"));
        let forms = ["fmla v1.4s, v0.4s, v2.s[0]", "fmla v1.2s, v0.2s, v2.s[0]", "fmla v1.4s, v0.4s, v2.4s", "fmla z1.s, z0.s, z2.s[0]"];
        let x86 = |text: &str| form("zen4", text);
        assert_eq!(x86("vfmadd231ps %ymm0, %ymm1, %ymm2"), x86("vfmadd231ps %ymm10, %ymm11, %ymm12"));
        let others = ["vfmadd231ps %ymm0, %ymm1, %ymm2", "vfmadd231ps %zmm0, %zmm1, %zmm2", "vfmadd213ps %ymm0, %ymm1, %ymm2"];
        let all: std::collections::BTreeSet<String> = forms.into_iter().map(arm).chain(others.into_iter().map(x86)).collect();
        assert_eq!(all.len(), forms.len() + others.len(), "{all:?}");
        assert_ne!(x86("{vex} vpdpbusd %ymm0, %ymm1, %ymm2"), x86("vpdpbusd %ymm0, %ymm1, %ymm2"));
    }

    #[test]
    fn independent_instructions_write_no_source() {
        let machine = lookup::machine(lookup::default_root(), "neoverse-n2").unwrap();
        let (text, count) = Multiply::of("fmla z9.s, z3.s, z0.s[2]", &machine).unwrap().independent();
        assert_eq!(count, 30);
        assert!(text.starts_with("fmla z1.s, z3.s, z0.s[2]\nfmla z2.s, z3.s, z0.s[2]\nfmla z4.s,"), "{text}");
        let machine = lookup::machine(lookup::default_root(), "zen4").unwrap();
        let (text, count) = Multiply::of("vfmadd231ps 8(%rax,%rbx){1to16}, %zmm1, %zmm2", &machine).unwrap().independent();
        assert_eq!(count, 30);
        assert!(text.starts_with("vfmadd231ps %zmm3, %zmm1, %zmm0\nvfmadd231ps %zmm3, %zmm1, %zmm2\n"), "{text}");
        let (text, count) = Multiply::of("{vex} vpdpbusd %ymm0, %ymm1, %ymm2", &machine).unwrap().independent();
        assert!(count == 14 && text.starts_with("{vex} vpdpbusd %ymm0, %ymm1, %ymm2\n"), "{text}");
    }
}
