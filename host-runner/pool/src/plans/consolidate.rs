//! Using fewer machines, so that others can sleep.

use super::draft::{Draft, Moment};
use super::error::PlanError;
use super::figures::{judge, left_out, nearest};
use super::options::ConsolidateOptions;
use super::plan::{LeftOut, LeftOutReason, MoveReason, Plan, PlanKind, Solver, SolverUsed, StaysAwake};
use super::rules::{Rules, cooling_s, mobility};
use super::travel;
use crate::Pool;
use crate::consolidation::{self, Constraints, Left, Outcome, Parameters};
use crate::inventory::{Activity, MachineState};
use crate::state::{InstanceIndex, MachineIndex};

/// How the same work can be done with fewer machines awake: machine after machine is emptied while all of its instances fit elsewhere, with
/// CPU to spare, and sleeps; machines that are too busy are relieved before that. It calls the same [`consolidation`] that the simulator
/// measures.
///
/// A machine stays awake where its sleep saves less than its moves are worth, where more failures could not be recovered than before, and
/// where too few would be awake. [`Plan::left_out`] says so.
///
/// # Errors
/// An option is out of its range, or the solver that was asked for cannot be had.
pub fn consolidate(pool: &Pool, options: &ConsolidateOptions) -> Result<Plan, PlanError> {
    options.check()?;
    let task = Task {
        now: pool,
        rules: Rules::new(options.cpu),
        options,
    };
    let (found, found_by) = match options.how.solver {
        Solver::Heuristic => (task.search(), SolverUsed::HEURISTIC),
        Solver::Optimal => {
            let (goal, found_by) = super::optimal::consolidate(pool, options, &task.search().goal)?;
            (task.found(goal), found_by)
        }
    };
    Ok(task.plan(found, found_by))
}

/// Where everything should be, and which machines sleep then.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) goal: Pool,
    wake: Vec<MachineIndex>,
    sleep: Vec<MachineIndex>,
    left_out: Vec<LeftOut>,
}

struct Task<'a> {
    now: &'a Pool,
    rules: Rules,
    options: &'a ConsolidateOptions,
}

