//! The register maps, row by row: reset values, what can be written, and what is RAZ/WI.

use super::fake::GuestMachine;
use crate::vgic::registers::{ROWS, Row};
use crate::vgic::{Frames, Read, Version, Vgic};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::gic::redist::{self as gicr, SGI_BASE, STRIDE};

const WIDTHS: [Width; 4] = [Width::W1, Width::W2, Width::W4, Width::W8];

/// A frame, as its offsets, its rows, and how it is read and written.
#[derive(Clone, Copy, PartialEq)]
enum Frame {
    Dist,
    Redist,
}

fn read(machine: &mut GuestMachine, frame: Frame, offset: u64, width: Width) -> u64 {
    let (vgic, cpu) = (&mut machine.vgic, &mut machine.cpus[0]);
    let read = match frame {
        Frame::Dist => vgic.dist_read(VcpuId(0), offset, width, cpu),
        Frame::Redist => vgic.redist_read(VcpuId(0), offset, width, cpu),
    };
    match read {
        // As a load does.
        Some(Read::Value(value)) => width.truncate(value),
        None => 0,
        Some(Read::Retry(others)) => panic!("{offset:#x} waits for {others:?}"),
    }
}

fn write(machine: &mut GuestMachine, frame: Frame, offset: u64, width: Width, value: u64) {
    let (vgic, cpu) = (&mut machine.vgic, &mut machine.cpus[0]);
    let kicks = match frame {
        Frame::Dist => vgic.dist_write(VcpuId(0), offset, (width, value), cpu),
        Frame::Redist => vgic.redist_write(VcpuId(0), offset, (width, value), cpu),
    };
    let kicks = kicks.unwrap_or_default();
    assert!(!kicks.contains(VcpuId(0)), "the writer's own List Registers are up to date");
    machine.kick(kicks);
}

/// The frames of a version, and their bytes.
fn frames(version: Version) -> &'static [(Frame, u64)] {
    match version {
        Version::V2 => &[(Frame::Dist, gicd::FRAME_V2)],
        Version::V3 => &[(Frame::Dist, gicd::FRAME_V3), (Frame::Redist, STRIDE)],
    }
}

/// Tells whether a row allows an access.
fn is_there(version: Version, frame: Frame, offset: u64, width: Width) -> bool {
    let (frame, offset) = match (frame, version) {
        (Frame::Dist, Version::V2) => (Row::DIST_V2, offset),
        (Frame::Dist, Version::V3) => (Row::DIST_V3, offset),
        (Frame::Redist, _) if offset < SGI_BASE => (Row::RD, offset),
        (Frame::Redist, _) => (Row::SGI, offset - SGI_BASE),
    };
    let offset = offset as u32;
    let covers = |row: &Row| row.frames & frame != 0 && (row.first..row.first + row.size).contains(&offset);
    ROWS.iter().any(|row| covers(row) && row.widths.allows(offset, width))
}

#[test]
fn no_row_is_empty_and_none_overlaps_another_of_its_frame() {
    let rows = &ROWS[1..];
    assert!(rows.iter().all(|row| row.size != 0));
    let disjoint =
        |a: &Row, b: &Row| a.frames & b.frames == 0 || a.first + a.size <= b.first || b.first + b.size <= a.first;
    for (n, row) in rows.iter().enumerate() {
        assert!(rows[n + 1..].iter().all(|other| disjoint(row, other)), "{:#x}", row.first);
    }
}

/// The row's first offset, and the offset in it.
fn place(version: Version, offset: u64, width: Width) -> Option<(u64, u32)> {
    let register = Frames::new(version, 1).dist(VcpuId(0), offset, width)?.1?;
    Some((register.0.first.into(), register.1))
}

