//! What reading and planning really takes of the heap, against what it is said to take.

use assay_plan::gate::Tree;
use assay_plan::{heap, platform, vm_tree};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn node(name: &str, properties: &[(&str, &[u8])]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    for (name, value) in properties {
        node.add_property(DeviceTreeProperty::new_unchecked(*name, value.to_vec()));
    }
    node
}

fn cells(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A machine with so many CPUs, and `more` below the root.
fn machine(cpus: u32, more: Vec<DeviceTreeNode>) -> Vec<u8> {
    let (two, one, none) = (cells(&[2]), cells(&[1]), cells(&[0]));
    let mut tree = DeviceTree::new();
    tree.root = node("", &[("#address-cells", &two), ("#size-cells", &two)]);
    tree.root.add_child(node(
        "memory@40000000",
        &[("device_type", b"memory\0"), ("reg", &cells(&[0, 0x4000_0000, 0, 0x4000_0000]))],
    ));
    tree.root.add_child(node(
        "timer",
        &[
            ("compatible", b"arm,armv8-timer\0"),
            ("interrupt-parent", &one),
            ("interrupts", &cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])),
        ],
    ));
    let gic = [0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0x200_0000];
    tree.root.add_child(node(
        "intc@8000000",
        &[
            ("compatible", b"arm,gic-v3\0"),
            ("#interrupt-cells", &cells(&[3])),
            ("interrupt-controller", b""),
            ("interrupts", &cells(&[1, 9, 4])),
            ("interrupt-parent", &one),
            ("phandle", &one),
            ("reg", &cells(&gic)),
        ],
    ));
    let mut all = node("cpus", &[("#address-cells", &one), ("#size-cells", &none)]);
    for cpu in 0..cpus {
        let affinity = cpu / 256 * 0x1_0000 + cpu / 16 % 16 * 0x100 + cpu % 16;
        all.add_child(node(
            &format!("cpu@{affinity:x}"),
            &[
                ("device_type", b"cpu\0"),
                ("compatible", b"arm,armv8\0"),
                ("reg", &cells(&[affinity])),
                ("enable-method", b"psci\0"),
            ],
        ));
    }
    tree.root.add_child(all);
    more.into_iter().for_each(|node| tree.root.add_child(node));
    tree.to_dtb()
}

/// So many devices on a bus.
fn devices(count: u32, name: &str) -> DeviceTreeNode {
    let two = cells(&[2]);
    let mut bus = node(
        "bus",
        &[("compatible", b"simple-bus\0"), ("#address-cells", &two), ("#size-cells", &two), ("ranges", b"")],
    );
    for device in 0..count {
        bus.add_child(node(
            &format!("{name}@{device:x}000"),
            &[("compatible", b"vendor,some-device\0"), ("reg", &cells(&[1, device << 12, 0, 0x1000]))],
        ));
    }
    bus
}

fn peak(label: &str, blob: &[u8], read: impl Fn(&[u8])) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    read(blob);
    let peak = ALLOCATOR.peak_usage() - before;
    let said = heap::to_read([blob]);
    println!("{label}: {peak} of {said} nodes {:?}", assay_plan::gate::measure(blob));
    assert!(peak <= said, "{label}: {peak} bytes, and {said} are said");
}

fn reserved(count: u32) -> DeviceTreeNode {
    let two = cells(&[2]);
    let mut all = node("reserved-memory", &[("#address-cells", &two), ("#size-cells", &two), ("ranges", b"")]);
    for one in 0..count {
        all.add_child(node(
            &format!("carve-out-of-something@{one:x}000"),
            &[("reg", &cells(&[2, one << 12, 0, 0x1000])), ("no-map", b"")],
        ));
    }
    all
}

fn vms(count: u32, more: &[(&str, &[u8])]) -> Vec<u8> {
    let two = cells(&[2]);
    let mut chosen = node("chosen", &[("#address-cells", &two), ("#size-cells", &two)]);
    for vm in 0..count {
        let mut domain = node(
            &format!("vm{vm}"),
            &[("compatible", b"xen,domain\0"), ("cpus", &cells(&[4])), ("memory", &cells(&[0, 0x1000]))],
        );
        let mut properties: Vec<(&str, &[u8])> =
            vec![("compatible", b"multiboot,kernel\0multiboot,module\0"), ("assay,member", b"hello\0")];
        properties.extend(more);
        domain.add_child(node("kernel", &properties));
        domain.add_child(node("ramdisk", &[("compatible", b"multiboot,ramdisk\0"), ("assay,member", b"hello\0")]));
        for claim in 0..4 {
            domain.add_child(node(
                &format!("coherent-{claim}"),
                &[
                    ("compatible", b"assay,coherent-claim\0"),
                    ("assay,region", b"gpu0-memory\0"),
                    ("assay,use", b"ram\0"),
                ],
            ));
        }
        chosen.add_child(domain);
    }
    let mut tree = DeviceTree::new();
    tree.root = node("", &[("#address-cells", &two), ("#size-cells", &two)]);
    tree.root.add_child(chosen);
    tree.to_dtb()
}

#[test]
fn reading_takes_no_more_than_is_said() {
    let platform = |blob: &[u8]| drop(platform::parse(blob).unwrap());
    let vm_tree = |blob: &[u8]| drop(vm_tree::parse(&Tree::new(blob).unwrap()).unwrap());
    peak("small", &machine(4, vec![]), platform);
    peak("1024 CPUs", &machine(1024, vec![]), platform);
    peak("3000 devices", &machine(4, vec![devices(3000, "device")]), platform);
    peak("7000 devices", &machine(4, vec![devices(7000, "device")]), platform);
    peak("long names", &machine(4, vec![devices(1000, &"long".repeat(60))]), platform);
    peak("reserved", &machine(4, vec![reserved(1000)]), platform);
    let many = cells(&(0..256).flat_map(|n| [1, n << 12, 0, 0x1000]).collect::<Vec<_>>());
    let mut big = devices(100, "device");
    big.add_child(node("regs@1000", &[("reg", &many)]));
    peak("many regs", &machine(4, vec![big]), platform);
    peak("one VM", &vms(1, &[]), vm_tree);
    peak("256 VMs", &vms(256, &[]), vm_tree);
    peak("a long line", &vms(1, &[("bootargs", &[b'x'; 120_000])]), vm_tree);
    let names: Vec<String> = (0..10_000).map(|n| format!("p{n}")).collect();
    let junk: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    peak("junk", &vms(1, &junk), vm_tree);
}
