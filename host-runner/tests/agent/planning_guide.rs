//! The manual `docs/PLANNING.md`: what it shows works as it stands.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;

use crate::support::PROGRAM;

fn guide() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PLANNING.md")).unwrap()
}

/// The commands that are shown with their output, each with the output's first line.
fn shown(guide: &str) -> Vec<(&str, &str)> {
    let blocks = guide.split("```console\n$ host-runner ").skip(1);
    blocks
        .map(|block| {
            let mut lines = block.lines();
            (lines.next().unwrap(), lines.next().unwrap())
        })
        .collect()
}

#[test]
fn the_commands_that_are_shown_answer_as_shown() {
    let guide = guide();
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    for entry in std::fs::read_dir(examples).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let commands = shown(&guide);
    assert!(commands.len() >= 8, "{commands:?}");
    for (command, first_line) in commands {
        let output = Command::new(PROGRAM)
            .args(command.split_whitespace())
            .current_dir(dir.path())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let stranded = first_line.contains("cannot be done");
        assert_eq!(
            output.status.code(),
            Some(if stranded { 3 } else { 0 }),
            "{command}: {told}"
        );
        // Figures may change with the planner; what it is about does not.
        let subject = first_line.split(':').next().unwrap();
        assert!(
            told.starts_with(subject),
            "{command} should begin with {subject:?}:\n{told}"
        );
    }
}

/// All long options of a command and what is below it.
fn options(command: &clap::Command, into: &mut BTreeSet<String>) {
    into.extend(
        command
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned)),
    );
    command.get_subcommands().for_each(|below| options(below, into));
}

#[test]
fn every_option_that_it_names_exists_and_every_question_is_in_it() {
    let guide = guide();
    let mut known = BTreeSet::new();
    let program = host_runner::cli::Cli::command();
    options(&program, &mut known);
    let named = guide.split("--").skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(rest.len());
        &rest[..end]
    });
    // Tables are drawn with dashes.
    let named: BTreeSet<&str> = named.filter(|name| !name.trim_matches('-').is_empty()).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(known.contains(name), "--{name} is no option");
    }
    let plan = program.find_subcommand("plan").unwrap();
    for question in plan.get_subcommands() {
        let shown = format!("$ host-runner plan {} ", question.get_name());
        assert!(guide.contains(&shown), "{shown} is not shown");
    }
}
