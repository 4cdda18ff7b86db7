//! Agents under test: the real program, with directories of its own, spoken to over its socket.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use api::{
    ApiError, CreateInstance, EngineRequest, ErrorCode, Instance, InstanceSpec, Mib, PortRequest, RunState,
    StopInstance,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use uuid::Uuid;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_host-runner");
/// How long anything may take that does not boot a guest.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a guest may take, emulated, on a busy machine.
pub const BOOT: Duration = Duration::from_secs(120);

/// Waits until `look` finds something, with a deadline.
pub async fn eventually<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Options of an agent under test.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the image tiny-linux is there.
    pub tiny: bool,
    /// `--offer-memory-mib`.
    pub offer_memory: Option<u32>,
    /// `--offer-disk-mib`.
    pub offer_disk: Option<u32>,
    /// Put before the program, such as `unshare`.
    pub wrapper: Vec<String>,
    /// A shell script that takes QEMU's place.
    pub qemu: Option<&'static str>,
}

impl Options {
    /// With the image tiny-linux.
    pub fn with_tiny() -> Self {
        Self {
            tiny: true,
            ..Self::default()
        }
    }
}

/// An agent and its directories. Both go with it, and so do its guests.
pub struct Agent {
    dir: tempfile::TempDir,
    options: Options,
    child: Option<Child>,
}

