//! Requests on their way: out of the rings, to the engine, and back.
//!
//! A request is taken only when there is a free slot for it, what is under way leaves room for its data, and the disk's limit allows it; until
//! then it stays in the available ring.

use std::sync::Arc;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::request::{self, Command, Request, Status};
use super::task::{Completion, Segment, Task};
use super::vectors::mark_written;
use super::{Block, LOAD_MAX, SLOTS};
use crate::devices::virtio::Interrupt;
use crate::devices::virtio::ring::wants_interrupt;
use crate::memory::GuestMemory;

/// How many requests of one queue are taken before another one, or another device, has its turn.
const TURN: usize = 256;
/// How often a call looks at the queues again because completions have made room.
const ROUNDS: usize = 4;
/// How long an identity is, in bytes.
const ID_BYTES: usize = virtio_bindings::virtio_blk::VIRTIO_BLK_ID_BYTES as usize;

/// What a disk has while a driver uses it.
pub struct Active {
    pub memory: Arc<GuestMemory>,
    pub interrupt: Arc<Interrupt>,
    pub lanes: Vec<Lane>,
    pub features: u64,
    pub paused: bool,
    /// The limit is reached: nothing is taken until its timer wakes the device.
    pub throttled: bool,
    /// The next request has too much data for what is under way: nothing is taken until some of that has ended.
    pub crowded: bool,
}

/// A queue.
pub struct Lane {
    pub queue: Queue,
    /// The guest's kick, which also brings the device thread here.
    pub event: Arc<EventFd>,
    state: LaneState,
    /// Something was put into the used ring that the driver may not know of.
    used: bool,
}

/// Who has to do something about a queue.
///
/// ```text
///          kick             no more             told to kick
/// Asleep --------> Work ------------> Dry --------------------> Asleep
///                   ^                  |                          or Work, if it has added something meanwhile
///                   '------------------'
///                     it was given way
/// ```
///
/// From each of them a ring that makes no sense leads to `Broken`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneState {
    /// The driver: it kicks when there is something.
    Asleep,
    /// The device: there may be requests that have not been looked at.
    Work,
    /// The device: there were no more, and the driver has not been told to kick when there are.
    Dry,
    /// Nobody: until a reset the queue is left alone.
    Broken,
}

/// A request that the engine has.
pub struct Flight {
    /// Where its data lies. Also of a driver that is gone by the time it ends.
    memory: Arc<GuestMemory>,
    lane: usize,
    head: u16,
    status: GuestAddress,
    pub task: Task,
    pub data: Vec<Segment>,
    length: u64,
    /// As [`Request::load`].
    load: u64,
}

impl LaneState {
    /// With or without something to look at.
    fn of(work: bool) -> Self {
        if work { Self::Work } else { Self::Asleep }
    }
}

impl Lane {
    /// A queue whose guest may have put something into it.
    pub fn new(queue: Queue, event: Arc<EventFd>) -> Self {
        Self {
            queue,
            event,
            state: LaneState::Asleep,
            used: false,
        }
    }

    /// There may be work.
    pub fn look(&mut self) {
        if self.state != LaneState::Broken {
            self.state = LaneState::of(self.queue.ready());
        }
    }

    /// Brings the device thread here.
    pub fn kick(&self) {
        let _full_counter_is_a_kick_too = self.event.write(1);
    }

    /// From here on the driver kicks again; what it added in between is looked at next.
    fn want_kicks(&mut self, memory: &GuestMemory, device: &str) {
        if self.state != LaneState::Dry {
            return;
        }
        match self.queue.enable_notification(memory) {
            Ok(more) => self.state = LaneState::of(more),
            Err(error) => self.stop(device, &error),
        }
    }

    fn stop(&mut self, device: &str, error: &virtio_queue::Error) {
        crate::devices::once(device, &format_args!("{device}: a queue is stopped: {error}"));
        self.state = LaneState::Broken;
    }

    fn answer(&mut self, memory: &GuestMemory, head: u16, length: u32, device: &str) {
        self.used = true;
        if let Err(error) = self.queue.add_used(memory, head, length) {
            self.stop(device, &error);
        }
    }
}

impl Active {
    fn may_take(&self) -> bool {
        self.is_open() && self.any_lane(LaneState::Work)
    }

    fn any_lane(&self, state: LaneState) -> bool {
        self.lanes.iter().any(|lane| lane.state == state)
    }

    /// Whether the driver's requests are taken at present.
    fn is_open(&self) -> bool {
        !self.paused && !self.throttled && !self.crowded
    }

