//! From tuned profiles to Rust: what a build script writes and the engine includes.
//!
//! Every kernel is named as a type, so a profile that names a kernel which no longer exists does
//! not compile; a kernel whose sources have changed compiles and is marked stale.

use crate::defaults;
use crate::error::Error;
use crate::machine::Machine;
use crate::schema::{BlockSizes, Choice, Class, Named, Parts, Tuned, Variant};
use kiln_kernels::format::Format;
use kiln_kernels::gemm::Caches;
use kiln_kernels::isa::IsaId;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A profile to bake; the machine is there when the profile is one of the project's own.
#[derive(Clone, Debug)]
pub struct Source {
    /// The winners.
    pub tuned: Tuned,
    /// How their CPU is recognised.
    pub machine: Option<Machine>,
}

/// How many choices an operation has in a profile.
#[derive(Clone, Copy, PartialEq)]
enum Count {
    /// Exactly one of the class.
    One,
    /// Any number of the class.
    Perhaps,
    /// One for each of several formats, that one among them.
    Many(Format),
}

macro_rules! define_needed {
    (product { $($product:tt)+ }
     formats { $($many:ident $many_op:ident $many_handle:ty, $many_format:ident $many_doc:literal;)+ }
     rows { $($one:ident $one_op:ident $one_handle:ty, $one_format:ident $one_doc:literal;)+ }
     attention { $($attention:ident $attention_op:ident $attention_handle:ty, $attention_format:ident $attention_doc:literal;)+ }) => {
        /// The operations of the engine, with their classes.
        const NEEDED: &[(&str, Class, Count)] = &[
            ("gemm", Class::Decode, Count::Many(Format::F32)),
            ("gemm", Class::Few, Count::Perhaps),
            ("gemm", Class::Prefill, Count::Many(Format::F32)),
            $((stringify!($many), Class::Row, Count::Many(Format::$many_format)),)+
            $((stringify!($one), Class::Row, Count::One),)+
            $((stringify!($attention), Class::Row, Count::Many(Format::$attention_format)),)+
        ];
    };
}
kiln_kernels::with_ops!([define_needed]);

