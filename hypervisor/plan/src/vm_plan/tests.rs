//! What is left of a machine while VMs are planned, and what a plan holds.

mod ends;
mod platform;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use assay_model::loader::Sums;
use assay_model::schedule::Placement;
use assay_model::smccc::Workarounds;
use assay_spec::addr::{Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::intid::IntId;
use assay_spec::stage2_desc::Rights;

use super::{Cpus, Files, HostFacts, Left, Memory, Planner, Shortage, VmPlan, order};
use crate::claims::tests::{fwb, platform, vm, vms, world};
use crate::claims::{World, resolve};
use crate::idregs::HostId;
use crate::platform::HostPlatform;
use crate::policy::CpuBits;
use crate::refusal::Refusal;
use crate::space::Backing;
use crate::vm_tree::VmConfig;

/// Plans all VMs on so many CPUs, and passes the plans and the refusals, in the order of their making.
fn plan_on(
    machine: &HostPlatform,
    cpus: usize,
    vms: &[VmConfig],
    check: impl FnOnce(Vec<Result<VmPlan<'_>, Refusal>>),
) {
    plan_with(fwb(), machine, cpus, vms, check);
}

/// The same on CPUs with these bits.
fn plan_with(
    bits: CpuBits,
    machine: &HostPlatform,
    cpus: usize,
    vms: &[VmConfig],
    check: impl FnOnce(Vec<Result<VmPlan<'_>, Refusal>>),
) {
    let mut registers = [[0; 8]; 7];
    // 40 bits of addresses.
    registers[6][0] = 2;
    let id = HostId::new(registers);
    let host = HostFacts {
        id: &id,
        kinds: core::slice::from_ref(&id),
        counter_frequency: 1_000_000,
        workarounds: Workarounds::default(),
        rtc: None,
    };
    let world: World<'_> = World { pa_bits: 40, ..world(machine, vms, bits) };
    let left = Left::new((0..cpus).map(PcpuId).collect(), Some(Memory::of(machine)), vms);
    let mut planner = Planner::new(world, host, left);
    let mut claims = resolve(&world);
    order(&mut claims);
    let mut plan = |claims| {
        let plan = planner.plan(claims).map_err(|mut refusals| refusals.remove(0))?;
        planner.left = planner.left.without(&plan);
        Ok(plan)
    };
    let plans = claims.iter().map(&mut plan).collect();
    check(plans);
}

fn domain(name: &str, cpus: &str, properties: &str) -> String {
    vm(name, properties, &[]).replacen("cpus = <1>", cpus, 1)
}

const SHARED: &str = r#"assay,sched = "shared";"#;

#[test]
fn vms_with_cpus_of_their_own_choose_first_and_the_others_share_the_rest() {
    let vms = vms(&[
        domain("shares", "cpus = <5>", SHARED),
        domain("listed", r#"cpus = <1>; assay,cpu-list = <2>"#, SHARED),
        domain("own", "cpus = <2>", ""),
    ]);
    let machine = platform("", "");
    let small: Vec<VmConfig> = vms.into_iter().map(|vm| VmConfig { memory_bytes: 0x1000_0000, ..vm }).collect();
    plan_on(&machine, 4, &small, |plans| {
        let [own, shares, listed] = &plans[..] else { panic!() };
        assert_eq!(own.as_ref().ok().unwrap().cpus, Cpus::Dedicated([PcpuId(0), PcpuId(1)].into()));
        for (plan, vcpus) in [(shares, [Placement::Any; 5].to_vec()), (listed, [Placement::On(PcpuId(2))].to_vec())] {
            let Cpus::Shared(share) = &plan.as_ref().ok().unwrap().cpus else { panic!() };
            assert_eq!(share.vcpus, vcpus);
        }
        assert_eq!(shares.as_ref().ok().unwrap().vmid, 2);
    });
    plan_on(&machine, 2, &small, |plans| {
        let texts: Vec<_> = plans.iter().filter_map(|plan| plan.as_ref().err()).map(ToString::to_string).collect();
        assert!(texts[0].starts_with("refused vm=shares region=- rule=V1 reason=\"no CPU is left"), "{texts:?}");
    });
}

#[test]
fn a_cpu_that_another_has_or_too_many_are_v1_and_take_nothing() {
    let vms = vms(&[
        domain("one", r#"cpus = <1>; assay,cpu-list = <1>"#, ""),
        domain("again", r#"cpus = <1>; assay,cpu-list = <1>"#, ""),
        domain("three", "cpus = <3>", ""),
        domain("rest", "cpus = <1>", ""),
    ]);
    let vms: Vec<VmConfig> = vms.into_iter().map(|vm| VmConfig { memory_bytes: 0x1000_0000, ..vm }).collect();
    plan_on(&platform("", ""), 2, &vms, |plans| {
        let reason = |at: usize| plans[at].as_ref().err().map(|refusal| refusal.reason.clone());
        assert_eq!(reason(0), None);
        assert_eq!(reason(1).unwrap(), "CPU 1 is not there, not usable, or another VM's");
        assert_eq!(reason(2).unwrap(), "3 CPUs are wanted and 1 are free");
        assert_eq!(plans[3].as_ref().ok().unwrap().cpus, Cpus::Dedicated([PcpuId(0)].into()));
    });
}

#[test]
fn a_pmu_that_cannot_be_had_is_v1() {
    let vms = vms(&[domain("one", "cpus = <1>", "assay,pmu;")]);
    let mut machine = platform("", "");
    machine.pmu = Some(IntId(23));
    plan_on(&machine, 1, &vms, |plans| {
        let refusal = plans[0].as_ref().err().unwrap();
        assert!(refusal.to_string().contains("rule=V1 reason=\"the VM asks for a PMU"), "{refusal}");
    });
}

#[test]
fn memory_is_summed_up() {
    let vms = vms(&[domain("a", "cpus = <1>", ""), domain("b", "cpus = <1>", ""), domain("c", "cpus = <1>", "")]);
    plan_on(&platform("", ""), 4, &vms, |plans| {
        assert!(plans[0].is_ok() && plans[1].is_ok());
        let refusal = plans[2].as_ref().err().unwrap();
        assert_eq!(refusal.reason, "512 MiB are wanted and at most 0 MiB are free");
    });
}

#[test]
fn too_little_ram_with_tags_is_m3_and_names_the_node_that_has_none() {
    let no_tags = r#"memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; arm,no-mte; };"#;
    let big = |name: &str| domain(name, "cpus = <1>", "assay,mte;").replace("0x80000>", "0x140000>");
    let bits = CpuBits::new(true, true, false).unwrap();
    let first = |root: &str, vms: &[VmConfig]| {
        let mut found = None;
        plan_with(bits, &platform(root, ""), 4, vms, |mut plans| found = plans.remove(0).err());
        found
    };
    let refused = first(no_tags, &vms(&[big("a")])).unwrap();
    assert_eq!((format!("{}", refused.rule), refused.region.as_deref()), ("M3".into(), Some("memory")));
    assert!(
        refused.reason.ends_with("a VM with MTE gets no RAM of /memory@80000000, which has arm,no-mte"),
        "{refused}"
    );
    assert!(refused.reason.starts_with("1280 MiB of memory with tags are wanted and at most 1024 MiB are free"));
    assert!(refused.remedy.contains("mte = false"));
    // Where all RAM has tags, or the VM wants none, it is a shortage of memory.
    for (root, name) in
        [("", big("a")), (no_tags, big("a").replace("assay,mte;", "").replace("0x140000>", "0x240000>"))]
    {
        let refused = first(root, &vms(&[name])).unwrap();
        assert_eq!((format!("{}", refused.rule), refused.region), ("V2".into(), None), "{}", refused.reason);
    }
}

#[test]
fn memory_between_vms_that_lacks_tags_is_m3_too() {
    let machine =
        platform(r#"memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x1000>; arm,no-mte; };"#, "");
    let blamed = Shortage::Shared("ring".into(), 0x1000, true).blame(&machine);
    let refusal = Refusal::of("a", &blamed);
    assert_eq!((format!("{}", refusal.rule), refusal.region.as_deref()), ("M3".into(), Some("ring")));
    let plain = Shortage::Shared("ring".into(), 0x1000, false);
    assert_eq!(plain.clone().blame(&machine), plain);
}

#[test]
fn no_memory_for_el2s_own_data_of_a_vm_is_v2_and_says_how_much() {
    let shortage = Shortage::Heap(100_000);
    let refusal = Refusal::of("a", &shortage.clone().blame(&platform("", "")));
    assert_eq!((format!("{}", refusal.rule), refusal.region.as_deref()), ("V2".into(), None));
    assert!(refusal.reason.contains("98 KiB") && refusal.remedy.contains("`memory`"), "{refusal}");
}

#[test]
fn a_vm_that_shares_cpus_reads_its_stolen_time_and_may_not_write_it() {
    let vms = vms(&[domain("a", "cpus = <1>", SHARED)]);
    plan_on(&platform("", ""), 1, &vms, |plans| {
        let plan = plans[0].as_ref().ok().unwrap();
        let [ram, time] = &plan.space[..] else { panic!("{:?}", plan.space) };
        assert_eq!((&ram.backing, ram.ipa), (&Backing::Ram, plan.machine.ram));
        assert_eq!((&time.backing, time.decision.rights), (&Backing::StolenTime, Rights::ReadOnly));
        assert!(!time.decision.exec && ram.decision.exec);
        // Nobody asked for it: no line says so.
        assert_eq!(plan.decisions().count(), 1);
    });
}

#[test]
fn functions_are_made_ready_for_memory_that_is_proved_at_the_start_each_once() {
    let region = |name: &str, what: &str| {
        format!(r#"{name} {{ compatible = "assay,coherent-memory"; {what} no-map; assay,mte-capable; }};"#)
    };
    let bar = |name, index| region(name, &format!("assay,pci-bar = <0 0x10 {index}>; assay,length = <0 0x200000>;"));
    let mut machine = platform("", &(bar("one", 2) + &bar("two", 4) + &region("far", "reg = <0x40 0 0 0x200000>;")));
    for (node, start) in machine.coherent.iter_mut().zip([0x50_0000_0000, 0x60_0000_0000]) {
        node.bar = Some(Ok(Region::new(Pa(start), 0x20_0000).unwrap()));
    }
    let claim =
        |name: &str, proof: &str| format!(r#"assay,region = "{name}"; assay,use = "dax"; assay,proof = "{proof}";"#);
    let plans = |proofs: [&str; 3]| {
        let claims: Vec<String> = ["one", "two", "far"].iter().zip(proofs).map(|(name, at)| claim(name, at)).collect();
        let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        plan_on(&machine, 1, &vms(&[vm("a", "", &claims)]), |plans| {
            let plan = plans[0].as_ref().unwrap();
            let names = plan.bars_at_start().into_iter().map(|node| node.name.clone());
            found = [plan.has_proof_at_start().to_string()].into_iter().chain(names).collect();
        });
        found
    };
    assert_eq!(plans(["at-start", "at-start", "at-boot"]), ["true", "one"]);
    assert_eq!(plans(["at-boot", "at-start", "at-boot"]), ["true", "two"]);
    assert_eq!(plans(["at-boot", "at-boot", "at-start"]), ["true"]);
    assert_eq!(plans(["at-boot"; 3]), ["false"]);
}

#[test]
fn a_kernel_that_is_none_is_v3_and_one_that_does_not_fit_is_v2() {
    let vms = vms(&[domain("a", "cpus = <1>", "")]);
    plan_on(&platform("", ""), 1, &vms, |plans| {
        let plan = plans[0].as_ref().ok().unwrap();
        let mut image = [0; 64].to_vec();
        image[56..60].copy_from_slice(b"ARM\x64");
        image[16..24].copy_from_slice(&0x10_0000u64.to_le_bytes());
        let start =
            |kernel: &[u8]| plan.start(&Files { kernel, ramdisk: &[], sums: Sums::default(), flash: Vec::new() }, None);
        let started = start(&image).ok().unwrap();
        assert!(plan.machine.ram.covers(&started.load.dtb));
        assert_eq!(started.load.dtb.size, started.tree.bytes().len() as u64);
        image[16..24].copy_from_slice(&0x8000_0000u64.to_le_bytes());
        for (kernel, rule) in [(&image[..], "V2"), (b"no kernel at all, and still 64 bytes", "V3")] {
            let refusal = start(kernel).err().unwrap();
            assert_eq!(format!("{}", refusal.rule), rule, "{refusal}");
        }
    });
}
