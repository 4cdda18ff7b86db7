//! The steps, each told, checked twice and pictured.

use std::time::{Duration, Instant};

use api::client::{Client, RequestContext};
use api::{Instance, Progress, RunState};
use support::{Window, wait_until_async};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::error::DemoError;
use crate::stage::{MACHINE, Stage};

/// Within this the window answers a click.
const SOON: Duration = Duration::from_secs(20);
/// An emulated guest on a busy machine boots within this; two to six seconds are usual.
const BOOT: Duration = Duration::from_secs(180);
const CARD: &str = "[data-template-id='tiny-linux']";
const COMMAND: &str = "echo hello-$((6*7))";
const ANSWER: &str = "hello-42";

/// The story under way.
pub struct Story<'a> {
    stage: &'a Stage,
    window: Window,
    agent: Client,
    begun: Instant,
    pictures: u32,
}

impl<'a> Story<'a> {
    /// Opens the window.
    ///
    /// # Errors
    /// The window did not open.
    pub async fn begin(stage: &'a Stage) -> Result<Self, DemoError> {
        let begun = Instant::now();
        say(begun, "two agents and an SSH server with throw-away keys run");
        let window = Window::open(&stage.display, &stage.window).await?;
        Ok(Self {
            stage,
            window,
            agent: stage.agent(),
            begun,
            pictures: 0,
        })
    }

    /// All steps, in order.
    ///
    /// # Errors
    /// The first one that did not happen.
    pub async fn tell(&mut self) -> Result<(), DemoError> {
        self.show_this_computer().await?;
        let machine = self.add_machine().await?;
        let dropped = self.drag_onto(&machine).await?;
        let instance = self.wait_for_prompt(dropped).await?;
        self.use_console(&instance).await?;
        self.visit_page(&instance).await?;
        self.stop(&instance).await?;
        self.say(&format!(
            "done: every step was seen in the window and at the agent; {} pictures are in {}",
            self.pictures,
            self.stage.pictures.display()
        ));
        Ok(())
    }

    async fn show_this_computer(&mut self) -> Result<(), DemoError> {
        let what = "this computer in the window";
        self.window
            .see("[data-machine-id][data-link='connected']", what, SOON)
            .await?;
        self.say("the window shows this computer, connected without a password");
        self.picture("this-computer").await
    }

    /// Adds the machine behind SSH and gives its id in the pool.
    async fn add_machine(&mut self) -> Result<String, DemoError> {
        self.window.click("Add a machine").await?;
        self.window
            .see("dialog input", "the form of a new machine", SOON)
            .await?;
        self.window.fill("Host", MACHINE).await?;
        self.window.click("Connect").await?;
        let shown = self.shown_fingerprint().await?;
        expect("the host key question", &self.stage.fingerprint, &shown)?;
        self.say(&format!(
            "the SSH server's key is unknown, and shown to be compared: {shown}"
        ));
        self.picture("fingerprint").await?;
        self.window.click("It is the same: trust it").await?;

        let remote = "li[data-machine-id][data-link='connected']:nth-of-type(2)";
        self.window.see(remote, "the machine in the pool", SOON).await?;
        let log = self.stage.ssh.log();
        if !log.contains("Accepted publickey") {
            return Err(DemoError::DidNotHappen {
                step: "the SSH login",
                expected: "a login with the key in the server's log".to_owned(),
                found: log,
            });
        }
        self.say(&format!(
            "connected to {MACHINE} over SSH; the server has accepted the key"
        ));
        self.picture("connected").await?;
        self.window.click("Done").await?;
        let id = self.window.attribute(remote, "data-machine-id").await?;
        id.ok_or_else(|| DemoError::DidNotHappen {
            step: "adding the machine",
            expected: "a second machine".to_owned(),
            found: "none".to_owned(),
        })
    }

