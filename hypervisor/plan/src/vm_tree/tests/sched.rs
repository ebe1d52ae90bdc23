use super::{N, kernel, one, refusal, vm};
use crate::vm_tree::{CapMicroseconds, Rule, Sched};

fn shared() -> N {
    vm("linux").text("assay,sched", "shared").child(kernel())
}

fn sched(vm: N) -> Sched {
    let tree = one(vm);
    assert!(tree.refused.is_empty() && tree.warnings.is_empty(), "{tree:?}");
    tree.vms[0].sched
}

#[test]
fn cpus_are_dedicated_unless_the_tree_says_shared() {
    assert_eq!(sched(vm("linux").child(kernel())), Sched::Dedicated);
    let said = vm("linux").text("assay,sched", "dedicated");
    assert_eq!(sched(said.child(kernel())), Sched::Dedicated);
}

#[test]
fn shared_cpus_have_a_weight_and_may_have_a_cap() {
    let plain = Sched::Shared { weight: 100, cap: None };
    assert_eq!(sched(shared()), plain);
    let whole = shared()
        .cells("assay,weight", &[65535])
        .cells("assay,budget-us", &[20_000])
        .cells("assay,period-us", &[10_000]);
    let cap = CapMicroseconds { budget: 20_000, period: 10_000 };
    let wanted = Sched::Shared { weight: 65535, cap: Some(cap) };
    assert_eq!(sched(whole), wanted);
}

#[test]
fn what_cannot_be_scheduled_is_refused_with_the_property() {
    let budget =
        |budget: u32, period: u32| shared().cells("assay,budget-us", &[budget]).cells("assay,period-us", &[period]);
    let dedicated = vm("linux").child(kernel());
    let bad = [
        (shared().text("assay,sched", "fifo"), "assay,sched"),
        (shared().flag("assay,pmu"), "assay,pmu"),
        (dedicated.clone().cells("assay,weight", &[5]), "assay,weight"),
        (dedicated.cells("assay,period-us", &[5000]), "assay,period-us"),
        (shared().cells("assay,weight", &[0]), "assay,weight"),
        (shared().cells("assay,weight", &[65536]), "assay,weight"),
        (shared().cells("assay,weight", &[1, 2]), "assay,weight"),
        (shared().cells("assay,budget-us", &[5000]), "assay,period-us"),
        (shared().cells("assay,period-us", &[5000]), "assay,budget-us"),
        (budget(500, 999), "assay,period-us"),
        (budget(500, 10_000_001), "assay,period-us"),
        (budget(99, 1000), "assay,budget-us"),
        // Two vCPUs can't run longer than two periods in one.
        (budget(2001, 1000), "assay,budget-us"),
    ];
    for (vm, property) in bad {
        let (rule, reason, _) = refusal(vm);
        assert_eq!(rule, Rule::V1);
        assert!(reason.contains(property), "{reason}");
    }
}
