//! Two clients at once: what a machine promises, it promises once.

use std::sync::Arc;

use api::client::{Client, ClientError, LocalConnector, RequestContext};
use api::{CreateInstance, EngineRequest, ErrorCode, InstanceSpec, Mib};
use support::{AgentOptions, AgentProcess, Place};
use uuid::Uuid;

const ROUNDS: u32 = 200;
const OFFERED_MIB: u32 = 256;

fn wish(name: String, memory_mib: u32) -> CreateInstance {
    CreateInstance {
        generation: 1,
        spec: InstanceSpec {
            name,
            image: "tiny-linux".into(),
            vcpus: 1,
            memory_mib: Mib(memory_mib),
            disk_mib: Mib(0),
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            engine: EngineRequest::Auto,
            ports: Vec::new(),
            placement: api::Placement::default(),
        },
        start: true,
    }
}

#[tokio::test]
async fn two_clients_never_both_get_the_last_memory() {
    let options = AgentOptions {
        with_tiny_image: true,
        arguments: vec![format!("--offer-memory-mib={OFFERED_MIB}")],
        ..AgentOptions::default()
    };
    let agent = AgentProcess::start(Place::Here, options).expect("an agent");
    let client = || {
        Client::new(Arc::new(LocalConnector {
            socket: agent.socket(),
        }))
    };
    let clients = [client(), client()];
    let context = RequestContext::new("race");
    for round in 0..ROUNDS {
        let ids = [Uuid::now_v7(), Uuid::now_v7()];
        let wishes = [0, 1].map(|index| wish(format!("r{round}-{index}"), OFFERED_MIB));
        let (first, second) = futures::future::join(
            clients[0].create(&context, ids[0], &wishes[0]),
            clients[1].create(&context, ids[1], &wishes[1]),
        )
        .await;
        let (won, lost) = match (first, second) {
            (Ok(_), Err(error)) => (ids[0], error),
            (Err(error), Ok(_)) => (ids[1], error),
            other => panic!("round {round}: {other:?}\n{}", agent.log()),
        };
        match lost {
            ClientError::Refused {
                status: 409, error, ..
            } => {
                assert_eq!(error.code, ErrorCode::InsufficientMemory);
                assert_eq!(error.details["needed_mib"], OFFERED_MIB.into());
                assert_eq!(error.details["free_mib"], 0.into());
            }
            other => panic!("round {round}: {other:?}"),
        }
        clients[0].delete(&context, won).await.expect("deleted");
        support::wait_until_async(
            "the memory is free again",
            std::time::Duration::from_secs(60),
            async || {
                let snapshot = clients[1].snapshot(&context).await.ok()?;
                (snapshot.usage.memory_free_mib == Mib(OFFERED_MIB) && snapshot.instances.is_empty())
                    .then_some(())
            },
        )
        .await
        .unwrap_or_else(|err| panic!("round {round}: {err}\n{}", agent.log()));
    }
}
