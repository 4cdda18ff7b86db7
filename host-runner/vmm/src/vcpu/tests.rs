//! A vCPU that is held in the middle of an access to a device.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::{Kvm, VmFd};
use vm_device::bus::{MmioAddressOffset, MmioRange, PioAddressOffset, PioRange};
use vm_device::{DeviceMmio, DevicePio};
use vm_memory::{Bytes as _, GuestAddress};

use super::*;
use crate::machine::kvm_memory;
use crate::memory::{self, Backing, GuestMemory};

/// Where the guest's code is.
const CODE: u64 = 0x1000;
/// The port that is read.
const INPUT: u16 = 0x10;
/// The port that is written.
const OUTPUT: u16 = 0x11;
/// The register that is read, in the gap.
const REGISTER: u64 = 0xd000_0000;
/// What a read gives.
const VALUE: u8 = 0x5a;

/// Reads the input port, writes what it read to the output port, and halts.
const WITH_A_PORT: (&[u8], u64) = (&[0xe4, 0x10, 0xe6, 0x11, 0xf4, 0xeb, 0xfd], CODE + 2);
/// The same with the register. Both with the address of the instruction behind the read.
const WITH_A_REGISTER: (&[u8], u64) = (&[0xa0, 0, 0, 0, 0xd0, 0xe6, 0x11, 0xf4, 0xeb, 0xfd], CODE + 5);

/// A device whose reads take as long as the test wants.
struct Device {
    asked: SyncSender<()>,
    answer: Mutex<Receiver<()>>,
    written: SyncSender<u8>,
    reads: AtomicUsize,
}

impl Device {
    fn read(&self, data: &mut [u8]) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.asked.send(()).unwrap();
        locked(&self.answer).recv().unwrap();
        data.fill(VALUE);
    }
}

impl DevicePio for Device {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        self.read(data);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        self.written.send(data[0]).unwrap();
    }
}

impl DeviceMmio for Device {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        self.read(data);
    }

    fn mmio_write(&self, _: MmioAddress, _: MmioAddressOffset, _: &[u8]) {}
}

/// The test's ends of the device.
struct Ends {
    device: Arc<Device>,
    asked: Receiver<()>,
    answer: SyncSender<()>,
    written: Receiver<u8>,
}

fn bus() -> (Arc<IoManager>, Ends) {
    let ((asked, is_asked), (answer, answers), (written, is_written)) =
        (sync_channel(4), sync_channel(4), sync_channel(4));
    let device = Arc::new(Device {
        asked,
        answer: Mutex::new(answers),
        written,
        reads: AtomicUsize::new(0),
    });
    let mut bus = IoManager::new();
    let ports = PioRange::new(PioAddress(INPUT), OUTPUT - INPUT + 1).unwrap();
    bus.register_pio(ports, Arc::clone(&device) as _).unwrap();
    let registers = MmioRange::new(MmioAddress(REGISTER), 8).unwrap();
    bus.register_mmio(registers, Arc::clone(&device) as _).unwrap();
    let ends = Ends {
        device,
        asked: is_asked,
        answer,
        written: is_written,
    };
    (Arc::new(bus), ends)
}

/// A VM with this memory. `None`, and a word about it, where there is no KVM.
fn vm(memory: &GuestMemory) -> Option<VmFd> {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(err) => {
            eprintln!("not tried: cannot open /dev/kvm: {err}");
            return None;
        }
    };
    let vm = kvm.create_vm().unwrap();
    kvm_memory::register(&vm, memory, false).unwrap();
    vm.create_irq_chip().unwrap();
    Some(vm)
}

/// Flat segments of 32 bits, without paging.
fn flat(vcpu: &VcpuFd) -> (kvm_regs, kvm_sregs) {
    let segment = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut sregs = vcpu.get_sregs().unwrap();
    sregs.cr0 |= 1;
    sregs.cs = segment(8, 11);
    let data = segment(16, 3);
    (sregs.ds, sregs.es, sregs.ss, sregs.fs, sregs.gs) = (data, data, data, data, data);
    let regs = kvm_regs {
        rip: CODE,
        rflags: 2,
        ..Default::default()
    };
    (regs, sregs)
}

fn spawn(vm: &VmFd, bus: &Arc<IoManager>, registers: Option<&(kvm_regs, kvm_sregs)>) -> Vcpu {
    let vcpu = vm.create_vcpu(0).unwrap();
    let (regs, sregs) = registers.map_or_else(|| flat(&vcpu), |registers| *registers);
    vcpu.set_sregs(&sregs).unwrap();
    vcpu.set_regs(&regs).unwrap();
    let (events, _driver) = sync_channel(4);
    let vcpu = Vcpu::spawn(0, vcpu, Arc::clone(bus), events, || Ok(())).unwrap();
    vcpu.wait_until_parked();
    vcpu
}

#[test]
fn an_access_is_finished_before_a_vcpu_parks_and_another_machine_does_not_do_it_again() {
    for (code, behind) in [WITH_A_PORT, WITH_A_REGISTER] {
        let memory = memory::create(32, Backing::Private).unwrap();
        memory.write_slice(code, GuestAddress(CODE)).unwrap();
        let Some(first) = vm(&memory) else {
            return;
        };
        let (bus, ends) = bus();
        let vcpu = spawn(&first, &bus, None);
        vcpu.resume();
        // The vCPU is in the device when it is to park.
        ends.asked.recv().unwrap();
        vcpu.pause();
        ends.answer.send(()).unwrap();
        vcpu.wait_until_parked();
        let registers = {
            let descriptor = vcpu.descriptor();
            (descriptor.get_regs().unwrap(), descriptor.get_sregs().unwrap())
        };
        assert_eq!((registers.0.rip, registers.0.rax & 0xff), (behind, VALUE.into()));
        assert!(ends.written.try_recv().is_err(), "no more is done than that");

        let second = vm(&memory).unwrap();
        let moved = spawn(&second, &bus, Some(&registers));
        moved.resume();
        assert_eq!(ends.written.recv().unwrap(), VALUE);
        moved.pause();
        moved.wait_until_parked();
        assert_eq!(ends.device.reads.load(Ordering::Relaxed), 1);
    }
}
