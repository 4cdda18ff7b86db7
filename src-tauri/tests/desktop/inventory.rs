//! The inventory that decisions are made from: what the machines said, what this desktop knows beside it, and always whole.

use api::{
    Affinity, AffinityKind, AffinityTarget, CreateInstance, EngineRequest, Event, EventBody, EventCursor,
    HostFacts, HostUsage, InstanceSpec, InstanceUsage, Mib, Mobility, Placement, RunState, Timestamp,
};
use millpond::contract::{Command, Link, PoolMachine};
use millpond::pool::{LivePicture, MEANS_MAX, PastCarried, STEP_S};
use pool::inventory::{Activity, Inventory, MachineState};
use proptest::prelude::*;
use uuid::Uuid;

use crate::agent::{facts, new_instance, now, told, usage};
use crate::desk::{Desk, bench, connected, create, placed, unseen};

const HOST: u128 = 70;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(now().unix_ms() + seconds * 1000).expect("a time")
}

fn instance(number: u128, state: RunState, placement: Placement) -> api::Instance {
    let create = CreateInstance {
        generation: 1,
        spec: InstanceSpec {
            name: format!("web-{number}"),
            image: "tiny-linux".into(),
            vcpus: 2,
            memory_mib: Mib(512),
            disk_mib: Mib(1024),
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            engine: EngineRequest::Auto,
            ports: Vec::new(),
            placement,
        },
        start: true,
    };
    api::Instance {
        state,
        wanted_running: state == RunState::Running,
        ..new_instance(id(number), create)
    }
}

/// A picture with one machine, whose host has number [`HOST`].
fn picture(host: HostFacts, usage: HostUsage, instances: Vec<api::Instance>) -> LivePicture {
    let mut picture = LivePicture::default();
    picture.add_machine(unseen(id(1), "atlas"));
    picture
        .apply_snapshot(id(1), told(host, usage, instances), connected(), now())
        .expect("the only host");
    picture
}

fn usual(instances: Vec<api::Instance>) -> LivePicture {
    picture(facts("atlas", HOST), usage(4096), instances)
}

fn seen(picture: &LivePicture) -> Inventory {
    let inventory = picture.inventory(now(), PastCarried::Whole);
    inventory.check().expect("always whole");
    inventory
}

#[test]
fn a_machine_offers_what_its_agent_says() {
    let inventory = seen(&usual(Vec::new()));
    let [machine] = &*inventory.machines else {
        panic!("one machine")
    };
    assert_eq!(
        (machine.name.as_str(), machine.state),
        ("atlas", MachineState::Ready)
    );
    assert_eq!(
        (machine.threads, machine.memory_mib, machine.reserved.memory_mib),
        (4, Mib(8192), Mib(1024))
    );
    assert_eq!(
        machine.reported.map(|reported| reported.memory_free_mib),
        Some(Mib(4096))
    );
    assert_eq!(machine.images.len(), 1);
    assert_eq!(
        machine.hardware.as_deref(),
        Some("emulated x86_64"),
        "guests see the same CPU wherever they are emulated"
    );
    let pool = pool::Pool::new(&inventory, inventory.taken_at_s).expect("whole");
    let (_, seat) = pool.machines().next().expect("one machine");
    assert_eq!(
        seat.memory_free_mib(),
        4096,
        "where the agent says less, less is free"
    );
}

#[test]
fn a_machine_is_ready_draining_or_out_of_reach() {
    let mut picture = usual(Vec::new());
    let state = |picture: &LivePicture| seen(picture).machines[0].state;
    assert_eq!(state(&picture), MachineState::Ready);
    picture.set_draining(id(1), true);
    assert_eq!(state(&picture), MachineState::Draining);
    picture.set_link(id(1), Link::Connecting);
    assert_eq!(state(&picture), MachineState::Unreachable);
}

#[test]
fn a_machine_that_was_never_seen_is_known_by_name_alone() {
    let mut picture = LivePicture::default();
    picture.add_machine(unseen(id(1), "boreas"));
    let inventory = seen(&picture);
    assert_eq!(inventory.machines[0].state, MachineState::Unreachable);
    assert_eq!(inventory.machines[0].memory_mib, Mib::ZERO);
}

#[test]
fn what_runs_or_is_meant_to_run_holds_memory() {
    let states = [
        (RunState::Running, Activity::Running),
        (RunState::Stopping, Activity::Running),
        (RunState::Paused, Activity::Running),
        (RunState::Stopped, Activity::Stopped),
        (RunState::Failed, Activity::Stopped),
    ];
    for (state, activity) in states {
        let inventory = seen(&usual(vec![instance(100, state, Placement::default())]));
        assert_eq!(inventory.instances[0].activity, activity, "{state:?}");
        assert_eq!(inventory.instances[0].machine, Some(id(1)));
        assert_eq!(inventory.instances[0].needs.disk_mib(), Mib(1024));
    }
}