/// The fallback's kernels: plain Rust, on every CPU. Operation, format, class, kernel and its type.
const FALLBACK: &[(&str, &str, Class, &str, &str)] = &[
    ("gemm", "f32", Class::Decode, "gemm_f32_scalar_1x4v_u1", "gemm::F32::<isa::Scalar, 1, 4, 1>"),
    ("gemm", "f32", Class::Prefill, "gemm_f32_scalar_4x4v_u1", "gemm::F32::<isa::Scalar, 4, 4, 1>"),
    ("gemm", "bf16r", Class::Decode, "gemm_bf16r_scalar_1x4v_u1", "gemm::Bf16Rounded::<isa::Scalar, 1, 4, 1>"),
    ("gemm", "bf16r", Class::Prefill, "gemm_bf16r_scalar_4x4v_u1", "gemm::Bf16Rounded::<isa::Scalar, 4, 4, 1>"),
    ("dequantise", "q8_0", Class::Row, "dequantise_q8_0_scalar_u1", "quantise::Q8_0::<isa::Scalar, 1>"),
    ("dequantise", "q4_0", Class::Row, "dequantise_q4_0_scalar_u1", "quantise::Q4_0::<isa::Scalar, 1>"),
    ("dequantise", "q4_1", Class::Row, "dequantise_q4_1_scalar_u1", "quantise::Q4_1::<isa::Scalar, 1>"),
    ("dequantise", "q5_0", Class::Row, "dequantise_q5_0_scalar_u1", "quantise::Q5_0::<isa::Scalar, 1>"),
    ("dequantise", "q5_1", Class::Row, "dequantise_q5_1_scalar_u1", "quantise::Q5_1::<isa::Scalar, 1>"),
    ("dequantise", "q4_k", Class::Row, "dequantise_q4_k_scalar_u1", "quantise::Q4K::<isa::Scalar, 1>"),
    ("dequantise", "q5_k", Class::Row, "dequantise_q5_k_scalar_u1", "quantise::Q5K::<isa::Scalar, 1>"),
    ("dequantise", "q6_k", Class::Row, "dequantise_q6_k_scalar_u1", "quantise::Q6K::<isa::Scalar, 1>"),
    ("rms_norm", "f32", Class::Row, "rms_norm_f32_scalar_u1_r1_s0_a0", "norm::Rms::<isa::Scalar, 1, 1, 0, 0>"),
    ("layer_norm", "f32", Class::Row, "layer_norm_f32_scalar_u1_r1_s0_a0", "norm::Layer::<isa::Scalar, 1, 1, 0, 0>"),
    ("add_rms_norm", "f32", Class::Row, "add_rms_norm_f32_scalar_u1_s0", "norm::AddRms::<isa::Scalar, 1, 0>"),
    ("rms_norm_quantise", "f32", Class::Row, "rms_norm_quantise_f32_scalar_u1", "norm::RmsQuantise::<isa::Scalar, 1>"),
    ("f16_to_f32", "f16", Class::Row, "f16_to_f32_scalar_u1_s0_a0", "convert::Widen::<isa::Scalar, 1, 0, 0>"),
    ("f32_to_f16", "f32", Class::Row, "f32_to_f16_scalar_u1_s0_a0", "convert::Narrow::<isa::Scalar, 1, 0, 0>"),
    ("bf16_to_f32", "bf16", Class::Row, "bf16_to_f32_scalar_u1_s0_a0", "convert::WidenBf16::<isa::Scalar, 1, 0, 0>"),
    ("f32_to_bf16", "f32", Class::Row, "f32_to_bf16_scalar_u1_s0_a0", "convert::NarrowBf16::<isa::Scalar, 1, 0, 0>"),
    ("quantise", "f32", Class::Row, "quantise_f32_scalar_u1", "quantise::ToQ8_0::<isa::Scalar, 1>"),
    ("rope", "f32", Class::Row, "rope_f32_scalar_u1", "rope::Turn::<isa::Scalar, 1>"),
    ("silu_mul", "f32", Class::Row, "silu_mul_f32_scalar_u1", "gate::Silu::<isa::Scalar, 1>"),
    ("silu_mul_quantise", "f32", Class::Row, "silu_mul_quantise_f32_scalar_u1", "gate::SiluQuantise::<isa::Scalar, 1>"),
    ("softmax", "f32", Class::Row, "softmax_f32_scalar_u1_r1_a0", "softmax::Three::<isa::Scalar, 1, 1, 0>"),
    ("argmax", "f32", Class::Row, "argmax_f32_scalar_u1", "select::First::<isa::Scalar, 1>"),
    ("top_k", "f32", Class::Row, "top_k_f32_scalar_u1", "select::Few::<isa::Scalar, 1>"),
    ("attention", "f32", Class::Row, "attention_f32_scalar_r4_v4_t64", "attention::ManyF32::<isa::Scalar, 4, 4, 64>"),
    ("attention", "f16", Class::Row, "attention_f16_scalar_r4_v4_t64", "attention::ManyF16::<isa::Scalar, 4, 4, 64>"),
    ("attention", "bf16", Class::Row, "attention_bf16_scalar_r4_v4_t64", "attention::ManyBf16::<isa::Scalar, 4, 4, 64>"),
    ("attention", "q8_0", Class::Row, "attention_q8_0_scalar_r4_v4_t64", "attention::ManyQ8_0::<isa::Scalar, 4, 4, 64>"),
    ("attention_decode", "f32", Class::Row, "attention_decode_f32_scalar_h4_v4_t64_a0", "attention::OneF32::<isa::Scalar, 4, 4, 64, 0>"),
    ("attention_decode", "f16", Class::Row, "attention_decode_f16_scalar_h4_v4_t64_a0", "attention::OneF16::<isa::Scalar, 4, 4, 64, 0>"),
    ("attention_decode", "bf16", Class::Row, "attention_decode_bf16_scalar_h4_v4_t64_a0", "attention::OneBf16::<isa::Scalar, 4, 4, 64, 0>"),
    ("attention_decode", "q8_0", Class::Row, "attention_decode_q8_0_scalar_h4_v4_t64_a0", "attention::OneQ8_0::<isa::Scalar, 4, 4, 64, 0>"),
];

