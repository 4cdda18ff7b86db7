use super::*;

/// The smallest state there is.
pub(super) fn state() -> MachineState {
    MachineState {
        id: [7; 16],
        parent: None,
        shape: Shape {
            vcpus: 0,
            memory_mib: 64,
            devices: Vec::new(),
        },
        runs: vec![Run { start: 0, pages: 2 }],
        zeroes: Vec::new(),
        irqchips: Default::default(),
        timer: kvm_pit_state2::default(),
        clock: kvm_clock_data::default(),
        taken_at_ns: 0,
        vcpus: Vec::new(),
        serial: SerialState::default(),
        transports: Vec::new(),
    }
}

fn machine() -> GuestMemory {
    crate::memory::create(64, crate::memory::Backing::Shared).unwrap()
}

fn poke(memory: &GuestMemory, page: u64, value: u8) {
    use vm_memory::Bytes as _;
    memory
        .write_obj(value, vm_memory::GuestAddress(page * PAGE))
        .unwrap();
}

fn peek(memory: &GuestMemory, page: u64) -> u8 {
    use vm_memory::Bytes as _;
    memory.read_obj(vm_memory::GuestAddress(page * PAGE)).unwrap()
}

/// A full snapshot with page 1, and an increment with page 2.
fn chain(folder: &Path) -> [PathBuf; 2] {
    let memory = machine();
    poke(&memory, 1, 11);
    poke(&memory, 2, 20);
    let full = MachineState {
        id: [1; 16],
        runs: vec![Run {
            start: PAGE,
            pages: 2,
        }],
        ..state()
    };
    write(&folder.join("full"), &full, &memory).unwrap();
    poke(&memory, 2, 22);
    let more = MachineState {
        id: [2; 16],
        parent: Some([1; 16]),
        runs: vec![Run {
            start: 2 * PAGE,
            pages: 1,
        }],
        ..state()
    };
    write(&folder.join("more"), &more, &memory).unwrap();
    [folder.join("full"), folder.join("more")]
}

#[test]
fn nobody_else_reads_what_a_guest_has_in_mind() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&full), 0o700);
    assert_eq!([MEMORY, STATE].map(|file| mode(&full.join(file))), [0o600; 2]);
}

#[test]
fn a_chain_gives_the_memory_of_its_last_link() {
    let folder = tempfile::tempdir().unwrap();
    let chain = chain(folder.path());
    let memory = machine();
    let state = read(&chain, &state().shape, &memory).unwrap();
    assert_eq!((state.id, peek(&memory, 1), peek(&memory, 2)), ([2; 16], 11, 22));
}

#[test]
fn a_page_that_was_given_back_is_empty_again_and_takes_no_room_in_an_increment() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    let path = folder.path().join("given-back");
    let given_back = MachineState {
        id: [2; 16],
        parent: Some([1; 16]),
        runs: Vec::new(),
        zeroes: vec![Run {
            start: 2 * PAGE,
            pages: 9,
        }],
        ..state()
    };
    let taken = write(&path, &given_back, &machine()).unwrap();
    assert_eq!((taken.incremental, taken.memory_mib), (true, 0));
    let memory = machine();
    read(&[full, path], &state().shape, &memory).unwrap();
    assert_eq!((peek(&memory, 1), peek(&memory, 2)), (11, 0));
}

#[test]
fn a_chain_out_of_order_or_with_a_link_missing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [full, more] = chain(folder.path());
    for wrong in [
        vec![more.clone()],
        vec![more.clone(), full.clone()],
        vec![full.clone(), full],
    ] {
        let error = read(&wrong, &state().shape, &machine()).unwrap_err();
        assert!(matches!(error, RestoreError::Chain { .. }), "{error}");
    }
    assert!(matches!(
        read(&[], &state().shape, &machine()),
        Err(RestoreError::TooLong(0))
    ));
}

#[test]
fn another_machine_is_refused_with_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    let shape = Shape {
        vcpus: 2,
        memory_mib: 64,
        devices: vec!["disk root".to_owned()],
    };
    let error = read(&[full], &shape, &machine()).unwrap_err().to_string();
    assert!(
        error.contains("no devices") && error.contains("2 vCPUs") && error.contains("disk root"),
        "{error}"
    );
}

