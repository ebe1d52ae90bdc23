//! The numbers at which arithmetic ends, in a VM tree: refused or planned, and no panic.

use std::vec::Vec;

use super::plan_on;
use crate::claims::tests::platform;
use crate::gate::Tree;
use crate::gate::tests::dts::compile;
use crate::vm_tree;

/// What a VM tree can say with numbers.
const TREE: &str = r#"/ { compatible = "assay,vm-tree"; chosen {
    #address-cells = <2>; #size-cells = <2>;
    a {
        compatible = "xen,domain"; #address-cells = <2>; #size-cells = <2>; cpus = <1>; memory = <0 0x40000>; vpl011;
        assay,memory-ipa = <0 0x40000000>; assay,cpu-list = <0>; assay,max-restarts = <3>; assay,watchdog;
        kernel { compatible = "multiboot,kernel", "multiboot,module"; reg = <0 0x50000000 0 0x1000>;
            assay,format = "raw"; assay,load = <0 0x40080000>; assay,entry = <0 0x40080000>; };
        coherent-0 { compatible = "assay,coherent-claim"; assay,region = "gpu0-memory"; assay,use = "aperture";
            assay,ipa = <0x10 0>; };
        flash-0 { compatible = "assay,flash"; assay,region = "code"; assay,ipa = <0 0x4000000>; assay,size = <0 0x100000>; assay,cfi; };
        part { compatible = "xen,domain-shared-memory-v1"; xen,shm-id = "ring"; xen,shared-mem = <0 0x80000000 0 0x1000>;
            assay,size = <0 0x1000>; assay,doorbell; };
    };
    b {
        compatible = "xen,domain"; #address-cells = <2>; #size-cells = <2>; cpus = <2>; memory = <0 0x1000>;
        assay,sched = "shared"; assay,weight = <100>; assay,period-us = <10000>; assay,budget-us = <5000>;
        kernel { compatible = "multiboot,kernel", "multiboot,module"; assay,member = "k"; };
        part { compatible = "xen,domain-shared-memory-v1"; xen,shm-id = "ring"; assay,size = <0 0x1000>;
            assay,ipa = <0x20 0>; };
    };
}; };"#;

#[test]
fn no_number_of_a_vm_tree_is_too_much() {
    let gpu =
        r#"gpu0-memory@4000000000 { compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map; };"#;
    let (machine, good) = (platform("", gpu), compile(TREE));
    let as_is = vm_tree::parse(&Tree::new(&good).unwrap()).unwrap();
    assert_eq!((as_is.vms.len(), as_is.refused), (2, Vec::new()));
    plan_on(&machine, 2, &as_is.vms, |plans| assert!(plans.iter().all(Result::is_ok)));
    let ends: [&[u32]; 6] =
        [&[0], &[1 << 31], &[u32::MAX], &[u32::MAX, u32::MAX], &[u32::MAX, 0xffff_f000], &[i32::MAX as u32, u32::MAX]];
    let step = if cfg!(miri) { 256 } else { 4 };
    for at in (0..good.len() - 8).step_by(step) {
        for words in ends {
            let mut blob = good.clone();
            for (word, place) in words.iter().zip(blob[at..].chunks_exact_mut(4)) {
                place.copy_from_slice(&word.to_be_bytes());
            }
            let read = Tree::new(&blob).ok().and_then(|tree| vm_tree::parse(&tree).ok());
            let vms: Vec<_> = read.map(|read| read.vms).unwrap_or_default();
            plan_on(&machine, 2, &vms, |_| {});
        }
    }
}
