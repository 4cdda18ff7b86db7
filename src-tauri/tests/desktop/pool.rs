//! The live picture: what is seen on the machines is what the window sees, and nothing more is pushed than it needs.

use std::sync::Arc;
use std::time::Duration;

use api::{
    CreateInstance, EngineRequest, Event, EventBody, EventCursor, InstanceSpec, InstanceUsage, Mib, RunState,
    Snapshot, Timestamp,
};
use millpond::contract::{Link, PoolChange, PoolMachine, PoolPicture, WindowEvent};
use millpond::pool::{EVENTS_WAITING_MAX, LivePicture, MEASURED_PER_PUSH, Pool, Subscription};
use proptest::prelude::*;
use uuid::Uuid;

use crate::agent::{facts, new_instance, now, told, usage};
use crate::desk::{connected, unseen};

fn machine(number: u128) -> PoolMachine {
    unseen(Uuid::from_u128(number), &format!("machine-{number}"))
}

fn instance(number: u128, state: RunState) -> api::Instance {
    let create = CreateInstance {
        generation: 1,
        spec: InstanceSpec {
            name: format!("tiny-{number}"),
            image: "tiny-linux".into(),
            vcpus: 1,
            memory_mib: Mib(128),
            disk_mib: Mib::ZERO,
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            engine: EngineRequest::Auto,
            ports: Vec::new(),
            placement: api::Placement::default(),
        },
        start: true,
    };
    let created_at = Timestamp::from_unix_ms(i64::try_from(number % 1000).expect("small")).expect("a time");
    api::Instance {
        state,
        created_at,
        ..new_instance(Uuid::from_u128(number), create)
    }
}

fn snapshot(host: u128, instances: Vec<api::Instance>) -> Snapshot {
    told(facts(&format!("host-{host}"), host), usage(4096), instances)
}

fn event(body: EventBody) -> Event {
    Event {
        cursor: EventCursor {
            epoch: 1,
            sequence: 1,
        },
        body,
    }
}

/// What a window does with a change.
fn apply(picture: &mut PoolPicture, change: PoolChange) {
    assert_eq!(picture.version, change.from, "no gap");
    picture.version = change.to;
    picture
        .machines
        .retain(|machine| !change.removed_machines.contains(&machine.id));
    for machine in change.machines {
        match picture.machines.iter_mut().find(|held| held.id == machine.id) {
            Some(held) => *held = machine,
            None => picture.machines.push(machine),
        }
    }
    picture
        .instances
        .retain(|placed| !change.removed_instances.contains(&placed.instance.id));
    for placed in change.instances {
        picture
            .instances
            .retain(|held| held.instance.id != placed.instance.id);
        picture.instances.push(placed);
    }
    picture
        .instances
        .sort_by_key(|placed| (placed.instance.created_at, placed.instance.id));
}

#[derive(Debug, Clone)]
enum Step {
    Add(u128),
    Remove(u128),
    Link(u128, bool),
    Snapshot(u128, Vec<(u128, u8)>),
    Changed(u128, u128, u8),
    Deleted(u128, u128),
    Sampled(u128, u32),
    Publish,
}

