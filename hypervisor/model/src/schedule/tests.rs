use super::{Cap, Entity, Placement, Scheduler, Share, Wake};
use alloc::vec;
use alloc::vec::Vec;
use assay_spec::cpu_id::PcpuId;
use machine::{GuestMachine, Habit};

mod machine;
mod seeds;

const SLICE: u64 = 1000;

fn vm(weight: u32, vcpus: usize) -> Share {
    Share { weight, cap: None, vcpus: vec![Placement::Any; vcpus] }
}

/// What a wake-up comes to that hands the vCPU, from which nothing was stolen, to a CPU.
fn run(cpu: PcpuId, until: Option<u64>) -> Wake {
    Wake::Run { cpu, until, stolen: 0 }
}

/// Lets VMs whose vCPUs never rest run for so long, and returns what each ran.
fn spin(cpus: usize, shares: &[Share], time: u64) -> Vec<u64> {
    let count = shares.iter().map(|share| share.vcpus.len()).sum();
    let mut machine = GuestMachine::new(cpus, shares, &vec![Habit::Spin; count], SLICE, 1);
    while machine.now < time && machine.step() {}
    (0..shares.len()).map(|vm| machine.vm_ran(vm)).collect()
}

/// Asserts that a number is near another, within parts of a thousand.
fn assert_near(got: u64, wanted: u64, thousandths: u64) {
    let most = wanted * thousandths / 1000;
    assert!(got.abs_diff(wanted) <= most, "{got} instead of {wanted}");
}

#[test]
fn one_cpu_is_shared_by_weight() {
    let ran = spin(1, &[vm(100, 1), vm(200, 1), vm(700, 1)], 1_000_000);
    for (ran, wanted) in ran.into_iter().zip([100_000, 200_000, 700_000]) {
        assert_near(ran, wanted, 20);
    }
}

#[test]
fn eight_vcpus_get_no_more_than_one_of_the_same_weight() {
    let ran = spin(1, &[vm(1, 8), vm(1, 1)], 1_000_000);
    assert_near(ran[0], 500_000, 20);
    assert_near(ran[1], 500_000, 20);
}

#[test]
fn a_vm_that_cannot_use_its_share_leaves_the_rest_to_the_others_by_weight() {
    let ran = spin(3, &[vm(1000, 1), vm(1, 4), vm(3, 4)], 1_000_000);
    for (ran, wanted) in ran.into_iter().zip([1_000_000, 500_000, 1_500_000]) {
        assert_near(ran, wanted, 20);
    }
}

#[test]
fn a_vm_bound_to_a_busy_and_to_a_free_cpu_runs_on_both() {
    let mut both = vm(1, 0);
    both.vcpus = vec![Placement::On(PcpuId(0)), Placement::On(PcpuId(2))];
    let mut bound = vm(1, 0);
    bound.vcpus = vec![Placement::On(PcpuId(0))];
    let ran = spin(2, &[both, bound.clone(), bound], 1_000_000);
    // Its weight is divided among both vCPUs: a fifth of the CPU where two whole weights compete.
    assert_near(ran[0], 1_200_000, 20);
    assert_near(ran[1], 400_000, 20);
}

#[test]
fn who_may_run_anywhere_gets_as_much_as_who_may_not() {
    let mut bound = vm(1, 0);
    bound.vcpus = vec![Placement::On(PcpuId(0))];
    let ran = spin(2, &[bound.clone(), bound, vm(1, 1), vm(1, 1)], 1_000_000);
    for ran in ran {
        assert_near(ran, 500_000, 20);
    }
}

#[test]
fn vcpus_that_take_turns_get_the_share_of_one() {
    let shares = [vm(1, 16), vm(1, 1)];
    for busy in [10, 100, 1000, 5000] {
        let mut habits = vec![Habit::Pass { busy }; 16];
        habits.push(Habit::Spin);
        let mut machine = GuestMachine::new(1, &shares, &habits, SLICE, 1);
        while machine.now < 1_000_000 && machine.step() {}
        assert!(machine.vm_ran(1) > 450_000, "{} of {busy}", machine.vm_ran(1));
    }
}

