//! What Tiny Linux promises to whoever uses it: a disk that lasts, a network, and a name.

use api::{Instance, Mib, StopInstance};
use hyper::StatusCode;
use uuid::Uuid;

use crate::console::Console;
use crate::support::{Agent, Options, tiny};

/// A guest with a small disk of its own, at its shell.
async fn guest_with_disk(agent: &Agent, name: &str) -> (Uuid, Console) {
    let id = Uuid::now_v7();
    let mut body = tiny(name);
    body.spec.disk_mib = Mib(64);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    agent.until_ready(id).await;
    (id, Console::at_the_shell(agent, id).await)
}

#[tokio::test]
async fn files_on_its_disk_last_and_the_power_button_leaves_the_disk_clean() {
    let agent = Agent::start(Options::with_tiny()).await;
    let (id, mut console) = guest_with_disk(&agent, "keeper").await;
    let mounts = console.run("grep /data /proc/mounts").await;
    assert!(mounts.contains("/dev/vda /data"), "{mounts}");
    console.run("echo still-here >/data/note").await;

    agent.stop(id, &StopInstance::graceful()).await;
    agent.start_again(id).await;
    agent.until_ready(id).await;

    let mut console = Console::at_the_shell(&agent, id).await;
    let note = console.run("cat /data/note").await;
    assert!(note.contains("still-here"), "{note}");
    // What the kernel says of a file system that was not unmounted.
    let complaints = console.run("dmesg | grep -c -i 'unchecked\\|recover'").await;
    assert!(complaints.contains("\n0\r\n"), "{complaints}");
}

#[tokio::test]
async fn a_disk_that_holds_something_else_is_left_alone() {
    let agent = Agent::start(Options::with_tiny()).await;
    let (id, mut console) = guest_with_disk(&agent, "cautious").await;
    // As btrfs does it: nothing in the first 64 KiB. (dd would count what the pipe gives it at a time, which may be a line.)
    let foreign = "(head -c 65536 /dev/zero; yes foreign | head -c 262144)";
    let written = console
        .run(&format!(
            "umount /data && {foreign} >/dev/vda && sync && echo wri''tten"
        ))
        .await;
    assert!(written.contains("written"), "{written}");
    agent.stop(id, &StopInstance::force()).await;
    agent.start_again(id).await;
    agent.until_ready(id).await;
    let mut console = Console::at_the_shell(&agent, id).await;
    let note = console.run("cat /data/README").await;
    assert!(note.contains("left as it is"), "{note}");
    let content = console.run("tail -c +65537 /dev/vda | head -c 8").await;
    assert!(content.contains("\nforeign"), "{content}");
}

#[tokio::test]
async fn its_network_comes_up_by_itself_and_its_name_is_the_instances() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("named-so").await;
    let mut console = Console::at_the_shell(&agent, instance.id).await;
    // The network comes up beside the prompt: the guest waits for it as a script in it would.
    let address = console
        .run("until ip addr show eth0 | grep 'inet '; do sleep 0.1; done; ip route; cat /etc/resolv.conf")
        .await;
    assert!(
        address.contains("inet 10.") && address.contains("default via"),
        "{address}"
    );
    assert!(address.contains("nameserver"), "{address}");
    let name = console
        .run("hostname; wget -qO- http://localhost/ | grep '<h1>'")
        .await;
    assert!(
        name.contains("\nnamed-so\r\n") && name.contains("<h1>named-so</h1>"),
        "{name}"
    );
}
