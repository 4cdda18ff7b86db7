//! The task that owns one instance: it sees, asks [`decide`](super::decide()), and does the one step that it is told.

use std::sync::Arc;
use std::time::Duration;

use api::{
    ApiError, EngineChoice, EngineKind, ErrorCode, Failure, Progress, PublishedPort, RunState, StopInstance,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::creation::Creation;
use super::failure::{Cause, failure, with_remedy};
use super::resets::ResetStreak;
use super::{
    Consoles, Decision, Guest as Sight, GuestStatus, LastLaunch, Seen, Step, StopSoFar, World, decide,
};
use crate::console::replay::Replay;
use crate::console::{ConsoleHub, Sighting};
use crate::engines::limits::{Budget, GroupWatch};
use crate::engines::{Engine, EngineError, Guest, GuestEnd, LaunchOrder, choose_ports, memory_overhead};
use crate::ledger::{self, Launch, Record};

/// How often a launch is tried with other ports when the chosen ones were taken in between.
const PORT_TRIES: usize = 5;
/// How long to wait when the guest's life cannot be told: a dying process may hold its lock a moment longer.
const UNCERTAIN: Duration = Duration::from_millis(500);
/// How long to wait after a step that could not be done.
const RETRY: Duration = Duration::from_secs(2);

/// How long the last lines of a guest that is gone may take.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How long a failure is held back: the agent may be about to learn that all of the machine is ending.
const HELD_BACK: Duration = Duration::from_secs(1);

/// Whether the instance still needs its task.
enum Pass {
    LookAgain(Duration),
    Gone,
}

/// One instance's task.
#[derive(Debug)]
pub struct Owner {
    id: Uuid,
    world: Arc<World>,
    bell: Arc<Notify>,
    consoles: Arc<Consoles>,
    /// Ends the task between two passes.
    cancel: CancellationToken,
    guest: Option<Box<dyn Guest>>,
    hub: Option<Arc<ConsoleHub>>,
    /// What the console shows; what was shown before does not ring again.
    sightings: Option<watch::Receiver<Sighting>>,
    stop: StopSoFar,
    resets: ResetStreak,
    group: GroupWatch,
    /// When this task set the guest's vCPUs running; absent for a guest that an earlier agent powered on.
    powered_on: Option<Instant>,
    /// How the last guest ended, until somebody asks.
    guest_ending: Option<String>,
    /// The zero of this task's clock.
    born: Instant,
}

impl Owner {
    /// A task that has seen nothing yet.
    pub fn new(
        id: Uuid,
        world: Arc<World>,
        bell: Arc<Notify>,
        consoles: Arc<Consoles>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            id,
            world,
            bell,
            consoles,
            cancel,
            guest: None,
            hub: None,
            sightings: None,
            stop: StopSoFar::default(),
            resets: ResetStreak::default(),
            group: GroupWatch::default(),
            powered_on: None,
            guest_ending: None,
            born: Instant::now(),
        }
    }

    /// Runs until the instance is removed, or until it is cancelled: then it ends between two passes and leaves the guest alone.
    #[tracing::instrument(name = "instance", skip_all, fields(id = %self.id))]
    pub async fn run(mut self) {
        while !self.cancel.is_cancelled() {
            let Pass::LookAgain(after) = self.pass().await else {
                return;
            };
            if after.is_zero() {
                // Other tasks get their turn between two steps.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = self.bell.notified() => {}
                () = changed(self.guest.as_mut()) => {}
                () = progressed(self.sightings.as_mut()) => {}
                () = tokio::time::sleep(after) => {}
            }
        }
    }

    async fn pass(&mut self) -> Pass {
        let Some(record) = self.world.registry.get(self.id).await else {
            return Pass::Gone;
        };
        let (seen, record) = match self.look(record).await {
            Ok(seen) => seen,
            Err(error) => {
                // Nothing certain is known of the guest, so nothing is done to it: least of all is it started twice.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot tell whether the guest lives"
                );
                return Pass::LookAgain(UNCERTAIN);
            }
        };
        let decision = decide(&record.intent, &seen, self.born.elapsed());
        self.show(&record, &seen, decision).await;
        if decision.step == Step::Rest {
            // A process of a guest that has ended may be there a moment longer: its network is the last to know.
            let is_left = seen.guest == Sight::Absent && !self.group.remove(&self.world.limits, self.id);
            return Pass::LookAgain(if is_left { UNCERTAIN } else { decision.look_again });
        }
        tracing::debug!(step = ?decision.step, state = ?decision.state, "acting");
        match self.act(decision.step, &record).await {
            Ok(pass) => pass,
            Err(error) => {
                tracing::warn!(step = ?decision.step, code = ?error.code, %error, "a step failed");
                Pass::LookAgain(RETRY)
            }
        }
    }

    /// Reads reality. What is gone is noted as gone, so that its promises end.
    async fn look(&mut self, record: Record) -> Result<(Seen, Record), EngineError> {
        let status = match &mut self.guest {
            Some(guest) => guest.status().await,
            None => match self.engine(&record).find(self.id).await? {
                Some(guest) => self.guest.insert(guest).status().await,
                None => None,
            },
        };
        let mut record = record;
        if let Some(status) = status {
            if let Some(guest) = &self.guest {
                self.group.seen_alive(&self.world.limits, self.id, guest.pid());
            }
            self.listen(status, &record).await;
        } else {
            let ran = self.powered_on.map(|at| at.elapsed());
            let ended = self.forget_guest().await;
            if ended && self.engine(&record).end_of(self.id) == GuestEnd::Reset {
                self.resets.add(record.intent.run, ran, self.born.elapsed());
            }
            if ended || record.may_be_alive() {
                self.world.registry.note(self.id, note_end).await;
                note_end(&mut record);
            }
        }
        let launch = record.launch.as_ref().map(|launch| LastLaunch {
            run: launch.run,
            same_boot: launch.boot_id == self.world.boot_id,
            spawned: self.engine(&record).was_spawned(self.id),
            end: match status {
                Some(_) => GuestEnd::Unknown,
                None => self.engine(&record).end_of(self.id),
            },
        });
        let seen = Seen {
            files_ready: self.world.files.are_ready(self.id),
            guest: status.map_or(Sight::Absent, Sight::Alive),
            launch,
            failed: record.status.failure.is_some(),
            stop: self.stop,
            resets: self.resets,
        };
        Ok((seen, record))
    }

    /// The engine of the last launch: a guest stays on it for as long as it lives, whatever would be chosen by now.
    fn engine(&self, record: &Record) -> &dyn Engine {
        let kind = record
            .launch
            .as_ref()
            .map_or(EngineKind::Qemu, |launch| launch.engine.kind);
        self.world.engines.of(kind)
    }

    /// Drops what belonged to a guest that is gone; the words of how it ended are kept by whoever asks next.
    async fn forget_guest(&mut self) -> bool {
        self.consoles.remove(self.id);
        if let Some(hub) = self.hub.take() {
            // A guest's last lines say why it is gone. They are all there once its process is.
            let _in_time = tokio::time::timeout(LAST_LINES, hub.ended()).await;
        }
        self.sightings = None;
        self.stop = StopSoFar::default();
        self.powered_on = None;
        match self.guest.take() {
            None => false,
            Some(mut guest) => {
                let ending = guest.ending();
                tracing::info!(pid = guest.pid(), ending, "the guest is gone");
                self.guest_ending = Some(ending);
                true
            }
        }
    }

    /// Listens to the guest's console, where nobody does yet.
    async fn listen(&mut self, status: GuestStatus, record: &Record) {
        if self.hub.as_ref().is_some_and(|hub| !hub.has_ended()) {
            return;
        }
        let Some(guest) = &self.guest else { return };
        let folder = self.world.files.runtime_dir(self.id);
        // Whoever watches a guest that resets itself has seen what led to it, and sees it still.
        let goes_on = status == GuestStatus::Held && self.resets.goes_on(record.intent.run);
        let replay = if !goes_on && (status == GuestStatus::Held || guest.console_replays()) {
            Replay::start(&folder)
        } else {
            Replay::resume(&folder)
        };
        let stream = guest.console().await;
        match (stream, replay) {
            (Ok(stream), Ok(replay)) => {
                let progress = record
                    .launch
                    .as_ref()
                    .map_or(Progress::PoweredOn, |launch| launch.progress);
                let hub = Arc::new(ConsoleHub::start(stream, replay, progress));
                self.sightings = Some(hub.sightings());
                self.consoles.put(self.id, Arc::clone(&hub));
                self.hub = Some(hub);
            }
            (Err(error), _) => tracing::warn!(%error, "the guest's console cannot be reached"),
            (_, Err(error)) => tracing::warn!(%error, "the console's past cannot be opened"),
        }
    }

    /// Notes what people are shown.
    async fn show(&mut self, record: &Record, seen: &Seen, decision: Decision) {
        let alive = matches!(seen.guest, Sight::Alive(_));
        let pid = self.guest.as_ref().map(|guest| guest.pid());
        let sighting = self
            .sightings
            .as_mut()
            .map(|sightings| *sightings.borrow_and_update());
        let told = self.guest.as_ref().map(|guest| guest.told()).unwrap_or_default();
        let sighting = Sighting::or_ready(sighting, told.ready_at);
        let boot_ms = sighting.and_then(|sighting| self.boot_ms(sighting));
        let trouble = self.trouble(decision.state, record.status.failure.as_ref());
        let shown = |now: &mut Record| {
            // Where something else is meant by now, the next pass has the say.
            if now.intent == record.intent {
                now.status.state = decision.state;
                if decision.state != RunState::Failed {
                    now.status.failure.clone_from(&trouble);
                }
            }
            let record = now;
            record.live.pid = pid;
            if !alive {
                record.live.usage = None;
            }
            if let (Some(launch), Some(sighting)) = (&mut record.launch, sighting) {
                launch.progress = launch.progress.max(sighting.progress);
                launch.boot_ms = launch.boot_ms.or(boot_ms);
            }
            if let (Some(launch), Some(status)) = (&mut record.launch, &told.status) {
                launch.guest_status = Some(status.clone()).filter(|status| !status.is_empty());
            }
        };
        // A failure is noted by its own step, with its reason.
        if decision.step == Step::NoteFailure {
            return;
        }
        let mut after = record.clone();
        shown(&mut after);
        if after != *record {
            self.world.registry.note(self.id, &shown).await;
        }
    }

    /// What a live guest lacks; what was shown before keeps its time.
    fn trouble(&self, state: RunState, shown: Option<&Failure>) -> Option<Failure> {
        let lives = matches!(state, RunState::Running | RunState::Paused);
        let guest = self.guest.as_ref().filter(|_| lives)?;
        let error = guest.trouble()?.to_api();
        Some(Failure {
            code: error.code,
            message: error.message,
            log: String::new(),
            at: shown
                .filter(|shown| shown.code == error.code)
                .map_or_else(ledger::now, |shown| shown.at),
        })
    }

    fn boot_ms(&self, sighting: Sighting) -> Option<u32> {
        let powered_on = self.powered_on.filter(|_| sighting.progress == Progress::Ready)?;
        u32::try_from(sighting.at.saturating_duration_since(powered_on).as_millis()).ok()
    }

    async fn act(&mut self, step: Step, record: &Record) -> Result<Pass, ApiError> {
        let now = self.born.elapsed();
        match step {
            Step::Rest => {}
            Step::MakeFiles => self.make_files(record).await,
            Step::Launch => self.launch(record).await?,
            Step::PowerOn => self.power_on().await?,
            Step::PressPower => {
                self.stop.asked_at.get_or_insert(now);
                self.stop.pressed_at = Some(now);
                if let Some(guest) = &mut self.guest {
                    guest.press_power().await.map_err(|error| error.to_api())?;
                }
            }
            Step::Quit => {
                self.stop.quit_at.get_or_insert(now);
                if let Some(guest) = &mut self.guest {
                    guest.quit().await.map_err(|error| error.to_api())?;
                }
            }
            Step::Kill => {
                self.stop.killed_at = Some(now);
                if let Some(guest) = &mut self.guest {
                    guest.kill().map_err(|error| error.to_api())?;
                }
            }
            Step::NotePowerOff => self.note_power_off(record).await?,
            Step::NoteFailure => {
                let error = self.unexpected_end(record);
                self.fail(record, &error).await;
            }
            Step::Remove => return self.remove().await,
        }
        Ok(Pass::LookAgain(Duration::ZERO))
    }

    async fn make_files(&self, record: &Record) {
        let creation = Creation {
            world: &self.world,
            record,
            bell: &self.bell,
            cancel: &self.cancel,
        };
        if let Err(error) = creation.run().await {
            self.fail(record, &error).await;
        }
    }

    async fn launch(&mut self, record: &Record) -> Result<(), ApiError> {
        match self.try_launch(record).await {
            Ok(guest) => {
                self.guest = Some(guest);
                self.stop = StopSoFar::default();
                Ok(())
            }
            Err(error) => {
                self.fail(record, &error).await;
                Ok(())
            }
        }
    }

    async fn try_launch(&mut self, record: &Record) -> Result<Box<dyn Guest>, ApiError> {
        self.world
            .files
            .check_disk(self.id, record.spec.disk_mib)
            .map_err(|error| error.to_api())?;
        let boot = self
            .world
            .images
            .resolve(&record.spec.image)
            .await
            .map_err(|error| error.to_api())?;
        let chosen = self.world.engines.choose(&record.spec, boot.kernel.is_some());
        let (engine, choice) = chosen.map_err(|error| error.to_api())?;
        let overhead = memory_overhead(choice.kind, choice.accelerated);
        let budget = Budget::new(record.spec.vcpus, record.spec.memory_mib, overhead);
        let mut tries = 0;
        loop {
            tries += 1;
            let before = if tries == 1 { ports_before(record) } else { &[] };
            let ports = choose_ports(&record.spec.ports, before).map_err(|error| error.to_api())?;
            let order = LaunchOrder {
                id: self.id,
                name: record.spec.name.clone(),
                vcpus: record.spec.vcpus,
                memory: record.spec.memory_mib,
                boot: boot.clone(),
                disk: (record.spec.disk_mib > api::Mib::ZERO).then(|| self.world.files.disk(self.id)),
                disk_limit: record.spec.disk_limit,
                network_limit: record.spec.network_limit,
                ports,
                group: self.group.renew(&self.world.limits, self.id, budget),
            };
            // Forgotten first, written down second, made third: whatever the agent dies between, the next pass can tell.
            engine.prepare(self.id).map_err(|error| error.to_api())?;
            self.write_down_launch(record.intent.run, &choice, &order).await?;
            match engine.launch(&order).await {
                Ok(guest) => return Ok(guest),
                Err(EngineError::PortTaken { port }) if tries < PORT_TRIES && was_chosen(record, port) => {
                    tracing::info!(port, "a chosen port was taken in between; choosing again");
                }
                Err(error) => return Err(error.to_api()),
            }
        }
    }

    async fn write_down_launch(
        &self,
        run: u32,
        choice: &EngineChoice,
        order: &LaunchOrder,
    ) -> Result<(), ApiError> {
        let launch = Launch {
            run,
            boot_id: self.world.boot_id.clone(),
            engine: choice.clone(),
            ports: order.ports.clone(),
            started_at: None,
            progress: Progress::PoweredOn,
            boot_ms: None,
            guest_status: None,
            ended: false,
        };
        self.world
            .registry
            .change(self.id, |record| record.launch = Some(launch))
            .await
            .map_err(|error| error.to_api())
    }

    async fn power_on(&mut self) -> Result<(), ApiError> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        // Noted first: an agent that dies in between leaves a time that is a moment early, instead of none at all.
        let started_at = ledger::now();
        self.world
            .registry
            .note(self.id, |record| {
                if let Some(launch) = &mut record.launch {
                    launch.started_at = Some(started_at);
                }
            })
            .await;
        let at = Instant::now();
        guest.power_on().await.map_err(|error| error.to_api())?;
        self.powered_on = Some(at);
        Ok(())
    }

    async fn note_power_off(&self, record: &Record) -> Result<(), ApiError> {
        let run = record.intent.run;
        tracing::info!("the guest powered itself off");
        self.world
            .registry
            .change(self.id, |record| {
                // A start that was asked for in the meantime stands.
                if record.intent.run == run {
                    record.intent.wanted_running = false;
                    record.intent.stop = StopInstance::graceful();
                }
            })
            .await
            .map_err(|error| error.to_api())
    }

    fn unexpected_end(&mut self, record: &Record) -> ApiError {
        let ending = self.guest_ending.take();
        let engine = self.engine(record);
        let (kind, log) = (engine.choice().kind, engine.last_words(self.id));
        let cause = if engine.end_of(self.id) == GuestEnd::Reset {
            Cause::Resets
        } else if self.group.ran_out_of_memory(&self.world.limits, self.id) {
            Cause::OutOfMemory
        } else {
            Cause::Ended(ending.unwrap_or_else(|| "nobody saw how".to_owned()))
        };
        failure(kind, &cause, log)
    }

    /// Gives up on the present power-on: the reason is kept, and nothing is tried again before somebody asks.
    ///
    /// A logout and a shutdown of the machine end the engine and the agent with the same breath, and the engine may be the first. So the
    /// failure is held back a moment: where the agent is told to end meanwhile nothing is noted, and what was meant to run is
    /// started after the reboot.
    async fn fail(&self, record: &Record, error: &ApiError) {
        if self
            .cancel
            .run_until_cancelled(tokio::time::sleep(HELD_BACK))
            .await
            .is_none()
        {
            tracing::info!(%error, "the guest went as the agent was told to end; that is no failure");
            return;
        }
        tracing::warn!(code = ?error.code, %error, "the instance failed");
        let log = match error.details.get("log") {
            Some(api::DetailValue::Text(log)) => log.clone(),
            _ => String::new(),
        };
        let failure = Failure {
            code: error.code,
            message: with_remedy(error),
            log,
            at: ledger::now(),
        };
        let run = record.intent.run;
        self.world
            .registry
            .note(self.id, |record| {
                // A start that was asked for in the meantime is another try, and not yet a failed one; a delete has the last word.
                if record.intent.run == run && !record.intent.deleting {
                    record.intent.wanted_running = false;
                    record.status.state = RunState::Failed;
                    record.status.failure = Some(failure);
                }
                note_end(record);
            })
            .await;
    }

    async fn remove(&mut self) -> Result<Pass, ApiError> {
        let (files, id) = (self.world.files.clone(), self.id);
        // A large disk takes its time to be given back.
        tokio::task::spawn_blocking(move || files.remove(id))
            .await
            .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?
            .map_err(|error| error.to_api())?;
        if !self.group.remove(&self.world.limits, self.id) {
            return Ok(Pass::LookAgain(UNCERTAIN));
        }
        self.world
            .registry
            .remove(self.id)
            .await
            .map_err(|error| error.to_api())?;
        Ok(Pass::Gone)
    }
}

/// The ports of the power-on that goes on: whoever uses them does not care whether a reboot of the guest's took its engine along.
fn ports_before(record: &Record) -> &[PublishedPort] {
    let launch = record.launch.as_ref();
    launch
        .filter(|launch| launch.run == record.intent.run)
        .map_or(&[], |launch| &launch.ports)
}

/// Whether the machine chose this port, and may choose another.
fn was_chosen(record: &Record, port: u16) -> bool {
    record.spec.ports.iter().all(|request| request.host != Some(port))
}

fn note_end(record: &mut Record) {
    if let Some(launch) = &mut record.launch {
        launch.ended = true;
    }
    record.live = crate::ledger::Live::default();
}

async fn changed(guest: Option<&mut Box<dyn Guest>>) {
    match guest {
        Some(guest) => guest.changed().await,
        None => std::future::pending().await,
    }
}

async fn progressed(sightings: Option<&mut watch::Receiver<Sighting>>) {
    let Some(sightings) = sightings else {
        return std::future::pending().await;
    };
    if sightings.changed().await.is_err() {
        // The console has ended. Its guest most likely too, which is heard elsewhere.
        std::future::pending::<()>().await;
    }
}
