//! `setup`: what the other commands need on a fresh machine. Idempotent, asks nothing, needs no root.

mod apt;
mod guests;
mod host;
mod initramfs;
mod qemu;
mod rust;
mod sources;

use std::fs;

use anyhow::{Result, bail};
use assay_harness::cache::{Cache, KERNELS, RAMDISKS};
use assay_harness::qemu as found_qemu;

/// What the caller is going to do, so that only that is set up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) qemu: bool,
    pub(crate) guests: bool,
}

/// Everything.
pub(crate) const ALL: Needs = Needs {
    qemu: true,
    guests: true,
};

/// Sets up what is missing of `needs`; quiet when nothing is.
///
/// # Errors
/// Something can't be fetched; the message says how to give it instead.
pub(crate) fn ensure(needs: Needs) -> Result<()> {
    let cache = Cache::locate()?;
    rust::ensure_targets()?;
    let want_qemu = needs.qemu && !qemu_is_there(&cache);
    let want_guests = needs.guests && !missing_guests(&cache).is_empty();
    if !(want_qemu || want_guests) {
        return Ok(());
    }
    fs::create_dir_all(cache.root())?;
    // Two set-ups at once would unpack into one folder.
    let lock = fs::File::create(cache.root().join("lock"))?;
    lock.lock()?;
    if want_qemu && !qemu_is_there(&cache) {
        let program = qemu::install(&cache, false)?;
        eprintln!("QEMU: {}", program.display());
    }
    if want_guests && !missing_guests(&cache).is_empty() {
        let made = guests::install(&cache)?;
        eprintln!("guests: {} in {}", made.join(", "), cache.root().display());
    }
    Ok(())
}

/// Fetches Debian unstable's QEMU beside the tested one.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn fetch_next_qemu() -> Result<()> {
    let cache = Cache::locate()?;
    if cache.qemu(true).is_file() {
        println!("newer QEMU: {}", cache.qemu(true).display());
        return Ok(());
    }
    fs::create_dir_all(cache.root())?;
    let lock = fs::File::create(cache.root().join("lock"))?;
    lock.lock()?;
    println!("newer QEMU: {}", qemu::install(&cache, true)?.display());
    Ok(())
}

/// Reports what is there and what is missing, and changes nothing.
///
/// # Errors
/// Something is missing.
pub(crate) fn check() -> Result<()> {
    let cache = Cache::locate()?;
    let mut missing = 0;
    let mut line = |what: &str, found: Option<String>| {
        missing += usize::from(found.is_none());
        println!(
            "{what:34} {}",
            found.unwrap_or_else(|| "missing".to_owned())
        );
    };
    for target in rust::TARGETS {
        line(
            &format!("rust target {target}"),
            rust::has_target(target).then(|| "installed".to_owned()),
        );
    }
    let program = found_qemu::find(None, &cache).ok();
    line(
        "QEMU 8.2 or newer",
        program.map(|path| {
            let version = found_qemu::version(&path)
                .map_or(String::new(), |(major, minor)| format!("{major}.{minor} "));
            format!("{version}{}", path.display())
        }),
    );
    for name in KERNELS {
        let path = cache.kernel(name);
        line(
            &format!("kernel {name}"),
            path.is_file().then(|| path.display().to_string()),
        );
    }
    for name in RAMDISKS {
        let path = cache.ramdisk(name);
        line(
            &format!("ramdisk {name}"),
            path.is_file().then(|| path.display().to_string()),
        );
    }
    let next = cache.qemu(true);
    let next = if next.is_file() {
        next.display().to_string()
    } else {
        "not fetched (--qemu-next)".to_owned()
    };
    println!("{:34} {next}", "newer QEMU, optional");
    if missing > 0 {
        bail!("{missing} missing: `cargo xtask setup` fetches them");
    }
    Ok(())
}

fn qemu_is_there(cache: &Cache) -> bool {
    found_qemu::find(None, cache).is_ok()
}

fn missing_guests(cache: &Cache) -> Vec<&'static str> {
    let kernels = KERNELS.iter().filter(|name| !cache.kernel(name).is_file());
    let ramdisks = RAMDISKS
        .iter()
        .filter(|name| !cache.ramdisk(name).is_file());
    kernels.chain(ramdisks).copied().collect()
}