#[test]
fn vcpus_that_yield_let_the_one_run_that_they_wait_for() {
    // Of one VM, seven spin on a lock that the eighth holds; another VM computes.
    let shares = [vm(1, 8), vm(1, 1)];
    let mut habits = vec![Habit::Yield { busy: 10 }; 8];
    habits[3] = Habit::Spin;
    habits.push(Habit::Spin);
    let mut machine = GuestMachine::new(1, &shares, &habits, SLICE, 1);
    while machine.now < 1_000_000 && machine.step() {}
    // The holder's eighth of its VM's share, and what the others leave, by who asks for it.
    let (holder, other) = (machine.ran(3), machine.vm_ran(1));
    assert!(machine.vm_ran(0) - holder < 40_000, "{} were spun away", machine.vm_ran(0) - holder);
    assert!(other >= 490_000, "the other VM has only {other}");
    assert!(holder >= 100_000, "the holder has only {holder}");
}

#[test]
fn who_yields_to_nobody_goes_on() {
    let mut machine = GuestMachine::new(2, &[vm(1, 2)], &[Habit::Yield { busy: 10 }; 2], SLICE, 1);
    while machine.now < 100_000 && machine.step() {}
    assert!(machine.vm_ran(0) >= 198_000, "{}", machine.vm_ran(0));
}

#[test]
fn a_capped_vm_gets_its_budget_each_period_and_no_more() {
    let cap = Some(Cap { budget: 2500, period: 10_000 });
    for vcpus in [1, 2, 3, 7] {
        let shares = [Share { cap, ..vm(100, vcpus) }, vm(1, 1)];
        let ran = spin(4, &shares, 1_000_000);
        assert!(ran[0] <= 250_000);
        assert_near(ran[0], 250_000, 40);
    }
}

#[test]
fn a_sleeper_that_wakes_takes_the_cpu_from_a_spinner() {
    let mut scheduler = Scheduler::new(&[PcpuId(5)], &[vm(1, 1), vm(1, 1)], SLICE);
    assert_eq!(scheduler.pick(PcpuId(5), 0).run, None);
    assert_eq!(scheduler.wake(Entity(0), 10), Wake::Ask(PcpuId(5)));
    assert_eq!(scheduler.pick(PcpuId(5), 10).run, Some(Entity(0)));
    let pick = scheduler.pick(PcpuId(5), 20_000);
    assert_eq!((pick.run, pick.until), (Some(Entity(0)), Some(21_000)));
    assert_eq!(scheduler.wake(Entity(1), 20_010), Wake::Ask(PcpuId(5)));
    let pick = scheduler.pick(PcpuId(5), 20_010);
    assert_eq!((pick.run, pick.until), (Some(Entity(0)), Some(20_125)));
    assert_eq!(scheduler.pick(PcpuId(5), 20_125).run, Some(Entity(1)));
    assert_eq!(scheduler.stolen(Entity(1), 30_000), 115);
    assert_eq!(scheduler.ran(Entity(1), 30_000), 30_000 - 20_125);
    assert_eq!(scheduler.stolen(Entity(0), 30_000), 30_000 - 20_125);
}

#[test]
fn a_wake_just_before_the_vcpu_blocks_is_not_lost() {
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[vm(1, 1)], SLICE);
    scheduler.wake(Entity(0), 0);
    assert_eq!(scheduler.pick(PcpuId(0), 0).run, Some(Entity(0)));
    assert_eq!(scheduler.wake(Entity(0), 5), Wake::Ask(PcpuId(0)));
    assert_eq!(scheduler.block(PcpuId(0), 6, None).run, Some(Entity(0)));
    // It was told of that one: the next time it sleeps.
    let pick = scheduler.block(PcpuId(0), 7, None);
    assert_eq!((pick.run, pick.until), (None, None));
}

