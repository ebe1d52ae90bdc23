//! Claims against real trees: parsed platforms, parsed VM trees, and what comes of the two together.

mod bars;
mod denials;
mod devices;
mod flash;
mod marks;
mod naming;
mod nodes;
mod odd;
mod places;
mod proofs;
mod refusals;
mod registers;
mod rules;
mod shared;
mod virtio;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use assay_spec::addr::{Ipa, Pa, Region};

use super::{VmClaims, World, resolve};
use crate::gate::Tree;
use crate::gate::tests::dts::compile;
use crate::platform::{self, HostPlatform};
use crate::policy::regions::Occupied;
use crate::policy::{CpuBits, Decision, Denied, Proof, Rule};
use crate::refusal::Cause as _;
use crate::vm_tree::{self, VmConfig};

/// A machine with 1 GiB of RAM at 1 GiB and what stands for `root` and `reserved` added.
fn board(root: &str, reserved: &str) -> String {
    format!(
        r#"/ {{
            #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>; compatible = "acme,board";
            {root}
            cpus {{ #address-cells = <1>; #size-cells = <0>; cpu@0 {{ device_type = "cpu"; reg = <0>; }}; }};
            memory@40000000 {{ device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; }};
            timer {{ compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; }};
            interrupt-controller@8000000 {{
                compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; phandle = <1>;
                reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x100000>; interrupts = <1 9 4>;
            }};
            reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {reserved} }};
        }};"#
    )
}

pub(crate) fn platform(root: &str, reserved: &str) -> HostPlatform {
    platform::parse(&compile(&board(root, reserved))).unwrap()
}

/// The same machine, after its devices of these names were read.
pub(crate) fn with_devices(root: &str, names: &[&str]) -> HostPlatform {
    let blob = compile(&board(root, ""));
    let mut machine = platform::parse(&blob).unwrap();
    machine.read_devices(&Tree::new(&blob).unwrap(), names.iter().copied());
    machine
}

/// The same machine with what an overlay says of its nodes: a fragment for each path and body.
fn overlaid(root: &str, reserved: &str, fragments: &[(&str, &str)]) -> HostPlatform {
    let mut machine = platform(root, reserved);
    add(&mut machine, &board(root, reserved), fragments);
    machine
}

/// Adds an overlay to a machine that was made of `source`.
fn add(machine: &mut HostPlatform, source: &str, fragments: &[(&str, &str)]) {
    let fragments: String = (0..)
        .zip(fragments)
        .map(|(n, (path, body))| format!(r#"fragment@{n} {{ target-path = "{path}"; __overlay__ {{ {body} }}; }};"#))
        .collect();
    let dtbo = compile(&format!(r#"/ {{ compatible = "acme,board"; {fragments} }};"#));
    let blob = compile(source);
    assert_eq!(platform::facts::overlay(machine, &Tree::new(&blob).unwrap(), &dtbo), Ok(true));
}

/// One coherent region of 64 MiB at 256 GiB, with further properties.
fn gpu(properties: &str) -> String {
    format!(
        r#"gpu0-memory@4000000000 {{
            compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map; {properties}
        }};"#
    )
}

const MARKED: &str = "assay,mte-capable;";

/// A VM with 512 MiB, further properties, and one claim for each text.
pub(crate) fn vm(name: &str, properties: &str, claims: &[&str]) -> String {
    let claims: String = (0..)
        .zip(claims)
        .map(|(n, claim)| format!(r#"coherent-{n} {{ compatible = "assay,coherent-claim"; {claim} }};"#))
        .collect();
    format!(
        r#"{name} {{
            compatible = "xen,domain"; #address-cells = <2>; #size-cells = <2>; cpus = <1>; memory = <0 0x80000>;
            {properties}
            kernel {{ compatible = "multiboot,kernel", "multiboot,module"; assay,member = "k"; }};
            {claims}
        }};"#
    )
}

const AS_RAM: &str = r#"assay,region = "gpu0-memory"; assay,use = "ram";"#;
const AS_DAX: &str = r#"assay,region = "gpu0-memory"; assay,use = "dax";"#;
const AS_APERTURE: &str = r#"assay,region = "gpu0-memory"; assay,use = "aperture";"#;

pub(crate) fn vms(domains: &[String]) -> Vec<VmConfig> {
    let source = format!(
        r#"/ {{ compatible = "assay,vm-tree"; chosen {{ #address-cells = <2>; #size-cells = <2>; {} }}; }};"#,
        domains.concat()
    );
    let tree = vm_tree::parse(&Tree::new(&compile(&source)).unwrap()).unwrap();
    assert_eq!((&tree.refused, &tree.warnings), (&Vec::new(), &Vec::new()));
    tree.vms
}

/// CPUs with MTE and FWB; with FWB; with neither; with all and MTE_PERM.
fn mte() -> CpuBits {
    CpuBits::new(true, true, false).unwrap()
}
pub(crate) fn fwb() -> CpuBits {
    CpuBits::new(false, true, false).unwrap()
}
fn old() -> CpuBits {
    CpuBits::new(false, false, false).unwrap()
}
fn perm() -> CpuBits {
    CpuBits::new(true, true, true).unwrap()
}

fn not_run(_: &str) -> Proof {
    Proof::NotRun
}

pub(crate) fn world<'a>(machine: &'a HostPlatform, vms: &'a [VmConfig], bits: CpuBits) -> World<'a> {
    World { machine, vms, bits, pa_bits: 48, occupied: &[], proof: &not_run }
}

/// Resolves the only claim of the only VM.
fn only<'a>(world: &World<'a>) -> Result<Decision, Denied<'a>> {
    let all = resolve(world);
    assert_eq!((all.len(), all[0].rows.len()), (1, 2));
    assert_eq!(all[0].troubles, []);
    assert_eq!(all[0].starts(), all[0].rows.iter().all(|row| row.outcome.is_ok()));
    all[0].rows[1].outcome
}

/// T1's words about the only region; `None` if it is granted.
fn t1(world: &World<'_>) -> Option<String> {
    let refusal = only(world).err()?;
    assert_eq!(refusal.rule, Rule::T1);
    Some(refusal.reason.to_string())
}

/// The sentences about a VM's only trouble: reason and remedy.
fn trouble(claims: &VmClaims<'_>) -> (String, &'static str) {
    assert_eq!(claims.troubles.len(), 1, "{:?}", claims.troubles);
    assert!(!claims.starts());
    (claims.troubles[0].to_string(), claims.troubles[0].remedy())
}

const fn ipa(start: u64, size: u64) -> Region<Ipa> {
    Region { start: Ipa(start), size }
}

const fn pa(start: u64, size: u64) -> Region<Pa> {
    Region { start: Pa(start), size }
}

const fn occupied<'a>(name: &'a str, occupant: crate::policy::regions::Occupant, region: Region<Pa>) -> Occupied<'a> {
    Occupied { name, occupant, region }
}
