//! The device thread: waits for queues and sources, and lets the devices work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::virtio::VirtioDevice;
use crate::log::say;

/// A device as its transport and the device thread share it.
pub type Shared = Arc<Mutex<dyn VirtioDevice>>;

/// Tokens from here on are sources; below, queues.
const SOURCES: u32 = 1 << 16;
/// The token of what says that a device may serve its queues in another way now; far above those of sources.
const RENEWED: u32 = 1 << 31;

/// Takes a device's lock. A panic under it would already have ended the process ([`panics`](crate::panics)), so a poisoned lock still
/// guards a whole device.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One device on the device thread.
pub struct Watched {
    device: Shared,
    queues: Vec<Queue>,
    renewed: Arc<EventFd>,
}

struct Queue {
    /// What the guest kicks.
    kick: Arc<EventFd>,
    /// Whether a kick wakes this thread. Not while the kernel serves the queue: it would cost a wake-up each time, for nothing.
    heard: bool,
}

impl Watched {
    /// Watches a device, and the eventfds that its guest kicks: one for each queue. `renewed` is written after the device has begun, ended
    /// or resumed its work.
    pub fn new(device: Shared, kicks: Vec<Arc<EventFd>>, renewed: Arc<EventFd>) -> Self {
        let queue = |kick| Queue { kick, heard: true };
        Self {
            device,
            queues: kicks.into_iter().map(queue).collect(),
            renewed,
        }
    }

    fn kicked(&mut self, token: u32, ops: &EventOps) {
        let at = token as usize;
        let Some(queue) = self.queues.get_mut(at) else {
            return;
        };
        let mut device = lock(&*self.device);
        if device.served_elsewhere(at) {
            // Where it stays as it was, the thread is woken in vain.
            queue.heard = ops.modify(kicks(&queue.kick, token, false)).is_err();
            return;
        }
        // The counter is emptied before the queue is looked at, so that a kick in between comes again.
        let _emptied = queue.kick.read();
        device.queue_ready(at);
        listen(&mut self.queues, &*device, ops, false);
    }

    fn source_ready(&mut self, token: u32, ops: &EventOps) {
        let mut device = lock(&*self.device);
        device.source_ready(token);
        listen(&mut self.queues, &*device, ops, false);
    }

    fn renewed(&mut self, ops: &EventOps) {
        let _emptied = self.renewed.read();
        listen(&mut self.queues, &*lock(&*self.device), ops, true);
    }
}

/// Listens again to the queues that this thread serves once more, which the device may have brought about by itself; with `all`, also to
/// those that are still served elsewhere: each is heard once. A kick that came meanwhile is an event now.
fn listen(queues: &mut [Queue], device: &dyn VirtioDevice, ops: &EventOps, all: bool) {
    for (at, queue) in queues.iter_mut().enumerate().filter(|(_, queue)| !queue.heard) {
        if all || !device.served_elsewhere(at) {
            queue.heard = true;
            // Below `SOURCES`.
            let token = u32::try_from(at).unwrap_or(u32::MAX);
            if let Err(err) = ops.modify(kicks(&queue.kick, token, true)) {
                let name = device.name();
                super::once(&name, &format_args!("{name}: cannot wait for its kicks: {err}"));
            }
        }
    }
}

fn kicks(kick: &EventFd, token: u32, heard: bool) -> Events {
    let set = if heard {
        EventSet::IN | EventSet::EDGE_TRIGGERED
    } else {
        EventSet::empty()
    };
    Events::with_data(kick, token, set)
}

impl MutEventSubscriber for Watched {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        match events.data() {
            RENEWED => self.renewed(ops),
            token if token >= SOURCES => self.source_ready(token - SOURCES, ops),
            token => self.kicked(token, ops),
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        let device = lock(&*self.device);
        for (token, queue) in (0..).zip(&self.queues) {
            watch(ops, kicks(&queue.kick, token, true), &device.name());
        }
        let renewed = Events::with_data(&*self.renewed, RENEWED, EventSet::IN);
        watch(ops, renewed, &device.name());
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
        say(&format_args!("{device}: cannot wait for its events: {err}"));
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

#[cfg(test)]
mod tests {
    use event_manager::SubscriberOps as _;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;
    use crate::devices::virtio::{ActivateError, Activation, DeviceKind};

    /// A device of two queues, which counts its kicks.
    #[derive(Default)]
    struct Kicked {
        count: usize,
        /// Whether something else serves the first queue.
        elsewhere: bool,
    }

    impl VirtioDevice for Kicked {
        fn kind(&self) -> DeviceKind {
            DeviceKind::Entropy
        }
        fn name(&self) -> String {
            "kicked".to_owned()
        }
        fn features(&self) -> u64 {
            0
        }
        fn queue_sizes(&self) -> Vec<u16> {
            vec![1; 2]
        }
        fn served_elsewhere(&self, queue: usize) -> bool {
            self.elsewhere && queue == 0
        }
        fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
        fn activate(&mut self, _activation: Activation) -> Result<(), ActivateError> {
            Ok(())
        }
        fn reset(&mut self) {}
        fn queue_ready(&mut self, queue: usize) {
            // By the second one the guest has the device take the first one back.
            self.elsewhere &= queue == 0;
            self.count += 1;
        }
        fn pause(&mut self) {}
        fn resume(&mut self) {}
        fn queues(&self) -> Option<Vec<&virtio_queue::Queue>> {
            None
        }
    }

    #[test]
    fn the_kicks_of_a_queue_that_the_kernel_serves_wake_nobody() {
        let event = || Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let (kick, renewed) = (event(), event());
        let device = Arc::new(Mutex::new(Kicked::default()));
        let mut manager = EventManager::new().unwrap();
        let shared: Shared = device.clone();
        manager.add_subscriber(Watched::new(shared, vec![kick.clone()], renewed.clone()));
        let mut wakes = |kicks: u32| {
            (0..kicks)
                .map(|_| {
                    kick.write(1).unwrap();
                    manager.run_with_timeout(0).unwrap()
                })
                .sum::<usize>()
        };
        assert_eq!((wakes(3), lock(&device).count), (3, 3));

        lock(&device).elsewhere = true;
        assert_eq!(
            (wakes(5), lock(&device).count),
            (1, 3),
            "only the first one is heard"
        );

        lock(&device).elsewhere = false;
        renewed.write(1).unwrap();
        assert_eq!(manager.run_with_timeout(0).unwrap(), 1);
        // What came meanwhile.
        assert_eq!(manager.run_with_timeout(0).unwrap(), 1);
        assert_eq!(lock(&device).count, 4);
    }

    #[test]
    fn a_queue_that_the_device_takes_back_by_itself_is_heard_again() {
        let kicks = [(); 2].map(|()| Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()));
        let renewed = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let device = Arc::new(Mutex::new(Kicked {
            elsewhere: true,
            ..Kicked::default()
        }));
        let mut manager = EventManager::new().unwrap();
        let shared: Shared = device.clone();
        manager.add_subscriber(Watched::new(shared, kicks.to_vec(), renewed));
        let mut kick = |queue: usize| {
            kicks[queue].write(1).unwrap();
            manager.run_with_timeout(0).unwrap()
        };
        assert_eq!((kick(0), kick(0)), (1, 0), "only the first one is heard");
        assert_eq!(lock(&device).count, 0);
        assert_eq!(kick(1), 1);
        // And with it what came meanwhile.
        assert_eq!((kick(0), lock(&device).count), (1, 2));
    }
}
