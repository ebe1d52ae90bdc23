//! What is wrong with a bundle whatever machine boots it, said before one does: by the code that EL2 decides with.
//!
//! It decides for a made-up machine that has all that a VM can ask for. What that machine refuses, every other one
//! refuses too; what depends on the machine is `explain`'s.

mod foreign;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow, bail};
use assay_harness::overlay;
use assay_model::loader::KernelError;
use assay_model::loader::inflate;
use assay_model::stage2::Geometry;
use assay_plan::bundle::{Bundle, VM_TREE};
use assay_plan::claims::{self, Ground, Row, Trouble, VmClaims, World};
use assay_plan::gate::Tree;
use assay_plan::kernel::{self, KernelKind};
use assay_plan::pci::DeviceFault;
use assay_plan::platform::{self, HostPlatform};
use assay_plan::policy::{CpuBits, Fault, Proof, Reason};
use assay_plan::refusal::Refusal;
use assay_plan::vm_plan::{self, Files, FlashFile, Sums};
use assay_plan::vm_tree::{self, FlashClaim, Source, VmConfig};
use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::PA_BITS_MAX;

pub(crate) use foreign::told;

/// Checks a bundle.
///
/// # Errors
/// The VMs that no machine starts: which, why, and what would change it.
pub(crate) fn check(archive: &[u8]) -> Result<()> {
    let bundle = Bundle::new(archive).map_err(|error| anyhow!("{error}"))?;
    let tree = bundle.member(VM_TREE).context("the bundle has no VM tree")?;
    let tree = vm_tree::parse(&Tree::new(tree)?)?;
    let mut refusals = tree.refused.clone();
    let machine = best(&bundle, &tree.vms)?;
    let world = World {
        machine: &machine,
        vms: &tree.vms,
        bits: CpuBits::new(true, true, true)?,
        pa_bits: PA_BITS_MAX,
        occupied: &[],
        proof: &|_| Proof::NotRun,
    };
    for claims in claims::resolve(&world) {
        refusals.extend(placed(&claims));
        refusals.extend(loads(claims.config, &bundle).err());
    }
    if refusals.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = refusals.iter().map(sentence).collect();
    bail!("{}", lines.join("\n"));
}

fn sentence(refused: &Refusal) -> String {
    let Refusal { vm, region, reason, remedy, .. } = refused;
    let region = region.as_ref().map_or_else(String::new, |region| format!("region {region}: "));
    format!("vm \"{vm}\": {region}{reason}: {remedy}")
}

/// A machine of which the overlays say what they say, with a page for each claimed region that they do not know.
fn best(bundle: &Bundle<'_>, vms: &[VmConfig]) -> Result<HostPlatform> {
    let overlays: Vec<&[u8]> =
        bundle.members().filter(|member| member.name.starts_with("platform/")).map(|member| member.data).collect();
    let mut boards = Vec::new();
    for blob in &overlays {
        let tree = Tree::new(blob)?;
        boards.extend(tree.root().strs("compatible")?.map(|board| format!("{board:?}")));
    }
    let known = with_overlays(&boards, "", &overlays)?;
    let mut regions = String::new();
    let claimed = vms.iter().flat_map(|vm| &vm.coherent).map(|claim| claim.region.as_str());
    let legal = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte));
    let mut names: Vec<&str> = claimed.filter(legal).collect();
    names.sort_unstable();
    names.dedup();
    for (index, name) in names.iter().enumerate() {
        if known.coherent.iter().all(|node| node.name != *name) {
            // Writing to a String cannot fail.
            let _ = write!(
                regions,
                "{name}@{index:x}000 {{ compatible = \"assay,coherent-memory\"; reg = <1 {:#x} 0 0x1000>; no-map; }};",
                index << 12
            );
        }
    }
    with_overlays(&boards, &regions, &overlays)
}

/// Reads a board that is all of these, with these regions. What an overlay says of nodes that only a real board has is
/// passed over.
fn with_overlays(boards: &[String], regions: &str, overlays: &[&[u8]]) -> Result<HostPlatform> {
    let compatible = if boards.is_empty() { "\"any\"".to_owned() } else { boards.join(", ") };
    let source = BOARD.replace("COMPATIBLE", &compatible).replace("REGIONS", regions);
    let blob = overlay::compile(&source)?;
    let firmware = Tree::new(&blob)?;
    let mut machine = platform::parse(&blob)?;
    for blob in overlays {
        let _ = platform::facts::overlay(&mut machine, &firmware, blob);
    }
    Ok(machine)
}

