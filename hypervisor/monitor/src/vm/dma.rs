//! What devices of VMs tried to access and must not: lines of the console, so many a second.

use core::fmt;

use assay_el2::{cpu, lock};
use assay_model::rate::Rate;
use assay_plan::pci::Address;
use assay_spec::addr::{Ipa, PAGE_SIZE};
use assay_spec::smmu::event::Event;

use crate::console::say;
use crate::{deferred, smmu};

/// Lines a second, of all VMs.
const LINES: u32 = 10;

/// What a device did to a page, word for word: one line.
#[derive(PartialEq)]
struct What {
    smmu: usize,
    stream: u32,
    page: Option<u64>,
    is_write: bool,
}

/// What has been said: how often, and what last.
struct Said {
    rate: Rate,
    last: Option<What>,
}

static SAID: lock::Mutex<Said> = lock::Mutex::new(Said { rate: Rate::new(LINES), last: None });

/// Says what has been stopped since last time; returns when to look again, if there was something. Until there is nothing
/// more, no interrupt tells of it: a device cannot make EL2 busy.
pub(crate) fn tick(now: u64) -> Option<u64> {
    if !smmu::has_events() {
        return None;
    }
    let second = cpu::counter_frequency();
    let mut said = SAID.lock();
    let Said { rate, last } = &mut *said;
    let mut count = 0u32;
    smmu::events(|index, event, is_after_loss| {
        count += 1;
        rate.missed(u64::from(is_after_loss));
        let access = event.access;
        let what = What {
            smmu: index,
            stream: event.stream,
            page: access.map(|access| access.address.0 / PAGE_SIZE),
            is_write: access.is_some_and(|access| access.is_write),
        };
        if last.as_ref() == Some(&what) {
            rate.missed(1);
        } else if rate.allows(now, second) {
            report(index, event);
            *last = Some(what);
        }
    });
    if let Some(held) = rate.held(now, second) {
        say!("warning reason=\"{held} or more accesses of devices were stopped that no line is about\"");
    } else if count == 0 && !rate.holds() {
        *last = None;
        smmu::listen();
        return None;
    }
    Some(now.wrapping_add(deferred::ticks(10)))
}

/// A device, as lines name it.
enum Owner {
    Function(Address),
    Platform(&'static str),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(address) => write!(f, "function={address}"),
            Self::Platform(path) => write!(f, "node={path}"),
        }
    }
}

/// Finds the device of a VM that has a stream.
fn owner(vm: &'static super::Vm, smmu: usize, stream: u32) -> Option<Owner> {
    let function = vm.functions.iter().find(|one| one.has_stream(smmu, stream));
    let device = || vm.platform.iter().find(|one| one.has_stream(smmu, stream));
    let function = function.map(|function| Owner::Function(function.address));
    function.or_else(|| device().map(|device| Owner::Platform(&device.path)))
}

/// Says what the SMMU with this index has stopped.
fn report(index: usize, event: &Event) {
    let owner = super::all().iter().find_map(|vm| Some((vm, owner(vm, index, event.stream)?)));
    let Event { kind, stream, access } = event;
    let (direction, address) = match access {
        Some(access) if access.is_write => ("write", access.address),
        Some(access) => ("read", access.address),
        None => ("-", Ipa(0)),
    };
    match owner {
        Some((vm, device)) => {
            say!("dma vm={} {device} stream={stream:#x} access={direction} ipa={address} fault={kind}", vm.name);
        }
        None => say!("dma vm=- function=- stream={stream:#x} access={direction} ipa={address} fault={kind}"),
    }
}
