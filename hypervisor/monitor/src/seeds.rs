//! Randomness for guests' trees: the CPU's, or what is stretched from firmware's seed.

use assay_el2::cpu;
use assay_plan::guest_tree::Seeds;
use spin::Mutex;

/// The state of SplitMix64, from firmware's seeds; `None` where there were none.
static STATE: Mutex<Option<u64>> = Mutex::new(None);

/// Takes firmware's seeds.
pub(crate) fn init(kaslr: Option<u64>, seed: &[u8]) {
    let words = seed.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
    let mixed = words.fold(kaslr.unwrap_or(0), |state, word| state.rotate_left(23) ^ word);
    *STATE.lock() = (mixed != 0).then(|| mixed ^ cpu::counter());
}

fn word() -> Option<u64> {
    if let Some(word) = cpu::random() {
        return Some(word);
    }
    let mut state = STATE.lock();
    let next = (*state)?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    *state = Some(next);
    let mixed = (next ^ next >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ mixed >> 31)
}

/// Returns seeds for one start of a guest, if there is any source.
pub(crate) fn next() -> Option<Seeds> {
    let kaslr = word()?;
    let mut rng = [0; 32];
    for chunk in rng.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word()?.to_le_bytes());
    }
    Some(Seeds { kaslr, rng })
}
