//! How a VM's node asks for CPUs that it shares.

use super::{CapMicroseconds, Sched, field};
use crate::fields::Default;
use crate::fields::vm::{BUDGET, PERIOD, PMU, SCHED, WEIGHT};
use crate::gate::{Malformed, Node};

/// Reads what the node of a VM with so many vCPUs says.
pub(super) fn read(node: &Node<'_, '_>, vcpus: usize) -> Result<Sched, Malformed> {
    let is_shared = |word: &str| match word {
        "shared" => Some(true),
        "dedicated" => Some(false),
        _ => None,
    };
    if field::word(node, &SCHED, is_shared)? != Some(true) {
        return field::alone(node, &[WEIGHT, BUDGET, PERIOD]).map(|()| Sched::Dedicated);
    }
    field::alone(node, &[PMU])?;
    let default = if let Default::Number(weight) = WEIGHT.default { weight } else { 1 };
    let weight = field::number(node, &WEIGHT)?.unwrap_or(default);
    let cap = match (field::number(node, &BUDGET)?, field::number(node, &PERIOD)?) {
        (None, None) => None,
        (Some(budget), Some(period)) => {
            if budget as usize > (period as usize).saturating_mul(vcpus) {
                return Err(node.malformed(BUDGET.property, "must be at most the period times the vCPUs"));
            }
            Some(CapMicroseconds { budget, period })
        }
        (Some(_), None) => {
            return Err(node.malformed(PERIOD.property, "must be there with assay,budget-us"));
        }
        (None, Some(_)) => {
            return Err(node.malformed(BUDGET.property, "must be there with assay,period-us"));
        }
    };
    Ok(Sched::Shared { weight, cap })
}
