//! Plans as a window asks for them: made from what the machines say, watched, and carried out by nobody.

use api::{ErrorCode, Instance};
use millpond::contract::{
    Command, InstanceAction, InstanceRequest, MadePlan, PlanAsk, PlanStanding, PoolEdit, ReserveLost,
};
use pool::plans::{Changed, PlanKind, Recovery};
use uuid::Uuid;

use crate::agent::ScriptedAgent;
use crate::desk::{Bench, Desk, bench, create, placed, tiny};

/// A pool of two machines: this computer, and boreas with its agent.
struct Two {
    bench: Bench,
    here: Uuid,
    boreas: Uuid,
    /// Answers for boreas as long as it lives.
    _agent: ScriptedAgent,
}

async fn two() -> Two {
    let bench = bench().await;
    let agent = bench.with_boreas().await;
    Two {
        here: bench.desk.this_computer().await.id,
        boreas: bench.desk.connected("boreas").await.id,
        bench,
        _agent: agent,
    }
}

async fn plan(desk: &Desk, ask: PlanAsk) -> MadePlan {
    desk.ask(Command::PlanMake { ask }).await.expect("a plan")
}

async fn standing(desk: &Desk, plan: Uuid) -> PlanStanding {
    desk.ask(Command::PlanCheck { plan }).await.expect("an answer")
}

#[tokio::test]
async fn a_drain_names_every_move_and_holds_until_what_it_moves_has_changed() {
    let two = two().await;
    let desk = &two.bench.desk;
    let created: Instance = desk.ask(create(Some(two.here))).await.expect("created");
    two.bench.agent.boot(created.id);
    desk.until("it runs", |picture| {
        placed(&picture.instances, "tiny-1").is_some_and(|placed| placed.instance.boot_ms.is_some())
    })
    .await;
    let MadePlan { id, report, added } = plan(desk, PlanAsk::Drain { machine: two.here }).await;
    assert_eq!(report.plan.kind, PlanKind::Drain { machine: two.here });
    let moves: Vec<_> = report.plan.steps.iter().flat_map(|step| &step.moves).collect();
    let [only] = &*moves else {
        panic!("one move: {moves:?}")
    };
    assert_eq!(
        (only.instance, only.from, only.to),
        (created.id, Some(two.here), two.boreas)
    );
    assert!(report.plan.stranded.is_empty() && added.is_empty());
    assert_eq!(standing(desk, id).await, PlanStanding::Holds);
    assert_eq!(desk.picture().await.instances.len(), 1, "a plan moves nothing");

    let delete = Command::InstanceAct {
        machine: two.here,
        instance: created.id,
        action: InstanceAction::Delete,
    };
    desk.ask::<serde_json::Value>(delete).await.expect("deleted");
    desk.until("it is gone", |picture| picture.instances.is_empty())
        .await;
    let PlanStanding::Changed { change } = standing(desk, id).await else {
        panic!("it cannot hold")
    };
    assert_eq!(
        change,
        Changed::InstanceGone {
            instance: created.id,
            name: "tiny-1".into(),
        }
    );
}

#[tokio::test]
async fn a_plan_that_is_not_among_the_last_is_forgotten() {
    let bench = bench().await;
    let first = plan(&bench.desk, PlanAsk::Balance {}).await.id;
    assert_eq!(standing(&bench.desk, first).await, PlanStanding::Holds);
    for _ in 0..8 {
        plan(&bench.desk, PlanAsk::SavePower {}).await;
    }
    assert_eq!(standing(&bench.desk, first).await, PlanStanding::Forgotten);
}

#[tokio::test]
async fn the_only_machine_may_not_fail() {
    let bench = bench().await;
    bench.desk.ask::<Instance>(create(None)).await.expect("created");
    let machine = bench.desk.this_computer().await.id;
    let made = plan(&bench.desk, PlanAsk::Failure { machine }).await;
    let [stranded] = &*made.report.plan.stranded else {
        panic!("one")
    };
    assert_eq!(stranded.name, "tiny-1");
    assert!(made.report.plan.steps.is_empty());
    let recovery: Recovery = bench
        .desk
        .ask(Command::RecoveryCheck {})
        .await
        .expect("a verdict");
    let Recovery::Stranding {
        failure, stranded, ..
    } = recovery
    else {
        panic!("{recovery:?}")
    };
    assert_eq!((failure, stranded.len()), (machine, 1));
}

