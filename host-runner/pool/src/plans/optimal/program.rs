//! What all programs share: the choices, what machines hold, and who goes with whom.

use good_lp::solvers::{ResolutionError, SolutionStatus};
use good_lp::{
    Constraint, Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, highs, variable,
};

use super::CHOICES_MAX;
use crate::Pool;
use crate::inventory::{Activity, AffinityKind, MachineState};
use crate::plans::error::PlanError;
use crate::plans::options::{CpuLimit, How};
use crate::plans::plan::{Solver, SolverUsed};
use crate::plans::rules::{Rules, cooling_s, mobility};
use crate::state::{AskedTarget, InstanceIndex, InstanceSeat, MachineIndex};

/// One machine that an instance may be on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Its place among the program's machines.
    pub(super) place: usize,
    pub(super) machine: MachineIndex,
    /// 1 where the instance is there.
    pub(super) chosen: Variable,
}

/// A program in the making.
pub(super) struct Program<'a> {
    /// Where everything is.
    pub(super) start: &'a Pool,
    /// A good answer that is known already: the solver begins with it.
    pub(super) known: &'a Pool,
    /// The pool without what may move.
    pub(super) base: Pool,
    pub(super) free: Vec<InstanceIndex>,
    pub(super) machines: Vec<MachineIndex>,
    /// For each free instance, in their order.
    pub(super) choices: Vec<Vec<Choice>>,
    pub(super) objective: Expression,
    variables: ProblemVariables,
    begin: Vec<(Variable, f64)>,
    constraints: Vec<Constraint>,
}

/// What may move, and where to.
pub(super) struct Field<'a> {
    pub(super) start: &'a Pool,
    pub(super) known: &'a Pool,
    pub(super) free: Vec<InstanceIndex>,
    pub(super) machines: Vec<MachineIndex>,
    pub(super) rules: Rules,
}

/// How a program was solved.
pub(super) struct Solved {
    /// Where each free instance is, in their order; `None` where it has no place.
    pub(super) places: Vec<Option<MachineIndex>>,
    pub(super) used: SolverUsed,
}

impl<'a> Program<'a> {
    /// The choices, and the constraints that hold for every kind of plan but one: that each instance is somewhere.
    pub(super) fn new(field: Field<'a>, cpu: &CpuLimit) -> Result<Self, PlanError> {
        let (instances, machines) = (field.free.len(), field.machines.len());
        if instances.saturating_mul(machines) > CHOICES_MAX {
            return Err(PlanError::TooLarge {
                instances,
                machines,
                variables: instances.saturating_mul(machines),
                variables_max: CHOICES_MAX,
            });
        }
        let mut base = field.start.clone();
        for instance in &field.free {
            base.unseat(*instance);
        }
        let mut program = Self {
            start: field.start,
            known: field.known,
            base,
            free: field.free,
            machines: field.machines,
            choices: Vec::new(),
            objective: Expression::default(),
            variables: ProblemVariables::new(),
            begin: Vec::new(),
            constraints: Vec::new(),
        };
        program.add_choices(&field.rules);
        for place in 0..program.machines.len() {
            program.hold_memory(place);
            program.hold_vcpus(place);
            program.hold_disks(place);
            program.hold_cpu(place, cpu);
        }
        program.keep_company();
        Ok(program)
    }

    /// For what may move, between the machines that are ready; each instance is on one of them.
    pub(super) fn between_ready(
        start: &'a Pool,
        known: &'a Pool,
        cpu: &CpuLimit,
        cooldown_s: u32,
    ) -> Result<Self, PlanError> {
        let is_ready = |machine| start.machine(machine).state == MachineState::Ready;
        let is_free = |seat: &InstanceSeat| {
            mobility(seat).is_ok()
                && cooling_s(seat, start.now_s(), cooldown_s).is_none()
                && seat.machine.is_some_and(is_ready)
        };
        let free = start.instances().filter(|(_, seat)| is_free(seat));
        let machines = start.machines().map(|(machine, _)| machine);
        let field = Field {
            start,
            known,
            free: free.map(|(index, _)| index).collect(),
            machines: machines.filter(|machine| is_ready(*machine)).collect(),
            rules: Rules::new(*cpu),
        };
        let mut program = Self::new(field, cpu)?;
        for place in 0..program.choices.len() {
            let mut somewhere = Expression::default();
            for choice in program.choices.get(place).into_iter().flatten() {
                somewhere += choice.chosen;
            }
            program.require(constraint!(somewhere == 1.0));
        }
        Ok(program)
    }