    /// One interrupt for all that was used, if the driver wants it.
    fn notify(&mut self) {
        let mut wanted = false;
        for lane in &mut self.lanes {
            if std::mem::take(&mut lane.used) {
                // A ring that cannot be read: rather once too often.
                wanted |= wants_interrupt(&mut lane.queue, &self.memory).unwrap_or(true);
            }
        }
        if wanted {
            self.interrupt.used();
        }
    }
}

impl Block {
    /// Takes what there is, hands it on, and answers what has ended: what the kernel has at hand ends in the same call that hands it on.
    pub(super) fn work(&mut self) {
        self.engine.quiet(true);
        self.try_again();
        for _ in 0..ROUNDS {
            self.take();
            self.engine.submit();
            self.finish();
            self.notify();
            if !self.can_go_on() {
                break;
            }
        }
        self.engine.quiet(false);
        if self.finish() {
            self.notify();
        }
        if self.can_go_on() {
            // There is more. It waits for its turn behind the other devices.
            for lane in self.active.iter().flat_map(|active| &active.lanes) {
                if lane.state == LaneState::Work {
                    lane.kick();
                }
            }
        }
    }

    fn notify(&mut self) {
        if let Some(active) = &mut self.active {
            active.notify();
        }
    }

    fn can_go_on(&self) -> bool {
        !self.free.is_empty() && self.active.as_ref().is_some_and(Active::may_take)
    }

    /// Takes what there is, and what the driver adds if it is given way. From then on it kicks again.
    fn take(&mut self) {
        let taken = self.take_all();
        if taken > 0 && self.is_dry() && self.give_way.begin((self.host.now)(), taken) {
            let added = self.gather();
            self.give_way.added(added);
        }
        let Some(active) = &mut self.active else {
            return;
        };
        for lane in &mut active.lanes {
            lane.want_kicks(&active.memory, &self.name);
        }
    }

    /// Gives way as long as the driver adds something, a turn of it at most, while what was taken is under way already. How many requests
    /// that was.
    fn gather(&mut self) -> u32 {
        let mut added = 0;
        let mut last = (self.host.now)();
        while self.is_dry() && (added as usize) < TURN {
            self.engine.submit();
            (self.host.give_way)();
            for lane in self.active.iter_mut().flat_map(|active| &mut active.lanes) {
                if lane.state == LaneState::Dry {
                    lane.state = LaneState::Work;
                }
            }
            let more = self.take_all();
            added += more;
            let now = (self.host.now)();
            if more > 0 {
                last = now;
            } else if now.saturating_duration_since(last) >= self.give_way.patience() {
                break;
            }
        }
        added
    }

    /// Whether nothing but the driver keeps from taking more.
    fn is_dry(&self) -> bool {
        let active = self.active.as_ref().filter(|active| !active.may_take());
        active.is_some_and(|active| active.is_open() && active.any_lane(LaneState::Dry))
            && !self.free.is_empty()
    }

    /// Takes what there is in each queue, at most a turn of it. How many requests that was.
    fn take_all(&mut self) -> u32 {
        let lanes = self.active.as_ref().map_or(0, |active| active.lanes.len());
        let mut taken = 0;
        for lane in 0..lanes {
            for _ in 0..TURN {
                if !self.can_go_on() || !self.take_one(lane) {
                    break;
                }
                taken += 1;
            }
        }
        taken
    }

    /// Takes one request of a queue. False when there is none to be taken at present.
    fn take_one(&mut self, at: usize) -> bool {
        let device = Arc::clone(&self.name);
        let rules = self.rules();
        let Some(active) = &mut self.active else {
            return false;
        };
        let memory = Arc::clone(&active.memory);
        let Some(lane) = active
            .lanes
            .get_mut(at)
            .filter(|lane| lane.state == LaneState::Work)
        else {
            return false;
        };
        let chain = match lane.queue.iter(&*memory) {
            Ok(mut chains) => chains.next(),
            Err(error) => {
                lane.stop(&device, &error);
                return false;
            }
        };
        let Some(chain) = chain else {
            lane.state = LaneState::Dry;
            return false;
        };
        let head = chain.head_index();
        let request = match request::parse(chain, &memory, &rules) {
            Ok(request) => request,
            Err(error) => {
                crate::devices::once(&device, &format_args!("{device}: {error}"));
                self.stats.errors += 1;
                lane.answer(&memory, head, 0, &device);
                return true;
            }
        };
        let load = request.load();
        if load > 0 && self.load > 0 && self.load.saturating_add(load) > LOAD_MAX {
            lane.queue.go_to_previous_position();
            active.crowded = true;
            return false;
        }
        if !self.limiter.take(1, request.length.max(load)) {
            lane.queue.go_to_previous_position();
            active.throttled = true;
            self.stats.throttled += 1;
            return false;
        }
        let _no_kick_is_needed_while_we_look = lane.queue.disable_notification(&*memory);
        self.begin(at, head, request, &memory, &device);
        true
    }

