//! What profiles, defaults and the fallback name is in the table of all kernels, as they name it.

use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::{self, Meta};
use kiln_profiles::schema::Choice;
use kiln_profiles::{codegen, defaults, lookup};

/// The kernel of a choice, which must be what the choice says.
fn registered(choice: &Choice) -> &'static Meta {
    let entry = registry::all().find(|e| e.meta.name == choice.kernel).unwrap_or_else(|| panic!("{} is not registered", choice.kernel));
    let meta = entry.meta;
    assert_eq!((meta.op.name(), meta.format.name()), (choice.op.as_str(), choice.format.as_str()), "{}", choice.kernel);
    let layout = if choice.op == "gemm" { choice.layout.as_str() } else { "row" };
    assert_eq!((meta.rust_type, meta.layout), (choice.rust_type.as_str(), layout), "{}", choice.kernel);
    meta
}

#[test]
fn shipped_choices_and_the_fallback_are() {
    let root = lookup::default_root();
    let machines = lookup::machines(root).expect("profiles");
    let shipped = machines.iter().flat_map(|m| lookup::tuned(root, &m.name).expect("a profile").0.variants).flat_map(|v| v.choices);
    let all: Vec<&Meta> = shipped.chain(codegen::fallback()).map(|choice| registered(&choice)).collect();
    assert!(all.len() > 100, "{}", all.len());
}

#[test]
fn every_default_is_and_one_layout_serves_a_format() {
    let mut count = 0;
    for format in defaults::FORMATS {
        for isa in IsaId::ALL {
            let choices = defaults::products(*format, &[*isa]);
            for choice in &choices {
                let meta = registered(choice);
                assert_eq!((meta.format, meta.isa), (*format, *isa));
                count += 1;
            }
            assert!(choices.windows(2).all(|pair| pair[0].rows() < pair[1].rows()));
        }
    }
    assert!(count > 100, "{count}");
}
