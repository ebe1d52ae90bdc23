//! The registers of the Distributor and of a Redistributor, a row each (IHI 0069H §12.9 to §12.11, IHI 0048B §4.3).
//!
//! A GICv3 here has affinity routing and one Security state (`GICD_CTLR.ARE` and `DS` are RAO/WI), no message-based
//! SPIs, no extended SPIs and PPIs, no LPIs and no NMIs. A GICv2 has both groups and no Security Extensions. What the
//! manual has beyond these rows is RES0 then: `GICD_TYPER2`, `STATUSR`, `SETSPI_*`, `IGRPMODR`, `NSACR`, `INMIR` and
//! `GICR_SETLPIR` to `SYNCR`; with affinity routing also `ITARGETSR`, `SGIR`, `CPENDSGIR` and `SPENDSGIR`.

use super::bank::{Bank, Forward, Irq, bits};
use super::{NOBODY, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::sgi::{Filter, decode_sgir};
use assay_spec::gic::{dist as gicd, redist as gicr};

/// `GICD_IIDR` and `GICR_IIDR`: implementer Arm, as of the virtual interface underneath, with a
/// product identifier of our own ("A").
const IIDR: u64 = 0x4100_043b;

/// Through which frame a register is seen, and as whose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The Distributor, by this vCPU.
    Dist(VcpuId),
    /// The Redistributor of this vCPU, by whomsoever.
    Redist(VcpuId),
}

impl View {
    /// The vCPU.
    pub(super) fn vcpu(self) -> VcpuId {
        let (Self::Dist(vcpu) | Self::Redist(vcpu)) = self;
        vcpu
    }
}

/// What is written, and a mask of its bytes.
#[derive(Clone, Copy)]
pub(super) struct Store {
    pub(super) value: u64,
    pub(super) mask: u64,
}

impl Store {
    /// Its lower half.
    pub(super) fn word(self) -> u32 {
        (self.value & 0xffff_ffff) as u32
    }

    /// Byte by byte.
    pub(super) fn bytes(self) -> impl Iterator<Item = (u32, u8)> {
        (0..8).filter(move |n| self.mask >> (8 * n) & 1 != 0).map(move |n| (n, (self.value >> (8 * n) & 0xff) as u8))
    }
}

/// Reads from a register or an array of them, from an offset on.
type Get = fn(&Vgic, View, u32) -> u64;
/// Writes to it, from an offset on.
type Set = fn(&mut Vgic, View, u32, Store);

/// The widths a register may be accessed with: bit `8 * log2(bytes) + address % 8`.
#[derive(Clone, Copy)]
pub(super) struct Widths(u32);

/// Words only.
const WORD: Widths = Widths(1 << 16 | 1 << 20);
/// Bytes and words.
const BYTE_WORD: Widths = Widths(0xff | WORD.0);
/// Words and doublewords.
const WORD_DOUBLE: Widths = Widths(1 << 24 | WORD.0);

impl Widths {
    /// Tells whether an access of `width` at `offset` is among them, and aligned.
    pub(super) const fn allows(self, offset: u32, width: Width) -> bool {
        self.0.rotate_right(8 * width as u32 + (offset & 7)) & 1 != 0
    }
}

/// A register, or an array of them.
pub(super) struct Row {
    /// The frames that have it.
    pub(super) frames: u8,
    /// How it may be accessed.
    pub(super) widths: Widths,
    /// Offset of the first byte in the frame, and how many there are.
    pub(super) first: u32,
    pub(super) size: u32,
    /// What it shows or changes is in List Registers for the most part.
    pub(super) in_lists: bool,
    pub(super) get: Get,
    pub(super) set: Set,
}

impl Row {
    pub(super) const DIST_V2: u8 = 1;
    pub(super) const DIST_V3: u8 = 2;
    pub(super) const RD: u8 = 4;
    pub(super) const SGI: u8 = 8;

    const fn new(frames: u8, (first, end): (u32, u32), widths: Widths, get: Get, set: Set) -> Self {
        Self { frames, widths, first, size: end - first, in_lists: false, get, set }
    }

    const fn in_lists(mut self) -> Self {
        self.in_lists = true;
        self
    }

    /// Which 32 interrupts it is about at an offset, if there is a byte or a bit for each.
    pub(super) const fn word(&self, at: u32) -> u32 {
        if self.widths.0 == BYTE_WORD.0 { at / 32 } else { at / 4 }
    }
}

