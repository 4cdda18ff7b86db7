//! A plan that goes on from where the order of its moves left it, leg by leg, until a look from there finds nothing more that may be done
//! and pays.
//!
//! What a leg does depends on nothing but where everything is when it begins. So a plan made from where the last one ends is empty.

use super::draft::{Draft, Finished, HeldBack, Moment, describe};
use super::figures::{Judged, judge, judge_within};
use super::order::{Blocked, Ordered};
use super::plan::MoveReason;
use super::straight::without_to_and_fro;
use super::worth::{Strain, Worth, worths};
use crate::Pool;
use crate::placing::Exposure;
use crate::state::InstanceIndex;

/// How many legs a plan may have. Each makes the pool more even by more than its moves cost, so they become fewer and smaller.
const LEGS_MAX: u32 = 64;

/// How a search may look for where things should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daring {
    /// Whatever is best.
    Bold,
    /// What single moves and swaps lead to.
    Careful,
    /// The same without any move after which failures would be worse than this, unless it must be made.
    Guarded(Exposure),
    /// What must be done, and no more; if possible without making failures worse than this.
    Relief(Exposure),
}

/// Who says where everything should be, and what that is worth.
pub(super) trait Search {
    /// Given where it is, in at most so many moves.
    fn goal(&self, pool: &Pool, daring: Daring, moves_max: u32) -> Pool;

    /// Whether a bold goal can be another than a careful one.
    fn dares(&self, pool: &Pool) -> bool;

    /// Of the moves that lead from one pool to another, those that help.
    fn trimmed(&self, from: &Pool, to: &Pool) -> Pool;

    /// What there is that must be done.
    fn strain(&self, pool: &Pool) -> Strain;

    /// What moving an instance from where it is must gain.
    fn needed_gain(&self, pool: &Pool, instance: InstanceIndex) -> f64;

    /// Why a move is made.
    fn reason(&self, moment: &Moment<'_>) -> MoveReason;
}

impl Draft<'_> {
    /// A plan for a search that says where things should be, given where they are: leg by leg, until none is found that may be gone and pays.
    /// A search from where it ends leads nowhere else.
    pub(super) fn finish_by(self, keep_recovery: bool, search: &dyn Search) -> Finished {
        let start = self.start.seated_anew();
        let before = judge(&start);
        let mut journey = self.journey(keep_recovery, search);
        let mut way = Ordered::nowhere(start.clone());
        let mut judged = before.clone();
        for _ in 0..LEGS_MAX {
            let room = (self.moves_max as usize).saturating_sub(way.count());
            let stage = journey.stage(&way.end, &judged, room);
            match journey.next_leg(&stage) {
                Ok((leg, then)) => {
                    way = journey.straightened(&start, way.then(leg));
                    judged = then;
                }
                Err(blocked) => {
                    way.blocked = blocked;
                    break;
                }
            }
        }
        let held_back = journey.held_back;
        let steps = describe(&start, &way.steps, &|moment| search.reason(moment));
        let finished = self.put_together(steps, way, before, Some(judged));
        finished.holding_back(held_back)
    }

    /// A plan towards the draft's goal if that can be reached as a whole and makes no failure worse; else one that goes as far towards it
    /// as it may and pays, or that minds failures, as `search` says where things should be instead.
    #[cfg(feature = "optimal")]
    pub(super) fn finish_towards(mut self, keep_recovery: bool, search: &dyn Search) -> Finished {
        let start = self.start.seated_anew();
        let before = judge(&start);
        let mut journey = self.journey(keep_recovery, search);
        let stage = journey.stage(&start, &before, self.moves_max as usize);
        let goal = self.leg(&start, &self.goal);
        let mut is_best = true;
        let is_whole = goal.blocked.is_empty() && goal.count() <= stage.room;
        let found = match journey.admits(&stage, &goal) {
            // The solver measures evenness another way: what it has weighed is not weighed again.
            Ok(judged) if is_whole => Ok((goal, judged)),
            admitted => {
                is_best = admitted.is_ok();
                journey.as_far_as_it_goes(&stage, goal)
            }
        };
        let held_back = journey.held_back;
        let (leg, judged) = found.unwrap_or_else(|blocked| {
            let nowhere = Ordered::nowhere(start.clone());
            (Ordered { blocked, ..nowhere }, before.clone())
        });
        self.found_by.proven_optimal &= is_best;
        let steps = describe(&start, &leg.steps, &|moment| search.reason(moment));
        let finished = self.put_together(steps, leg, before, Some(judged));
        finished.holding_back(held_back)
    }

