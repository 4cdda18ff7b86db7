//! How often a machine that does not answer is dialled: hours pass in a moment, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::client::ssh::SshError;
use async_trait::async_trait;
use millpond::contract::{Link, MachineAddress};
use millpond::history::{History, SavedMachine};
use millpond::machines::{Answers, Connection, Dial, LinkError, LocalAgentError, Machines};
use millpond::pool::Pool;
use millpond::recorder::Recorder;
use uuid::Uuid;

use crate::desk::ssh;

/// Never connects; counts how often it was asked.
struct Refusing {
    asked: AtomicU32,
    error: fn() -> LinkError,
}

#[async_trait]
impl Dial for Refusing {
    async fn dial(&self, _: &MachineAddress, _: &Answers) -> Result<Connection, LinkError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err((self.error)())
    }
}

/// One machine that is never connected, for an hour; answers how often it was dialled, and its link then.
async fn an_hour_of(error: fn() -> LinkError) -> (u32, Link) {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path()).await.expect("a database");
    let pool = Arc::new(Pool::new());
    // The recorder's task is not run: its queue takes the few lines of an hour.
    let (recorder, _task) = Recorder::new(history, Arc::clone(&pool));
    let dial = Arc::new(Refusing {
        asked: AtomicU32::new(0),
        error,
    });
    let machines = Machines::new(Arc::clone(&pool), recorder, dial.clone());
    tokio::time::pause();
    let id = Uuid::from_u128(1);
    let machine = SavedMachine {
        id,
        name: "boreas".into(),
        address: ssh("boreas"),
        draining: false,
    };
    machines.join(machine, Answers::default(), None);
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    let asked = dial.asked.load(Ordering::Relaxed);
    let link = pool.read(|picture| picture.machine(id).expect("it is there").link.clone());
    machines.shut_down().await;
    (asked, link)
}

#[tokio::test]
async fn a_machine_that_is_off_is_dialled_a_few_times_a_minute_for_as_long_as_it_takes() {
    let (asked, link) = an_hour_of(|| {
        LocalAgentError::NotRunning {
            looked_at: Vec::new(),
        }
        .into()
    })
    .await;
    // Waits are even over 0..30 s: four tries a minute, give or take.
    assert!((120..600).contains(&asked), "{asked} tries in an hour");
    assert!(matches!(link, Link::Unreachable { .. }), "{link:?}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_never_locks_an_account() {
    let (asked, link) = an_hour_of(|| {
        SshError::AuthenticationFailed {
            address: "boreas:22".into(),
            user: "root".into(),
            tried: vec!["password".into()],
            password_possible: true,
            password_refused: true,
        }
        .into()
    })
    .await;
    assert_eq!(asked, 1);
    assert!(matches!(link, Link::Refused { .. }), "{link:?}");
}

#[tokio::test]
async fn a_changed_host_key_is_refused_until_somebody_has_looked_at_it() {
    let (asked, link) = an_hour_of(|| {
        SshError::HostKeyChanged {
            address: "boreas:22".into(),
            key_type: "ssh-ed25519".into(),
            fingerprint: "SHA256:x".into(),
            known_hosts: "/home/a/.ssh/known_hosts".into(),
            line: 3,
        }
        .into()
    })
    .await;
    assert_eq!(asked, 1);
    let Link::Refused { error } = link else {
        panic!("refused: {link:?}")
    };
    assert_eq!(error.code, api::ErrorCode::HostKeyChanged);
    assert_eq!(
        error.details["known_hosts_line"],
        "/home/a/.ssh/known_hosts:3".into()
    );
}
