//! What no machine starts, from a manifest and its files to the sentence.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use assay_harness::bundle;
use assay_harness::manifest::Manifest;

use super::check;

/// A board's facts: a region of 64 MiB, and one that ends above 2^48.
const OVERLAY: &str = r#"/dts-v1/;
/plugin/;
/ { compatible = "acme,board"; };
&{/reserved-memory} {
    gpu0-memory@4000000000 {
        compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map; assay,mte-capable;
    };
    far-memory@fffffff00000 { compatible = "assay,coherent-memory"; reg = <0xffff 0xfff00000 0 0x200000>; no-map; };
};
&{/soc/nobody} { x; };
"#;

/// An `Image` of 4 MiB that needs 16.
fn image() -> Vec<u8> {
    let mut image = vec![0; 4 << 20];
    image[16..24].copy_from_slice(&(16u64 << 20).to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// What is said of a VM with these lines, `memory` and `kernel` among them.
fn said(lines: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("assay-preflight-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("Image", &image());
    write("text", b"#!/bin/sh\n");
    fs::File::create(folder.join("ramdisk")).unwrap().set_len(48 << 20).unwrap();
    write("x86", &[&[0; 0x202], &b"HdrS"[..], &[0; 64]].concat());
    write("board.dtso", OVERLAY.as_bytes());
    let text = format!("platform = [\"board.dtso\"]\n[[vm]]\nname = \"a\"\n{lines}\n");
    let manifest = Manifest::parse(&text).unwrap();
    let archive = bundle::build(&manifest, &folder).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    check(&archive).map_or_else(|error| format!("{error:#}"), |()| String::new())
}

fn claim(region: &str, use_: &str, rest: &str) -> String {
    format!("memory = \"64M\"\nkernel = \"Image\"\n[[vm.coherent]]\nregion = \"{region}\"\nuse = \"{use_}\"\n{rest}\n")
}

#[test]
fn what_some_machine_starts_passes() {
    for lines in [
        "memory = \"64M\"\nkernel = \"Image\"",
        "memory = \"65M\"\nkernel = \"Image\"\ninitrd = \"ramdisk\"",
        "memory = \"1M\"\nkernel = \"text\"\nformat = \"raw\"",
        "memory = \"64M\"\nkernel = \"Image\"\nmte = true\ncpus = [63, 200]",
        "memory = \"65536G\"\nkernel = \"Image\"",
        &claim("gpu0-memory", "ram", "ipa = 0x80000000"),
        &claim("of-another-tree", "dax", "ipa = 0xffffc0000000"),
        &claim("/reserved-memory/of-another-tree@0", "dax", ""),
        &claim("gpu0-memory", "aperture", "device = \"0007:01:02.3\""),
        &claim("gpu0-memory", "aperture", "device = \"/pcie@10000000/gpu@1,0\""),
    ] {
        assert_eq!(said(lines), "", "{lines}");
    }
}

#[test]
fn a_kernel_that_is_none_and_files_that_do_not_fit_are_told() {
    for (lines, words) in [
        (
            "memory = \"64M\"\nkernel = \"text\"",
            "vm \"a\": the kernel is neither an arm64 Image (plain or gzip) nor ELF",
        ),
        ("memory = \"64M\"\nkernel = \"x86\"", "vm \"a\": the kernel is an x86 bzImage"),
        ("memory = \"12M\"\nkernel = \"Image\"", "16448 KiB of RAM are needed for kernel, ramdisk and device tree"),
        ("memory = \"64M\"\nkernel = \"Image\"\ninitrd = \"ramdisk\"", "raise the VM's memory"),
        ("memory = \"4K\"\nkernel = \"text\"\nformat = \"raw\"", "raise the VM's memory"),
    ] {
        let said = said(lines);
        assert!(said.contains(words), "{lines}: {said}");
    }
}

/// A VM that runs `text` from a flash, with something changed.
fn flashed(from: &str, to: &str) -> String {
    let lines = "memory = \"64M\"\nkernel = \"text\"\nformat = \"raw\"\nload = 0\ntree = \"start\"\n\
                 [[vm.flash]]\nname = \"code\"\nipa = 0\nsize = \"1M\"\n\
                 [[vm.flash]]\nname = \"vars\"\nipa = 0x4000000\nsize = \"64M\"\nfile = \"ramdisk\"\n";
    assert!(lines.contains(from), "{from}");
    said(&lines.replacen(from, to, 1))
}

#[test]
fn flashes_and_ram_that_lie_wrong_and_binaries_that_go_nowhere_are_told() {
    assert_eq!(flashed("load = 0", "load = 0"), "");
    assert_eq!(flashed("load = 0", "memory-ipa = 0x10000000\nload = 0xff000\nentry = 0xff008"), "");
    for (from, to, words) in [
        ("load = 0", "load = 0x100000", "load = 0x100000: the kernel's 0xa bytes there are not wholly in"),
        ("load = 0", "load = 0x40000000", "load = 0x40000000 puts the kernel over the device tree"),
        ("load = 0", "load = 0\nentry = 0x100c", "entry = 0x100c is not in the kernel's file"),
        (
            "load = 0",
            "load = 0\nmemory-ipa = 0x7000000",
            "memory-ipa = 0x7000000: the VM's RAM of 0x4000000 bytes overlaps",
        ),
        ("load = 0", "load = 0\nmemory-ipa = 0x80000", "of region code lies the VM's RAM"),
        ("ipa = 0\n", "ipa = 0x4080000\n", "at the ipa 0x4000000 of region vars lies region code"),
        ("ipa = 0x4000000", "ipa = 0x4001000", "at the ipa 0x4001000 of region vars lies the VM's devices"),
        (
            "ipa = 0\nsize = \"1M\"",
            "ipa = 0\nsize = \"1M\"\nfile = \"text\"",
            "load = 0x0 puts the kernel over the file of flash code",
        ),
    ] {
        let said = flashed(from, to);
        assert!(said.starts_with("vm \"a\": ") && said.contains(words), "{to}: {said}");
    }
}

#[test]
fn addresses_beyond_every_cpu_and_devices_that_are_none_are_told() {
    for (lines, words) in [
        (
            "memory = \"1048576G\"\nkernel = \"Image\"".to_owned(),
            "the VM needs 51 bits of guest addresses, the CPUs have 48",
        ),
        (claim("far-memory", "dax", ""), "region far-memory: the region ends beyond the 48 bits"),
        (claim("gpu0-memory", "ram", "ipa = 0x1000000000000"), "do not fit at ipa 0x1000000000000"),
        (claim("of-another-tree", "ram", "ipa = 0x1000000000000"), "do not fit at ipa 0x1000000000000"),
        (claim("gpu0-memory", "ram", "ipa = 0xffffffe00000"), "do not fit at ipa"),
        (claim("gpu0-memory", "ram", "ipa = 0x8000000"), "lies the VM's devices (0x8000000 to 0x10000000)"),
        (claim("of-another-tree", "ram", "ipa = 0x41000000"), "the VM's RAM"),
        (
            claim("gpu0-memory", "aperture", "device = \"gpu0\""),
            "the device gpu0 of region gpu0-memory is no PCI function",
        ),
        (claim("of-another-tree", "aperture", "device = \"00:20.0\""), "as SEGMENT:BB:DD.F in hexadecimal"),
        (
            "memory = \"64M\"\nkernel = \"Image\"\ndevices = [\"0000:00:20.0\"]".to_owned(),
            "the device 0000:00:20.0 is no PCI function, and no node of firmware",
        ),
        (
            "memory = \"64M\"\nkernel = \"Image\"\ndevices = [\"/a\", \"/b\", \"/c\", \"/d\", \"/e\", \"/f\", \"/g\", \"/h\", \"/i\"]"
                .to_owned(),
            "the device /i is one too many",
        ),
    ] {
        let said = said(&lines);
        assert!(said.contains(words), "{lines}: {said}");
    }
}

#[test]
fn each_vm_has_its_line() {
    let two = "memory = \"64M\"\nkernel = \"text\"\n[[vm]]\nname = \"b\"\nmemory = \"1M\"\nkernel = \"Image\"";
    let said = said(two);
    assert_eq!(said.lines().map(|line| &line[..7]).collect::<Vec<_>>(), ["vm \"a\":", "vm \"b\":"], "{said}");
}

#[test]
fn the_examples_pass_as_far_as_their_files_are_there() {
    let folder = assay_harness::cache::repository().unwrap().join("guests/manifests");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let manifest = Manifest::read(&path).unwrap();
        if let Ok(archive) = bundle::build(&manifest, path.parent().unwrap_or(Path::new(""))) {
            check(&archive).unwrap();
        }
    }
}