    fn journey<'b>(&'b self, keep_recovery: bool, search: &'b dyn Search) -> Journey<'b> {
        Journey {
            draft: self,
            search,
            keep_recovery,
            held_back: HeldBack::default(),
        }
    }
}

/// Where a leg begins.
struct Stage {
    pool: Pool,
    /// What failures do there.
    judged: Judged,
    strain: Strain,
    /// What failures may do in the end; `None` where that is not minded.
    allowed: Option<Exposure>,
    /// The same if what must be done is done: that may make failures worse, if there is no other way.
    allowed_to_relief: Option<Exposure>,
    /// How many moves it may have.
    room: usize,
}

impl Stage {
    /// What failures do to a pool: `Ok` if they may.
    fn admits(&self, pool: &Pool, strain: Strain) -> Result<Judged, Judged> {
        let allowed = if strain.is_less_than(self.strain) {
            self.allowed_to_relief
        } else {
            self.allowed
        };
        let judged = judge_within(pool, allowed);
        if judged.is_worse_than(allowed) {
            Err(judged)
        } else {
            Ok(judged)
        }
    }

    fn moves_max(&self) -> u32 {
        u32::try_from(self.room).unwrap_or(u32::MAX)
    }
}

/// Moves, and what failures do after them.
type Leg = (Ordered, Judged);

/// From leg to leg.
struct Journey<'a> {
    draft: &'a Draft<'a>,
    search: &'a dyn Search,
    keep_recovery: bool,
    /// What was found and refused, for what it does to failures.
    held_back: HeldBack,
}