/// Rust source that defines `pub static CANDIDATES: &[kiln_profiles::baked::Candidate]`: the
/// variants of each profile in the order given, and the fallback.
///
/// # Errors
/// If a profile is for another architecture, lacks an operation, mixes packed layouts, or holds
/// text that is not a kernel type.
pub fn generate(sources: &[Source], target_arch: &str) -> Result<String, Error> {
    let mut functions = String::new();
    let mut table = String::new();
    let mut number = 0;
    for source in sources {
        let tuned = &source.tuned;
        let unfit = |message: String| Error::Unfit { profile: tuned.cpu.clone(), message };
        if tuned.arch != target_arch {
            return Err(unfit(format!("it is for {}, but the target is {target_arch}", tuned.arch)));
        }
        if tuned.variants.is_empty() {
            return Err(unfit("it has no [[variant]]".into()));
        }
        for (index, variant) in tuned.variants.iter().enumerate() {
            let choices = complete(variant, &tuned.variants[index + 1..]);
            check(&choices).map_err(unfit)?;
            let caches =
                source.machine.as_ref().map_or(Caches::default(), |m| Caches { l1: m.caches.l1, l2: m.caches.l2, l3: m.caches.l3 });
            function(&mut functions, number, (&tuned.cpu, tuned.tier.name()), caches, &choices);
            let cpus: Vec<String> = source
                .machine
                .iter()
                .flat_map(|m| &m.matches)
                .map(|m| format!("({:?}, {}, &{:?})", m.vendor, m.family, m.models))
                .collect();
            candidate(&mut table, number, &tuned.cpu, &variant.isas, &cpus.join(", "));
            number += 1;
        }
    }
    function(&mut functions, number, ("fallback", "predicted"), Caches::default(), &fallback());
    candidate(&mut table, number, "fallback", &["scalar".into()], "");
    Ok(format!(
        "// Written by the build script from tuned profiles; changes are lost.\n\
         use std::sync::Arc;\n\n\
         use kiln_profiles::baked::{{Arithmetic, Blocking, Caches, Candidate, Format, GemmChoice, LinearKernel, Ops, Products, Reason}};\n\n\
         /// The kernels in this binary, best first; the last runs everywhere.\n\
         pub static CANDIDATES: &[Candidate] = &[\n{table}];\n\n{functions}"
    ))
}

fn candidate(table: &mut String, number: usize, profile: &str, isas: &[String], cpus: &str) {
    let _ = writeln!(table, "    Candidate {{ profile: {profile:?}, isas: &{isas:?}, cpus: &[{cpus}], make: make_{number} }},");
}

/// One `make_N`: the choices as handles, and their reasons.
fn function(out: &mut String, number: usize, (profile, tier): (&str, &str), caches: Caches, choices: &[Choice]) {
    let _ = writeln!(out, "fn make_{number}() -> Option<Ops> {{\n    static REASONS: &[Reason] = &[");
    for c in choices {
        // Rows of a table may have the same kernel.
        let stale: Vec<String> = c.kernels().filter_map(changed).collect::<BTreeSet<_>>().into_iter().collect();
        let stale = if stale.is_empty() { "false".into() } else { stale.join(" || ") };
        let _ = writeln!(
            out,
            "        Reason {{ op: {:?}, format: {:?}, class: {:?}, threads: {}, kernel: {:?}, runner_up: {:?}, margin: {:?}, margin_ci: {:?}, regret: {:?}, worst_regret: {:?}, tier: {:?}, note: {:?}, stale: {stale} }},",
            c.op,
            c.format,
            c.class.name(),
            c.threads,
            c.kernel,
            c.runner_up,
            c.margin,
            c.margin_ci.map(|[l, h]| (l, h)),
            c.regret,
            c.worst_regret,
            c.tier.name(),
            c.note
        );
    }
    let Caches { l1, l2, l3 } = caches;
    let _ = writeln!(out, "    ];\n    let caches = Caches {{ l1: {l1}, l2: {l2}, l3: {l3} }};");
    let _ = writeln!(
        out,
        "    Some(Ops {{\n        profile: {profile:?},\n        tier: {tier:?},\n        arithmetic: Arithmetic::F32,\n        gemm: vec!["
    );
    for format in defaults::FORMATS {
        let mut of_format: Vec<&Choice> = choices.iter().filter(|c| c.op == "gemm" && c.format == format.name()).collect();
        of_format.sort_by_key(|c| c.rows());
        if !of_format.is_empty() {
            let _ = writeln!(out, "            Products {{ format: Format::{format:?}, choices: vec![");
            of_format.iter().for_each(|c| product(out, c));
            let _ = writeln!(out, "            ] }},");
        }
    }
    let _ = writeln!(out, "        ],");
    for (op, _, count) in NEEDED.iter().filter(|(op, ..)| *op != "gemm") {
        let handles: Vec<String> = choices.iter().filter(|c| c.op == *op).map(|c| format!("{}::handle()?", path(&c.rust_type))).collect();
        let handles = handles.join(", ");
        let _ = if matches!(count, Count::Many(_)) {
            writeln!(out, "        {op}: vec![{handles}],")
        } else {
            writeln!(out, "        {op}: {handles},")
        };
    }
    let _ = writeln!(out, "        reasons: REASONS,\n    }})\n}}\n");
}