#[test]
fn rows_lie_where_the_offsets_say() {
    use Width::{W1, W2, W4, W8};
    let v3 = |offset, width| place(Version::V3, offset, width);
    assert_eq!(v3(gicd::CTLR, W4), Some((gicd::CTLR, 0)));
    assert_eq!(v3(gicd::ISENABLER + 4, W4), Some((gicd::ISENABLER, 4)));
    assert_eq!(v3(gicd::IROUTER + 8 * 33, W8), Some((gicd::IROUTER + 8 * 32, 8)));
    assert_eq!(v3(gicd::PIDR2, W4), Some((0xffd0, 0x18)));
    assert_eq!(v3(gicd::IPRIORITYR + 33, W1), Some((gicd::IPRIORITYR, 33)));
    for (offset, width) in [(0, W8), (0, W1), (0x102, W4), (0x400, W2), (0x20, W2), (0x9000, W4)] {
        assert_eq!(v3(offset, width), None, "{offset:#x} {width:?}");
    }
    let v2 = |offset, width| place(Version::V2, offset, width);
    assert_eq!(v2(gicd::ICPIDR2, W4), Some((0xfd0, 0x18)));
    assert_eq!(v2(gicd::SPENDSGIR + 7, W1), Some((gicd::SPENDSGIR, 7)));
    assert_eq!((v2(0xf40, W4), v2(0x1000, W4)), (None, None));
    let (v2, v3) = (Frames::new(Version::V2, 2), Frames::new(Version::V3, 2));
    let has_dist = |frames: Frames, offset| frames.dist(VcpuId(0), offset, W4).is_some();
    assert!(has_dist(v2, 0xfff) && !has_dist(v2, 0x1000) && has_dist(v3, 0xffff) && !has_dist(v3, 0x1_0000));
    let redist_of = |frames: Frames, offset| frames.redist(offset, W4).map(|(view, _)| view.vcpu());
    assert_eq!([redist_of(v2, 0), redist_of(v3, STRIDE), redist_of(v3, 2 * STRIDE)], [None, Some(VcpuId(1)), None]);
    let mut machine = GuestMachine::ready(Version::V3, 1, 32, 4);
    write(&mut machine, Frame::Redist, SGI_BASE + gicd::IPRIORITYR, W4, 0xf8f8_f8f8);
    assert_eq!(read(&mut machine, Frame::Redist, SGI_BASE + gicd::IPRIORITYR + 3, W1), 0xf8);
    write(&mut machine, Frame::Redist, SGI_BASE + gicd::ISACTIVER + 4, W4, u64::MAX);
    assert_eq!(read(&mut machine, Frame::Redist, SGI_BASE + gicd::ICACTIVER, W4), 0);
    assert_eq!(read(&mut machine, Frame::Redist, SGI_BASE + gicd::ICACTIVER + 4, W4), 0);
}

