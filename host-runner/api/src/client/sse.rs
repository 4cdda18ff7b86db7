//! Server-sent events, as a stream of bytes. Source: WHATWG HTML, 9.2.6 "Interpreting an event stream".

/// The most that one event may hold, in bytes.
pub(super) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawEvent {
    /// The last `id` seen up to here; empty where there was none.
    pub id: String,
    pub data: String,
}

/// A line or an event exceeds [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Reads events from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    id: String,
    data: Option<String>,
}

impl Parser {
    /// Takes the next piece and gives the events that are complete with it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<RawEvent>, TooLarge> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (text, ended) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + text.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(text);
            let Some(&last) = ended.first() else {
                break;
            };
            self.after_cr = last == b'\r';
            rest = &ended[1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&String::from_utf8_lossy(&line))?);
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &str) -> Result<Option<RawEvent>, TooLarge> {
        if line.is_empty() {
            let id = self.id.clone();
            return Ok(self.data.take().map(|data| RawEvent { id, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let held = self.data.as_ref().map_or(0, String::len);
                if held + value.len() >= EVENT_BYTES_MAX {
                    return Err(TooLarge);
                }
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                }
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, `event`, `retry`, or a field of the future.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: &str, data: &str) -> RawEvent {
        RawEvent {
            id: id.into(),
            data: data.into(),
        }
    }

    #[test]
    fn events_end_at_an_empty_line_and_comments_are_passed_over() {
        let mut parser = Parser::default();
        let events =
            parser.push(b": hello\nid: 7-1\nevent: x\ndata: a\ndata:b\n\ndata\n\nid: 7-2\n\ndata: c");
        assert_eq!(events, Ok(vec![event("7-1", "a\nb"), event("7-1", "")]));
        assert_eq!(parser.push(b"\n\n"), Ok(vec![event("7-2", "c")]));
    }

    #[test]
    fn all_three_line_ends_are_line_ends() {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in [&b"id:1\r"[..], b"\ndata:a\r\rdata:b\n", b"\r\n"] {
            events.extend(parser.push(piece).expect("small"));
        }
        assert_eq!(events, [event("1", "a"), event("1", "b")]);
    }

    #[test]
    fn a_line_or_an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        assert_eq!(parser.push(&piece), Ok(vec![]));
        assert_eq!(parser.push(&piece), Err(TooLarge));

        let mut parser = Parser::default();
        let line = [b"data:".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let refused = (0..=EVENT_BYTES_MAX / 1000).find_map(|_| parser.push(&line).err());
        assert_eq!(refused, Some(TooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let mut parser = Parser::default();
            for piece in pieces {
                let _ = parser.push(&piece);
            }
        }

        #[test]
        fn how_the_stream_is_cut_does_not_matter(
            text in "(id: ?[0-9]{1,3}|data: ?[a-z:]{0,6}|:[a-z]{0,4}|)(\r\n|\n|\r)", repeats in 1_usize..8, cut in 1_usize..7,
        ) {
            let text = text.repeat(repeats);
            let whole = Parser::default().push(text.as_bytes());
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                events.extend(parser.push(piece).expect("small"));
            }
            prop_assert_eq!(whole, Ok(events));
        }
    }
}
