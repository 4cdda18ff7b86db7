//! The task that owns the session with one machine.

use std::sync::Arc;

use api::client::{Backoff, BrokenConnection, Client, ClientError, RequestContext};
use api::{ErrorCode, Event, EventBody, EventCursor, Snapshot};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc, watch};

use super::dial::{Answers, Connection, Dial, LinkError};
use super::session::{Input, Next, Session};
use crate::clock::now;
use crate::contract::{ActivityKind, Link, MachineAddress};
use crate::history::SavedMachine;
use crate::pool::Pool;
use crate::recorder::Recorder;

/// How often events may get lost in a row before the link is given up for a while.
const EVENTS_LOST_MAX: u32 = 3;

/// What all sessions share.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    pub(super) recorder: Recorder,
    pub(super) dial: Arc<dyn Dial>,
    /// Key exchanges cost CPU: a start with two hundred machines makes only so many at once.
    pub(super) dials: Semaphore,
}

/// A connection whose first snapshot has been read.
pub struct Established {
    pub(super) connection: Connection,
    pub(super) snapshot: Snapshot,
}

/// One machine's session, from the app's start or the machine's joining until it is dropped.
pub(super) struct SessionTask {
    pub(super) machine: SavedMachine,
    pub(super) answers: Answers,
    /// The client of the present connection, for commands; `None` while there is none.
    pub(super) client: watch::Sender<Option<Client>>,
    pub(super) shared: Arc<Shared>,
}

struct Following {
    connection: Connection,
    cursor: EventCursor,
}

