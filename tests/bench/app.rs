//! How light the agent is, how fast the link, and how soon the window is there: each figure a line `bench NAME VALUE UNIT`.
//!
//! Run in release mode, as root, with `host-runner` built beside it: `make bench SUITE=app`.

mod window_start;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::client::ssh::{SshOptions, SshTarget, connect};
use api::client::{Client, LocalConnector, RequestContext};
use api::{CreateInstance, EngineRequest, InstanceSpec, Mib};
use futures::{StreamExt, TryStreamExt};
use support::{AgentOptions, AgentProcess, Desktop, KeyKind, Place, SshKey, SshServer, SshServerOptions};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const INSTANCES: u32 = 1_000;
const LISTS: usize = 101;
const MACHINES: usize = 50;
/// An agent samples every two seconds: this sees several samples.
const IDLE_FOR: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Outcome<()> {
    let options = AgentOptions {
        with_tiny_image: true,
        ..AgentOptions::default()
    };
    let agent = AgentProcess::start(Place::Here, options)?;
    let bench = Bench {
        desktop: Desktop::new()?,
        agent,
        context: RequestContext::new("bench"),
    };
    println!("bench agent_idle_rss_mib {:.1} MiB", bench.idle_rss_mib().await?);
    println!(
        "bench connect_50_machines_s {:.2} s",
        bench.connect_machines_s().await?
    );
    println!(
        "bench list_1000_instances_ms {:.1} ms",
        bench.list_instances_ms().await?
    );
    // Last, and on an agent of its own: a newcomer's pool is empty.
    let start = window_start::measure()?;
    println!("window start: {start}");
    println!("bench window_start_ratio {:.2} ratio", start.ratio());
    Ok(())
}

struct Bench {
    desktop: Desktop,
    agent: AgentProcess,
    context: RequestContext,
}

impl Bench {
    /// The most resident memory that the idle agent was seen with.
    async fn idle_rss_mib(&self) -> Outcome<f64> {
        let start = Instant::now();
        let mut most_kib: u32 = 0;
        while start.elapsed() < IDLE_FOR {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.agent.id()))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .ok_or("no VmRSS")?;
            let digits = line.trim().trim_end_matches(" kB");
            most_kib = most_kib.max(digits.parse()?);
        }
        Ok(f64::from(most_kib) / 1024.0)
    }

    /// From nothing to a complete picture of every machine: TCP, SSH, login, the first snapshot. All at once, as when the app starts.
    /// Fifty SSH servers lead to one agent, as it is the desktop's side that is measured.
    async fn connect_machines_s(&self) -> Outcome<f64> {
        let key = SshKey::make(&self.desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "")?;
        let mut servers = Vec::new();
        for _ in 0..MACHINES {
            let server = self.ssh_server(&key)?;
            servers.push(server);
        }
        let options = self.options();
        let start = Instant::now();
        let connecting = servers.iter().map(|(_, port)| {
            let (options, context) = (options.clone(), self.context.clone());
            let target = target(*port);
            tokio::spawn(async move {
                let session = connect(&target, &options).await.map_err(|err| err.to_api())?;
                let client = Client::new(Arc::new(session));
                client.snapshot(&context).await.map_err(|err| err.to_api())
            })
        });
        for outcome in futures::future::join_all(connecting).await {
            outcome??;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// The median time of one call that lists a thousand instances, over SSH on loopback.
    async fn list_instances_ms(&self) -> Outcome<f64> {
        let local = Client::new(Arc::new(LocalConnector {
            socket: self.agent.socket(),
        }));
        futures::stream::iter(0..INSTANCES)
            .map(|index| self.create(&local, index))
            .buffer_unordered(4)
            .try_collect::<Vec<()>>()
            .await?;

        let key = SshKey::make(&self.desktop.ssh_path("list"), KeyKind::Ed25519, "")?;
        let (_server, port) = self.ssh_server(&key)?;
        let target = SshTarget {
            identity_file: Some(key.path),
            ..target(port)
        };
        let client = Client::new(Arc::new(connect(&target, &self.options()).await?));
        let mut times_ms = Vec::new();
        for _ in 0..LISTS {
            let start = Instant::now();
            let instances = client.instances(&self.context).await?;
            times_ms.push(start.elapsed().as_secs_f64() * 1000.0);
            if instances.len() != INSTANCES as usize {
                return Err(format!("{} instances instead of {INSTANCES}", instances.len()).into());
            }
        }
        times_ms.sort_by(f64::total_cmp);
        Ok(times_ms[LISTS / 2])
    }

    async fn create(&self, client: &Client, index: u32) -> Outcome<()> {
        let create = CreateInstance {
            generation: 1,
            spec: InstanceSpec {
                name: format!("bench-{index}"),
                image: "tiny-linux".into(),
                vcpus: 1,
                memory_mib: Mib(128),
                disk_mib: Mib(0),
                disk_limit: api::DiskLimit::default(),
                network_limit: api::NetworkLimit::default(),
                engine: EngineRequest::Auto,
                ports: Vec::new(),
                placement: api::Placement::default(),
            },
            start: false,
        };
        client.create(&self.context, Uuid::now_v7(), &create).await?;
        Ok(())
    }

    /// A server on a free port of loopback, which the desktop knows.
    fn ssh_server(&self, key: &SshKey) -> Outcome<(SshServer, u16)> {
        let port = SshServer::free_port()?;
        let options = SshServerOptions {
            port,
            listen: "127.0.0.1",
            authorized: vec![key.public.clone()],
            ..SshServerOptions::default()
        };
        let server = SshServer::start(Place::Here, &options)?;
        self.desktop.know(&format!("[127.0.0.1]:{port}"), &server)?;
        Ok((server, port))
    }

    fn options(&self) -> SshOptions {
        SshOptions {
            socket_path: Some(self.agent.socket().display().to_string()),
            ..self.desktop.options()
        }
    }
}

fn target(port: u16) -> SshTarget {
    SshTarget {
        port: Some(port),
        ..Desktop::target("127.0.0.1")
    }
}
