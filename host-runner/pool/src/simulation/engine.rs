//! Virtual time: events in order, and between them the meter runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::metrics::Meter;
use super::policies::Policy;
use super::report::{Point, Report};
use super::time::Millis;
use super::traces::Trace;
use super::world::World;

/// What happens at one moment. At the same moment the order of the variants is the order of the events: what ends comes
/// before what begins, and decisions see all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// An instance's migration ends.
    Arrived(usize),
    /// A machine works again.
    Recover(usize),
    /// A machine fails.
    Fail(usize),
    /// An instance is gone for good.
    Depart(usize),
    /// An instance is ordered.
    Arrive(usize),
    /// The first look at what was placed: nothing is decided, because nothing but sizes was known until now.
    Look,
    /// The policy looks and decides.
    Decide,
}

/// What a run takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// When the policy first decides.
    pub(super) first_decision: Millis,
    /// From one decision to the next.
    pub(super) interval: Millis,
    /// From when on figures count.
    pub(super) counted_from: Millis,
    /// Whether an instance that asks for nothing is taken for finished, and is gone for good.
    pub(super) idle_is_finished: bool,
}

impl Rules {
    /// Decisions every `interval`, and nothing peculiar.
    pub(super) fn plain(interval: Millis) -> Self {
        Self {
            first_decision: interval,
            interval,
            counted_from: Millis::ZERO,
            idle_is_finished: false,
        }
    }
}

/// One run that has not ended.
pub(super) struct Engine<'a> {
    world: World,
    loads: &'a [Trace],
    policy: &'a mut dyn Policy,
    events: BinaryHeap<Reverse<(Millis, Event)>>,
    meter: Meter,
    now: Millis,
    rules: Rules,
    series: Vec<Point>,
}

impl<'a> Engine<'a> {
    /// A run of `world`, whose instances have `loads`, decided by `policy` every `interval`.
    pub(super) fn new(world: World, loads: &'a [Trace], policy: &'a mut dyn Policy, rules: Rules) -> Self {
        let meter = Meter::new(world.machines().len());
        Self {
            world,
            loads,
            policy,
            events: BinaryHeap::new(),
            meter,
            now: Millis::ZERO,
            rules,
            series: Vec::new(),
        }
    }

    /// Something that will happen.
    pub(super) fn schedule(&mut self, at: Millis, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    /// Runs until `end`: what happens then is not part of the run.
    pub(super) fn run(mut self, end: Millis) -> Report {
        self.schedule(Millis::ZERO, Event::Look);
        self.schedule(self.rules.first_decision, Event::Decide);
        while let Some(Reverse((at, _))) = self.events.peek() {
            if *at >= end {
                break;
            }
            self.advance(*at);
            self.happen();
        }
        self.advance(end);
        Report {
            machines: self.world.machines().len(),
            instances: self.world.instances().len(),
            totals: self.meter.totals(),
            series: self.series,
        }
    }

    /// Lets time pass: everything stays as it is until `to`.
    fn advance(&mut self, to: Millis) {
        let length = to - self.now.max(self.rules.counted_from);
        self.meter.hold(&self.world, length);
        self.now = to;
        self.world.sample(self.loads, to);
        self.meter.draw(&self.world, length);
    }

    /// Everything that happens now.
    fn happen(&mut self) {
        if self.rules.idle_is_finished && self.now > Millis::ZERO {
            self.remove_finished();
        }
        while let Some(Reverse((_, event))) = self
            .events
            .peek()
            .copied()
            .filter(|Reverse((at, _))| *at == self.now)
        {
            self.events.pop();
            match event {
                Event::Arrived(instance) => self.world.end_migration(instance, self.now),
                Event::Recover(machine) => self.world.recover(machine),
                Event::Fail(machine) => self.world.fail(machine),
                Event::Depart(instance) => self.world.depart(instance),
                Event::Arrive(instance) => {
                    self.world.arrive(instance);
                    let _ = self.place(instance);
                }
                Event::Look => self.look(),
                Event::Decide => self.decide(),
            }
        }
        self.world.sample(self.loads, self.now);
        self.meter.settle(&self.world);
    }

    /// Where the policy knows no machine, the instance waits; false.
    fn place(&mut self, instance: usize) -> bool {
        let machine = self.policy.place(&self.world, instance);
        if let Some(machine) = machine
            && self.world.admits_first(machine, instance)
        {
            self.world.place(instance, machine);
        }
        machine.is_some()
    }

    /// Tries those that wait. Whoever is no smaller than one that found no place finds none either, as nothing has become free since: in
    /// a full pool, thousands that wait cost no more than a few.
    fn place_waiting(&mut self) {
        let mut too_large: Vec<[f64; 3]> = Vec::new();
        for instance in self.waiting() {
            let Some((spec, _)) = self.world.instance(instance) else {
                continue;
            };
            let size = [spec.mips(), spec.vcpu_mips, spec.memory_mb];
            let is_no_smaller = |other: &[f64; 3]| size.iter().zip(other).all(|(own, other)| own >= other);
            if !too_large.iter().any(is_no_smaller) && !self.place(instance) {
                too_large.push(size);
            }
        }
    }

    fn look(&mut self) {
        self.world.sample(self.loads, self.now);
        self.world.remember();
        self.note();
    }

    fn decide(&mut self) {
        self.world.sample(self.loads, self.now);
        self.world.remember();
        self.place_waiting();
        self.world.sample(self.loads, self.now);
        for (instance, machine) in self.policy.decide(&self.world, self.now) {
            if let Some(migration) = self.world.begin_migration(instance, machine, self.now) {
                self.meter.count_migration();
                self.schedule(migration.until, Event::Arrived(instance));
            }
        }
        self.world.sample(self.loads, self.now);
        self.note();
        self.schedule(self.now + self.rules.interval, Event::Decide);
    }

    fn note(&mut self) {
        self.meter.settle(&self.world);
        self.series.push(Point::of(&self.world, &self.meter, self.now));
    }

    fn waiting(&self) -> Vec<usize> {
        let guests = self.world.instances().enumerate();
        guests
            .filter(|(_, (_, guest))| guest.alive && guest.machine.is_none())
            .map(|(index, _)| index)
            .collect()
    }

    fn remove_finished(&mut self) {
        let guests = self.world.instances().enumerate();
        let finished: Vec<usize> = guests
            .filter(|(_, (_, guest))| {
                guest.machine.is_some() && guest.migration.is_none() && guest.asked == 0.0
            })
            .map(|(index, _)| index)
            .collect();
        for instance in finished {
            self.world.depart(instance);
        }
    }
}
