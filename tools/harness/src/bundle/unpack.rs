//! Kernels that are packed as EL2 does not unpack them: zstd and xz, alone or inside an EFI zboot image.
//!
//! Gzip stays as it is: EL2 inflates it, and the bundle is smaller.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = b"\xfd7zXZ\0";
/// More than a member of the bundle can have.
const MOST: u64 = 1 << 32;

/// The kernel in a file; the file itself if it is not packed, or by gzip.
pub(super) fn kernel(file: Vec<u8>) -> Result<Vec<u8>> {
    let packed = zboot_payload(&file)?.unwrap_or(&file);
    let unpacked = if packed.starts_with(ZSTD) {
        zstd(packed).context("the kernel is packed by zstd, and the file is damaged or cut off")?
    } else if packed.starts_with(XZ) {
        xz(packed).context("the kernel is packed by xz, and the file is damaged or cut off")?
    } else {
        return Ok(file);
    };
    if unpacked.len() as u64 >= MOST {
        bail!("the kernel unpacks to 4 GiB or more");
    }
    Ok(unpacked)
}

/// What an EFI zboot image holds (Linux `drivers/firmware/efi/libstub/zboot-header.S`); `None` if the file is none.
fn zboot_payload(file: &[u8]) -> Result<Option<&[u8]>> {
    if !file.starts_with(b"MZ") || file.get(4..8) != Some(b"zimg") {
        return Ok(None);
    }
    let word = |at: usize| file.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let payload = word(8).zip(word(12)).and_then(|(start, size)| file.get(start..start.checked_add(size)?));
    payload.map(Some).context("the EFI zboot image is cut off")
}

/// All frames (RFC 8878), each checked by its sum if it has one; what follows them is no frame.
fn zstd(mut packed: &[u8]) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    while packed.starts_with(ZSTD) {
        let mut frame = StreamingDecoder::new(&mut packed)?;
        frame.by_ref().take(MOST).read_to_end(&mut unpacked)?;
        let decoder = frame.into_frame_decoder();
        if let Some(sum) =
            decoder.get_checksum_from_data().filter(|sum| Some(*sum) != decoder.get_calculated_checksum())
        {
            bail!("its sum is not {sum:#010x}");
        }
    }
    Ok(unpacked)
}

/// The first stream, which is all that packers of kernels write.
fn xz(packed: &[u8]) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    XzReader::new(packed, false).take(MOST).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::{ZSTD, kernel};

    /// One `Image`: by `zstd -22 --ultra`, and by `xz --check=crc32 --arm64 --lzma2`.
    const PACKED: [&[u8]; 2] = [include_bytes!("tests/image.zst"), include_bytes!("tests/image.xz")];
    const SIZE: usize = 100_003;

    fn zboot(payload: &[u8]) -> Vec<u8> {
        let mut file = b"MZ\0\0zimg".to_vec();
        file.extend([64, u32::try_from(payload.len()).unwrap()].iter().flat_map(|word| word.to_le_bytes()));
        file.resize(64, 0);
        file.extend(payload);
        file.extend([0xee; 16]);
        file
    }

    #[test]
    fn zstd_and_xz_are_unpacked_alone_or_in_zboot() {
        let images = PACKED.map(|packed| kernel(packed.to_vec()).unwrap());
        assert!(images[0] == images[1]);
        assert_eq!((images[0].len(), &images[0][56..60]), (SIZE, &b"ARM\x64"[..]));
        for packed in PACKED {
            assert!(kernel(zboot(packed)).unwrap() == images[0]);
            assert!(kernel([packed, &[0; 512]].concat()).unwrap() == images[0], "padding");
        }
        let twice = kernel([PACKED[0], PACKED[0]].concat()).unwrap();
        assert_eq!(twice.len(), 2 * SIZE, "frames go on where the first one's bytes end");
    }

    #[test]
    fn what_is_not_packed_or_by_gzip_stays() {
        for file in [&b"\x1f\x8b\x08rest"[..], b"\x7fELF", b"", b"MZ", b"MZ\0\0zimx"] {
            assert_eq!(kernel(file.to_vec()).unwrap(), file);
        }
        let file = zboot(b"\x1f\x8b\x08");
        assert_eq!(kernel(file.clone()).unwrap(), file);
    }

    #[test]
    fn a_damaged_or_cut_file_says_so() {
        for packed in PACKED {
            for cut in [1, 8, packed.len() / 2, packed.len() - 6] {
                let error = kernel(packed[..packed.len() - cut].to_vec()).unwrap_err();
                assert!(error.to_string().ends_with("damaged or cut off"), "{error}");
            }
            let mut damaged = packed.to_vec();
            damaged[packed.len() / 2] ^= 0x10;
            assert!(kernel(damaged).is_err());
        }
        assert!(kernel(ZSTD.to_vec()).is_err());
        let whole = zboot(PACKED[0]);
        let error = kernel(whole[..whole.len() - 17].to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "the EFI zboot image is cut off");
    }
}
