//! What the desktop remembers: bounded, in order, for the user alone.

use std::time::Duration;

use api::{Mib, Timestamp};
use millpond::charts::machine_chart;
use millpond::contract::ActivityKind;
use millpond::history::{
    ACTIVITY_ENTRIES_MAX, FILE_NAME, History, HistoryError, NewEntry, SIGHTS_KEPT, USAGE_KEPT, UsageSample,
};
use millpond::instances::free_name;
use millpond::pool::Sight;
use proptest::prelude::*;
use uuid::Uuid;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + ms).expect("a time")
}

fn entry(number: u32) -> NewEntry {
    NewEntry {
        at: at(i64::from(number)),
        kind: ActivityKind::MachineConnected,
        machine: Some(format!("machine-{number}")),
        instance: None,
        instance_id: Some(Uuid::from_u128(u128::from(number))),
        took_ms: Some(number),
        error: Some(api::ApiError::new(api::ErrorCode::DiskFull, "full").with("path", "/var")),
        request_id: Some("click-1".into()),
    }
}

fn sample(ms: i64, cpu_percent: f64) -> UsageSample {
    UsageSample {
        at: at(ms),
        cpu_percent,
        memory_used: Mib(2048),
        memory_total: Mib(8192),
    }
}

#[tokio::test]
async fn the_activity_list_is_read_in_pages_newest_first_and_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path()).await.expect("a database");
    let mut written = Vec::new();
    for number in 0..7 {
        written.insert(0, history.add_activity(entry(number)).await.expect("written"));
    }
    let first = history.activity(None, 3).await.expect("a page");
    assert_eq!((first.entries.as_slice(), first.more), (&written[..3], true));
    let second = history
        .activity(Some(first.entries[2].id), 3)
        .await
        .expect("a page");
    assert_eq!((second.entries.as_slice(), second.more), (&written[3..6], true));
    let last = history
        .activity(Some(second.entries[2].id), 3)
        .await
        .expect("a page");
    assert_eq!((last.entries.as_slice(), last.more), (&written[6..], false));
}

#[tokio::test]
async fn the_activity_list_forgets_its_oldest_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path()).await.expect("a database");
    let extra = 20;
    for number in 0..ACTIVITY_ENTRIES_MAX + extra {
        history.add_activity(entry(number)).await.expect("written");
    }
    let oldest = history.activity(Some(extra + 5), 200).await.expect("a page");
    let ids: Vec<u32> = oldest.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, (extra + 1..extra + 5).rev().collect::<Vec<u32>>());
}

#[tokio::test]
async fn measurements_are_kept_for_two_hours() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path()).await.expect("a database");
    let machine = Uuid::from_u128(1);
    let other = Uuid::from_u128(2);
    let kept_ms = i64::try_from(USAGE_KEPT.as_millis()).expect("short");
    let early = [
        (machine, sample(0, 1.0)),
        (machine, sample(10_000, 2.0)),
        (other, sample(0, 9.0)),
    ];
    history.add_usage(&early, at(10_000)).await.expect("written");
    let late = [(machine, sample(kept_ms + 5_000, 3.0))];
    history
        .add_usage(&late, at(kept_ms + 5_000))
        .await
        .expect("written");
    let kept = history.usage(machine, at(-1_000_000)).await.expect("read");
    assert_eq!(kept, [sample(10_000, 2.0), sample(kept_ms + 5_000, 3.0)]);
}

#[tokio::test]
async fn where_instances_were_seen_is_kept_for_a_month_the_last_sight_of_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path()).await.expect("a database");
    let sight = |instance, host, moved_at| Sight {
        instance: Uuid::from_u128(instance),
        host: Uuid::from_u128(host),
        moved_at,
    };
    let kept_ms = i64::try_from(SIGHTS_KEPT.as_millis()).expect("short");
    let early = [sight(1, 10, None), sight(2, 10, None)];
    history.add_sights(&early, at(0)).await.expect("written");
    let moved = sight(1, 11, Some(at(5_000)));
    history.add_sights(&[moved], at(5_000)).await.expect("written");
    let mut seen = history.sights().await.expect("read");
    seen.sort_by_key(|sight| sight.instance);
    assert_eq!(seen, [moved, early[1]]);
    let new = sight(3, 10, None);
    history
        .add_sights(&[new], at(kept_ms + 1))
        .await
        .expect("written");
    let mut seen = history.sights().await.expect("read");
    seen.sort_by_key(|sight| sight.instance);
    assert_eq!(seen, [moved, new], "the second was not seen for longer");
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_is_for_the_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("a/b");
    History::open(&data).await.expect("a database").close().await;
    let mode = std::fs::metadata(&data)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE_NAME);
    let bytes = "not a database, but a letter to somebody ".repeat(100);
    std::fs::write(&path, &bytes).expect("written");
    let error = History::open(folder.path()).await.expect_err("no database");
    assert!(
        matches!(error, HistoryError::Open { .. } | HistoryError::Migrate { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(FILE_NAME), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("its bytes"), bytes);
}

#[test]
fn a_chart_draws_an_hour_and_leaves_out_what_was_not_measured() {
    let minute = 60_000;
    let mut samples: Vec<UsageSample> = (0..6).map(|ten_s| sample(ten_s * 10_000, 20.0)).collect();
    // Asleep for ten minutes, and something older than the hour before.
    samples.extend((0..6).map(|ten_s| sample(10 * minute + ten_s * 10_000, 80.0)));
    samples.insert(0, sample(-120 * minute, 50.0));
    let svg = machine_chart("atlas & <b>", &samples, at(11 * minute), false).expect("a chart");
    let lines = svg.matches("#B5771C").count();
    assert_eq!(lines, 2, "one line for each stretch: {svg}");
    assert!(svg.contains("<title>CPU and memory of atlas &amp; &lt;b&gt; over the last hour; now 80 % CPU, 2 GiB of 8 GiB memory"));
    assert!(!svg.contains("<b>"), "a machine's name is text, whatever it says");
    let empty = machine_chart("atlas", &[], at(0), true).expect("a chart");
    assert!(empty.contains("nothing was measured yet"));
}

#[test]
fn the_next_free_name_is_the_lowest() {
    let taken = ["tiny-1", "tiny-3", "tiny", "tiny-x", "roomy-2", "tiny-1-1"];
    assert_eq!(free_name("tiny", taken.into_iter()), "tiny-2");
    assert_eq!(free_name("roomy", taken.into_iter()), "roomy-1");
    assert_eq!(free_name("web", std::iter::empty()), "web-1");
}

proptest! {
    #[test]
    fn a_free_name_is_free(taken in prop::collection::vec(0..40_u32, 0..60)) {
        let taken: Vec<String> = taken.into_iter().map(|number| format!("tiny-{number}")).collect();
        let name = free_name("tiny", taken.iter().map(String::as_str));
        prop_assert!(!taken.contains(&name));
    }
}

#[test]
fn an_hour_fits_into_what_is_kept() {
    assert!(USAGE_KEPT >= Duration::from_secs(60 * 60));
}
