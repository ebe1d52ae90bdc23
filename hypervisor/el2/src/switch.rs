//! The guest as a function that returns: enter it, handle its exits, leave when the handler says so.

use core::arch::global_asm;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::offset_of;

use assay_spec::branch_history::Mitigation;
use assay_spec::frame::{Frame, General, Return};
use assay_spec::hcr;

use crate::percpu::{self, PerCpu};
use crate::sysreg::{isb, read_sysreg, write_el2};

/// A vCPU's registers, and EL2's stack pointer while it runs. `switch.S` knows the layout.
#[repr(C, align(16))]
pub struct Guest {
    /// General registers, program counter and PSTATE, while no [`Handler`] runs.
    pub frame: Frame,
    host_sp: u64,
    /// The stage 2 that it was made for.
    vttbr: u64,
    /// It was made on this CPU, and stays there: not `Send`.
    here: PhantomData<*const ()>,
}

const _: () = assert!(offset_of!(Guest, frame) == 0);
const _: () = assert!(offset_of!(Frame, general) == 0 && offset_of!(General, x) == 0);
const _: () = assert!(offset_of!(Return, pc) == 0 && offset_of!(Return, pstate) == 8);

impl Guest {
    /// Makes a guest that starts with `frame`: once this CPU's stage 2 is set up (`traps::load`).
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, host_sp: 0, vttbr: read_sysreg!("vttbr_el2"), here: PhantomData }
    }

    /// Tells whether this CPU's stage 2 is the guest's.
    pub(crate) fn is_here(&self) -> bool {
        read_sysreg!("vttbr_el2") == self.vttbr
    }
}

/// By which vector a guest left, if not by a synchronous exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A physical IRQ, not yet acknowledged.
    Irq,
    /// A physical FIQ: none is configured, so it is Group 0, which is not ours.
    Fiq,
    /// A physical SError while the guest ran.
    SError,
}

/// What to do after an exit: what `switch.S` is told, without a conversion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Control {
    /// Enter the guest again.
    Resume = 0,
    /// Return from [`run`].
    Leave = 1,
    /// Complete the registers and call [`Handler::whole`]: an answer of [`Handler::synchronous`] alone.
    Whole = 2,
}

/// Handles the exits of one guest on one CPU. Interrupts are masked, and stay so.
///
/// The lazy registers ([`General::is_lazy`]) are the guest's for [`Self::whole`] alone. In [`Self::synchronous`] they may be what
/// they once were, and what is written there is lost. Where the guest is, [`place`] tells, and [`advance`] and [`go_to`] change.
pub trait Handler {
    /// Handles a synchronous exception with the syndrome `esr` (DDI0487 D24.2, ESR_EL2), or asks for all registers.
    fn synchronous(&mut self, general: &mut General, esr: u64) -> Control;
    /// Handles one for which [`Self::synchronous`] has asked for all registers.
    fn whole(&mut self, general: &mut General, esr: u64) -> Control;
    /// Handles an interrupt or an SError.
    fn other(&mut self, cause: Cause) -> Control;
}

global_asm!(
    include_str!("switch.S"),
    HOST_SP = const offset_of!(Guest, host_sp),
    AT = const offset_of!(Frame, at),
    KEPT = const offset_of!(PerCpu, kept),
    RECOVERY = const offset_of!(PerCpu, recovery),
    SPARE = const offset_of!(PerCpu, spare_stack),
    BRANCHES = const offset_of!(PerCpu, branches),
    fatal = sym fatal,
);

type Synchronous = unsafe extern "C" fn(*mut c_void, *mut Guest) -> u32;
type Other = unsafe extern "C" fn(*mut c_void, *mut Guest, u32) -> u32;

unsafe extern "C" {
    fn switch_enter(guest: *mut Guest, handler: *mut c_void, synchronous: Synchronous, other: Other);
    static switch_vectors: u8;
    static switch_vectors_clear: u8;
    static switch_vectors_loop: u8;
    static switch_vectors_firmware: u8;
}

/// Runs `guest` on this CPU until `handler` says [`Control::Leave`].
///
/// The guest's EL1 registers, trap configuration and stage 2 are those loaded before (`guest_regs`, `traps`,
/// `stage2`).
pub fn run<H: Handler>(guest: &mut Guest, handler: &mut H) {
    assert!(read_sysreg!("hcr_el2") & hcr::VM != 0, "a guest is to run without stage 2");
    assert!(guest.is_here(), "a guest is to run with another's stage 2");
    // SAFETY: `switch.S` keeps to the AAPCS64, writes only inside `*guest` and hands both pointers to functions
    // for which they are of the right types. They are borrowed exclusively throughout.
    unsafe { switch_enter(guest, core::ptr::from_mut(handler).cast(), synchronous::<H>, other::<H>) }
}

