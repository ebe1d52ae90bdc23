//! What becomes of a VM's life as `model` decides it, what is said of it, and the machine's end when none is left.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::cpu;
use assay_model::life::{After, Crash, Ended, LoadFailure, Obeyed, Order, Phase, Stop};
use assay_model::loader::KernelError;
use assay_plan::policy::line::{Quoted, RefusedLine};
use assay_plan::refusal::Cause;
use assay_spec::cpu_id::VcpuId;

use super::{VMS, Vm, all, intx, virtio};
use crate::console::{self, say};
use crate::deferred;

impl Vm {
    /// Starts the VM's life: its memory is as it must be.
    pub(crate) fn started(&self) {
        let now = cpu::counter();
        let runs = self.live(|life| {
            let is_news = life.loaded(now);
            if is_news == Some(true) {
                say!("vm name={} event=started ticks={now}", self.name);
            }
            is_news.is_some()
        });
        if runs {
            self.kick_all();
        }
    }

    /// Asks all vCPUs to leave their guest, for this reason unless there is one already.
    pub(crate) fn stop(&self, stop: Stop) {
        if self.live(|life| life.end(stop)) {
            self.kick_all();
        }
    }

    /// Obeys the operator.
    ///
    /// # Errors
    /// The phase in which the order makes no sense.
    pub(crate) fn order(&self, order: Order) -> Result<(), Phase> {
        let obeyed = self.live(|life| {
            let obeyed = life.order(order);
            if obeyed == Ok(Obeyed::Stopped) {
                say!("vm name={} event=stopped cause=monitor", self.name);
            }
            obeyed
        })?;
        match obeyed {
            Obeyed::Stopping | Obeyed::Loading => self.kick_all(),
            Obeyed::Stopped => {}
        }
        Ok(())
    }

    /// Notes that the running CPU has let go of `vcpu`, which it may say again; the last one ends this life.
    pub(crate) fn parked(&self, vcpu: VcpuId) {
        if vcpu == VcpuId(0) {
            // It may have been loading.
            self.contents.lock().end();
        }
        let now = cpu::counter();
        let ended = self.live(|life| {
            let ended = life.parked(vcpu, now);
            if let Some(ended) = ended {
                intx::disconnect(self);
                virtio::end(self);
                self.report(ended);
            }
            ended
        });
        if ended.is_some() {
            virtio::tell_of_end(self);
        }
        match ended.map(|ended| ended.after) {
            None => {}
            Some(After::Restarted(_)) => self.kick_all(),
            Some(After::Waits { .. }) => deferred::ask(now),
            Some(After::Stopped(_) | After::Crashed | After::GivenUp { .. }) => {
                end_machine_if_idle();
            }
        }
    }

    fn report(&self, ended: Ended) {
        let name = &self.name;
        if let Some(crash) = ended.crash {
            say!("vm name={name} event=crashed cause={}", crash.name());
        }
        match ended.after {
            After::Stopped(cause) => say!("vm name={name} event=stopped cause={cause}"),
            After::Restarted(cause) => say!("vm name={name} event=restarted cause={cause}"),
            After::Waits { ms, restart } => {
                say!("vm name={name} event=waiting restart={restart} ms={ms}");
            }
            After::GivenUp { restarts } => say!(
                "error vm={name} reason=\"it has crashed after {restarts} restarts in a row\" remedy=\"see why, or raise max-restarts\""
            ),
            After::Crashed => {}
        }
    }

    /// The VM cannot be loaded. Before its first start that is a refusal, after it the end of a life; either way it
    /// is not tried again.
    pub(crate) fn failed_to_load(&self, error: KernelError) {
        // What the boot would refuse, whenever it shows.
        let is_refusal = matches!(error, KernelError::Unproved { .. } | KernelError::OnHole { .. });
        let region = match error {
            KernelError::Region(region) | KernelError::Unproved { region, .. } => self.regions.get(region),
            _ => None,
        };
        let region = region.map(String::as_str);
        // Before the operator can start it again.
        intx::again(self);
        let refuse = || {
            let (rule, remedy) = (error.rule(), error.remedy());
            say!("{}", RefusedLine { vm: &self.name, region, rule, reason: &error, remedy });
        };
        let failure = self.live(|life| {
            let failure = life.failed_to_load();
            match failure {
                LoadFailure::Refused => refuse(),
                LoadFailure::Crashed => {
                    match region {
                        _ if is_refusal => refuse(),
                        Some(region) => say!("error vm={} region={region} reason={}", self.name, Quoted(&error)),
                        None => say!("error vm={} reason={}", self.name, Quoted(&error)),
                    }
                    let cause = Crash::Load.name();
                    say!("vm name={} event=crashed cause={cause}", self.name);
                }
                LoadFailure::Stopping => {}
            }
            failure
        });
        if failure != LoadFailure::Stopping {
            end_machine_if_idle();
        }
    }

    /// Ends a wait that is over; returns until when one goes on.
    fn tick(&self, now: u64) -> Option<u64> {
        if self.phase() != Phase::Waiting {
            return None;
        }
        let (starts, until) = self.live(|life| {
            let cause = life.tick(now);
            if let Some(cause) = cause {
                say!("vm name={} event=restarted cause={cause}", self.name);
            }
            (cause.is_some(), life.waits_until())
        });
        if starts {
            self.kick_all();
        }
        until
    }
}

/// Starts VMs whose wait is over; returns when the next one is.
pub(crate) fn tick(now: u64) -> Option<u64> {
    all().iter().filter_map(|vm| vm.tick(now)).min()
}

/// Powers the machine off when no VM runs and none will, unless somebody is at the monitor. While it is not known
/// which VMs there are, nothing.
pub(crate) fn end_machine_if_idle() {
    let all_stopped = |vms: &Vec<&'static Vm>| vms.iter().all(|vm| vm.phase() == Phase::Stopped);
    if VMS.get().is_some_and(all_stopped) && !console::is_monitor_open() {
        console::flush();
        crate::power_off();
    }
}
