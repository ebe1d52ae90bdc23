//! The console's `decision` and `refused` lines: one text for EL2 and for the host's tools.
//!
//! The `assay: ` prefix and the line's end are the console's.

use core::fmt::{self, Write};

use assay_spec::addr::{Ipa, Region};

use assay_spec::stage2_desc::Rights;

use super::{Decision, Notice, Proof, Rule, Use};

/// `decision vm=… region=… use=… ipa=… size=… attr=… exec=… mte=… rule=… proof=…`, and `access=ro` or `rw` of
/// memory that is shared, or a flash
#[derive(Clone, Copy)]
pub struct DecisionLine<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The region's node name.
    pub region: &'a str,
    /// How the guest sees it.
    pub use_: Use,
    /// Where the guest sees it.
    pub ipa: Region<Ipa>,
    /// What was decided.
    pub decision: Decision,
    /// The proof that was known then.
    pub proof: Proof,
}

impl fmt::Display for DecisionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { attr, exec, mte, rule, .. } = self.decision;
        write!(
            f,
            "decision vm={} region={} use={} ipa={} size={:#x} attr={attr} exec={} mte={mte} \
             rule={rule} proof={}",
            self.vm,
            self.region,
            self.use_,
            self.ipa.start,
            self.ipa.size,
            if exec { "yes" } else { "no" },
            self.proof,
        )?;
        match self.use_ {
            Use::Shared(Rights::ReadOnly) | Use::Flash(Rights::ReadOnly) => f.write_str(" access=ro"),
            Use::Shared(Rights::ReadWrite) | Use::Flash(Rights::ReadWrite) => f.write_str(" access=rw"),
            Use::Ram | Use::Dax | Use::Aperture => Ok(()),
        }
    }
}

/// `warning vm=… region=… reason="…"`, or `error`
#[derive(Clone, Copy)]
pub struct NoticeLine<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The region's node name.
    pub region: &'a str,
    /// What is said.
    pub notice: Notice,
}

impl fmt::Display for NoticeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vm, region, notice } = self;
        let kind = if notice.is_error() { "error" } else { "warning" };
        write!(f, "{kind} vm={vm} region={region} reason={}", Quoted(notice))
    }
}

/// `warning vm=… node=… allow=unchecked-dma reason="…"`
#[derive(Clone, Copy)]
pub struct UncheckedLine<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The device's node.
    pub node: &'a str,
}

impl fmt::Display for UncheckedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vm, node } = self;
        write!(f, "warning vm={vm} node={node} allow=unchecked-dma reason=\"the device {UNCHECKED}\"")
    }
}

/// What a device does that nothing checks: a sentence's end.
pub const UNCHECKED: &str =
    "reads and writes all memory of the machine, EL2's and other VMs' too, as its VM tells it: nothing checks its DMA";

/// `refused vm=… region=… rule=… reason="…" remedy="…"`
#[derive(Clone, Copy)]
pub struct RefusedLine<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The region's node name, or `None` for a refusal that is not about a region (printed `-`).
    pub region: Option<&'a str>,
    /// The rule.
    pub rule: Rule,
    /// Why.
    pub reason: &'a dyn fmt::Display,
    /// What would change it.
    pub remedy: &'a str,
}

impl fmt::Display for RefusedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vm, region, rule) = (self.vm, self.region.unwrap_or("-"), self.rule);
        let (reason, remedy) = (Quoted(&self.reason), Quoted(&self.remedy));
        write!(f, "refused vm={vm} region={region} rule={rule} reason={reason} remedy={remedy}")
    }
}

/// A text in double quotes, with `"`, `\` and control characters escaped: names in it come from a tree.
pub struct Quoted<'a>(pub &'a dyn fmt::Display);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping(f), "{}", self.0)?;
        f.write_char('"')
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.0.write_char('\\')?;
                    self.0.write_char(c)?;
                }
                ' '..='~' => self.0.write_char(c)?,
                _ => write!(self.0, "\\u{{{:x}}}", u32::from(c))?,
            }
        }
        Ok(())
    }
}
