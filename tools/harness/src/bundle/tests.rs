use std::path::PathBuf;

use cpio::newc::Reader;

use super::build;
use crate::manifest::Manifest;

/// A folder of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("assay-bundle-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, data: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut rest = archive;
    let mut found = Vec::new();
    loop {
        let mut reader = Reader::new(rest).unwrap();
        if reader.entry().is_trailer() {
            return found;
        }
        let name = reader.entry().name().to_owned();
        assert_eq!(reader.entry().mtime(), 0, "the archive must not depend on the day");
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut data).unwrap();
        found.push((name, data));
        rest = reader.finish().unwrap();
    }
}

fn manifest(vms: &[(&str, &str, Option<&str>)]) -> Manifest {
    let text: String = vms
        .iter()
        .map(|(name, kernel, initrd)| {
            let initrd = initrd.map_or(String::new(), |initrd| format!("initrd = \"{initrd}\"\n"));
            format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"{kernel}\"\n{initrd}")
        })
        .collect();
    Manifest::parse(&text).unwrap()
}

#[test]
fn the_tree_comes_first_and_members_arrive_whole() {
    let scratch = Scratch::new("whole");
    scratch.file("a.img", b"kernel bytes");
    scratch.file("b.cpio", b"ramdisk");
    let archive = build(&manifest(&[("one", "a.img", Some("b.cpio"))]), &scratch.0).unwrap();
    let found = members(&archive);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["vms.dtb", "kernel-a.img", "initrd-b.cpio"]);
    assert_eq!(found[1].1, b"kernel bytes");
    assert_eq!(found[0].1[..4], 0xd00d_feedu32.to_be_bytes());
}

#[test]
fn a_kernel_of_two_vms_is_stored_once_and_two_files_of_one_name_twice() {
    let scratch = Scratch::new("shared");
    scratch.file("k", b"1");
    scratch.file("other/k", b"2");
    let vms = manifest(&[("a", "k", None), ("b", "k", None), ("c", "other/k", None)]);
    let names: Vec<String> = members(&build(&vms, &scratch.0).unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["vms.dtb", "kernel-k", "kernel-k-2"]);
}

#[test]
fn the_same_manifest_gives_the_same_bytes() {
    let scratch = Scratch::new("same");
    scratch.file("k", &[7; 100_000]);
    let vms = manifest(&[("a", "k", None)]);
    assert_eq!(build(&vms, &scratch.0).unwrap(), build(&vms, &scratch.0).unwrap());
}

#[test]
fn a_missing_kernel_names_the_vm_and_the_file() {
    let scratch = Scratch::new("missing");
    let complaint = format!("{:#}", build(&manifest(&[("web", "nowhere.img", None)]), &scratch.0).unwrap_err());
    assert!(complaint.contains("web") && complaint.contains("nowhere.img"), "{complaint}");
}

#[test]
fn overlays_come_after_the_vms_files_as_blobs_under_platform() {
    let scratch = Scratch::new("platform");
    scratch.file("k", b"1");
    scratch.file("board.dtso", b"/dts-v1/; /plugin/; / { compatible = \"acme,board\"; };");
    scratch.file("more.dtbo", b"as it is");
    let mut vms = manifest(&[("a", "k", None)]);
    vms.platform = vec!["board.dtso".into(), "more.dtbo".into()];
    let found = members(&build(&vms, &scratch.0).unwrap());
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["vms.dtb", "kernel-k", "platform/board.dtbo", "platform/more.dtbo"]);
    assert_eq!(found[2].1[..4], 0xd00d_feedu32.to_be_bytes());
    assert_eq!(found[3].1, b"as it is");
    vms.platform = vec!["nowhere.dtso".into()];
    let complaint = format!("{:#}", build(&vms, &scratch.0).unwrap_err());
    assert!(complaint.contains("nowhere.dtso"), "{complaint}");
}

#[test]
fn a_packed_kernel_is_stored_unpacked_unless_it_is_raw() {
    let scratch = Scratch::new("packed");
    let packed = include_bytes!("tests/image.zst");
    scratch.file("k.zst", packed);
    let mut manifest = manifest(&[("a", "k.zst", Some("k.zst")), ("b", "k.zst", None), ("c", "k.zst", None)]);
    manifest.vm[2].format = Some(crate::manifest::Format::Raw);
    let members = members(&build(&manifest, &scratch.0).unwrap());
    let sizes: Vec<_> = members[1..].iter().map(|(name, data)| (name.as_str(), data.len())).collect();
    let stored = packed.len();
    assert_eq!(sizes, [("kernel-k.zst", 100_003), ("initrd-k.zst", stored)], "the raw one is the ramdisk's file");
    scratch.file("k.zst", &packed[..stored - 1]);
    let error = format!("{:#}", build(&manifest, &scratch.0).unwrap_err());
    assert!(error.starts_with("vm \"a\": kernel: /") && error.contains("zstd"), "{error}");
}
