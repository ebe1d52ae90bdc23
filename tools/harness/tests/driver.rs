//! The driver against a QEMU that boots nothing of ours: a stand-in that speaks like a console.
//!
//! A script plays QEMU, so these tests need nothing fetched; those with a real guest are in `cargo xtask test`.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use assay_harness::{Kind, Machine};

/// A folder with a "QEMU" that runs `script`, a "firmware" and a "kernel".
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str, script: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("assay-driver-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let qemu = folder.join("qemu");
        let version = "case $1 in --version) echo 'QEMU emulator version 10.0.0'; exit 0;; esac";
        std::fs::write(&qemu, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("assay.img"), "firmware").unwrap();
        std::fs::write(folder.join("kernel"), "kernel").unwrap();
        Self(folder)
    }

    fn start(&self, vms: &[&str]) -> Machine {
        let kernel = self.0.join("kernel");
        let vm =
            |name: &&str| format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"{}\"\n", kernel.display());
        let text: String = vms.iter().map(vm).collect();
        let builder = Machine::builder().manifest_text(&text).image(self.0.join("assay.img")).qemu(self.0.join("qemu"));
        builder.start().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_vm_that_starts_answers_and_powers_off_is_a_success() {
    let fake = Fake::new(
        "answers",
        "echo 'assay: vm name=a event=started'; printf '[a] name? '; read name; echo \"hello $name\"
         echo 'assay: vm name=a event=stopped cause=poweroff'",
    );
    let mut machine = fake.start(&["a"]);
    machine.expect("a", "name? ", SOON).unwrap();
    machine.send("a", "world\n").unwrap();
    assert!(machine.expect("a", "world", SOON).unwrap().contains("hello"));
    machine.expect_event("stopped", SOON, |event| event.is_vm("a", "stopped")).unwrap();
    machine.finish(SOON).unwrap();
}

#[test]
fn a_text_that_does_not_come_is_an_error_that_shows_the_console() {
    let fake = Fake::new("silent", "echo '[a] something else'; exec sleep 60");
    let mut machine = fake.start(&["a"]);
    machine.expect("a", "else", SOON).unwrap();
    let error = machine.expect("a", "never", Duration::from_millis(200)).unwrap_err().to_string();
    assert!(error.contains("never") && error.contains("something else"), "{error}");
}

