//! What the policy says of a VM, and the lines that tell so.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use assay_plan::claims::{self, RamRow, VmClaims, World};
use assay_plan::policy::line::{DecisionLine, Quoted, RefusedLine};
use assay_plan::policy::{Decision, Use};
use assay_plan::vm_tree::VmConfig;
use assay_spec::addr::{Ipa, Region};

use super::{Environment, Refused, refused};
use crate::console::say;

/// Asks the policy about everything that the VM would get; what it refuses is printed, all of it.
pub(super) fn decide<'a>(
    environment: &Environment<'a>,
    config: &VmConfig,
    claims: &VmClaims<'_>,
) -> Result<(RamRow<'a>, Decision), Option<Refused>> {
    let vm = config.name.as_str();
    for row in &claims.rows {
        let notices = match &row.outcome {
            Ok(decision) => decision.notices,
            Err(refusal) => refusal.notices,
        };
        for notice in notices.iter() {
            let kind = if notice.is_error() { "error" } else { "warning" };
            say!("{kind} vm={vm} region={} reason={}", row.region, Quoted(&notice));
        }
        if let Err(refusal) = row.outcome {
            let (rule, remedy) = (refusal.rule, refusal.remedy());
            say!("{}", RefusedLine { vm, region: Some(row.region), rule, reason: &refusal.reason, remedy });
        }
    }
    for row in &claims.shared {
        if let Err(refusal) = row.outcome {
            let (rule, remedy) = (refusal.rule, refusal.remedy());
            say!("{}", RefusedLine { vm, region: Some(row.region), rule, reason: &refusal.reason, remedy });
        }
    }
    for trouble in &claims.troubles {
        refused(vm, &trouble.rule(), trouble, trouble.remedy());
    }
    let row = claims::ram(&environment.world, config);
    match row.outcome {
        Ok(decision) if claims.starts() => Ok((row, decision)),
        Ok(_) => Err(None),
        Err(refusal) => {
            let (rule, remedy) = (refusal.rule, refusal.remedy());
            say!("{}", RefusedLine { vm, region: Some("memory"), rule, reason: &refusal.reason, remedy });
            Err(None)
        }
    }
}

/// Prints what is wrong with regions that no VM claims, or that only one shares: nobody would hear of it otherwise.
pub(crate) fn warn_of_unclaimed(world: &World<'_>) {
    for (node, refusal) in claims::unclaimed_faults(world) {
        say!("warning region={} rule={} reason={}", node.name, refusal.rule, Quoted(&refusal.reason));
    }
    for (region, vm) in claims::shared_by_one(world) {
        say!("warning vm={vm} region={region} reason=\"no other VM shares the region\"");
    }
    for node in claims::without_no_map(world.machine) {
        say!("warning region={} reason=\"the node has no no-map, which the binding requires: add it\"", node.name);
    }
}

/// Prints what the VM got, and returns the lines.
pub(super) fn report(
    config: &VmConfig,
    claims: &VmClaims<'_>,
    row: &RamRow<'_>,
    decision: Decision,
    range: Region<Ipa>,
) -> Vec<String> {
    let vm = config.name.as_str();
    let mut lines = Vec::new();
    let mut print = |line: DecisionLine<'_>| {
        say!("{line}");
        lines.push(line.to_string());
    };
    print(DecisionLine { vm, region: "memory", use_: Use::Ram, ipa: range, decision, proof: row.proof });
    for row in &claims.rows {
        if let Some(granted) = row.granted() {
            let (ipa, decision) = (granted.ipa, granted.decision);
            print(DecisionLine { vm, region: row.region, use_: row.use_, ipa, decision, proof: row.proof });
        }
    }
    for row in &claims.shared {
        if let Some((ipa, decision)) = row.granted() {
            print(DecisionLine { vm, region: row.region, use_: row.claim.use_, ipa, decision, proof: row.proof });
        }
    }
    lines
}
