//! The program's own manners: `connect`, `openapi`, `image list`, and paths that cannot work.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Agent, Options, PROGRAM};

#[tokio::test(flavor = "multi_thread")]
async fn connect_joins_stdin_and_stdout_to_the_socket_and_ends_with_it() {
    let agent = Agent::start(Options::default()).await;
    let mut child = agent
        .command(&["connect"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"GET /v1/host HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    // Half-closed: nothing more will be said, and the answer still comes.
    drop(stdin);
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"hostname\""),
        "{answer}"
    );
    assert!(child.wait().unwrap().success());
}

/// What `connect` says when it will not connect; on stdout, which belongs to the protocol, it says nothing.
fn refused_connection(runtime_dir: &Path) -> String {
    let output = Command::new(PROGRAM)
        .arg("connect")
        .arg("--runtime-dir")
        .arg(runtime_dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "stdout belongs to the protocol");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn connect_without_an_agent_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused_connection(dir.path());
    assert!(
        said.contains("no agent listens on") && said.contains("api.sock"),
        "{said}"
    );
}

/// Anybody may make `/tmp/host-runner-UID`: what is typed into it must not reach their program.
#[test]
fn connect_does_not_talk_to_a_socket_in_a_folder_that_others_can_write_to() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("api.sock")).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused_connection(dir.path());
    assert!(said.contains("can be written to by others"), "{said}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[test]
fn connect_does_not_talk_to_another_users_program() {
    if !rustix::process::geteuid().is_root() {
        // Only root can start a program as another user.
        return;
    }
    let dir = tempfile::Builder::new().prefix("hr-").tempdir_in("/tmp").unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
    let socket = dir.path().join("api.sock");
    // The program is copied: the build's folder may be closed to others.
    let program = dir.path().join("program");
    std::fs::copy(PROGRAM, &program).unwrap();
    let mut other = Command::new(program)
        .uid(65_534)
        .current_dir(dir.path())
        .args(["serve", "--state-dir", "s", "--runtime-dir", "r", "--socket"])
        .arg(&socket)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(other.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("listening")));
    let output = Command::new(PROGRAM)
        .arg("connect")
        .arg("--socket")
        .arg(&socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    crate::support::signal(other.id(), rustix::process::Signal::TERM);
    other.wait().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is served by user 65534"), "{said}");
}

#[test]
fn a_socket_path_that_the_kernel_would_cut_off_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(100));
    for subcommand in ["serve", "connect"] {
        let output = Command::new(PROGRAM)
            .arg(subcommand)
            .arg("--state-dir")
            .arg(dir.path().join("s"))
            .arg("--runtime-dir")
            .arg(&long)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("at most 107 bytes"), "{said}");
    }
    assert!(
        !long.exists() && !dir.path().join("s").exists(),
        "nothing is made"
    );
}

#[test]
fn the_interface_is_printed_as_it_is_committed() {
    let output = Command::new(PROGRAM).arg("openapi").output().unwrap();
    let committed = include_str!("../../docs/openapi.json");
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout).unwrap() == committed,
        "docs/openapi.json has drifted"
    );
}

#[test]
fn images_are_listed_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["image", "list", "--state-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("build-tiny"));
}

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let dir = tempfile::Builder::new().prefix("hr-").tempdir_in("/tmp").unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--log-format", "json", "--state-dir"])
        .arg(dir.path().join("s"))
        .arg("--runtime-dir")
        .arg(dir.path().join("r"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["message"], "listening");
    crate::support::signal(child.id(), rustix::process::Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn doctor_and_a_list_of_images_make_nothing() {
    let dir = tempfile::Builder::new().prefix("hr-").tempdir_in("/tmp").unwrap();
    let state = dir.path().join("s");
    for subcommand in [&["doctor"][..], &["image", "list"]] {
        Command::new(PROGRAM)
            .args(subcommand)
            .arg("--state-dir")
            .arg(&state)
            .arg("--runtime-dir")
            .arg(dir.path().join("r"))
            .output()
            .unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "{subcommand:?}"
        );
    }
}

#[tokio::test]
async fn the_state_directory_and_the_ledger_are_closed_to_others() {
    let agent = Agent::start(Options::default()).await;
    // The folder was there before, open to all.
    for path in [agent.state_dir(), agent.state_dir().join("ledger.sqlite")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn the_agent_may_open_as_many_files_as_the_machine_lets_it() {
    let agent = Agent::start(Options {
        wrapper: ["sh", "-c", "ulimit -Sn 256; exec \"$@\"", "sh"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::default()
    })
    .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
