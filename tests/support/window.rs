//! The real window on a display of its own, driven through `WebKitWebDriver` as a person would: pointer, keys, eyes.

use std::ffi::OsString;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions, MouseActions, PointerAction};
use fantoccini::error::{CmdError, NewSessionError};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::{Process, SshServer, Trouble, wait_until_async};

const DRIVER: &str = "WebKitWebDriver";
const MAIN_BUTTON: u64 = 0;
/// Moves between the card and the machine: WebDriver does not interpolate, and a drag of one jump is no drag.
const DRAG_MOVES: u32 = 10;

/// Ends when the page's finite animations are over, at most 1.5 s later, and two frames have been drawn since.
const AFTER_THE_NEXT_FRAMES: &str = "
    const done = arguments[arguments.length - 1];
    const finite = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
    const over = Promise.allSettled(finite.map((one) => one.finished));
    const enough = new Promise((resolve) => setTimeout(resolve, 1500));
    Promise.race([over, enough]).then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(null))));";

/// Why the window could not be driven, or did not show what it should.
#[derive(Debug, thiserror::Error)]
pub enum WindowTrouble {
    /// The display, the driver or the app did not come up.
    #[error(transparent)]
    Setup(#[from] Trouble),
    /// The driver did not open the window.
    #[error("the window did not open")]
    Open(#[source] NewSessionError),
    /// The driver refused a command.
    #[error("cannot {what} in the window")]
    Drive {
        /// What was tried.
        what: String,
        /// The driver's words.
        #[source]
        err: CmdError,
    },
    /// Something that was waited for did not appear; what the window showed instead.
    #[error("waited {} s in vain for {what}; the window says: {shown}", deadline.as_secs())]
    NotShown {
        /// What was waited for.
        what: String,
        /// For how long.
        deadline: Duration,
        /// The window's text.
        shown: String,
    },
    /// A picture could not be saved.
    #[error("cannot save {}", path.display())]
    Picture {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: std::io::Error,
    },
}

/// A program that leads a process group, which is ended as a whole: the driver starts the app, and the app its web processes.
#[derive(Debug)]
struct Group {
    process: Process,
}

impl Group {
    fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, Trouble> {
        command.process_group(0);
        Ok(Self {
            process: Process::start(name, command, log)?,
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let leader = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended by itself.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// An X server without a screen.
#[derive(Debug)]
pub struct Display {
    name: String,
    _server: Group,
}

impl Display {
    /// Starts one of `width` by `height` pixels; its log goes to `folder`.
    ///
    /// # Errors
    /// [`Trouble::NotUp`] with the server's log, [`Trouble::Io`] without the program `Xvfb`.
    pub fn start(width: u32, height: u32, folder: &Path) -> Result<Self, Trouble> {
        let log = folder.join("xvfb.log");
        let mut command = Command::new("Xvfb");
        command
            // The server chooses a free number and writes it, with a line's end, when it is ready.
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{width}x{height}x24"));
        let mut server = Group::start("Xvfb", &mut command, &log)?;
        let number = || {
            let text = std::fs::read_to_string(&log).ok()?;
            let is_number = |line: &&str| line.parse::<u32>().is_ok();
            text.ends_with('\n')
                .then(|| text.lines().rfind(is_number).map(str::to_owned))?
        };
        server
            .process
            .wait_up(Duration::from_secs(20), || number().is_some())?;
        Ok(Self {
            name: format!(":{}", number().unwrap_or_default()),
            _server: server,
        })
    }

    /// What `DISPLAY` says to a program that shall open its window here, such as `:99`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How the app is started.
#[derive(Debug, Clone)]
pub struct WindowOptions {
    /// The app.
    pub app: PathBuf,
    /// Its user's home: a fresh one has no settings and no pool.
    pub home: PathBuf,
    /// Further variables of its environment.
    pub environment: Vec<(String, OsString)>,
    /// Where the driver's log goes, and the app's with it.
    pub log: PathBuf,
}

/// The app's window.
#[derive(Debug)]
pub struct Window {
    client: Client,
    // Dropped after the session: it ends whatever is left.
    _driver: Group,
}

impl Window {
    /// Starts the app and waits until the driver has its window.
    ///
    /// # Errors
    /// [`WindowTrouble::Setup`] where the driver does not come up, [`WindowTrouble::Open`] where the app does not.
    pub async fn open(display: &Display, options: &WindowOptions) -> Result<Self, WindowTrouble> {
        let port = SshServer::free_port()?;
        let mut command = Command::new(DRIVER);
        command
            .arg(format!("--port={port}"))
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .env("DISPLAY", &display.name)
            .env("HOME", &options.home)
            .env("LANG", "C.UTF-8")
            .env("LANGUAGE", "en")
            .env_remove("WAYLAND_DISPLAY")
            .envs(options.environment.iter().cloned());
        for variable in [
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "XDG_STATE_HOME",
            "XDG_CACHE_HOME",
            "SSH_AUTH_SOCK",
        ] {
            command.env_remove(variable);
        }
        let mut driver = Group::start(DRIVER, &mut command, &options.log)?;
        driver.process.wait_up(Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        let capabilities = [(
            "webkitgtk:browserOptions".to_owned(),
            json!({ "binary": options.app, "args": [] }),
        )];
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .map_err(WindowTrouble::Open)?;
        Ok(Self {
            client,
            _driver: driver,
        })
    }

    /// Closes the window as its user would.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn close(self) -> Result<(), WindowTrouble> {
        self.client.clone().close().await.map_err(drive("close"))
    }

    /// Runs a script in the page and gives what it returns.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn ask(&self, script: &str, arguments: Vec<Value>) -> Result<Value, WindowTrouble> {
        self.client
            .execute(script, arguments)
            .await
            .map_err(drive("ask the page"))
    }

    /// The text of the first element that matches, as it is shown; `None` where there is none.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn text(&self, css: &str) -> Result<Option<String>, WindowTrouble> {
        let script = "const e = document.querySelector(arguments[0]); return e && e.innerText";
        let text = self.ask(script, vec![json!(css)]).await?;
        Ok(text.as_str().map(str::to_owned))
    }

    /// An attribute of the first element that matches.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn attribute(&self, css: &str, name: &str) -> Result<Option<String>, WindowTrouble> {
        let script =
            "const e = document.querySelector(arguments[0]); return e && e.getAttribute(arguments[1])";
        let value = self.ask(script, vec![json!(css), json!(name)]).await?;
        Ok(value.as_str().map(str::to_owned))
    }

    /// Waits until an element is there; `what` says in words what is missing where it is not.
    ///
    /// # Errors
    /// [`WindowTrouble::NotShown`] with the window's text.
    pub async fn see(&self, css: &str, what: &str, deadline: Duration) -> Result<(), WindowTrouble> {
        self.see_that(what, deadline, async || {
            matches!(self.text(css).await, Ok(Some(_)))
        })
        .await
    }

    /// Waits until a condition holds; `what` completes "waited in vain for …".
    ///
    /// # Errors
    /// [`WindowTrouble::NotShown`] with the window's text.
    pub async fn see_that(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), WindowTrouble> {
        let waited = wait_until_async(what, deadline, async || holds().await.then_some(())).await;
        if waited.is_ok() {
            return Ok(());
        }
        let shown = self.text("body").await?.unwrap_or_default();
        Err(WindowTrouble::NotShown {
            what: what.to_owned(),
            deadline,
            shown: shown.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    /// Clicks the button whose words these are, once it is there.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`] where it does not appear in time or cannot be clicked.
    pub async fn click(&self, words: &str) -> Result<(), WindowTrouble> {
        let path = format!(
            "//*[self::button or @role='tab' or @role='menuitem'][not(@aria-disabled='true')]\
             [normalize-space(.)=\"{words}\" or .//b[normalize-space(.)=\"{words}\"]]"
        );
        let what = || format!("click \"{words}\"");
        let wait = self.client.wait().at_most(Duration::from_secs(20));
        let button = wait
            .for_element(Locator::XPath(&path))
            .await
            .map_err(drive(what()))?;
        button.click().await.map_err(drive(what()))
    }

    /// Clicks the first element that matches.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn click_on(&self, css: &str) -> Result<(), WindowTrouble> {
        let found = self.client.find(Locator::Css(css)).await;
        let element = found.map_err(drive(format!("find {css}")))?;
        element.click().await.map_err(drive(format!("click {css}")))
    }

    /// Types into the field with this label.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn fill(&self, label: &str, text: &str) -> Result<(), WindowTrouble> {
        let path = format!("//input[@id=//label[normalize-space(.)=\"{label}\"]/@for]");
        let what = || format!("fill in \"{label}\"");
        let field = self
            .client
            .find(Locator::XPath(&path))
            .await
            .map_err(drive(what()))?;
        field.send_keys(text).await.map_err(drive(what()))
    }

    /// Types on the keyboard, wherever the focus is; a line's end presses Enter.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn press(&self, text: &str) -> Result<(), WindowTrouble> {
        const ENTER: char = '\u{e007}';
        let keys = text.chars().map(|key| if key == '\n' { ENTER } else { key });
        let actions = keys.fold(KeyActions::new("keyboard".to_owned()), |actions, value| {
            actions
                .then(KeyAction::Down { value })
                .then(KeyAction::Up { value })
        });
        self.client
            .perform_actions(actions)
            .await
            .map_err(drive("press keys"))
    }

    /// Presses the main button on one element and moves to another in ten moves, and keeps the button down.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn drag(&self, from: &str, to: &str) -> Result<(), WindowTrouble> {
        let (begin, end) = (self.middle(from).await?, self.middle(to).await?);
        let pointer = || MouseActions::new("mouse".to_owned());
        let to = |(x, y)| PointerAction::MoveTo {
            duration: Some(Duration::from_millis(30)),
            x,
            y,
        };
        let press = pointer()
            .then(to(begin))
            .then(PointerAction::Down { button: MAIN_BUTTON });
        let path = (1..=DRAG_MOVES).fold(press, |actions, step| {
            let part = f64::from(step) / f64::from(DRAG_MOVES);
            actions.then(to((
                begin.0 + (end.0 - begin.0) * part,
                begin.1 + (end.1 - begin.1) * part,
            )))
        });
        self.client.perform_actions(path).await.map_err(drive("drag"))
    }

    /// Lets go of what is dragged.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`].
    pub async fn drop_here(&self) -> Result<(), WindowTrouble> {
        let release = MouseActions::new("mouse".to_owned()).then(PointerAction::Up { button: MAIN_BUTTON });
        self.client.perform_actions(release).await.map_err(drive("drop"))
    }

    async fn middle(&self, css: &str) -> Result<(f64, f64), WindowTrouble> {
        let what = || format!("find {css}");
        let element = self.client.find(Locator::Css(css)).await.map_err(drive(what()))?;
        let (x, y, width, height) = element.rectangle().await.map_err(drive(what()))?;
        Ok(((x + width / 2.0).round(), (y + height / 2.0).round()))
    }

    /// Saves a picture of the page as it is now, once its movements are over.
    ///
    /// # Errors
    /// [`WindowTrouble::Drive`] or [`WindowTrouble::Picture`].
    pub async fn picture(&self, path: &Path) -> Result<(), WindowTrouble> {
        // The driver gives the last frame that was drawn, which is older than the page where the computer is busy.
        let drawn = self.client.execute_async(AFTER_THE_NEXT_FRAMES, Vec::new()).await;
        drawn.map_err(drive("wait for a frame"))?;
        let png = self.client.screenshot().await.map_err(drive("take a picture"))?;
        std::fs::write(path, png).map_err(|err| WindowTrouble::Picture {
            path: path.to_owned(),
            err,
        })
    }
}

fn drive(what: impl Into<String>) -> impl FnOnce(CmdError) -> WindowTrouble {
    let what = what.into();
    move |err| WindowTrouble::Drive { what, err }
}
