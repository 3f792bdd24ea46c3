//! Server-sent events (WHATWG HTML, section 9.2): bytes in, events out.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its type; empty when none was said.
    pub(crate) name: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

/// Takes pieces of a stream as they come and gives the events that are complete.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Event,
    filled: bool,
}

impl Parser {
    /// The events that end in this piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches('\r'), &mut events);
        }
        events
    }

    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.filled) {
                events.push(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.filled {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.filled = true;
            }
            // Comments keep the connection alive; ids and retry times are not needed here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_stream_is_cut() {
        let text = b": hello\n\nevent: step\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\nevent: nothing\n\n";
        let expected = [
            Event { name: "step".into(), data: "{\"a\":\n1}".into() },
            Event { name: String::new(), data: "x".into() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> = text.chunks(size).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }
}
