//! Figures in words, for a terminal.

use std::fmt::Write as _;

/// "1 move", "3 moves".
pub(super) fn counted(count: usize, one: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {one}s")
    }
}

/// A share as a percentage: "31 %", "0.4 %".
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() >= 9.95 || percent.abs() < 0.05 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A length of time, as coarse as it is long: "0.8 s", "42 s", "3 min 5 s", "2 h 10 min".
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "for ever".to_owned();
    }
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float's cast saturates, and it is not negative here"
    )]
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, 0, _) => format!("{rest} s"),
        (0, _, 0) => format!("{minutes} min"),
        (0, ..) => format!("{minutes} min {rest} s"),
        (_, 0, _) => format!("{hours} h"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// "a", "a and b", "a, b and 3 more".
pub(super) fn listed(words: &[String], most: usize) -> String {
    let mut text = String::new();
    let shown = words.len().min(most);
    for (number, word) in words.iter().take(shown).enumerate() {
        let last = number + 1 == words.len();
        text.push_str(match number {
            0 => "",
            _ if last => " and ",
            _ => ", ",
        });
        text.push_str(word);
    }
    if words.len() > shown {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {} more", words.len() - shown);
    }
    text
}

/// A text that comes from a file, fit for a terminal: what could move its cursor or change its colours is replaced.
pub(super) fn presentable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_a_person_would_say_them() {
        assert_eq!(
            (counted(1, "move"), counted(0, "move")),
            ("1 move".into(), "0 moves".into())
        );
        assert_eq!(
            [0.0, 0.004, 0.314, 1.2].map(percent),
            ["0 %", "0.4 %", "31 %", "120 %"]
        );
        assert_eq!(
            [0.25, 41.7, 185.0, 240.0, 7_800.0, 86_400.0, f64::INFINITY].map(duration),
            [
                "0.2 s",
                "42 s",
                "3 min 5 s",
                "4 min",
                "2 h 10 min",
                "24 h",
                "for ever"
            ]
        );
    }

    #[test]
    fn a_list_names_the_first_and_counts_the_rest() {
        let words = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(listed(&words[..1], 3), "a");
        assert_eq!(listed(&words[..3], 3), "a, b and c");
        assert_eq!(listed(&words, 2), "a, b and 2 more");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(presentable("a\u{1b}[31mb\r\nc"), "a\u{fffd}[31mb\u{fffd}\nc");
    }
}