impl SessionTask {
    /// Keeps the machine connected. Begins with `first` where somebody has connected already. Ends when nobody can ask any more; may
    /// be dropped at any point.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Answers>, first: Option<Established>) {
        let mut session = Session::new(Backoff::default());
        let mut first = first;
        while let Some(mut following) = self.reach(&mut session, &mut asks, first.take()).await {
            let error = {
                let mut follow = std::pin::pin!(self.follow(&mut following));
                loop {
                    tokio::select! {
                        error = &mut follow => break error,
                        // It is connected: there is nothing to do about it.
                        asked = asks.recv() => if asked.is_none() { return },
                    }
                }
            };
            self.client.send_replace(None);
            drop(following);
            self.step(&mut session, down(&error)).await;
        }
    }

    /// Tries until there is a connection; `None` when nobody can ask any more.
    async fn reach(
        &mut self,
        session: &mut Session,
        asks: &mut mpsc::Receiver<Answers>,
        mut first: Option<Established>,
    ) -> Option<Following> {
        loop {
            let input = match session.next(now()) {
                Next::Dial | Next::Follow => {
                    let established = if let Some(established) = first.take() {
                        Ok(established)
                    } else {
                        tokio::select! {
                            established = establish(&self.shared, &self.machine.address, &self.answers) => established,
                            asked = asks.recv() => {
                                self.answers.take(asked?);
                                self.step(session, Input::Asked).await;
                                continue;
                            }
                        }
                    };
                    let arrived = match established {
                        Ok(established) => self.arrive(session, established).await,
                        Err(error) => Err(error),
                    };
                    match arrived {
                        Ok(following) => return Some(following),
                        Err(error) => down(&error),
                    }
                }
                Next::Wait(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => Input::RetryDue,
                    asked = asks.recv() => {
                        self.answers.take(asked?);
                        Input::Asked
                    }
                },
                Next::WaitForPerson => {
                    self.answers.take(asks.recv().await?);
                    Input::Asked
                }
            };
            self.step(session, input).await;
        }
    }

    /// Moves the session on, shows its link, and tells what a person would want to know.
    async fn step(&self, session: &mut Session, input: Input) {
        let before = session.link();
        session.step(input, now(), rand::random());
        let link = session.link();
        tracing::debug!(machine = %self.machine.name, ?link, "session");
        self.shared
            .pool
            .change(|picture| picture.set_link(self.machine.id, link.clone()));
        self.tell(&before, &link).await;
    }

    /// A try that fails after another is no news; that nothing is tried any more is.
    async fn tell(&self, before: &Link, after: &Link) {
        let (kind, error) = match (before, after) {
            (Link::Connected { .. } | Link::Connecting, Link::Unreachable { error, .. })
            | (
                Link::Connected { .. } | Link::Connecting | Link::Unreachable { .. },
                Link::Refused { error },
            ) => (ActivityKind::MachineUnreachable, Some(error.clone())),
            (Link::Connecting | Link::Unreachable { .. } | Link::Refused { .. }, Link::Connected { .. }) => {
                (ActivityKind::MachineConnected, None)
            }
            _ => return,
        };
        self.shared
            .recorder
            .machine(kind, &self.machine.name, error)
            .await;
    }

    /// Shows what was read on arrival, and makes the client known to commands.
    async fn arrive(&self, session: &mut Session, established: Established) -> Result<Following, LinkError> {
        let Established { connection, snapshot } = established;
        let cursor = snapshot.cursor;
        let before = session.link();
        session.step(Input::Up, now(), 0.0);
        let id = self.machine.id;
        let (observed, sights) = self.shared.pool.change(|picture| {
            let observed = picture.apply_snapshot(id, snapshot, session.link(), now())?;
            // Under the picture's lock: who sees a connected machine may use it at once.
            self.client.send_replace(Some(connection.client.clone()));
            Ok::<_, LinkError>((observed, picture.take_sights()))
        })?;
        self.shared.recorder.seen(sights).await;
        self.tell(&before, &session.link()).await;
        self.shared.recorder.observed(&self.machine.name, observed).await;
        Ok(Following { connection, cursor })
    }

    /// Applies events until the link breaks.
    async fn follow(&self, following: &mut Following) -> LinkError {
        let Following { connection, cursor } = following;
        tokio::select! {
            error = &mut connection.closed => LinkError::Closed(error),
            error = self.apply_events(&connection.client, cursor) => error,
        }
    }

    async fn apply_events(&self, client: &Client, cursor: &mut EventCursor) -> LinkError {
        let mut lost = 0;
        loop {
            let error = match client.events(&RequestContext::generate(), *cursor).await {
                Ok(mut events) => loop {
                    match events.next().await {
                        None => break ended(),
                        Some(Err(error)) => break error,
                        Some(Ok(event)) => {
                            lost = 0;
                            *cursor = event.cursor;
                            self.apply(event).await;
                        }
                    }
                },
                Err(error) => error,
            };
            if error.to_api().code != ErrorCode::EventsLost {
                return error.into();
            }
            lost += 1;
            if lost > EVENTS_LOST_MAX {
                return LinkError::EventsKeepGettingLost { times: lost };
            }
            match self.read_again(client).await {
                Ok(next) => *cursor = next,
                Err(error) => return error,
            }
        }
    }

    async fn read_again(&self, client: &Client) -> Result<EventCursor, LinkError> {
        let snapshot = client.snapshot(&RequestContext::generate()).await?;
        let cursor = snapshot.cursor;
        let id = self.machine.id;
        let (observed, sights) = self.shared.pool.change(|picture| {
            let link = picture
                .machine(id)
                .map_or(Link::Connecting, |machine| machine.link.clone());
            let observed = picture.apply_snapshot(id, snapshot, link, now())?;
            Ok::<_, LinkError>((observed, picture.take_sights()))
        })?;
        self.shared.recorder.seen(sights).await;
        self.shared.recorder.observed(&self.machine.name, observed).await;
        Ok(cursor)
    }

    async fn apply(&self, event: Event) {
        let id = self.machine.id;
        if let EventBody::UsageSampled { host, instances } = &event.body {
            let total = self.shared.pool.change(|picture| {
                picture.remember_loads(id, now(), host, instances);
                let facts = picture.machine(id)?.host.as_ref()?;
                Some(facts.memory_total_mib)
            });
            if let Some(total) = total {
                self.shared.recorder.measured(id, host, total);
            }
        }
        let (observed, sights) = self.shared.pool.change(|picture| {
            let observed = picture.apply_event(id, event, now());
            (observed, picture.take_sights())
        });
        self.shared.recorder.seen(sights).await;
        self.shared.recorder.observed(&self.machine.name, observed).await;
    }
}

/// Connects and reads the first snapshot, when it is this machine's turn.
pub(super) async fn establish(
    shared: &Shared,
    address: &MachineAddress,
    answers: &Answers,
) -> Result<Established, LinkError> {
    // The semaphore is never closed; were it, dialling without a turn would be the lesser harm.
    let _turn = shared.dials.acquire().await.ok();
    let connection = shared.dial.dial(address, answers).await?;
    let snapshot = connection.client.snapshot(&RequestContext::generate()).await?;
    Ok(Established { connection, snapshot })
}

fn ended() -> ClientError {
    ClientError::Broken {
        operation: "follow the events",
        err: BrokenConnection::Ended,
    }
}

fn down(error: &LinkError) -> Input {
    Input::Down {
        error: error.to_api(),
        needs_a_person: error.needs_a_person(),
    }
}
