//! Archives as `cpio` and the tools write them, and archives that nobody should write.

use super::{Bundle, Fault, Member};
use proptest::prelude::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const FILE: u32 = 0o100_644;

fn entry(archive: &mut Vec<u8>, mode: u32, links: u32, name: &str, data: &[u8]) {
    let sizes = [data.len(), name.len() + 1].map(|size| u32::try_from(size).unwrap());
    let fields = [0, mode, 0, 0, links, 0, sizes[0], 0, 0, 0, 0, sizes[1], 0];
    archive.extend(b"070701");
    archive.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
    archive.extend(name.bytes().chain([0]));
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files {
        entry(&mut archive, FILE, 1, name, data);
    }
    entry(&mut archive, 0, 1, "TRAILER!!!", &[]);
    archive
}

fn fault(archive: &[u8]) -> Option<(usize, Option<String>, Fault)> {
    let error = Bundle::new(archive).err()?;
    Some((error.offset, error.member.map(String::from), error.fault))
}

#[test]
fn members_come_back_by_name_and_in_order() {
    let archive = archive(&[("vms.dtb", b"tree"), ("empty", b""), ("kernel", b"12345")]);
    let bundle = Bundle::new(&archive).unwrap();
    let names: Vec<_> = bundle.members().map(|Member { name, .. }| name).collect();
    assert_eq!(names, ["vms.dtb", "empty", "kernel"]);
    assert_eq!(bundle.member("kernel"), Some(&b"12345"[..]));
    assert_eq!(bundle.member("empty"), Some(&b""[..]));
    assert_eq!(bundle.member("TRAILER!!!"), None);
}

#[test]
fn an_archive_of_a_directory_reads_the_same() {
    let mut archive = Vec::new();
    entry(&mut archive, 0o040_755, 2, ".", &[]);
    entry(&mut archive, FILE, 1, "./vms.dtb", b"tree");
    entry(&mut archive, 0o040_755, 2, "./platform", &[]);
    entry(&mut archive, FILE, 1, "./platform/pi4.dtbo", b"facts");
    entry(&mut archive, 0, 1, "TRAILER!!!", &[]);
    let bundle = Bundle::new(&archive).unwrap();
    let names: Vec<_> = bundle.members().map(|member| member.name).collect();
    assert_eq!(names, ["vms.dtb", "platform/pi4.dtbo"]);
}

#[test]
fn padding_after_the_trailer_is_ignored() {
    let mut archive = archive(&[("a", b"1")]);
    archive.resize(4096, 0xff);
    assert_eq!(Bundle::new(&archive).unwrap().member("a"), Some(&b"1"[..]));
}

#[test]
fn errors_name_the_member_and_the_offset() {
    let good = archive(&[("one", b"1"), ("two", b"2")]);
    let second = HEADER_AND_NAME + 4;
    assert_eq!(fault(&[]), Some((0, None, Fault::Truncated)));
    assert_eq!(fault(&[b'0'; 200]), Some((0, None, Fault::Magic)));
    assert_eq!(fault(&good[..second + HEADER_AND_NAME]), Some((second, Some("two".to_string()), Fault::Truncated)));
    let mut bad = good.clone();
    bad[second + 14] = b'x';
    assert_eq!(fault(&bad), Some((second, None, Fault::Number)));
    assert_eq!(
        fault(&archive(&[("one", b"1"), ("one", b"2")])),
        Some((second, Some("one".to_string()), Fault::Duplicate))
    );
    let error = Bundle::new(&good[..second + HEADER_AND_NAME]).err().unwrap();
    assert_eq!(error.to_string(), "bundle member \"two\" at offset 0x78: the archive is cut off; load all of it");
}

/// Header, a name of three letters and its NUL, padded.
const HEADER_AND_NAME: usize = 116;

#[test]
fn links_devices_and_nameless_entries_are_refused() {
    for (mode, links, name, expected) in [
        (0o120_777, 1, "link", Fault::NotAFile),
        (0o020_600, 1, "tty", Fault::NotAFile),
        (FILE, 2, "hard", Fault::NotAFile),
        (FILE, 1, "", Fault::Name),
        (FILE, 1, "a\0b", Fault::Name),
    ] {
        let mut archive = Vec::new();
        entry(&mut archive, mode, links, name, &[]);
        entry(&mut archive, 0, 1, "TRAILER!!!", &[]);
        assert_eq!(fault(&archive).map(|(_, _, fault)| fault), Some(expected), "{name:?}");
    }
}

#[test]
fn a_size_near_the_end_of_the_address_space_is_truncation() {
    let mut bad = archive(&[("one", b"1")]);
    bad[6 + 6 * 8..6 + 7 * 8].copy_from_slice(b"FFFFFFFF");
    assert_eq!(fault(&bad), Some((0, Some("one".to_string()), Fault::Truncated)));
}

proptest! {
    #[test]
    fn any_files_come_back(files in prop::collection::btree_map("[a-z/]{1,9}", prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let list: Vec<_> = files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
        let archive = archive(&list);
        let bundle = Bundle::new(&archive).unwrap();
        let found: Vec<_> = bundle.members().map(|member| (member.name, member.data)).collect();
        prop_assert_eq!(found, list);
    }

    #[test]
    fn damaged_archives_are_read_or_refused_but_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = archive(&[("vms.dtb", b"tree"), ("kernel", &[7; 50])]);
        for (at, value) in damage {
            let at = at.index(archive.len());
            archive[at] = value;
        }
        archive.truncate(cut.index(archive.len()) + 1);
        if let Ok(bundle) = Bundle::new(&archive) {
            let size: usize = bundle.members().map(|member| member.data.len()).sum();
            prop_assert!(size <= archive.len());
        }
    }
}
