//! The VM tree that EL2 reads: the manifest as a device tree, in the shape of Xen's dom0less nodes.

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use crate::manifest::{Access, Coherent, ConsoleStyle, Cpus, Format, Manifest, OnCrash, Schedule, Sharing, Vm};

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
}

/// The flattened tree of `manifest`; `modules` has an entry for each of its VMs, in order.
#[must_use]
pub fn build(manifest: &Manifest, modules: &[Modules], members: &[Digest]) -> Vec<u8> {
    let mut chosen = cells(node("chosen"));
    if manifest.console == Some(ConsoleStyle::Prefix) {
        put(&mut chosen, "assay,console", "prefix");
    }
    let mut list = node("assay,members");
    for (index, member) in members.iter().enumerate() {
        let mut entry = node(&format!("m{index}"));
        put(&mut entry, "assay,member", member.name.as_str());
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

fn domain(vm: &Vm, modules: &Modules) -> DeviceTreeNode {
    let mut domain = node(&vm.name);
    put(&mut domain, "compatible", "xen,domain");
    let mut domain = cells(domain);
    put(&mut domain, "cpus", vm.cpus.count());
    if let Cpus::List(list) = &vm.cpus {
        put(&mut domain, "assay,cpu-list", list.as_slice());
    }
    if vm.sched == Schedule::Shared {
        put(&mut domain, "assay,sched", "shared");
    }
    let numbers = [("assay,weight", vm.weight), ("assay,budget-us", vm.budget), ("assay,period-us", vm.period)];
    for (name, number) in numbers {
        if let Some(number) = number {
            put(&mut domain, name, number);
        }
    }
    // Xen's unit is KiB.
    put(&mut domain, "memory", vm.memory / 1024);
    flag(&mut domain, "vpl011", true);
    flag(&mut domain, "assay,mte", vm.mte);
    flag(&mut domain, "assay,watchdog", vm.watchdog);
    if vm.on_crash == OnCrash::Restart {
        put(&mut domain, "assay,on-crash", "restart");
    }
    if let Some(most) = vm.max_restarts {
        put(&mut domain, "assay,max-restarts", most);
    }
    let mut kernel = module("kernel", "multiboot,kernel", &modules.kernel);
    put(&mut kernel, "bootargs", vm.cmdline.as_str());
    if vm.format == Some(Format::Raw) {
        put(&mut kernel, "assay,format", "raw");
    }
    domain.add_child(kernel);
    if let Some(ramdisk) = &modules.ramdisk {
        domain.add_child(module("ramdisk", "multiboot,ramdisk", ramdisk));
    }
    for (index, claim) in vm.coherent.iter().enumerate() {
        domain.add_child(coherent(index, claim));
    }
    domain
}

fn module(name: &str, compatible: &str, member: &str) -> DeviceTreeNode {
    let mut module = node(name);
    strings(&mut module, "compatible", &[compatible, "multiboot,module"]);
    put(&mut module, "assay,member", member);
    module
}

fn coherent(index: usize, claim: &Coherent) -> DeviceTreeNode {
    let mut entry = node(&format!("coherent-{index}"));
    put(&mut entry, "compatible", "assay,coherent-claim");
    put(&mut entry, "assay,region", claim.region.as_str());
    put(&mut entry, "assay,use", claim.use_.to_string().as_str());
    if !claim.allow.is_empty() {
        let names: Vec<&str> = claim.allow.iter().map(|allow| allow.name()).collect();
        strings(&mut entry, "assay,allow", &names);
    }
    flag(&mut entry, "assay,exec", claim.exec);
    if let Some(ipa) = claim.ipa {
        put(&mut entry, "assay,ipa", ipa);
    }
    if let Some(device) = &claim.device {
        put(&mut entry, "assay,device", device.as_str());
    }
    entry
}

/// Xen's words where it has them: the guest address stands beside the size if the manifest gives it.
fn shared(index: usize, part: &Sharing, size: u64) -> DeviceTreeNode {
    let mut entry = node(&format!("shared-{index}"));
    put(&mut entry, "compatible", "xen,domain-shared-memory-v1");
    put(&mut entry, "xen,shm-id", part.region.as_str());
    match part.ipa {
        Some(ipa) => {
            let place: Vec<u8> = [ipa, size].into_iter().flat_map(u64::to_be_bytes).collect();
            put(&mut entry, "xen,shared-mem", place);
        }
        None => put(&mut entry, "assay,size", size),
    }
    flag(&mut entry, "assay,read-only", part.access == Access::ReadOnly);
    flag(&mut entry, "assay,doorbell", part.doorbell);
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
        let modules = [Modules { kernel: "kernel-debian".into(), ramdisk: Some("initrd-busybox".into()) }];
        let members = [Digest { name: "kernel-debian".into(), size: 0x1_0000_0001, crc32: 0xdead_beef }];
        build(&manifest, &modules, &members)
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
            "assay,on-crash",
            "assay,cpu-list",
            "assay,sched",
            "assay,weight",
            "assay,budget-us",
            "assay,period-us",
        ] {
            assert_eq!(property(&plain, "/chosen/linux", name), None, "{name}");
        }
        let full = tree("mte = true\nwatchdog = true\non-crash = \"restart\"\ncpus = [3, 1]");
        assert_eq!(property(&full, "/chosen/linux", "assay,mte").unwrap(), b"");
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
        let modules = [Modules { kernel: "k".into(), ramdisk: None }];
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
