//! vhost-net: the kernel moves the frames between the tap and the guest's memory, without a switch to this process.
//!
//! Threat: the kernel walks the rings by itself, and is as exposed to the guest as our own path; it has been hardened for it. It reaches
//! only the memory table that it is given here, which is the guest's memory.
//!
//! # Dirty pages
//!
//! What vhost-net writes is in no log of KVM's. While writes are to be logged ([`Vhost::start`] with `log`), it sets a bit for each page
//! that it writes, rings included (`VHOST_F_LOG_ALL`); [`Vhost::stop`] moves the bits into the memory's own bitmap. Frames then cost a
//! little more; without a wish for incremental snapshots nobody pays for it.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use vhost::net::VhostNet as _;
use vhost::vhost_kern::net::Net;
use vhost::{VhostBackend as _, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::{Queue, QueueT as _};
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{
    Address as _, GuestAddress, GuestAddressSpace, GuestMemoryBackend as _, GuestMemoryRegion as _,
    GuestRegionMmap,
};
use vmm_sys_util::eventfd::EventFd;

use super::features::RING_FEATURES;
use crate::devices::virtio::Interrupt;
use crate::memory::{GuestMemory, Pages};

/// The kernel logs what it writes (`VHOST_F_LOG_ALL`).
const LOG_ALL: u32 = 26;
/// The used ring is logged, too (`VHOST_VRING_F_LOG`).
const LOG_RING: u32 = 1;
/// What a bit of the log stands for, in bytes (`VHOST_PAGE_SIZE`).
const LOG_PAGE: u64 = 4096;

/// The guest's memory, which is not known yet when the device is opened: that is before this process confines itself.
#[derive(Clone, Default)]
struct LaterMemory(Arc<OnceLock<GuestMemory>>);

impl GuestAddressSpace for LaterMemory {
    type M = GuestMemory;
    type T = Arc<GuestMemory>;

    fn memory(&self) -> Arc<GuestMemory> {
        Arc::new(self.0.get().cloned().unwrap_or_default())
    }
}

/// What the kernel needs to serve a queue.
pub struct Served<'a> {
    /// The queue, where it is.
    pub queue: &'a mut Queue,
    /// What the guest kicks.
    pub kick: &'a EventFd,
}

/// vhost-net, once for each queue pair: an instance has one receive queue, one transmit queue and a thread of the kernel that moves the
/// frames of both, so that pairs go side by side.
pub struct Vhost {
    /// Before `log`, so that they are closed first: the kernel writes there while one is open.
    pairs: Vec<Net<LaterMemory>>,
    memory: LaterMemory,
    features: u64,
    /// A bit for each page, from address 0 to the end of memory. The kernel sets bits, one by one and atomically: all pairs share it.
    log: Option<Box<[AtomicU64]>>,
}

impl Vhost {
    /// Opens `/dev/vhost-net` for so many queue pairs.
    pub fn open(pairs: usize) -> Result<Self, vhost::Error> {
        let memory = LaterMemory::default();
        let mut features = u64::MAX;
        let mut opened = Vec::new();
        for _ in 0..pairs {
            let net = Net::new(memory.clone())?;
            net.set_owner()?;
            features &= net.get_features()?;
            opened.push(net);
        }
        Ok(Self {
            pairs: opened,
            memory,
            features,
            log: None,
        })
    }

    /// Of these features, those that the kernel can serve.
    pub fn able(&self, features: u64) -> u64 {
        features & (self.features | !RING_FEATURES)
    }