#[test]
fn a_state_that_lacks_a_part_of_what_it_says_it_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, shape) in [
        (
            "vcpu",
            Shape {
                vcpus: 1,
                ..state().shape
            },
        ),
        (
            "device",
            Shape {
                devices: vec!["entropy".to_owned()],
                ..state().shape
            },
        ),
    ] {
        let path = folder.path().join(name);
        let lacking = MachineState {
            shape: shape.clone(),
            runs: Vec::new(),
            ..state()
        };
        write(&path, &lacking, &machine()).unwrap();
        let error = read(&[path], &shape, &machine()).unwrap_err();
        assert!(
            matches!(
                error,
                RestoreError::Parts {
                    vcpus: 0,
                    devices: 0,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn memory_that_is_cut_or_longer_than_the_state_says_is_refused_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    for length in [0, 2 * PAGE - 1, 2 * PAGE + 1] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(full.join(MEMORY))
            .unwrap();
        file.set_len(length).unwrap();
        let error = read(std::slice::from_ref(&full), &state().shape, &machine()).unwrap_err();
        assert!(
            matches!(error, RestoreError::MemorySize { found, expected: 8192, .. } if found == length),
            "{error}"
        );
    }
}

#[test]
fn memory_in_which_a_bit_is_another_is_refused_whichever_link_of_the_chain_it_is_of() {
    for link in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(folder.path());
        let path = chain[link].join(MEMORY);
        let whole = fs::read(&path).unwrap();
        for at in [0, 1000, whole.len() - 1] {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            fs::write(&path, altered).unwrap();
            let error = read(&chain, &state().shape, &machine()).unwrap_err();
            assert!(
                matches!(&error, RestoreError::Altered { path: said } if *said == path),
                "{error}"
            );
            assert!(error.to_string().contains("another copy"), "the remedy: {error}");
        }
        fs::write(&path, whole).unwrap();
        read(&chain, &state().shape, &machine()).unwrap();
    }
}

#[test]
fn memory_of_another_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    let other = folder.path().join("other");
    let memory = machine();
    poke(&memory, 1, 12);
    let runs = vec![Run {
        start: PAGE,
        pages: 2,
    }];
    write(&other, &MachineState { runs, ..state() }, &memory).unwrap();
    fs::copy(other.join(MEMORY), full.join(MEMORY)).unwrap();
    let error = read(&[full], &state().shape, &machine()).unwrap_err();
    assert!(matches!(error, RestoreError::Altered { .. }), "{error}");
}

#[test]
fn memory_of_a_version_before_there_were_sums_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    let path = full.join(STATE);
    let body = postcard::to_stdvec(&file::read(&path).unwrap().state).unwrap();
    let mut old = [file::head(&body), body].concat();
    old[8..12].copy_from_slice(&3_u32.to_le_bytes());
    fs::write(path, old).unwrap();
    let memory = machine();
    read(&[full], &state().shape, &memory).unwrap();
    assert_eq!(peek(&memory, 1), 11);
}

#[test]
fn pages_outside_the_memory_are_refused_before_any_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd");
    fs::create_dir(&path).unwrap();
    let outside = vec![Run {
        start: 64 << 20,
        pages: 1,
    }];
    let odd = MachineState {
        runs: outside.clone(),
        ..state()
    };
    file::write(&path.join(STATE), &odd, 0).unwrap();
    fs::write(path.join(MEMORY), [0; 4096]).unwrap();
    let cleared = folder.path().join("cleared");
    let odd = MachineState {
        runs: Vec::new(),
        zeroes: outside,
        ..state()
    };
    write(&cleared, &odd, &machine()).unwrap();
    for path in [path, cleared] {
        assert!(matches!(
            read(&[path], &state().shape, &machine()),
            Err(RestoreError::Pages { .. })
        ));
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_nothing_behind_and_none_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let [full, _] = chain(folder.path());
    assert!(matches!(
        write(&full, &state(), &machine()),
        Err(SaveError::Part(PartError::File {
            operation: "create the folder",
            ..
        }))
    ));
    let outside = MachineState {
        runs: vec![Run {
            start: 1 << 40,
            pages: 1,
        }],
        ..state()
    };
    let path = folder.path().join("new");
    assert!(write(&path, &outside, &machine()).is_err());
    assert!(!path.exists());
}

#[test]
fn a_name_stays_in_its_folder() {
    let at = Path::new("/somewhere");
    assert_eq!(
        folder(Some(at), "before-update_2").unwrap(),
        at.join("before-update_2")
    );
    for name in ["", "..", "a/b", "a b", &"x".repeat(65)] {
        assert!(matches!(folder(Some(at), name), Err(SaveError::Name)), "{name:?}");
    }
    assert!(matches!(folder(None, "a"), Err(SaveError::NoDirectory)));
}
