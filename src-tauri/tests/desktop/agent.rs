//! A scripted agent: speaks the contract on a Unix socket in this process, and does what a test tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use api::{
    ApiError, CONSOLE_PROTOCOL, CreateInstance, EngineKind, ErrorCode, EventBody, EventCursor,
    HardwareVirtualization, HostFacts, HostUsage, Image, ImageState, Instance, InstanceUsage, Mib,
    NetworkMode, Progress, REQUEST_ID_HEADER, RunState, Snapshot, StopInstance, Timestamp,
};
use axum::body::Body;
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event as Line;
use axum::response::{IntoResponse, Response, Sse};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// An agent that is up from its start until it is dropped or [`stopped`](ScriptedAgent::stop).
pub struct ScriptedAgent {
    pub socket: PathBuf,
    world: Arc<World>,
    server: Option<JoinHandle<()>>,
}

struct World {
    state: Mutex<Script>,
    /// Counts the events; those who follow wait for it.
    sequence: watch::Sender<u64>,
}

/// What the agent holds, and what it does next.
pub struct Script {
    pub host: HostFacts,
    pub usage: HostUsage,
    pub images: Vec<Image>,
    pub instances: BTreeMap<Uuid, Instance>,
    pub epoch: u64,
    events: Vec<EventBody>,
    /// Events up to this one are forgotten.
    pub forgotten: u64,
    /// The next creates are refused with these.
    pub refuse: VecDeque<ApiError>,
    /// With so many instances, one more is refused with this.
    pub refuse_after: Option<(usize, ApiError)>,
    /// So many next creates are done, and never answered.
    pub swallow_answers: u32,
    /// Every request as `METHOD path`, with its id.
    pub requests: Vec<(String, String)>,
}

pub fn now() -> Timestamp {
    let ms = Timestamp("2026-01-31T08:05:00Z".parse().expect("a time")).unix_ms();
    Timestamp::from_unix_ms(ms).expect("a time")
}

pub fn facts(name: &str, number: u128) -> HostFacts {
    HostFacts {
        id: Uuid::from_u128(number),
        hostname: name.into(),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        cpu_model: "Test CPU".into(),
        threads: 4,
        memory_total_mib: Mib(8192),
        memory_offered_mib: Mib(7168),
        instance_overhead_mib: Mib::ZERO,
        hardware_virtualization: HardwareVirtualization {
            available: false,
            reason: "no svm, no vmx".into(),
        },
        engines: vec![EngineKind::Qemu],
        network: NetworkMode::User,
        privileged: false,
        capabilities: Vec::new(),
        agent_version: "0.1.0".into(),
        api_version: api::API_VERSION.into(),
    }
}

pub fn usage(memory_free: u32) -> HostUsage {
    HostUsage {
        sampled_at: now(),
        cpu_percent: 10.0,
        memory_used_mib: Mib(1024),
        memory_promised_mib: Mib(7168 - memory_free),
        memory_free_mib: Mib(memory_free),
        disk_total_mib: Mib(100_000),
        disk_promised_mib: Mib::ZERO,
        disk_free_mib: Mib(100_000),
        uptime_s: 60,
    }
}

/// All that an agent says at once, of a machine that holds the image.
pub fn told(host: HostFacts, usage: HostUsage, instances: Vec<Instance>) -> Snapshot {
    Snapshot {
        host,
        usage,
        images: vec![tiny_linux()],
        instances,
        cursor: EventCursor {
            epoch: 1,
            sequence: 0,
        },
    }
}

pub fn tiny_linux() -> Image {
    Image {
        name: "tiny-linux".into(),
        title: "Tiny Linux".into(),
        summary: "A prompt within seconds".into(),
        digest: "00".into(),
        size_mib: Mib(20),
        memory_min_mib: Mib(96),
        disk_min_mib: Mib::ZERO,
        has_kernel: true,
        state: ImageState::Ready,
        problem: None,
        created_at: now(),
    }
}

impl ScriptedAgent {
    /// An agent with Tiny Linux and 4 GiB of free memory, on a socket in `folder`.
    pub fn start(folder: &Path, name: &str, number: u128) -> Self {
        let script = Script {
            host: facts(name, number),
            usage: usage(4096),
            images: vec![tiny_linux()],
            instances: BTreeMap::new(),
            epoch: 1,
            events: Vec::new(),
            forgotten: 0,
            refuse: VecDeque::new(),
            refuse_after: None,
            swallow_answers: 0,
            requests: Vec::new(),
        };
        let mut agent = Self {
            socket: folder.join(format!("{name}.sock")),
            world: Arc::new(World {
                state: Mutex::new(script),
                sequence: watch::Sender::new(0),
            }),
            server: None,
        };
        agent.listen();
        agent
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.world.state.lock().expect("no test panics with the script")
    }