    /// The pool with everything where the solver has put it.
    pub(super) fn goal(self, how: &How) -> Result<(Pool, SolverUsed), PlanError> {
        let free = self.free.clone();
        let mut goal = self.start.clone();
        let solved = self.solve(how)?;
        for (instance, place) in free.iter().zip(&solved.places) {
            if let Some(machine) = place {
                goal.seat(*instance, *machine);
            }
        }
        Ok((goal, solved.used))
    }

    /// A variable, and the value that it has in the answer that is known.
    pub(super) fn binary(&mut self, known: bool) -> Variable {
        let known = f64::from(u8::from(known));
        let added = self.variables.add(variable().binary().initial(known));
        self.begin.push((added, known));
        added
    }

    /// A variable that is not negative.
    pub(super) fn amount(&mut self, known: f64) -> Variable {
        let known = known.max(0.0);
        let added = self.variables.add(variable().min(0.0).initial(known));
        self.begin.push((added, known));
        added
    }

    pub(super) fn require(&mut self, constraint: Constraint) {
        self.constraints.push(constraint);
    }

    fn add_choices(&mut self, rules: &Rules) {
        for place in 0..self.free.len() {
            let Some(instance) = self.free.get(place).copied() else {
                continue;
            };
            let mut choices = Vec::new();
            for (place, machine) in self.machines.clone().into_iter().enumerate() {
                let stays = self.start.instance(instance).machine == Some(machine);
                if stays || rules.fits(&self.base, instance, machine) {
                    let known = self.known.instance(instance).machine == Some(machine);
                    let chosen = self.binary(known);
                    choices.push(Choice {
                        place,
                        machine,
                        chosen,
                    });
                }
            }
            self.choices.push(choices);
        }
    }

    /// The sum over the instances on a machine of what each of them counts.
    pub(super) fn sum(&self, place: usize, counts: impl Fn(InstanceIndex) -> f64) -> Expression {
        let mut sum = Expression::default();
        for (instance, choices) in self.free.iter().zip(&self.choices) {
            for choice in choices.iter().filter(|choice| choice.place == place) {
                sum += counts(*instance) * choice.chosen;
            }
        }
        sum
    }

    fn runs(&self, instance: InstanceIndex) -> bool {
        self.start.instance(instance).activity == Activity::Running
    }

    fn machine(&self, place: usize) -> MachineIndex {
        self.machines.get(place).copied().unwrap_or(MachineIndex(0))
    }

    /// What an instance takes of a machine's memory, MiB.
    pub(super) fn memory_mib(&self, place: usize, instance: InstanceIndex) -> f64 {
        if !self.runs(instance) {
            return 0.0;
        }
        let overhead = self.base.machine(self.machine(place)).overhead_mib;
        to_f64(self.start.instance(instance).asked.memory_mib + overhead)
    }

    /// What an instance is expected to use of the CPU, threads.
    pub(super) fn threads(&self, instance: InstanceIndex) -> f64 {
        let held = self.start.instance(instance);
        if self.runs(instance) {
            held.demand.mean
        } else {
            0.0
        }
    }

    /// What it takes of the disks, MiB.
    pub(super) fn disk_mib(&self, instance: InstanceIndex) -> f64 {
        to_f64(self.start.instance(instance).asked.disk_mib())
    }

    fn hold_memory(&mut self, place: usize) {
        let machine = self.machine(place);
        let (base, now) = (self.base.machine(machine), self.start.machine(machine));
        // What is promised beyond that already may stay so.
        let room =
            to_f64(now.memory_promised_mib.max(base.memory_offered_mib)) - to_f64(base.memory_promised_mib);
        let sum = self.sum(place, |instance| self.memory_mib(place, instance));
        self.require(constraint!(sum <= room));
    }

    fn hold_vcpus(&mut self, place: usize) {
        let machine = self.machine(place);
        let (base, now) = (self.base.machine(machine), self.start.machine(machine));
        let Some(most) = base.vcpus_max else {
            return;
        };
        let room = to_f64(now.vcpus_promised.max(most)) - to_f64(base.vcpus_promised);
        let sum = self.sum(place, |instance| {
            let vcpus = self.start.instance(instance).asked.vcpus;
            if self.runs(instance) {
                f64::from(vcpus)
            } else {
                0.0
            }
        });
        self.require(constraint!(sum <= room));
    }