impl Agent {
    /// Starts an agent and waits until it answers.
    pub async fn start(options: Options) -> Self {
        // Sockets have short paths: not below the target directory.
        let dir = tempfile::Builder::new()
            .prefix("hr-")
            .tempdir_in("/tmp")
            .expect("a directory");
        let mut agent = Self {
            dir,
            options,
            child: None,
        };
        std::fs::create_dir_all(agent.state_dir()).expect("a state directory");
        if agent.options.tiny {
            copy_tiny_image(&agent.state_dir());
        }
        if let Some(script) = agent.options.qemu {
            put_program(&agent.dir.path().join("bin"), "qemu-system-x86_64", script);
        }
        agent.launch().await;
        agent
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    pub fn socket(&self) -> PathBuf {
        self.runtime_dir().join("api.sock")
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running agent").id()
    }

    /// The program with this agent's directories.
    pub fn command(&self, subcommand: &[&str]) -> Command {
        let mut line = self.options.wrapper.clone();
        line.push(PROGRAM.into());
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .args(subcommand)
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--runtime-dir")
            .arg(self.runtime_dir())
            .env("RUST_LOG", "info,host_runner=debug,host_runner::rest=info")
            .stdin(Stdio::null());
        if self.options.qemu.is_some() {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env(
                "PATH",
                format!("{}:{path}", self.dir.path().join("bin").display()),
            );
        }
        command
    }

    /// Starts the program again, after it was ended.
    pub async fn launch(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let mut command = self.command(&["serve"]);
        if let Some(mib) = self.options.offer_memory {
            command.arg("--offer-memory-mib").arg(mib.to_string());
        }
        if let Some(mib) = self.options.offer_disk {
            command.arg("--offer-disk-mib").arg(mib.to_string());
        }
        self.child = Some(command.stderr(log).spawn().expect("the agent starts"));
        eventually("the agent answers", SOON, async || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten())
            {
                panic!("the agent ended with {status}:\n{}", self.log());
            }
            self.answers().await
        })
        .await;
    }

    /// A whole request: right after a kill, a connection alone may still reach what is left of the old agent.
    async fn answers(&self) -> Option<()> {
        let stream = UnixStream::connect(self.socket()).await.ok()?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        let request = Request::get("/v1/host")
            .header("host", "agent")
            .body(Full::default());
        let response = sender.send_request(request.expect("a request")).await.ok()?;
        (response.status() == StatusCode::OK).then_some(())
    }

    /// Kills the agent as the kernel would when memory is short.
    pub fn sigkill(&mut self) {
        let mut child = self.child.take().expect("a running agent");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Ends the agent as systemd does, and waits for it.
    pub async fn sigterm(&mut self) {
        let mut child = self.child.take().expect("a running agent");
        signal(child.id(), rustix::process::Signal::TERM);
        eventually("the agent ends", SOON, async || child.try_wait().expect("wait")).await;
    }

    /// Sends a request; the connection is its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.expect("connect");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection.with_upgrades());
        tokio::time::timeout(SOON, sender.send_request(request))
            .await
            .expect("an answer in time")
            .expect("an answer")
    }

    pub async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "agent")
            .body(Full::new(body.into()))
            .expect("a request");
        Answer::read(self.send(request).await).await
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.call(Method::GET, path, "").await.expect(StatusCode::OK)
    }

    pub async fn create(&self, id: Uuid, body: &CreateInstance) -> Answer {
        let json = serde_json::to_vec(body).expect("JSON");
        self.call(Method::PUT, &format!("/v1/instances/{id}"), json).await
    }

    /// Creates and starts an instance of tiny-linux, and waits for its login prompt.
    pub async fn boot(&self, name: &str) -> Instance {
        let id = Uuid::now_v7();
        self.create(id, &tiny(name))
            .await
            .expect::<Instance>(StatusCode::CREATED);
        self.until_ready(id).await
    }

    pub async fn instance(&self, id: Uuid) -> Instance {
        self.get(&format!("/v1/instances/{id}")).await
    }

    pub async fn post(&self, id: Uuid, action: &str, body: &str) -> Answer {
        self.call(
            Method::POST,
            &format!("/v1/instances/{id}/{action}"),
            body.to_owned(),
        )
        .await
    }

    /// Creates one that does not run, and waits until it is made.
    pub async fn create_stopped(&self, name: &str) -> Uuid {
        let id = Uuid::now_v7();
        let body = CreateInstance {
            start: false,
            ..tiny(name)
        };
        self.create(id, &body)
            .await
            .expect::<Instance>(StatusCode::CREATED);
        self.until_state(id, RunState::Stopped).await;
        id
    }

    /// Stops it, and waits until it has stopped.
    pub async fn stop(&self, id: Uuid, how: &StopInstance) {
        let body = serde_json::to_string(how).expect("a body");
        self.post(id, "stop", &body)
            .await
            .expect::<Instance>(StatusCode::ACCEPTED);
        self.until_state(id, RunState::Stopped).await;
    }

    /// Starts it; whoever needs it at its prompt waits for that.
    pub async fn start_again(&self, id: Uuid) {
        self.post(id, "start", "")
            .await
            .expect::<Instance>(StatusCode::ACCEPTED);
    }

    pub async fn delete(&self, id: Uuid) -> Answer {
        self.call(Method::DELETE, &format!("/v1/instances/{id}"), "")
            .await
    }

    pub async fn until_ready(&self, id: Uuid) -> Instance {
        eventually("a login prompt", BOOT, async || {
            let instance = self.instance(id).await;
            assert_ne!(
                instance.state,
                RunState::Failed,
                "{:?}\n{}",
                instance.failure,
                self.log()
            );
            (instance.progress == Some(api::Progress::Ready)).then_some(instance)
        })
        .await
    }

    pub async fn until_state(&self, id: Uuid, state: RunState) -> Instance {
        eventually(&format!("{state:?}"), BOOT, async || {
            let instance = self.instance(id).await;
            (instance.state == state).then_some(instance)
        })
        .await
    }

    pub async fn until_gone(&self, id: Uuid) {
        eventually("the instance is gone", SOON, async || {
            let answer = self.call(Method::GET, &format!("/v1/instances/{id}"), "").await;
            (answer.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }

    /// Asserts that no instance is known and no file of one is left.
    pub async fn assert_nothing_is_left(&self) {
        let instances: Vec<Instance> = self.get("/v1/instances").await;
        assert!(instances.is_empty(), "{instances:?}");
        for dir in [self.state_dir(), self.runtime_dir()] {
            let left: Vec<_> = std::fs::read_dir(dir.join("instances"))
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // As the agent sees it: a test may have mounted another file system over its state.
        let state = match &self.child {
            Some(child) => format!("/proc/{}/root{}", child.id(), self.state_dir().display()).into(),
            None => self.state_dir(),
        };
        let lasting: Vec<_> = std::fs::read_dir(state.join("instances"))
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        // Guests outlive their agent; they must not outlive the test.
        for entry in lasting {
            for pid in guests_of(&entry.file_name().to_string_lossy()) {
                signal(pid, rustix::process::Signal::KILL);
            }
            remove_groups(&entry.file_name().to_string_lossy());
        }
    }
}

/// The control groups of an instance's guest.
pub fn groups_of(id: &str) -> Vec<PathBuf> {
    let found = Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-type",
            "d",
            "-path",
            &format!("*/millpond/{id}"),
        ])
        .output()
        .expect("find");
    let text = String::from_utf8(found.stdout).expect("plain paths");
    text.lines().map(PathBuf::from).collect()
}

/// Removes what no agent is there to remove any more, as soon as the killed guest is out of it.
fn remove_groups(id: &str) {
    let started = Instant::now();
    for group in groups_of(id) {
        while std::fs::remove_dir(&group).is_err() && group.is_dir() && started.elapsed() < SOON {
            std::thread::yield_now();
        }
        // The last guest's takes the folder of all with it.
        let _others_are_there = group.parent().map(std::fs::remove_dir);
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process number");
    let _ = rustix::process::kill_process(pid, signal);
}

/// The process of an instance's guest, found by the instance's id alone.
pub fn guest_pid(id: Uuid) -> Option<u32> {
    guest_pids(id).first().copied()
}

/// All processes of an instance's guest.
pub fn guest_pids(id: Uuid) -> Vec<u32> {
    guests_of(&id.to_string())
}

/// The processes that have `id` as an argument.
fn guests_of(id: &str) -> Vec<u32> {
    let is_guest = |pid: &u32| {
        let mut line = Vec::new();
        let opened = std::fs::File::open(format!("/proc/{pid}/cmdline"));
        opened.is_ok_and(|file| file.take(65_536).read_to_end(&mut line).is_ok())
            && line.starts_with(b"qemu")
            && line
                .split(|byte| *byte == 0)
                .any(|argument| argument == id.as_bytes())
    };
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_guest)
        .collect()
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(SOON, body.collect())
            .await
            .expect("a body in time")
            .expect("a body")
            .to_bytes();
        Self {
            status: parts.status,
            body,
        }
    }

    /// The body of a success.
    #[track_caller]
    pub fn expect<T: DeserializeOwned>(&self, status: StatusCode) -> T {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).expect("the body's type")
    }

    /// The body of a refusal.
    #[track_caller]
    pub fn refused(&self, status: StatusCode, code: ErrorCode) -> ApiError {
        let error: ApiError = self.expect(status);
        assert_eq!(error.code, code, "{error:?}");
        assert!(!error.message.is_empty());
        error
    }
}