impl Journey<'_> {
    fn stage(&self, pool: &Pool, judged: &Judged, room: usize) -> Stage {
        let strain = self.search.strain(pool);
        let allowed = judged.exposure().filter(|_| self.keep_recovery);
        let mut stage = Stage {
            pool: pool.clone(),
            judged: judged.clone(),
            strain,
            allowed,
            allowed_to_relief: allowed,
            room,
        };
        if let (Some(exposure), false) = (allowed, strain.is_nothing()) {
            let relieved = self
                .search
                .goal(pool, Daring::Relief(exposure), stage.moves_max());
            let then = judge(&relieved.seated_anew()).exposure();
            stage.allowed_to_relief = then.map_or(allowed, |then| Some(then.or(exposure)));
        }
        stage
    }

    /// A bold leg if it can be gone as a whole; else a careful one, or what must be done alone; or else what was in the way.
    fn next_leg(&mut self, stage: &Stage) -> Result<Leg, Vec<Blocked>> {
        let bold = self.towards(stage, Daring::Bold);
        if bold.is_nowhere() {
            return Err(Vec::new());
        }
        let admitted = self.admits(stage, &bold);
        match admitted {
            Ok(judged) if bold.blocked.is_empty() && self.pays(stage, &bold) => {
                return Ok(self.relief_before(stage, &bold.end).unwrap_or((bold, judged)));
            }
            Err(judged) if self.search.dares(&stage.pool) => self.hold_back(stage, &bold, &judged),
            _ => {}
        }
        if !self.search.dares(&stage.pool) {
            return self.as_far_as_it_goes(stage, bold);
        }
        let careful = self.towards(stage, Daring::Careful);
        self.as_far_as_it_goes(stage, careful)
    }

    /// As far on a leg as pays; where it makes failures worse, on one that minds them; where neither does anything that must be done, that first.
    fn as_far_as_it_goes(&mut self, stage: &Stage, mut leg: Ordered) -> Result<Leg, Vec<Blocked>> {
        if let Err(judged) = self.admits(stage, &leg) {
            self.hold_back(stage, &leg, &judged);
            if let Some(exposure) = stage.allowed_to_relief {
                leg = self.towards(stage, Daring::Guarded(exposure));
            }
        }
        let found = self.best_of(stage, &leg);
        let end = found.as_ref().map_or(&stage.pool, |(leg, _)| &leg.end);
        let relief = self.relief_before(stage, end);
        relief.or(found).ok_or(leg.blocked)
    }

    /// Some of what must be done, where another leg, which ends with a pool, does none of it. Evenness comes later: it is worth what it is worth
    /// after that.
    fn relief_before(&self, stage: &Stage, other: &Pool) -> Option<Leg> {
        if stage.strain.is_nothing() || self.search.strain(other).is_less_than(stage.strain) {
            return None;
        }
        let exposure = stage.allowed_to_relief.unwrap_or(Exposure::ANY);
        let relief = self.towards(stage, Daring::Relief(exposure));
        let found = self.best_of(stage, &relief)?;
        let helps = self.search.strain(&found.0.end).is_less_than(stage.strain);
        helps.then_some(found)
    }

    fn towards(&self, stage: &Stage, daring: Daring) -> Ordered {
        let goal = self.search.goal(&stage.pool, daring, stage.moves_max());
        self.draft.leg(&stage.pool, &goal)
    }

    fn admits(&self, stage: &Stage, leg: &Ordered) -> Result<Judged, Judged> {
        stage.admits(&leg.end, self.search.strain(&leg.end))
    }

    fn hold_back(&mut self, stage: &Stage, leg: &Ordered, judged: &Judged) {
        self.held_back.add(leg, judged, &stage.judged);
    }

    /// Whether a leg may have so many moves, and they are worth it.
    fn pays(&self, stage: &Stage, leg: &Ordered) -> bool {
        let worth = worths(self.search, &stage.pool, leg.hops()).pop();
        leg.count() <= stage.room
            && worth.is_some_and(|worth| worth.pays(stage.strain, self.search.strain(&leg.end)))
    }

    /// The leg, if it may be gone and pays.
    fn good(&self, stage: &Stage, leg: Ordered) -> Option<Leg> {
        if !self.pays(stage, &leg) {
            return None;
        }
        let judged = self.admits(stage, &leg).ok()?;
        Some((leg, judged))
    }

    /// Of a leg's moves, as far as they may be made, those that help; or the first ones, as many as pay best.
    fn best_of(&self, stage: &Stage, leg: &Ordered) -> Option<Leg> {
        let reached = self.cut_back(stage, leg);
        if reached.steps.is_empty() {
            return None;
        }
        if reached.blocked.is_empty() && reached.count() == leg.count() && self.pays(stage, &reached) {
            return self.good(stage, reached);
        }
        let trimmed = self.search.trimmed(&stage.pool, &reached.end);
        let trimmed = self.draft.leg(&stage.pool, &trimmed);
        if trimmed.blocked.is_empty()
            && let Some(found) = self.good(stage, trimmed)
        {
            return Some(found);
        }
        self.good(stage, self.most_worth(stage, &reached)?)
    }

    /// As many of the moves, from the first on, as make no failure worse. Nobody is left half-way on a detour.
    fn cut_back(&self, stage: &Stage, leg: &Ordered) -> Ordered {
        let first = |count: usize| leg.first(&stage.pool, count);
        let may_be_made = |leg: &Ordered| leg.count() <= stage.room && self.admits(stage, leg).is_ok();
        if may_be_made(leg) {
            return first(leg.count());
        }
        let (mut good, mut bad) = (0, leg.direct().min(stage.room).saturating_add(1));
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            if may_be_made(&first(middle)) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        first(good)
    }

    /// Of the moves the first ones that do most of what must be done, and gain most beside that.
    fn most_worth(&self, stage: &Stage, leg: &Ordered) -> Option<Ordered> {
        let worths = worths(self.search, &stage.pool, leg.hops());
        let mut best: Option<(usize, f64, usize)> = None;
        for (worth, count) in worths.iter().zip(1..) {
            let is_candidate = (count <= leg.direct() || count == leg.count()) && worth.is_paid_for();
            let is_better = best.is_none_or(|(needed, net, _)| {
                worth
                    .needed
                    .cmp(&needed)
                    .then(worth.chosen_net.total_cmp(&net))
                    .is_gt()
            });
            if is_candidate && is_better {
                best = Some((worth.needed, worth.chosen_net, count));
            }
        }
        best.map(|(_, _, count)| leg.first(&stage.pool, count))
    }

    /// The same without ways over places that are left again, as far as that can be had.
    fn straightened(&self, start: &Pool, way: Ordered) -> Ordered {
        if way.moves_each_once() {
            return way;
        }
        let direct = self.draft.leg(start, &way.end);
        let worth = worths(self.search, start, direct.hops()).pop();
        let is_paid_for = worth.is_none_or(Worth::is_paid_for);
        if direct.blocked.is_empty() && direct.count() <= way.count() && is_paid_for {
            return direct;
        }
        without_to_and_fro(start, way, &self.draft.rules)
    }
}