#[tokio::test]
async fn any_one_of_two_may_fail_while_the_other_has_room() {
    let two = two().await;
    let desk = &two.bench.desk;
    desk.ask::<Instance>(create(Some(two.boreas)))
        .await
        .expect("created");
    let recovery: Recovery = desk.ask(Command::RecoveryCheck {}).await.expect("a verdict");
    assert_eq!(recovery, Recovery::Recoverable);
    let made = plan(desk, PlanAsk::Failure { machine: two.boreas }).await;
    let moves: Vec<_> = made
        .report
        .plan
        .steps
        .iter()
        .flat_map(|step| &step.moves)
        .collect();
    assert!(moves.len() == 1 && moves[0].to == two.here, "{moves:?}");
}

#[tokio::test]
async fn an_instance_that_uses_up_what_is_kept_for_a_failure_says_so() {
    let two = two().await;
    let desk = &two.bench.desk;
    // Each machine says that it has 4 GiB free: with 3 more on boreas, what is here would find no room there.
    let large = |memory| InstanceRequest {
        memory_mib: api::Mib(memory),
        ..tiny()
    };
    let create = Command::InstanceCreate {
        id: Uuid::now_v7(),
        machine: Some(two.here),
        request: large(2048),
    };
    desk.ask::<Instance>(create).await.expect("created");
    let reserve = |request| Command::PlacementReserve { request };
    let lost: Vec<ReserveLost> = desk.ask(reserve(large(3072))).await.expect("an answer");
    assert!(
        lost.iter()
            .any(|lost| lost.machine == two.boreas && lost.stranded == 1),
        "{lost:?}"
    );
    let lost: Vec<ReserveLost> = desk.ask(reserve(tiny())).await.expect("an answer");
    assert_eq!(lost, [], "a small one takes nothing away");
}

#[tokio::test]
async fn a_question_may_add_machines_like_one_that_is_there() {
    let bench = bench().await;
    let machine = bench.desk.this_computer().await.id;
    let edits = vec![
        PoolEdit::AddMachinesLike { machine, count: 2 },
        PoolEdit::ScaleLoad { percent: 200 },
        PoolEdit::RemoveMachine { machine },
    ];
    bench.desk.ask::<Instance>(create(None)).await.expect("created");
    let made = plan(&bench.desk, PlanAsk::WhatIf { edits }).await;
    assert_eq!(made.added.len(), 2);
    let names: Vec<&str> = made.added.iter().map(|added| added.name.as_str()).collect();
    assert!(
        names[0].ends_with(" +1") && names[1].ends_with(" +2"),
        "{names:?}"
    );
    assert!(made.report.plan.stranded.is_empty());
    assert_eq!(made.report.plan.after.machines_awake, 2);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_by_name() {
    let bench = bench().await;
    let machine = bench.desk.this_computer().await.id;
    let edit = |edit| PlanAsk::WhatIf { edits: vec![edit] };
    let unknown = Uuid::from_u128(9);
    let asks = [
        (PlanAsk::WhatIf { edits: Vec::new() }, ErrorCode::OutOfRange),
        (
            edit(PoolEdit::AddMachinesLike { machine, count: 0 }),
            ErrorCode::OutOfRange,
        ),
        (
            edit(PoolEdit::AddMachinesLike { machine, count: 17 }),
            ErrorCode::OutOfRange,
        ),
        (edit(PoolEdit::ScaleLoad { percent: 0 }), ErrorCode::OutOfRange),
        (edit(PoolEdit::ScaleLoad { percent: 1001 }), ErrorCode::OutOfRange),
        (
            edit(PoolEdit::RemoveMachine { machine: unknown }),
            ErrorCode::MachineNotFound,
        ),
        (PlanAsk::Drain { machine: unknown }, ErrorCode::MachineNotFound),
        (PlanAsk::Failure { machine: unknown }, ErrorCode::MachineNotFound),
    ];
    for (ask, code) in asks {
        assert_eq!(
            bench.desk.refusal(Command::PlanMake { ask: ask.clone() }).await,
            code,
            "{ask:?}"
        );
    }
}
