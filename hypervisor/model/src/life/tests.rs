use super::OnCrash;
use super::{After, Life, LoadFailure, Obeyed, Order, Phase};
use super::{Crash, Stop};
use assay_spec::cpu_id::VcpuId;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::vec::Vec;

/// Ticks in a millisecond.
const MS: u64 = 1000;
const CRASH: Stop = Stop::Crash(Crash::Watchdog);

fn life(on_crash: OnCrash, most: Option<u32>) -> Life {
    Life::new(2, on_crash, most, 1000 * MS)
}

fn running() -> Life {
    let mut life = life(OnCrash::Restart, None);
    assert_eq!(life.loaded(0), Some(true));
    life
}

/// Both vCPUs let go at `now`.
fn park(life: &mut Life, now: u64) -> After {
    assert_eq!(life.parked(VcpuId(1), now), None);
    life.parked(VcpuId(0), now).unwrap().after
}

#[test]
fn a_guest_that_powers_off_stops_once_all_its_vcpus_have_left() {
    let mut life = running();
    assert!(life.end(Stop::PowerOff));
    assert!(!life.end(CRASH), "the first reason counts");
    assert_eq!(life.phase(), Phase::Stopping);
    assert_eq!(life.parked(VcpuId(0), 5), None);
    assert_eq!(life.parked(VcpuId(0), 5), None, "said twice is not two vCPUs");
    assert_eq!(life.parked(VcpuId(1), 5).unwrap().after, After::Stopped("off"));
    assert_eq!(life.phase(), Phase::Stopped);
    assert_eq!(life.parked(VcpuId(1), 5), None);
}

#[test]
fn a_reset_loads_again_and_is_no_news_when_it_runs() {
    let mut life = running();
    life.end(Stop::Reset);
    assert_eq!(park(&mut life, 5), After::Restarted("reset"));
    assert_eq!(life.phase(), Phase::Loading);
    assert_eq!(life.loaded(6), Some(false));
    assert_eq!(life.counts(), (2, 0));
}

#[test]
fn crashes_in_a_row_wait_longer_and_longer() {
    let mut life = running();
    let mut now = 0;
    for (restart, ms) in [(1, 0), (2, 100), (3, 200)] {
        life.end(CRASH);
        let after = park(&mut life, now);
        if ms == 0 {
            assert_eq!(after, After::Restarted("watchdog"));
        } else {
            assert_eq!(after, After::Waits { ms, restart });
            let until = life.waits_until().unwrap();
            assert_eq!(until, now + ms * MS);
            assert_eq!(life.tick(until - 1), None);
            assert_eq!(life.tick(until), Some("watchdog"));
            now = until;
        }
        assert_eq!(life.loaded(now), Some(false));
    }
    assert_eq!(life.counts(), (4, 3));
}

#[test]
fn a_vm_that_is_not_to_be_restarted_stays_down() {
    let mut stays = life(OnCrash::Stop, None);
    stays.loaded(0);
    stays.end(CRASH);
    assert_eq!(park(&mut stays, 1), After::Crashed);
    let mut given_up = life(OnCrash::Restart, Some(0));
    given_up.loaded(0);
    given_up.end(CRASH);
    assert_eq!(park(&mut given_up, 1), After::GivenUp { restarts: 0 });
    assert_eq!(given_up.phase(), Phase::Stopped);
}

#[test]
fn an_order_wins_over_what_the_guest_asked_for() {
    let mut life = running();
    life.end(CRASH);
    assert_eq!(life.order(Order::Stop), Ok(Obeyed::Stopping));
    life.parked(VcpuId(0), 1);
    let ended = life.parked(VcpuId(1), 1).unwrap();
    assert_eq!(ended.after, After::Stopped("monitor"));
    assert_eq!(ended.crash, Some(Crash::Watchdog), "the crash is told of");
    assert_eq!(life.order(Order::Start), Ok(Obeyed::Loading));
    assert_eq!(life.loaded(2), Some(true), "a start is news");
}

#[test]
fn a_stop_works_while_it_is_loaded() {
    let mut life = life(OnCrash::Restart, None);
    assert_eq!(life.order(Order::Stop), Ok(Obeyed::Stopping));
    assert_eq!(life.loaded(1), None, "the load ends without a life");
    assert_eq!(life.failed_to_load(), LoadFailure::Stopping);
    assert_eq!(park(&mut life, 1), After::Stopped("monitor"));
}

