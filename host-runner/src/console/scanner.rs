//! How far a guest has come, read off its serial console. Pure.
//!
//! The bytes are the guest's: anything may come, in any pieces. The scanner keeps the end of one line and no more.

use api::Progress;

/// The most of a line that is kept, in bytes. A login prompt is shorter.
const LINE_BYTES_MAX: usize = 256;
/// What a login prompt ends with.
const PROMPT: &[u8] = b"login:";

/// Reads console bytes as they come.
#[derive(Debug, Clone)]
pub struct ConsoleScanner {
    progress: Progress,
    line: Vec<u8>,
}

impl ConsoleScanner {
    /// A scanner for a guest that has come as far as `progress`.
    pub fn new(progress: Progress) -> Self {
        Self {
            progress,
            line: Vec::with_capacity(LINE_BYTES_MAX),
        }
    }

    /// How far the guest has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Takes the next bytes; returns the progress when they changed it. Progress never goes back.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Progress> {
        let before = self.progress;
        if self.progress == Progress::Ready {
            return None;
        }
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.line.clear(),
                byte if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => {}
            }
            self.progress = self.progress.max(Progress::Booting);
            if self.line.ends_with(PROMPT) {
                self.progress = Progress::Ready;
                break;
            }
        }
        (self.progress != before).then_some(self.progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_silent_guest_is_only_powered_on() {
        let mut scanner = ConsoleScanner::new(Progress::PoweredOn);
        assert_eq!(scanner.feed(b""), None);
        assert_eq!(scanner.progress(), Progress::PoweredOn);
    }

    #[test]
    fn the_first_output_is_the_boot_and_a_prompt_its_end() {
        let mut scanner = ConsoleScanner::new(Progress::PoweredOn);
        assert_eq!(
            scanner.feed(b"[    0.000000] Linux version"),
            Some(Progress::Booting)
        );
        assert_eq!(scanner.feed(b" 6.1\r\nstarting logind: ok\r\n"), None);
        assert_eq!(scanner.feed(b"tiny-1 login: "), Some(Progress::Ready));
        assert_eq!(scanner.feed(b"root\r\n"), None);
    }

    #[test]
    fn a_line_without_an_end_is_forgotten_beyond_its_limit() {
        let mut scanner = ConsoleScanner::new(Progress::PoweredOn);
        scanner.feed(&vec![b'x'; 1 << 20]);
        assert_eq!(scanner.line.len(), LINE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_bytes_come_do_not_matter(
            before in "[ -~\r\n]{0,80}", after in "[ -~\r\n]{0,80}", cuts in prop::collection::vec(0_usize..200, 0..8)
        ) {
            let text = format!("{before}\nhost login: {after}").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut scanner = ConsoleScanner::new(Progress::PoweredOn);
            for pair in cuts.windows(2) {
                scanner.feed(&text[pair[0]..pair[1]]);
            }
            prop_assert_eq!(scanner.progress(), Progress::Ready);
        }

        #[test]
        fn progress_never_goes_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32)) {
            let mut scanner = ConsoleScanner::new(Progress::PoweredOn);
            let mut last = scanner.progress();
            for piece in pieces {
                scanner.feed(&piece);
                prop_assert!(scanner.progress() >= last);
                last = scanner.progress();
            }
        }
    }
}
