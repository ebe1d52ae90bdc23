//! QEMU's model of a server, without firmware: RAM from 1 TiB on, and nobody at EL3.

use anyhow::{Context as _, Result};
use assay_harness::{Machine, cache, overlay};

use super::{HELLO, LIMIT, Parts};
use crate::cases::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("boots/sbsa-ref-with-a-tree-of-ours", || hello("neoverse-n1")),
        // With FEAT_CSV2_2, whose registers nobody at EL3 has let EL2 at.
        Case::new("boots/sbsa-ref-neoverse-n2", || hello("neoverse-n2")),
    ]
}

fn hello(cpu: &str) -> Result<String> {
    let parts = Parts::new(HELLO)?;
    let source = cache::repository()?.join("platforms/sbsa-ref/sbsa-ref.dts");
    let tree = parts.folder.join("sbsa-ref.dtb");
    std::fs::write(&tree, overlay::compile(&std::fs::read_to_string(source)?)?)?;
    let tree = tree.to_str().context("the folder's path is not UTF-8")?;
    // Without `romfile=` QEMU looks for a ROM that not every installation has.
    let board = ["-M", "sbsa-ref", "-cpu", cpu, "-smp", "1", "-m", "1G", "-nic", "none", "-dtb", tree];
    let rom = ["-global", "bochs-display.romfile="];
    let board = board.into_iter().chain(rom).map(str::to_owned).collect();
    let mut machine = Machine::builder().manifest_text(HELLO).board(board).start()?;
    machine.expect("hello", "ok 1 a_guest_runs_at_el1_with_its_tree", LIMIT)?;
    // Without PSCI the machine stays on.
    let _ = machine.expect_event("that the VM has stopped", LIMIT, |event| event.is_vm("hello", "stopped"))?;
    Ok(String::new())
}
