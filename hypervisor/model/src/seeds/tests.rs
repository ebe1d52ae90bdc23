use super::{Generator, KEY_BYTES, MIXING};
use std::collections::BTreeSet;
use std::vec::Vec;

/// One block of ChaCha20 as RFC 8439 (2.3) has it, with a 64-bit counter and a 64-bit stream as in the original.
fn block(key: &[u8], counter: u64, stream: u64) -> Vec<u8> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let low_and_high = |value: u64| [(value & 0xffff_ffff) as u32, (value >> 32) as u32];
    let mut first: Vec<u32> = b"expand 32-byte k".chunks(4).map(word).collect();
    first.extend(key.chunks(4).map(word));
    first.extend(low_and_high(counter).into_iter().chain(low_and_high(stream)));
    let mut state = first.clone();
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        for i in 0..4 {
            quarter(i, 4 + i, 8 + i, 12 + i);
        }
        for i in 0..4 {
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    state.iter().zip(first).flat_map(|(word, first)| word.wrapping_add(first).to_le_bytes()).collect()
}

fn seeded(bytes: &[u8]) -> Generator {
    let mut generator = Generator::new();
    generator.add_secret(bytes);
    generator
}

#[test]
fn it_is_chacha20() {
    // RFC 8439, A.1, test vector 1.
    let zeros = block(&[0; KEY_BYTES], 0, 0);
    assert_eq!(zeros[..8], [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
    let mut generator = seeded(&[7; 40]);
    // 32 bytes into a key of zeros, then 8.
    let mut key = block(&[7; KEY_BYTES], 0, MIXING | 32)[..KEY_BYTES].to_vec();
    key.iter_mut().take(8).for_each(|byte| *byte ^= 7);
    key = block(&key, 0, MIXING | 8)[..KEY_BYTES].to_vec();
    for draw in 0..3 {
        let stream = [block(&key, 0, draw), block(&key, 1, draw)].concat();
        let (number, bytes) = generator.draw();
        assert_eq!([&bytes[..], &number.to_le_bytes()].concat(), stream[KEY_BYTES..][..40]);
        key = stream[..KEY_BYTES].to_vec();
        assert_eq!(generator.key[..], key, "the key before is erased");
    }
}

#[test]
fn every_draw_is_another() {
    let mut generator = seeded(&[1; 32]);
    let draws: BTreeSet<_> = (0..1000).map(|_| generator.draw()).collect();
    assert_eq!(draws.len(), 1000);
    let again = seeded(&[1; 32]).draw();
    assert!(draws.contains(&again), "the same secret gives the same, which only tests know");
}

#[test]
fn every_bit_of_every_source_matters() {
    let secret = [0x5a; 72];
    let draw = seeded(&secret).draw();
    for bit in 0..secret.len() * 8 {
        let mut other = secret;
        other[bit / 8] ^= 1 << (bit % 8);
        let other = seeded(&other).draw();
        let differ: u32 = draw.1.iter().zip(other.1).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert!((80..176).contains(&differ) && draw.0 != other.0, "{differ} of 256 bits differ");
    }
    // Nothing is the same as zeros of it, and two sources do not cancel each other.
    let twice = |a: &[u8], b: &[u8]| {
        let mut generator = seeded(a);
        generator.add_secret(b);
        generator.draw()
    };
    let all = [twice(&secret, &[]), twice(&secret, &[0]), twice(&secret, &[0, 0]), twice(&secret, &secret)];
    assert_eq!(BTreeSet::from(all).len(), all.len());
    let mut timed = seeded(&secret);
    timed.add(&[1; 8]);
    assert_ne!(timed.draw(), draw);
}

#[test]
fn what_a_secret_is_worth_is_its_length() {
    let strengths = |generator: &Generator| (generator.is_seeded(), generator.is_strong());
    let mut generator = Generator::new();
    generator.add(&[1; 64]);
    generator.add_secret(&[0; 64]);
    generator.add_secret(&[]);
    assert_eq!(strengths(&generator), (false, false));
    generator.add_secret(&7u64.to_le_bytes());
    assert_eq!(strengths(&generator), (true, false), "`kaslr-seed` alone");
    generator.add_secret(&[3; 8]);
    assert_eq!(strengths(&generator), (true, true));
}
