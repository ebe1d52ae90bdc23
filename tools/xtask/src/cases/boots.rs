//! Boot paths other than QEMU's `-kernel`: firmware starts Assay from a disk, as a board's does.

mod armstub;
pub(super) mod card;
mod kept;
mod sbsa;
pub(super) mod start;
mod tfa;
mod uboot;
mod uefi;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;
use assay_harness::manifest::Manifest;
use assay_harness::{Builder, Machine};

use super::Case;
use crate::board::Board;
use crate::build::{self, Artifacts};
use crate::image::disk::Table;
use crate::image::{UBoot, write_disk};
use crate::setup::Extra;

pub(super) fn cases() -> Vec<Case> {
    let all = [uefi::cases(), kept::cases(), uboot::cases(), armstub::cases()].into_iter().flatten();
    all.map(|case| case.wants(Extra::Firmware)).chain(tfa::cases()).chain(sbsa::cases()).chain(start::cases()).collect()
}

const LIMIT: Duration = Duration::from_secs(240);

/// A VM that says something and powers off.
const HELLO: &str = "console = \"prefix\"\n[[vm]]\nname = \"hello\"\nmemory = \"64M\"\ncpus = 1\nkernel = \"hello\"\n";

/// Debian in a VM that begins beside another.
const TWO: &str = "console = \"prefix\"\n\
    [[vm]]\nname = \"hello\"\nmemory = \"64M\"\ncpus = 1\nkernel = \"hello\"\n\
    [[vm]]\nname = \"debian\"\nmemory = \"256M\"\ncpus = 2\nkernel = \"debian\"\ninitrd = \"busybox\"\ncmdline = \"console=ttyAMA0\"\n";

/// What a disk is made of, and the folder for it, which goes with this.
pub(super) struct Parts {
    pub(super) folder: PathBuf,
    image: Vec<u8>,
    bundle: Vec<u8>,
}

impl Parts {
    pub(super) fn new(manifest: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("assay-boots-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let image = std::fs::read(Artifacts::locate()?.image)?;
        let bundle = build::bundle(&Manifest::parse(manifest)?, Path::new(""))?;
        Ok(Self { folder, image, bundle })
    }

    /// QEMU's argument for a disk with these files.
    fn disk(&self, files: &[(&str, &[u8])]) -> Result<String> {
        let path = self.folder.join("disk.img");
        crate::image::disk::write(&path, Table::Gpt, files)?;
        Ok(drive(&path))
    }

    /// QEMU's argument for the disk that a user would flash.
    fn whole_disk(&self, way: UBoot) -> Result<String> {
        Ok(drive(&self.flashable(&Board::read("qemu-virt")?, way, &[])?))
    }

    /// The disk that a user would flash for a board, with what the user puts there.
    pub(super) fn flashable(&self, board: &Board, way: UBoot, further: &[(&str, &[u8])]) -> Result<PathBuf> {
        let path = self.folder.join("disk.img");
        write_disk(&path, board, way, &self.image, &self.bundle, further)?;
        Ok(path)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn drive(path: &Path) -> String {
    format!("if=virtio,format=raw,file={}", path.display())
}

/// The path of a file that the set-up fetched.
fn fetched(name: &str) -> Result<String> {
    let path = Cache::locate()?.root().join("guests/firmware").join(name);
    Ok(path.to_str().context("the cache's path is not UTF-8")?.to_owned())
}

/// Starts the VMs of [`TWO`], and sees Debian to its shell and both off.
fn to_debian_and_off(builder: Builder) -> Result<String> {
    let mut machine = builder.start()?;
    machine.expect("debian", ":/# ", LIMIT)?;
    machine.send("debian", "poweroff\r")?;
    machine.finish(LIMIT)?;
    Ok(String::new())
}

/// Waits until the machine has printed `text`, whoever did: firmware's lines are nobody's.
fn wait_for(machine: &Machine, text: &str) -> Result<()> {
    let start = Instant::now();
    while !machine.log().contains(text) {
        ensure!(start.elapsed() < LIMIT && !machine.ended(), "never came: {text}\n{}", machine.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
