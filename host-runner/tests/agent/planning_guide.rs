//! The manual `docs/PLANNING.md`: what it shows works as it stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;

use crate::support::PROGRAM;

/// How a block with a command and its output begins.
const OPENING: &str = "```console\n$ host-runner ";

fn guide_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PLANNING.md")
}

fn guide() -> String {
    std::fs::read_to_string(guide_path()).unwrap()
}

/// The commands that are shown, each with its whole output.
fn shown(guide: &str) -> Vec<(&str, &str)> {
    let blocks = guide.split(OPENING).skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0.split_once('\n').unwrap())
        .collect()
}

/// What a command says in a folder with the examples.
fn told(command: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    for entry in std::fs::read_dir(examples).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let output = Command::new(PROGRAM)
        .args(command.split_whitespace())
        .current_dir(dir.path())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Without what no two runs have in common: how long they took.
fn without_times(output: &str) -> String {
    let lines = output.lines().map(|line| match line.split_once(" in ") {
        // A plan's own length stands behind "in", too, and must be as shown.
        Some((did, took)) if did == "Ran" || did.starts_with("Found ") => {
            let rest = took.split_once(". ").map_or("", |(_, rest)| rest);
            format!("{did} in TIME {rest}")
        }
        _ => line.trim_end().to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_commands_that_are_shown_answer_as_shown() {
    let mut guide = guide();
    let update = std::env::var("UPDATE_GENERATED").is_ok_and(|value| value == "1");
    let commands: Vec<(String, String)> = shown(&guide)
        .into_iter()
        .map(|(command, output)| (command.to_owned(), output.to_owned()))
        .collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for (command, output) in commands {
        let (code, told) = told(&command);
        if without_times(&told) != without_times(&output) && update {
            let block = |output: &str| format!("{OPENING}{command}\n{output}```");
            guide = guide.replace(&block(&output), &block(&told));
            std::fs::write(guide_path(), &guide).unwrap();
            continue;
        }
        let stranded = output.contains("cannot be done");
        assert_eq!(code, Some(if stranded { 3 } else { 0 }), "{command}: {told}");
        assert_eq!(
            without_times(&told),
            without_times(&output),
            "docs/PLANNING.md has drifted from what {command} says; run with UPDATE_GENERATED=1"
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