    /// The digest that the dialog shows, as one word.
    async fn shown_fingerprint(&self) -> Result<String, DemoError> {
        let group = "[role='group'][aria-label='Fingerprint'] code";
        self.window.see(group, "the machine's fingerprint", SOON).await?;
        let digest = self.window.text(group).await?.unwrap_or_default();
        Ok(format!(
            "SHA256:{}",
            digest.split_whitespace().collect::<String>()
        ))
    }

    /// Drags the template onto the machine; gives the moment of the drop.
    async fn drag_onto(&mut self, machine: &str) -> Result<Instant, DemoError> {
        let vessel = format!("li[data-machine-id='{machine}']");
        self.window.drag(CARD, &vessel).await?;
        let standing = format!("{vessel}[data-standing][data-aimed='true']");
        self.window
            .see(&standing, "the machine's verdict during the drag", SOON)
            .await?;
        let standing = self.window.attribute(&vessel, "data-standing").await?;
        let words = self
            .window
            .text(&format!("{vessel} p"))
            .await?
            .unwrap_or_default();
        self.say(&format!(
            "\"Tiny Linux\" is held over {MACHINE}: {} ({})",
            words.trim(),
            standing.unwrap_or_default()
        ));
        self.picture("drag").await?;
        self.window.drop_here().await?;
        let dropped = Instant::now();
        let block = format!("{vessel} [data-instance-id]");
        self.window
            .see(&block, "the new instance in the machine", SOON)
            .await?;
        self.say("dropped: the instance is in the machine");
        Ok(dropped)
    }

    /// Waits until the guest's login prompt is up, as the window and the agent see it.
    async fn wait_for_prompt(&mut self, dropped: Instant) -> Result<Instance, DemoError> {
        let block = "[data-instance-id][data-phase='booting'], [data-instance-id][data-phase='ready']";
        self.window.see(block, "a guest that boots", BOOT).await?;
        self.picture("booting").await?;
        let ready = "[data-instance-id][data-phase='ready']";
        self.window.see(ready, "the login prompt", BOOT).await?;
        let waited = dropped.elapsed();
        let id = self
            .window
            .attribute(ready, "data-instance-id")
            .await?
            .unwrap_or_default();
        let instance = self.instance(&id).await?;
        expect(
            "the boot",
            &(RunState::Running, Some(Progress::Ready)),
            &(instance.state, instance.progress),
        )?;
        let engine = instance.engine.as_ref();
        self.say(&format!(
            "booted in {:.1} s ({:.1} s from power-on to the login prompt, {}): {}",
            waited.as_secs_f64(),
            f64::from(instance.boot_ms.unwrap_or_default()) / 1_000.0,
            if engine.is_some_and(|engine| engine.accelerated) {
                "on the CPU"
            } else {
                "emulated"
            },
            instance.spec.name
        ));
        self.picture("ready").await?;
        Ok(instance)
    }

    async fn use_console(&mut self, instance: &Instance) -> Result<(), DemoError> {
        self.window
            .click_on(&format!("[data-instance-id='{}']", instance.id))
            .await?;
        self.window.click("Open console").await?;
        self.see_on_console(&format!("{} login:", instance.spec.name))
            .await?;
        self.window.click_on("[data-testid='console']").await?;
        self.window.press("root\n").await?;
        self.see_on_console(&format!("{}:/root#", instance.spec.name))
            .await?;
        let asked = Instant::now();
        self.window.press(&format!("{COMMAND}\n")).await?;
        self.see_on_console(ANSWER).await?;
        self.say(&format!(
            "console answered in {} ms: logged in as root, typed `{COMMAND}`, read \"{ANSWER}\"",
            asked.elapsed().as_millis()
        ));
        self.picture("console").await
    }

    async fn see_on_console(&self, words: &str) -> Result<(), DemoError> {
        let what = format!("\"{words}\" on the console");
        self.window
            .see_that(&what, SOON, async || {
                self.console().await.is_ok_and(|text| text.contains(words))
            })
            .await?;
        Ok(())
    }

