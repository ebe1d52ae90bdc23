//! What kind of file it is.

use super::super::{Format, ImageHeader, KernelError, KernelKind, Raw, identify};
use super::{IMAGE_GZ, image};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// A gzip member around a deflate stream.
fn gzip(flags: u8, extra: &[u8], deflate: &[u8], size: u32) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 2, 3];
    file.extend(extra);
    file.extend(deflate);
    file.extend(0u32.to_le_bytes());
    file.extend(size.to_le_bytes());
    file
}

/// One stored block, the last.
fn stored(data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap();
    let mut block = vec![1];
    block.extend(size.to_le_bytes());
    block.extend((!size).to_le_bytes());
    block.extend(data);
    block
}

fn zboot(compression: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut file = b"MZ\0\0zimg".to_vec();
    file.extend(64u32.to_le_bytes());
    file.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.resize(24, 0);
    file.extend(compression);
    file.resize(64, 0);
    file.extend(payload);
    file.extend([0xee; 16]);
    file
}

#[test]
fn an_image_is_known_by_its_magic() {
    let file = image(0x8_0000, 0x10_0000, 0xa, 100);
    let header = ImageHeader { text_offset: 0x8_0000, image_size: 0x10_0000, flags: 0xa };
    assert_eq!(identify(&file, None), Ok(KernelKind::Image(header)));
}

#[test]
fn an_old_image_lies_at_the_old_offset() {
    let file = image(0, 0, 0, 100);
    let Ok(KernelKind::Image(header)) = identify(&file, None) else {
        panic!("not an Image");
    };
    assert_eq!((header.text_offset, header.image_size), (0x8_0000, 0));
}

#[test]
fn a_gzip_file_is_known_by_the_image_inside() {
    let kind = identify(IMAGE_GZ, None).unwrap();
    let KernelKind::GzipImage { header, members, room } = kind else {
        panic!("{kind:?}");
    };
    assert_eq!((header.text_offset, header.image_size), (0, 0x2_0000));
    assert_eq!(members, 0..IMAGE_GZ.len());
    assert_eq!(room, 0x2_0000, "the header's word, which needs no inflating");
}

#[test]
fn every_optional_field_of_a_gzip_header_is_skipped() {
    let file = image(0, 0x1000, 0, 64);
    let extra = b"\x03\0abcname\0comment\0hc";
    let whole = gzip(0x1e, extra, &stored(&file), 64);
    let kind = identify(&whole, None).unwrap();
    assert!(matches!(&kind, KernelKind::GzipImage { room: 0x1000, .. }), "{kind:?}");
    let reserved = gzip(0x20, &[], &stored(&file), 64);
    assert_eq!(identify(&reserved, None), Err(KernelError::Gzip));
}

#[test]
fn a_gzip_file_of_something_else_says_so() {
    let text = gzip(0, &[], &stored(&[b'x'; 100]), 100);
    assert_eq!(identify(&text, None), Err(KernelError::GzipOfOther));
    let short = gzip(0, &[], &stored(b"x"), 1);
    assert_eq!(identify(&short, None), Err(KernelError::GzipOfOther));
    assert_eq!(identify(&IMAGE_GZ[..40], None), Err(KernelError::Gzip));
    assert_eq!(identify(&IMAGE_GZ[..12], None), Err(KernelError::Gzip));
}

#[test]
fn an_image_without_a_size_is_measured_by_inflating() {
    let file = image(0, 0, 0, 300);
    let (first, second) = file.split_at(40);
    let members = [gzip(0, &[], &stored(first), 40), gzip(0, &[], &stored(second), 260)].concat();
    for rest in [&b""[..], &[0; 512], b"rubbish"] {
        let kind = identify(&[&members, rest].concat(), None).unwrap();
        assert!(matches!(&kind, KernelKind::GzipImage { room: 300, .. }), "{kind:?}");
    }
    let cut = &members[..members.len() - 1];
    assert_eq!(identify(cut, None), Err(KernelError::Gzip));
    let wrong = gzip(0, &[], &stored(&file), 301);
    assert_eq!(identify(&wrong, None), Err(KernelError::GzipSum));
}

#[test]
fn what_another_packer_wrote_is_named_and_never_called_raw() {
    let packers: [(&[u8], &str); 5] = [
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"BZh91AY", "bzip2"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x1f\x8b\x07", "gzip with an unknown method"),
    ];
    for (file, name) in packers {
        assert_eq!(identify(file, None), Err(KernelError::Packed(name)));
        assert_eq!(
            identify(file, Some(Format::Raw(Raw::default()))),
            Ok(KernelKind::Raw(Raw::default())),
            "whoever says so may"
        );
    }
    for error in [KernelError::Packed("xz"), KernelError::GzipOfOther, KernelError::Zboot, KernelError::Gzip] {
        assert!(!error.remedy().contains("raw"), "{error}");
    }
}

#[test]
fn an_efi_zboot_image_is_unwrapped_if_it_is_gzip() {
    let file = zboot(b"gzip", IMAGE_GZ);
    let kind = identify(&file, None).unwrap();
    let is_right = matches!(&kind, KernelKind::GzipImage { members, .. } if *members == (64..64 + IMAGE_GZ.len()));
    assert!(is_right, "{kind:?}");
    assert_eq!(identify(&zboot(b"zstd", IMAGE_GZ), None), Err(KernelError::Zboot));
    assert_eq!(identify(&zboot(b"gzip", b"no gzip"), None), Err(KernelError::Zboot));
    let cut = &file[..file.len() - 17];
    assert_eq!(identify(cut, None), Err(KernelError::Zboot));
}

#[test]
fn anything_is_raw_if_the_manifest_says_so() {
    assert_eq!(identify(b"\xd5\x03\x20\x1f", Some(Format::Raw(Raw::default()))), Ok(KernelKind::Raw(Raw::default())));
    assert_eq!(identify(IMAGE_GZ, Some(Format::Raw(Raw::default()))), Ok(KernelKind::Raw(Raw::default())));
    assert_eq!(identify(b"", Some(Format::Raw(Raw::default()))), Err(KernelError::Empty));
}

#[test]
fn what_cannot_be_started_is_refused_with_a_reason() {
    assert_eq!(identify(b"", None), Err(KernelError::Empty));
    assert_eq!(identify(b"#!/bin/sh", None), Err(KernelError::Unknown));
    let big_endian = image(0, 0x1000, 1, 64);
    assert_eq!(identify(&big_endian, None), Err(KernelError::BigEndian));
    for (text_offset, image_size) in [(0x20_0000, 1), (u64::MAX, 1), (4, 1), (0, u64::MAX)] {
        let file = image(text_offset, image_size, 0, 64);
        assert_eq!(identify(&file, None), Err(KernelError::ImageHeader));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4) {
        let magic: &[u8] = [&b"\x1f\x8b\x08"[..], b"\x7fELF\x02\x01\x01", b"MZ\0\0zimg", b""][usize::try_from(kind).unwrap()];
        bytes.splice(0..0, magic.iter().copied());
        let _ = identify(&bytes, None);
    }
}