#[test]
fn wishes_travel_with_the_instance_and_name_hosts_that_every_desktop_knows() {
    let apart = Affinity {
        kind: AffinityKind::Apart,
        target: AffinityTarget::Group { name: "web".into() },
        hard: true,
    };
    let wishes = Placement {
        group: Some("web".into()),
        affinities: vec![apart.clone()],
        priority: 3,
        mobility: Mobility::Cold,
        hint: Some(id(999)),
        pin: Some(id(HOST)),
    };
    let elsewhere = Placement {
        pin: Some(id(999)),
        ..wishes.clone()
    };
    let inventory = seen(&usual(vec![
        instance(100, RunState::Running, wishes),
        instance(101, RunState::Running, elsewhere),
    ]));
    let [here, there] = &*inventory.instances else {
        panic!("two instances")
    };
    assert_eq!(here.needs.group.as_deref(), Some("web"));
    assert_eq!(here.needs.affinities, [apart]);
    assert_eq!((here.needs.priority, here.needs.mobility), (3, Mobility::Cold));
    assert_eq!(
        (here.needs.pin, here.needs.hint),
        (Some(id(1)), None),
        "by this pool's own identities"
    );
    assert_eq!(
        (there.needs.pin, there.needs.mobility),
        (None, Mobility::Fixed),
        "tied to a host that this pool does not have, it stays where it is"
    );
}

#[test]
fn loads_are_means_of_five_minutes_in_threads() {
    let mut picture = usual(vec![instance(100, RunState::Running, Placement::default())]);
    let step = i64::from(STEP_S);
    let start = step - now().unix_ms() / 1000 % step;
    for (second, percent) in [(start, 20.0), (start + step - 1, 40.0), (start + step, 80.0)] {
        let host = HostUsage {
            cpu_percent: percent,
            ..usage(4096)
        };
        let of_instance = InstanceUsage {
            cpu_percent: percent * 2.0,
            memory_mib: Mib(100),
        };
        picture.remember_loads(id(1), at(second), &host, &[(id(100), of_instance)]);
    }
    let inventory = picture.inventory(at(start + step), PastCarried::Whole);
    let values = |series: &Option<pool::inventory::UsageSeries>| -> Vec<i64> {
        let values = series.as_ref().map(|series| &*series.values).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
        values
            .iter()
            .map(|threads| (threads * 1000.0).round() as i64)
            .collect()
    };
    assert_eq!(
        values(&inventory.machines[0].usage),
        [1200, 3200],
        "of four threads"
    );
    assert_eq!(values(&inventory.instances[0].usage), [600, 1600]);
    picture.apply_event(
        id(1),
        Event {
            cursor: EventCursor {
                epoch: 1,
                sequence: 1,
            },
            body: EventBody::InstanceDeleted { id: id(100) },
        },
        now(),
    );
    picture.remember_loads(id(2), at(0), &usage(1), &[]);
    picture.remove_machine(id(1));
    assert!(seen(&picture).machines.is_empty(), "what is gone has no past");
}

#[test]
fn one_that_turns_up_on_another_machine_was_moved_there() {
    let web = |picture: &LivePicture| {
        let instance = seen(picture).instances.remove(0);
        (instance.machine, instance.moved_at_s)
    };
    let snapshot = |host, instances| told(facts("host", host), usage(4096), instances);
    let running = || instance(100, RunState::Running, Placement::default());
    let mut picture = usual(vec![running()]);
    assert_eq!(
        web(&picture),
        (Some(id(1)), None),
        "nobody has seen it anywhere else"
    );
    picture
        .apply_snapshot(id(1), snapshot(HOST, Vec::new()), connected(), at(10))
        .expect("the same host");
    picture.add_machine(unseen(id(2), "boreas"));
    picture
        .apply_snapshot(id(2), snapshot(HOST + 1, vec![running()]), connected(), at(20))
        .expect("another host");
    let moved_at_s = at(20).unix_ms() / 1000;
    assert_eq!(web(&picture), (Some(id(2)), Some(moved_at_s)));
    picture.remove_machine(id(2));
    picture.add_machine(unseen(id(3), "boreas again"));
    picture
        .apply_snapshot(id(3), snapshot(HOST + 1, vec![running()]), connected(), at(30))
        .expect("the host that left");
    assert_eq!(
        web(&picture),
        (Some(id(3)), Some(moved_at_s)),
        "the machine came back under another identity, and nothing moved"
    );
}

