//! What U-Boot starts from: a FIT, a script, and the menu that its scan of disks knows.

use crc::{CRC_32_ISO_HDLC, Crc};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use sha2::{Digest as _, Sha256};

/// Where U-Boot looks for a script, and for a menu.
pub(crate) const SCRIPT: &str = "boot.scr";
pub(crate) const MENU: &str = "extlinux/extlinux.conf";
/// The FIT's name on the disk.
pub(crate) const FIT: &str = "assay.itb";

/// The FIT's configuration. Some builds of U-Boot look for one with the board's tree unless it is named.
const CHOICE: &str = "assay";

/// The files of a disk that U-Boot starts.
pub(crate) struct Start<'a> {
    pub(crate) image: &'a str,
    pub(crate) bundle: &'a str,
    /// Without one the board's is used: where firmware left it, or U-Boot's own.
    pub(crate) tree: Option<&'a str>,
}

/// Loads a file of the disk that the script is on.
fn load(to: &str, name: &str) -> String {
    format!("load ${{devtype}} ${{devnum}}:${{distro_bootpart}} ${{{to}}} /{name}\n")
}

/// The board's tree is where firmware left it, or U-Boot's own.
const OWN: &str = "setenv tree ${fdt_addr}\nif test -z \"${tree}\"; then setenv tree ${fdtcontroladdr}; fi\n";

impl Start<'_> {
    /// The menu of one.
    pub(crate) fn menu(&self) -> String {
        let tree = self.tree.map_or(String::new(), |tree| format!("    fdt /{tree}\n"));
        let (image, bundle) = (self.image, self.bundle);
        format!("default assay\ntimeout 10\n\nlabel assay\n    kernel /{image}\n    initrd /{bundle}\n{tree}")
    }

    /// The commands that start them as they are.
    pub(crate) fn commands(&self) -> String {
        let tree = self.tree.map_or(OWN.to_owned(), |tree| load("fdt_addr_r", tree) + "setenv tree ${fdt_addr_r}\n");
        // The bundle last: its size is what `filesize` is then.
        let (image, bundle) = (load("kernel_addr_r", self.image), load("ramdisk_addr_r", self.bundle));
        format!("{tree}{image}{bundle}booti ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{filesize}} ${{tree}}\n")
    }
}

/// The commands that start the FIT.
pub(crate) fn fit_commands() -> String {
    let fit = load("ramdisk_addr_r", FIT);
    format!("{OWN}{fit}bootm ${{ramdisk_addr_r}}#{CHOICE} ${{ramdisk_addr_r}}#{CHOICE} ${{tree}}\n")
}

/// Commands as a file that U-Boot sources: a legacy image of type script, whose data is a list of lengths that ends with 0,
/// and the text.
pub(crate) fn script(commands: &str) -> Vec<u8> {
    const MAGIC: u32 = 0x2705_1956;
    // Linux, arm64, script, not compressed.
    const KIND: [u8; 4] = [5, 22, 6, 0];
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let length = u32::try_from(commands.len()).unwrap_or(0);
    let data = [&length.to_be_bytes(), &[0; 4], commands.as_bytes()].concat();
    let size = u32::try_from(data.len()).unwrap_or(0);
    // Checksum of the header (of itself as 0), time, size, load address, entry, checksum of the data.
    let words = [MAGIC, 0, 0, size, 0, 0, crc.checksum(&data)];
    let mut header: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    header.extend(KIND);
    header.extend(b"Assay");
    header.resize(64, 0);
    let sum = crc.checksum(&header).to_be_bytes();
    header[4..8].copy_from_slice(&sum);
    header.extend(data);
    header
}

/// Image and bundle as one FIT, each with its SHA-256. U-Boot puts the image at `load`.
pub(crate) fn fit(image: &[u8], bundle: &[u8], load: u32) -> Vec<u8> {
    let kernel = part("kernel", "kernel", image).into_iter().chain([number("load", load), number("entry", load)]);
    let images = [hashed("kernel", kernel, image), hashed("ramdisk", part("ramdisk", "ramdisk", bundle), bundle)];
    let choice = [text("kernel", "kernel"), text("ramdisk", "ramdisk")];
    let choices = node("configurations", [text("default", CHOICE)], [node(CHOICE, choice, [])]);
    let mut tree = DeviceTree::new();
    // The same files make the same FIT: there is a time, because U-Boot's tools want one, and it is 0.
    tree.root = node(
        "",
        [text("description", "Assay and its VMs"), number("timestamp", 0)],
        [node("images", [], images), choices],
    );
    tree.to_dtb()
}

