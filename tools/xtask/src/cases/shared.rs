//! VMs that share CPUs: nothing of one is seen by another, each gets its share, and all lives go on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::qemu::Gic;
use assay_harness::{Builder, Machine};

use super::Case;

const LIMIT: Duration = Duration::from_secs(180);
/// The stretch of physical time in which work is counted, in milliseconds from the machine's reset.
const FROM: u32 = 60;
const TO: u32 = 860;

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = PROGRAMS
        .iter()
        .map(|program| {
            let name = format!("shared/{}{}", program.name, program.variant);
            Case::new(name, || run(program))
        })
        .collect();
    cases.extend([
        Case::new("shared/registers-are-each-vcpus-own", || registers("", |builder| builder)),
        Case::new("shared/registers-are-each-vcpus-own-mte", || registers("mte = true", |builder| builder)),
        Case::new("shared/registers-are-each-vcpus-own-gic2", || {
            registers("", |builder| builder.gic(Gic::V2).cpu("cortex-a72"))
        }),
        Case::new("shared/registers-are-each-vcpus-own-cortex-a53", || {
            registers("", |builder| builder.cpu("cortex-a53"))
        }),
        Case::new("shared/a-new-life-finds-nothing-of-another", new_lives),
        Case::new("shared/registers-begin-as-documented-in-each-life", || {
            sweeps("sched = \"shared\"", 1, Gic::V3, "max")
        }),
        Case::new("shared/registers-begin-as-documented-in-each-life-mte", || {
            sweeps("sched = \"shared\"\nmte = true", 1, Gic::V3, "max")
        }),
        Case::new("shared/registers-begin-as-documented-in-each-life-gic2", || {
            sweeps("sched = \"shared\"", 1, Gic::V2, "cortex-a72")
        }),
        Case::new("life/registers-begin-as-documented", || sweeps("", 4, Gic::V3, "max")),
        Case::new("life/registers-begin-as-documented-mte", || sweeps("mte = true", 4, Gic::V3, "max")),
        Case::new("life/registers-begin-as-documented-gic2", || sweeps("", 4, Gic::V2, "cortex-a72")),
        Case::new("life/registers-begin-as-documented-neoverse-n2", || sweeps("", 4, Gic::V3, "neoverse-n2")),
        Case::new("life/performance-monitors-begin-clear", monitors),
        Case::new("shared/three-vms-on-one-cpu-by-weight", || weights(1, &[100, 200, 400], &[1, 2, 4])),
        Case::new("shared/four-vms-on-two-cpus-by-weight", || weights(2, &[100, 200, 300, 300], &[1, 2, 3, 3])),
        Case::new("shared/a-budget-is-kept", budget),
        Case::new("shared/a-spinning-vm-does-not-delay-a-heartbeat", heartbeat),
        Case::new("shared/a-vm-that-resets-does-not-delay-a-heartbeat", resets),
        Case::new("shared/three-vcpus-move-between-two-cpus", migration),
        Case::new("shared/more-vcpus-than-a-gicv2-takes-are-refused", too_many),
        Case::new("shared/no-cpu-left-is-refused", no_cpu),
        Case::new("shared/a-hang-is-caught-by-the-watchdog", watchdog),
    ]);
    cases
}

/// A program of `guests/` with more vCPUs than there are CPUs.
struct Program {
    name: &'static str,
    variant: &'static str,
    vcpus: u32,
    cpus: u32,
    gic: Gic,
    cpu: &'static str,
    lines: &'static str,
}

const fn program(name: &'static str, vcpus: u32) -> Program {
    Program { name, variant: "", vcpus, cpus: 1, gic: Gic::V3, cpu: "max", lines: "" }
}

const PROGRAMS: &[Program] = &[
    program("hello", 1),
    program("vgic", 4),
    Program { variant: "-gic2", cpus: 2, gic: Gic::V2, cpu: "cortex-a72", ..program("vgic", 4) },
    program("psci", 4),
    Program { variant: "-64-vcpus", cpus: 4, ..program("psci", 64) },
    program("timer", 2),
    Program { variant: "-gic2", gic: Gic::V2, ..program("timer", 2) },
    program("traps", 2),
    program("memory", 2),
    Program { variant: "-cortex-a53", cpu: "cortex-a53", ..program("memory", 2) },
    program("hostile", 2),
    Program { lines: "mte = true\ncmdline = \"mte=expect-exposed\"", ..program("mte", 2) },
    Program { lines: "watchdog = true", ..program("watchdog", 1) },
];

