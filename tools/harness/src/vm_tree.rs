//! The VM tree that EL2 reads: the manifest as a device tree, in the shape of Xen's dom0less nodes.

use assay_plan::fields::{self, CPU_LIST, Field, MEMBER, READ_ONLY, SHARED_MEM, coherent, flash, sharing, virtio, vm};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use crate::manifest::{
    Access, Coherent, Cpus, Flash, FlashAccess, Format, Manifest, OnCrash, ProofAt, Relaxation, Schedule, Sharing,
    TreePlace, Virtio, Vm,
};

/// A bundle member as the tree describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Its name in the archive.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The CRC-32 (IEEE 802.3) of its bytes.
    pub crc32: u32,
}

/// The bundle members that one VM loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// The kernel's member.
    pub kernel: String,
    /// The ramdisk's member.
    pub ramdisk: Option<String>,
    /// The members of the flashes, in the manifest's order.
    pub flash: Vec<Option<String>>,
}

/// The flattened tree of `manifest`; `modules` has an entry for each of its VMs, in order.
#[must_use]
pub fn build(manifest: &Manifest, modules: &[Modules], members: &[Digest]) -> Vec<u8> {
    let mut chosen = cells(node("chosen"));
    if let Some(style) = manifest.console {
        put(&mut chosen, fields::top::CONSOLE.property, style.word());
    }
    let mut list = node("assay,members");
    for (index, member) in members.iter().enumerate() {
        let mut entry = node(&format!("m{index}"));
        put(&mut entry, MEMBER, member.name.as_str());
        put(&mut entry, "assay,size", member.size);
        put(&mut entry, "assay,crc32", member.crc32);
        list.add_child(entry);
    }
    chosen.add_child(list);
    for (vm, modules) in manifest.vm.iter().zip(modules) {
        let mut domain = domain(vm, modules);
        for (index, part) in vm.shared.iter().enumerate() {
            // A manifest that was checked names regions that there are; EL2 refuses a size of 0.
            let size = manifest.shared_region(&part.region);
            let size = size.map_or(0, |region| region.size);
            domain.add_child(shared(index, part, size));
        }
        chosen.add_child(domain);
    }
    let mut tree = DeviceTree::new();
    put(&mut tree.root, "compatible", "assay,vm-tree");
    tree.root = cells(tree.root);
    tree.root.add_child(chosen);
    tree.to_dtb()
}

fn domain(config: &Vm, modules: &Modules) -> DeviceTreeNode {
    let mut domain = node(&config.name);
    put(&mut domain, "compatible", "xen,domain");
    let mut domain = cells(domain);
    put(&mut domain, vm::CPUS.property, config.cpus.count());
    if let Cpus::List(list) = &config.cpus {
        put(&mut domain, CPU_LIST, list.as_slice());
    }
    if config.sched == Schedule::Shared {
        put(&mut domain, vm::SCHED.property, "shared");
    }
    some(&mut domain, &vm::WEIGHT, config.weight);
    some(&mut domain, &vm::BUDGET, config.budget);
    some(&mut domain, &vm::PERIOD, config.period);
    // Xen's unit is KiB.
    put(&mut domain, vm::MEMORY.property, config.memory / 1024);
    some(&mut domain, &vm::MEMORY_IPA, config.memory_ipa);
    flag(&mut domain, "vpl011", true);
    flag(&mut domain, vm::MTE.property, config.mte);
    flag(&mut domain, vm::WATCHDOG.property, config.watchdog);
    flag(&mut domain, vm::PMU.property, config.pmu);
    if config.on_crash == OnCrash::Restart {
        put(&mut domain, vm::ON_CRASH.property, "restart");
    }
    some(&mut domain, &vm::MAX_RESTARTS, config.max_restarts);
    if !config.devices.is_empty() {
        let names: Vec<&str> = config.devices.iter().map(String::as_str).collect();
        strings(&mut domain, vm::DEVICES.property, &names);
    }
    if !config.allow.is_empty() {
        let names: Vec<&str> = config.allow.iter().map(|Relaxation::UncheckedDma| "unchecked-dma").collect();
        strings(&mut domain, vm::ALLOW.property, &names);
    }
    let mut kernel = module("kernel", "multiboot,kernel", &modules.kernel);
    put(&mut kernel, vm::CMDLINE.property, config.cmdline.as_str());
    some(&mut kernel, &vm::FORMAT, config.format.map(|Format::Raw| "raw"));
    some(&mut kernel, &vm::LOAD, config.load);
    some(&mut kernel, &vm::ENTRY, config.entry);
    some(&mut kernel, &vm::TREE, config.tree.map(|place| if place == TreePlace::Start { "start" } else { "end" }));
    domain.add_child(kernel);
    if let Some(ramdisk) = &modules.ramdisk {
        domain.add_child(module("ramdisk", "multiboot,ramdisk", ramdisk));
    }
    for (index, claim) in config.coherent.iter().enumerate() {
        domain.add_child(self::claim(index, claim));
    }
    for (index, device) in config.virtio.iter().enumerate() {
        domain.add_child(self::virtio(index, device));
    }
    for (index, flash) in config.flash.iter().enumerate() {
        let member = modules.flash.get(index).and_then(Option::as_deref);
        domain.add_child(self::flash(index, flash, member));
    }
    domain
}