#[test]
fn a_blocked_vcpu_runs_when_its_time_has_come() {
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[vm(1, 1)], SLICE);
    scheduler.wake(Entity(0), 0);
    scheduler.pick(PcpuId(0), 0);
    let pick = scheduler.block(PcpuId(0), 10, Some(500));
    assert_eq!((pick.run, pick.until), (None, Some(500)));
    assert_eq!(scheduler.pick(PcpuId(0), 499).run, None);
    assert_eq!(scheduler.pick(PcpuId(0), 500).run, Some(Entity(0)));
    assert_eq!(scheduler.stolen(Entity(0), 500), 0);
}

#[test]
fn who_blocks_until_a_count_that_never_comes_can_be_woken_and_block_again() {
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[vm(1, 1)], SLICE);
    scheduler.wake(Entity(0), 0);
    scheduler.pick(PcpuId(0), 0);
    for round in 1..=3 {
        let pick = scheduler.block(PcpuId(0), round * 10, Some(u64::MAX));
        assert_eq!((pick.run, pick.until), (None, None));
        assert_eq!(scheduler.wake(Entity(0), round * 10 + 5), run(PcpuId(0), None));
    }
    assert_eq!(scheduler.block(PcpuId(0), 50, Some(500)).until, Some(500));
    assert_eq!(scheduler.pick(PcpuId(0), 500).run, Some(Entity(0)));
}

#[test]
fn who_may_run_anywhere_makes_room_when_another_cpu_is_idle() {
    let mut bound = vm(1, 0);
    bound.vcpus = vec![Placement::On(PcpuId(0))];
    let mut scheduler = Scheduler::new(&[PcpuId(0), PcpuId(1)], &[vm(1, 1), bound], SLICE);
    scheduler.wake(Entity(0), 0);
    assert_eq!(scheduler.pick(PcpuId(0), 0).run, Some(Entity(0)));
    assert_eq!(scheduler.pick(PcpuId(1), 0).run, None);
    assert_eq!(scheduler.wake(Entity(1), 1), Wake::Ask(PcpuId(0)));
    let pick = scheduler.pick(PcpuId(0), 1);
    assert_eq!((pick.run, pick.kick), (Some(Entity(1)), Some(PcpuId(1))));
    assert_eq!(scheduler.pick(PcpuId(1), 1).run, Some(Entity(0)));
}

#[test]
fn who_wakes_is_left_to_the_sleeping_cpu_that_it_ran_on() {
    let cpus = [PcpuId(0), PcpuId(1)];
    let mut scheduler = Scheduler::new(&cpus, &[vm(1, 2)], SLICE);
    for (cpu, entity) in cpus.into_iter().zip([Entity(0), Entity(1)]) {
        scheduler.wake(entity, 0);
        assert_eq!(scheduler.pick(cpu, 0).run, Some(entity));
    }
    assert_eq!(scheduler.block(cpus[1], 10, None).run, None);
    assert!(scheduler.is_blocked(Entity(1)) && !scheduler.is_blocked(Entity(0)));
    assert_eq!(scheduler.wake(Entity(1), 20), run(cpus[1], Some(20 + SLICE)));
    assert!(!scheduler.is_blocked(Entity(1)));
    // The other CPU does not get it, and sleeps without calling anybody: itself least of all.
    let pick = scheduler.block(cpus[0], 21, None);
    assert_eq!((pick.run, pick.kick), (None, None));
    assert_eq!(scheduler.pick(cpus[1], 30).run, Some(Entity(1)));
}

