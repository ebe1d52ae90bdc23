//! Hands the linker script to the linker, for the bare-metal target only.

fn main() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../linker/assay.ld");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=src/entry.S");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{}", root.display());
    }
}