/// One choice for products.
fn product(out: &mut String, c: &Choice) {
    let upto = |most: Option<usize>| most.filter(|m| *m != usize::MAX).map_or("usize::MAX".into(), |m| m.to_string());
    let _ = writeln!(
        out,
        "                {{ {} GemmChoice {{ m_max: {}, {}, spin: {:?}, table: vec![",
        kernel(&c.rust_type),
        upto(Some(c.rows())),
        run(c.blocking, c.split),
        c.spin
    );
    for row in &c.table {
        let bounds = row.bounds().map(upto).join(", ");
        let _ = writeln!(
            out,
            "                    {{ {} kiln_profiles::baked::When {{ upto: [{bounds}], {} }} }}, // {}",
            kernel(&row.rust_type),
            run(row.blocking, row.split),
            row.kernel
        );
    }
    let _ = writeln!(out, "                ] }} }},");
}

/// The statement that makes a kernel.
fn kernel(rust_type: &str) -> String {
    format!("let kernel: Arc<dyn LinearKernel> = Arc::new({}::handle()?);", path(rust_type))
}

/// The fields that say how that kernel runs.
fn run(blocking: Option<BlockSizes>, split: Option<Parts>) -> String {
    let blocking = match blocking {
        Some(b) => {
            let order = kiln_kernels::gemm::Order::from(b.order);
            format!("Blocking {{ kc: {}, mc: {}, nc: {}, order: kiln_kernels::gemm::Order::{order:?} }}", b.kc, b.mc, b.nc)
        }
        None => "kernel.blocking(caches)".into(),
    };
    let split = match split {
        Some(Parts { rows, cols }) => format!("Some(kiln_profiles::baked::Split {{ rows: {rows}, cols: {cols} }})"),
        None => "None".into(),
    };
    format!("blocking: {blocking}, kernel, split: {split}")
}

/// The condition that a kernel's sources have changed; `None` if it was not compared.
fn changed(Named { rust_type, fingerprint, .. }: Named) -> Option<String> {
    let fingerprint = u64::from_str_radix(fingerprint, 16).ok().filter(|f| *f != 0)?;
    let plain = path(rust_type).replace("::<", "<");
    Some(format!("<{plain} as kiln_kernels::registry::Registered>::META.fingerprint != {fingerprint:#x}"))
}

/// `kiln_kernels::gemm::F32::<kiln_kernels::isa::Avx2, 6, 2, 4>`.
fn path(rust_type: &str) -> String {
    format!("kiln_kernels::{}", rust_type.replace("isa::", "kiln_kernels::isa::"))
}

/// The choices of a variant that the engine runs, `later` being those behind it in its profile. What it lacks it takes from
/// the first `later` one that has it and whose instruction sets it needs too; products of other formats than f32 are completed
/// by the defaults of those sets.
pub fn complete(variant: &Variant, later: &[Variant]) -> Vec<Choice> {
    let is_smaller = |other: &&Variant| other.isas.iter().all(|isa| variant.isas.contains(isa));
    let mut choices: Vec<Choice> = Vec::new();
    for variant in [variant].into_iter().chain(later.iter().filter(is_smaller)) {
        let lacks = |c: &Choice| !choices.iter().any(|have| (&have.op, &have.format) == (&c.op, &c.format));
        let more: Vec<Choice> = variant.choices.iter().filter(|c| is_for_engine(c) && lacks(c)).cloned().collect();
        choices.extend(more);
    }
    let isas: Vec<IsaId> = variant.isas.iter().filter_map(|isa| isa.parse().ok()).collect();
    for format in defaults::FORMATS {
        if !choices.iter().any(|c| c.op == "gemm" && c.format == format.name()) {
            choices.extend(defaults::products(*format, &isas));
        }
    }
    choices
}

