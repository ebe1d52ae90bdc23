//! Randomness for guests' trees: from firmware's seeds and its TRNG, and from the CPU.

use assay_el2::{cpu, firmware};
use assay_model::seeds::Generator;
use assay_plan::guest_tree::Seeds;
use assay_plan::platform::HostPlatform;
use spin::Mutex;

use crate::console::say;

static GENERATOR: Mutex<Generator> = Mutex::new(Generator::new());

/// Takes all that there is; says if it is too little for guests.
pub(crate) fn init(machine: &HostPlatform) {
    let mut generator = GENERATOR.lock();
    generator.add_secret(&machine.seed);
    generator.add_secret(&machine.kaslr_seed.unwrap_or(0).to_le_bytes());
    firmware::random().into_iter().flatten().for_each(|word| generator.add_secret(&word.to_le_bytes()));
    refresh(&mut generator);
    if !generator.is_strong() {
        let missing = if generator.is_seeded() { "no rng-seed" } else { "neither kaslr-seed nor rng-seed" };
        say!(
            "warning reason=\"fewer than 128 bits of randomness: the CPU has no FEAT_RNG, firmware no TRNG, and /chosen no rng-seed of 16 bytes; VMs get {missing}\""
        );
    }
}

/// Mixes in what the CPU has; firmware, which may take its time, is asked once a boot.
fn refresh(generator: &mut Generator) {
    generator.add(&cpu::counter().to_le_bytes());
    for word in core::iter::from_fn(cpu::random).take(4) {
        generator.add_secret(&word.to_le_bytes());
    }
}

/// Returns seeds for one start of one guest, if there is any source.
pub(crate) fn next() -> Option<Seeds> {
    let mut generator = GENERATOR.lock();
    refresh(&mut generator);
    if !generator.is_seeded() {
        return None;
    }
    let (kaslr, rng) = generator.draw();
    Some(Seeds { kaslr, rng: generator.is_strong().then_some(rng) })
}