const DIST: u8 = Row::DIST_V2 | Row::DIST_V3;
const GICV3: u8 = Row::DIST_V3 | Row::RD;
/// The registers of a bit or a few for each interrupt: with affinity routing, the Redistributors have the first of each.
const BANKED: u8 = DIST | Row::SGI;

/// The row of a register of one bit for each interrupt, from `$first` on.
macro_rules! bits {
    ($first:literal, $get:expr, $set:expr) => {
        Row::new(
            BANKED,
            ($first, $first + 0x80),
            WORD,
            |v, view, at| v.bits(view, at / 4, $get),
            |v, view, at, store| v.change(view, at / 4, |bank| $set(bank, store.word())),
        )
    };
}

#[rustfmt::skip]
pub(super) static ROWS: [Row; 24] = [
    //       frames        offsets            widths       read              write
    Row::new(0,            (0x0000, 0x0000),  WORD,        zero,             ignore), // What is not here
    Row::new(DIST,         (0x0000, 0x0004),  WORD,        ctlr,             set_ctlr), // CTLR
    Row::new(DIST,         (0x0004, 0x0008),  WORD,        typer,            ignore), // TYPER
    Row::new(DIST,         (0x0008, 0x000c),  WORD,        iidr,             ignore), // IIDR
    Row::new(Row::RD,      (0x0000, 0x0004),  WORD,        redist_ctlr,      ignore), // CTLR
    Row::new(Row::RD,      (0x0004, 0x0008),  WORD,        iidr,             ignore), // IIDR
    Row::new(Row::RD,      (0x0008, 0x0010),  WORD_DOUBLE, redist_typer,     ignore), // TYPER
    Row::new(Row::RD,      (0x0014, 0x0018),  WORD,        waker,            set_waker), // WAKER
    bits!(0x0080, |bank| bank.group,     Bank::set_group), // IGROUPR
    bits!(0x0100, |bank| bank.enabled,   Bank::enable), // ISENABLER
    bits!(0x0180, |bank| bank.enabled,   Bank::disable), // ICENABLER
    bits!(0x0200, |bank| bank.pending(), Bank::set_pending).in_lists(), // ISPENDR
    bits!(0x0280, |bank| bank.pending(), Bank::clear_pending).in_lists(), // ICPENDR
    Row::new(BANKED,       (0x0300, 0x0380),  WORD,        active,           set_active).in_lists(), // ISACTIVER
    bits!(0x0380, |bank| bank.active,    Bank::clear_active).in_lists(), // ICACTIVER
    Row::new(BANKED,       (0x0400, 0x07fc),  BYTE_WORD,   priorities,       set_priorities), // IPRIORITYR
    Row::new(Row::DIST_V2, (0x0800, 0x0bfc),  BYTE_WORD,   targets,          set_targets), // ITARGETSR
    Row::new(BANKED,       (0x0c00, 0x0d00),  WORD,        config,           set_config), // ICFGR
    Row::new(Row::DIST_V2, (0x0f00, 0x0f04),  WORD,        zero,             send), // SGIR
    Row::new(Row::DIST_V2, (0x0f10, 0x0f20),  BYTE_WORD,   senders,          remove_senders).in_lists(), // CPENDSGIR
    Row::new(Row::DIST_V2, (0x0f20, 0x0f30),  BYTE_WORD,   senders,          add_senders).in_lists(), // SPENDSGIR
    Row::new(Row::DIST_V3, (0x6100, 0x7fe0),  WORD_DOUBLE, route,            set_route), // IROUTER32 and on
    Row::new(Row::DIST_V2, (0x0fd0, 0x1000),  WORD,        identification,   ignore), // ICPIDR4 to ICCIDR3
    Row::new(GICV3,        (0xffd0, 0x10000), WORD,        identification,   ignore), // PIDR4 to CIDR3
];

fn zero(_: &Vgic, _: View, _: u32) -> u64 {
    0
}

fn ignore(_: &mut Vgic, _: View, _: u32, _: Store) {}

/// `RWP` is about disabling: some vCPU may still take what was withdrawn.
///
/// Enforced by `rwp_reads_one_until_the_other_vcpu_has_given_the_interrupt_back`.
fn ctlr(vgic: &Vgic, _: View, _: u32) -> u64 {
    let rwp = if vgic.stale.is_empty() { 0 } else { gicd::CTLR_RWP };
    u64::from(match vgic.version {
        Version::V2 => vgic.forward.to_ctlr(),
        Version::V3 => vgic.forward.to_ctlr() | gicd::CTLR_ARE | gicd::CTLR_DS | rwp,
    })
}