    /// Ends at once, with all its connections, like a killed process.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Comes back as a new run of the agent, with all that it held.
    pub fn restart(&mut self) {
        {
            let mut script = self.script();
            script.epoch += 1;
            script.events.clear();
            script.forgotten = 0;
        }
        self.world.sequence.send_replace(0);
        self.listen();
    }

    fn listen(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("the socket is free");
        let router = router(self.world.clone());
        self.server = Some(tokio::spawn(serve(listener, router)));
    }

    /// Does something to the world and tells those who follow.
    pub fn emit(&self, body: EventBody) {
        self.world.emit(body);
    }

    /// The guest of an instance boots to its prompt.
    pub fn boot(&self, id: Uuid) {
        for (state, progress) in [
            (RunState::Starting, None),
            (RunState::Running, Some(Progress::PoweredOn)),
            (RunState::Running, Some(Progress::Booting)),
            (RunState::Running, Some(Progress::Ready)),
        ] {
            self.change(id, |instance| {
                instance.state = state;
                instance.progress = progress;
                instance.started_at = (state == RunState::Running).then(now);
                instance.boot_ms = (progress == Some(Progress::Ready)).then_some(4200);
            });
        }
    }

    /// Changes an instance and tells those who follow.
    pub fn change(&self, id: Uuid, change: impl FnOnce(&mut Instance)) {
        let instance = {
            let mut script = self.script();
            let instance = script.instances.get_mut(&id).expect("the instance exists");
            change(instance);
            instance.clone()
        };
        self.emit(EventBody::InstanceChanged { instance });
    }

    /// Takes a sample of its usage.
    pub fn sample(&self, cpu_percent: f64) {
        let body = {
            let mut script = self.script();
            script.usage.cpu_percent = cpu_percent;
            let instances = script.instances.keys().map(|id| {
                let usage = InstanceUsage {
                    cpu_percent,
                    memory_mib: Mib(100),
                };
                (*id, usage)
            });
            EventBody::UsageSampled {
                instances: instances.collect(),
                host: script.usage.clone(),
            }
        };
        self.emit(body);
    }
}

impl Drop for ScriptedAgent {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

impl World {
    fn emit(&self, body: EventBody) {
        let mut script = self.state.lock().expect("no test panics with the script");
        script.events.push(body);
        let sequence = script.forgotten + u64::try_from(script.events.len()).expect("few events");
        self.sequence.send_replace(sequence);
    }
}

impl Script {
    fn cursor(&self) -> EventCursor {
        EventCursor {
            epoch: self.epoch,
            sequence: self.forgotten + u64::try_from(self.events.len()).expect("few events"),
        }
    }

    /// Forgets all events so far, as a busy agent does.
    pub fn forget_events(&mut self) {
        self.forgotten = self.cursor().sequence;
        self.events.clear();
    }
}

/// Each connection in a task that ends with the server's: `axum::serve` would let them live on.
async fn serve(listener: UnixListener, router: Router) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/events", get(events))
        .route("/v1/instances/{id}", put(create).delete(delete))
        .route("/v1/instances/{id}/start", post(start))
        .route("/v1/instances/{id}/stop", post(stop))
        .route("/v1/instances/{id}/restart", post(stop))
        .route("/v1/instances/{id}/console", get(console))
        .layer(axum::middleware::from_fn_with_state(world.clone(), note))
        .with_state(world)
}

async fn note(State(world): State<Arc<World>>, request: Request, next: axum::middleware::Next) -> Response {
    let id = request.headers().get(REQUEST_ID_HEADER);
    let id = id.map(|id| id.to_str().unwrap_or_default().to_owned());
    let line = format!("{} {}", request.method(), request.uri().path());
    {
        let mut script = world.state.lock().expect("no test panics with the script");
        script.requests.push((line, id.unwrap_or_default()));
    }
    next.run(request).await
}

fn refuse(status: StatusCode, error: ApiError) -> Response {
    (status, Json(error)).into_response()
}

async fn snapshot(State(world): State<Arc<World>>) -> Json<Snapshot> {
    let script = world.state.lock().expect("no test panics with the script");
    Json(Snapshot {
        host: script.host.clone(),
        usage: script.usage.clone(),
        images: script.images.clone(),
        instances: script.instances.values().cloned().collect(),
        cursor: script.cursor(),
    })
}

async fn events(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    let after = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let after: EventCursor = after.expect("a cursor");
    {
        let script = world.state.lock().expect("no test panics with the script");
        if after.epoch != script.epoch || after.sequence < script.forgotten {
            let lost = ApiError::new(ErrorCode::EventsLost, "these events are forgotten");
            return refuse(StatusCode::GONE, lost);
        }
    }
    Sse::new(lines(world, after)).into_response()
}

