//! `--gdb`: how a debugger is started that finds the firmware's symbols where QEMU puts it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use assay_harness::process;

/// Where QEMU's `virt` has its RAM.
const RAM: u64 = 0x4000_0000;
/// QEMU's own start code lies at RAM's start: an image whose header asks for a place in these bytes comes 2 MiB higher.
const START_CODE: u64 = 4096;
/// The alignment of an arm64 `Image`, less its `text_offset`.
const STEP: u64 = 2 << 20;
/// Where the `Image` header has `text_offset`.
const TEXT_OFFSET: std::ops::Range<usize> = 8..16;
/// The first function with a stack, on the boot CPU.
const FIRST: &str = "boot_main";

/// A guest's symbols, and how far they are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    file: PathBuf,
    offset: u64,
}

impl FromStr for Guest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, offset) = match text.rsplit_once('@') {
            Some((file, offset)) => (file, u64::from_str_radix(offset.trim_start_matches("0x"), 16)),
            None => (text, Ok(0)),
        };
        match offset {
            Ok(offset) if !file.is_empty() => Ok(Self { file: file.into(), offset }),
            _ => Err(format!("{text:?} is neither FILE nor FILE@OFFSET, such as vmlinux or hello@0x40000000")),
        }
    }
}

/// Adds the symbols of `file`, moved by `offset`.
fn add(file: &Path, offset: u64) -> String {
    // gdb reads this as its own words: a quote or a backslash is escaped.
    let file = file.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let moved = if offset == 0 { String::new() } else { format!(" -o {offset:#x}") };
    format!("add-symbol-file \"{file}\"{moved}")
}

/// The command line, for a shell. The ELF file is linked at 0 and the image relocates itself, so its symbols are moved;
/// what is broken at isn't written to, because the start rewrites memory.
///
/// # Errors
/// `image` has no arm64 header.
pub(super) fn line(elf: &Path, image: &[u8], guests: &[Guest]) -> Result<String> {
    let mut orders = vec!["set confirm off".to_owned(), add(elf, base(image)?)];
    orders.extend(guests.iter().map(|guest| add(&guest.file, guest.offset)));
    orders.extend(["target remote :1234".to_owned(), format!("hbreak {FIRST}"), "continue".to_owned()]);
    let words = orders.iter().flat_map(|order| ["-ex", order.as_str()]);
    Ok(process::shell_line(std::iter::once("gdb-multiarch").chain(words)))
}

/// Where QEMU's `-kernel` puts the image.
fn base(image: &[u8]) -> Result<u64> {
    ensure!(image.get(56..60) == Some(b"ARM\x64".as_slice()), "the firmware has no arm64 Image header");
    let offset: [u8; 8] = image.get(TEXT_OFFSET).and_then(|bytes| bytes.try_into().ok()).context("a short header")?;
    let offset = u64::from_le_bytes(offset);
    Ok(RAM + offset + if offset < START_CODE { STEP } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Guest, line};

    fn image(text_offset: u64) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[8..16].copy_from_slice(&text_offset.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    #[test]
    fn the_symbols_are_moved_to_where_qemu_loads_the_image() {
        assert_eq!(
            line(Path::new("/a/assay.elf"), &image(0), &[]).unwrap(),
            "gdb-multiarch -ex 'set confirm off' -ex 'add-symbol-file \"/a/assay.elf\" -o 0x40200000' \
             -ex 'target remote :1234' -ex 'hbreak boot_main' -ex continue"
        );
        assert!(line(Path::new("x"), &image(0x8_0000), &[]).unwrap().contains("-o 0x40080000"));
        assert!(line(Path::new("x"), b"no image", &[]).is_err());
    }

    #[test]
    fn a_path_may_have_blanks_and_quotes() {
        let line = line(Path::new("/it's a/x.elf"), &image(0), &[]).unwrap();
        assert!(line.contains("'add-symbol-file \"/it'\\''s a/x.elf\" -o 0x40200000'"), "{line}");
    }

    #[test]
    fn guests_symbols_come_too_where_the_guest_has_them() {
        let guests: Vec<Guest> = ["vmlinux", "a@b/hello@0x40000000"].map(|text| text.parse().unwrap()).into();
        let line = line(Path::new("x"), &image(0), &guests).unwrap();
        assert!(line.contains(
            "-ex 'add-symbol-file \"vmlinux\"' -ex 'add-symbol-file \"a@b/hello\" -o 0x40000000' -ex 'target"
        ));
        assert!(["", "@0x1", "a@x"].iter().all(|text| text.parse::<Guest>().is_err()));
    }
}
