//! The control API's entry for fuzzing.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use super::{Api, Identity, command, http};
use crate::driver::Command;
use crate::snapshot;

/// Takes the bytes for what a client sends.
///
/// # Panics
///
/// Where the API does, or lets a snapshot be written outside its folder: that is what this looks for.
pub fn fuzz(data: &[u8]) {
    let mut answer = Vec::new();
    let mut stream = data;
    let request = match http::read(&mut stream) {
        Ok(request) => request,
        Err(error) => {
            if let Some(status) = error.status() {
                let _whole = http::answer(&mut answer, status, &error.to_string());
            }
            return;
        }
    };
    if let Ok(Command::Snapshot { name, .. }) = command(&request)
        && let Ok(folder) = snapshot::folder(Some(Path::new("/snapshots")), &name)
    {
        assert_eq!(folder.parent(), Some(Path::new("/snapshots")), "{name}");
        assert!(folder.file_name().is_some(), "{name}");
    }
    // Nobody drives a machine: what makes sense is told to be too much at present.
    let (events, _) = sync_channel(1);
    let api = Api {
        identity: Identity {
            id: "fuzz".to_owned(),
            vcpus: 1,
            memory_mib: 32,
            version: "0",
        },
        events,
        listeners: std::sync::Arc::default(),
        end: std::sync::Arc::default(),
        leave: |_| {},
    };
    let (status, body) = api.route(&request, Box::new(|| false));
    let _whole = http::answer(&mut answer, status, &body);
}
