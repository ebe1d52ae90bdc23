//! `explain` on the host and EL2 at boot say the same: every line compared, given the proof that EL2 printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::qemu::{Gic, Hardware};
use assay_harness::{Event, process, qemu};
use serde_json::Value;

use super::{RAM, REGION};
use crate::build;

/// The machine that a boot ran on.
pub(in crate::cases) struct Platform<'a> {
    /// QEMU's CPU.
    pub(in crate::cases) cpu: &'a str,
    pub(in crate::cases) tags: bool,
    pub(in crate::cases) arguments: &'a [&'a str],
    pub(in crate::cases) qemu: Option<PathBuf>,
}

impl Platform<'_> {
    /// `explain`'s name of the CPU.
    fn preset(&self) -> String {
        let has_tags = matches!(self.cpu, "max" | "neoverse-n2" | "cortex-a710");
        match (self.tags, self.qemu.is_some()) {
            (true, true) if self.cpu == "max" => "max-mteperm".to_owned(),
            (false, _) if has_tags => format!("{}-nomte", self.cpu),
            _ => self.cpu.to_owned(),
        }
    }

    /// The device tree that QEMU makes for it.
    fn tree(&self, to: &Path) -> Result<()> {
        let hardware = Hardware {
            model: "virt".to_owned(),
            cpu: self.cpu.to_owned(),
            // As many as any of the cases asks for: decisions don't depend on it.
            cpus: 4,
            memory: RAM,
            gic: Gic::V3,
            mte: self.tags,
            icount: false,
            el2: true,
            board: None,
        };
        let program = qemu::find(self.qemu.as_deref(), &Cache::locate()?)?;
        let output = process::dies_with_us(&program)
            .args(hardware.arguments())
            .args(self.arguments)
            .args(["-display", "none", "-machine"])
            .arg(format!("dumpdtb={}", to.display()))
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "QEMU writes no tree: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Has `explain` explain the manifest, and compares with what was said at boot.
pub(in crate::cases) fn check(name: &str, manifest: &str, platform: &Platform<'_>, events: &[Event]) -> Result<()> {
    let folder = build::target()?.join("assay/explained");
    fs::create_dir_all(&folder)?;
    let (tree, text) = (folder.join(name).with_extension("dtb"), folder.join(name).with_extension("toml"));
    platform.tree(&tree)?;
    fs::write(&text, manifest)?;
    let mut proofs = format!("memory={}", proof_of(events, |region| region.starts_with("memory@")));
    // A platform without the region has none to say of it.
    if manifest.contains(REGION) {
        let found = proof_of(events, |region| region == REGION);
        proofs += &format!(",{REGION}={found}");
    }
    let output = Command::new(crate::build::this_program()?)
        .arg("explain")
        .arg("--tree")
        .arg(&tree)
        .arg("--manifest")
        .arg(&text)
        .args(["--cpu", &platform.preset(), "--proof", &proofs, "--json"])
        .stdin(Stdio::null())
        .output()?;
    let rows: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("explain: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))?;
    let rows = rows.as_array().context("explain gives no array")?;
    let refused = lines(events, "refused").count() > 0;
    ensure!(output.status.code() == Some(i32::from(refused)), "explain ends with {}", output.status);
    compare(rows, events)
}

/// What the boot found of the regions that `wanted` accepts.
fn proof_of(events: &[Event], wanted: impl Fn(&str) -> bool) -> &str {
    let results = || {
        lines(events, "proof")
            .filter(|line| line.get("region").is_some_and(&wanted))
            .filter_map(|line| line.get("result"))
    };
    let failed = results().find(|result| *result != "passed");
    failed.or(results().next()).unwrap_or("not-run")
}

fn lines<'a>(events: &'a [Event], kind: &'a str) -> impl Iterator<Item = &'a Event> {
    events.iter().filter(move |event| event.kind == kind)
}

/// Every line has its row and says nothing else, and every row that a boot prints was printed.
fn compare(rows: &[Value], events: &[Event]) -> Result<()> {
    let get = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let is_of = |row: &Value, line: &Event| {
        get(row, "kind").as_deref() == Some(&line.kind)
            && ["vm", "region"].iter().all(|key| get(row, key).as_deref() == line.get(key))
    };
    let told = || lines(events, "decision").chain(lines(events, "refused"));
    ensure!(told().next().is_some(), "no decision at all");
    for line in told() {
        let row = rows.iter().find(|row| is_of(row, line));
        let row = row.with_context(|| format!("explain doesn't have: {line}"))?;
        for (key, value) in &line.fields {
            ensure!(get(row, key).as_deref() == Some(value), "explain has another {key}, {:?}: {line}", get(row, key));
        }
    }
    for row in rows.iter().filter(|row| get(row, "kind").as_deref() != Some("function")) {
        // A VM that is refused gets no decisions printed.
        let vm_is_refused = lines(events, "refused").any(|line| line.get("vm") == get(row, "vm").as_deref());
        let silent = vm_is_refused && get(row, "kind").as_deref() == Some("decision");
        ensure!(silent || told().any(|line| is_of(row, line)), "EL2 didn't say: {row}");
    }
    Ok(())
}
