//! The decisions on a platform and a manifest, each as the console line that EL2 prints for it.

use std::fmt::Display;

use anyhow::{Context as _, Result, bail};
use assay_harness::Event;
use assay_harness::events::PREFIX;
use assay_harness::manifest::{Manifest, Vm};
use assay_harness::vm_tree::{self as writer, Modules};
use assay_model::loader::{FlashFile, Sums};
use assay_model::smccc::Workarounds;
use assay_plan::claims::{self, VmClaims, World};
use assay_plan::gate::Tree;
use assay_plan::guest_tree::Seeds;
use assay_plan::idregs::HostId;
use assay_plan::platform::HostPlatform;
use assay_plan::policy::line::DecisionLine;
use assay_plan::policy::{Attr, Use};
use assay_plan::refusal::{Cause as _, Refusal};
use assay_plan::space::Backing;
use assay_plan::vm_plan::{self, HostFacts, Left, Memory, Planner, VmPlan};
use assay_plan::vm_tree;
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::cpu_id::PcpuId;

use super::devices::{self, Device};
use super::functions::{self, Function};
use super::proof::Proofs;
use super::{Given, cpus, reason};
use crate::preflight::told;

/// The bytes of what a VM starts from; the ramdisk is empty if there is none.
pub(crate) struct Loaded {
    pub(crate) kernel: Vec<u8>,
    pub(crate) ramdisk: Vec<u8>,
    /// The flashes' files, in the manifest's order.
    pub(crate) flash: Vec<Vec<u8>>,
}

/// Gives a VM's files, if they are there.
pub(crate) type Files<'f> = dyn Fn(&Vm) -> Option<Loaded> + 'f;

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
    /// Where it is in the machine, if that is known before a boot: RAM is taken wherever some is free.
    pub(crate) physical: Option<Region<Pa>>,
    /// Why it is so.
    pub(crate) reason: String,
    /// What EL2 says beside it.
    pub(crate) notices: Vec<String>,
    /// What it takes at each start.
    pub(crate) cost: Option<String>,
}

/// What becomes of a manifest on a machine.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// By VM in the manifest's order: RAM, then the claims in theirs, then what is not about a region.
    pub(crate) rows: Vec<Row>,
    /// The PCI functions of the VMs that would start, in the manifest's order.
    pub(crate) functions: Vec<Function>,
    /// The same of the devices of the platform tree.
    pub(crate) devices: Vec<Device>,
    /// What is odd and decides nothing.
    pub(crate) warnings: Vec<String>,
}

impl Report {
    /// Decides everything. `files` are a VM's kernel and ramdisk, if they are there.
    ///
    /// # Errors
    /// CPUs that cannot be, a claim whose `region` names nothing, a `--proof` of no region.
    pub(crate) fn new(
        machine: &HostPlatform,
        manifest: &Manifest,
        host: &HostId,
        given: &[Given],
        files: &Files<'_>,
    ) -> Result<Self> {
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
        let facts = HostFacts {
            id: host,
            kinds: core::slice::from_ref(host),
            counter_frequency: 62_500_000,
            workarounds: Workarounds::default(),
            rtc: None,
        };
        let left = Left::new((0..machine.cpus.len()).map(PcpuId).collect(), Some(Memory::of(machine)), &tree.vms);
        let mut planner = Planner::new(world, facts, left);
        let mut report = Self::default();
        let mut all = claims::resolve(&world);
        vm_plan::order(&mut all);
        for claims in &all {
            if let Some(name) = claims.troubles.iter().find(|one| one.is_bad_name()) {
                bail!("vm \"{}\": {name}: {}", claims.config.name, name.remedy());
            }
            let Some(vm) = manifest.vm.iter().find(|vm| vm.name == claims.config.name) else { continue };
            report.vm(&mut planner, claims, &|| files(vm));
        }
        let starting = tree.vms.iter().filter(|vm| !report.refused().contains(&vm.name.as_str()));
        let claims = starting.filter_map(|vm| all.iter().find(|claims| claims.config.name == vm.name));
        report.functions = claims.flat_map(|claims| functions::all(machine, claims)).collect();
        let place = |row: &Row| tree.vms.iter().position(|vm| vm.name == row.vm());
        report.rows.sort_by_key(place);
        report.rows.extend(tree.refused.iter().map(refusal));
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

    fn vm<'a>(&mut self, planner: &mut Planner<'a>, claims: &VmClaims<'a>, files: &dyn Fn() -> Option<Loaded>) {
        let vm = &claims.config.name;
        self.rows.extend(
            claims.rows.iter().map(|claim| Row { cost: clearing(claim, claims.config.cpus.count()), ..row(vm, claim) }),
        );
        let about_vm = claims.troubles.iter().map(|trouble| Refusal::of(vm, trouble));
        self.rows.extend(about_vm.map(|refused| refusal(&refused)));
        if !claims.starts() {
            return;
        }
        let planned = planner.plan(claims).and_then(|plan| {
            loads(&plan, files).map_err(|refused| vec![refused])?;
            Ok(plan)
        });
        match planned {
            Ok(plan) => {
                self.devices.extend(devices::all(&plan, claims));
                planner.left = planner.left.without(&plan);
            }
            Err(refusals) => self.rows.extend(refusals.iter().map(refusal)),
        }
    }