    /// Lets the kernel serve the queues of a pair, from where they are. It notes what it writes into `memory` where that says so. After an
    /// error it serves neither, and both are where they were, or where it has left them.
    pub fn start(
        &mut self,
        pair: usize,
        (memory, log): (&GuestMemory, bool),
        features: u64,
        queues: &mut [Served<'_>],
        tap: &File,
        interrupt: &Interrupt,
    ) -> Result<(), vhost::Error> {
        let memory = self.memory.0.get_or_init(|| memory.clone()).clone();
        self.prepare(pair, (&memory, log), features, queues, interrupt)?;
        let net = self.pairs.get(pair).ok_or(vhost::Error::InvalidQueue)?;
        let started = queues.iter().enumerate().try_for_each(|(index, served)| {
            net.set_backend(index, Some(tap))?;
            // What the guest made available before has had its kick, perhaps.
            let _full_is_a_kick_too = served.kick.write(1);
            Ok(())
        });
        if started.is_err() {
            let _the_first_error_counts = self.stop(pair, &memory, queues);
        }
        started
    }

    /// Tells the kernel all of the queues but to begin.
    fn prepare(
        &mut self,
        pair: usize,
        (memory, log): (&GuestMemory, bool),
        features: u64,
        queues: &[Served<'_>],
        interrupt: &Interrupt,
    ) -> Result<(), vhost::Error> {
        let net = self.pairs.get(pair).ok_or(vhost::Error::InvalidQueue)?;
        net.set_mem_table(&table(memory))?;
        let mut wanted = features & self.features & RING_FEATURES;
        if log && self.features & 1 << LOG_ALL != 0 {
            let log = self.log.get_or_insert_with(|| log_of(memory));
            net.set_log_base(log.as_ptr() as u64, None)?;
            wanted |= 1 << LOG_ALL;
        }
        net.set_features(wanted)?;
        for (index, served) in queues.iter().enumerate() {
            let queue = &*served.queue;
            net.set_vring_num(index, queue.size())?;
            net.set_vring_base(index, queue.next_avail())?;
            net.set_vring_addr(
                index,
                &VringConfigData {
                    queue_max_size: queue.max_size(),
                    queue_size: queue.size(),
                    flags: if wanted & 1 << LOG_ALL == 0 { 0 } else { LOG_RING },
                    desc_table_addr: queue.desc_table(),
                    used_ring_addr: queue.used_ring(),
                    avail_ring_addr: queue.avail_ring(),
                    log_addr: Some(queue.used_ring()),
                },
            )?;
            net.set_vring_call(index, interrupt.line())?;
            net.set_vring_kick(index, served.kick)?;
        }
        Ok(())
    }

    /// Whether the kernel can log what it writes.
    pub fn can_log(&self) -> bool {
        self.features & 1 << LOG_ALL != 0
    }

    /// Takes the queues of a pair back, with nothing in flight: the kernel finishes what it has begun before it lets go of the tap.
    ///
    /// Also for a queue whose ring made no sense to the kernel.
    pub fn stop(
        &mut self,
        pair: usize,
        memory: &GuestMemory,
        queues: &mut [Served<'_>],
    ) -> Result<(), vhost::Error> {
        let net = self.pairs.get(pair).ok_or(vhost::Error::InvalidQueue)?;
        let mut first_error = Ok(());
        for (index, served) in queues.iter_mut().enumerate() {
            let stopped = net
                .set_backend(index, None)
                .and_then(|()| net.get_vring_base(index));
            match stopped {
                // 16 bits in a split ring; a packed ring, which is not offered, has more.
                Ok(base) => served.queue.set_next_avail((base & 0xffff) as u16),
                Err(error) => {
                    first_error = first_error.and(Err(error));
                    continue;
                }
            }
            if let Ok(used) = served.queue.used_idx(memory, Ordering::Acquire) {
                served.queue.set_next_used(used.0);
            }
        }
        self.collect(memory);
        first_error
    }

    /// Moves what the kernel has logged into the memory's bitmap.
    fn collect(&self, memory: &GuestMemory) {
        for (word, at) in self.log.iter().flatten().zip(0_u64..) {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let page = at * u64::from(u64::BITS) + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                if let Ok(slice) = memory.get_slice(GuestAddress(page * LOG_PAGE), 1) {
                    slice.bitmap().mark_dirty(0, 1);
                }
            }
        }
    }
}

/// Where the guest's memory lies in this process. Its file, if it has one, is of no interest to the kernel.
fn table(memory: &GuestMemory) -> Vec<VhostUserMemoryRegionInfo> {
    let region = |region: &GuestRegionMmap<Pages>| VhostUserMemoryRegionInfo {
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: region.as_ptr() as u64,
        ..Default::default()
    };
    memory.iter().map(region).collect()
}

/// A log with no bit set: 32 KiB for each GiB of memory.
fn log_of(memory: &GuestMemory) -> Box<[AtomicU64]> {
    let pages = memory.last_addr().raw_value() / LOG_PAGE + 1;
    let words = usize::try_from(pages.div_ceil(u64::from(u64::BITS))).unwrap_or(0);
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, Backing};

    #[test]
    fn the_kernel_is_told_of_memory_with_and_without_a_file() {
        for backing in [Backing::Private, Backing::Shared] {
            let memory = memory::create(64, backing).unwrap();
            let table = table(&memory);
            assert_eq!((table[0].guest_phys_addr, table[0].memory_size), (0, 64 << 20));
            let host = memory.get_host_address(GuestAddress(0)).unwrap();
            assert_eq!(table[0].userspace_addr, host as u64);
        }
    }
}