/// 2^47 bytes of RAM, one CPU, no device but what every board has.
const BOARD: &str = r#"/dts-v1/;
/ {
    #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>; compatible = COMPATIBLE;
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; reg = <0>; }; };
    memory@800000000000 { device_type = "memory"; reg = <0x8000 0 0x8000 0>; };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; };
    interrupt-controller@8000000 {
        compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; phandle = <1>;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x100000>; interrupts = <1 9 4>;
    };
    reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; REGIONS };
};
"#;

/// What is wrong with the VM's RAM, regions and devices on any machine.
fn placed(claims: &VmClaims<'_>) -> Vec<Refusal> {
    let vm = &claims.config.name;
    let rows = claims.rows.iter().filter(|row| is_always_wrong(row)).filter_map(|row| row.refusal(vm));
    let troubles = claims.troubles.iter().filter(|trouble| is_never_right(trouble));
    let mut refusals: Vec<Refusal> = rows.chain(troubles.map(|trouble| Refusal::of(vm, trouble))).collect();
    let ram = Region::new(claims.config.memory_ipa, claims.config.memory_bytes);
    let bits = Geometry::bits_below(ram.map_or(Ipa(u64::MAX), |ram| ram.end()).0);
    refusals.extend(Geometry::new(bits, PA_BITS_MAX).err().map(|error| Refusal::of(vm, &error)));
    refusals
}

/// Whether some tree may have such an alias (Devicetree Specification 0.4 §3.3).
fn is_alias(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether no fact of another machine would change the answer.
fn is_always_wrong(row: &Row<'_>) -> bool {
    let reason = row.outcome.as_ref().err().map(|denied| denied.reason);
    matches!(reason, Some(Reason::Fault(Fault::Beyond(_) | Fault::Unaligned | Fault::SeveralRegs)))
}

/// The same of a claim. Names of regions and paths of devices are the platform's.
fn is_never_right(trouble: &Trouble<'_>) -> bool {
    match trouble {
        Trouble::Device { fault: DeviceFault::Name, device, .. } => !device.starts_with('/'),
        Trouble::Device { fault: DeviceFault::Nowhere, device, .. } => !device.starts_with('/') && !is_alias(device),
        Trouble::Device { fault, .. } => {
            matches!(fault, DeviceFault::NotAperture | DeviceFault::Second | DeviceFault::TooMany | DeviceFault::Twice)
        }
        Trouble::Identity { there, .. } => matches!(there, Ground::Vm(_)),
        _ => !trouble.is_bad_name(),
    }
}

/// Places kernel and ramdisk in the VM's RAM, with the least tree that the VM can have.
fn loads(vm: &VmConfig, bundle: &Bundle<'_>) -> Result<(), Refusal> {
    let file = |source: &Source| match source {
        Source::Member(name) => bundle.member(name),
        Source::Address(_) => None,
    };
    let Some(kernel) = file(&vm.kernel.source) else { return Ok(()) };
    let refuse = |error: KernelError| told(Refusal::of(&vm.name, &error), kernel);
    if let Ok(KernelKind::GzipImage { members, .. }) = kernel::identify(kernel, vm.kernel.format) {
        let members = kernel.get(members).ok_or(KernelError::Gzip).map_err(refuse)?;
        inflate::length(members).map_err(refuse)?;
    }
    if Region::new(vm.memory_ipa, vm.memory_bytes).is_none() {
        return Ok(());
    }
    let flash =
        |flash: &FlashClaim| FlashFile { bytes: flash.file.as_ref().and_then(file).unwrap_or_default(), digest: None };
    let files = Files {
        kernel,
        ramdisk: vm.ramdisk.as_ref().and_then(|ramdisk| file(&ramdisk.source)).unwrap_or_default(),
        sums: Sums::default(),
        flash: vm.flash.iter().map(flash).collect(),
    };
    vm_plan::load(vm, &files, vm.bootargs.len() as u64 + 1, std::iter::empty())
        .map(drop)
        .map_err(|refusal| told(refusal, kernel))
}