#[test]
fn a_drag_carries_no_more_of_the_past_than_it_needs() {
    let mut picture = usual(Vec::new());
    for step in 0..2000 {
        picture.remember_machine_load(id(1), at(step * i64::from(STEP_S)), 0.5);
    }
    let samples = |past| {
        let inventory = picture.inventory(now(), past);
        inventory.machines[0]
            .usage
            .as_ref()
            .map_or(0, |series| series.values.len())
    };
    assert_eq!(samples(PastCarried::LastHour), 12);
    assert_eq!(samples(PastCarried::Whole), MEANS_MAX);
}

proptest! {
    #[test]
    fn no_machine_can_say_anything_that_keeps_the_others_from_being_chosen(
        threads in any::<u32>(),
        (total, offered, overhead) in any::<(u32, u32, u32)>(),
        (promised, free, disk_total, disk_free) in any::<(u32, u32, u32, u32)>(),
        (vcpus, memory, disk) in any::<(u32, u32, u32)>(),
        load in prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-1.0)],
        pin in prop::option::of(0..200_u128),
    ) {
        let host = HostFacts {
            threads,
            memory_total_mib: Mib(total),
            memory_offered_mib: Mib(offered),
            instance_overhead_mib: Mib(overhead),
            ..facts("atlas", HOST)
        };
        let said = HostUsage {
            cpu_percent: load,
            memory_promised_mib: Mib(promised),
            memory_free_mib: Mib(free),
            disk_total_mib: Mib(disk_total),
            disk_free_mib: Mib(disk_free),
            ..usage(1)
        };
        let mut strange = instance(100, RunState::Running, Placement { pin: pin.map(id), ..Placement::default() });
        strange.spec.vcpus = vcpus;
        strange.spec.memory_mib = Mib(memory);
        strange.spec.disk_mib = Mib(disk);
        let mut picture = picture(host, said.clone(), vec![strange]);
        let measured = InstanceUsage { cpu_percent: load, memory_mib: Mib(1) };
        picture.remember_loads(id(1), now(), &said, &[(id(100), measured)]);
        let inventory = picture.inventory(now(), PastCarried::Whole);
        prop_assert!(inventory.check().is_ok());
        prop_assert!(pool::Pool::new(&inventory, inventory.taken_at_s).is_ok());
        let json = serde_json::to_string(&inventory).expect("JSON");
        prop_assert!(Inventory::from_json(&json).is_ok(), "what is written can be read");
    }
}

#[tokio::test]
async fn a_draining_machine_stays_so_after_a_restart() {
    let bench = bench().await;
    let machine = bench.desk.this_computer().await;
    assert!(!machine.draining);
    let set = |draining| Command::MachineDrainSet {
        machine: machine.id,
        draining,
    };
    let answer: PoolMachine = bench.desk.ask(set(true)).await.expect("set");
    assert!(answer.draining);
    let desk = bench.desk.restart(&bench.dial).await;
    assert!(desk.this_computer().await.draining);
    let answer: PoolMachine = desk.ask(set(false)).await.expect("taken back");
    assert!(!answer.draining);
    let unknown = Command::MachineDrainSet {
        machine: id(5),
        draining: true,
    };
    assert_eq!(desk.refusal(unknown).await, api::ErrorCode::MachineNotFound);
}

#[tokio::test]
async fn an_instance_that_was_moved_while_the_app_was_closed_rests_after_the_next_start() {
    let bench = bench().await;
    let boreas = bench.with_boreas().await;
    let here = bench.desk.this_computer().await.id;
    let web: api::Instance = bench.desk.ask(create(Some(here))).await.expect("created");
    let moved_at_s = |desk: &Desk| {
        let inventory = desk
            .app
            .pool()
            .read(|picture| picture.inventory(now(), PastCarried::LastHour));
        inventory
            .instances
            .iter()
            .find(|one| one.id == web.id)
            .and_then(|one| one.moved_at_s)
    };
    assert_eq!(moved_at_s(&bench.desk), None);
    // Another desktop moves it while this one looks away.
    bench.desk.app.shut_down().await;
    let moved = bench
        .agent
        .script()
        .instances
        .remove(&web.id)
        .expect("it was created");
    boreas.script().instances.insert(web.id, moved);
    let desk = bench.desk.restart(&bench.dial).await;
    let elsewhere = desk.connected("boreas").await.id;
    desk.until("it is on boreas", |picture| {
        placed(&picture.instances, "tiny-1").is_some_and(|placed| placed.machine == elsewhere)
    })
    .await;
    let seen_at_s = moved_at_s(&desk);
    assert!(
        seen_at_s.is_some(),
        "it rests from the moment in which it was seen there"
    );
    let desk = desk.restart(&bench.dial).await;
    desk.connected("boreas").await;
    assert_eq!(
        moved_at_s(&desk),
        seen_at_s,
        "a restart does not begin its rest anew"
    );
}
