//! A crate of somebody's own, outside the repository, that tests its guest with this library.
//!
//! It is made in a temporary folder, compiled once, and run in several surroundings; a script plays QEMU.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user's program: the kernel's name and the checkout to use, if any, are its arguments.
const PROGRAM: &str = r#"
use std::time::Duration;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let manifest = format!("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"{}\"\n", arguments[0]);
    let mut builder = assay_harness::Machine::builder().manifest_text(&manifest);
    if let Some(path) = arguments.get(1) {
        builder = builder.checkout(path);
    }
    let mut machine = builder.start()?;
    println!("{}", machine.expect("a", "is used", Duration::from_secs(20))?);
    Ok(())
}
"#;

/// Says which firmware it was given.
const QEMU: &str = r#"#!/bin/sh
case $1 in --version) echo 'QEMU emulator version 10.0.0'; exit 0;; esac
while [ $# -gt 0 ]; do [ "$1" = -kernel ] && echo "[a] $2 is used"; shift; done
"#;

/// The folder with the crate, a QEMU and checkouts; removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let place = Self(std::env::temp_dir().join(format!("assay-outside-{}", std::process::id())));
        let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = format!(
            "[package]\nname = \"mine\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [dependencies]\nassay-harness = {{ path = {harness:?} }}\n\n[workspace]\n"
        );
        place.write("mine/Cargo.toml", &manifest);
        place.write("mine/src/main.rs", PROGRAM);
        // The same versions, so that nothing is fetched and little is compiled.
        std::fs::copy(harness.join("../../Cargo.lock"), place.0.join("mine/Cargo.lock")).unwrap();
        let qemu = place.write("qemu", QEMU);
        std::fs::set_permissions(qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Something that looks like a checkout with the program `hello`, built or not.
    fn checkout(&self, name: &str, built: bool) -> PathBuf {
        for file in ["hypervisor/floors.toml", "tools/xtask/Cargo.toml", "guests/programs/src/bin/hello.rs"] {
            self.write(&format!("{name}/{file}"), "");
        }
        if built {
            self.write(&format!("{name}/target/assay/assay.img"), "firmware");
            self.write(&format!("{name}/guests/target/aarch64-unknown-none-softfloat/release/hello"), "hello");
        }
        self.0.join(name)
    }

    /// Compiles the crate into the target folder that this test was compiled into.
    fn compile(&self) -> PathBuf {
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["build", "--quiet", "--offline"])
            .current_dir(self.0.join("mine"))
            .env("CARGO_TARGET_DIR", &target);
        assert!(command.status().unwrap().success());
        let program = self.0.join("program");
        std::fs::rename(target.join("debug/mine"), &program).unwrap();
        program
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_crate_outside_the_repository_finds_the_checkout_that_it_names_or_was_built_last() {
    let place = Place::new();
    let program = place.compile();
    // The user has a target folder of its own, and an empty cache.
    let run = |arguments: &[&str], home: Option<&Path>| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(place.0.join("mine")).env_remove("ASSAY_HOME");
        command.env("CARGO_TARGET_DIR", place.0.join("mine/target")).env("ASSAY_CACHE", place.0.join("cache"));
        command.env("ASSAY_QEMU", place.0.join("qemu"));
        if let Some(home) = home {
            command.env("ASSAY_HOME", home);
        }
        command.output().unwrap()
    };
    let said = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let uses = |output: Output, checkout: &Path| {
        let image = checkout.join("target/assay/assay.img");
        assert!(
            output.status.success() && said(&output).contains(&format!("{} is used", image.display())),
            "{}",
            said(&output)
        );
    };
    let refuses = |output: Output, words: &[&str]| {
        let said = said(&output);
        assert!(!output.status.success() && words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
    };
    let [named, given, last] = ["named", "given", "last"].map(|name| place.checkout(name, true));

    uses(run(&["hello"], Some(&named)), &named);
    uses(run(&["hello", given.to_str().unwrap()], Some(&named)), &given);
    uses(run(&["hello", "../given"], None), &place.0.join("mine/../given"));
    // A kernel of its own, where its own folder is.
    place.write("mine/kernel", "kernel");
    uses(run(&["kernel"], Some(&named)), &named);

    // What is missing is named, and where it was looked for.
    let bare = place.checkout("bare", false);
    refuses(run(&["hello"], Some(&bare)), &["hello", "not built", "cargo xtask build", &bare.display().to_string()]);
    refuses(run(&["kernel"], Some(&bare)), &["firmware", "not built", &bare.display().to_string()]);
    refuses(run(&["hallo"], Some(&named)), &["hallo", "hello", "debian", &named.display().to_string()]);
    refuses(run(&["hello"], Some(&place.0)), &["ASSAY_HOME", "no checkout"]);
    refuses(run(&["hello", "nowhere"], None), &["Builder::checkout", "nowhere", "no checkout"]);

    // Nothing is named: the library's own checkout if that is built, else the one that the cache remembers.
    place.write("cache/v1/built", &format!("{}\n\n", last.display()));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let is_built = own.join("target/assay/assay.img").is_file();
    uses(run(&["kernel"], None), if is_built { own } else { &last });
}
