//! A disk that brings its own boot loader, and no kernel beside it.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use api::{EngineKind, EngineRequest, ErrorCode, Instance, Mib};
use hyper::StatusCode;
use uuid::Uuid;

use crate::console::Console;
use crate::support::{Agent, Options, PROGRAM, tiny};

/// What the loader says on the serial port.
const SAYS: &[u8] = b"STARTED FROM THE DISK\r\n\0";
/// Real-mode code at 0x7c00 that writes the text behind it to the first serial port, and halts.
const LOADER: [u8; 23] = [
    0xfa, // cli
    0xfc, // cld
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x17, 0x7c, // mov si, the text
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz end
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xf4, // end: hlt
    0xeb, 0xfd, // jmp end
];

/// A raw disk of 1 MiB whose first sector is the loader.
pub fn disk() -> tempfile::NamedTempFile {
    let mut sector = [LOADER.as_slice(), SAYS].concat();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sector).unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    file
}

/// Gives the agent with this state the disk as an image, by the name `by-itself`.
pub fn import(disk: &Path, state: &Path) {
    let imported = Command::new(PROGRAM)
        .args(["image", "import", "--name", "by-itself", "--disk"])
        .arg(disk)
        .arg("--state-dir")
        .arg(state)
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
}

#[tokio::test]
async fn an_image_without_a_kernel_starts_from_its_disk_on_qemu_and_no_other_engine() {
    let agent = Agent::start(Options::default()).await;
    import(disk().path(), &agent.state_dir());

    let mut body = tiny("loader-1");
    body.spec.image = "by-itself".into();
    body.spec.memory_mib = Mib(256);
    body.spec.disk_mib = Mib(1);
    let id = Uuid::now_v7();
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    let mut console = Console::open(&agent, id).await;
    console.until("STARTED FROM THE DISK").await;
    let engine = agent.instance(id).await.engine.unwrap();
    assert_eq!(engine.kind, EngineKind::Qemu, "{}", engine.reason);

    body.spec.name = "loader-2".into();
    body.spec.engine = EngineRequest::Microvm;
    let answer = agent.create(Uuid::now_v7(), &body).await;
    answer.refused(StatusCode::CONFLICT, ErrorCode::NoEngine);
}
