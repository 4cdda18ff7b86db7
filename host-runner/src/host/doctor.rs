//! What `host-runner doctor` prints.

use std::fmt::Write as _;

use api::{Capability, CapabilityState};

/// The findings for people: one line each, aligned, with a symbol and a word for the state, and the remedy below.
pub fn render(capabilities: &[Capability]) -> String {
    let width = capabilities
        .iter()
        .map(|found| found.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for found in capabilities {
        let (symbol, word) = match found.state {
            CapabilityState::Ok => ('✓', "ok"),
            CapabilityState::Limited => ('!', "limited"),
            CapabilityState::Missing => ('✗', "missing"),
        };
        let name = found.name.replace('_', " ");
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{symbol} {word:<7}  {name:<width$}  {}", found.finding);
        if let Some(remedy) = &found.remedy {
            let _ = writeln!(text, "{:indent$}→ {remedy}", "", indent = width + 13);
        }
    }
    let _ = writeln!(text, "\n{}", summary(capabilities));
    text
}

fn summary(capabilities: &[Capability]) -> &'static str {
    let worst = |state| capabilities.iter().any(|found| found.state == state);
    if worst(CapabilityState::Missing) {
        "Instances cannot run here yet."
    } else if worst(CapabilityState::Limited) {
        "Instances run here, with the limits above."
    } else {
        "Instances run here."
    }
}

/// The findings as a JSON array of [`Capability`].
pub fn render_json(capabilities: &[Capability]) -> String {
    // Plain texts and a plain enum: there is nothing in them that JSON cannot hold.
    serde_json::to_string_pretty(capabilities).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Capability> {
        vec![
            Capability {
                name: "qemu".to_owned(),
                state: CapabilityState::Ok,
                finding: "QEMU 7.2".to_owned(),
                remedy: None,
            },
            Capability {
                name: "tiny_linux".to_owned(),
                state: CapabilityState::Limited,
                finding: "the image is not made yet".to_owned(),
                remedy: Some("make it".to_owned()),
            },
        ]
    }

    #[test]
    fn people_read_aligned_lines_with_symbols_and_words() {
        assert_eq!(
            render(&findings()),
            "✓ ok       qemu        QEMU 7.2\n\
             ! limited  tiny linux  the image is not made yet\n\
             \u{20}                      → make it\n\
             \n\
             Instances run here, with the limits above.\n"
        );
    }

    #[test]
    fn programs_read_the_same_as_json() {
        let read: Vec<Capability> = serde_json::from_str(&render_json(&findings())).unwrap();
        assert_eq!(read, findings());
    }
}