#[test]
fn a_stop_works_while_it_waits_and_a_start_ends_the_wait() {
    let mut waiting = running();
    for _ in 0..2 {
        waiting.loaded(0);
        waiting.end(CRASH);
        park(&mut waiting, 0);
    }
    assert_eq!(waiting.phase(), Phase::Waiting);
    let mut stopped = waiting;
    assert_eq!(stopped.order(Order::Stop), Ok(Obeyed::Stopped));
    assert_eq!(stopped.tick(u64::MAX), None);
    assert_eq!(waiting.order(Order::Start), Ok(Obeyed::Loading));
    waiting.loaded(0);
    waiting.end(CRASH);
    assert_eq!(park(&mut waiting, 0), After::Restarted("watchdog"), "the crashes before it are forgotten");
}

#[test]
fn a_start_while_it_stops_is_a_restart() {
    let mut life = running();
    assert_eq!(life.order(Order::Stop), Ok(Obeyed::Stopping));
    assert_eq!(life.order(Order::Start), Ok(Obeyed::Stopping));
    assert_eq!(park(&mut life, 1), After::Restarted("monitor"));
}

#[test]
fn orders_without_sense_say_in_which_phase() {
    let mut life = running();
    assert_eq!(life.order(Order::Start), Err(Phase::Running));
    life.end(Stop::PowerOff);
    park(&mut life, 1);
    assert_eq!(life.order(Order::Stop), Err(Phase::Stopped));
}

#[test]
fn a_load_that_fails_is_a_refusal_at_first_and_a_crash_later() {
    let mut first = life(OnCrash::Restart, None);
    assert_eq!(first.failed_to_load(), LoadFailure::Refused);
    assert_eq!(first.phase(), Phase::Stopped);
    let mut later = running();
    later.end(Stop::Reset);
    park(&mut later, 1);
    assert_eq!(later.failed_to_load(), LoadFailure::Crashed);
    assert_eq!(later.counts(), (1, 1));
}

#[test]
fn a_phase_survives_its_number() {
    for phase in [Phase::Loading, Phase::Running, Phase::Stopping, Phase::Waiting, Phase::Stopped] {
        assert_eq!(Phase::from_number(phase as u8), phase);
    }
}

proptest! {
    /// Whatever happens in whatever order: a stopping VM always comes to an end once its vCPUs have left, and never
    /// before, and a VM that was ordered to stop last does not run.
    #[test]
    fn any_sequence_of_events_keeps_the_rules(events in proptest::collection::vec((0..9u8, any::<bool>()), 0..64)) {
        let mut life = life(OnCrash::Restart, Some(5));
        let mut now = 0u64;
        let mut left = Vec::new();
        for (event, which) in events {
            now += 50 * MS;
            let before = life.phase();
            if before != Phase::Stopping {
                left.clear();
            }
            match event {
                0 => { life.loaded(now); }
                1 => { life.end(if which { CRASH } else { Stop::Reset }); }
                2 => { life.end(Stop::PowerOff); }
                3..=5 => {
                    let vcpu = usize::from(which);
                    let ended = life.parked(VcpuId(vcpu), now);
                    if before == Phase::Stopping {
                        left.push(vcpu);
                        let all = left.contains(&0) && left.contains(&1);
                        prop_assert_eq!(ended.is_some(), all);
                        prop_assert_eq!(life.phase() != Phase::Stopping, all);
                    } else {
                        prop_assert_eq!(ended, None);
                    }
                }
                6 => { let _ = life.order(if which { Order::Restart } else { Order::Start }); }
                7 => {
                    let _ = life.order(Order::Stop);
                    prop_assert!(matches!(life.phase(), Phase::Stopping | Phase::Stopped));
                }
                _ => { life.tick(now); }
            }
            prop_assert_eq!(life.waits_until().is_some(), life.phase() == Phase::Waiting);
        }
    }
}

#[test]
fn a_vm_that_does_nothing_but_reset_waits_from_the_33rd_time_on() {
    let mut life = Life::new(1, OnCrash::Stop, None, 1000);
    let mut now = 0;
    let mut reset = |life: &mut Life| {
        let _ = life.loaded(now);
        now += 1;
        assert!(life.end(Stop::Reset));
        let after = life.parked(VcpuId(0), now).map(|ended| ended.after);
        if let Some(until) = life.waits_until() {
            now = until;
            assert_eq!(life.tick(now), Some("reset"));
        }
        after
    };
    for _ in 0..32 {
        assert_eq!(reset(&mut life), Some(After::Restarted("reset")));
    }
    assert_eq!(reset(&mut life), Some(After::Waits { ms: 100, restart: 33 }));
    assert_eq!(life.phase(), Phase::Loading);
}
