//! Stands in for a board's firmware where QEMU has none of it: what a disk's own files name is found there, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::image::disk::Volume;

/// What firmware has found.
#[derive(Debug)]
pub(in crate::cases) struct Found {
    pub(super) kernel: Vec<u8>,
    pub(super) ramdisk: Vec<u8>,
    pub(super) tree: Option<Vec<u8>>,
    /// The Pi's, of EL3.
    pub(super) stub: Option<Vec<u8>>,
}

impl Found {
    /// QEMU's arguments that load it, with the files in `folder`: its own loader does what `booti` does.
    pub(in crate::cases) fn arguments(&self, folder: &Path) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        let files = [("kernel", Some(&self.kernel)), ("initrd", Some(&self.ramdisk)), ("dtb", self.tree.as_ref())];
        for (name, bytes) in files {
            let Some(bytes) = bytes else { continue };
            let path = folder.join(name);
            std::fs::write(&path, bytes)?;
            arguments.extend([format!("-{name}"), path.display().to_string()]);
        }
        Ok(arguments)
    }
}

/// As U-Boot goes by a menu (its documentation, "Extlinux bootmethod"): the default entry of the file at this place.
pub(in crate::cases) fn by_menu(disk: &Path) -> Result<Found> {
    let volume = Volume::open(disk)?;
    let menu = String::from_utf8(volume.read("/extlinux/extlinux.conf")?)?;
    let lines = menu.lines().filter_map(|line| line.trim().split_once(' '));
    let default = lines.clone().find(|(word, _)| *word == "default").context("the menu has no default")?.1;
    let entry = lines.skip_while(|line| *line != ("label", default)).skip(1).take_while(|(word, _)| *word != "label");
    let mut entry: BTreeMap<&str, &str> = entry.collect();
    let mut file = |word| entry.remove(word).map(|name| volume.read(name)).transpose();
    let kernel = file("kernel")?.with_context(|| format!("{default} has no kernel"))?;
    let ramdisk = file("initrd")?.with_context(|| format!("{default} has no initrd"))?;
    let tree = file("fdt")?;
    ensure!(entry.is_empty(), "words that this does not know: {entry:?}");
    Ok(Found { kernel, ramdisk, tree, stub: None })
}

/// As a Raspberry Pi 4 goes by `config.txt` (its documentation): a 64-bit kernel, the serial port with a steady clock, and
/// the tree of this board's name.
pub(in crate::cases) fn by_config(disk: &Path) -> Result<Found> {
    let volume = Volume::open(disk)?;
    let config = String::from_utf8(volume.read("config.txt")?)?;
    let lines = config.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(['=', ' ']).with_context(|| format!("config.txt: {line}")));
    let mut config: BTreeMap<&str, &str> = pairs.collect::<Result<_>>()?;
    for word in ["arm_64bit", "enable_uart"] {
        ensure!(config.remove(word) == Some("1"), "config.txt has no {word}=1");
    }
    let kernel = volume.read(config.remove("kernel").unwrap_or("kernel8.img"))?;
    let ramdisk = config.remove("initramfs").and_then(|value| value.strip_suffix(" followkernel"));
    let ramdisk = volume.read(ramdisk.context("config.txt has no `initramfs FILE followkernel`")?)?;
    let stub = config.remove("armstub").map(|name| volume.read(name)).transpose()?;
    ensure!(config.is_empty(), "words that this does not know: {config:?}");
    Ok(Found { kernel, ramdisk, tree: Some(volume.read("bcm2711-rpi-4-b.dtb")?), stub })
}

#[cfg(test)]
mod tests {
    use super::{by_config, by_menu};
    use crate::image::disk::{Table, write};

    const MENU: &str =
        "default b\n\nlabel a\n    kernel /x\nlabel b\n    kernel /k\n    initrd /r\nlabel c\n    fdt /x\n";
    const CONFIG: &str = "# of the Pi\narm_64bit=1\nenable_uart=1\nkernel=k\ninitramfs r followkernel\n";

    #[test]
    fn what_a_disk_names_is_found_and_what_is_not_there_is_an_error() {
        let path = std::env::temp_dir().join(format!("assay-found-{}.img", std::process::id()));
        let files: [(&str, &[u8]); 3] = [("k", b"kernel"), ("r", b"ramdisk"), ("bcm2711-rpi-4-b.dtb", b"tree")];
        let with = |name, text: &str| {
            write(&path, Table::Mbr, &[&files[..], &[(name, text.as_bytes())]].concat()).unwrap();
        };
        with("extlinux/extlinux.conf", MENU);
        let found = by_menu(&path).unwrap();
        assert_eq!((&found.kernel[..], &found.ramdisk[..], found.tree), (&b"kernel"[..], &b"ramdisk"[..], None));
        assert_eq!(by_config(&path).unwrap_err().to_string(), "the disk has no config.txt");
        with("extlinux/extlinux.conf", &MENU.replace("/r", "/ramdisk"));
        assert_eq!(by_menu(&path).unwrap_err().to_string(), "the disk has no /ramdisk");
        with("config.txt", CONFIG);
        let found = by_config(&path).unwrap();
        assert_eq!(
            (&found.kernel[..], &found.ramdisk[..], &found.tree.unwrap()[..]),
            (&b"kernel"[..], &b"ramdisk"[..], &b"tree"[..])
        );
        with("config.txt", &CONFIG.replace("arm_64bit", "arm_64bits"));
        assert_eq!(by_config(&path).unwrap_err().to_string(), "config.txt has no arm_64bit=1");
        std::fs::remove_file(path).unwrap();
    }
}
