//! Evening out the load by a local search: moves and swaps that lower the imbalance by more than they cost, the best first.
//!
//! What a move gains follows from the two machines alone, because the imbalance is kept as sums (see [`Imbalance`]); so a candidate costs a
//! few nanoseconds however large the pool is.

mod guard;
mod moves;
mod relief;
mod rows;
mod swaps;
mod wander;

use guard::Guard;
use rows::Rows;

use super::legs::Daring;
use super::options::BalanceOptions;
use super::rules::{Rules, cooling_s, mobility};
use super::travel;
use crate::Pool;
#[cfg(feature = "optimal")]
use crate::placing::Exposure;
use crate::state::{InstanceIndex, InstanceSeat, MachineIndex};

/// How often the search begins anew from what it has found; mostly it finds nothing more soon.
const ROUNDS_MAX: u32 = 16;

/// Makes the pool more even. Returns the pool with everything where it should be.
///
/// A bold search finds more even pools, which may be hard to reach: its moves may wait for each other's room in a ring.
pub(super) fn even_out(pool: &Pool, options: &BalanceOptions, daring: Daring) -> Pool {
    let mut search = Evening::new(pool, options, daring);
    search.improve(daring);
    search.pool
}

/// Makes the pool as even as the goal, as far as no failure suffers: the goal's moves that do no harm, and what else helps then.
#[cfg(feature = "optimal")]
pub(super) fn even_out_towards(
    goal: &Pool,
    pool: &Pool,
    options: &BalanceOptions,
    exposure: Exposure,
) -> Pool {
    let daring = Daring::Guarded(exposure);
    let mut search = Evening::new(pool, options, daring);
    search.follow(goal);
    search.improve(daring);
    search.pool
}

/// What is left of the moves that lead from one pool to another, without those that would better be taken back.
pub(super) fn trimmed(from: &Pool, to: &Pool, options: &BalanceOptions) -> Pool {
    let mut search = Evening::new(from, options, Daring::Careful);
    search.begin_round();
    for (instance, seat) in to.instances() {
        if let Some(machine) = seat.machine
            && from.instance(instance).machine != Some(machine)
        {
            search.seat(instance, machine);
        }
    }
    for _ in 0..ROUNDS_MAX {
        if !search.take_back_what_hardly_helps() {
            break;
        }
    }
    search.pool
}

/// Whether a bold search does more than a careful one.
pub(super) fn wanders(pool: &Pool, options: &BalanceOptions) -> bool {
    let free = pool.instances().filter(|(_, seat)| {
        let counts = seat
            .machine
            .is_some_and(|machine| pool.machine(machine).is_balanced());
        counts && !is_frozen(seat, pool.now_s(), options)
    });
    wander::is_small_enough(free.count())
}

/// What stays where it is.
fn is_frozen(seat: &InstanceSeat, now_s: i64, options: &BalanceOptions) -> bool {
    mobility(seat).is_err() || cooling_s(seat, now_s, options.cooldown_s).is_some()
}

/// Whether a machine is expected to run out of CPU.
pub(super) fn is_overloaded(pool: &Pool, machine: MachineIndex, options: &BalanceOptions) -> bool {
    let seat = pool.machine(machine);
    seat.is_balanced()
        && seat.demand.with_margin(options.cpu.deviations) > options.overload * seat.offered_threads
        && !seat.instances.is_empty()
}

/// The best that a single move of this instance would gain, in units of the imbalance, with the machine; `None` where no machine takes it.
pub(super) fn best_gain(
    pool: &Pool,
    instance: InstanceIndex,
    options: &BalanceOptions,
) -> Option<(f64, MachineIndex)> {
    let rows = Rows::of(pool);
    let rules = Rules::new(options.cpu);
    rows.best_target(pool, instance, &rules, &|_| false)
}