fn spis(vgic: &Vgic) -> usize {
    (vgic.banks.len() - vgic.cpus.len()) * 32
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn every_offset_can_be_accessed_with_every_width() {
    for version in [Version::V2, Version::V3] {
        let mut machine = GuestMachine::new(version, 2, 64, 4);
        for &(frame, size) in frames(version) {
            let ends = (0..size + 0x20).chain([2 * size, 0x7f_ffff, u64::MAX - 7, u64::MAX]);
            for offset in ends {
                for width in WIDTHS {
                    for value in [u64::MAX, 0xa5a5_a5a5_5a5a_5a5a, 0] {
                        write(&mut machine, frame, offset, width, value);
                    }
                    read(&mut machine, frame, offset, width);
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn what_no_row_allows_reads_as_zero_and_ignores_writes() {
    for version in [Version::V2, Version::V3] {
        for &(frame, size) in frames(version) {
            // Everything that can be set is, so that a misplaced read would show.
            let mut machine = GuestMachine::ready(version, 2, 960, 4);
            for offset in 0..size {
                for width in WIDTHS {
                    if !is_there(version, frame, offset, width) {
                        write(&mut machine, frame, offset, width, u64::MAX);
                        assert_eq!(read(&mut machine, frame, offset, width), 0, "{offset:#x} {width:?}");
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn interrupts_beyond_those_the_vm_has_read_as_zero() {
    for (version, spis) in [(Version::V2, 32), (Version::V3, 96)] {
        let mut machine = GuestMachine::ready(version, 2, spis, 4);
        let (words, own) = (1 + spis as u64 / 32, u64::from(version == Version::V2));
        for n in 0..32 {
            let exists = n < words && n >= 1 - own;
            for register in [gicd::IGROUPR, gicd::ISENABLER] {
                machine.dist(VcpuId(0), register + 4 * n, u32::MAX);
                let expected = if exists { u32::MAX } else { 0 };
                assert_eq!(machine.read_dist(VcpuId(0), register + 4 * n), expected, "{register:#x} {n}");
            }
        }
        for n in 0..255 {
            let exists = n / 8 < words && n / 8 >= 1 - own;
            let expected = if exists { 0xa0a0_a0a0 } else { 0 };
            machine.dist(VcpuId(0), gicd::IPRIORITYR + 4 * n, 0xa5a6_a7a3);
            assert_eq!(machine.read_dist(VcpuId(0), gicd::IPRIORITYR + 4 * n), expected, "{n}");
        }
    }
}

#[test]
fn the_controller_describes_itself() {
    let mut machine = GuestMachine::new(Version::V3, 33, 40, 4);
    assert_eq!(spis(&machine.vgic), 64);
    // 64 SPIs, ten bits of INTID, no 1-of-N.
    assert_eq!(machine.read_dist(VcpuId(0), gicd::TYPER), 2 | 9 << 19 | 1 << 25);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::PIDR2) >> 4, 3);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::IIDR) & 0xfff, 0x43b);
    for of in 0..33 {
        let typer = read(&mut machine, Frame::Redist, of * STRIDE + gicr::TYPER, Width::W8);
        assert_eq!(typer >> 32, of >> 4 << 8 | of & 15, "the MPIDR rule");
        assert_eq!(typer >> 8 & 0xffff, of);
        assert_eq!(typer & gicr::TYPER_LAST != 0, of == 32);
        let half =
            |machine: &mut GuestMachine, n| read(machine, Frame::Redist, of * STRIDE + gicr::TYPER + n, Width::W4);
        assert_eq!(half(&mut machine, 0) | half(&mut machine, 4) << 32, typer);
    }
    assert_eq!(read(&mut machine, Frame::Redist, 33 * STRIDE + gicr::TYPER, Width::W8), 0);
    assert_eq!(read(&mut machine, Frame::Redist, gicd::PIDR2, Width::W4), 0x3b);

    let mut machine = GuestMachine::new(Version::V2, 8, 32, 4);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::TYPER), 1 | 7 << 5);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::ICPIDR2), 0x2b);
    assert_eq!(Vgic::new(Version::V2, 20, 5000).cpus.len(), 8);
    assert_eq!(spis(&Vgic::new(Version::V3, 0, 5000)), 960);
}

#[test]
fn gicd_ctlr_shows_one_security_state_with_affinity_routing_for_good() {
    let mut machine = GuestMachine::new(Version::V3, 1, 32, 4);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::CTLR), gicd::CTLR_ARE | gicd::CTLR_DS);
    machine.dist(VcpuId(0), gicd::CTLR, u32::MAX);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::CTLR), gicd::CTLR_ARE | gicd::CTLR_DS | 3);
    machine.dist(VcpuId(0), gicd::CTLR, 2);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::CTLR), gicd::CTLR_ARE | gicd::CTLR_DS | 2);

    let mut machine = GuestMachine::new(Version::V2, 1, 32, 4);
    machine.dist(VcpuId(0), gicd::CTLR, u32::MAX);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::CTLR), 3);
}

#[test]
fn children_sleep_as_the_processor_does() {
    let mut machine = GuestMachine::new(Version::V3, 2, 32, 4);
    let waker = STRIDE + gicr::WAKER;
    assert_eq!(read(&mut machine, Frame::Redist, waker, Width::W4), 6);
    write(&mut machine, Frame::Redist, waker, Width::W4, 0);
    assert_eq!(read(&mut machine, Frame::Redist, waker, Width::W4), 0);
    assert_eq!(read(&mut machine, Frame::Redist, gicr::WAKER, Width::W4), 6);
}

#[test]
fn setting_and_clearing_registers_leave_the_zero_bits_alone() {
    for version in [Version::V2, Version::V3] {
        let mut machine = GuestMachine::new(version, 1, 32, 16);
        for (set, clear) in
            [(gicd::ISENABLER, gicd::ICENABLER), (gicd::ISPENDR, gicd::ICPENDR), (gicd::ISACTIVER, gicd::ICACTIVER)]
        {
            machine.dist(VcpuId(0), set + 4, 0x5);
            machine.dist(VcpuId(0), set + 4, 0x10);
            machine.dist(VcpuId(0), clear + 4, 0x4);
            assert_eq!(machine.read_dist(VcpuId(0), set + 4), 0x11, "{set:#x}");
            assert_eq!(machine.read_dist(VcpuId(0), clear + 4), 0x11, "{clear:#x}");
            machine.private(VcpuId(0), set, 0x50000);
            machine.private(VcpuId(0), clear, 0x10000);
            assert_eq!(machine.read_private(VcpuId(0), 0, set), 0x40000, "{set:#x}");
            assert_eq!(machine.read_private(VcpuId(0), 0, clear), 0x40000, "{clear:#x}");
        }
    }
}