#[test]
fn who_was_handed_a_cpu_makes_room_for_one_that_may_run_there_alone() {
    let cpus = [PcpuId(0), PcpuId(1)];
    let mut bound = vm(1, 0);
    bound.vcpus = vec![Placement::On(cpus[1])];
    let mut scheduler = Scheduler::new(&cpus, &[vm(1, 1), bound], SLICE);
    scheduler.wake(Entity(0), 0);
    assert_eq!(scheduler.pick(cpus[1], 0).run, Some(Entity(0)));
    assert_eq!(scheduler.pick(cpus[0], 0).run, None);
    assert_eq!(scheduler.block(cpus[1], 10, None).run, None);
    assert_eq!(scheduler.wake(Entity(0), 20), run(cpus[1], Some(20 + SLICE)));
    assert_eq!(scheduler.wake(Entity(1), 20), Wake::Ask(cpus[1]));
    let pick = scheduler.pick(cpus[1], 30);
    assert_eq!((pick.run, pick.kick), (Some(Entity(1)), Some(cpus[0])));
    assert_eq!(scheduler.pick(cpus[0], 31).run, Some(Entity(0)));
}

/// CPU 0 runs vCPU 0, and CPU 1 slept and was handed vCPU 1.
fn with_one_handed() -> (Scheduler, [PcpuId; 2]) {
    let cpus = [PcpuId(0), PcpuId(1)];
    let mut scheduler = Scheduler::new(&cpus, &[vm(1, 1), vm(100, 1), vm(1, 1)], SLICE);
    // vCPU 2 has run for more than vCPU 1 will have.
    scheduler.wake(Entity(2), 0);
    assert_eq!(scheduler.pick(cpus[0], 0).run, Some(Entity(2)));
    scheduler.block(cpus[0], 10, None);
    for (cpu, entity) in cpus.into_iter().zip([Entity(0), Entity(1)]) {
        scheduler.wake(entity, 10);
        assert_eq!(scheduler.pick(cpu, 10).run, Some(entity));
    }
    assert_eq!(scheduler.block(cpus[1], 20, None).run, None);
    assert_eq!(scheduler.wake(Entity(1), 30), run(cpus[1], Some(30 + SLICE)));
    (scheduler, cpus)
}

#[test]
fn a_cpu_takes_who_waits_and_not_who_was_handed_to_another() {
    let (mut scheduler, cpus) = with_one_handed();
    scheduler.wake(Entity(2), 30);
    assert_eq!(scheduler.block(cpus[0], 31, None).run, Some(Entity(2)));
    assert_eq!(scheduler.pick(cpus[1], 32).run, Some(Entity(1)));
}

#[test]
fn who_is_handed_a_cpu_runs_from_then_on() {
    let (mut scheduler, cpus) = with_one_handed();
    assert_eq!(scheduler.pick(cpus[0], 31).run, Some(Entity(0)));
    let pick = scheduler.pick(cpus[1], 40);
    assert_eq!((pick.run, pick.until, pick.kick), (Some(Entity(1)), Some(30 + SLICE), None));
    assert_eq!((scheduler.stolen(Entity(1), 100), scheduler.ran(Entity(1), 100)), (0, 10 + 70));
    // Its CPU is taken by nobody else, nor called for who is elsewhere.
    let pick = scheduler.pick(cpus[0], 100);
    assert_eq!((pick.run, pick.kick), (Some(Entity(0)), None));
    assert_eq!(scheduler.wake(Entity(1), 110), Wake::Ask(cpus[1]));
}

#[test]
fn a_cpu_that_was_told_to_ask_is_handed_nothing() {
    let cpus = [PcpuId(0), PcpuId(1)];
    let mut scheduler = Scheduler::new(&cpus, &[vm(1, 2), vm(1, 1)], SLICE);
    for (cpu, entity) in cpus.into_iter().zip([Entity(0), Entity(1)]) {
        scheduler.wake(entity, 0);
        assert_eq!(scheduler.pick(cpu, 0).run, Some(entity));
    }
    assert_eq!(scheduler.block(cpus[1], 10, None).run, None);
    assert_eq!(scheduler.wake(Entity(2), 20), Wake::Ask(cpus[1]));
    assert_eq!(scheduler.wake(Entity(1), 21), Wake::Nothing);
    assert!(scheduler.pick(cpus[1], 22).run.is_some());
}