fn run(program: &Program) -> Result<String> {
    let machine = Machine::builder()
        .manifest_text(&vm(program.name, program.name, program.vcpus, program.lines))
        .physical_cpus(program.cpus)
        .gic(program.gic)
        .cpu(program.cpu);
    // In real time QEMU may be late to say that a timer has fired, and a WFI ends before.
    let machine = if program.name == "timer" { machine.icount() } else { machine };
    let counts = machine.start()?.finish_ktap(program.name, LIMIT)?;
    ensure!(counts.passed > 0, "nothing was tested");
    Ok(format!("{} results", counts.passed))
}

/// A VM that shares CPUs, as the manifest has it.
fn vm(name: &str, kernel: &str, vcpus: u32, lines: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nsched = \"shared\"\ncpus = {vcpus}\nmemory = \"64M\"\nkernel = \"{kernel}\"\n{lines}\n"
    )
}

/// Waits until the VM has ended, as it should.
fn stopped(machine: &mut Machine, name: &str) -> Result<()> {
    let ends = |event: &assay_harness::Event| event.is_vm(name, "stopped") || event.is_vm(name, "crashed");
    let event = machine.expect_event("an end", LIMIT, ends)?;
    ensure!(event.is_vm(name, "stopped"), "{name} has crashed");
    Ok(())
}

/// Two VMs of two vCPUs each on one CPU, each with its own values in all registers.
fn registers(lines: &str, change: impl Fn(Builder) -> Builder) -> Result<String> {
    let one = |name: &str, seed: u32| {
        let lines = format!("{lines}\ncmdline = \"shared crowded rounds=12 seed={seed}\"");
        vm(name, "context", 2, &lines)
    };
    let text = one("one", 1) + &one("two", 2);
    let builder = Machine::builder().manifest_text(&text).physical_cpus(1).icount();
    let mut machine = change(builder).start()?;
    machine.wait(LIMIT)?;
    for name in ["one", "two"] {
        let report = assay_harness::Report::parse(&machine.output(name));
        let counts = report.check().map_err(anyhow::Error::msg).context(name)?;
        ensure!(counts.passed >= 5, "{name}: {} results", counts.passed);
    }
    Ok(String::new())
}

/// One VM begins anew and anew, on the CPU where another keeps all registers full.
fn new_lives() -> Result<String> {
    let text = vm("anew", "context", 1, "cmdline = \"shared reset rounds=1 seed=3\"")
        + &vm("full", "context", 1, "cmdline = \"shared rounds=100000\"");
    let mut machine = Machine::builder().manifest_text(&text).physical_cpus(1).start()?;
    for time in 1..=20 {
        machine.expect("anew", "context: again", LIMIT).with_context(|| format!("life {time}"))?;
    }
    let output = machine.output("anew");
    ensure!(!output.contains("not ok"), "{output}");
    ensure!(output.contains("ok 2 vector_registers_begin_clear"));
    Ok("20 lives".to_owned())
}

/// Two VMs leave every register that they can write with another value, and look at their next lives' beginnings.
fn sweeps(lines: &str, cpus: u32, gic: Gic, cpu: &str) -> Result<String> {
    let one = |name: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\ncpus = 2\nmemory = \"64M\"\nkernel = \"sweep\"\ncmdline = \"reset\"\n{lines}\n"
        )
    };
    let builder = Machine::builder().manifest_text(&(one("one") + &one("two"))).physical_cpus(cpus).gic(gic).cpu(cpu);
    let mut machine = builder.start()?;
    for name in ["one", "two"] {
        for life in 1..=3 {
            machine.expect(name, "sweep: again", LIMIT).with_context(|| format!("{name}, life {life}"))?;
        }
    }
    for name in ["one", "two"] {
        let output = machine.output(name);
        ensure!(!output.contains("not ok"), "{name}: {output}");
        ensure!(output.contains("ok 6 ") && !output.contains("SKIP"), "{name}: {output}");
    }
    Ok("3 lives".to_owned())
}