fn state(number: u8) -> RunState {
    const STATES: [RunState; 4] = [
        RunState::Creating,
        RunState::Starting,
        RunState::Running,
        RunState::Stopped,
    ];
    STATES[usize::from(number) % STATES.len()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let machine = 1..4_u128;
    let id = 100..108_u128;
    let step = prop_oneof![
        machine.clone().prop_map(Step::Add),
        machine.clone().prop_map(Step::Remove),
        (machine.clone(), any::<bool>()).prop_map(|(machine, up)| Step::Link(machine, up)),
        (
            machine.clone(),
            prop::collection::vec((id.clone(), any::<u8>()), 0..4)
        )
            .prop_map(|(machine, seen)| Step::Snapshot(machine, seen)),
        (machine.clone(), id.clone(), any::<u8>())
            .prop_map(|(machine, id, state)| Step::Changed(machine, id, state)),
        (machine.clone(), id).prop_map(|(machine, id)| Step::Deleted(machine, id)),
        (machine, any::<u32>()).prop_map(|(machine, load)| Step::Sampled(machine, load)),
        Just(Step::Publish),
    ];
    prop::collection::vec(step, 0..60)
}

fn take(picture: &mut LivePicture, step: Step) {
    let id = Uuid::from_u128;
    match step {
        Step::Add(number) => picture.add_machine(machine(number)),
        Step::Remove(number) => picture.remove_machine(id(number)),
        Step::Link(number, up) => {
            picture.set_link(id(number), if up { connected() } else { Link::Connecting });
        }
        Step::Snapshot(number, mut seen) => {
            seen.sort_unstable();
            seen.dedup_by_key(|(id, _)| *id);
            let instances = seen
                .into_iter()
                .map(|(id, run)| instance(id, state(run)))
                .collect();
            let _ = picture.apply_snapshot(id(number), snapshot(number, instances), connected(), now());
        }
        Step::Changed(number, changed, run) => {
            let instance = instance(changed, state(run));
            picture.apply_event(id(number), event(EventBody::InstanceChanged { instance }), now());
        }
        Step::Deleted(number, gone) => {
            picture.apply_event(
                id(number),
                event(EventBody::InstanceDeleted { id: id(gone) }),
                now(),
            );
        }
        Step::Sampled(number, load) => {
            let instances = (100..108).map(|instance| {
                let usage = InstanceUsage {
                    cpu_percent: f64::from(load % 100),
                    memory_mib: Mib(load),
                };
                (id(instance), usage)
            });
            let body = EventBody::UsageSampled {
                host: usage(load % 4096),
                instances: instances.collect(),
            };
            picture.apply_event(id(number), event(body), now());
        }
        Step::Publish => {}
    }
}

proptest! {
    #[test]
    fn a_window_that_applies_every_change_sees_the_whole_picture(steps in steps()) {
        let mut live = LivePicture::default();
        let mut window = live.picture();
        let mut left = Vec::new();
        for step in steps {
            match step {
                // Identities are never used twice.
                Step::Add(machine) if left.contains(&machine) => continue,
                Step::Remove(machine) => left.push(machine),
                _ => {}
            }
            let publish = matches!(step, Step::Publish);
            take(&mut live, step);
            if publish && let Some(change) = live.take_change() {
                apply(&mut window, change);
                prop_assert_eq!(&window, &live.picture());
            }
        }
        if let Some(change) = live.take_change() {
            apply(&mut window, change);
        }
        prop_assert_eq!(&window, &live.picture());
        prop_assert_eq!(live.take_change(), None, "nothing is told twice");
        for placed in &window.instances {
            prop_assert!(window.machines.iter().any(|machine| machine.id == placed.machine), "no instance without a machine");
        }
    }
}

#[test]
fn two_machines_that_claim_one_instance_leave_it_with_the_first() {
    let mut live = LivePicture::default();
    for number in [1, 2] {
        live.add_machine(machine(number));
        let seen = snapshot(number, vec![instance(100, RunState::Running)]);
        live.apply_snapshot(Uuid::from_u128(number), seen, connected(), now())
            .expect("two hosts");
    }
    let placed = live.instance(Uuid::from_u128(100)).expect("it is there");
    assert_eq!(placed.machine, Uuid::from_u128(1));
    live.apply_event(
        Uuid::from_u128(2),
        event(EventBody::InstanceDeleted {
            id: Uuid::from_u128(100),
        }),
        now(),
    );
    assert!(
        live.instance(Uuid::from_u128(100)).is_some(),
        "the second cannot take it away either"
    );
}

#[test]
fn one_host_under_two_addresses_is_told_apart_from_two_hosts() {
    let mut live = LivePicture::default();
    live.add_machine(machine(1));
    live.add_machine(machine(2));
    live.apply_snapshot(Uuid::from_u128(1), snapshot(7, vec![]), connected(), now())
        .expect("the first");
    let same = live
        .apply_snapshot(Uuid::from_u128(2), snapshot(7, vec![]), connected(), now())
        .expect_err("the same host");
    assert_eq!(same.name, "machine-1");
}

fn drain(subscription: &mut Subscription) -> Vec<Arc<WindowEvent>> {
    let mut events = Vec::new();
    while let Some(Some(event)) = futures::FutureExt::now_or_never(subscription.next()) {
        events.push(event);
    }
    events
}

#[tokio::test(start_paused = true)]
async fn measurements_of_two_hundred_machines_cost_one_push_a_second() {
    let pool = Arc::new(Pool::new());
    for number in 1..=200 {
        pool.change(|picture| {
            picture.add_machine(machine(number));
            picture
                .apply_snapshot(
                    Uuid::from_u128(number),
                    snapshot(number, vec![]),
                    connected(),
                    now(),
                )
                .map(drop)
        })
        .expect("all hosts differ");
    }
    pool.picture();
    let pushing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.push_changes().await }
    });
    let mut window = pool.subscribe();
    drain(&mut window);
    // Ten seconds, in which every machine samples every two.
    for tick in 0..1000_u32 {
        let number = u128::from(tick % 200) + 1;
        let body = EventBody::UsageSampled {
            host: usage(tick),
            instances: vec![],
        };
        pool.change(|picture| picture.apply_event(Uuid::from_u128(number), event(body), now()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pushes = drain(&mut window).len();
    assert!((9..=12).contains(&pushes), "{pushes} pushes in ten seconds");
    pushing.abort();
}

#[tokio::test(start_paused = true)]
async fn measurements_of_thousands_of_instances_come_in_pieces_and_none_is_forgotten() {
    let pool = Arc::new(Pool::new());
    let ids: Vec<u128> = (1000..1000 + 4000).collect();
    let instances = ids.iter().map(|id| instance(*id, RunState::Running)).collect();
    pool.change(|picture| {
        picture.add_machine(machine(1));
        picture
            .apply_snapshot(Uuid::from_u128(1), snapshot(1, instances), connected(), now())
            .map(drop)
    })
    .expect("the only host");
    let mut window = pool.picture();
    let mut events = pool.subscribe();
    drain(&mut events);
    let pushing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.push_changes().await }
    });
    let measured = ids.iter().map(|id| {
        let usage = InstanceUsage {
            cpu_percent: 50.0,
            memory_mib: Mib(100),
        };
        (Uuid::from_u128(*id), usage)
    });
    let body = EventBody::UsageSampled {
        host: usage(1),
        instances: measured.collect(),
    };
    pool.change(|picture| picture.apply_event(Uuid::from_u128(1), event(body), now()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut pushes = 0;
    for event in drain(&mut events) {
        let WindowEvent::Pool { change } = &*event else {
            panic!("only changes")
        };
        assert!(change.instances.len() <= MEASURED_PER_PUSH);
        apply(&mut window, change.clone());
        pushes += 1;
    }
    assert_eq!(pushes, 9, "4,001 of them, 500 at a time");
    assert!(
        window
            .instances
            .iter()
            .all(|placed| placed.instance.usage.is_some())
    );
    assert_eq!(window, pool.picture());
    pushing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_is_pushed_ten_times_a_second_and_the_first_at_once() {
    let pool = Arc::new(Pool::new());
    pool.change(|picture| picture.add_machine(machine(1)));
    let pushing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.push_changes().await }
    });
    let mut window = pool.subscribe();
    tokio::time::sleep(Duration::from_millis(500)).await;
    drain(&mut window);
    let started = tokio::time::Instant::now();
    let mut first = None;
    let mut pushes = 0;
    for round in 0..1000_u32 {
        let link = if round % 2 == 0 {
            connected()
        } else {
            Link::Connecting
        };
        pool.change(|picture| picture.set_link(Uuid::from_u128(1), link));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let news = drain(&mut window).len();
        if news > 0 {
            first.get_or_insert(started.elapsed());
        }
        pushes += news;
    }
    assert!((9..=11).contains(&pushes), "{pushes} pushes in a second");
    assert!(
        first.is_some_and(|first| first < Duration::from_millis(10)),
        "the first after {first:?}"
    );
    pushing.abort();
}

#[tokio::test]
async fn a_window_that_is_too_slow_is_told_to_read_again_and_goes_on_from_there() {
    let pool = Pool::new();
    let mut window = pool.subscribe();
    assert_eq!(
        *window.next().await.expect("an event"),
        WindowEvent::ReadAgain,
        "first of all"
    );
    for number in 0..u128::try_from(EVENTS_WAITING_MAX).expect("small") + 10 {
        pool.change(|picture| picture.add_machine(machine(number + 1)));
        pool.picture();
    }
    assert_eq!(*window.next().await.expect("an event"), WindowEvent::ReadAgain);
    let read = pool.picture();
    pool.change(|picture| picture.add_machine(machine(1000)));
    pool.picture();
    let WindowEvent::Pool { change } = &*window.next().await.expect("an event") else {
        panic!("the change that came after")
    };
    assert_eq!(change.from, read.version);
}