/// What a move must gain in units of the imbalance: its cost is meant for one machine's load, of which the imbalance is the mean.
pub(super) fn needed_gain(pool: &Pool, instance: InstanceIndex, options: &BalanceOptions) -> f64 {
    let machines = f64::from(pool.imbalance().machines().max(1));
    options.cost.of_duration(travel::seconds_out(pool, instance)) / machines
}

/// Which machines come into question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    NotRefused,
}

struct Evening<'a> {
    options: &'a BalanceOptions,
    rules: Rules,
    pool: Pool,
    rows: Rows,
    /// Where each instance was when the round began.
    origin: Vec<Option<MachineIndex>>,
    /// What stays where it is.
    frozen: Vec<bool>,
    /// What each instance's move must gain.
    needed: Vec<f64>,
    /// Where each instance was when the search began.
    home: Vec<Option<MachineIndex>>,
    /// How many more may be elsewhere in the end.
    moves_left: u32,
    /// Whether the pool is uneven enough to begin; else only what must move does.
    is_uneven: bool,
    /// Who minds what failures would do.
    guard: Option<Guard>,
}

impl<'a> Evening<'a> {
    fn new(pool: &Pool, options: &'a BalanceOptions, daring: Daring) -> Self {
        let now_s = pool.now_s();
        let frozen = pool
            .instances()
            .map(|(_, seat)| is_frozen(seat, now_s, options))
            .collect();
        let rows = Rows::of(pool);
        let machines = rows.count();
        let needed = pool
            .instances()
            .map(|(index, _)| options.cost.of_duration(travel::seconds_out(pool, index)) / machines)
            .collect();
        Self {
            options,
            rules: Rules::new(options.cpu),
            pool: pool.clone(),
            rows,
            origin: Vec::new(),
            frozen,
            needed,
            home: pool.instances().map(|(_, seat)| seat.machine).collect(),
            moves_left: options.moves_max,
            is_uneven: pool.imbalance().value() > options.begin,
            guard: match daring {
                Daring::Guarded(exposure) | Daring::Relief(exposure) => Guard::of(pool, exposure),
                Daring::Bold | Daring::Careful => None,
            },
        }
    }

    fn improve(&mut self, daring: Daring) {
        if let Daring::Relief(_) = daring {
            self.begin_round();
            self.mend();
            self.relieve();
            return;
        }
        for _ in 0..ROUNDS_MAX {
            self.begin_round();
            self.mend();
            self.relieve();
            self.climb();
            if daring == Daring::Bold && self.wander() {
                self.climb();
            }
            // Each has gained more than it costs; what is given back could only be spent once more.
            if self.moves_left == 0 {
                break;
            }
            self.take_back_what_hardly_helps();
            if !self.has_changed() {
                break;
            }
        }
    }

    /// Makes the moves that lead to a goal, as far as they fit one by one and no failure suffers; again as long as that goes on.
    #[cfg(feature = "optimal")]
    fn follow(&mut self, goal: &Pool) {
        self.begin_round();
        let mut waiting: Vec<(InstanceIndex, MachineIndex)> = self
            .pool
            .instances()
            .filter(|(instance, _)| self.is_free(*instance))
            .filter_map(|(instance, seat)| {
                let to = goal.instance(instance).machine?;
                (seat.machine != Some(to)).then_some((instance, to))
            })
            .collect();
        loop {
            let before = waiting.len();
            waiting.retain(|(instance, to)| {
                let goes = self.moves_left > 0
                    && self.rules.fits(&self.pool, *instance, *to)
                    && self.admits(&[(*instance, *to)]);
                if goes {
                    self.seat(*instance, *to);
                }
                !goes
            });
            if waiting.len() == before {
                return;
            }
        }
    }

    /// Moves and swaps as long as any gains more than it costs.
    fn climb(&mut self) {
        loop {
            self.move_all();
            if !self.swap_some() {
                return;
            }
        }
    }