    /// All disks together, and in each storage those that must be there.
    fn hold_disks(&mut self, place: usize) {
        if self.free.iter().all(|instance| self.disk_mib(*instance) == 0.0) {
            return;
        }
        let machine = self.machine(place);
        let room = to_f64(self.base.machine(machine).disk_free_mib());
        let sum = self.sum(place, |instance| self.disk_mib(instance));
        self.require(constraint!(sum <= room));
        for storage in self.base.machine(machine).storages.clone() {
            let sum = self.sum(place, |instance| {
                let disks = self.start.instance(instance).asked.disks.iter();
                let named: u64 = disks
                    .filter(|disk| disk.storage == Some(storage.name))
                    .map(|disk| disk.size_mib)
                    .sum();
                to_f64(named)
            });
            self.require(constraint!(sum <= to_f64(storage.free_mib())));
        }
    }

    /// The expected use of a machine's CPU with a margin, threads; at least what it is, and just that for the known answer.
    pub(super) fn use_with_margin(&self, place: usize, deviations: f64) -> Expression {
        let machine = self.machine(place);
        let base = self.base.machine(machine).demand;
        let mut used = self.sum(place, |instance| self.threads(instance)) + base.mean;
        let touch = self.known.machine(machine).demand.variance;
        let touch = if touch > 0.0 { touch } else { self.usual_variance() };
        if deviations > 0.0 && touch > 0.0 {
            let slope = 0.5 / touch.sqrt();
            let variance = self.sum(place, |instance| {
                let held = self.start.instance(instance);
                if self.runs(instance) {
                    held.demand.variance
                } else {
                    0.0
                }
            });
            used += deviations * (touch.sqrt() + slope * (base.variance - touch));
            used += variance * (deviations * slope);
        }
        used
    }