/// Called by `switch.S` at each synchronous exit.
///
/// # Safety
/// `handler` and `guest` must be the pointers that [`run`] was given, with `H` the same type.
unsafe extern "C" fn synchronous<H: Handler>(handler: *mut c_void, guest: *mut Guest) -> u32 {
    // SAFETY: our caller's promise; the guest does not run, so nothing else uses its registers.
    let general = unsafe { &mut (*guest).frame.general };
    // SAFETY: our caller's promise; `run` holds the exclusive borrow that this one continues.
    let handler = unsafe { &mut *handler.cast::<H>() };
    handler.synchronous(general, raw_syndrome()) as u32
}

/// Called by `switch.S` at each other exit, and with cause 0 after [`Control::Whole`].
///
/// # Safety
/// As [`synchronous`].
unsafe extern "C" fn other<H: Handler>(handler: *mut c_void, guest: *mut Guest, cause: u32) -> u32 {
    // SAFETY: as in `synchronous`.
    let general = unsafe { &mut (*guest).frame.general };
    // SAFETY: as in `synchronous`.
    let handler = unsafe { &mut *handler.cast::<H>() };
    if cause == 1 { handler.other(Cause::Irq) as u32 } else { rarer(general, handler, cause) as u32 }
}

/// Out of the way of interrupts.
#[inline(never)]
fn rarer(general: &mut General, handler: &mut impl Handler, cause: u32) -> Control {
    match cause {
        0 => handler.whole(general, raw_syndrome()),
        2 => handler.other(Cause::Fiq),
        _ => handler.other(Cause::SError),
    }
}

/// Returns where the guest is whose exit is being handled on this CPU.
#[inline(always)]
pub fn place() -> Return {
    Return { pc: read_sysreg!("elr_el2"), pstate: read_sysreg!("spsr_el2") }
}

/// Steps over the instruction that the guest has left at. For a [`Handler`]; elsewhere it is lost.
#[inline(always)]
pub fn advance() {
    let mut at = place();
    if at.is_aarch32() {
        return advance_in_aarch32();
    }
    at.advance();
    // SAFETY: `Return::advance` leaves PSTATE.M as it is, which at an exit is a lower level's: M[3] is 0.
    unsafe { set_place(at) }
}

/// Out of the way of AArch64.
#[cold]
#[inline(never)]
fn advance_in_aarch32() {
    let mut at = place();
    at.advance();
    go_to(at);
}

/// Has the guest whose exit is being handled go on elsewhere. For a [`Handler`]; elsewhere it is lost.
pub fn go_to(at: Return) {
    // SAFETY: M[3] is cleared here.
    unsafe { set_place(Return { pstate: at.pstate & !EL2, ..at }) }
}

/// `PSTATE.M[3]`: EL2 or EL3 (DDI0487 C5.2.19, SPSR_EL2).
const EL2: u64 = 1 << 3;

/// Writes where the next ERET goes: of `switch.S` into the guest, which writes both anew before the first.
///
/// # Safety
/// `PSTATE.M[3]` must be 0, so that it goes to EL1 or EL0.
#[inline(always)]
unsafe fn set_place(at: Return) {
    // SAFETY: nothing but an ERET reads it, and our caller's promise says where to.
    unsafe { write_el2!("elr_el2", at.pc) }
    // SAFETY: the same.
    unsafe { write_el2!("spsr_el2", at.pstate) }
}

/// Tells whether a physical FIQ is pending (`ISR_EL1.F`).
pub fn is_fiq_pending() -> bool {
    read_sysreg!("isr_el1") & 1 << 6 != 0
}

/// Returns the raw `ESR_EL2` of the last exit, for reports.
pub fn raw_syndrome() -> u64 {
    read_sysreg!("esr_el2")
}

/// Returns `FAR_EL2` and `HPFAR_EL2` of the last exit.
#[inline(always)]
pub fn fault_address() -> (u64, u64) {
    (read_sysreg!("far_el2"), read_sysreg!("hpfar_el2"))
}

/// Points this CPU at the vectors, of those that do this at each exit from a guest. Once firmware can be called, if it is
/// that.
pub fn install_vectors(mitigation: Mitigation) {
    let vectors = match mitigation {
        Mitigation::None => &raw const switch_vectors,
        Mitigation::Clear => &raw const switch_vectors_clear,
        Mitigation::Loop(branches) => {
            // The loop counts down to 0.
            percpu::set_branches(branches.max(1));
            &raw const switch_vectors_loop
        }
        Mitigation::Firmware => &raw const switch_vectors_firmware,
    } as u64;
    // SAFETY: each table is 2 KiB aligned, mapped executable and complete.
    unsafe { write_el2!("vbar_el2", vectors) }
    isb();
}

/// An exception in EL2 itself: our bug. `kind` is the vector (16 or more: the stack had overflowed).
extern "C" fn fatal(frame: &Frame, kind: u32) -> ! {
    #[expect(clippy::panic, reason = "an exception in EL2 is a bug of ours: the third kind of failure")]
    {
        panic!(
            "exception in EL2: vector {} pc={:#x} esr={:#x} far={:#x} lr={:#x}{}",
            kind & 15,
            frame.at.pc.wrapping_sub(crate::image::start()),
            read_sysreg!("esr_el2"),
            read_sysreg!("far_el2"),
            frame.general.x[30],
            if kind & 16 != 0 { " (stack overflow)" } else { "" }
        )
    }
}
