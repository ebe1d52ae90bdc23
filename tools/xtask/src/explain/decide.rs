//! The decisions on a platform and a manifest, each as the console line that EL2 prints for it.

use std::fmt::Display;

use anyhow::{Context as _, Result, bail};
use assay_harness::Event;
use assay_harness::events::PREFIX;
use assay_harness::manifest::Manifest;
use assay_harness::vm_tree::{self as writer, Modules};
use assay_plan::claims::{self, Row as ClaimRow, SharedRow, VmClaims, World};
use assay_plan::gate::Tree;
use assay_plan::idregs::HostId;
use assay_plan::platform::HostPlatform;
use assay_plan::policy::line::{DecisionLine, RefusedLine};
use assay_plan::policy::{Decision, Notices, Proof, Refusal, Rule, Use};
use assay_plan::vm_tree::{self, Sched, VmConfig};
use assay_spec::addr::{Ipa, Region};

use super::fit::Left;
use super::proof::Proofs;
use super::{Given, cpus, reason};

/// One decision or refusal.
#[derive(Debug)]
pub(crate) struct Row {
    /// The line that EL2 prints, without the `assay: ` in front: kind, keys and values.
    pub(crate) line: Event,
    /// The source node's path, several for RAM, empty if it is about none.
    pub(crate) node: String,
    /// As what the guest would find it, also of what is refused.
    pub(crate) use_: Option<Use>,
    /// Where the guest would find it, also of what is refused.
    pub(crate) ipa: Option<Region<Ipa>>,
    /// Why it is so.
    pub(crate) reason: String,
    /// What EL2 says beside it.
    pub(crate) notices: Vec<String>,
}

/// What becomes of a manifest on a machine.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// By VM in the manifest's order: RAM, then the claims in theirs, then what is not about a region.
    pub(crate) rows: Vec<Row>,
    /// What is odd and decides nothing.
    pub(crate) warnings: Vec<String>,
}

impl Report {
    /// Decides everything.
    ///
    /// # Errors
    /// CPUs that cannot be, a claim whose `region` names nothing, a `--proof` of no region.
    pub(crate) fn new(machine: &HostPlatform, manifest: &Manifest, host: &HostId, given: &[Given]) -> Result<Self> {
        let tree = compiled(manifest)?;
        let proofs = Proofs::new(given, machine)?;
        let proof = |path: &str| proofs.of(path);
        let world = World {
            machine,
            vms: &tree.vms,
            bits: cpus::bits(host)?,
            pa_bits: host.pa_range_bits(),
            // What EL2 and the bundle occupy is known when they are loaded.
            occupied: &[],
            proof: &proof,
        };
        let mut report = Self::default();
        let mut left = Left::of(machine, &tree.vms);
        let mut all = claims::resolve(&world);
        let is_shared = |vm: usize| {
            let vm = tree.vms.get(vm);
            vm.is_some_and(|vm| vm.sched != Sched::Dedicated)
        };
        all.sort_by_key(|claims| is_shared(claims.vm));
        for claims in all {
            let vm = tree.vms.get(claims.vm).context("a VM without its entry")?;
            if let Some(name) = claims.troubles.iter().find(|one| one.is_bad_name()) {
                bail!("vm \"{}\": {name}: {}", vm.name, name.remedy());
            }
            report.vm(&world, vm, &claims, &mut left);
        }
        let place = |row: &Row| tree.vms.iter().position(|vm| vm.name == row.vm());
        report.rows.sort_by_key(place);
        for refused in &tree.refused {
            let rule = match refused.rule {
                vm_tree::Rule::V1 => Rule::V1,
                vm_tree::Rule::V2 => Rule::V2,
                vm_tree::Rule::V3 => Rule::V3,
            };
            let row = refusal(&refused.vm, None, rule, &refused.reason, refused.remedy);
            report.rows.push(row);
        }
        report.warn(&world);
        for index in claims::claimed_bars(machine, &tree.vms) {
            report.warnings.extend(machine.coherent.get(index).map(|node| {
                format!(
                    "{}: a PCI BAR, whose place only the machine knows: that it is there, has assay,length bytes \
                     and overlaps nothing (T1) is checked at boot",
                    node.path
                )
            }));
        }
        Ok(report)
    }

    /// The VMs that would not start, each once.
    pub(crate) fn refused(&self) -> Vec<&str> {
        let refused = self.rows.iter().filter(|row| row.is_refused());
        let mut names: Vec<&str> = refused.map(Row::vm).collect();
        names.dedup();
        names
    }

