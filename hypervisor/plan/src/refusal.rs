//! A refusal: why a VM does not start, or does not get a region. Whoever refuses makes one of these, and EL2 and the
//! host's tools print it as one line.
//!
//! What can be wrong is an enum beside the code that finds it; the words for all of them are in `causes`.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use crate::policy::Rule;
use crate::policy::line::RefusedLine;

/// One refusal. Displayed as the console's `refused` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The VM's name.
    pub vm: String,
    /// The region that it is about, if it is about one.
    pub region: Option<String>,
    /// The rule.
    pub rule: Rule,
    /// Why.
    pub reason: String,
    /// What would change it.
    pub remedy: &'static str,
}

impl Refusal {
    /// The refusal of a VM, about a region only if the cause says so.
    pub fn of(vm: &str, cause: &dyn Cause) -> Self {
        let region = cause.region().map(String::from);
        let mut refusal = Self { vm: vm.into(), region, rule: Rule::V3, reason: String::new(), remedy: "" };
        cause.tell(&mut |rule, reason, remedy| {
            refusal.rule = rule;
            refusal.reason = reason.to_string();
            refusal.remedy = remedy;
        });
        refusal
    }

    /// The same, about a region.
    pub fn of_region(vm: &str, region: &str, cause: &dyn Cause) -> Self {
        Self { region: Some(region.into()), ..Self::of(vm, cause) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vm, region, rule, reason, remedy } = self;
        RefusedLine { vm, region: region.as_deref(), rule: *rule, reason, remedy }.fmt(f)
    }
}

/// Who hears rule, reason and remedy.
pub type Say<'s> = &'s mut dyn FnMut(Rule, fmt::Arguments<'_>, &'static str);

/// Something that can be wrong.
pub trait Cause {
    /// Tells its rule, reason and remedy, once.
    fn tell(&self, say: Say<'_>);

    /// Returns the region that it is about, if it says so itself.
    fn region(&self) -> Option<&str> {
        None
    }

    /// Returns the rule that a `refused` line names.
    fn rule(&self) -> Rule {
        let mut found = Rule::V3;
        self.tell(&mut |rule, _, _| found = rule);
        found
    }

    /// Returns what would change it.
    fn remedy(&self) -> &'static str {
        let mut found = "";
        self.tell(&mut |_, _, remedy| found = remedy);
        found
    }
}

impl<'a, C: Cause + 'a> From<C> for Box<dyn Cause + 'a> {
    fn from(cause: C) -> Self {
        Box::new(cause)
    }
}