    fn begin(&mut self, lane: usize, head: u16, request: Request, memory: &Arc<GuestMemory>, device: &str) {
        let load = request.load();
        let status = match request.command {
            Command::Run(Task::Flush) if self.unsettled.fails_flush() => Status::Failed,
            Command::Run(task) => {
                let Some(slot) = self.free.pop() else {
                    return;
                };
                match self.engine.begin(slot, task, &request.data) {
                    Ok(()) => {
                        if let Some(place) = self.flights.get_mut(usize::from(slot)) {
                            *place = Some(Flight {
                                memory: Arc::clone(memory),
                                lane,
                                head,
                                status: request.status,
                                task,
                                data: request.data,
                                length: request.length,
                                load,
                            });
                            self.load = self.load.saturating_add(load);
                        }
                        return;
                    }
                    Err(error) => {
                        crate::devices::once(
                            device,
                            &format_args!("{device}: cannot begin a request: {error}"),
                        );
                        self.free.push(slot);
                        Status::Failed
                    }
                }
            }
            Command::Identify => identify(&self.id, &request.data, memory),
            Command::Answer(status) => status,
        };
        if status != Status::Ok {
            self.stats.errors += 1;
        }
        let written = match (&request.command, status) {
            (Command::Identify, Status::Ok) => request.length.min(ID_BYTES as u64),
            _ => 0,
        };
        self.answer(lane, head, request.status, status, written);
    }

    /// Answers what the engine has ended. True when there was something.
    pub(super) fn finish(&mut self) -> bool {
        let mut any = false;
        while let Some(completion) = self.engine.take_completion() {
            any = true;
            self.complete(completion);
        }
        // Tasks that have to go on.
        self.engine.submit();
        any
    }

    pub(super) fn complete(&mut self, Completion { slot, result }: Completion) {
        let flying = self.flights.get(usize::from(slot)).and_then(Option::as_ref);
        if let (Some(flight), Err(error), Some(_)) = (flying, &result, &self.active)
            && self.waiting.takes(&flight.task, error)
        {
            self.waiting.push(slot);
            return;
        }
        let Some(flight) = self.land(slot) else {
            return;
        };
        let read = matches!(flight.task, Task::Read { .. });
        if read {
            // Also what a failure left half done has been written, and what a driver asked for that has reset the device since.
            mark_written(&flight.memory, &flight.data);
        }
        if self.active.is_none() {
            return;
        }
        let status = match result {
            Ok(()) => {
                self.stats.count(flight.task, flight.length);
                Status::Ok
            }
            Err(error) => self.failed(&error),
        };
        let written = if read && status == Status::Ok {
            flight.length
        } else {
            0
        };
        self.answer(flight.lane, flight.head, flight.status, status, written);
    }

    /// Frees the slot of a request, and makes room for others.
    pub(super) fn land(&mut self, slot: u16) -> Option<Flight> {
        let flight = self.flights.get_mut(usize::from(slot))?.take()?;
        debug_assert!(self.free.len() < usize::from(SLOTS));
        self.free.push(slot);
        self.load = self.load.saturating_sub(flight.load);
        if let Some(active) = &mut self.active {
            active.crowded = false;
        }
        Some(flight)
    }

    /// Puts a request into the used ring, `written` bytes and a status after it was taken.
    fn answer(&mut self, lane: usize, head: u16, address: GuestAddress, status: Status, written: u64) {
        let Some(active) = &mut self.active else {
            return;
        };
        let memory = Arc::clone(&active.memory);
        let Some(lane) = active.lanes.get_mut(lane) else {
            return;
        };
        let stored = memory.write_obj(status.byte(), address);
        debug_assert!(stored.is_ok(), "the address has been checked");
        // A chain has less than 2^32 bytes, of which one is the status.
        let length = u32::try_from(written).unwrap_or(u32::MAX).saturating_add(1);
        lane.answer(&memory, head, length, &self.name);
    }

    /// Waits until nothing is under way, and answers it.
    pub(super) fn drain(&mut self) {
        while self.engine.under_way() > 0 {
            self.engine.wait();
            self.finish();
        }
        self.notify();
    }
}

/// Writes the serial number into the data, as much as there is room for, with zeroes behind it.
fn identify(id: &str, data: &[Segment], memory: &GuestMemory) -> Status {
    let mut bytes = [0; ID_BYTES];
    for (byte, value) in bytes.iter_mut().zip(id.bytes()) {
        *byte = value;
    }
    let mut rest = bytes.as_slice();
    for segment in data {
        let (now, later) = rest.split_at(rest.len().min(segment.bytes()));
        if memory.write_slice(now, segment.address).is_err() {
            return Status::Failed;
        }
        rest = later;
    }
    Status::Ok
}