#[test]
fn a_machine_that_hangs_is_ended_and_reported() {
    let fake = Fake::new("hangs", "trap '' TERM INT; echo '[a] stuck'; exec sleep 60");
    let start = Instant::now();
    let error = fake.start(&["a"]).finish(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("still ran"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_dropped_machine_leaves_no_process_behind() {
    let fake = Fake::new("dropped", "echo \"[a] pid $$ \"; exec sleep 60");
    let mut machine = fake.start(&["a"]);
    machine.expect("a", "pid ", SOON).unwrap();
    let pid = machine.expect("a", " ", SOON).unwrap();
    drop(machine);
    assert!(!PathBuf::from(format!("/proc/{}/cmdline", pid.trim())).exists());
}

#[test]
fn a_machine_outlives_the_thread_that_started_it() {
    let fake = Fake::new("moves", "printf '[a] ready'; read line; echo \" $line\"");
    let mut machine = std::thread::scope(|scope| scope.spawn(|| fake.start(&["a"])).join().unwrap());
    std::thread::sleep(Duration::from_millis(200));
    machine.send("a", "still here\n").unwrap();
    machine.expect("a", "still here", SOON).unwrap();
}

#[test]
fn refused_and_crashed_vms_are_failures_although_qemu_ends_well() {
    let fake = Fake::new("refused", "echo 'assay: refused vm=a region=- rule=V2 reason=\"no room\"'");
    assert!(fake.start(&["a"]).finish(SOON).unwrap_err().to_string().contains("no room"));
    let fake = Fake::new(
        "crashed",
        "echo 'assay: vm name=a event=started'; echo 'assay: vm name=a event=crashed cause=serror'",
    );
    assert!(fake.start(&["a"]).finish(SOON).unwrap_err().to_string().contains("serror"));
}

#[test]
fn a_qemu_that_fails_is_an_error_with_its_own_words() {
    let fake = Fake::new("fails", "echo 'no such board' >&2; exit 1");
    assert!(fake.start(&["a"]).finish(SOON).unwrap_err().to_string().contains("no such board"));
}

#[test]
fn errors_tell_their_kind() {
    let start = |name: &str, script: &str| {
        let fake = Fake::new(name, script);
        (fake.start(&["a"]), fake)
    };
    let soon = Duration::from_millis(200);
    let (mut machine, _fake) = start("kinds", "echo '[a] up'; exec sleep 60");
    machine.expect("a", "up", SOON).unwrap();
    assert_eq!(machine.expect("b", "up", soon).unwrap_err().kind(), Kind::Unusable);
    assert_eq!(machine.expect("a", "never", soon).unwrap_err().kind(), Kind::TimedOut);
    assert_eq!(machine.expect_event("none", soon, |_| true).unwrap_err().kind(), Kind::TimedOut);
    assert_eq!(machine.finish(soon).unwrap_err().kind(), Kind::TimedOut);
    let (mut machine, _fake) = start("ends", "echo 'assay: vm name=a event=crashed cause=serror'");
    assert_eq!(machine.expect("a", "never", SOON).unwrap_err().kind(), Kind::Ended);
    assert_eq!(machine.expect_event("none", SOON, |event| event.kind == "x").unwrap_err().kind(), Kind::Ended);
    assert_eq!(machine.finish(SOON).unwrap_err().kind(), Kind::Failed);
    let (machine, _fake) = start("bad", "echo 'no such board' >&2; exit 1");
    assert_eq!(machine.finish(SOON).unwrap_err().kind(), Kind::Qemu);
    let (machine, _fake) = start("sad", "echo '[a] KTAP version 1'; echo '[a] 1..1'; echo '[a] not ok 1'");
    assert_eq!(machine.finish_ktap("a", SOON).unwrap_err().kind(), Kind::Failed);
    assert_eq!(
        Machine::builder().manifest_text("[[vm]]").start().err().map(|error| error.kind()),
        Some(Kind::Unusable)
    );
}

#[test]
fn a_report_is_read_from_the_vms_own_lines() {
    let ends = "echo 'assay: vm name=a event=started'; echo 'assay: vm name=a event=stopped cause=poweroff'";
    let lines = "printf '[a] KTAP version 1\\n[b] not ok 1 other\\n[a] 1..1\\n[a] ok 1 fine\\n'";
    let fake = Fake::new("ktap", &format!("{lines}; {ends}; echo 'assay: vm name=b event=stopped'"));
    assert_eq!(fake.start(&["a", "b"]).finish_ktap("a", SOON).unwrap().passed, 1);
    let fake = Fake::new("notok", &format!("printf '[a] KTAP version 1\\n[a] 1..1\\n[a] not ok 1 sad # 3\\n'; {ends}"));
    assert!(fake.start(&["a"]).finish_ktap("a", SOON).unwrap_err().to_string().contains("not ok 1 sad: 3"));
}

#[test]
fn a_command_of_one_of_two_vms_gives_its_own_output_and_status_whatever_prompts_stand_there() {
    // Both have shown prompts; the switch of the input makes them show more.
    let monitor = |order: &str, more: &str| {
        let length = order.len() + 1;
        format!(
            "head -c 1 >/dev/null; printf '\\r\\n\\rassay> '; head -c {length} >/dev/null; \
             printf '{order}\\r\\n{more}'\n"
        )
    };
    let answer = "read -r line; printf '[b] %s\\r\\n' \"$line\"; sh -c \"$line\" | sed 's/^/[b] /'; printf '[b] # '\n";
    let script = format!(
        "printf '[a] # \\r\\n[b] # \\r\\n'\n{}{}{answer}{answer}exec sleep 60",
        monitor("console b", ""),
        monitor("console all", "[b] # \\r\\n[b] # ")
    );
    let fake = Fake::new("shell", &script);
    let mut machine = fake.start(&["a", "b"]);
    machine.expect("b", "# ", SOON).unwrap();
    assert_eq!(machine.shell("b", "echo 2", "# ", SOON).unwrap(), "2");
    let long = format!("test {} = x; (exit 3)", "y".repeat(200));
    let output = machine.run("b", &long, "# ", SOON).unwrap();
    assert_eq!((output.text.as_str(), output.status), ("", 3));
}

/// What ends the wait for words of `a` that never come, and how soon.
fn end_of_a_wait(name: &str, lines: &str) -> (String, Duration) {
    let fake = Fake::new(name, &format!("printf '{lines}'; exec sleep 60"));
    let mut machine = fake.start(&["a", "b"]);
    let start = Instant::now();
    let error = machine.expect("a", "never", Duration::from_secs(50)).unwrap_err().to_string();
    (error, start.elapsed())
}

#[test]
fn a_wait_for_a_vm_that_can_say_no_more_ends_at_once_with_its_last_words() {
    for (name, lines, why) in [
        ("crash", "[a] last words\\nassay: vm name=a event=crashed cause=serror\\n", "crashed: serror"),
        ("stop", "[a] last words\\nassay: vm name=a event=stopped cause=poweroff\\n", "stopped: poweroff"),
        ("refusal", "assay: refused vm=a region=- rule=V2 reason=\"last words\"\\n", "refused: last words"),
        ("panic", "[a] Kernel panic - not syncing: last words\\n[a] Call trace:\\n", "panicked"),
    ] {
        let (error, time) = end_of_a_wait(name, lines);
        assert!(error.contains(why) && error.contains("last words"), "{error}");
        assert!(time < Duration::from_secs(20), "{name}: {time:?}");
    }
    // A neighbour's console doesn't hide them.
    let many = "[b] chatter\\n".repeat(40);
    let (error, _) = end_of_a_wait("chatter", &format!("[a] Kernel panic - not syncing: mine\\n{many}"));
    assert!(error.contains("mine"), "{error}");
}

#[test]
fn a_wait_goes_on_over_another_vms_crash_and_a_restart() {
    let script = "echo 'assay: vm name=b event=crashed cause=serror'
         echo 'assay: vm name=a event=crashed cause=serror'; echo 'assay: vm name=a event=waiting restart=1 ms=900'
         sleep 1; echo 'assay: vm name=a event=restarted cause=serror'; echo '[a] here again'; exec sleep 60";
    let fake = Fake::new("again", script);
    fake.start(&["a", "b"]).expect("a", "again", SOON).unwrap();
    // An end that the caller has heard of: what is said after the panic is still found.
    let fake = Fake::new(
        "heard",
        "echo '[a] Kernel panic - not syncing: x'; sleep 1; echo 'assay: vm name=a event=restarted cause=reset'
         echo '[a] here again'; exec sleep 60",
    );
    let mut machine = fake.start(&["a", "b"]);
    machine.expect("a", "Kernel panic", SOON).unwrap();
    machine.expect("a", "again", SOON).unwrap();
}
