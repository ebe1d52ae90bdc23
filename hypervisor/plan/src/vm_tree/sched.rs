//! How a VM's node asks for CPUs that it shares.

use super::{CapMicroseconds, Sched};
use crate::gate::{Malformed, Node};
use core::ops::RangeInclusive;

/// The weight of a VM that gives none.
const WEIGHT: u32 = 100;
const WEIGHTS: RangeInclusive<u32> = 1..=65535;
/// In microseconds. In a shorter period, EL2's own work would be a large part.
const PERIODS: RangeInclusive<u32> = 1000..=10_000_000;
/// The smallest budget in microseconds, for the same reason.
const BUDGET_MIN: u32 = 100;

/// Reads what the node of a VM with so many vCPUs says.
pub(super) fn read(node: &Node<'_, '_>, vcpus: usize) -> Result<Sched, Malformed> {
    let weight = node.u32("assay,weight")?;
    let budget = node.u32("assay,budget-us")?;
    let period = node.u32("assay,period-us")?;
    match node.str("assay,sched")? {
        Some("shared") => {}
        None | Some("dedicated") => {
            let given = [("assay,weight", weight), ("assay,budget-us", budget), ("assay,period-us", period)];
            return match given.iter().find(|(_, value)| value.is_some()) {
                Some((word, _)) => Err(node.malformed(word, "needs assay,sched = \"shared\"")),
                None => Ok(Sched::Dedicated),
            };
        }
        Some(_) => {
            let wants = "must be \"dedicated\" or \"shared\"";
            return Err(node.malformed("assay,sched", wants));
        }
    }
    let weight = weight.unwrap_or(WEIGHT);
    if !WEIGHTS.contains(&weight) {
        return Err(node.malformed("assay,weight", "must be from 1 to 65535"));
    }
    let cap = match (budget, period) {
        (None, None) => None,
        (Some(budget), Some(period)) => Some(cap(node, vcpus, budget, period)?),
        (Some(_), None) => {
            return Err(node.malformed("assay,period-us", "must be there with assay,budget-us"));
        }
        (None, Some(_)) => {
            return Err(node.malformed("assay,budget-us", "must be there with assay,period-us"));
        }
    };
    Ok(Sched::Shared { weight, cap })
}

fn cap(node: &Node<'_, '_>, vcpus: usize, budget: u32, period: u32) -> Result<CapMicroseconds, Malformed> {
    if !PERIODS.contains(&period) {
        return Err(node.malformed("assay,period-us", "must be from 1000 to 10000000"));
    }
    let most = (period as usize).saturating_mul(vcpus);
    if budget < BUDGET_MIN || budget as usize > most {
        let wants = "must be from 100, and at most the period times the vCPUs";
        return Err(node.malformed("assay,budget-us", wants));
    }
    Ok(CapMicroseconds { budget, period })
}
