//! The device thread: waits for queues and sources, and lets the devices work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::virtio::VirtioDevice;

/// A device as its transport and the device thread share it.
pub type Shared = Arc<Mutex<dyn VirtioDevice>>;

/// Tokens from here on are sources; below, queues.
const SOURCES: u32 = 1 << 16;

/// Takes a device's lock. A panic under it would already have ended the process ([`panics`](crate::panics)), so a poisoned lock still
/// guards a whole device.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One device on the device thread.
pub struct Watched {
    device: Shared,
    queues: Vec<Arc<EventFd>>,
}

impl Watched {
    /// Watches a device, and the eventfds that its guest kicks: one for each queue.
    pub fn new(device: Shared, queues: Vec<Arc<EventFd>>) -> Self {
        Self { device, queues }
    }
}

impl MutEventSubscriber for Watched {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        let token = events.data();
        let mut device = lock(&*self.device);
        if token >= SOURCES {
            device.source_ready(token - SOURCES);
            return;
        }
        let queue = token as usize;
        if let Some(event) = self.queues.get(queue)
            && !device.served_elsewhere(queue)
        {
            // Level-triggered: the counter is emptied before the queue is looked at, so that a kick in between comes again.
            let _emptied = event.read();
            device.queue_ready(queue);
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        let device = lock(&*self.device);
        for (token, event) in (0..).zip(&self.queues) {
            // A queue that the kernel serves has its counter emptied there: with an edge, the wake-up here costs once a kick.
            let events = Events::with_data(&**event, token, EventSet::IN | EventSet::EDGE_TRIGGERED);
            watch(ops, events, &device.name());
        }
        for source in device.sources() {
            let mut set = EventSet::IN | EventSet::HANG_UP;
            if source.edge {
                set |= EventSet::EDGE_TRIGGERED;
            }
            let events = Events::with_data_raw(source.descriptor, SOURCES + source.token, set);
            watch(ops, events, &device.name());
        }
    }
}

fn watch(ops: &mut EventOps, events: Events, device: &str) {
    if let Err(err) = ops.add(events) {
        eprintln!("{device}: cannot wait for its events: {err}");
    }
}

/// What waits for events on the device thread.
pub type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// Runs the devices for as long as the process lives.
///
/// Returns only when waiting itself fails, which the driver treats as the end of the machine.
pub fn run(devices: Vec<Subscriber>) -> event_manager::Error {
    use event_manager::SubscriberOps as _;
    let mut manager = match EventManager::<Subscriber>::new() {
        Ok(manager) => manager,
        Err(err) => return err,
    };
    for device in devices {
        manager.add_subscriber(device);
    }
    loop {
        match manager.run() {
            Ok(_) => {}
            Err(event_manager::Error::Epoll(errno)) if errno.errno() == libc::EINTR => {}
            Err(err) => return err,
        }
    }
}