    fn begin_round(&mut self) {
        self.origin = self.pool.instances().map(|(_, seat)| seat.machine).collect();
        if let Some(guard) = &mut self.guard {
            guard.begin_round();
        }
    }

    fn has_changed(&self) -> bool {
        self.pool
            .instances()
            .zip(&self.origin)
            .any(|((_, seat), origin)| seat.machine != *origin)
    }

    fn is_free(&self, instance: InstanceIndex) -> bool {
        !self.frozen.get(instance.0 as usize).copied().unwrap_or(true)
    }

    /// What moving it must gain now: one that has left its origin has paid already, whichever machine it ends on.
    fn must_gain(&self, instance: InstanceIndex) -> f64 {
        const NO_LESS: f64 = 1e-12;
        let origin = self.origin.get(instance.0 as usize).copied().flatten();
        if origin != self.pool.instance(instance).machine {
            return NO_LESS;
        }
        let needed = self
            .needed
            .get(instance.0 as usize)
            .copied()
            .unwrap_or(f64::INFINITY);
        needed.max(NO_LESS)
    }

    /// A plan begins at one threshold and is content with a lower one.
    fn is_content(&self) -> bool {
        !self.is_uneven || self.pool.imbalance().value() <= self.options.end || self.moves_left == 0
    }

    /// Whether no failure suffers if all of these move.
    fn admits(&mut self, moves: &[(InstanceIndex, MachineIndex)]) -> bool {
        match &mut self.guard {
            Some(guard) => guard.admits(&self.pool, moves),
            None => true,
        }
    }

    /// Where the instance should rather be, and what that gains; among all machines, or those that the guard has not refused to it.
    fn best_target(&self, instance: InstanceIndex, among: Among) -> Option<(f64, MachineIndex)> {
        let is_barred = |machine| {
            let guard = self.guard.as_ref().filter(|_| among == Among::NotRefused);
            guard.is_some_and(|guard| guard.bars(instance, machine))
        };
        self.rows
            .best_target(&self.pool, instance, &self.rules, &is_barred)
    }

    /// A move that must be made is made, whatever that does to failures.
    fn insist(&mut self, instance: InstanceIndex, to: MachineIndex) {
        if let Some(guard) = &mut self.guard {
            guard.insist(&self.pool, instance, to);
        }
        self.seat(instance, to);
    }

    fn seat(&mut self, instance: InstanceIndex, to: MachineIndex) {
        if let Some(guard) = &mut self.guard {
            guard.follow(&self.pool, instance, to);
        }
        let from = self.pool.instance(instance).machine;
        match (self.is_home(instance, from), self.is_home(instance, Some(to))) {
            (true, false) => self.moves_left = self.moves_left.saturating_sub(1),
            (false, true) => self.moves_left = self.moves_left.saturating_add(1),
            (true, true) | (false, false) => {}
        }
        self.pool.seat(instance, to);
        self.rows.refresh(&self.pool, to);
        if let Some(from) = from {
            self.rows.refresh(&self.pool, from);
        }
    }

    /// Whether the instance was there when the search began.
    fn is_home(&self, instance: InstanceIndex, machine: Option<MachineIndex>) -> bool {
        self.home.get(instance.0 as usize).copied().flatten() == machine
    }

    /// How many moves more it takes that the instance goes there: none where it has left its home already.
    fn moves_for(&self, instance: InstanceIndex, to: MachineIndex) -> u32 {
        let is_at_home = self.is_home(instance, self.pool.instance(instance).machine);
        u32::from(is_at_home && !self.is_home(instance, Some(to)))
    }

    /// The free ones on a machine, in an order that does not depend on how they came there.
    fn free_on(&self, machine: MachineIndex) -> Vec<InstanceIndex> {
        let mut free: Vec<InstanceIndex> = self
            .pool
            .machine(machine)
            .instances
            .iter()
            .copied()
            .filter(|instance| self.is_free(*instance))
            .collect();
        free.sort_unstable();
        free
    }
}
