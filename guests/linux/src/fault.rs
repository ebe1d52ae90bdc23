//! Faults that a program provokes: what the kernel says of them in `siginfo`.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// `SEGV_MTESERR`: a synchronous tag check failed.
pub const SEGV_MTESERR: i32 = 9;
/// `BUS_ADRALN`: the address is not aligned as the memory wants it.
pub const BUS_ADRALN: i32 = 1;

/// What the kernel said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// `SIGSEGV` or `SIGBUS`.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: usize,
}

static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn caught(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    SIGNAL.store(signal, Ordering::Relaxed);
    // SAFETY: the kernel gives both with SA_SIGINFO. The instruction that faulted is stepped over: it is one
    // load or store of `map::read` or `map::write`, whose result nobody uses then.
    unsafe {
        CODE.store((*info).si_code, Ordering::Relaxed);
        ADDRESS.store((*info).si_addr() as usize, Ordering::Relaxed);
        (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc += 4;
    }
}

/// Runs `access` and returns the fault that its first faulting load or store met, if one did. Each instruction
/// that faults is stepped over.
pub fn of(access: impl FnOnce()) -> Option<Fault> {
    SIGNAL.store(0, Ordering::Relaxed);
    let signals = [libc::SIGSEGV, libc::SIGBUS];
    // SAFETY: all-zero is a valid sigaction; the handler has the type that SA_SIGINFO says.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = caught as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    let old = signals.map(|signal| {
        // SAFETY: as above.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: both are valid.
        unsafe { libc::sigaction(signal, &raw const action, &raw mut old) };
        old
    });
    access();
    for (signal, old) in signals.into_iter().zip(old) {
        // SAFETY: what was there before.
        unsafe { libc::sigaction(signal, &raw const old, std::ptr::null_mut()) };
    }
    let signal = SIGNAL.load(Ordering::Relaxed);
    (signal != 0).then(|| Fault {
        signal,
        code: CODE.load(Ordering::Relaxed),
        address: ADDRESS.load(Ordering::Relaxed),
    })
}