    /// What the tree has wrong beside the VMs.
    fn warn(&mut self, world: &World<'_>) {
        for (node, denied) in claims::unclaimed_faults(world) {
            self.warnings.push(format!(
                "{}: nobody claims it, and nobody could ({}): {}: {}",
                node.path,
                denied.rule,
                denied.reason,
                denied.remedy()
            ));
        }
        for node in claims::without_no_map(world) {
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
    let module = |vm: &Vm| Modules {
        kernel: vm.kernel.clone(),
        ramdisk: vm.initrd.clone(),
        flash: vm.flash.iter().map(|flash| flash.file.clone()).collect(),
    };
    let modules: Vec<Modules> = manifest.vm.iter().map(module).collect();
    let blob = writer::build(manifest, &modules, &[]);
    let tree = Tree::new(&blob).context("the VM tree that the manifest compiles into")?;
    Ok(vm_tree::parse(&tree)?)
}

/// Places kernel, ramdisk, flashes' files and device tree in the VM's memory, if the files are there.
fn loads(plan: &VmPlan<'_>, files: &dyn Fn() -> Option<Loaded>) -> Result<(), Refusal> {
    let Some(Loaded { kernel, ramdisk, flash }) = files() else { return Ok(()) };
    let flash = flash.iter().map(|bytes| FlashFile { bytes, digest: None }).collect();
    let files = vm_plan::Files { kernel: &kernel, ramdisk: &ramdisk, sums: Sums::default(), flash };
    // Seeds are the machine's; they take room in the tree.
    let seeds = Some(Seeds { kaslr: 0, rng: Some([0; 32]) });
    plan.start(&files, seeds).map(drop).map_err(|refused| told(refused, &kernel))
}

/// What EL2 executes to clear a MiB of coherent memory and its tags, and to look whether it is clear. Measured
/// (docs/figures.md).
const CLEARING_A_MIB: u64 = 91_667;

/// What clearing a coherent region takes at each start, if EL2 touches it.
fn clearing(claim: &claims::Row<'_>, vcpus: usize) -> Option<String> {
    let (Ok(decision), Some(ipa)) = (&claim.outcome, claim.ipa) else { return None };
    let is_cleared = matches!(claim.backing, Backing::Coherent { .. }) && decision.attr != Attr::DeviceNgnre;
    let instructions = (u128::from(ipa.size) * u128::from(CLEARING_A_MIB)) >> 20;
    is_cleared
        .then(|| format!("each start clears it: {instructions} instructions in all, by {vcpus} vCPUs side by side"))
}

/// What became of one claim. What has no place has no range on its line either.
fn row(vm: &str, claim: &claims::Row<'_>) -> Row {
    let place = |mut line: Event| {
        if claim.ipa.is_none() {
            line.fields.retain(|(key, _)| key != "ipa" && key != "size");
        }
        line
    };
    let (line, reason) = match &claim.outcome {
        Ok(decision) => {
            let nowhere = Region { start: Ipa(0), size: 0 };
            let (region, ipa) = (claim.region, claim.ipa.unwrap_or(nowhere));
            let (use_, decision, proof) = (claim.claim.use_, *decision, claim.proof);
            let line = DecisionLine { vm, region, use_, ipa, decision, proof };
            (place(event(&line)), reason::of(decision.rule).to_owned())
        }
        Err(denied) => {
            let refused = Refusal::of_region(vm, claim.region, denied);
            (event(&refused), refused.reason)
        }
    };
    Row {
        line,
        node: claim.nodes.join(", "),
        use_: Some(claim.claim.use_),
        ipa: claim.ipa,
        physical: physical(&claim.backing),
        reason,
        notices: claim.notices().iter().map(|notice| notice.to_string()).collect(),
        cost: None,
    }
}

fn physical(backing: &Backing<'_>) -> Option<Region<Pa>> {
    match backing {
        Backing::Coherent { node, .. } => node.reg.or_else(|| node.bar.as_ref()?.as_ref().ok().copied()),
        Backing::Registers(place) | Backing::Interface(place) => Some(*place),
        Backing::Ram | Backing::Flash(_) | Backing::Shared(_) | Backing::Lent(_) | Backing::StolenTime => None,
    }
}

fn refusal(refused: &Refusal) -> Row {
    Row {
        line: event(refused),
        node: String::new(),
        use_: None,
        ipa: None,
        physical: None,
        reason: refused.reason.clone(),
        notices: Vec::new(),
        cost: None,
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
