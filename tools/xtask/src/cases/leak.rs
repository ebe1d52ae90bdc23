//! Nothing of one VM, data or tags, is found by its own next life or by the VM beside it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;

use super::Case;
use super::coherent::REGION;
use super::coherent::facts::{Facts, MARKED};

const LIMIT: Duration = Duration::from_secs(240);
/// A slice of RAM.
const SMALL: Facts = Facts { size: 0x100_0000, ..MARKED };
/// Lives of the VM that soils, and after each a look of the other.
const LIVES: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("leak/a-reset-vms-tags-and-data-are-found-by-nobody", || nobody("reset", "reset", "")),
        Case::new("leak/a-crashed-vms-tags-and-data-are-found-by-nobody", || {
            nobody("crash", "no-vectors", "on-crash = \"restart\"")
        }),
    ]
}

/// `first` fills its RAM and a coherent region, ends and lives again; `second` looks meanwhile.
fn nobody(end: &str, cause: &str, lines: &str) -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n\
         [[vm]]\nname = \"first\"\nmemory = \"32M\"\nmte = true\nkernel = \"leak\"\n\
         cmdline = \"leak=soil end={end}\"\n{lines}\n\
         [[vm.coherent]]\nregion = \"{REGION}\"\nuse = \"ram\"\n\
         [[vm]]\nname = \"second\"\nmemory = \"32M\"\nmte = true\nkernel = \"leak\"\ncmdline = \"leak=look\"\n",
        SMALL.file(&format!("leak-{end}"))?
    );
    let mut machine = Machine::builder().manifest_text(&text).physical_memory(1 << 30).machine_mte(true).start()?;
    for life in 1..=LIVES {
        let text = machine.expect("first", "leak: soiled", LIMIT)?;
        ensure!(!text.contains("found"), "life {life}: {text}");
        machine.expect_event("restarted", LIMIT, |event| {
            event.is_vm("first", "restarted") && event.get("cause") == Some(cause)
        })?;
        // The look that is under way began before the end; the next begins after it.
        for _ in 0..2 {
            machine.expect("second", "leak: clean", LIMIT).with_context(|| format!("life {life}"))?;
        }
    }
    // What it says of a life is said before it soils.
    machine.expect("first", "leak: soiled", LIMIT)?;
    for vm in ["first", "second"] {
        let text = machine.output(vm);
        ensure!(!text.contains("found") && !text.contains("Bail out"), "{vm}: {text}");
    }
    let tags = machine.events().iter().any(|event| {
        event.kind == "decision" && event.get("region") == Some(REGION) && event.get("mte") == Some("exposed")
    });
    ensure!(tags, "the region has no tags:\n{}", machine.log());
    Ok(format!("{LIVES} lives"))
}
