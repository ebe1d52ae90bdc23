//! Gives every guest the one linker script.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-T{folder}/guest.ld");
    println!("cargo:rerun-if-changed=guest.ld");
}