    fn vm(&mut self, world: &World<'_>, vm: &VmConfig, claims: &VmClaims<'_>, left: &mut Left) {
        let ram = claims::ram(world, vm);
        let starts = claims.starts() && ram.outcome.is_ok();
        self.rows.push(row(
            Line {
                vm: &vm.name,
                region: "memory",
                node: ram.nodes.join(", "),
                use_: Use::Ram,
                ipa: ram.ipa,
                proof: ram.proof,
            },
            &ram.outcome,
        ));
        for claim in &claims.rows {
            self.rows.push(claimed(&vm.name, claim));
        }
        for part in &claims.shared {
            self.rows.push(shared(&vm.name, part));
        }
        for trouble in &claims.troubles {
            let refused = refusal(&vm.name, None, trouble.rule(), trouble, trouble.remedy());
            self.rows.push(refused);
        }
        // EL2 asks for these last: a VM that is refused for its memory takes no CPU.
        if starts && let Err(unfit) = left.take(vm, claims) {
            let refused = refusal(&vm.name, None, unfit.rule, &unfit.reason, unfit.remedy);
            self.rows.push(refused);
        }
    }

    /// What the tree has wrong beside the VMs.
    fn warn(&mut self, world: &World<'_>) {
        for (node, refusal) in claims::unclaimed_faults(world) {
            self.warnings.push(format!(
                "{}: nobody claims it, and nobody could ({}): {}: {}",
                node.path,
                refusal.rule,
                refusal.reason,
                refusal.remedy()
            ));
        }
        for node in claims::without_no_map(world.machine) {
            self.warnings.push(format!("{} has no no-map: add it", node.path));
        }
    }
}

impl Row {
    /// Whether it keeps its VM from starting.
    pub(crate) fn is_refused(&self) -> bool {
        self.line.kind == "refused"
    }
    /// The VM that it is about.
    pub(crate) fn vm(&self) -> &str {
        self.line.get("vm").unwrap_or_default()
    }
}

/// Compiles the manifest as a bundle has it, and reads it as EL2 does. Files are named, not read.
fn compiled(manifest: &Manifest) -> Result<vm_tree::VmTree> {
    let module = |vm: &assay_harness::manifest::Vm| Modules { kernel: vm.kernel.clone(), ramdisk: vm.initrd.clone() };
    let modules: Vec<Modules> = manifest.vm.iter().map(module).collect();
    let blob = writer::build(manifest, &modules, &[]);
    Ok(vm_tree::parse(&Tree::new(&blob)?)?)
}

/// What a row is about.
struct Line<'a> {
    vm: &'a str,
    region: &'a str,
    node: String,
    use_: Use,
    ipa: Option<Region<Ipa>>,
    proof: Proof,
}

fn claimed(vm: &str, claim: &ClaimRow<'_>) -> Row {
    let line = Line {
        vm,
        region: claim.region,
        node: claim.node.path.clone(),
        use_: claim.use_,
        ipa: claim.ipa,
        proof: claim.proof,
    };
    row(line, &claim.outcome)
}

fn shared(vm: &str, part: &SharedRow<'_>) -> Row {
    let line = Line {
        vm,
        region: part.region,
        node: part.nodes.join(", "),
        use_: part.claim.use_,
        ipa: part.ipa,
        proof: part.proof,
    };
    row(line, &part.outcome)
}

fn row(line: Line<'_>, outcome: &Result<Decision, Refusal<'_>>) -> Row {
    let said = |notices: Notices| notices.iter().map(|notice| notice.to_string()).collect();
    match outcome {
        Ok(decision) => Row {
            line: granted(&line, *decision),
            node: line.node,
            use_: Some(line.use_),
            ipa: line.ipa,
            reason: reason::of(decision.rule).to_owned(),
            notices: said(decision.notices),
        },
        Err(refused) => Row {
            node: line.node,
            use_: Some(line.use_),
            ipa: line.ipa,
            notices: said(refused.notices),
            ..refusal(line.vm, Some(line.region), refused.rule, &refused.reason, refused.remedy())
        },
    }
}

/// The console's line of a decision. What has no place has no range on it either.
fn granted(line: &Line<'_>, decision: Decision) -> Event {
    let nowhere = Region { start: Ipa(0), size: 0 };
    let mut event = event(&DecisionLine {
        vm: line.vm,
        region: line.region,
        use_: line.use_,
        ipa: line.ipa.unwrap_or(nowhere),
        decision,
        proof: line.proof,
    });
    if line.ipa.is_none() {
        event.fields.retain(|(key, _)| key != "ipa" && key != "size");
    }
    event
}

fn refusal(vm: &str, region: Option<&str>, rule: Rule, reason: &dyn Display, remedy: &str) -> Row {
    Row {
        line: event(&RefusedLine { vm, region, rule, reason, remedy }),
        node: String::new(),
        use_: None,
        ipa: None,
        reason: reason.to_string(),
        notices: Vec::new(),
    }
}

/// Reads a line of EL2's as those who read its console do: rows then have its keys and values.
fn event(line: &dyn Display) -> Event {
    Event::parse(&format!("{PREFIX}{line}")).unwrap_or_else(|| Event {
        kind: String::new(),
        fields: Vec::new(),
        text: line.to_string(),
    })
}
