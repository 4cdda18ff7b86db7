//! Plans for the pool as it is now, and whether those that were made still hold. Nothing is carried out here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pool::inventory::{Inventory, Machine, MachineState};
use pool::placing::{Recoverability, Subject, best_machines, n_plus_one};
use pool::plans::{
    BalanceOptions, ConsolidateOptions, DrainOptions, Edit, Plan, PlanError, PlanReport, RecoverOptions,
    Recovery, WhatIfOptions,
};
use uuid::Uuid;

use crate::app::App;
use crate::contract::{
    AddedMachine, InstanceRequest, MadePlan, PlanAsk, PlanStanding, PoolEdit, ReserveLost,
};
use crate::decisions::{inventory_now, pool_of};
use crate::error::AppError;
use crate::instances::{policy, spec};
use crate::pool::{LivePicture, PastCarried};

/// How many plans are remembered; the oldest go first.
const PLANS_MAX: usize = 8;

/// Of how many machines, best first, it is told what they would use up.
const RESERVE_MAX: usize = 64;

/// How many edits one question may have.
const EDITS_MAX: u32 = 16;

/// How many machines one edit may add.
const ADDED_MAX: u32 = 16;

/// How much of the load of now a question may ask for, in percent.
const LOAD_PERCENT_MAX: u32 = 1_000;

/// The plans that were made last.
#[derive(Debug, Default)]
pub(crate) struct RecentPlans {
    plans: Mutex<VecDeque<(Uuid, Plan)>>,
}

impl RecentPlans {
    fn remember(&self, plan: Plan) -> Uuid {
        let id = Uuid::now_v7();
        let mut plans = self.lock();
        if plans.len() >= PLANS_MAX {
            plans.pop_front();
        }
        plans.push_back((id, plan));
        id
    }

    fn find(&self, id: Uuid) -> Option<Plan> {
        let plans = self.lock();
        let (_, plan) = plans.iter().find(|(known, _)| *known == id)?;
        Some(plan.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Uuid, Plan)>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a plan, away from the tasks that must be quick: a large pool may take seconds.
pub(crate) async fn make(app: &App, ask: PlanAsk) -> Result<MadePlan, AppError> {
    check(&ask)?;
    let inventory = inventory_now(app, PastCarried::Whole);
    let (report, added) = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let edits = edits_of(&inventory, &ask)?;
        let plan = plan(&pool_of(&inventory)?, &ask, &edits)?;
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        Ok::<_, AppError>((PlanReport { plan, took_ms }, added(&edits)))
    })
    .await??;
    Ok(MadePlan {
        id: app.plans().remember(report.plan.clone()),
        report,
        added,
    })
}

/// Whether a plan still holds in the pool of now.
pub(crate) async fn standing(app: &App, id: Uuid) -> Result<PlanStanding, AppError> {
    let Some(plan) = app.plans().find(id) else {
        return Ok(PlanStanding::Forgotten);
    };
    let inventory = inventory_now(app, PastCarried::LastHour);
    tokio::task::spawn_blocking(move || {
        let pool = pool_of(&inventory)?;
        Ok(match plan.still_valid(&pool) {
            Ok(()) => PlanStanding::Holds,
            Err(change) => PlanStanding::Changed { change },
        })
    })
    .await?
}

/// Whether the failure of any one machine could be borne by the others.
pub(crate) async fn recovery(app: &App) -> Result<Recovery, AppError> {
    let inventory = inventory_now(app, PastCarried::LastHour);
    let policy = policy(app).await?;
    tokio::task::spawn_blocking(move || Ok(n_plus_one(&pool_of(&inventory)?, &policy))).await?
}

/// On which of the best machines a new instance would use up room that is kept for a failure.
pub(crate) async fn reserve(app: &App, request: &InstanceRequest) -> Result<Vec<ReserveLost>, AppError> {
    let inventory = inventory_now(app, PastCarried::LastHour);
    let hosts = app.pool().read(LivePicture::machines_of_hosts);
    let needs = api::seen::needs_of(&spec(request, String::new()), &hosts);
    let policy = policy(app).await?;
    tokio::task::spawn_blocking(move || {
        let mut pool = pool_of(&inventory)?;
        let asked = pool.ask(&needs);
        let newcomer = pool.add_instance(Uuid::now_v7(), "", asked);
        let machines = best_machines(&Subject::of(&pool, newcomer), &policy, RESERVE_MAX);
        let mut recoverability = Recoverability::new(&pool, &policy);
        let lost = machines.into_iter().filter_map(|machine| {
            let broken = recoverability.would_break(&pool, newcomer, machine)?;
            Some(ReserveLost {
                machine: pool.machine(machine).id,
                failure: pool.machine(broken.failure).id,
                stranded: u32::try_from(broken.stranded.len()).unwrap_or(u32::MAX),
            })
        });
        Ok(lost.collect())
    })
    .await?
}

