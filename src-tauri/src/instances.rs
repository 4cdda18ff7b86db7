//! Creating and changing instances: what the desktop decides before, and between, the agents' answers.

use std::collections::HashSet;
use std::time::Duration;

use api::client::{ClientError, RequestContext};
use api::{CreateInstance, EngineRequest, ErrorCode, Instance, InstanceSpec, StopInstance};
use pool::Refusal;
use pool::placing::{self, Policy, Preview, Subject};
use pool::state::Asked;
use uuid::Uuid;

use crate::app::App;
use crate::clock;
use crate::contract::{InstanceAction, InstanceRequest};
use crate::creations::Creation;
use crate::decisions;
use crate::error::AppError;
use crate::pool::{LivePicture, PastCarried};

/// How often a create is sent to one machine when the connection breaks under it.
const TRIES_MAX: u32 = 3;

/// How often another name or machine is chosen when somebody else was faster.
const CHOICES_MAX: u32 = 8;

/// How long a create waits for a link that has just broken.
const LINK_BACK: Duration = Duration::from_secs(5);

/// Every machine's verdict under the policy that was chosen, and the best.
pub(crate) async fn preview(app: &App, request: &InstanceRequest) -> Result<Preview, AppError> {
    let policy = policy(app).await?;
    let inventory = decisions::inventory_now(app, PastCarried::LastHour);
    let hosts = app.pool().read(LivePicture::machines_of_hosts);
    let mut pool = decisions::pool_of(&inventory)?;
    let asked = pool.ask(&api::seen::needs_of(&spec(request, String::new()), &hosts));
    Ok(placing::verdicts(&Subject::new(&pool, &asked), &policy))
}

/// How machines are chosen, as the person wants it.
pub(crate) async fn policy(app: &App) -> Result<Policy, AppError> {
    Ok(app.history().settings().await?.placement.into())
}

/// What a machine is asked for.
pub(crate) fn spec(request: &InstanceRequest, name: String) -> InstanceSpec {
    InstanceSpec {
        name,
        image: request.image.clone(),
        vcpus: request.vcpus,
        memory_mib: request.memory_mib,
        disk_mib: request.disk_mib,
        disk_limit: request.disk_limit,
        network_limit: request.network_limit,
        engine: EngineRequest::Auto,
        ports: request.ports.clone(),
        placement: request.placement.clone(),
    }
}

/// The first of `prefix-1`, `prefix-2`, … that is not taken. Pure.
pub fn free_name<'a>(prefix: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let numbers: HashSet<u32> = taken
        .filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok())
        .collect();
    let free = (1..u32::MAX).find(|number| !numbers.contains(number));
    format!("{prefix}-{}", free.unwrap_or(u32::MAX))
}

/// What other desktops took between the choice and the host's answer.
#[derive(Debug, Default)]
struct Lost {
    names: Vec<String>,
    machines: Vec<Uuid>,
}

/// Creates an instance on `machine`, or on the best where it is absent, and starts it.
///
/// Safe to repeat with the same id, even when no answer came the first time: the choice of name and machine is remembered. The hosts
/// decide: where one refuses a free choice of the desktop's (the name, the machine), because somebody else was faster, the next is
/// tried. After a call without an answer no other machine is tried, or there might be two.
pub(crate) async fn create(
    app: &App,
    context: &RequestContext,
    id: Uuid,
    machine: Option<Uuid>,
    request: &InstanceRequest,
) -> Result<Instance, AppError> {
    let policy = policy(app).await?;
    let mut lost = Lost::default();
    let mut choice = 0;
    loop {
        choice += 1;
        let creation = app.creations().remember(id, request, machine, |names| {
            choose(app, id, machine, request, &policy, names, &lost)
        })?;
        app.recorder().expect(id, context.request_id());
        let error = match put(app, context, &creation).await {
            Ok(instance) => {
                app.show_created(creation.machine, &instance).await;
                app.creations().forget(id);
                return Ok(instance);
            }
            Err(error) => error,
        };
        let AppError::Agent {
            err: ClientError::Refused { error: refusal, .. },
            ..
        } = &error
        else {
            return Err(error);
        };
        app.creations().forget(id);
        match refusal.code {
            ErrorCode::NameTaken if request.name.is_none() => lost.names.push(creation.spec.name),
            ErrorCode::InsufficientMemory | ErrorCode::InsufficientDisk if machine.is_none() => {
                lost.machines.push(creation.machine);
            }
            _ => return Err(error),
        }
        if choice == CHOICES_MAX {
            return Err(error);
        }
    }
}

/// Chooses the name and the machine, where the person left them open.
fn choose(
    app: &App,
    id: Uuid,
    machine: Option<Uuid>,
    request: &InstanceRequest,
    policy: &Policy,
    names_under_way: &[&str],
    lost: &Lost,
) -> Result<Creation, AppError> {
    app.pool().read(|picture| {
        // An instance of this id that is there already was created by an earlier try of the same click.
        let existing = picture.instance(id);
        let machine_chosen = match (machine, existing) {
            (Some(machine), Some(_)) => machine,
            (Some(machine), None) => {
                keeps_the_rules(picture, id, request, machine)?;
                machine
            }
            (None, Some(placed)) => placed.machine,
            (None, None) => best(picture, id, request, policy, &lost.machines)?,
        };
        let name = match (&request.name, existing) {
            (Some(name), _) => name.clone(),
            (None, Some(placed)) => placed.instance.spec.name.clone(),
            (None, None) => {
                let taken = picture.instance_names().chain(names_under_way.iter().copied());
                free_name(
                    &request.name_prefix,
                    taken.chain(lost.names.iter().map(String::as_str)),
                )
            }
        };
        Ok(Creation {
            id,
            machine: machine_chosen,
            spec: spec(request, name),
            request: request.clone(),
            named: machine,
        })
    })
}

