//! Who is to blame when a comparison comes to nothing: one of the two gave a wrong answer there, or ended the process. It is
//! recorded as wrong, so that the time that it took by itself does not count any more.

use super::Group;
use super::session::Session;
use crate::measure::apart::Job;
use crate::store::{Config, Outcome};

/// Quadruples of a comparison that only is to show whether there can be one.
const FEW: usize = 2;

impl Session<'_> {
    /// Records as wrong what spoilt a comparison of two configurations of a problem, which ended for the reason `why`.
    ///
    /// # Errors
    /// If the bench cannot be started, or the store cannot be written.
    pub(super) fn blame(&mut self, group: &Group, two: [&Config; 2], why: &str) -> anyhow::Result<()> {
        let [one, other] = two.map(Config::label);
        self.progress.note(&format!("a comparison of {one} with {other} came to nothing: {why}"));
        let mut guilty: Vec<(&Config, String)> = named(two, why).map(|config| (config, why.to_owned())).into_iter().collect();
        if guilty.is_empty() {
            // A process that died does not say of whom. Each is compared with itself.
            for config in two {
                guilty.extend(self.alone(config)?.map(|why| (config, why)));
            }
        }
        if guilty.is_empty() {
            // It does not happen again, but what may crash must not win. Only the default is beyond doubt: all else is held
            // against it.
            guilty.extend(two.into_iter().filter(|config| !group.is_default(config)).map(|config| (config, why.to_owned())));
        }
        for (config, reason) in guilty {
            self.progress.note(&format!("not valid, so it does not count: {}: {reason}", config.label()));
            self.keep(config.clone(), group.is_default(config), None, Outcome::Invalid { reason })?;
        }
        Ok(())
    }

    /// What is wrong with a configuration that is compared with itself in a process of its own, if anything is.
    fn alone(&mut self, config: &Config) -> anyhow::Result<Option<String>> {
        let effort = self.options.effort;
        let job = Job::new((config.clone(), config.clone()), &effort, FEW, self.room, self.records.len() as u64);
        self.bench.renew();
        let pairs = self.bench.pairs(job)?;
        self.bench.renew();
        Ok(pairs.err())
    }

    /// Whether a configuration is known to be wrong.
    pub(super) fn is_wrong(&self, config: &Config) -> bool {
        self.records.iter().any(|r| matches!(r.outcome, Outcome::Invalid { .. }) && r.config == *config)
    }
}

/// The one of two whose kernel alone a wrong answer names.
fn named<'a>(two: [&'a Config; 2], why: &str) -> Option<&'a Config> {
    let mut named = two.into_iter().filter(|config| why.strip_prefix(config.kernel.as_str()).is_some_and(|rest| rest.starts_with(':')));
    named.next().filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn a_wrong_answer_is_of_the_kernel_that_it_names_unless_both_are_of_it() {
        let [a, b, long] = ["a", "b", "a_u4"].map(|kernel| record(kernel, "8x8x8", &[1.0]).config);
        assert_eq!(named([&a, &b], "b: 3 is off by 1"), Some(&b));
        assert_eq!(named([&a, &long], "a_u4: 3 is off by 1"), Some(&long));
        assert_eq!(named([&a, &a], "a: 3 is off by 1"), None);
        assert_eq!(named([&a, &b], "the process that was comparing a with b died of SIGSEGV"), None);
    }
}
