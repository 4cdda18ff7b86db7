//! Taking a machine's state, and giving it to a new one.

use std::time::{SystemTime, UNIX_EPOCH};

use kvm_bindings::{
    KVM_CLOCK_REALTIME, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data,
    kvm_irqchip,
};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::{Machine, kvm_memory};
use crate::cpu;
use crate::devices::event_loop::lock;
use crate::snapshot::{MachineState, PartError, Shape, Sorted, dirty, forget_all, sort, touched};

const IRQCHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

fn fail(operation: &'static str, what: &'static str) -> impl Fn(kvm_ioctls::Error) -> PartError {
    move |err| PartError::Kvm { operation, what, err }
}

fn unlisted(err: std::io::Error) -> PartError {
    PartError::File {
        operation: "list the pages of",
        path: "the guest's memory".into(),
        err,
    }
}

impl Machine {
    /// What must be the same where this machine goes on.
    pub fn shape(&self) -> Shape {
        Shape {
            vcpus: u8::try_from(self.vcpus.len()).unwrap_or(u8::MAX),
            memory_mib: crate::memory::size_mib(&self.memory),
            devices: self
                .transports
                .iter()
                .map(|transport| lock(&**transport.device()).name())
                .collect(),
        }
    }

    /// The state of the paused machine, without its memory's content. `parent` is the snapshot that the new one adds to.
    ///
    /// From the first call on, KVM and the devices note which pages are written.
    pub fn save(&self, id: [u8; 16], parent: Option<[u8; 16]>) -> Result<MachineState, PartError> {
        // The disks' files are a part of the snapshot that somebody else keeps: they must be worth keeping.
        for (_, disk) in &self.devices.disks {
            lock(disk).settle()?;
        }
        let kvm = |what| fail("read", what);
        // Clocks go on while the machine is held. They are read one after the other: kvm-clock, the wall clock, and the vCPUs' counters.
        let clock = self.vm.get_clock().map_err(kvm("clock"))?;
        let taken_at_ns = taken_at(&clock, wall_clock_ns());
        let mut vcpus = Vec::new();
        for (index, vcpu) in (0..).zip(&self.vcpus) {
            let state =
                cpu::save(&self.kvm, &vcpu.descriptor()).map_err(|err| PartError::Vcpu { index, err })?;
            vcpus.push(state);
        }
        let transports = self
            .transports
            .iter()
            .map(|transport| transport.save())
            .collect::<Result<_, _>>()?;
        let mut irqchips = IRQCHIPS.map(|chip_id| kvm_irqchip {
            chip_id,
            ..Default::default()
        });
        for chip in &mut irqchips {
            self.vm.get_irqchip(chip).map_err(kvm("interrupt controllers"))?;
        }
        // Last: devices that save themselves may still write into guest memory.
        let Sorted { data, zeroes } = if parent.is_some() {
            self.written()?
        } else {
            self.all()?
        };
        Ok(MachineState {
            id,
            parent,
            shape: self.shape(),
            runs: data,
            zeroes,
            irqchips,
            timer: self.vm.get_pit2().map_err(kvm("timer"))?,
            clock,
            taken_at_ns,
            vcpus,
            serial: self.devices.serial.save(),
            transports,
        })
    }

    /// Has KVM and the devices note which pages are written from now on, and forgets what was.
    ///
    /// # Errors
    /// What KVM says.
    pub fn note_writes(&self) -> Result<(), PartError> {
        kvm_memory::register(&self.vm, &self.memory, true).map_err(fail("log", "pages that vCPUs write"))?;
        for transport in &self.transports {
            lock(&**transport.device()).log_writes(true);
        }
        self.logs()?;
        forget_all(&self.memory);
        Ok(())
    }

    fn all(&self) -> Result<Sorted, PartError> {
        // What was noted before this moment is in this snapshot.
        self.note_writes()?;
        Ok(Sorted {
            data: touched(&self.memory, &self.page_map).map_err(unlisted)?,
            // Fresh memory holds nothing else.
            zeroes: Vec::new(),
        })
    }

    fn written(&self) -> Result<Sorted, PartError> {
        let written = dirty(&self.memory, &self.logs()?);
        sort(&self.memory, &written, &self.page_map).map_err(unlisted)
    }