/// A VM leaves its performance monitors counting, with overflows that interrupt, and looks at its next lives' beginnings;
/// one without is refused them, and one that shares CPUs.
fn monitors() -> Result<String> {
    let text =
        "[[vm]]\nname = \"one\"\ncpus = 2\nmemory = \"64M\"\nkernel = \"pmu\"\ncmdline = \"reset\"\npmu = true\n";
    let mut machine = Machine::builder().manifest_text(text).start()?;
    for life in 1..=4 {
        machine.expect("one", "pmu: again", LIMIT).with_context(|| format!("life {life}"))?;
    }
    let output = machine.output("one");
    ensure!(!output.contains("not ok") && output.contains("ok 6 "), "{output}");
    Ok("4 lives".to_owned())
}

fn worker(name: &str, vcpus: u32, lines: &str) -> String {
    let lines = format!("cmdline = \"from={FROM} to={TO}\"\n{lines}");
    vm(name, "work", vcpus, &lines)
}

/// Runs workers to their end in virtual time.
fn work(text: &str, cpus: u32, names: &[&str]) -> Result<Machine> {
    let mut machine = Machine::builder().manifest_text(text).physical_cpus(cpus).icount().start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    for name in names {
        let stopped = events.iter().any(|event| event.is_vm(name, "stopped"));
        ensure!(stopped, "{name} has not stopped by itself");
    }
    Ok(machine)
}

/// What each vCPU of a worker says of itself: on one CPU its work, and on several, which QEMU with `-icount` runs
/// in turns of its own, its time without what was stolen.
fn worth(machine: &Machine, name: &str, cpus: u32) -> Result<Vec<f64>> {
    let key = if cpus == 1 { "done=" } else { "ran=" };
    let values = numbers(machine, name, key)?;
    ensure!(!values.is_empty(), "{name} says nothing of its work: {}", machine.log());
    Ok(values)
}

/// The numbers after each `key` in what a VM prints. Others may break its lines anywhere.
fn numbers(machine: &Machine, name: &str, key: &str) -> Result<Vec<f64>> {
    let output = machine.output(name).replace(['\r', '\n'], "");
    let rests = output.split(key).skip(1);
    rests
        .map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_digit());
            let digits = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            digits.parse().with_context(|| format!("{name}: {key}{rest}"))
        })
        .collect()
}

/// Checks that values relate to each other as `shares` do, within a part of each.
fn relate(values: &[f64], shares: &[u32], tolerance: f64) -> Result<String> {
    let all: f64 = values.iter().sum();
    let whole: u32 = shares.iter().sum();
    let mut note = Vec::new();
    for (value, share) in values.iter().zip(shares) {
        let ideal = f64::from(*share) / f64::from(whole);
        let got = value / all;
        note.push(format!("{:.1}% for {:.1}%", got * 100.0, ideal * 100.0));
        ensure!(
            (got - ideal).abs() <= ideal * tolerance,
            "{got:.3} of the work was done where {ideal:.3} is due: {values:?}"
        );
    }
    Ok(note.join(", "))
}

fn weights(cpus: u32, weights: &[u32], shares: &[u32]) -> Result<String> {
    let names: Vec<String> = (0..weights.len()).map(|index| format!("w{index}")).collect();
    let text: String =
        names.iter().zip(weights).map(|(name, weight)| worker(name, 1, &format!("weight = {weight}"))).collect();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let machine = work(&text, cpus, &list)?;
    let values =
        names.iter().map(|name| Ok(worth(&machine, name, cpus)?.iter().sum())).collect::<Result<Vec<f64>>>()?;
    // On one CPU it is exact but for slices; on several the scheduler lets VMs be some quanta apart.
    relate(&values, shares, if cpus == 1 { 0.1 } else { 0.2 })
}

