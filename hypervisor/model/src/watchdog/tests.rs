use super::WatchdogFrame::{Control, Refresh};
use super::{W_IIDR, WCS, WCV_HIGH, WCV_LOW, WOR, WRR, Watchdog, WatchdogEvent};
use assay_spec::exit::Width;
use proptest::prelude::{any, proptest};

/// A watchdog that was enabled at `now` with `wor` ticks a stage.
fn running(wor: u64, now: u64) -> Watchdog {
    let mut dog = Watchdog::new();
    dog.write(Control, WOR, Width::W4, wor, now);
    dog.write(Control, WCS, Width::W4, 1, now);
    dog
}

fn wcs(dog: &Watchdog) -> u64 {
    dog.read(Control, WCS, Width::W4)
}

#[test]
fn after_reset_it_is_disabled_and_never_fires() {
    let mut dog = Watchdog::new();
    assert_eq!(wcs(&dog), 0);
    assert_eq!(dog.deadline(), None);
    assert_eq!(dog.tick(u64::MAX), WatchdogEvent::None);
}

#[test]
fn the_first_stage_raises_ws0_and_loads_the_second() {
    let mut dog = running(100, 1000);
    assert_eq!(dog.deadline(), Some(1101));
    assert_eq!(dog.tick(1100), WatchdogEvent::None);
    assert!(!dog.ws0_level());
    assert_eq!(dog.tick(1101), WatchdogEvent::Ws0);
    assert!(dog.ws0_level());
    assert_eq!(wcs(&dog), 0b011);
    assert_eq!(dog.read(Control, WCV_LOW, Width::W8), 1201);
}

#[test]
fn the_second_stage_raises_ws1_and_says_so_once() {
    let mut dog = running(100, 0);
    assert_eq!(dog.tick(101), WatchdogEvent::Ws0);
    assert_eq!(dog.tick(201), WatchdogEvent::None);
    assert_eq!(dog.tick(202), WatchdogEvent::Ws1);
    assert_eq!(wcs(&dog), 0b111);
    assert_eq!(dog.deadline(), None);
    assert_eq!(dog.tick(u64::MAX), WatchdogEvent::None);
}

#[test]
fn a_late_tick_still_leaves_the_guest_a_whole_second_stage() {
    let mut dog = running(100, 0);
    assert_eq!(dog.tick(5000), WatchdogEvent::Ws0);
    assert_eq!(dog.tick(5000), WatchdogEvent::None);
    assert_eq!(dog.deadline(), Some(5101));
}

#[test]
fn a_write_to_wrr_wor_or_wcs_drops_the_signals_and_starts_anew() {
    for (frame, offset, value) in [(Refresh, WRR, 0xabcd), (Control, WOR, 100), (Control, WCS, 1)] {
        let mut dog = running(100, 0);
        assert_eq!(dog.tick(101), WatchdogEvent::Ws0);
        dog.write(frame, offset, Width::W4, value, 150);
        assert_eq!(wcs(&dog), 1);
        assert!(!dog.ws0_level());
        assert_eq!(dog.deadline(), Some(251));
    }
}

#[test]
fn a_refresh_in_time_keeps_it_quiet_for_ever() {
    let mut dog = running(100, 0);
    for now in (50..10_000).step_by(50) {
        assert_eq!(dog.tick(now), WatchdogEvent::None);
        dog.write(Refresh, WRR, Width::W4, 0, now);
    }
}

#[test]
fn disabling_it_stops_it() {
    let mut dog = running(100, 0);
    dog.write(Control, WCS, Width::W4, 0, 50);
    assert_eq!(dog.deadline(), None);
    assert_eq!(dog.tick(u64::MAX), WatchdogEvent::None);
}

#[test]
fn the_signals_cannot_be_written() {
    let mut dog = Watchdog::new();
    dog.write(Control, WCS, Width::W4, u64::MAX, 0);
    assert_eq!(wcs(&dog), 1);
}

#[test]
fn the_compare_value_can_be_written_by_halves_without_a_refresh() {
    let mut dog = running(100, 0);
    assert_eq!(dog.tick(101), WatchdogEvent::Ws0);
    dog.write(Control, WCV_HIGH, Width::W4, 0x1, 150);
    dog.write(Control, WCV_LOW, Width::W4, 0x8000_0002, 150);
    assert!(dog.ws0_level());
    assert_eq!(dog.deadline(), Some(0x1_8000_0003));
    assert_eq!(dog.read(Control, WCV_HIGH, Width::W4), 1);
    assert_eq!(dog.read(Control, WCV_LOW, Width::W4), 0x8000_0002);
}

#[test]
fn both_frames_identify_revision_0() {
    for frame in [Refresh, Control] {
        let revision = running(1, 0).read(frame, W_IIDR, Width::W4) >> 16 & 0xf;
        assert_eq!(revision, 0);
    }
}

#[test]
fn the_refresh_frame_has_none_of_the_control_frames_registers() {
    let mut dog = running(100, 0);
    assert_eq!(dog.read(Refresh, WOR, Width::W4), 0);
    dog.write(Refresh, WOR, Width::W4, 7, 0);
    assert_eq!(dog.read(Control, WOR, Width::W4), 100);
}

#[test]
fn reset_disables_it_and_drops_the_signals() {
    let mut dog = running(100, 0);
    assert_eq!(dog.tick(101), WatchdogEvent::Ws0);
    dog.reset();
    assert_eq!(dog, Watchdog::new());
}

proptest! {
    #[test]
    fn any_access_has_a_defined_answer_and_the_deadline_tells_when_tick_acts(
        accesses in proptest::collection::vec(
            (any::<bool>(), 0_u64..0x20, 0_usize..4, any::<u64>(), any::<u64>()), 1..20),
        now: u64,
    ) {
        let mut dog = Watchdog::new();
        for (control, offset, width, value, at) in accesses {
            let frame = if control { Control } else { Refresh };
            let width = [Width::W1, Width::W2, Width::W4, Width::W8][width];
            dog.write(frame, offset, width, value, at);
            let read = dog.read(frame, offset, width);
            assert_eq!(read, width.truncate(read));
            let due = dog.deadline().is_some_and(|deadline| deadline <= now);
            assert_eq!(dog.tick(now) != WatchdogEvent::None, due);
        }
    }
}