fn set_ctlr(vgic: &mut Vgic, _: View, _: u32, store: Store) {
    vgic.set_forward(Forward::from_ctlr(store.word()));
}

fn typer(vgic: &Vgic, _: View, _: u32) -> u64 {
    vgic.typer.into()
}

fn iidr(_: &Vgic, _: View, _: u32) -> u64 {
    IIDR
}

/// An Arm GIC of the architecture revision in bits 7:4 of `PIDR2` (IHI 0069H §12.9.32); a byte each.
fn identification(vgic: &Vgic, _: View, at: u32) -> u64 {
    static BYTES: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
    const PIDR2: usize = 6;
    let index = at as usize / 4;
    let revision = if vgic.version == Version::V2 && index == PIDR2 { 0x10 } else { 0 };
    u64::from(BYTES[index]) - revision
}

fn redist_ctlr(vgic: &Vgic, _: View, _: u32) -> u64 {
    if vgic.stale.is_empty() { 0 } else { gicr::CTLR_RWP.into() }
}

/// Affinity and number of the PE, and whether it is the last; no LPIs (IHI 0069H §12.10.35).
fn redist_typer(vgic: &Vgic, view: View, at: u32) -> u64 {
    let number = view.vcpu().0 as u64;
    let affinity = number >> 4 << 8 | number & 15;
    let last = if view.vcpu().0 + 1 == vgic.cpus.len() { gicr::TYPER_LAST } else { 0 };
    (affinity << gicr::TYPER_AFFINITY_SHIFT | number << gicr::TYPER_NUMBER_SHIFT | last) >> (8 * (at & 4))
}

/// `ChildrenAsleep` follows `ProcessorSleep` at once: there is no interface to quiesce. Delivery
/// does not depend on it.
fn waker(vgic: &Vgic, view: View, _: u32) -> u64 {
    let asleep = gicr::WAKER_PROCESSOR_SLEEP | gicr::WAKER_CHILDREN_ASLEEP;
    if vgic.cpus[view.vcpu().0].asleep { asleep.into() } else { 0 }
}

fn set_waker(vgic: &mut Vgic, view: View, _: u32, store: Store) {
    vgic.cpus[view.vcpu().0].asleep = store.word() & gicr::WAKER_PROCESSOR_SLEEP != 0;
}

fn active(vgic: &Vgic, view: View, at: u32) -> u64 {
    vgic.bits(view, at / 4, |bank| bank.active)
}

fn set_active(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    vgic.change(view, at / 4, |bank| bank.set_active(store.word(), view.vcpu()));
}

fn priorities(vgic: &Vgic, view: View, at: u32) -> u64 {
    vgic.bytes(view, at, |irq| irq.priority)
}

fn set_priorities(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    vgic.change_bytes(view, at, store, Bank::set_priority);
}

/// For SGIs and PPIs it tells a CPU its own number; on a uniprocessor it is all zero (IHI 0048B
/// §4.3.12).
fn targets(vgic: &Vgic, view: View, at: u32) -> u64 {
    vgic.bytes(view, at, |irq| (irq.route & 0xff) as u8)
}

/// Of several targets the lowest gets the interrupt: one handles it in the end (IHI 0048B §3.2.3,
/// the 1-N model), and the architecture does not say which.
fn set_targets(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    let everyone = vgic.everyone.0;
    if vgic.cpus.len() > 1 && at >= 32 {
        vgic.change_bytes(view, at, store, |bank, n, mask| {
            let mask = u64::from(mask) & everyone;
            let target = if mask == 0 { NOBODY } else { (mask.trailing_zeros() & 7) as u8 };
            bank.set_route(n, (mask & 0xff) as u32, target)
        });
    }
}

/// Two bits an interrupt, the upper one set if edge-triggered.
fn config(vgic: &Vgic, view: View, at: u32) -> u64 {
    let half = 16 * (at / 4 % 2);
    vgic.bits(view, at / 8, |bank| bits(bank.edge >> half & 0xffff).fold(0, |value, n| value | 2 << (2 * n)))
}

fn set_config(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    let half = 16 * (at / 4 % 2);
    let edge = (0..16).fold(0, |edge, n| edge | (store.word() >> (2 * n + 1) & 1) << n);
    vgic.change(view, at / 8, |bank| bank.set_edge(bank.edge & !(0xffff << half) | edge << half));
}