    fn logs(&self) -> Result<Vec<Vec<u64>>, PartError> {
        let log = |(slot, length): (u32, u64)| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.vm
                .get_dirty_log(slot, length)
                .map_err(fail("read", "pages that vCPUs wrote"))
        };
        (0..)
            .zip(self.memory.iter().map(GuestMemoryRegion::len))
            .map(log)
            .collect()
    }

    /// Gives this machine, whose vCPUs have not run, the state of another. Its memory has been read. `now_ns` is the wall clock: the
    /// guest's clocks, kvm-clock and the time-stamp counters, are moved on by what it says has passed.
    pub fn restore(&self, state: &MachineState, now_ns: u64) -> Result<(), PartError> {
        let here = cpu::supported(&self.kvm)?;
        for (index, saved) in (0..).zip(&state.vcpus) {
            cpu::check(saved, &here).map_err(|err| PartError::Vcpu { index, err })?;
        }
        let passed_ns = passed(state.taken_at_ns, now_ns);
        let tsc_advance = cpu::tsc_advance(&state.vcpus, passed_ns);
        for ((index, vcpu), saved) in (0..).zip(&self.vcpus).zip(&state.vcpus) {
            cpu::restore(&vcpu.descriptor(), saved, tsc_advance)
                .map_err(|err| PartError::Vcpu { index, err })?;
        }
        let kvm = |what| fail("set", what);
        self.vm.set_pit2(&state.timer).map_err(kvm("timer"))?;
        self.vm
            .set_clock(&advancing(&state.clock, passed_ns))
            .map_err(kvm("clock"))?;
        for chip in &state.irqchips {
            self.vm.set_irqchip(chip).map_err(kvm("interrupt controllers"))?;
        }
        self.devices.serial.restore(&state.serial)?;
        for (transport, saved) in self.transports.iter().zip(&state.transports) {
            transport.restore(saved)?;
        }
        // For its watchdogs it was held, and held for long.
        self.tell_clock();
        Ok(())
    }
}

/// When a clock was read, in ns since 1970: as KVM says, which reads both at once, or else as the wall clock said right after.
fn taken_at(clock: &kvm_clock_data, now_ns: u64) -> u64 {
    if clock.flags & KVM_CLOCK_REALTIME == 0 {
        now_ns
    } else {
        clock.realtime
    }
}

/// What has passed on the wall, in ns. A wall clock that runs backwards moves nothing: the guest's time never does.
fn passed(taken_at_ns: u64, now_ns: u64) -> u64 {
    now_ns.saturating_sub(taken_at_ns)
}

/// The saved clock, moved on by the time that has passed on the wall since: the guest's clock is then right.
///
/// KVM does it itself where it noted the wall clock with the saved one, which it does where the host's time-stamp counter is stable.
///
/// Source: the kernel's `Documentation/virt/kvm/api.rst`, 4.30 `KVM_SET_CLOCK`.
fn advancing(saved: &kvm_clock_data, passed_ns: u64) -> kvm_clock_data {
    let flags = saved.flags & KVM_CLOCK_REALTIME;
    let passed_ns = if flags == 0 { passed_ns } else { 0 };
    kvm_clock_data {
        clock: saved.clock.saturating_add(passed_ns),
        realtime: saved.realtime,
        flags,
        ..Default::default()
    }
}

/// The wall clock, in ns since 1970.
pub fn wall_clock_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_moved_on_once_and_never_back() {
        let saved = |flags| kvm_clock_data {
            clock: 100,
            realtime: 7,
            flags,
            ..Default::default()
        };
        assert_eq!(advancing(&saved(0), passed(1000, 1500)).clock, 600);
        assert_eq!(advancing(&saved(0), passed(1000, 900)).clock, 100);
        assert_eq!(advancing(&saved(0), passed(0, u64::MAX)).clock, u64::MAX);
        let by_kvm = advancing(&saved(KVM_CLOCK_REALTIME | 2), passed(1000, 1500));
        assert_eq!(
            (by_kvm.clock, by_kvm.realtime, by_kvm.flags),
            (100, 7, KVM_CLOCK_REALTIME)
        );
    }

    #[test]
    fn both_clocks_move_on_from_the_moment_at_which_kvm_read_the_saved_one() {
        let read = |flags| kvm_clock_data {
            realtime: 70,
            flags,
            ..Default::default()
        };
        assert_eq!(taken_at(&read(KVM_CLOCK_REALTIME), 75), 70);
        assert_eq!(taken_at(&read(0), 75), 75);
    }
}