#[test]
fn who_is_handed_a_cpu_pays_for_what_it_runs() {
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[vm(1, 1), vm(1, 1)], SLICE);
    scheduler.wake(Entity(0), 0);
    assert_eq!(scheduler.pick(PcpuId(0), 0).run, Some(Entity(0)));
    assert_eq!(scheduler.block(PcpuId(0), 10, None).run, None);
    scheduler.wake(Entity(0), 20);
    assert_eq!(scheduler.pick(PcpuId(0), 20).run, Some(Entity(0)));
    scheduler.wake(Entity(1), 25);
    for slices in 1..=100 {
        assert!(scheduler.pick(PcpuId(0), 20 + slices * SLICE).run.is_some());
    }
    let end = 20 + 100 * SLICE;
    let ran = [0, 1].map(|entity| scheduler.ran(Entity(entity), end));
    assert_eq!(ran[0] + ran[1], end - 10);
    assert!(ran[0].abs_diff(ran[1]) <= 2 * SLICE, "{ran:?}");
}

#[test]
fn who_is_capped_is_handed_no_cpu_and_stops_when_its_budget_ends() {
    let mut capped = vm(1, 1);
    capped.cap = Some(Cap { budget: 100, period: 10_000 });
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[capped], SLICE);
    scheduler.wake(Entity(0), 0);
    assert_eq!(scheduler.pick(PcpuId(0), 0).until, Some(100));
    assert_eq!(scheduler.block(PcpuId(0), 60, None).run, None);
    // Its CPU has to ask what is left.
    assert_eq!(scheduler.wake(Entity(0), 70), Wake::Ask(PcpuId(0)));
    let pick = scheduler.pick(PcpuId(0), 70);
    assert_eq!((pick.run, pick.until), (Some(Entity(0)), Some(110)));
    assert_eq!(scheduler.pick(PcpuId(0), 110).run, None);
}

#[test]
fn whose_time_has_come_is_not_passed_over_for_who_wakes() {
    let cpus = [PcpuId(0)];
    // vCPU 0 has run for longer, of the same weight, than vCPU 1 has when its time comes.
    let mut scheduler = Scheduler::new(&cpus, &[vm(1, 1), vm(1, 1)], SLICE);
    scheduler.wake(Entity(1), 0);
    assert_eq!(scheduler.pick(cpus[0], 0).run, Some(Entity(1)));
    scheduler.block(cpus[0], 10, Some(5 * SLICE));
    scheduler.wake(Entity(0), 10);
    assert_eq!(scheduler.pick(cpus[0], 10).run, Some(Entity(0)));
    let pick = scheduler.block(cpus[0], 4 * SLICE, None);
    assert_eq!((pick.run, pick.until), (None, Some(5 * SLICE)));
    assert_eq!(scheduler.wake(Entity(0), 5 * SLICE), Wake::Ask(cpus[0]));
    assert_eq!(scheduler.pick(cpus[0], 5 * SLICE).run, Some(Entity(1)));
}

#[test]
fn a_cpu_for_one_vcpu_alone_needs_no_slices() {
    let mut scheduler = Scheduler::new(&[PcpuId(0)], &[vm(1, 1)], SLICE);
    scheduler.wake(Entity(0), 0);
    let pick = scheduler.pick(PcpuId(0), 0);
    assert_eq!((pick.run, pick.until), (Some(Entity(0)), None));
}

#[test]
#[should_panic(expected = "CPU 3 is not in the pool")]
fn a_cpu_that_is_not_in_the_pool_is_our_bug() {
    let _ = Scheduler::new(&[PcpuId(0)], &[vm(1, 1)], SLICE).pick(PcpuId(3), 0);
}