impl Task<'_> {
    fn search(&self) -> Found {
        let instances = self.instances();
        let mut tried = Tried {
            pool: self.now.clone(),
            instances: instances.iter().map(|(index, _)| *index).collect(),
        };
        let shapes: Vec<consolidation::Instance> = instances.iter().map(|(_, shape)| *shape).collect();
        let outcome = consolidation::consolidate(&self.machines(), &shapes, &self.parameters(), &mut tried);
        let wake: Vec<MachineIndex> = outcome
            .wake
            .iter()
            .map(|machine| numbered(*machine))
            .filter(|machine| self.now.machine(*machine).state == MachineState::Asleep)
            .collect();
        let mut goal = tried.pool;
        for machine in &wake {
            goal.set_machine_state(*machine, MachineState::Ready);
        }
        let left_out = self.left(&outcome, &tried.instances);
        let mut found = self.found(goal);
        found.wake = wake;
        found.left_out.extend(left_out);
        found
    }

    /// What sleeps if everything is there; what had better stay awake gets its instances back.
    fn found(&self, mut goal: Pool) -> Found {
        let mut left_out = Vec::new();
        let mut sleep = empty(&goal);
        let mut kept = Vec::new();
        while let Some(machine) = sleep.pop() {
            if let Some(why) = self.why_awake(&goal, machine, &sleep) {
                self.give_back(&mut goal, machine);
                left_out.push(self.stays_awake(machine, why));
            } else {
                kept.push(machine);
            }
        }
        kept.reverse();
        for machine in kept.split_off(self.may_sleep(&goal, &kept)) {
            self.give_back(&mut goal, machine);
            left_out.push(self.stays_awake(machine, StaysAwake::Recovery));
        }
        Found {
            goal,
            wake: Vec::new(),
            sleep: kept,
            left_out,
        }
    }

    fn why_awake(
        &self,
        goal: &Pool,
        machine: MachineIndex,
        others_asleep: &[MachineIndex],
    ) -> Option<StaysAwake> {
        let ready = goal
            .machines()
            .filter(|(_, seat)| seat.state == MachineState::Ready)
            .count();
        let awake = ready.saturating_sub(others_asleep.len() + 1);
        let min = self.options.awake_min;
        if awake < min as usize {
            return Some(StaysAwake::AwakeMin { machines: min });
        }
        let mut with_its_own = goal.clone();
        self.give_back(&mut with_its_own, machine);
        let saved_w = power_without(&with_its_own, others_asleep, None)
            - power_without(goal, others_asleep, Some(machine));
        let minutes: f64 = self
            .came_from(machine)
            .map(|instance| {
                let to = goal.instance(instance).machine.unwrap_or(machine);
                travel::seconds(self.now, instance, to) / 60.0
            })
            .sum();
        let needed_w = minutes * self.options.watts_per_minute;
        (saved_w < needed_w || saved_w <= 0.0).then_some(StaysAwake::SavesTooLittle { saved_w, needed_w })
    }

    /// How many of these machines, the first ones, may sleep without making failures worse. The fewer sleep, the more room there is for a
    /// failure: so a few looks are enough.
    fn may_sleep(&self, goal: &Pool, sleep: &[MachineIndex]) -> usize {
        if !self.options.keep_recovery || sleep.is_empty() {
            return sleep.len();
        }
        let before = judge(self.now).exposure();
        let is_kept = |count: usize| {
            let mut pool = goal.clone();
            for (number, machine) in sleep.iter().enumerate() {
                if number < count {
                    pool.set_machine_state(*machine, MachineState::Asleep);
                } else {
                    self.give_back(&mut pool, *machine);
                }
            }
            !judge(&pool).is_worse_than(before)
        };
        if is_kept(sleep.len()) {
            return sleep.len();
        }
        let (mut good, mut bad) = (0, sleep.len());
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            if is_kept(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// What was on a machine at first.
    fn came_from(&self, machine: MachineIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.now.machine(machine).instances.iter().copied()
    }

    fn give_back(&self, goal: &mut Pool, machine: MachineIndex) {
        let mut own: Vec<InstanceIndex> = self.came_from(machine).collect();
        own.sort_unstable();
        for instance in own {
            goal.seat(instance, machine);
        }
    }

    fn stays_awake(&self, machine: MachineIndex, why: StaysAwake) -> LeftOut {
        let seat = self.now.machine(machine);
        LeftOut {
            instance: None,
            name: None,
            reason: LeftOutReason::StaysAwake {
                machine: seat.id,
                machine_name: seat.name.to_string(),
                why,
            },
        }
    }

    fn plan(&self, found: Found, found_by: SolverUsed) -> Plan {
        let mut start = self.now.clone();
        for machine in &found.wake {
            start.set_machine_state(*machine, MachineState::Ready);
        }
        let draft = Draft {
            start,
            goal: found.goal,
            wake: found.wake,
            sleep: found.sleep.clone(),
            left_out: found.left_out,
            ..Draft::nothing(self.now, PlanKind::Consolidate, self.rules, found_by)
        };
        let sleep = found.sleep;
        draft.finish(&|moment| reason(moment, &sleep)).plan
    }

    fn parameters(&self) -> Parameters {
        Parameters {
            // The machines' CPU is already what may be used of it.
            hot: 1.0,
            relief_z: self.options.cpu.deviations / 2.0,
            pack_z: self.options.cpu.deviations,
        }
    }

    fn machines(&self) -> Vec<consolidation::Machine> {
        let load_max = self.options.cpu.load_max.unwrap_or(f64::INFINITY);
        self.now
            .machines()
            .map(|(_, seat)| {
                let own: f64 = seat
                    .instances
                    .iter()
                    .map(|instance| self.now.instance(*instance))
                    .filter(|held| held.activity == Activity::Running)
                    .map(|held| held.demand.mean)
                    .sum();
                let rest = (seat.demand.mean - own).max(0.0);
                consolidation::Machine {
                    cpu: (seat.offered_threads * load_max - rest).clamp(0.0, f64::MAX),
                    // The filters know better.
                    memory: f64::INFINITY,
                    full_watts: seat.power.at(1.0),
                    // What is empty already takes nothing that is not pressed for room: it can sleep.
                    awake: seat.state == MachineState::Ready && !seat.instances.is_empty(),
                    open: matches!(seat.state, MachineState::Ready | MachineState::Asleep),
                }
            })
            .collect()
    }

    /// All on machines that are ready.
    fn instances(&self) -> Vec<(InstanceIndex, consolidation::Instance)> {
        self.now
            .instances()
            .filter_map(|(index, seat)| {
                let machine = seat.machine?;
                let is_ready = self.now.machine(machine).state == MachineState::Ready;
                let runs = seat.activity == Activity::Running;
                is_ready.then(|| {
                    let shape = consolidation::Instance {
                        machine: machine.0 as usize,
                        demand: consolidation::Demand {
                            mean: if runs { seat.demand.mean } else { 0.0 },
                            deviation: if runs { seat.demand.variance.sqrt() } else { 0.0 },
                        },
                        memory: 0.0,
                        movable: self.why_held(index).is_none(),
                    };
                    (index, shape)
                })
            })
            .collect()
    }

    fn why_held(&self, instance: InstanceIndex) -> Option<LeftOutReason> {
        let seat = self.now.instance(instance);
        match mobility(seat) {
            Err(reason) => Some(reason),
            Ok(_) => cooling_s(seat, self.now.now_s(), self.options.cooldown_s)
                .map(|remaining_s| LeftOutReason::Cooldown { remaining_s }),
        }
    }

    fn left(&self, outcome: &Outcome, instances: &[InstanceIndex]) -> Vec<LeftOut> {
        let number = |place: usize| instances.get(place).copied();
        outcome
            .left
            .iter()
            .filter_map(|left| match *left {
                Left::TooBusy { machine } => {
                    let seat = self.now.machine(numbered(machine));
                    Some(LeftOut {
                        instance: None,
                        name: None,
                        reason: LeftOutReason::TooBusy {
                            machine: seat.id,
                            machine_name: seat.name.to_string(),
                        },
                    })
                }
                Left::HeldBy { instance, .. } => {
                    let instance = number(instance)?;
                    Some(left_out(self.now, instance, self.why_held(instance)?))
                }
                Left::NoRoomFor { instance, .. } => {
                    let instance = number(instance)?;
                    let (nearest, refusals) = nearest(self.now, instance, &self.rules);
                    Some(left_out(
                        self.now,
                        instance,
                        LeftOutReason::NoPlace { nearest, refusals },
                    ))
                }
            })
            .collect()
    }
}

fn reason(moment: &Moment<'_>, sleep: &[MachineIndex]) -> MoveReason {
    match moment.from {
        Some(from) if !sleep.contains(&from) => MoveReason::Overload {
            load: moment.pool.machine(from).load().cpu,
        },
        _ => MoveReason::EmptyForSleep,
    }
}

fn numbered(machine: usize) -> MachineIndex {
    // MACHINES_MAX is far below.
    MachineIndex(u32::try_from(machine).unwrap_or(u32::MAX))
}

/// The pool while consolidation tries moves.
struct Tried {
    pool: Pool,
    instances: Vec<InstanceIndex>,
}

impl Constraints for Tried {
    fn allows(&self, instance: usize, machine: usize) -> bool {
        self.instances
            .get(instance)
            .is_some_and(|instance| Rules::fits_but_for_cpu(&self.pool, *instance, numbered(machine)))
    }

    fn moved(&mut self, instance: usize, _from: usize, to: usize) {
        if let Some(instance) = self.instances.get(instance) {
            self.pool.seat(*instance, numbered(to));
        }
    }
}

/// Ready machines that hold nothing, the one whose sleep saves most first.
fn empty(goal: &Pool) -> Vec<MachineIndex> {
    let mut empty: Vec<(f64, MachineIndex)> = goal
        .machines()
        .filter(|(_, seat)| seat.state == MachineState::Ready && seat.instances.is_empty())
        .map(|(machine, seat)| (seat.power.at(0.0), machine))
        .collect();
    empty.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    empty.into_iter().map(|(_, machine)| machine).collect()
}

fn power_without(pool: &Pool, asleep: &[MachineIndex], also: Option<MachineIndex>) -> f64 {
    pool.machines()
        .filter(|(machine, seat)| {
            seat.state == MachineState::Ready && !asleep.contains(machine) && also != Some(*machine)
        })
        .map(|(_, seat)| seat.watts(seat.load().cpu))
        .sum()
}