    /// What the terminal shows.
    async fn console(&self) -> Result<String, DemoError> {
        let script = "const rows = document.querySelectorAll('[data-testid=console] .xterm-rows > div');
            return [...rows].map((row) => row.textContent.replaceAll('\\u00a0', ' ')).join('\\n')";
        let text = self.window.ask(script, Vec::new()).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Asks the guest's web server through the port that is published on the machine.
    async fn visit_page(&mut self, instance: &Instance) -> Result<(), DemoError> {
        let port = instance
            .ports
            .iter()
            .find(|port| port.guest == 80)
            .map(|port| port.host);
        let Some(port) = port else {
            return Err(DemoError::DidNotHappen {
                step: "publishing port 80",
                expected: "a port of 127.0.0.1".to_owned(),
                found: format!("{:?}", instance.ports),
            });
        };
        let name = instance.spec.name.as_str();
        let what = format!("the page of {name} is at 127.0.0.1:{port}");
        wait_until_async(&what, SOON, async || {
            fetch(port).await.ok().filter(|page| page.contains(name))
        })
        .await?;
        self.say(&format!("its web page at 127.0.0.1:{port} says \"{name}\""));
        Ok(())
    }

    async fn stop(&mut self, instance: &Instance) -> Result<(), DemoError> {
        let asked = Instant::now();
        self.window.click("Overview").await?;
        self.window.click("Stop").await?;
        let stopped = format!("[data-instance-id='{}'][data-phase='stopped']", instance.id);
        self.window
            .see(&stopped, "the instance stopped", Duration::from_secs(90))
            .await?;
        let seen = self.instance(&instance.id.to_string()).await?;
        expect("the stop", &RunState::Stopped, &seen.state)?;
        for port in &instance.ports {
            let answers = tokio::net::TcpStream::connect(("127.0.0.1", port.host))
                .await
                .is_ok();
            expect("the end of the guest", &false, &answers)?;
        }
        self.say(&format!(
            "stopped in {:.1} s: the guest switched itself off at the press of the power button",
            asked.elapsed().as_secs_f64()
        ));
        self.picture("stopped").await
    }

    /// The instance as the machine's agent tells it, past the window.
    async fn instance(&self, id: &str) -> Result<Instance, DemoError> {
        let all = self.agent.instances(&RequestContext::generate()).await?;
        let count = all.len();
        let found = all.into_iter().find(|instance| instance.id.to_string() == id);
        found.ok_or_else(|| DemoError::DidNotHappen {
            step: "creating the instance",
            expected: format!("the instance {id} at the machine's agent"),
            found: format!("{count} others"),
        })
    }

    /// After a failed step: a picture of the window, and the end of the agent's log.
    pub async fn explain_failure(&mut self) {
        if self.picture("failed").await.is_ok() {
            eprintln!(
                "demo: the window at that moment: {}",
                self.stage.pictures.display()
            );
        }
        let log = self.stage.remote.log();
        let lines: Vec<&str> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(20)) {
            eprintln!("demo: the agent's log: {line}");
        }
    }

    fn say(&self, what: &str) {
        say(self.begun, what);
    }

    async fn picture(&mut self, name: &str) -> Result<(), DemoError> {
        self.pictures += 1;
        let path = self
            .stage
            .pictures
            .join(format!("{:02}-{name}.png", self.pictures));
        Ok(self.window.picture(&path).await?)
    }
}

fn say(begun: Instant, what: &str) {
    println!("[{:6.1} s] {what}", begun.elapsed().as_secs_f64());
}

fn expect<T: PartialEq + std::fmt::Debug>(
    step: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), DemoError> {
    if expected == found {
        return Ok(());
    }
    Err(DemoError::DidNotHappen {
        step,
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}

/// The answer to `GET /`.
async fn fetch(port: u16) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