fn check(ask: &PlanAsk) -> Result<(), AppError> {
    let PlanAsk::WhatIf { edits } = ask else {
        return Ok(());
    };
    AppError::unless_within(
        "edits",
        u32::try_from(edits.len()).unwrap_or(u32::MAX),
        1,
        EDITS_MAX,
    )?;
    for edit in edits {
        match edit {
            PoolEdit::RemoveMachine { .. } => {}
            PoolEdit::AddMachinesLike { count, .. } => {
                AppError::unless_within("count", *count, 1, ADDED_MAX)?;
            }
            PoolEdit::ScaleLoad { percent } => {
                AppError::unless_within("percent", *percent, 1, LOAD_PERCENT_MAX)?;
            }
        }
    }
    Ok(())
}

/// Pure: the same pool and question, the same plan.
fn plan(pool: &pool::Pool, ask: &PlanAsk, edits: &[Edit]) -> Result<Plan, AppError> {
    Ok(match ask {
        PlanAsk::Drain { machine } => pool::plans::drain(pool, *machine, &DrainOptions::default())?,
        PlanAsk::Failure { machine } if edits.is_empty() => {
            pool::plans::recover(pool, *machine, &RecoverOptions::default())?
        }
        PlanAsk::Balance {} => pool::plans::balance(pool, &BalanceOptions::default())?,
        PlanAsk::SavePower {} => pool::plans::consolidate(pool, &ConsolidateOptions::default())?,
        PlanAsk::Failure { .. } | PlanAsk::WhatIf { .. } => {
            pool::plans::what_if(pool, edits, &WhatIfOptions::default())?
        }
    })
}

/// What a question changes in the pool before it is answered.
fn edits_of(inventory: &Inventory, ask: &PlanAsk) -> Result<Vec<Edit>, AppError> {
    match ask {
        PlanAsk::Drain { .. } | PlanAsk::Balance {} | PlanAsk::SavePower {} => Ok(Vec::new()),
        PlanAsk::Failure { machine } => failure(inventory, *machine),
        PlanAsk::WhatIf { edits } => {
            let parts: Result<Vec<_>, _> = edits.iter().map(|edit| edit_of(inventory, edit)).collect();
            Ok(parts?.into_iter().flatten().collect())
        }
    }
}

/// A machine that is gone needs no edit; one that works is taken for gone.
fn failure(inventory: &Inventory, machine: Uuid) -> Result<Vec<Edit>, AppError> {
    if machine_of(inventory, machine)?.state == MachineState::Unreachable {
        return Ok(Vec::new());
    }
    Ok(vec![Edit::SetState {
        machine,
        state: MachineState::Unreachable,
    }])
}

fn edit_of(inventory: &Inventory, edit: &PoolEdit) -> Result<Vec<Edit>, AppError> {
    Ok(match edit {
        PoolEdit::RemoveMachine { machine } => vec![Edit::RemoveMachine { machine: *machine }],
        PoolEdit::ScaleLoad { percent } => vec![Edit::ScaleLoad {
            factor: f64::from(*percent) / 100.0,
        }],
        PoolEdit::AddMachinesLike { machine, count } => {
            let like = machine_of(inventory, *machine)?;
            (1..=*count)
                .map(|number| Edit::AddMachine {
                    machine: Box::new(another(like, number)),
                })
                .collect()
        }
    })
}

fn added(edits: &[Edit]) -> Vec<AddedMachine> {
    edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::AddMachine { machine } => Some(AddedMachine {
                id: machine.id,
                name: machine.name.clone(),
            }),
            _ => None,
        })
        .collect()
}

fn machine_of(inventory: &Inventory, id: Uuid) -> Result<&Machine, AppError> {
    let found = inventory.machines.iter().find(|machine| machine.id == id);
    found.ok_or(AppError::UnknownMachine { id })
}

/// The same machine once more, fresh: nothing runs there, nothing was measured or reported.
fn another(machine: &Machine, number: u32) -> Machine {
    Machine {
        id: Uuid::now_v7(),
        name: format!("{} +{number}", machine.name),
        state: MachineState::Ready,
        reported: None,
        usage: None,
        ..machine.clone()
    }
}

impl From<PlanError> for AppError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::UnknownMachine { machine } => Self::UnknownMachine { id: machine },
            other => Self::Plan(other),
        }
    }
}
