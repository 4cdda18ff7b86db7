//! A vCPU and its thread.
//!
//! ```text
//!            pause                  parked
//! running ----------> pausing ------------------> paused
//!    ^                                              |
//!    +---------------------- resume ----------------+
//! ```
//!
//! Whoever pauses sends a signal until the vCPU has parked: one signal could arrive in the moment between the look at what is wanted and
//! the entry into the guest, and be lost. A parked vCPU has finished what it was at, and has let go of its descriptor, which the driver may
//! then read and write.

use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvm_ioctls::{VcpuExit, VcpuFd};
use vm_device::bus::{MmioAddress, PioAddress};
use vm_device::device_manager::{IoManager, MmioManager as _, PioManager as _};
use vmm_sys_util::signal::{Killable as _, SIGRTMIN, register_signal_handler};

use crate::driver::Event;

/// The signal that takes a vCPU out of the guest.
pub(crate) fn kick() -> std::ffi::c_int {
    SIGRTMIN()
}

/// How long a vCPU gets to leave the guest before it is kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(1);

/// The stack of a vCPU's thread, in bytes: register accesses only.
const STACK: usize = 256 << 10;

/// Why a vCPU stopped for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VcpuEnd {
    /// The guest asked for a reset, or fell into a triple fault, which is one.
    Reset,
    /// KVM cannot go on.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Run,
    Pause,
}

#[derive(Debug)]
struct Progress {
    wanted: Wanted,
    parked: bool,
}

struct Control {
    progress: Mutex<Progress>,
    changed: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A vCPU with its thread, which ends with the process.
pub struct Vcpu {
    descriptor: Arc<Mutex<VcpuFd>>,
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

impl Vcpu {
    /// Makes the thread, with the vCPU parked. `before` runs first in it: the thread's filter of system calls.
    pub fn spawn(
        index: u8,
        descriptor: VcpuFd,
        bus: Arc<IoManager>,
        events: SyncSender<Event>,
        before: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        register_signal_handler(kick(), handle_kick).map_err(io::Error::from)?;
        let descriptor = Arc::new(Mutex::new(descriptor));
        let control = Arc::new(Control {
            progress: Mutex::new(Progress {
                wanted: Wanted::Pause,
                parked: false,
            }),
            changed: Condvar::new(),
        });
        let (shared, owner) = (Arc::clone(&descriptor), Arc::clone(&control));
        let thread = thread::Builder::new()
            .name(format!("vcpu {index}"))
            .stack_size(STACK)
            .spawn(move || {
                let end = match before() {
                    Ok(()) => run(&shared, &owner, &bus),
                    Err(err) => VcpuEnd::Failed(format!("cannot confine vCPU {index}: {err}")),
                };
                park(&owner);
                // The driver holds the other end for as long as the process lives.
                let _driver_gone = events.send(Event::VcpuEnded { index, end });
            })?;
        Ok(Self {
            descriptor,
            control,
            thread,
        })
    }

    /// Asks it to park; [`wait_until_parked`](Self::wait_until_parked) follows.
    pub fn pause(&self) {
        locked(&self.control.progress).wanted = Wanted::Pause;
        let _ended_is_parked = self.thread.kill(kick());
    }

