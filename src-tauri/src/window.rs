//! The commands over Tauri's IPC: the same router as everywhere, and channels for what is pushed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::client::RequestContext;
use bytes::Bytes;
use millpond::app::App;
use millpond::cli::asked_to_end;
use millpond::commands::{dispatch, malformed, refused};
use millpond::console::{self, ConsoleInput, ConsoleOutput, PIECE_BYTES_MAX};
use millpond::contract::{Call, CommandError, WindowEvent};
use millpond::page::with_opening;
use serde_json::Value;
use tauri::http::Response;
use tauri::http::header::CONTENT_TYPE;
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::{State, WebviewWindowBuilder};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::graphics;

/// How many consoles a window may have open.
const CONSOLES_MAX: usize = 64;

/// Tauri's channels do not push back, so a guest that prints without end is slowed to what the window can draw: 2 MiB a second.
const CONSOLE_PIECE_PAUSE: Duration = Duration::from_millis(8);

/// Shows the window until it is closed.
pub fn show(app: Arc<App>, started: Instant) -> tauri::Result<()> {
    let stopping = app.stopping().clone();
    let window = tauri::Builder::default()
        .manage(Window {
            app: Arc::clone(&app),
            started,
            page: Mutex::default(),
        })
        .setup(move |setup| {
            for config in &setup.config().app.windows {
                let app = Arc::clone(&app);
                let window = WebviewWindowBuilder::from_config(setup, config)?
                    .on_web_resource_request(move |_, answer| bring_opening(&app, answer))
                    .build()?;
                graphics::suit(&window)?;
            }
            Ok(())
        })
        .invoke_handler(tauri::generate_handler![
            call,
            subscribe,
            console_open,
            console_write,
            console_close,
            window_drawn
        ])
        .build(tauri::generate_context!())?;
    let handle = window.handle().clone();
    tauri::async_runtime::spawn(async move {
        tokio::select! {
            () = asked_to_end() => handle.exit(0),
            () = stopping.cancelled() => {}
        }
    });
    window.run_return(|_, _| {});
    Ok(())
}

/// Writes what a window shows first into its page, so that the page asks for nothing before its first frame.
fn bring_opening(app: &App, answer: &mut Response<Cow<'static, [u8]>>) {
    let is_page = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return;
    }
    // Tauri answers on the runtime's own threads, and takes no future here.
    let opening = tokio::task::block_in_place(|| tauri::async_runtime::block_on(app.opening()));
    match with_opening(answer.body(), &opening) {
        Ok(page) => *answer.body_mut() = Cow::Owned(page),
        // The page asks by itself then.
        Err(error) => tracing::warn!(%error, "the page opens without a first picture"),
    }
}

/// The window, and what the page in it holds.
struct Window {
    app: Arc<App>,
    started: Instant,
    page: Mutex<Page>,
}

/// What one page holds. A reload makes another page, and all this ends.
#[derive(Default)]
struct Page {
    _events: Option<DropGuard>,
    consoles: HashMap<u32, OpenConsole>,
    last_console: u32,
}

struct OpenConsole {
    input: ConsoleInput,
    _close: DropGuard,
}

impl Window {
    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a command; `call` is a `Call` of the contract.
#[tauri::command]
async fn call(window: State<'_, Window>, call: Value) -> Result<Value, CommandError> {
    let call: Call = serde_json::from_value(call).map_err(|error| malformed(&error.to_string()))?;
    dispatch(&window.app, call).await
}

/// Sends the page every event from now on. A page asks once: what an earlier page had open ends here.
#[tauri::command]
async fn subscribe(window: State<'_, Window>, channel: Channel<WindowEvent>) -> Result<(), CommandError> {
    let mut subscription = window.app.pool().subscribe();
    let ended = window.app.stopping().child_token();
    *window.page() = Page {
        _events: Some(ended.clone().drop_guard()),
        ..Page::default()
    };
    window.app.spawn(async move {
        loop {
            let event = tokio::select! {
                () = ended.cancelled() => return,
                event = subscription.next() => event,
            };
            let Some(event) = event else { return };
            if let Err(error) = channel.send(WindowEvent::clone(&event)) {
                tracing::debug!(%error, "the page is gone");
                return;
            }
        }
    });
    Ok(())
}

/// Opens an instance's console: its bytes come through `channel`, an empty piece last. Answers the number to write with.
#[tauri::command]
async fn console_open(
    window: State<'_, Window>,
    machine: Uuid,
    instance: Uuid,
    request_id: String,
    channel: Channel<InvokeResponseBody>,
) -> Result<u32, CommandError> {
    let context = RequestContext::new(request_id);
    let opened = console::open(&window.app, &context, machine, instance)
        .await
        .map_err(|error| refused(&error, None, &context))?;
    let ended = CancellationToken::new();
    let number = {
        let mut page = window.page();
        if page.consoles.len() >= CONSOLES_MAX {
            return Err(malformed("this window has too many consoles open"));
        }
        page.last_console = page.last_console.wrapping_add(1);
        let number = page.last_console;
        page.consoles.insert(
            number,
            OpenConsole {
                input: opened.input,
                _close: ended.clone().drop_guard(),
            },
        );
        number
    };
    window.app.spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = print(opened.output, channel) => {}
        }
    });
    Ok(number)
}

async fn print(mut output: ConsoleOutput, channel: Channel<InvokeResponseBody>) {
    while let Some(piece) = output.next().await {
        let full = piece.len() >= PIECE_BYTES_MAX;
        if channel.send(InvokeResponseBody::Raw(piece.into())).is_err() {
            return;
        }
        if full {
            tokio::time::sleep(CONSOLE_PIECE_PAUSE).await;
        }
    }
    // The page may be gone already.
    let _ = channel.send(InvokeResponseBody::Raw(Vec::new()));
}

/// Types into a console.
#[tauri::command]
async fn console_write(window: State<'_, Window>, console: u32, data: Vec<u8>) -> Result<(), CommandError> {
    let input = window
        .page()
        .consoles
        .get(&console)
        .map(|console| console.input.clone());
    // What is typed into a console that has just ended is lost like a letter to a closed door; the page knows that it ended.
    if let Some(input) = input {
        let _ = input.send(Bytes::from(data)).await;
    }
    Ok(())
}

/// Closes a console; the guest goes on.
#[tauri::command]
async fn console_close(window: State<'_, Window>, console: u32) -> Result<(), CommandError> {
    window.page().consoles.remove(&console);
    Ok(())
}

/// The page has drawn its first pool.
#[tauri::command]
async fn window_drawn(window: State<'_, Window>) -> Result<(), CommandError> {
    let started = window.started.elapsed();
    tracing::info!(target: "millpond::startup", elapsed_ms = started.as_secs_f64() * 1000.0, "the pool is drawn");
    Ok(())
}