    fn usual_variance(&self) -> f64 {
        let all: f64 = self
            .free
            .iter()
            .map(|instance| self.start.instance(*instance).demand.variance)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "at most CHOICES_MAX")]
        let machines = self.machines.len().max(1) as f64;
        all / machines
    }

    fn hold_cpu(&mut self, place: usize, cpu: &CpuLimit) {
        let Some(load_max) = cpu.load_max else {
            return;
        };
        let machine = self.machine(place);
        let used = self.use_with_margin(place, cpu.deviations);
        let now = |(variable, _): &(Variable, f64)| (*variable, self.is_now(*variable));
        let now: std::collections::HashMap<Variable, f64> = self.begin.iter().map(now).collect();
        // A machine that is too busy already may stay so.
        let room = (load_max * self.base.machine(machine).offered_threads).max(used.eval_with(&now));
        self.require(constraint!(used <= room));
    }

    /// 1 where the choice is where the instance is.
    fn is_now(&self, variable: Variable) -> f64 {
        let here = self.free.iter().zip(&self.choices).any(|(instance, choices)| {
            choices.iter().any(|choice| {
                choice.chosen == variable && self.start.instance(*instance).machine == Some(choice.machine)
            })
        });
        f64::from(u8::from(here))
    }

    /// Those that must be apart or together, of the free ones. What stays where it is has been asked with the choices.
    fn keep_company(&mut self) {
        for place in 0..self.free.len() {
            let Some(instance) = self.free.get(place).copied() else {
                continue;
            };
            let wishes: Vec<_> = self
                .start
                .instance(instance)
                .asked
                .hard_affinities()
                .copied()
                .collect();
            for wish in wishes {
                let others = self.matching(instance, wish.target);
                match (wish.kind, wish.target) {
                    (AffinityKind::Apart, _) => {
                        for other in others {
                            self.never_both(place, other);
                        }
                    }
                    (AffinityKind::Together, AskedTarget::Instance(_)) => {
                        for other in others {
                            self.always_both(place, other);
                        }
                    }
                    (AffinityKind::Together, AskedTarget::Group(group)) => {
                        self.some_beside(place, &others, group);
                    }
                    (AffinityKind::Together, _) => {}
                }
            }
        }
    }

    /// The places of the other free ones that a wish is about.
    fn matching(&self, instance: InstanceIndex, target: AskedTarget) -> Vec<usize> {
        let is_meant = |other: InstanceIndex| {
            let seat = self.start.instance(other);
            match target {
                AskedTarget::Instance(id) => seat.id == id,
                AskedTarget::Group(group) => seat.asked.group == Some(group),
                AskedTarget::Tag(_) | AskedTarget::Site(_) => false,
            }
        };
        self.free
            .iter()
            .enumerate()
            .filter(|(_, other)| **other != instance && is_meant(**other))
            .map(|(place, _)| place)
            .collect()
    }

    fn chosen(&self, free: usize, machine: usize) -> Option<Variable> {
        let choices = self.choices.get(free)?;
        choices
            .iter()
            .find(|choice| choice.place == machine)
            .map(|choice| choice.chosen)
    }

    fn never_both(&mut self, one: usize, other: usize) {
        for machine in 0..self.machines.len() {
            if let (Some(one), Some(other)) = (self.chosen(one, machine), self.chosen(other, machine)) {
                self.require(constraint!(one + other <= 1.0));
            }
        }
    }

    fn always_both(&mut self, one: usize, other: usize) {
        for machine in 0..self.machines.len() {
            let one = self
                .chosen(one, machine)
                .map_or(Expression::default(), Expression::from);
            let other = self
                .chosen(other, machine)
                .map_or(Expression::default(), Expression::from);
            self.require(constraint!(one == other));
        }
    }

    fn some_beside(&mut self, one: usize, others: &[usize], group: crate::state::Name<crate::state::Groups>) {
        let stays = self.base.group(group);
        if others.is_empty() && stays.is_none_or(crate::state::Presence::is_empty) {
            return;
        }
        for (machine, index) in self.machines.clone().into_iter().enumerate() {
            let stays_there = self
                .base
                .group(group)
                .is_some_and(|members| members.any_on(index, None));
            let Some(one) = self.chosen(one, machine).filter(|_| !stays_there) else {
                continue;
            };
            let mut beside = Expression::default();
            for other in others.iter().filter_map(|other| self.chosen(*other, machine)) {
                beside += other;
            }
            self.require(constraint!(one <= beside));
        }
    }

    /// Solves it. Where the solver has nothing better than what was known when its time is up, that is the answer.
    pub(super) fn solve(self, how: &How) -> Result<Solved, PlanError> {
        let known: std::collections::HashMap<Variable, f64> = self.begin.iter().copied().collect();
        let known_value = self.objective.eval_with(&known);
        let mut model = self
            .variables
            .minimise(&self.objective)
            .using(highs)
            .set_time_limit(how.solver_seconds_max)
            .set_threads(1);
        model = precise(model)?;
        for constraint in self.constraints {
            model.add_constraint(constraint);
        }
        let choices = &self.choices;
        let known_places = || places(choices, |variable| known.get(&variable).copied().unwrap_or(0.0));
        match model.solve() {
            Ok(found) => {
                let stopped = matches!(found.status(), SolutionStatus::TimeLimit);
                let is_better = self.objective.eval_with(&found) <= known_value + GAP || !stopped;
                Ok(Solved {
                    places: if is_better {
                        places(choices, |variable| found.value(variable))
                    } else {
                        known_places()
                    },
                    used: used(stopped),
                })
            }
            Err(ResolutionError::Other("NoSolutionFound")) => Ok(Solved {
                places: known_places(),
                used: used(true),
            }),
            Err(failed) => Err(PlanError::Solver {
                seconds: how.solver_seconds_max,
                message: failed.to_string(),
            }),
        }
    }
}

/// How near to the best counts as the best, in units of the objective.
const GAP: f64 = 1e-6;

fn precise(
    model: good_lp::solvers::highs::HighsProblem,
) -> Result<good_lp::solvers::highs::HighsProblem, PlanError> {
    let refused = |refused: good_lp::solvers::MipGapError| PlanError::Solver {
        seconds: 0.0,
        message: refused.to_string(),
    };
    model
        .set_mip_rel_gap(1e-6)
        .map_err(refused)?
        .set_mip_abs_gap(1e-6)
        .map_err(refused)
}

fn used(stopped_by_limit: bool) -> SolverUsed {
    SolverUsed {
        solver: Solver::Optimal,
        proven_optimal: !stopped_by_limit,
        stopped_by_limit,
    }
}

fn places(choices: &[Vec<Choice>], value: impl Fn(Variable) -> f64) -> Vec<Option<MachineIndex>> {
    choices
        .iter()
        .map(|choices| {
            choices
                .iter()
                .find(|choice| value(choice.chosen) > 0.5)
                .map(|choice| choice.machine)
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "MiB of a machine are far below 2^52")]
pub(super) fn to_f64(amount: u64) -> f64 {
    amount as f64
}
