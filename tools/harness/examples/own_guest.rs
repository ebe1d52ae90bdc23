//! A test of a guest of your own: boots the kernel that the command line names in one VM under Assay, on two
//! kinds of machine, and reads its KTAP report.
//!
//! `cargo xtask build` first, then `cargo run -p assay-harness --example own_guest -- path/to/kernel`.

use std::time::Duration;

use assay_harness::{Gic, Machine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kernel = std::env::args().nth(1).ok_or("which kernel? give its path")?;
    let manifest = format!(
        r#"
        [[vm]]
        name = "mine"
        cpus = 2
        memory = "64M"
        kernel = "{kernel}"
        "#
    );
    for (cpu, gic) in [("max", Gic::V3), ("cortex-a72", Gic::V2)] {
        let machine = Machine::builder().manifest_text(&manifest).cpu(cpu).gic(gic).start()?;
        // Waits for the VM's power-off; a failed or missing result is an error.
        let counts = machine.finish_ktap("mine", Duration::from_secs(60))?;
        println!("{cpu}, {gic:?}: {} passed, {} skipped", counts.passed, counts.skipped);
    }
    Ok(())
}