fn part(name: &str, kind: &str, data: &[u8]) -> Vec<DeviceTreeProperty> {
    let words = [("description", name), ("type", kind), ("arch", "arm64"), ("os", "linux"), ("compression", "none")];
    let words = words.into_iter().map(|(name, value)| text(name, value));
    words.chain([DeviceTreeProperty::new_unchecked("data", data.to_vec())]).collect()
}

fn hashed(name: &str, own: impl IntoIterator<Item = DeviceTreeProperty>, data: &[u8]) -> DeviceTreeNode {
    let sum = DeviceTreeProperty::new_unchecked("value", Sha256::digest(data).to_vec());
    node(name, own, [node("hash", [text("algo", "sha256"), sum], [])])
}

fn node(
    name: &str,
    own: impl IntoIterator<Item = DeviceTreeProperty>,
    below: impl IntoIterator<Item = DeviceTreeNode>,
) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    own.into_iter().for_each(|property| node.add_property(property));
    below.into_iter().for_each(|child| node.add_child(child));
    node
}

fn text(name: &str, value: &str) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

fn number(name: &str, value: u32) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

#[cfg(test)]
mod tests {
    use assay_plan::gate::Tree;

    use super::{Start, fit, script};

    #[test]
    fn a_script_is_a_legacy_image_with_two_checksums() {
        let file = script("echo hello\n");
        assert_eq!(file.len(), 64 + 8 + 11);
        assert_eq!(file[..4], [0x27, 5, 0x19, 0x56]);
        assert_eq!(file[12..16], 19u32.to_be_bytes());
        assert_eq!(file[28..32], [5, 22, 6, 0]);
        assert_eq!(file[64..72], [0, 0, 0, 11, 0, 0, 0, 0]);
        // zlib's CRC-32 of the header without its sum, and of what follows the header.
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        assert_eq!(file[24..28], crc.checksum(&file[64..]).to_be_bytes());
        let mut header = file[..64].to_vec();
        header[4..8].fill(0);
        assert_eq!(file[4..8], crc.checksum(&header).to_be_bytes());
    }

    #[test]
    fn a_tree_of_the_disk_is_named_and_its_size_is_not_taken_for_the_bundles() {
        let start = Start { image: "i", bundle: "b", tree: Some("t") };
        assert!(start.menu().ends_with("    kernel /i\n    initrd /b\n    fdt /t\n"));
        let commands = start.commands();
        let at = |word: &str| commands.find(word).unwrap();
        assert!(at("{fdt_addr_r} /t") < at("/b") && at("/b") < at("${filesize} ${tree}"));
        assert!(!commands.contains("fdtcontroladdr"));
    }

    #[test]
    fn a_fit_is_a_tree_with_both_files_and_their_hashes() {
        let blob = fit(b"image", b"abc", 0x4100_0000);
        let tree = Tree::new(&blob).unwrap();
        assert_eq!(tree.find("/images/kernel").unwrap().property("data"), Some(&b"image"[..]));
        assert_eq!(tree.find("/images/ramdisk").unwrap().property("data"), Some(&b"abc"[..]));
        assert_eq!(tree.find("/images/kernel").unwrap().u32("load").unwrap(), Some(0x4100_0000));
        let hash = tree.find("/images/ramdisk/hash").unwrap();
        assert_eq!(hash.str("algo").unwrap(), Some("sha256"));
        let sum = hash.property("value").unwrap();
        assert_eq!((sum.len(), &sum[..4]), (32, &[0xba, 0x78, 0x16, 0xbf][..]));
        let default = tree.find("/configurations").unwrap().str("default").unwrap().unwrap();
        let choice = tree.find(&format!("/configurations/{default}")).unwrap();
        assert_eq!(choice.str("kernel").unwrap(), Some("kernel"));
        assert_eq!(choice.str("ramdisk").unwrap(), Some("ramdisk"));
    }
}
