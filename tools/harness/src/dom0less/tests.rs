//! Trees as people write them for dom0less.

use std::path::Path;

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node as _, Property as _};

use super::{Dom0less, Module};
use crate::overlay;
use crate::qemu::Gic;

const FRAGMENT: &str = r#"/dts-v1/;
/ {
    #address-cells = <1>;
    chosen {
        #size-cells = <1>;
        domU1 {
            compatible = "xen,domain";
            memory = <0 0x20000>;
            cpus = <2>;
            vpl011;
            linux: module@48000000 {
                compatible = "multiboot,kernel", "multiboot,module";
                reg = <0x48000000 0x2000000>;
                bootargs = "console=ttyAMA0";
            };
        };
        domU2 {
            compatible = "xen,domain";
            #address-cells = <2>;
            #size-cells = <2>;
            memory = <0x10000>;
            cpus = <1>;
            module@4a000000 {
                compatible = "multiboot,ramdisk", "multiboot,module";
                reg = <0 0x4a000000 0 0x1000>;
            };
        };
    };
};
"#;

const MACHINE: &str = r#"/ {
    #address-cells = <2>;
    #size-cells = <2>;
    compatible = "linux,dummy-virt";
    chosen { stdout-path = "/pl011@9000000"; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x30000000>; };
    cpus {
        #address-cells = <1>;
        #size-cells = <0>;
        cpu@0 { device_type = "cpu"; reg = <0>; };
        cpu@1 { device_type = "cpu"; reg = <1>; };
        cpu-map { };
    };
    intc@8000000 { compatible = "arm,cortex-a15-gic"; };
};
"#;

fn property(blob: &[u8], path: &str, name: &str) -> Option<Vec<u8>> {
    let tree = Fdt::new(blob).unwrap();
    let node = tree.find_node(path)?;
    let property = node.property(name)?;
    Some(property.value().to_vec())
}

#[test]
fn the_vms_and_their_modules_are_read_in_the_cells_that_hold_above_them() {
    let tree = Dom0less::from_source(FRAGMENT).unwrap();
    let [one, two] = tree.vms() else {
        panic!("{tree:?}");
    };
    assert_eq!((one.name.as_str(), one.cpus, one.memory), ("domU1", 2, 128 << 20));
    let module = Module { node: "module@48000000".into(), address: 0x4800_0000, size: 0x200_0000 };
    assert_eq!(one.modules, [module]);
    assert_eq!((two.cpus, two.memory), (1, 64 << 20));
    assert_eq!(two.modules[0].address, 0x4a00_0000);
}

#[test]
fn a_fragment_becomes_part_of_the_machines_tree_and_means_the_same() {
    let tree = Dom0less::from_source(FRAGMENT).unwrap();
    assert!(!tree.is_whole());
    let whole = tree.complete(&overlay::compile(MACHINE).unwrap()).unwrap();
    let one = 1u32.to_be_bytes().to_vec();
    let two = 2u32.to_be_bytes().to_vec();
    assert_eq!(property(&whole, "/", "#address-cells"), Some(two));
    assert_eq!(property(&whole, "/chosen", "#address-cells"), Some(one));
    assert!(property(&whole, "/chosen", "stdout-path").is_some());
    assert!(property(&whole, "/cpus/cpu@1", "reg").is_some());
    let read = Dom0less::from_blob(&whole).unwrap();
    assert!(read.is_whole());
    assert_eq!(read.vms(), tree.vms());
}

#[test]
fn an_overlay_for_chosen_is_a_fragment_too() {
    let nodes = FRAGMENT.split_once("chosen {").unwrap().1;
    let (nodes, _) = nodes.rsplit_once("};\n};").unwrap();
    let overlay = format!("/dts-v1/; /plugin/; / {{ }}; &{{/chosen}} {{ #address-cells = <1>; {nodes} }};");
    let tree = Dom0less::from_source(&overlay).unwrap();
    let plain = Dom0less::from_source(FRAGMENT).unwrap();
    assert_eq!(tree.vms(), plain.vms());
    let label = "/ { fragment@0 { target = <7>; __overlay__ { }; }; };";
    let error = Dom0less::from_source(label).unwrap_err();
    assert!(error.to_string().contains("fragment@0"), "{error}");
}

#[test]
fn a_fragments_machine_holds_vms_and_modules() {
    let hardware = Dom0less::from_source(FRAGMENT).unwrap().hardware();
    assert_eq!((hardware.cpus, hardware.memory), (3, 512 << 20));
    let far = FRAGMENT.replace("0x4a000000", "0x8a000000");
    let hardware = Dom0less::from_source(&far).unwrap().hardware();
    assert_eq!(hardware.memory, 1536 << 20);
}

#[test]
fn a_whole_trees_machine_is_its_own() {
    let vms = FRAGMENT.split_once("chosen {").unwrap().1;
    let vms = vms.strip_suffix("};\n").unwrap();
    let source = MACHINE
        .replace("chosen { stdout-path = \"/pl011@9000000\"; };", &format!("chosen {{ #address-cells = <1>; {vms}"));
    let tree = Dom0less::from_source(&source).unwrap();
    let hardware = tree.hardware();
    assert_eq!((hardware.cpus, hardware.memory, hardware.gic), (2, 768 << 20, Gic::V2));
    assert_eq!(tree.complete(b"unused").unwrap(), tree.tree.to_dtb());
}

#[test]
fn a_file_goes_where_a_module_of_its_length_is() {
    let tree = Dom0less::from_source(FRAGMENT).unwrap();
    let loader = |address, length| tree.loader(address, Path::new("a,b"), length);
    assert_eq!(loader(0x4a00_0000, 0x1000).unwrap(), "loader,file=a,,b,addr=0x4a000000,force-raw=on");
    let long = loader(0x4a00_0000, 0x1001).unwrap_err().to_string();
    assert!(long.contains("0x1001") && long.contains("module@4a000000"), "{long}");
    let nowhere = loader(0x4b00_0000, 1).unwrap_err().to_string();
    assert!(nowhere.contains("module@48000000 at 0x48000000"), "{nowhere}");
}

#[test]
fn a_tree_without_vms_is_an_error_that_says_so() {
    for source in ["/ { };", "/ { chosen { domU1 { }; }; };"] {
        let error = Dom0less::from_source(source).unwrap_err().to_string();
        assert!(error.contains("/chosen"), "{error}");
    }
}
