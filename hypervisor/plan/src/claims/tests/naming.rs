//! What a claim's `region` means.

use super::{AS_RAM, MARKED, fwb, gpu, platform, resolve, trouble, vm, vms, world};
use crate::policy::Rule;
use crate::refusal::Cause as _;

const TWINS: &str = r#"
    hbm@4000000000 { compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map; assay,mte-capable; };
    hbm@5000000000 { compatible = "assay,coherent-memory"; reg = <0x50 0 0 0x4000000>; no-map; assay,mte-capable; };
"#;

#[test]
fn a_region_is_found_by_its_name_without_unit_address_and_by_its_path() {
    let machine = platform("", &gpu(MARKED));
    for name in ["gpu0-memory", "/reserved-memory/gpu0-memory@4000000000"] {
        let claim = std::format!(r#"assay,region = "{name}"; assay,use = "ram";"#);
        let vms = vms(&[vm("a", "", &[&claim])]);
        let all = resolve(&world(&machine, &vms, fwb()));
        assert!(all[0].starts());
        assert_eq!(all[0].rows[1].region, "gpu0-memory");
        assert_eq!(all[0].rows[1].nodes, [machine.coherent[0].path.as_str()]);
    }
}

#[test]
fn an_unknown_region_is_refused_with_the_names_that_there_are() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[r#"assay,region = "gpu1-memory"; assay,use = "ram";"#])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!(all[0].rows.len(), 1, "RAM");
    let (reason, remedy) = trouble(&all[0]);
    assert_eq!(reason, "the platform has no coherent region gpu1-memory; it has gpu0-memory");
    assert!(remedy.contains("overlay"));
    assert_eq!(all[0].troubles[0].rule(), Rule::V3);
    assert!(all[0].troubles[0].is_bad_name());
}

#[test]
fn a_platform_without_regions_has_no_list_to_offer() {
    let machine = platform("", "");
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!(trouble(&all[0]).0, "the platform has no coherent region gpu0-memory");
}

#[test]
fn a_name_that_two_nodes_have_is_refused_with_both_paths() {
    let machine = platform("", TWINS);
    let vms = vms(&[vm("a", "", &[r#"assay,region = "hbm"; assay,use = "ram";"#])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    let (reason, remedy) = trouble(&all[0]);
    assert_eq!(
        reason,
        "several coherent regions are named hbm: /reserved-memory/hbm@4000000000, \
         /reserved-memory/hbm@5000000000"
    );
    assert!(remedy.contains("path"));
}

#[test]
fn of_twins_one_is_claimed_and_printed_by_its_path() {
    let machine = platform("", TWINS);
    let path = "/reserved-memory/hbm@5000000000";
    let vms = vms(&[vm("a", "", &[r#"assay,region = "/reserved-memory/hbm@5000000000"; assay,use = "ram";"#])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert!(all[0].starts());
    assert_eq!(all[0].rows[1].region, path);
    let memory = all[0].rows[1].granted().unwrap().coherent().unwrap().region();
    assert_eq!(memory, machine.coherent[1].reg);
}

#[test]
fn a_claim_with_a_device_is_refused_and_names_it() {
    let machine = platform("", &gpu(MARKED));
    let vms =
        vms(&[vm("a", "", &[r#"assay,region = "gpu0-memory"; assay,use = "aperture"; assay,device = "/gpu@0";"#])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    let (reason, remedy) = trouble(&all[0]);
    assert!(reason.contains("gpu0-memory") && reason.contains("/gpu@0"));
    assert!(remedy.contains("`device`"));
    assert!(!all[0].troubles[0].is_bad_name());
}
