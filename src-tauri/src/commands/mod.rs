//! One short adapter per command of the contract.

use std::sync::Arc;

use api::client::RequestContext;
use api::{ApiError, ErrorCode, Timestamp};
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::app::App;
use crate::batch;
use crate::charts::{CHART_SPAN_MS, machine_chart};
use crate::clock;
use crate::contract::{Call, Command, CommandError, MachineAddress, PoolMachine, Settings};
use crate::decisions;
use crate::error::AppError;
use crate::instances;
use crate::machines::{self, Answers};
use crate::plans;
use crate::templates::shelf;

/// The longest request id.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The longest page of the activity list.
const ACTIVITY_LIMIT_MAX: u32 = 200;

/// Does what a window asks for, and answers what [`CommandResults`](crate::contract::CommandResults) says. A command that changes
/// something and is refused gets a line in the activity list.
pub async fn dispatch(app: &Arc<App>, call: Call) -> Result<Value, CommandError> {
    let Call { request_id, command } = call;
    check_request_id(&request_id)?;
    let context = RequestContext::new(request_id);
    let span = tracing::info_span!(
        "command",
        name = name(&command),
        request_id = context.request_id()
    );
    let subject = Subject::of(app, &command);
    let answer = run(app, &context, command).instrument(span.clone()).await;
    match answer {
        Ok(answer) => {
            span.in_scope(|| tracing::debug!("done"));
            Ok(answer)
        }
        Err(error) => {
            let refused = refused(&error, subject.machine, &context);
            span.in_scope(|| tracing::info!(code = ?refused.error.code, error = %refused, "refused"));
            if subject.told {
                app.recorder()
                    .refused(
                        refused.machine.clone(),
                        subject.instance,
                        refused.error.clone(),
                        &refused.request_id,
                    )
                    .await;
            }
            Err(refused)
        }
    }
}

/// What the window is told about an error; `machine` is the one that the command was about, where the error itself knows none.
pub fn refused(error: &AppError, machine: Option<String>, context: &RequestContext) -> CommandError {
    CommandError {
        error: error.to_api(),
        machine: error.machine().map(str::to_owned).or(machine),
        request_id: context.request_id().to_owned(),
    }
}

/// The error for a call that is not one: not JSON, or with an unknown command or field.
pub fn malformed(reason: &str) -> CommandError {
    CommandError {
        error: ApiError::new(
            ErrorCode::MalformedRequest,
            format!("this is no command: {reason}"),
        ),
        machine: None,
        request_id: RequestContext::generate().request_id().to_owned(),
    }
}

fn check_request_id(request_id: &str) -> Result<(), CommandError> {
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&request_id.len())
        && request_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits {
        return Ok(());
    }
    Err(CommandError {
        error: ApiError::new(
            ErrorCode::MalformedRequest,
            "a request id is 1 to 64 of A-Z a-z 0-9 -",
        )
        .with("field", "request_id"),
        machine: None,
        request_id: RequestContext::generate().request_id().to_owned(),
    })
}

async fn run(app: &Arc<App>, context: &RequestContext, command: Command) -> Result<Value, AppError> {
    match command {
        Command::WindowOpen {} => json(app.opening().await),
        Command::PoolGet {} => json(app.pool().picture()),
        Command::TemplatesList {} => json(shelf()),
        Command::PlacementPreview { request } => json(instances::preview(app, &request).await?),
        Command::PlacementReserve { request } => json(plans::reserve(app, &request).await?),
        Command::InstanceCreate { id, machine, request } => {
            json(instances::create(app, context, id, machine, &request).await?)
        }
        Command::BatchPreview { batch } => json(batch::preview(app, &batch).await?),
        Command::BatchCreate { batch } => json(batch::create(app, context, &batch).await?),
        Command::InstanceAct {
            machine,
            instance,
            action,
        } => json(instances::act(app, context, machine, instance, action).await?),
        Command::MachineAdd { request } => json(machines::add(app.machines(), app.history(), request).await?),
        Command::MachineRemove { machine } => json(machine_remove(app, machine).await?),
        Command::MachineDrainSet { machine, draining } => json(drain_set(app, machine, draining).await?),
        Command::MachineReconnect {
            machine,
            password,
            passphrase,
            accepted_fingerprint,
        } => json(app.machines().ask(
            machine,
            Answers {
                accepted_fingerprint,
                password: password.map(Zeroizing::new),
                passphrase: passphrase.map(Zeroizing::new),
            },
        )?),
        Command::ActivityList { before, limit } => {
            AppError::unless_within("limit", limit, 1, ACTIVITY_LIMIT_MAX)?;
            json(app.history().activity(before, limit).await?)
        }
        Command::PlanMake { ask } => json(plans::make(app, ask).await?),
        Command::PlanCheck { plan } => json(plans::standing(app, plan).await?),
        Command::RecoveryCheck {} => json(plans::recovery(app).await?),
        Command::InventorySave {} => json(decisions::save_inventory(app).await?),
        Command::SettingsSet { settings } => json(settings_set(app, settings).await?),
        Command::MachineChart { machine, dark } => json(chart(app, machine, dark).await?),
    }
}