/// `GICD_SGIR` (IHI 0048B §4.3.15). Only the CPU interfaces that exist are reached.
fn send(vgic: &mut Vgic, view: View, _: u32, store: Store) {
    let (all, own) = (vgic.everyone, VcpuSet::one(view.vcpu()));
    let Some((n, filter)) = decode_sgir(store.word()) else {
        return;
    };
    let targets = match filter {
        Filter::List(mask) => VcpuSet(u64::from(mask) & all.0),
        Filter::AllOthers => all.without(own),
        Filter::Own => own,
    };
    targets.iter().for_each(|target| vgic.add_senders(target, n, own.0));
}

/// Who has sent each SGI.
fn senders(vgic: &Vgic, view: View, at: u32) -> u64 {
    vgic.bytes(view, at, |irq| irq.senders)
}

fn add_senders(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    store.bytes().for_each(|(i, senders)| vgic.add_senders(view.vcpu(), at + i, senders.into()));
}

fn remove_senders(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    vgic.change_bytes(view, at, store, Bank::remove_senders);
}

/// `IROUTER` has Aff3 in its upper half, a [route](Irq::route) in its uppermost byte.
fn route(vgic: &Vgic, view: View, at: u32) -> u64 {
    let n = at / 8;
    let route = vgic.bank(view, 1 + n / 32).map_or(0, |bank| vgic.banks[bank].irq(n).route);
    (u64::from(route >> 24) << 32 | u64::from(route & 0xff_ffff)) >> (8 * (at & 7))
}

/// `Interrupt_Routing_Mode` is RES0, since `GICD_TYPER.No1N` is 1. A route to an affinity that no
/// vCPU has is kept, and leads nowhere.
fn set_route(vgic: &mut Vgic, view: View, at: u32, store: Store) {
    let (n, shift) = (at / 8, 8 * (at & 7));
    let value = route(vgic, view, 8 * n) & !(store.mask << shift) | store.value << shift;
    let route = ((value >> 32 & 0xff) as u32) << 24 | (value & 0xff_ffff) as u32;
    let vcpu = (route >> 8) * 16 + (route & 0xf);
    let exists = route & !0x30f == 0 && (vcpu as usize) < vgic.cpus.len();
    let target = if exists { (vcpu & 0x3f) as u8 } else { NOBODY };
    vgic.change(view, 1 + n / 32, |bank| bank.set_route(n, route, target));
}

/// The ways to a bank's part of a register.
impl Vgic {
    /// The bank of the `word`th 32 interrupts, if they are seen there. With affinity routing the
    /// private interrupts are the Redistributors' alone (IHI 0069H §12.9.26 and others: RES0).
    pub(super) fn bank(&self, view: View, word: u32) -> Option<usize> {
        let index = match (view, word) {
            (View::Redist(of), 0) => of.0,
            (View::Dist(vcpu), 0) if self.version == Version::V2 => vcpu.0,
            (_, 0) | (View::Redist(_), _) => return None,
            (View::Dist(_), word) => self.cpus.len() + word as usize - 1,
        };
        (index < self.banks.len()).then_some(index)
    }

    fn bits(&self, view: View, word: u32, get: impl Fn(&Bank) -> u32) -> u64 {
        self.bank(view, word).map_or(0, |bank| get(&self.banks[bank]).into())
    }

    /// `change` returns which interrupts are concerned.
    fn change(&mut self, view: View, word: u32, change: impl FnOnce(&mut Bank) -> u32) {
        if let Some(bank) = self.bank(view, word) {
            let concerned = change(&mut self.banks[bank]);
            self.note(bank, concerned);
        }
    }

    /// An array with a byte for each interrupt, from the `at`th to the end of its word.
    fn bytes(&self, view: View, at: u32, get: impl Fn(&Irq) -> u8) -> u64 {
        let byte = |bank: usize, n| u64::from(get(self.banks[bank].irq(n))) << (8 * (n - at));
        self.bank(view, at / 32).map_or(0, |bank| (at..(at | 3) + 1).fold(0, |value, n| value | byte(bank, n)))
    }

    fn change_bytes(&mut self, view: View, at: u32, store: Store, change: impl Fn(&mut Bank, u32, u8) -> u32) {
        self.change(view, at / 32, |bank| {
            store.bytes().fold(0, |concerned, (i, byte)| concerned | change(bank, (at + i) & 31, byte))
        });
    }
}