fn lines(world: Arc<World>, after: EventCursor) -> impl Stream<Item = Result<Line, Infallible>> {
    let waiting = world.sequence.subscribe();
    futures::stream::unfold(
        (world, waiting, after),
        |(world, mut waiting, mut at)| async move {
            waiting.wait_for(|sequence| *sequence > at.sequence).await.ok()?;
            at.sequence += 1;
            let line = {
                let script = world.state.lock().expect("no test panics with the script");
                if at.epoch != script.epoch || at.sequence <= script.forgotten {
                    return None;
                }
                let index = usize::try_from(at.sequence - script.forgotten - 1).expect("few events");
                Line::default()
                    .id(at.to_string())
                    .json_data(&script.events[index])
            };
            Some((line.expect("events are JSON"), (world, waiting, at)))
        },
    )
    .boxed()
    .map(Ok)
}

async fn create(
    State(world): State<Arc<World>>,
    UrlPath(id): UrlPath<Uuid>,
    Json(create): Json<CreateInstance>,
) -> Response {
    let (instance, is_new, swallow) = {
        let mut script = world.state.lock().expect("no test panics with the script");
        if let Some((most, error)) = &script.refuse_after
            && script.instances.len() >= *most
        {
            return refuse(StatusCode::CONFLICT, error.clone());
        }
        if let Some(error) = script.refuse.pop_front() {
            return refuse(StatusCode::CONFLICT, error);
        }
        let held = script.instances.get(&id).cloned();
        if held.as_ref().is_some_and(|held| held.spec != create.spec) {
            return refuse(
                StatusCode::CONFLICT,
                ApiError::new(ErrorCode::ConflictingSpec, "another spec under this id"),
            );
        }
        let name = &create.spec.name;
        if script
            .instances
            .values()
            .any(|other| other.id != id && other.spec.name == *name)
        {
            return refuse(
                StatusCode::CONFLICT,
                ApiError::new(ErrorCode::NameTaken, "the name is taken").with("name", name.as_str()),
            );
        }
        let is_new = held.is_none();
        let instance = held.unwrap_or_else(|| new_instance(id, create.clone()));
        script.instances.insert(id, instance.clone());
        let swallow = script.swallow_answers > 0;
        script.swallow_answers = script.swallow_answers.saturating_sub(1);
        (instance, is_new, swallow)
    };
    if is_new {
        world.emit(EventBody::InstanceChanged {
            instance: instance.clone(),
        });
    }
    if swallow {
        // A body that breaks off: the caller cannot know whether it was done.
        let broken = futures::stream::iter([Err::<&str, _>(std::io::Error::other("the link broke"))]);
        return Body::from_stream(broken).into_response();
    }
    Json(instance).into_response()
}

pub fn new_instance(id: Uuid, create: CreateInstance) -> Instance {
    Instance {
        id,
        generation: create.generation,
        spec: create.spec,
        wanted_running: create.start,
        state: RunState::Creating,
        progress: None,
        failure: None,
        engine: None,
        ports: Vec::new(),
        usage: None,
        copied_percent: None,
        created_at: now(),
        started_at: None,
        boot_ms: None,
        guest_status: None,
    }
}

async fn delete(State(world): State<Arc<World>>, UrlPath(id): UrlPath<Uuid>) -> Response {
    let removed = {
        let mut script = world.state.lock().expect("no test panics with the script");
        script.instances.remove(&id)
    };
    match removed {
        Some(_) => {
            world.emit(EventBody::InstanceDeleted { id });
            StatusCode::NO_CONTENT.into_response()
        }
        None => not_found(id),
    }
}

async fn start(State(world): State<Arc<World>>, UrlPath(id): UrlPath<Uuid>) -> Response {
    world.turn(id, RunState::Starting)
}

async fn stop(
    State(world): State<Arc<World>>,
    UrlPath(id): UrlPath<Uuid>,
    Json(_): Json<StopInstance>,
) -> Response {
    world.turn(id, RunState::Stopped)
}

impl World {
    fn turn(&self, id: Uuid, state: RunState) -> Response {
        let turned = {
            let mut script = self.state.lock().expect("no test panics with the script");
            script.instances.get_mut(&id).map(|instance| {
                instance.state = state;
                instance.progress = None;
                instance.started_at = None;
                instance.boot_ms = None;
                instance.clone()
            })
        };
        match turned {
            Some(instance) => {
                self.emit(EventBody::InstanceChanged {
                    instance: instance.clone(),
                });
                Json(instance).into_response()
            }
            None => not_found(id),
        }
    }
}

fn not_found(id: Uuid) -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        ApiError::new(ErrorCode::InstanceNotFound, "no such instance").with("id", id.to_string()),
    )
}

/// A console that says `login: ` and echoes what is typed.
async fn console(
    UrlPath(id): UrlPath<Uuid>,
    State(world): State<Arc<World>>,
    mut request: Request,
) -> Response {
    if !world
        .state
        .lock()
        .expect("no test panics")
        .instances
        .contains_key(&id)
    {
        return not_found(id);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let (mut reading, mut writing) = tokio::io::split(TokioIo::new(stream));
        let _ = writing.write_all(b"login: ").await;
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = reading.read(&mut piece).await {
            if writing.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", CONSOLE_PROTOCOL)
        .body(Body::empty())
        .expect("a good answer")
}