async fn machine_remove(app: &App, machine: Uuid) -> Result<(), AppError> {
    let known = app.pool().read(|picture| {
        picture
            .machine(machine)
            .map(|machine| (machine.name.clone(), machine.address == MachineAddress::Local))
    });
    match known {
        None => Err(AppError::UnknownMachine { id: machine }),
        Some((_, true)) => Err(AppError::ThisComputerStays),
        Some((name, false)) => machines::remove(app.machines(), app.history(), machine, &name).await,
    }
}

/// Written down first: a machine that is shown as draining is so after a restart, too.
async fn drain_set(app: &App, machine: Uuid, draining: bool) -> Result<PoolMachine, AppError> {
    let unknown = AppError::UnknownMachine { id: machine };
    if app.machine_name(machine).is_none() {
        return Err(unknown);
    }
    app.history().set_draining(machine, draining).await?;
    app.pool()
        .change(|picture| picture.set_draining(machine, draining).cloned())
        .ok_or(unknown)
}

async fn settings_set(app: &App, settings: Settings) -> Result<Settings, AppError> {
    let tag = |language: &String| {
        (2..=35).contains(&language.len())
            && language
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if settings.language.as_ref().is_some_and(|language| !tag(language)) {
        return Err(AppError::InvalidText {
            field: "language",
            rule: "must be a language tag such as zh-CN",
        });
    }
    app.history().set_settings(&settings).await?;
    Ok(settings)
}

async fn chart(app: &App, machine: Uuid, dark: bool) -> Result<String, AppError> {
    let name = app
        .machine_name(machine)
        .ok_or(AppError::UnknownMachine { id: machine })?;
    let now = clock::now();
    let since = Timestamp::from_unix_ms(now.unix_ms() - CHART_SPAN_MS).unwrap_or(now);
    let samples = app.history().usage(machine, since).await?;
    Ok(machine_chart(&name, &samples, now, dark)?)
}

fn json(answer: impl Serialize) -> Result<Value, AppError> {
    Ok(serde_json::to_value(answer)?)
}

/// The command's name on the wire.
fn name(command: &Command) -> &'static str {
    match command {
        Command::WindowOpen {} => "window_open",
        Command::PoolGet {} => "pool_get",
        Command::TemplatesList {} => "templates_list",
        Command::PlacementPreview { .. } => "placement_preview",
        Command::PlacementReserve { .. } => "placement_reserve",
        Command::InstanceCreate { .. } => "instance_create",
        Command::BatchPreview { .. } => "batch_preview",
        Command::BatchCreate { .. } => "batch_create",
        Command::InstanceAct { .. } => "instance_act",
        Command::MachineAdd { .. } => "machine_add",
        Command::MachineRemove { .. } => "machine_remove",
        Command::MachineDrainSet { .. } => "machine_drain_set",
        Command::MachineReconnect { .. } => "machine_reconnect",
        Command::ActivityList { .. } => "activity_list",
        Command::PlanMake { .. } => "plan_make",
        Command::PlanCheck { .. } => "plan_check",
        Command::RecoveryCheck {} => "recovery_check",
        Command::InventorySave {} => "inventory_save",
        Command::SettingsSet { .. } => "settings_set",
        Command::MachineChart { .. } => "machine_chart",
    }
}

/// What a command is about, in people's words, as it was before the command ran.
struct Subject {
    machine: Option<String>,
    instance: Option<String>,
    /// Whether a refusal belongs in the activity list: reading something is no activity.
    told: bool,
}

impl Subject {
    fn of(app: &App, command: &Command) -> Self {
        let about = |machine: Option<Uuid>, instance: Option<String>, told| Self {
            machine: machine.and_then(|machine| app.machine_name(machine)),
            instance,
            told,
        };
        match command {
            Command::InstanceCreate { machine, request, .. } => about(*machine, request.name.clone(), true),
            Command::InstanceAct {
                machine, instance, ..
            } => {
                let name = app.pool().read(|picture| {
                    picture
                        .instance(*instance)
                        .map(|placed| placed.instance.spec.name.clone())
                });
                about(Some(*machine), name, true)
            }
            Command::MachineRemove { machine }
            | Command::MachineDrainSet { machine, .. }
            | Command::MachineReconnect { machine, .. } => about(Some(*machine), None, true),
            Command::MachineAdd { request } => Self {
                machine: Some(machines::told(&request.address)),
                ..about(None, None, true)
            },
            Command::BatchCreate { batch } => about(None, batch.request.name.clone(), true),
            Command::InventorySave {} | Command::SettingsSet { .. } => about(None, None, true),
            Command::MachineChart { machine, .. } => about(Some(*machine), None, false),
            Command::WindowOpen {}
            | Command::PoolGet {}
            | Command::TemplatesList {}
            | Command::PlacementPreview { .. }
            | Command::PlacementReserve { .. }
            | Command::BatchPreview { .. }
            | Command::PlanMake { .. }
            | Command::PlanCheck { .. }
            | Command::RecoveryCheck {}
            | Command::ActivityList { .. } => about(None, None, false),
        }
    }
}