#[test]
fn sgis_are_edge_triggered_and_others_as_configured() {
    for version in [Version::V2, Version::V3] {
        let mut machine = GuestMachine::new(version, 1, 32, 4);
        machine.private(VcpuId(0), gicd::ICFGR, 0);
        assert_eq!(machine.read_private(VcpuId(0), 0, gicd::ICFGR), 0xaaaa_aaaa);
        machine.private(VcpuId(0), gicd::ICFGR + 4, 0xffff_ffff);
        assert_eq!(machine.read_private(VcpuId(0), 0, gicd::ICFGR + 4), 0xaaaa_aaaa);
        machine.dist(VcpuId(0), gicd::ICFGR + 12, 0x8000_0005);
        assert_eq!(machine.read_dist(VcpuId(0), gicd::ICFGR + 12), 0x8000_0000);
        assert_eq!(machine.read_dist(VcpuId(0), gicd::ICFGR + 8), 0);
    }
}

#[test]
fn priorities_are_bytes_of_five_bits() {
    let mut machine = GuestMachine::new(Version::V3, 1, 32, 4);
    write(&mut machine, Frame::Dist, gicd::IPRIORITYR + 33, Width::W1, 0xff);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::IPRIORITYR + 32), 0xf800);
    assert_eq!(read(&mut machine, Frame::Dist, gicd::IPRIORITYR + 33, Width::W1), 0xf8);
    write(&mut machine, Frame::Redist, SGI_BASE + gicd::IPRIORITYR + 31, Width::W1, 0x17);
    assert_eq!(machine.read_private(VcpuId(0), 0, gicd::IPRIORITYR + 28), 0x1000_0000);
}

#[test]
fn routes_are_kept_as_written_without_the_mode_bit() {
    let mut machine = GuestMachine::new(Version::V3, 20, 32, 4);
    let irouter = gicd::IROUTER + 8 * 32;
    write(&mut machine, Frame::Dist, irouter, Width::W8, 0x12_8034_5678);
    assert_eq!(read(&mut machine, Frame::Dist, irouter, Width::W8), 0x12_0034_5678);
    write(&mut machine, Frame::Dist, irouter + 4, Width::W4, 0xff);
    write(&mut machine, Frame::Dist, irouter, Width::W4, 0x0103);
    assert_eq!(read(&mut machine, Frame::Dist, irouter, Width::W8), 0xff_0000_0103);
    assert_eq!(read(&mut machine, Frame::Dist, irouter + 4, Width::W4), 0xff);
}

#[test]
fn target_bytes_tell_a_cpu_its_number_and_keep_only_cpus_that_exist() {
    let mut machine = GuestMachine::new(Version::V2, 3, 32, 4);
    assert_eq!(machine.read_dist(VcpuId(2), gicd::ITARGETSR), 0x0404_0404);
    machine.dist(VcpuId(2), gicd::ITARGETSR, 0x0101_0101);
    assert_eq!(machine.read_dist(VcpuId(2), gicd::ITARGETSR + 28), 0x0404_0404);
    machine.dist(VcpuId(0), gicd::ITARGETSR + 32, 0xff02_0108);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::ITARGETSR + 32), 0x0702_0100);

    let mut machine = GuestMachine::new(Version::V2, 1, 32, 4);
    machine.dist(VcpuId(0), gicd::ITARGETSR + 32, 0x0101_0101);
    assert_eq!(machine.read_dist(VcpuId(0), gicd::ITARGETSR + 32), 0, "RAZ/WI on a uniprocessor");
    assert_eq!(machine.read_dist(VcpuId(0), gicd::ITARGETSR), 0);
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn a_reset_brings_all_registers_back() {
    for version in [Version::V2, Version::V3] {
        let mut used = GuestMachine::ready(version, 2, 64, 4);
        used.send(0, 3, 3);
        used.set_level(VcpuId(0), 33, true);
        used.acknowledge(VcpuId(0));
        used.park(VcpuId(0));
        used.park(VcpuId(1));
        used.vgic.park(VcpuId(0), &mut used.cpus[0]);
        used.vgic.park(VcpuId(1), &mut used.cpus[1]);
        used.vgic.reset();
        let mut fresh = GuestMachine::new(version, 2, 64, 4);
        for &(frame, size) in frames(version) {
            for offset in (0..size).step_by(4) {
                let value = read(&mut used, frame, offset, Width::W4);
                assert_eq!(value, read(&mut fresh, frame, offset, Width::W4), "{offset:#x}");
            }
        }
    }
}
