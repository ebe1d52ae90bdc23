//! A vCPU's FP, SIMD and SVE registers while it is switched out.

use alloc::vec::Vec;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use assay_spec::sve;
use spin::Once;

use crate::frames;
use crate::sysreg::{isb, read_sysreg, write_el2, write_sysreg};

global_asm!(include_str!("float.S"));

unsafe extern "C" {
    fn float_save_sve(area: u64);
    fn float_load_sve(area: u64);
    fn float_vector_bytes() -> u64;
    fn float_save_simd(area: u64);
    fn float_load_simd(area: u64);
    fn float_clear_sve();
    fn float_clear_simd();
}

/// Bytes of the longest vector that every CPU so far can hold.
static VECTOR: AtomicU64 = AtomicU64::new(sve::MAX_BYTES);
/// Bytes of the vectors of vCPUs that move between CPUs.
static COMMON: Once<u64> = Once::new();

/// Decides how long those are, when first asked: a CPU that comes up later changes nothing any more, since no vCPU
/// gets to it.
fn common() -> u64 {
    *COMMON.call_once(|| sve::common_bytes(VECTOR.load(Ordering::Relaxed)))
}

/// Notes how long this CPU's vectors are: when it is adopted, before it has a guest.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a register, and a look at what it brought about")]
pub(crate) fn note_vector_length() {
    if read_sysreg!("id_aa64pfr0_el1") >> 32 & 0xf == 0 {
        return;
    }
    // SAFETY: no guest is on this CPU yet. CPTR_EL2 with TZ = 0 and the RES1 bits traps nothing of EL2's own.
    unsafe { write_el2!("cptr_el2", assay_spec::hcr::cptr::RES1 | assay_spec::hcr::cptr::TSM) }
    isb();
    // SAFETY: FEAT_SVE is there and does not trap, so both instructions exist.
    let bytes = unsafe {
        write_el2!("s3_4_c1_c2_0", sve::MAX_LEN);
        isb();
        float_vector_bytes()
    };
    let _ = VECTOR.fetch_min(bytes, Ordering::Relaxed);
}

/// Returns `ZCR_EL2` for a vCPU that moves between CPUs: the longest vectors that all of them have.
pub fn vector_length() -> u64 {
    sve::length(common())
}

/// Returns the bytes that all vCPUs' registers take.
pub fn all_bytes() -> u64 {
    BYTES.load(Ordering::Relaxed)
}

static BYTES: AtomicU64 = AtomicU64::new(0);

/// Clears the FP, SIMD and SVE registers of this CPU, where the vCPU's trap configuration must be loaded: whatever they
/// held was another life's.
pub(crate) fn clear(sve: bool) {
    let clear = if sve { float_clear_sve } else { float_clear_simd };
    // SAFETY: guest registers only; CPTR_EL2 lets EL2 use them, and with `sve` FEAT_SVE is there.
    unsafe { clear() }
    write_sysreg!("s3_3_c4_c4_0", 0);
    write_sysreg!("s3_3_c4_c4_1", 0);
}

/// Memory for one vCPU's registers. It holds no Rust object, belongs to this value alone, and is never given back.
pub(crate) struct Area {
    start: u64,
    /// Bytes of a vector; `None`: the vCPU has no SVE.
    vector: Option<u64>,
    fpcr: u64,
    fpsr: u64,
}

impl Area {
    /// Takes zeroed memory for the registers of `count` vCPUs, or `None` if there is none.
    pub(crate) fn take(count: usize, sve: bool) -> Option<Vec<Self>> {
        let vector = sve.then(common);
        // Vectors, then predicates and FFR of an eighth each, rounded up.
        let bytes = vector.map_or(32 * 16, |vector| (vector * 32 + vector / 8 * 17).next_multiple_of(16));
        let region = frames::take(bytes * count as u64)?.region();
        let _ = BYTES.fetch_add(region.size, Ordering::Relaxed);
        // SAFETY: frames hold no Rust object and are mapped read-write; their tags do not matter to EL2.
        unsafe { crate::fill::zero(region, false) };
        let area = |index: usize| Self { start: region.start.0 + index as u64 * bytes, vector, fpcr: 0, fpsr: 0 };
        Some((0..count).map(area).collect())
    }

    /// Stores this CPU's registers. The vCPU's trap configuration must still be loaded.
    pub(crate) fn save(&mut self) {
        self.fpcr = read_sysreg!("s3_3_c4_c4_0");
        self.fpsr = read_sysreg!("s3_3_c4_c4_1");
        self.transfer(float_save_sve, float_save_simd);
    }

    /// Loads them back into this CPU, where the vCPU's trap configuration must be loaded. All of them, so that
    /// nothing of another vCPU's is left.
    pub(crate) fn load(&self) {
        self.transfer(float_load_sve, float_load_simd);
        write_sysreg!("s3_3_c4_c4_0", self.fpcr);
        write_sysreg!("s3_3_c4_c4_1", self.fpsr);
    }

    /// Moves the registers, as they are with SVE or without.
    ///
    /// # Panics
    /// If the vectors are not as long as the memory is for: our bug.
    #[inline(always)]
    fn transfer(&self, sve: unsafe extern "C" fn(u64), simd: unsafe extern "C" fn(u64)) {
        let Some(vector) = self.vector else {
            // SAFETY: 512 bytes of the area, which is mapped and ours alone; the registers are the guest's.
            return unsafe { simd(self.start) };
        };
        // SAFETY: FEAT_SVE is there, and does not trap.
        let now = unsafe { float_vector_bytes() };
        assert!(now == vector, "vectors of {now} bytes where {vector} were laid out");
        // SAFETY: as above, and the area is as long as vectors of this length need.
        unsafe { sve(self.start) }
    }
}