/// Whether the engine runs what was chosen: profiles also keep the winners of products that it does not compute.
fn is_for_engine(c: &Choice) -> bool {
    c.op != "gemm" || defaults::FORMATS.iter().any(|format| format.name() == c.format)
}

fn check(choices: &[Choice]) -> Result<(), String> {
    for (op, class, wanted) in NEEDED {
        let of_op: Vec<&Choice> = choices.iter().filter(|c| c.op == *op && c.class == *class).collect();
        let (class, count) = (class.name(), of_op.len());
        let fits = match wanted {
            Count::One => count == 1,
            Count::Perhaps => true,
            Count::Many(format) if count > 0 && of_op.iter().all(|c| c.format != format.name()) => {
                return Err(format!("it has no choice for {op} of {format}, which is needed; sweep and bake that format"));
            }
            Count::Many(_) => count > 0,
        };
        if !fits && count == 0 {
            return Err(format!("it has 0 choices for {op} ({class}), one is needed; sweep and bake that operation"));
        } else if !fits {
            return Err(format!("it has {count} choices for {op} ({class}), one is enough"));
        }
    }
    if let Some(c) = choices.iter().find(|c| !NEEDED.iter().any(|(op, class, _)| (*op, *class) == (c.op.as_str(), c.class))) {
        return Err(format!("it has a choice for {} ({}), which the engine does not know", c.op, c.class.name()));
    }
    for format in defaults::FORMATS {
        let of_format = || choices.iter().filter(|c| c.op == "gemm" && c.format == format.name());
        let layouts: Vec<&str> = of_format().flat_map(Choice::kernels).map(|kernel| kernel.layout).collect();
        if layouts.windows(2).any(|w| w[0] != w[1]) {
            return Err(format!("its kernels for gemm of {format} pack weights differently ({})", layouts.join(", ")));
        }
        if !layouts.is_empty() && of_format().all(|c| c.rows() != usize::MAX) {
            return Err(format!("it has no choice for gemm of {format} with any number of rows"));
        }
        if let Some(twice) = of_format().find(|c| of_format().filter(|other| other.rows() == c.rows()).count() > 1) {
            return Err(format!("it has several choices for gemm of {format} ({}), one is enough", twice.class.name()));
        }
    }
    if let Some(c) = choices.iter().find(|c| c.op != "gemm" && !c.table.is_empty()) {
        return Err(format!("its choice for {} has a table, which matrix products alone can have", c.op));
    }
    match choices.iter().flat_map(Choice::kernels).find(|kernel| !is_type(kernel.rust_type)) {
        Some(kernel) => Err(format!("'{}' is not a kernel type", kernel.rust_type)),
        None => Ok(()),
    }
}

/// Whether text is a path with plain generic arguments: it is pasted into code.
fn is_type(text: &str) -> bool {
    text.contains("::<isa::") && text.ends_with('>') && text.chars().all(|c| c.is_ascii_alphanumeric() || "_:<>, ".contains(c))
}

