//! Hands the linker script to the linker, for the bare-metal target only.

fn main() {
    // When it runs, not when it was compiled: a target folder may have been another checkout's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = std::path::Path::new(&package).join("../linker/assay.ld");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=src/entry.S");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{}", root.display());
    }
}