/// A request for an instance of tiny-linux.
pub fn tiny(name: &str) -> CreateInstance {
    CreateInstance {
        generation: 1,
        spec: InstanceSpec {
            name: name.to_owned(),
            image: "tiny-linux".into(),
            vcpus: 1,
            memory_mib: Mib(128),
            disk_mib: Mib::ZERO,
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            engine: EngineRequest::Auto,
            ports: vec![PortRequest {
                guest: 80,
                host: None,
            }],
            placement: api::Placement::default(),
        },
        start: true,
    }
}

/// Makes the image unless it is there as this program would make it, and gives each agent a copy of its own.
fn copy_tiny_image(state_dir: &Path) {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let cache = CACHE.get_or_init(build_tiny_image);
    copy_tree(&cache.join("images"), &state_dir.join("images"));
}

fn build_tiny_image() -> PathBuf {
    // The other packages' tests keep it in the same place, under the same lock.
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../tests/tiny-image");
    std::fs::create_dir_all(&cache).expect("a cache");
    let lock = std::fs::File::create(cache.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock");
    let built = Command::new(PROGRAM)
        .args(["image", "build-tiny", "--state-dir"])
        .arg(&cache)
        .output()
        .expect("the program runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    cache
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn put_program(dir: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(dir).expect("a folder");
    let path = dir.join(name);
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Changes one byte in the middle of every file in a folder.
pub fn damage(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let _ = std::process::Command::new("chmod").arg("u+w").arg(&path).status();
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file");
        let middle = file.metadata().expect("its size").len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).expect("a byte");
        file.write_all_at(&[!byte[0]], middle).expect("another");
    }
}
