//! Several instances as one decision: all of them, or none.

use api::{ApiError, ErrorCode};
use millpond::contract::{Batch, BatchOutcome, BatchPreview, Command, InstanceRequest};
use pool::Refusal;
use pool::placing::BatchFailure;
use uuid::Uuid;

use crate::desk::{Bench, bench, tiny};

fn batch(count: usize, apart: bool) -> Batch {
    Batch {
        ids: std::iter::repeat_with(Uuid::now_v7).take(count).collect(),
        request: InstanceRequest {
            name: Some("web".into()),
            ..tiny()
        },
        apart,
    }
}

async fn create(bench: &Bench, batch: &Batch) -> BatchOutcome {
    let batch = batch.clone();
    bench
        .desk
        .ask(Command::BatchCreate { batch })
        .await
        .expect("an outcome")
}

#[tokio::test]
async fn two_that_keep_apart_take_two_machines_and_three_find_no_place() {
    let bench = bench().await;
    let _boreas = bench.with_boreas().await;
    let two = batch(2, true);
    let preview = Command::BatchPreview { batch: two.clone() };
    let BatchPreview::Places { machines } = bench.desk.ask(preview).await.expect("a preview") else {
        panic!("two find places")
    };
    assert_ne!(machines[0], machines[1]);
    let BatchOutcome::Created { instances } = create(&bench, &two).await else {
        panic!("two are created")
    };
    let names: Vec<&str> = instances
        .iter()
        .map(|instance| instance.spec.name.as_str())
        .collect();
    assert_eq!(names, ["web-1", "web-2"]);
    assert_eq!(
        instances[0].spec.placement, instances[1].spec.placement,
        "one group"
    );

    let BatchOutcome::Refused { failure } = create(&bench, &batch(3, true)).await else {
        panic!("three do not")
    };
    let BatchFailure::NoPlace {
        asked,
        unplaced,
        proven,
    } = failure
    else {
        panic!("{failure}")
    };
    assert!(proven && asked == 3);
    let [one] = &*unplaced else { panic!("{unplaced:?}") };
    assert!(
        matches!(&*one.why.refusals, [Refusal::NotApart { .. }]),
        "{:?}",
        one.why.refusals
    );
    assert_eq!(
        bench.desk.picture().await.instances.len(),
        2,
        "nothing was created"
    );
}

#[tokio::test]
async fn the_same_batch_twice_is_one_batch() {
    let bench = bench().await;
    let several = batch(3, false);
    let first = create(&bench, &several).await;
    let second = create(&bench, &several).await;
    assert_eq!(first, second);
    assert_eq!(bench.desk.picture().await.instances.len(), 3);
}

#[tokio::test]
async fn where_a_machine_refuses_one_those_before_it_are_deleted_again() {
    let bench = bench().await;
    let refusal = ApiError::new(ErrorCode::DiskFull, "the disk is full").with("path", "/var");
    bench.agent.script().refuse_after = Some((2, refusal.clone()));
    let BatchOutcome::Undone { machine, error, left } = create(&bench, &batch(3, false)).await else {
        panic!("the third is refused")
    };
    assert_eq!(machine, bench.desk.this_computer().await.name);
    assert_eq!(error.code, ErrorCode::DiskFull);
    assert_eq!(left, [""; 0]);
    bench
        .desk
        .until("all are gone", |picture| picture.instances.is_empty())
        .await;
    let lines = bench.agent.script().requests.clone();
    let count = |verb: &str| lines.iter().filter(|(line, _)| line.starts_with(verb)).count();
    assert_eq!(
        (count("PUT "), count("DELETE ")),
        (3, 3),
        "the one that was refused is asked for, too"
    );
}

#[tokio::test]
async fn a_batch_has_one_to_twenty_members_each_once() {
    let bench = bench().await;
    for count in [0, 21] {
        let batch = batch(count, false);
        assert_eq!(
            bench.desk.refusal(Command::BatchCreate { batch }).await,
            ErrorCode::OutOfRange
        );
    }
    let mut twice = batch(2, false);
    twice.ids[1] = twice.ids[0];
    assert_eq!(
        bench.desk.refusal(Command::BatchPreview { batch: twice }).await,
        ErrorCode::InvalidName
    );
}
