//! Putting a machine together.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{IoEventAddress, Kvm, VmFd};
use vm_device::bus::{MmioAddress, MmioRange, PioAddress, PioRange};
use vm_device::device_manager::{IoManager, MmioManager as _, PioManager as _};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::save::wall_clock_ns;
use super::{Devices, LINES_END, Machine, VIRTIO_BASE, VIRTIO_LINE, kvm_memory};
use crate::acpi::{self, VirtioWindow};
use crate::boot;
use crate::config::MachineConfig;
use crate::cpu::{self, Entry};
use crate::devices::event_loop::Shared;
use crate::devices::power::{self, PowerRegisters};
use crate::devices::serial;
use crate::devices::virtio::mmio::{NOTIFY, Transport, WINDOW};
use crate::driver::Event;
use crate::memory::{self, GuestMemory};
use crate::reset_vector;
use crate::sandbox::{self, Confinement, SandboxError, ThreadKind};
use crate::snapshot::{self, RestoreError};
use crate::vcpu::Vcpu;

/// Three pages that KVM on Intel needs for itself, in the gap.
const TSS: usize = 0xfffb_d000;
/// One page more, for real mode without paging.
const IDENTITY_MAP: u64 = 0xfffb_c000;

/// Why a machine could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No KVM.
    #[error("cannot open /dev/kvm")]
    NoKvm(#[source] kvm_ioctls::Error),
    /// KVM refused a step.
    #[error("KVM cannot {operation}")]
    Kvm {
        /// The step.
        operation: &'static str,
        /// What it said.
        #[source]
        err: kvm_ioctls::Error,
    },
    /// More devices than interrupt lines.
    #[error("a machine has room for {max} virtio devices, not {0}", max = LINES_END - VIRTIO_LINE)]
    TooManyDevices(usize),
    /// An eventfd or a thread.
    #[error("cannot {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// Two devices at one address: a mistake of ours.
    #[error("{0} has no place on the bus")]
    Bus(&'static str),
    /// Its memory.
    #[error(transparent)]
    Memory(#[from] memory::MemoryError),
    /// Its processors.
    #[error(transparent)]
    Cpuid(#[from] cpu::CpuidError),
    /// Their registers.
    #[error(transparent)]
    Registers(#[from] cpu::RegisterError),
    /// What it boots.
    #[error(transparent)]
    Boot(#[from] boot::BootError),
    /// Its tables.
    #[error(transparent)]
    Acpi(#[from] acpi::AcpiError),
    /// What it runs to reset itself.
    #[error("cannot write the reset vector")]
    ResetVector(#[source] vm_memory::GuestMemoryError),
    /// Its confinement.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The snapshot that it goes on from.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

fn kvm(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> BuildError {
    move |err| BuildError::Kvm { operation, err }
}

fn system(operation: &'static str) -> impl Fn(io::Error) -> BuildError {
    move |err| BuildError::System { operation, err }
}

/// Puts a machine together: memory, kernel, tables, devices, and vCPUs that wait at the kernel's first instruction.
///
/// The process gives up its rights once all is open, and before the first thread starts.
pub fn build(
    config: &MachineConfig,
    devices: Devices,
    events: &SyncSender<Event>,
    confinement: &Confinement,
) -> Result<Machine, BuildError> {
    let kvm_file = Kvm::new().map_err(BuildError::NoKvm)?;
    let memory = memory::create(config.memory.size_mib, config.memory.backing())?;
    let page_map = File::open("/proc/self/pagemap").map_err(system("open the map of the process's pages"))?;
    let vm = create_vm(&kvm_file, &memory)?;
    let mut bus = IoManager::new();
    let transports = attach(&vm, &memory, devices.virtio(), &mut bus)?;
    let power_button = legacy(&vm, &mut bus, &devices, events)?;
    // What is restored has its tables and its kernel in the memory that follows, and its registers.
    let entry = match config.restore.as_slice() {
        [] => Some(load(config, &memory, transports.len())?),
        _ => None,
    };
    let descriptors = create_vcpus(&kvm_file, &vm, config, |index, vcpu| match entry {
        Some(entry) => cpu::begin(vcpu, index, entry, &memory).map_err(BuildError::from),
        None => Ok(()),
    })?;
    sandbox::confine_process(config, confinement)?;
    let bus = Arc::new(bus);
    let mut vcpus = Vec::new();
    for (index, descriptor) in (0..).zip(descriptors) {
        let vcpu = Vcpu::spawn(index, descriptor, Arc::clone(&bus), events.clone(), || {
            sandbox::enter(ThreadKind::Vcpu)
        });
        vcpus.push(vcpu.map_err(system("start a vCPU's thread"))?);
    }
    let mut machine = Machine {
        kvm: kvm_file,
        vm,
        memory,
        page_map,
        vcpus,
        transports,
        devices,
        power_button,
        went_on_from: None,
    };
    if !config.restore.is_empty() {
        let state = snapshot::read(&config.restore, &machine.shape(), &machine.memory)?;
        if config.log_writes {
            // Before the state is set: KVM then writes into the guest's memory, too.
            machine.note_writes().map_err(RestoreError::from)?;
            machine.went_on_from = Some(state.id);
        }
        machine
            .restore(&state, wall_clock_ns())
            .map_err(RestoreError::from)?;
    }
    Ok(machine)
}

/// The tables, what stands in for firmware, and the kernel.
fn load(config: &MachineConfig, memory: &GuestMemory, devices: usize) -> Result<Entry, BuildError> {
    let windows: Vec<VirtioWindow> = (0..devices).map(window).collect();
    let rsdp = acpi::write(memory, config.cpus.count, &windows)?;
    reset_vector::write(memory).map_err(BuildError::ResetVector)?;
    Ok(boot::load(&config.boot, memory, rsdp)?)
}

/// The VM with its memory, its interrupt controllers and its timer.
fn create_vm(kvm_file: &Kvm, memory: &GuestMemory) -> Result<VmFd, BuildError> {
    let vm = kvm_file.create_vm().map_err(kvm("create a VM"))?;
    kvm_memory::register(&vm, memory, false).map_err(kvm("take the guest's memory"))?;
    vm.set_tss_address(TSS)
        .map_err(kvm("place its task state segment"))?;
    vm.set_identity_map_address(IDENTITY_MAP)
        .map_err(kvm("place its identity map"))?;
    vm.create_irq_chip()
        .map_err(kvm("create the interrupt controllers"))?;
    let timer = kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    };
    vm.create_pit2(timer).map_err(kvm("create the timer"))?;
    Ok(vm)
}

/// The place of a virtio device. `index` is below the number of lines.
fn window(index: usize) -> VirtioWindow {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    VirtioWindow {
        base: VIRTIO_BASE + index * WINDOW,
        length: WINDOW,
        line: VIRTIO_LINE + index,
    }
}

/// Gives each device its registers, its interrupt line, and the doorbells of its queues.
fn attach(
    vm: &VmFd,
    memory: &GuestMemory,
    devices: Vec<Shared>,
    bus: &mut IoManager,
) -> Result<Vec<Arc<Transport>>, BuildError> {
    let mut transports = Vec::new();
    for (index, device) in devices.into_iter().enumerate() {
        let window = window(index);
        if window.line >= LINES_END {
            return Err(BuildError::TooManyDevices(index + 1));
        }
        let line = EventFd::new(EFD_NONBLOCK).map_err(system("make an interrupt line"))?;
        vm.register_irqfd(&line, window.line)
            .map_err(kvm("raise a device's interrupt"))?;
        let transport =
            Transport::new(device, memory.clone(), line).map_err(system("make a device's queues"))?;
        for (queue, event) in (0_u32..).zip(transport.queue_events()) {
            let notify = IoEventAddress::Mmio(u64::from(window.base) + NOTIFY);
            vm.register_ioevent(event, &notify, queue)
                .map_err(kvm("watch a device's doorbell"))?;
        }
        let transport = Arc::new(transport);
        let range = MmioRange::new(MmioAddress(window.base.into()), WINDOW.into())
            .map_err(|_| BuildError::Bus("a virtio device"))?;
        bus.register_mmio(range, Arc::clone(&transport) as _)
            .map_err(|_| BuildError::Bus("a virtio device"))?;
        transports.push(transport);
    }
    Ok(transports)
}

/// The serial port, the power registers, and the power button's line.
fn legacy(
    vm: &VmFd,
    bus: &mut IoManager,
    devices: &Devices,
    events: &SyncSender<Event>,
) -> Result<EventFd, BuildError> {
    vm.register_irqfd(&devices.serial_line, serial::LINE)
        .map_err(kvm("raise the serial port's interrupt"))?;
    let ports = |base: u16, length: u16| PioRange::new(PioAddress(base), length);
    let range = ports(serial::PORT, serial::PORTS).map_err(|_| BuildError::Bus("the serial port"))?;
    bus.register_pio(range, Arc::clone(&devices.serial) as _)
        .map_err(|_| BuildError::Bus("the serial port"))?;
    let registers = Arc::new(PowerRegisters::new(events.clone()));
    let range = ports(power::BASE, power::LENGTH).map_err(|_| BuildError::Bus("the power registers"))?;
    bus.register_pio(range, registers)
        .map_err(|_| BuildError::Bus("the power registers"))?;
    let button = EventFd::new(EFD_NONBLOCK).map_err(system("make the power button"))?;
    vm.register_irqfd(&button, acpi::POWER_BUTTON_LINE)
        .map_err(kvm("raise the power button's interrupt"))?;
    Ok(button)
}

/// The vCPUs with what CPUID answers in each; `begin` sets their registers.
fn create_vcpus(
    kvm_file: &Kvm,
    vm: &VmFd,
    config: &MachineConfig,
    begin: impl Fn(u8, &kvm_ioctls::VcpuFd) -> Result<(), BuildError>,
) -> Result<Vec<kvm_ioctls::VcpuFd>, BuildError> {
    let mut vcpus = Vec::new();
    for index in 0..config.cpus.count {
        let vcpu = vm.create_vcpu(index.into()).map_err(kvm("create a vCPU"))?;
        let cpuid = cpu::for_vcpu(kvm_file, &config.cpus, index)?;
        vcpu.set_cpuid2(&cpuid).map_err(kvm("set CPUID"))?;
        begin(index, &vcpu)?;
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}
