//! Several instances as one decision: placed together, created one after the other, and undone where one is refused.

use std::collections::{BTreeMap, HashSet};

use api::client::RequestContext;
use api::{Affinity, AffinityKind, AffinityTarget, ErrorCode, Instance};
use pool::inventory::Inventory;
use pool::placing::{BatchFailure, Policy, place_batch};
use uuid::Uuid;

use crate::app::App;
use crate::clock;
use crate::contract::{Batch, BatchOutcome, BatchPreview, InstanceRequest};
use crate::decisions::pool_of;
use crate::error::AppError;
use crate::instances::{self, free_name, policy, spec};
use crate::pool::PastCarried;

/// How many instances one batch may have.
const BATCH_MAX: u32 = 20;

/// The longest prefix of a group's name: with a dash and an id's last digits it is still a label.
const GROUP_PREFIX_MAX: usize = 40;

/// Where each would go.
pub(crate) async fn preview(app: &App, batch: &Batch) -> Result<BatchPreview, AppError> {
    Ok(match placed(app, batch).await? {
        Ok(machines) => BatchPreview::Places { machines },
        Err(failure) => BatchPreview::Refused { failure },
    })
}

/// Creates all of them and starts them, or none.
///
/// Safe to repeat with the same ids: what is there already keeps its place and is not created again.
pub(crate) async fn create(
    app: &App,
    context: &RequestContext,
    batch: &Batch,
) -> Result<BatchOutcome, AppError> {
    let machines = match placed(app, batch).await? {
        Ok(machines) => machines,
        Err(failure) => return Ok(BatchOutcome::Refused { failure }),
    };
    let request = wished(batch);
    let mut created: Vec<(Uuid, Instance)> = Vec::with_capacity(machines.len());
    for (id, machine) in batch.ids.iter().copied().zip(machines) {
        match instances::create(app, context, id, Some(machine), &request).await {
            Ok(instance) => created.push((machine, instance)),
            Err(error) => return Ok(undo(app, context, created, (id, machine), &error).await),
        }
    }
    Ok(BatchOutcome::Created {
        instances: created.into_iter().map(|(_, instance)| instance).collect(),
    })
}

/// Each one's machine. The search is bounded, and may still take longer than the live picture should wait.
async fn placed(app: &App, batch: &Batch) -> Result<Result<Vec<Uuid>, BatchFailure>, AppError> {
    check(batch)?;
    let policy = policy(app).await?;
    let seen = app.pool().read(|picture| Seen {
        inventory: picture.inventory(clock::now(), PastCarried::LastHour),
        hosts: picture.machines_of_hosts(),
        names: picture.instance_names().map(str::to_owned).collect(),
    });
    let batch = batch.clone();
    tokio::task::spawn_blocking(move || place(seen, &batch, &policy)).await?
}

/// What a placement rests on.
struct Seen {
    inventory: Inventory,
    /// The pool's identity of each host.
    hosts: BTreeMap<Uuid, Uuid>,
    /// All instances' names.
    names: Vec<String>,
}

/// Deletes what was created. The one that was refused, too: a machine that did not answer may have created it.
async fn undo(
    app: &App,
    context: &RequestContext,
    created: Vec<(Uuid, Instance)>,
    (refused, machine): (Uuid, Uuid),
    error: &AppError,
) -> BatchOutcome {
    tracing::info!(instance = %refused, %error, created = created.len(), "the batch is undone");
    let mut left = Vec::new();
    for (on, instance) in created {
        if let Err(error) = delete(app, context, on, instance.id).await {
            tracing::warn!(instance = %instance.id, %error, "an instance of an undone batch is left");
            left.push(instance.spec.name);
        }
    }
    if let Err(error) = delete(app, context, machine, refused).await {
        tracing::info!(instance = %refused, %error, "whether it was created is not known");
    }
    let name = app.machine_name(machine).unwrap_or_default();
    let error = error.to_api();
    app.recorder()
        .refused(Some(name.clone()), None, error.clone(), context.request_id())
        .await;
    BatchOutcome::Undone {
        machine: name,
        error,
        left,
    }
}

/// What is not there is deleted already.
async fn delete(app: &App, context: &RequestContext, machine: Uuid, instance: Uuid) -> Result<(), AppError> {
    let client = app.machines().client(machine)?;
    match client.delete(context, instance).await {
        Err(error) if error.to_api().code != ErrorCode::InstanceNotFound => {
            Err(app.agent_error(machine, error))
        }
        _ => Ok(()),
    }
}

fn check(batch: &Batch) -> Result<(), AppError> {
    let count = u32::try_from(batch.ids.len()).unwrap_or(u32::MAX);
    if !(1..=BATCH_MAX).contains(&count) {
        return Err(AppError::OutOfRange {
            field: "ids",
            value: count,
            min: 1,
            max: BATCH_MAX,
        });
    }
    let different: HashSet<&Uuid> = batch.ids.iter().collect();
    if different.len() < batch.ids.len() {
        return Err(AppError::InvalidText {
            field: "ids",
            rule: "must all differ",
        });
    }
    Ok(())
}

/// What each of them asks for: names are numbered, and those that keep apart are a group that does.
fn wished(batch: &Batch) -> InstanceRequest {
    let mut request = batch.request.clone();
    if let Some(name) = request.name.take() {
        request.name_prefix = name;
    }
    if batch.apart {
        let group = request
            .placement
            .group
            .get_or_insert_with(|| group_name(&request.name_prefix, batch))
            .clone();
        request.placement.affinities.push(Affinity {
            kind: AffinityKind::Apart,
            target: AffinityTarget::Group { name: group },
            hard: true,
        });
    }
    request
}

/// A group that is this batch's alone: the same for the same ids, so that a repeated create asks for the same thing.
fn group_name(prefix: &str, batch: &Batch) -> String {
    let digits = batch
        .ids
        .first()
        .map(|id| id.simple().to_string())
        .unwrap_or_default();
    let prefix: String = prefix.chars().take(GROUP_PREFIX_MAX).collect();
    format!("{prefix}-{}", digits.get(24..).unwrap_or_default())
}

/// Pure: the same pool and batch, the same places. What is there already keeps its own.
fn place(seen: Seen, batch: &Batch, policy: &Policy) -> Result<Result<Vec<Uuid>, BatchFailure>, AppError> {
    let request = wished(batch);
    let mut pool = pool_of(&seen.inventory)?;
    let needs = api::seen::needs_of(&spec(&request, String::new()), &seen.hosts);
    let mut names = seen.names;
    let mut members = Vec::with_capacity(batch.ids.len());
    for id in &batch.ids {
        if let Some(known) = pool.instance_of_id(*id) {
            members.push(known);
            continue;
        }
        let name = free_name(&request.name_prefix, names.iter().map(String::as_str));
        let asked = pool.ask(&needs);
        members.push(pool.add_instance(*id, &name, asked));
        names.push(name);
    }
    if let Err(failure) = place_batch(&mut pool, &members, policy) {
        return Ok(Err(*failure));
    }
    let machines = members.iter().map(|member| {
        let machine = pool.instance(*member).machine?;
        Some(pool.machine(machine).id)
    });
    machines
        .collect::<Option<Vec<_>>>()
        .map(Ok)
        .ok_or(AppError::NoMachineFits { refusals: Vec::new() })
}
