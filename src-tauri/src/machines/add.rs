//! Adding a machine: connect, let the person answer what the link asks, then remember it. Each try starts anew with all answers so far;
//! between tries nothing is kept.

use std::time::Duration;

use api::client::ssh::SshError;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Machines;
use super::dial::{Answers, LinkError};
use super::task::{Established, establish};
use crate::clock;
use crate::contract::{
    ActivityKind, AddMachine, AddMachineOutcome, HostKeyQuestion, MachineAddress, PoolMachine,
};
use crate::error::AppError;
use crate::history::{History, SavedMachine};

/// The longest host, user or machine name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The longest path or secret, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// How long the new session may take to show what has been read already.
const SHOW_DEADLINE: Duration = Duration::from_secs(5);

/// Tries to add a machine. Questions are outcomes, not errors: the person answers and tries again.
pub(crate) async fn add(
    machines: &Machines,
    history: &History,
    request: AddMachine,
) -> Result<AddMachineOutcome, AppError> {
    check(&request)?;
    refuse_known_address(machines, &request.address)?;
    let answers = Answers {
        accepted_fingerprint: request.accepted_fingerprint,
        password: request.password.map(Zeroizing::new),
        passphrase: request.passphrase.map(Zeroizing::new),
    };
    let established = match establish(&machines.shared, &request.address, &answers).await {
        Ok(established) => established,
        Err(error) => return question(error),
    };
    let machine = admit(
        machines,
        history,
        request.name,
        request.address,
        established,
        answers,
    )
    .await?;
    Ok(AddMachineOutcome::Added { machine })
}

/// What the person can answer is a question; everything else is an error.
fn question(error: LinkError) -> Result<AddMachineOutcome, AppError> {
    match error {
        LinkError::Ssh(SshError::HostKeyUnknown {
            address,
            key_type,
            fingerprint,
        }) => Ok(AddMachineOutcome::ConfirmHostKey {
            question: HostKeyQuestion {
                address,
                key_type,
                fingerprint,
            },
        }),
        LinkError::Ssh(SshError::PassphraseNeeded { path, refused }) => {
            Ok(AddMachineOutcome::PassphraseNeeded {
                path: path.display().to_string(),
                refused,
            })
        }
        LinkError::Ssh(SshError::AuthenticationFailed {
            user,
            password_possible: true,
            password_refused,
            ..
        }) => Ok(AddMachineOutcome::PasswordNeeded {
            user,
            refused: password_refused,
        }),
        other => Err(other.into()),
    }
}

/// Remembers the machine and starts its session. One at a time, so that what was checked still holds when it is written.
async fn admit(
    machines: &Machines,
    history: &History,
    name: Option<String>,
    address: MachineAddress,
    established: Established,
    answers: Answers,
) -> Result<PoolMachine, AppError> {
    let _turn = machines.joining.lock().await;
    refuse_known_address(machines, &address)?;
    let id = Uuid::now_v7();
    let pool = &machines.shared.pool;
    let facts = &established.snapshot.host;
    if let Some(same) = pool.read(|picture| picture.same_host(id, facts.id)) {
        return Err(AppError::KnownMachine {
            address: told(&address),
            name: same.name,
        });
    }
    let taken: Vec<String> =
        pool.read(|picture| picture.machines().map(|machine| machine.name.clone()).collect());
    let name = match name {
        Some(name) if taken.contains(&name) => return Err(AppError::MachineNameTaken { name }),
        Some(name) => name,
        None => free_name(&facts.hostname, &taken),
    };
    let saved = SavedMachine {
        id,
        name,
        address,
        draining: false,
    };
    history.add_machine(&saved, clock::now()).await?;
    machines
        .shared
        .recorder
        .machine(ActivityKind::MachineAdded, &saved.name, None)
        .await;
    machines.join(saved, answers, Some(established));
    machines.shown(id, SHOW_DEADLINE).await
}

/// The host's own name, or the next free one after it: two machines under one name would be one too many for a person.
fn free_name(hostname: &str, taken: &[String]) -> String {
    let mut base: String = hostname
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    if base.is_empty() {
        base.push_str("machine");
    }
    let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or(base)
}

fn refuse_known_address(machines: &Machines, address: &MachineAddress) -> Result<(), AppError> {
    let known = machines.shared.pool.read(|picture| {
        picture
            .machines()
            .find(|machine| machine.address == *address)
            .map(|machine| machine.name.clone())
    });
    match known {
        Some(name) => Err(AppError::KnownMachine {
            address: told(address),
            name,
        }),
        None => Ok(()),
    }
}

/// An address as people write it. What is hostile in it is shortened; it may not have been checked yet.
pub(crate) fn told(address: &MachineAddress) -> String {
    match address {
        MachineAddress::Local => "this computer".to_owned(),
        MachineAddress::Ssh { host, user, port, .. } => {
            let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let text = format!("{user}{host}{port}");
            text.chars()
                .filter(|character| !character.is_control())
                .take(NAME_BYTES_MAX)
                .collect()
        }
    }
}

fn check(request: &AddMachine) -> Result<(), AppError> {
    if let MachineAddress::Ssh {
        host,
        user,
        port,
        identity_file,
    } = &request.address
    {
        check_name("host", host)?;
        // What begins with a dash is an option to many programs, and never a host.
        if host.starts_with('-') {
            return Err(AppError::InvalidText {
                field: "host",
                rule: "must not begin with a dash",
            });
        }
        if let Some(user) = user {
            check_name("user", user)?;
        }
        if *port == Some(0) {
            return Err(AppError::OutOfRange {
                field: "port",
                value: 0,
                min: 1,
                max: 65_535,
            });
        }
        check_text("identity_file", identity_file.as_deref())?;
    }
    if let Some(name) = &request.name
        && (name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control))
    {
        return Err(AppError::InvalidText {
            field: "name",
            rule: "must be 1 to 255 bytes without control characters, and not blank",
        });
    }
    check_text("accepted_fingerprint", request.accepted_fingerprint.as_deref())?;
    check_text("password", request.password.as_deref())?;
    check_text("passphrase", request.passphrase.as_deref())
}

fn check_name(field: &'static str, name: &str) -> Result<(), AppError> {
    let bad = |character: char| character.is_control() || character.is_whitespace();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(bad) {
        return Err(AppError::InvalidText {
            field,
            rule: "must be 1 to 255 bytes without blanks and control characters",
        });
    }
    Ok(())
}

fn check_text(field: &'static str, text: Option<&str>) -> Result<(), AppError> {
    if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX || text.contains('\0')) {
        return Err(AppError::InvalidText {
            field,
            rule: "must be at most 4096 bytes without NUL",
        });
    }
    Ok(())
}

/// Takes a machine out of the pool and forgets it. On the machine nothing changes.
pub(crate) async fn remove(
    machines: &Machines,
    history: &History,
    id: Uuid,
    name: &str,
) -> Result<(), AppError> {
    let _turn = machines.joining.lock().await;
    history.remove_machine(id).await?;
    machines.leave(id);
    machines
        .shared
        .recorder
        .machine(ActivityKind::MachineRemoved, name, None)
        .await;
    Ok(())
}
