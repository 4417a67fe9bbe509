//! Constraints on the space that is searched: comparisons of products of parameters and numbers, such as `MR*NR<=96`.
//!
//! They narrow a sweep down to what somebody wants to look at. The default stays, since all else is held against it, and so
//! does a candidate that lacks a parameter: nothing is said of it.

use super::{Candidate, Pruned};
use std::collections::BTreeSet;
use std::str::FromStr;

/// One comparison.
#[derive(Clone, Debug)]
pub struct Constraint {
    text: String,
    left: Vec<Factor>,
    holds: Comparison,
    right: Vec<Factor>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Factor {
    Number(u128),
    /// In capitals.
    Parameter(String),
}

/// What holds between two numbers.
type Comparison = fn(&u128, &u128) -> bool;

/// Comparisons, the longer ones first.
const COMPARISONS: [(&str, Comparison); 7] =
    [("<=", u128::le), (">=", u128::ge), ("==", u128::eq), ("!=", u128::ne), ("<", u128::lt), (">", u128::gt), ("=", u128::eq)];

impl FromStr for Constraint {
    type Err = String;

    fn from_str(text: &str) -> Result<Constraint, String> {
        let parts = COMPARISONS.iter().find_map(|(sign, holds)| Some((text.split_once(sign)?, *holds)));
        let parsed = parts.and_then(|((left, right), holds)| {
            Some(Constraint { text: text.trim().into(), left: product(left)?, holds, right: product(right)? })
        });
        parsed.ok_or_else(|| format!("'{text}' is no constraint: compare products of parameters and numbers, as in MR*NR<=96 or KC>=256"))
    }
}

fn product(text: &str) -> Option<Vec<Factor>> {
    let factor = |part: &str| match part.trim() {
        number if number.starts_with(|c: char| c.is_ascii_digit()) => Some(Factor::Number(number.parse().ok()?)),
        name if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Some(Factor::Parameter(name.to_ascii_uppercase()))
        }
        _ => None,
    };
    text.split('*').map(factor).collect()
}

impl Constraint {
    /// Whether a candidate keeps to it. `None` if it lacks a parameter.
    fn holds(&self, parameters: &[(&'static str, usize)]) -> Option<bool> {
        let value = |factors: &[Factor]| {
            factors.iter().try_fold(1u128, |product, factor| {
                Some(product.saturating_mul(match factor {
                    Factor::Number(number) => *number,
                    Factor::Parameter(name) => parameters.iter().find(|p| p.0.eq_ignore_ascii_case(name))?.1 as u128,
                }))
            })
        };
        Some((self.holds)(&value(&self.left)?, &value(&self.right)?))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.left.iter().chain(&self.right).filter_map(|factor| match factor {
            Factor::Parameter(name) => Some(name.as_str()),
            Factor::Number(_) => None,
        })
    }
}

/// The parameters of a candidate: its kernel's own, the columns of a tile, the blocking, and on several threads the split and
/// the turns of spinning.
fn parameters(candidate: &Candidate) -> Vec<(&'static str, usize)> {
    let mut all = candidate.entry.meta.params.to_vec();
    all.extend((candidate.tile.1 > 0).then_some(("NR", candidate.tile.1)));
    all.extend(candidate.blocking.into_iter().flat_map(|b| [("KC", b.kc), ("MC", b.mc), ("NC", b.nc)]));
    all.extend(candidate.split.into_iter().flat_map(|s| [("ROWS", s.rows), ("COLS", s.cols)]));
    all.extend(candidate.spin.map(|spin| ("SPIN", spin as usize)));
    all
}

/// Leaves out the candidates that do not keep to all constraints.
///
/// What a candidate has no such parameter for holds: [`refuse_unknown`] says of names that nothing has.
pub fn constrain(candidates: Vec<Candidate>, constraints: &[Constraint]) -> (Vec<Candidate>, Vec<Pruned>) {
    let known: Vec<_> = candidates.iter().map(parameters).collect();
    let (mut kept, mut pruned) = (Vec::new(), Vec::new());
    for (candidate, parameters) in candidates.into_iter().zip(known) {
        match constraints.iter().find(|c| !candidate.default && c.holds(&parameters) == Some(false)) {
            Some(constraint) => pruned.push(Pruned { kernel: candidate.entry.meta.name, reason: format!("not {}", constraint.text) }),
            None => kept.push(candidate),
        }
    }
    (kept, pruned)
}

/// Refuses constraints on parameters that none of all candidates has.
///
/// # Errors
/// With the names that there are.
pub fn refuse_unknown<'a>(candidates: impl Iterator<Item = &'a Candidate>, constraints: &[Constraint]) -> anyhow::Result<()> {
    let names: BTreeSet<&str> = candidates.flat_map(parameters).map(|p| p.0).collect();
    for name in constraints.iter().flat_map(Constraint::names) {
        let has = names.iter().any(|known| known.eq_ignore_ascii_case(name));
        anyhow::ensure!(has, "no candidate has a parameter {name}: there are {}", names.iter().copied().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Blockings, Problem, Temperature, candidates};
    use super::*;
    use kiln_kernels::gemm::Caches;
    use kiln_kernels::registry::{self, Op};

    fn space() -> Vec<Candidate> {
        let shape = "512x512x512".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: true, threads: 1, operands: Temperature::Hot };
        let caches = Caches { l1: 32 << 10, l2: 1 << 20, l3: 16 << 20 };
        candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Near, caches).expect("candidates").0
    }

