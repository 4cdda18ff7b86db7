//! What placement promises: every refusal names its numbers, every choice is the best of those that fit, and the same question
//! always has the same answer.

use pool::{
    EngineKind, ImageAvailability, ImageState, Machine, Mib, Readiness, Refusal, Request, preview, unmet,
};
use proptest::prelude::*;
use uuid::Uuid;

fn machine(number: u128) -> Machine {
    Machine {
        id: Uuid::from_u128(number),
        name: format!("machine-{number}"),
        readiness: Readiness::Ready,
        threads: 4,
        memory_offered: Mib(8192),
        memory_free: Mib(4096),
        disk_free: Mib(100_000),
        cpu_load: 0.2,
        images: vec![ImageAvailability {
            name: "tiny-linux".into(),
            state: ImageState::Ready,
        }],
        engines: vec![EngineKind::Qemu],
    }
}

fn request() -> Request {
    Request {
        image: "tiny-linux".into(),
        vcpus: 1,
        memory: Mib(128),
        disk: Mib::ZERO,
        engine: None,
    }
}

#[test]
fn a_machine_with_room_fits() {
    assert_eq!(unmet(&request(), &machine(1)), []);
}

#[test]
fn exactly_enough_is_enough() {
    let exact = Request {
        memory: Mib(4096),
        disk: Mib(100_000),
        vcpus: 4,
        ..request()
    };
    assert_eq!(unmet(&exact, &machine(1)), []);
}

#[test]
fn every_reason_is_told_with_its_numbers() {
    let big = Request {
        memory: Mib(4097),
        disk: Mib(100_001),
        vcpus: 5,
        image: "other".into(),
        engine: None,
    };
    assert_eq!(
        unmet(&big, &machine(1)),
        [
            Refusal::ImageMissing {
                image: "other".into()
            },
            Refusal::TooManyVcpus {
                needed: 5,
                threads: 4
            },
            Refusal::InsufficientMemory {
                needed_mib: Mib(4097),
                free_mib: Mib(4096)
            },
            Refusal::InsufficientDisk {
                needed_mib: Mib(100_001),
                free_mib: Mib(100_000)
            },
        ]
    );
}

#[test]
fn a_damaged_image_is_not_a_missing_one() {
    let mut damaged = machine(1);
    damaged.images[0].state = ImageState::Corrupt;
    assert_eq!(
        unmet(&request(), &damaged),
        [Refusal::ImageCorrupt {
            image: "tiny-linux".into()
        }]
    );
}

#[test]
fn an_unreachable_machine_says_so_first() {
    let away = Machine {
        readiness: Readiness::Unreachable,
        memory_free: Mib::ZERO,
        ..machine(1)
    };
    assert_eq!(unmet(&request(), &away).first(), Some(&Refusal::Unreachable));
}

#[test]
fn a_machine_without_an_engine_takes_nothing() {
    let bare = Machine {
        engines: Vec::new(),
        ..machine(1)
    };
    assert_eq!(unmet(&request(), &bare), [Refusal::NoEngine]);
}

#[test]
fn the_emptier_of_two_idle_machines_is_best_and_ties_go_to_the_earlier() {
    let fuller = Machine {
        memory_free: Mib(1024),
        ..machine(1)
    };
    assert_eq!(
        preview(&request(), &[fuller, machine(2), machine(3)]).best,
        Some(Uuid::from_u128(2))
    );
}

#[test]
fn nothing_is_best_where_nothing_fits() {
    let full = Machine {
        memory_free: Mib::ZERO,
        ..machine(1)
    };
    let answer = preview(&request(), &[full]);
    assert_eq!(answer.best, None);
    assert!(answer.verdicts[0].score.abs() < f64::EPSILON);
}

#[test]
fn sizes_are_told_as_people_say_them() {
    let told: Vec<String> = [0, 1, 1023, 1024, 2560, 2_611, 65_536]
        .into_iter()
        .map(|size| Mib(size).to_string())
        .collect();
    assert_eq!(
        told,
        [
            "0 MiB", "1 MiB", "1023 MiB", "1 GiB", "2.5 GiB", "2.5 GiB", "64 GiB"
        ]
    );
}

fn any_machine() -> impl Strategy<Value = Machine> {
    (
        any::<u128>(),
        any::<bool>(),
        0..128_u32,
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<f64>(),
    )
        .prop_map(
            |(id, ready, threads, memory_offered, memory_free, disk_free, cpu_load)| Machine {
                readiness: if ready {
                    Readiness::Ready
                } else {
                    Readiness::Unreachable
                },
                threads,
                memory_offered: Mib(memory_offered),
                memory_free: Mib(memory_free),
                disk_free: Mib(disk_free),
                cpu_load,
                ..machine(id)
            },
        )
}

fn any_request() -> impl Strategy<Value = Request> {
    (1..96_u32, any::<u32>(), any::<u32>()).prop_map(|(vcpus, memory, disk)| Request {
        vcpus,
        memory: Mib(memory),
        disk: Mib(disk),
        ..request()
    })
}

proptest! {
    #[test]
    fn a_fit_never_promises_what_is_not_there(machine in any_machine(), request in any_request()) {
        if unmet(&request, &machine).is_empty() {
            prop_assert!(request.memory <= machine.memory_free);
            prop_assert!(request.disk <= machine.disk_free);
            prop_assert!(request.vcpus <= machine.threads);
            prop_assert_eq!(machine.readiness, Readiness::Ready);
        }
    }

    #[test]
    fn scores_stay_between_zero_and_one_whatever_the_host_reports(
        machines in prop::collection::vec(any_machine(), 0..20),
        request in any_request(),
    ) {
        let answer = preview(&request, &machines);
        prop_assert_eq!(answer.verdicts.len(), machines.len());
        for verdict in &answer.verdicts {
            prop_assert!((0.0..=1.0 + f64::EPSILON).contains(&verdict.score), "{:?}", verdict);
        }
        let fitting_best = answer.verdicts.iter().filter(|v| v.fits()).map(|v| v.score).fold(f64::NEG_INFINITY, f64::max);
        match answer.best {
            Some(best) => {
                let chosen = answer.verdicts.iter().find(|v| v.machine == best && v.fits()).expect("the best has a verdict");
                prop_assert!(chosen.score >= fitting_best);
            }
            None => prop_assert!(answer.verdicts.iter().all(|v| !v.fits())),
        }
        prop_assert_eq!(preview(&request, &machines), answer);
    }

    #[test]
    fn less_room_never_turns_a_refusal_into_a_fit(machine in any_machine(), request in any_request(), less in any::<u32>()) {
        let smaller = Machine { memory_free: machine.memory_free.saturating_sub(Mib(less)), ..machine.clone() };
        prop_assert!(unmet(&request, &machine).len() <= unmet(&request, &smaller).len());
    }
}
