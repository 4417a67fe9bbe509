//! Kernels broken on purpose: whether a sweep survives a bad candidate is found out by giving it one.
//!
//! `KILN_FAULT=KERNEL:FAULT[,…]` in the environment breaks the kernels of those names where their calls are verified. Nothing
//! else reads it, and without it nothing here does anything.

use super::operands::Operands;
use std::str::FromStr;
use std::sync::OnceLock;

/// The variable in the environment.
pub const VARIABLE: &str = "KILN_FAULT";

/// What is wrong with a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has an instruction that the CPU lacks.
    Illegal,
    /// It touches memory that is not its own.
    Segment,
    /// It panics.
    Panic,
    /// Its numbers are wrong.
    Wrong,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        match text {
            "sigill" => Ok(Fault::Illegal),
            "sigsegv" => Ok(Fault::Segment),
            "panic" => Ok(Fault::Panic),
            "wrong" => Ok(Fault::Wrong),
            _ => Err(format!("{VARIABLE} knows sigill, sigsegv, panic and wrong, not '{text}'")),
        }
    }
}

/// The fault that a kernel is to have.
///
/// # Errors
/// If the variable names none.
pub fn of(kernel: &str) -> anyhow::Result<Option<Fault>> {
    static FAULTS: OnceLock<Result<Vec<(String, Fault)>, String>> = OnceLock::new();
    let faults = FAULTS.get_or_init(|| std::env::var(VARIABLE).map_or(Ok(Vec::new()), |text| parse(&text)));
    let faults = faults.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(faults.iter().find(|(name, _)| name == kernel).map(|(_, fault)| *fault))
}

fn parse(text: &str) -> Result<Vec<(String, Fault)>, String> {
    let one = |part: &str| {
        let (kernel, fault) = part.rsplit_once(':').ok_or_else(|| format!("{VARIABLE} wants KERNEL:FAULT, not '{part}'"))?;
        Ok((kernel.to_owned(), fault.parse()?))
    };
    text.split(',').filter(|p| !p.is_empty()).map(one).collect()
}

impl Fault {
    /// Has its effect: the process dies, or what was just computed is spoilt.
    pub fn strike(self, operands: &mut Operands) {
        let signal = match self {
            Fault::Illegal => libc::SIGILL,
            Fault::Segment => libc::SIGSEGV,
            Fault::Panic => panic!("broken on purpose"),
            Fault::Wrong => return operands.spoil(),
        };
        // Twice, since a handler that lets a fault have its usual effect counts on the instruction to fault again. It has no way to
        // fail for a signal that there is.
        for _ in 0..2 {
            let _ = signal_hook::low_level::raise(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_by_kernel() {
        assert_eq!(parse("a:sigill,b_2:wrong").expect("faults"), [("a".into(), Fault::Illegal), ("b_2".into(), Fault::Wrong)]);
        assert_eq!(parse("").expect("none"), []);
        assert!(parse("a").unwrap_err().contains("KERNEL:FAULT") && parse("a:typo").unwrap_err().contains("'typo'"));
    }
}