/// A machine that a person names is asked whatever it seems to have free: it decides. The pool's own rules it does not know.
fn keeps_the_rules(
    picture: &LivePicture,
    id: Uuid,
    request: &InstanceRequest,
    machine: Uuid,
) -> Result<(), AppError> {
    let (pool, asked) = question(picture, request)?;
    let subject = Subject::new(&pool, &asked).known_as(id);
    let Some(index) = pool.machine_of_id(machine) else {
        return Err(AppError::UnknownMachine { id: machine });
    };
    let broken = placing::unmet(&subject.on(index))
        .into_iter()
        .find(is_rule_of_the_pool);
    match broken {
        None => Ok(()),
        Some(rule) => Err(AppError::NoMachineFits {
            refusals: vec![(pool.machine(index).name.to_string(), rule)],
        }),
    }
}

/// Whether only the pool knows it, so that the machine itself would not refuse.
fn is_rule_of_the_pool(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Draining
        | Refusal::PinnedElsewhere { .. }
        | Refusal::WrongHardware { .. }
        | Refusal::TagMissing { .. }
        | Refusal::TagForbidden { .. }
        | Refusal::SiteWrong { .. }
        | Refusal::SiteForbidden { .. }
        | Refusal::NotTogether { .. }
        | Refusal::NotApart { .. }
        | Refusal::BreaksRecovery { .. } => true,
        Refusal::Unreachable
        | Refusal::Asleep
        | Refusal::InsufficientMemory { .. }
        | Refusal::InsufficientDisk { .. }
        | Refusal::StorageFull { .. }
        | Refusal::StorageMissing { .. }
        | Refusal::TooManyVcpus { .. }
        | Refusal::TooManyVcpusPromised { .. }
        | Refusal::TooBusy { .. }
        | Refusal::ImageMissing { .. }
        | Refusal::ImageCorrupt { .. }
        | Refusal::NoEngine { .. } => false,
    }
}

fn question(picture: &LivePicture, request: &InstanceRequest) -> Result<(pool::Pool, Asked), AppError> {
    let inventory = picture.inventory(clock::now(), PastCarried::LastHour);
    let mut pool = decisions::pool_of(&inventory)?;
    let needs = api::seen::needs_of(&spec(request, String::new()), &picture.machines_of_hosts());
    let asked = pool.ask(&needs);
    Ok((pool, asked))
}

/// The best machine that nobody else was faster at.
fn best(
    picture: &LivePicture,
    id: Uuid,
    request: &InstanceRequest,
    policy: &Policy,
    lost: &[Uuid],
) -> Result<Uuid, AppError> {
    let (pool, asked) = question(picture, request)?;
    let subject = Subject::new(&pool, &asked).known_as(id);
    let found = placing::best_machines(&subject, policy, lost.len() + 1)
        .into_iter()
        .map(|machine| pool.machine(machine).id)
        .find(|machine| !lost.contains(machine));
    found.ok_or_else(|| AppError::NoMachineFits {
        refusals: pool
            .machines()
            .filter_map(|(machine, seat)| {
                let first = placing::unmet(&subject.on(machine)).into_iter().next()?;
                Some((seat.name.to_string(), first))
            })
            .collect(),
    })
}

/// Asks the machine, and again where the connection broke: the same create twice is one create.
async fn put(app: &App, context: &RequestContext, creation: &Creation) -> Result<Instance, AppError> {
    let create = CreateInstance {
        generation: 1,
        spec: creation.spec.clone(),
        start: true,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let wait = if tries == 1 { Duration::ZERO } else { LINK_BACK };
        let client = app.machines().client_within(creation.machine, wait).await?;
        match client.create(context, creation.id, &create).await {
            Err(error) if error.is_link() && tries < TRIES_MAX => {
                tracing::info!(instance = %creation.id, tries, %error, "the create is repeated");
            }
            answer => return answer.map_err(|err| app.agent_error(creation.machine, err)),
        }
    }
}

/// Does something to an instance; answers the instance as it is then, or nothing after a delete.
pub(crate) async fn act(
    app: &App,
    context: &RequestContext,
    machine: Uuid,
    instance: Uuid,
    action: InstanceAction,
) -> Result<Option<Instance>, AppError> {
    let client = app.machines().client(machine)?;
    app.recorder().expect(instance, context.request_id());
    let answer = match action {
        InstanceAction::Start => client.start(context, instance).await.map(Some),
        InstanceAction::Stop => client
            .stop(context, instance, &StopInstance::graceful())
            .await
            .map(Some),
        InstanceAction::ForceStop => client
            .stop(context, instance, &StopInstance::force())
            .await
            .map(Some),
        InstanceAction::Restart => client
            .restart(context, instance, &StopInstance::graceful())
            .await
            .map(Some),
        InstanceAction::Delete => client.delete(context, instance).await.map(|()| None),
    };
    answer.map_err(|err| app.agent_error(machine, err))
}
