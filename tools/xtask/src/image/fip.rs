//! The flash that Trusted Firmware-A starts from: BL1, and behind it a Firmware Image Package.
//!
//! The package is a table of contents and the images (Trusted Firmware-A's documentation, "Firmware Design"): a header of name,
//! serial number and flags; an entry of UUID, offset, size and flags for each image; one of zeros at the end.

/// Where BL1 for QEMU's `virt` looks for the package in the flash.
const PACKAGE: usize = 0x4_0000;
const NAME: u32 = 0xaa64_0001;
/// Any number that is not 0.
const SERIAL: u32 = 0x1234_5678;
const HEADER: usize = 16;
const ENTRY: usize = 40;
/// Images begin at a multiple of this.
const ALIGNMENT: usize = 0x1000;

/// The UUIDs of BL2, BL31 and BL33.
const KINDS: [[u8; 16]; 3] = [
    [0x5f, 0xf9, 0xec, 0x0b, 0x4d, 0x22, 0x3e, 0x4d, 0xa5, 0x44, 0xc3, 0x9d, 0x81, 0xc7, 0x3f, 0x0a],
    [0x47, 0xd4, 0x08, 0x6d, 0x4c, 0xfe, 0x98, 0x46, 0x9b, 0x95, 0x29, 0x50, 0xcb, 0xbd, 0x5a, 0x00],
    [0xd6, 0xd0, 0xee, 0xa7, 0xfc, 0xea, 0xd5, 0x4b, 0x97, 0x82, 0x99, 0x34, 0xf2, 0x34, 0xb6, 0xe4],
];

/// The flash with BL1, and with BL2, BL31 and BL33 in the package.
pub(crate) fn flash(bl1: &[u8], images: [&[u8]; KINDS.len()]) -> Vec<u8> {
    let mut flash = bl1.to_vec();
    flash.resize(PACKAGE, 0);
    flash.extend(package(images));
    flash
}

fn package(images: [&[u8]; KINDS.len()]) -> Vec<u8> {
    let mut package = [NAME.to_le_bytes(), SERIAL.to_le_bytes(), [0; 4], [0; 4]].concat();
    let mut place = (HEADER + (KINDS.len() + 1) * ENTRY).next_multiple_of(ALIGNMENT);
    for (kind, image) in KINDS.iter().zip(images) {
        entry(&mut package, kind, place, image.len());
        place = (place + image.len()).next_multiple_of(ALIGNMENT);
    }
    entry(&mut package, &[0; 16], place, 0);
    for image in images {
        package.resize(package.len().next_multiple_of(ALIGNMENT), 0);
        package.extend(image);
    }
    package.resize(place, 0);
    package
}

fn entry(package: &mut Vec<u8>, kind: &[u8; 16], place: usize, size: usize) {
    package.extend(kind);
    for number in [place as u64, size as u64, 0] {
        package.extend(number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{KINDS, PACKAGE, flash};

    #[test]
    fn each_entry_leads_to_its_image() {
        let images = [&[1_u8; 5][..], &[2; 0x1001], &[3; 7]];
        let flash = flash(&[9; 100], images);
        assert_eq!((&flash[..100], flash[100]), (&[9; 100][..], 0));
        let package = &flash[PACKAGE..];
        assert_eq!(package[..4], [1, 0, 0x64, 0xaa]);
        let number = |at: usize| {
            let bytes = package[at..at + 8].try_into().unwrap();
            usize::try_from(u64::from_le_bytes(bytes)).unwrap()
        };
        for (index, (kind, image)) in KINDS.iter().zip(images).enumerate() {
            let at = 16 + index * 40;
            assert_eq!(&package[at..at + 16], kind);
            let (place, size) = (number(at + 16), number(at + 24));
            assert_eq!(&package[place..place + size], image);
        }
        assert_eq!(package[16 + 3 * 40..][..16], [0; 16]);
        assert_eq!(number(16 + 3 * 40 + 16), package.len());
    }
}