fn module(name: &str, compatible: &str, member: &str) -> DeviceTreeNode {
    let mut module = node(name);
    strings(&mut module, "compatible", &[compatible, "multiboot,module"]);
    put(&mut module, MEMBER, member);
    module
}

fn claim(index: usize, claim: &Coherent) -> DeviceTreeNode {
    let mut entry = node(&format!("coherent-{index}"));
    put(&mut entry, "compatible", "assay,coherent-claim");
    put(&mut entry, coherent::REGION.property, claim.region.as_str());
    put(&mut entry, coherent::USE.property, claim.use_.to_string().as_str());
    if !claim.allow.is_empty() {
        let names: Vec<&str> = claim.allow.iter().map(|allow| allow.name()).collect();
        strings(&mut entry, coherent::ALLOW.property, &names);
    }
    flag(&mut entry, coherent::EXEC.property, claim.exec);
    if claim.proof != ProofAt::Boot {
        put(&mut entry, coherent::PROOF.property, claim.proof.name());
    }
    some(&mut entry, &coherent::IPA, claim.ipa);
    some(&mut entry, &coherent::DEVICE, claim.device.as_deref());
    entry
}

fn flash(index: usize, config: &Flash, member: Option<&str>) -> DeviceTreeNode {
    let mut entry = node(&format!("flash-{index}"));
    put(&mut entry, "compatible", "assay,flash");
    put(&mut entry, flash::NAME.property, config.name.as_str());
    put(&mut entry, flash::IPA.property, config.ipa);
    put(&mut entry, flash::SIZE.property, config.size);
    if let Some(member) = member {
        put(&mut entry, MEMBER, member);
    }
    let access = match config.access {
        FlashAccess::ReadOnly => "ro",
        FlashAccess::ReadWrite => "rw",
        FlashAccess::Commands => "commands",
    };
    put(&mut entry, flash::ACCESS.property, access);
    flag(&mut entry, flash::CFI.property, config.cfi);
    entry
}

fn virtio(index: usize, device: &Virtio) -> DeviceTreeNode {
    let mut entry = node(&format!("virtio-{index}"));
    put(&mut entry, "compatible", "assay,virtio");
    put(&mut entry, virtio::NAME.property, device.name.as_str());
    put(&mut entry, virtio::TYPE.property, device.kind.as_str());
    put(&mut entry, virtio::BACKEND.property, device.backend.as_str());
    entry
}

/// Xen's words where it has them: the guest address stands beside the size if the manifest gives it.
fn shared(index: usize, part: &Sharing, size: u64) -> DeviceTreeNode {
    let mut entry = node(&format!("shared-{index}"));
    put(&mut entry, "compatible", "xen,domain-shared-memory-v1");
    put(&mut entry, sharing::REGION.property, part.region.as_str());
    match part.ipa {
        Some(ipa) => {
            let place: Vec<u8> = [ipa, size].into_iter().flat_map(u64::to_be_bytes).collect();
            put(&mut entry, SHARED_MEM, place);
        }
        None => put(&mut entry, fields::shared::SIZE.property, size),
    }
    flag(&mut entry, READ_ONLY, part.access == Access::ReadOnly);
    flag(&mut entry, sharing::DOORBELL.property, part.doorbell);
    entry
}