/// What every build has beside its profiles: a kernel for each operation that runs on any CPU of any architecture.
pub fn fallback() -> Vec<Choice> {
    let note = "fallback in plain Rust for a CPU that none of the baked kernels run on";
    let choice = |(op, format, class, kernel, rust_type): &(&str, &str, Class, &str, &str)| {
        let layout = if *format == Format::F32.name() { "b4v-scalar".into() } else { format!("{format}-b4v-scalar") };
        Choice::unmeasured((op, format, *class), ((*kernel).into(), (*rust_type).into()), layout, note)
    };
    FALLBACK.iter().map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup;
    use crate::schema::When;

    fn shipped() -> Vec<Source> {
        let root = lookup::default_root();
        let machines = lookup::machines(root).unwrap();
        machines.into_iter().map(|m| Source { tuned: lookup::tuned(root, &m.name).unwrap().0, machine: Some(m) }).collect()
    }

    #[test]
    fn shipped_profiles_generate_for_their_own_architecture_alone() {
        for source in shipped() {
            let arch = source.tuned.arch.clone();
            let code = generate(std::slice::from_ref(&source), &arch).unwrap();
            assert!(code.contains(&format!("profile: {:?}", source.tuned.cpu)));
            let error = generate(&[source], "riscv64").unwrap_err().to_string();
            assert!(error.contains("riscv64"), "{error}");
        }
    }

    #[test]
    fn a_split_and_a_spin_are_baked_and_are_not_needed() {
        let mut source = shipped().swap_remove(0);
        let arch = source.tuned.arch.clone();
        let code = |source: &Source| generate(std::slice::from_ref(source), &arch).unwrap();
        assert!(code(&source).contains("split: None, spin: None, table"));
        for choice in source.tuned.variants.iter_mut().flat_map(|v| &mut v.choices) {
            (choice.split, choice.spin) = ("2x1".parse().ok(), Some(500));
        }
        assert!(code(&source).contains("split: Some(kiln_profiles::baked::Split { rows: 2, cols: 1 }), spin: Some(500), table"));
    }

    /// A row like the choice itself, for few columns.
    fn row(c: &Choice) -> When {
        let Choice { kernel, rust_type, fingerprint, layout, .. } = c.clone();
        let blocking = Some(BlockSizes { kc: 7, mc: 8, nc: 9, order: Default::default() });
        When { m_max: None, n_max: Some(900), k_max: None, kernel, rust_type, fingerprint, layout, blocking, split: None }
    }

    #[test]
    fn the_rows_of_a_table_are_baked() {
        let mut source = shipped().swap_remove(0);
        let arch = source.tuned.arch.clone();
        for choice in source.tuned.variants.iter_mut().flat_map(|v| &mut v.choices).filter(|c| c.op == "gemm") {
            choice.fingerprint = "ab".into();
            choice.table = vec![row(choice)];
        }
        let code = generate(std::slice::from_ref(&source), &arch).unwrap();
        // Whether a kernel has changed is asked once, however many rows have it.
        assert!(code.contains(".fingerprint != 0xab }") && !code.contains("!= 0xab || "), "{code}");
        assert!(code.contains("When { upto: [usize::MAX, 900, usize::MAX], blocking: Blocking { kc: 7, mc: 8, nc: 9, order:"), "{code}");
    }

    #[test]
    fn unfit_profiles_are_refused() {
        let mut sources = shipped();
        let source = &mut sources[0];
        let arch = source.tuned.arch.clone();
        let good = source.tuned.clone();
        let refused = |change: &dyn Fn(&mut Tuned), part: &str| {
            let mut tuned = good.clone();
            change(&mut tuned);
            let error = generate(&[Source { tuned, machine: None }], &arch).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(&|t| t.variants.clear(), "no [[variant]]");
        // The last has choices of its own, whatever the others take from it.
        refused(&|t| drop(t.variants.last_mut().unwrap().choices.remove(0)), "no choice for gemm of f32");
        refused(&|t| t.variants.last_mut().unwrap().choices[0].layout = "other".into(), "pack weights differently");
        refused(&|t| t.variants.last_mut().unwrap().choices[0].rust_type = "x::<isa::A>::handle(); evil".into(), "not a kernel type");
        let with_row = |t: &mut Tuned, op: &str, change: &dyn Fn(&mut When)| {
            let choice = t.variants.last_mut().unwrap().choices.iter_mut().find(|c| (c.op == "gemm") == (op == "gemm")).unwrap();
            choice.table = vec![row(choice)];
            change(&mut choice.table[0]);
        };
        refused(&|t| with_row(t, "gemm", &|row| row.layout = "other".into()), "pack weights differently");
        refused(&|t| with_row(t, "gemm", &|row| row.rust_type = "x::<isa::A>::handle(); evil".into()), "not a kernel type");
        refused(&|t| with_row(t, "other", &|_| {}), "has a table");
    }
}