fn budget() -> Result<String> {
    let text = worker("capped", 1, "budget = \"2ms\"\nperiod = \"10ms\"") + &worker("free", 1, "");
    let machine = work(&text, 1, &["capped", "free"])?;
    let values = [worth(&machine, "capped", 1)?[0], worth(&machine, "free", 1)?[0]];
    relate(&values, &[1, 4], 0.05)
}

fn heartbeat() -> Result<String> {
    let text = beating() + &worker("spins", 2, "");
    let machine = work(&text, 1, &["beats", "spins"])?;
    beats(&machine)
}

/// A neighbour that resets without end: clearing and loading its memory is its own time too.
fn resets() -> Result<String> {
    let text = beating() + &vm("anew", "reset", 1, "cmdline = \"reset\"");
    let mut machine = Machine::builder().manifest_text(&text).physical_cpus(1).icount().start()?;
    stopped(&mut machine, "beats")?;
    let events = machine.events();
    let resets = events.iter().filter(|event| event.is_vm("anew", "restarted")).count();
    ensure!(resets > 3, "the neighbour has reset {resets} times");
    Ok(format!("{}, {resets} resets beside", beats(&machine)?))
}

fn beating() -> String {
    let lines = format!("cmdline = \"heartbeat from={FROM} to={TO}\"");
    vm("beats", "work", 1, &lines)
}

/// Checks that a beat came each millisecond, and none late.
fn beats(machine: &Machine) -> Result<String> {
    let value = |key: &str| -> Result<f64> {
        let numbers = numbers(machine, "beats", key)?;
        numbers.first().copied().context("no beats were counted")
    };
    let (beats, latest) = (value("beats=")?, value("latest=")?);
    ensure!(latest < 1e6, "a beat came {latest} ns late");
    ensure!(beats >= f64::from(TO - FROM) * 0.9, "{beats} beats");
    Ok(format!("{beats} beats, the latest {latest} ns late"))
}

/// In real time: QEMU with `-icount` runs one CPU at a time and gives each long turns by its own clock, in step with
/// which two CPUs may give three vCPUs 39, 39 and 22 % for as long as one looks.
fn migration() -> Result<String> {
    let lines = format!("cmdline = \"from={FROM} to={}\"", FROM + 4000);
    let builder = Machine::builder().manifest_text(&vm("three", "work", 3, &lines));
    let mut machine = builder.physical_cpus(2).start()?;
    machine.wait(LIMIT)?;
    // If nothing moved, one would have a CPU and two the other: 1.5 and 0.75 of what is due.
    relate(&worth(&machine, "three", 2)?, &[1, 1, 1], 0.2)
}

fn too_many() -> Result<String> {
    let mut machine =
        Machine::builder().manifest_text(&vm("many", "hello", 9, "")).physical_cpus(2).gic(Gic::V2).start()?;
    refused(&mut machine, "many")
}

fn no_cpu() -> Result<String> {
    let own = "[[vm]]\nname = \"own\"\nmemory = \"64M\"\nkernel = \"hello\"\n";
    let mut machine = Machine::builder().manifest_text(&(vm("late", "hello", 1, "") + own)).physical_cpus(1).start()?;
    let note = refused(&mut machine, "late")?;
    stopped(&mut machine, "own")?;
    Ok(note)
}

fn refused(machine: &mut Machine, name: &str) -> Result<String> {
    let event = machine.expect_event("a refusal", LIMIT, |event| event.kind == "refused")?;
    ensure!(event.get("vm") == Some(name) && event.get("rule") == Some("V1"));
    Ok(String::new())
}

/// The watchdog's clock goes on while the CPU is another's; a restart is another life with all that belongs to it.
fn watchdog() -> Result<String> {
    let lines = "watchdog = true\non-crash = \"restart\"\ncmdline = \"crash=watchdog\"";
    let text = vm("crash", "crash", 1, lines) + &vm("spins", "work", 1, "cmdline = \"to=1000000\"");
    let mut machine = Machine::builder().manifest_text(&text).physical_cpus(1).start()?;
    for time in 1..=5 {
        machine
            .expect_event("restarted", LIMIT, |event| event.is_vm("crash", "restarted"))
            .with_context(|| format!("restart {time}"))?;
    }
    Ok("5 restarts".to_owned())
}
