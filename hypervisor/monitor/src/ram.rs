//! Taking RAM for a VM: pieces of powers of two, laid one after another in guest addresses.

use alloc::vec::Vec;

use assay_el2::frames::{self, Frames, Pool};
use assay_el2::guest_ram::GuestRam;
use assay_spec::addr::{Address, BLOCK_2M, Ipa, PAGE_SIZE, Pa, Region};

/// Takes `bytes` (whole pages) in as few pieces as there are, of falling size and none of less than 2 MiB that
/// need not be; `tagged`: of memory with tags only. All
/// or nothing.
pub(crate) fn take(bytes: u64, tagged: bool) -> Option<Vec<Frames>> {
    let mut pieces = Vec::new();
    let mut left = bytes;
    let mut piece = prev_power_of_two(left);
    while left != 0 {
        let taken = if tagged { frames::take_from(Pool::Tagged, piece) } else { frames::take(piece) };
        match taken {
            Some(frames) => {
                left -= piece;
                pieces.push(frames);
                piece = piece.min(prev_power_of_two(left));
            }
            None if piece > BLOCK_2M => piece /= 2,
            None => {
                pieces.into_iter().for_each(frames::give_back);
                return None;
            }
        }
    }
    Some(pieces)
}

/// Takes the memory that is in the machine where `place` is in the guest, in as few pieces as there are, by their addresses;
/// `tagged`: of memory with tags only. All or nothing.
pub(crate) fn take_at(place: Region<Ipa>, tagged: bool) -> Option<Vec<Frames>> {
    let mut pieces: Vec<Frames> = Vec::new();
    let (mut at, end) = (place.start.0, place.end().0);
    while at < end {
        let most = prev_power_of_two(end - at).min(at & at.wrapping_neg()).max(PAGE_SIZE);
        let sizes = core::iter::successors(Some(most), |size| Some(size / 2)).take_while(|size| *size >= PAGE_SIZE);
        let of = |bytes: u64| {
            let plain = if tagged { None } else { frames::take_at(Pool::Plain, Pa(at), bytes) };
            plain.or_else(|| frames::take_at(Pool::Tagged, Pa(at), bytes))
        };
        let Some(frames) = sizes.filter_map(of).next() else {
            pieces.into_iter().for_each(frames::give_back);
            return None;
        };
        at += frames.region().size;
        pieces.push(frames);
    }
    Some(pieces)
}

fn prev_power_of_two(bytes: u64) -> u64 {
    bytes.checked_ilog2().map_or(0, |bits| 1 << bits)
}

/// Lays pieces out from a guest address on. They come by falling size, so that each is as aligned as it is long
/// or as that address is, or are those of [`take_at`].
pub(crate) fn place(mut at: Ipa, pieces: Vec<Frames>) -> Vec<(Region<Ipa>, GuestRam)> {
    let mut placed = Vec::new();
    for frames in pieces {
        let size = frames.region().size;
        placed.push((Region { start: at, size }, GuestRam::new(frames)));
        at = Ipa::from_raw(at.0 + size);
    }
    placed
}
