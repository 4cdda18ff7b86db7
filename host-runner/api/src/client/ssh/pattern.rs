//! OpenSSH's patterns: `*` for any run, `?` for any one character, `!` in front of a whole pattern to exclude. Source: `ssh_config(5)`,
//! "PATTERNS".

/// Whether one pattern, without its `!`, matches all of `text`; letters' case does not matter.
///
/// Linear in the product of the lengths, whatever the pattern: after a mismatch only the last `*` can be stretched usefully.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().map(|c| c.to_ascii_lowercase()).collect();
    let text: Vec<char> = text.chars().map(|c| c.to_ascii_lowercase()).collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(&c) if c == '?' || c == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((star_pattern, star_text)) = star else {
                    return false;
                };
                star = Some((star_pattern, star_text + 1));
                at_pattern = star_pattern + 1;
                at_text = star_text + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|&c| c == '*')
}

/// Whether a list of patterns selects `text`: some pattern matches it, and no excluding one does.
pub(super) fn selects<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let mut selected = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(excluded) if matches(excluded, text) => return false,
            Some(_) => {}
            None => selected |= matches(pattern, text),
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_openssh() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "atlas"),
            ("atlas", "ATLAS"),
            ("192.168.0.?", "192.168.0.7"),
            ("*.example.com", "a.b.example.com"),
            ("a*b*c", "aXbXbc"),
        ] {
            assert!(matches(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("*.example.com", "example.com"),
            ("a*b", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn an_excluding_pattern_wins_wherever_it_stands() {
        assert!(selects(["*.lan", "!gate.lan"], "atlas.lan"));
        assert!(!selects(["*.lan", "!gate.lan"], "gate.lan"));
        assert!(!selects(["!gate.lan", "*.lan"], "gate.lan"));
        assert!(
            !selects(["!gate.lan"], "atlas.lan"),
            "exclusion alone selects nothing"
        );
    }

    proptest! {
        #[test]
        fn every_text_matches_itself_and_the_star(text in "[a-zA-Z0-9.:-]{0,40}") {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
        }

        #[test]
        fn stars_cannot_make_it_slow(stars in 0_usize..60, text in "a{0,2000}") {
            let pattern = format!("{}b", "*a".repeat(stars));
            prop_assert!(!matches(&pattern, &text));
        }
    }
}