    #[test]
    fn what_is_left_keeps_to_every_constraint_and_the_default_stays() {
        let all = space();
        let constraints = ["mr * NR <= 48", "KC>=256"].map(|text| text.parse::<Constraint>().expect("a constraint"));
        let (kept, pruned) = constrain(all.clone(), &constraints);
        assert_eq!(kept.len() + pruned.len(), all.len());
        assert!(!pruned.is_empty() && kept.iter().any(|c| c.default));
        let keeps = |c: &Candidate| c.tile.0 * c.tile.1 <= 48 && c.blocking.is_some_and(|b| b.kc >= 256);
        assert!(kept.iter().all(|c| c.default || keeps(c)));
        let expected = all.iter().filter(|c| c.default || keeps(c)).count();
        assert_eq!(kept.len(), expected, "something that keeps to them was left out");
        assert!(pruned.iter().all(|p| p.reason == "not mr * NR <= 48" || p.reason == "not KC>=256"), "{pruned:?}");
    }

    #[test]
    fn every_comparison_compares_and_what_lacks_a_parameter_is_left_alone() {
        let holds = |text: &str| text.parse::<Constraint>().expect("a constraint").holds(&[("MR", 6), ("NV", 2)]);
        for (text, is) in
            [("MR<6", false), ("MR<=6", true), ("MR>6", false), ("6>=MR", true), ("MR=6", true), ("MR==7", false), ("MR!=7", true)]
        {
            assert_eq!(holds(text), Some(is), "{text}");
        }
        assert_eq!((holds("MR*NV*2>=24"), holds("KU<=1")), (Some(true), None));
        assert_eq!(holds(&format!("MR*{0}*{0}>{0}", u128::MAX)), Some(false), "products that are too large are not, but nothing overflows");
    }

    #[test]
    fn what_is_no_constraint_and_what_nothing_has_is_refused() {
        for text in ["", "MR", "MR<=", "<=4", "MR*<=4", "MR<=4 NV", "MR+1<=4", "MR<=4x", "MR<=-1", "MR<==4"] {
            assert!(text.parse::<Constraint>().is_err_and(|e| e.contains("MR*NR<=96")), "{text}");
        }
        let error = refuse_unknown(space().iter(), &["WARPS<=4".parse().expect("a constraint")]).expect_err("refused").to_string();
        assert!(error.contains("WARPS") && error.contains("KC, ") && !error.contains('\n'), "{error}");
    }
}
