//! The kernel's own self-tests of arm64, built from Debian's source of the 6.12 kernel.
//!
//! Nothing of the host is used but tar and the C library: compiler, make and xz are Debian's too, unpacked beside
//! and removed again. Only the programs stay.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use assay_harness::cache::Cache;

use super::apt::{self, Apt, Suites};
use super::fill;
use super::tools::{Tools, run};
use crate::progress::Progress;

/// The release of the tested kernels: programs of an older release run on a newer host, not the reverse.
const RELEASE: Suites<'_> = Suites {
    architecture: "",
    archive: &["bookworm", "bookworm-backports"],
    security: &["bookworm-security"],
    prefer: None,
};
const SOURCE: &str = "linux-source-6.12";
/// Compiler and C library for the guest, the kernel's headers as new as the source, and what unpacks and builds.
const TOOLS: &[&str] =
    &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "linux-libc-dev/bookworm-backports", "make", "xz-utils"];
/// Folders of `tools/testing/selftests/arm64`.
const SUITES: &str = "mte pauth fp";

/// Fetches, builds and keeps the programs; gives their folder.
///
/// # Errors
/// A package can't be fetched, or the tests don't build.
pub(crate) fn install(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.selftests();
    fill(&folder, |work| {
        let private = Apt::open(&work.join("apt"), &RELEASE)?;
        let tools = Tools::fetch(&private, "compiler for arm64", TOOLS, &work.join("tools"))?;
        let archive = private.download(&format!("{SOURCE}/bookworm-backports"))?;
        let source = tools.unpack(&archive, work)?;
        private.discard()?;
        let built = work.join("built");
        fs::create_dir_all(&built)?;
        tools.build(&source, &built, work)?;
        Ok(built)
    })?;
    Ok(folder)
}

impl Tools {
    /// Unpacks `tools/` of the kernel's source, which is an archive inside of the package.
    fn unpack(&self, package: &Path, work: &Path) -> Result<PathBuf> {
        let progress = Progress::start("unpacking the kernel's tools");
        let tree = work.join("package");
        apt::unpack(package, &tree)?;
        let mut tar = self.command(Path::new("tar"));
        tar.arg("-x")
            .arg("-C")
            .arg(work)
            .arg("--use-compress-program")
            .arg(self.program("xz"))
            .arg("-f")
            .arg(tree.join(format!("usr/src/{SOURCE}.tar.xz")))
            .args(["--wildcards", "*/tools/*"]);
        run(&mut tar)?;
        progress.done("done");
        Ok(work.join(SOURCE))
    }

    /// The kernel's own makefiles, with a compiler that links everything statically.
    fn build(&self, source: &Path, to: &Path, work: &Path) -> Result<()> {
        let progress = Progress::start("building the self-tests");
        let compiler = work.join("cc");
        fs::write(
            &compiler,
            format!(
                "#!/bin/sh\nfor word in \"$@\"; do\n  case $word in -c | -shared) exec '{gcc}' \"$@\" ;; esac\ndone\n\
                 exec '{gcc}' -static -s \"$@\"\n",
                gcc = self.program("aarch64-linux-gnu-gcc").display()
            ),
        )?;
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
        let headers = self.root.join("usr/include");
        let mut make = self.command(&self.program("make"));
        make.arg("-C")
            .arg(source.join("tools/testing/selftests/arm64"))
            .args(["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"])
            .arg(format!("CC={}", compiler.display()))
            .arg(format!("ARM64_SUBTARGETS={SUITES}"))
            .arg(format!("OUTPUT={}", to.display()))
            .arg(format!("KHDR_INCLUDES=-isystem {0}/aarch64-linux-gnu -isystem {0}", headers.display()));
        run(&mut make)?;
        progress.done("done");
        Ok(())
    }
}