// Names here are constants or checked VM names; the checked constructor would only add errors that can't be.
fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

fn cells(mut node: DeviceTreeNode) -> DeviceTreeNode {
    put(&mut node, "#address-cells", 2u32);
    put(&mut node, "#size-cells", 2u32);
    node
}

fn put<T: dtoolkit::ToPropertyValue>(node: &mut DeviceTreeNode, name: &str, value: T) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// Writes a field that is given.
fn some<T: dtoolkit::ToPropertyValue>(node: &mut DeviceTreeNode, field: &Field, value: Option<T>) {
    if let Some(value) = value {
        put(node, field.property, value);
    }
}

fn flag(node: &mut DeviceTreeNode, name: &str, on: bool) {
    if on {
        put(node, name, Vec::<u8>::new());
    }
}

fn strings(node: &mut DeviceTreeNode, name: &str, values: &[&str]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.bytes().chain([0])).collect();
    put(node, name, bytes);
}

#[cfg(test)]
mod tests {
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node as _, Property as _};

    use super::{Digest, Modules, build};
    use crate::manifest::Manifest;

    fn property(dtb: &[u8], path: &str, name: &str) -> Option<Vec<u8>> {
        let tree = Fdt::new(dtb).unwrap();
        let node = tree.find_node(path)?;
        node.property(name).map(|property| property.value().to_vec())
    }

    fn tree(extra: &str) -> Vec<u8> {
        let text = format!(
            "[[vm]]\nname = \"linux\"\nmemory = \"512M\"\nkernel = \"k\"\ncmdline = \"console=ttyAMA0\"\n{extra}"
        );
        let manifest = Manifest::parse(&text).unwrap();
        let modules =
            [Modules { kernel: "kernel-debian".into(), ramdisk: Some("initrd-busybox".into()), flash: Vec::new() }];
        let members = [Digest { name: "kernel-debian".into(), size: 0x1_0000_0001, crc32: 0xdead_beef }];
        build(&manifest, &modules, &members)
    }

    #[test]
    fn relaxations_of_a_vms_devices_are_written_by_their_names() {
        let tree = tree("allow = [\"unchecked-dma\"]\n");
        assert_eq!(property(&tree, "/chosen/linux", "assay,allow").unwrap(), b"unchecked-dma\0");
    }

    #[test]
    fn memory_is_64_bits_in_kib_as_xen_counts() {
        assert_eq!(property(&tree(""), "/chosen/linux", "memory").unwrap(), 0x8_0000u64.to_be_bytes());
    }

    #[test]
    fn kernel_and_ramdisk_name_their_members() {
        let dtb = tree("");
        assert_eq!(property(&dtb, "/chosen/linux/kernel", "assay,member").unwrap(), b"kernel-debian\0");
        assert_eq!(property(&dtb, "/chosen/linux/kernel", "bootargs").unwrap(), b"console=ttyAMA0\0");
        assert_eq!(
            property(&dtb, "/chosen/linux/ramdisk", "compatible").unwrap(),
            b"multiboot,ramdisk\0multiboot,module\0"
        );
    }

    #[test]
    fn a_member_carries_size_and_digest() {
        let dtb = tree("");
        assert_eq!(property(&dtb, "/chosen/assay,members/m0", "assay,size").unwrap(), 0x1_0000_0001u64.to_be_bytes());
        assert_eq!(property(&dtb, "/chosen/assay,members/m0", "assay,crc32").unwrap(), 0xdead_beefu32.to_be_bytes());
    }

    #[test]
    fn flags_appear_only_when_asked_for() {
        let plain = tree("");
        for name in [
            "assay,mte",
            "assay,watchdog",
            "assay,pmu",
            "assay,on-crash",
            "assay,cpu-list",
            "assay,sched",
            "assay,weight",
            "assay,budget-us",
            "assay,period-us",
        ] {
            assert_eq!(property(&plain, "/chosen/linux", name), None, "{name}");
        }
        let full = tree("mte = true\nwatchdog = true\npmu = true\non-crash = \"restart\"\ncpus = [3, 1]");
        assert_eq!(property(&full, "/chosen/linux", "assay,mte").unwrap(), b"");
        assert_eq!(property(&full, "/chosen/linux", "assay,pmu").unwrap(), b"");
        assert_eq!(property(&full, "/chosen/linux", "assay,on-crash").unwrap(), b"restart\0");
        assert_eq!(property(&full, "/chosen/linux", "cpus").unwrap(), 2u32.to_be_bytes());
        assert_eq!(property(&full, "/chosen/linux", "assay,cpu-list").unwrap(), [0, 0, 0, 3, 0, 0, 0, 1]);
    }

    #[test]
    fn shared_cpus_are_written_with_weight_and_budget() {
        let dtb = tree("sched = \"shared\"\nweight = 250\nbudget = \"2ms\"\nperiod = \"10ms\"\ncpus = 3");
        let cell = |name| property(&dtb, "/chosen/linux", name).unwrap();
        assert_eq!(cell("assay,sched"), b"shared\0");
        assert_eq!(cell("assay,weight"), 250u32.to_be_bytes());
        assert_eq!(cell("assay,budget-us"), 2000u32.to_be_bytes());
        assert_eq!(cell("assay,period-us"), 10_000u32.to_be_bytes());
    }

    #[test]
    fn a_coherent_claim_is_written_whole() {
        let dtb = tree(
            "[[vm.coherent]]\nregion = \"gpu0-memory\"\nuse = \"aperture\"\nallow = [\"mte-hidden\", \"non-cacheable\"]\n\
             exec = true\nipa = 0x4000000000\ndevice = \"/gpu@0\"",
        );
        let path = "/chosen/linux/coherent-0";
        assert_eq!(property(&dtb, path, "assay,use").unwrap(), b"aperture\0");
        assert_eq!(property(&dtb, path, "assay,allow").unwrap(), b"mte-hidden\0non-cacheable\0");
        assert_eq!(property(&dtb, path, "assay,exec").unwrap(), b"");
        assert_eq!(property(&dtb, path, "assay,ipa").unwrap(), 0x40_0000_0000u64.to_be_bytes());
        assert_eq!(property(&dtb, path, "assay,device").unwrap(), b"/gpu@0\0");
    }

    #[test]
    fn a_part_in_a_shared_region_has_its_size_and_where_it_is_given_its_address() {
        let text = "[[shared]]\nname = \"ring0\"\nsize = \"1M\"\n[[shared]]\nname = \"log\"\nsize = \"64K\"\n\
             [[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"k\"\n\
             [[vm.shared]]\nregion = \"ring0\"\naccess = \"rw\"\ndoorbell = true\n\
             [[vm.shared]]\nregion = \"log\"\naccess = \"ro\"\nipa = \"0x100000000\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let modules = [Modules { kernel: "k".into(), ramdisk: None, flash: Vec::new() }];
        let dtb = build(&manifest, &modules, &[]);
        let (ring, log) = ("/chosen/a/shared-0", "/chosen/a/shared-1");
        let is = |path, name, value: &[u8]| property(&dtb, path, name).as_deref() == Some(value);
        assert!(is(ring, "xen,shm-id", b"ring0\0"));
        assert!(is(ring, "assay,size", &0x10_0000u64.to_be_bytes()));
        assert!(is(ring, "assay,doorbell", b"") && !is(ring, "assay,read-only", b""));
        assert_eq!(property(&dtb, ring, "xen,shared-mem"), None);
        let place = [0x1_0000_0000u64.to_be_bytes(), 0x1_0000u64.to_be_bytes()].concat();
        assert!(is(log, "xen,shared-mem", &place) && is(log, "assay,read-only", b""));
        assert_eq!(property(&dtb, log, "assay,size"), None);
    }
}