    /// Returns when the vCPU is parked, or has ended.
    pub fn wait_until_parked(&self) {
        let mut progress = locked(&self.control.progress);
        while !progress.parked {
            let (again, waited) = self
                .control
                .changed
                .wait_timeout(progress, KICK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
            progress = again;
            if waited.timed_out() {
                let _ended_is_parked = self.thread.kill(kick());
            }
        }
    }

    /// Lets it run.
    pub fn resume(&self) {
        locked(&self.control.progress).wanted = Wanted::Run;
        self.control.changed.notify_all();
    }

    /// Its descriptor. Waits while it runs: only after [`wait_until_parked`](Self::wait_until_parked).
    pub fn descriptor(&self) -> MutexGuard<'_, VcpuFd> {
        locked(&self.descriptor)
    }
}

extern "C" fn handle_kick(
    _signal: std::ffi::c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut std::ffi::c_void,
) {
    // To be interrupted is all.
}

/// Parks for ever: the vCPU has ended, and whoever waits for it to park need not.
fn park(control: &Control) {
    locked(&control.progress).parked = true;
    control.changed.notify_all();
}

fn run(descriptor: &Mutex<VcpuFd>, control: &Control, bus: &IoManager) -> VcpuEnd {
    loop {
        {
            let mut progress = locked(&control.progress);
            while progress.wanted == Wanted::Pause {
                progress.parked = true;
                control.changed.notify_all();
                progress = control
                    .changed
                    .wait(progress)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            progress.parked = false;
        }
        let mut vcpu = locked(descriptor);
        if let Some(end) = run_until_kicked(&mut vcpu, control, bus) {
            return end;
        }
    }
}

fn run_until_kicked(vcpu: &mut VcpuFd, control: &Control, bus: &IoManager) -> Option<VcpuEnd> {
    loop {
        if let Left::Ended(end) = enter(vcpu, bus) {
            return Some(end);
        }
        if locked(&control.progress).wanted == Wanted::Pause {
            return finish_access(vcpu, bus);
        }
    }
}

/// Why a vCPU is out of the guest.
enum Left {
    /// It was: the access that it left it for has been served, and may be half done.
    Served,
    /// A signal took it out, or it did not get in. Nothing is half done.
    Interrupted,
    /// It is for good.
    Ended(VcpuEnd),
}

/// Lets KVM finish the access that was served last: without it the registers that are read of a parked vCPU would be those of before the
/// access, or without what was read; the next machine would do it again, and whoever wrote a byte would have written two.
///
/// Ends: a whole instruction is all that KVM does here, and of one that repeats itself at most 1024 rounds.
///
/// Source: the kernel's `Documentation/virt/kvm/api.rst`, 5 `kvm_run`: what is said of `KVM_EXIT_IO` and of `immediate_exit`.
fn finish_access(vcpu: &mut VcpuFd, bus: &IoManager) -> Option<VcpuEnd> {
    vcpu.set_kvm_immediate_exit(1);
    let end = loop {
        match enter(vcpu, bus) {
            // An access in several parts.
            Left::Served => {}
            Left::Interrupted => break None,
            Left::Ended(end) => break Some(end),
        }
    };
    vcpu.set_kvm_immediate_exit(0);
    end
}

/// Enters the guest, and serves the access that it leaves it for.
fn enter(vcpu: &mut VcpuFd, bus: &IoManager) -> Left {
    match vcpu.run() {
        // An access that no device answers is the guest's own mistake: reads give what an empty bus gives.
        Ok(VcpuExit::MmioRead(address, data)) => {
            if bus.mmio_read(MmioAddress(address), data).is_err() {
                data.fill(0xff);
            }
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            let _nobody_there = bus.mmio_write(MmioAddress(address), data);
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            if bus.pio_read(PioAddress(port), data).is_err() {
                data.fill(empty_port(port));
            }
        }
        Ok(VcpuExit::IoOut(port, data)) => {
            let _nobody_there = bus.pio_write(PioAddress(port), data);
        }
        // A triple fault. The next entry would fail: this vCPU has ended.
        Ok(VcpuExit::Shutdown) => return Left::Ended(VcpuEnd::Reset),
        Ok(VcpuExit::FailEntry(reason, _cpu)) => {
            return failed(format!("the processor refused to enter the guest ({reason:#x})"));
        }
        Ok(VcpuExit::InternalError) => {
            return failed("KVM met an instruction that it cannot emulate".to_owned());
        }
        Ok(VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => {}
        Ok(other) => return failed(format!("KVM stopped in an unexpected way: {other:?}")),
        Err(err) if matches!(err.errno(), libc::EINTR | libc::EAGAIN) => return Left::Interrupted,
        // Of memory that is mapped, only the pages of a file can be gone.
        Err(err) if err.errno() == libc::EFAULT => {
            return failed(format!(
                "KVM cannot run the vCPU: a page of the guest's memory is gone ({err}); was the file of its kernel cut short?"
            ));
        }
        Err(err) => return failed(format!("KVM cannot run the vCPU: {err}")),
    }
    Left::Served
}

fn failed(reason: String) -> Left {
    Left::Ended(VcpuEnd::Failed(reason))
}

/// What an empty port reads. The CMOS clock's data port says 0: all ones would look like an update that never ends.
fn empty_port(port: u16) -> u8 {
    const CMOS_DATA: u16 = 0x71;
    if port == CMOS_DATA { 0 } else { 0xff }
}

#[cfg(test)]
mod tests;
