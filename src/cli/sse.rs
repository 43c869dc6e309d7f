//! Reading server-sent events from bytes as they come, whatever the pieces.
//! Source: WHATWG HTML, "Server-sent events", the event stream interpretation.

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The last id seen when the event ended; `None` before the first.
    pub id: Option<String>,
    pub data: String,
}

/// Bytes of one line, at most: an event is at most 1 MiB, and its framing small.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The line under way grew beyond every event.
#[derive(Debug, thiserror::Error)]
#[error("the node sent a line longer than an event can be")]
pub struct LineTooLong;

/// What has been read and is not an event yet.
#[derive(Default)]
pub struct SseReader {
    line: Vec<u8>,
    data: Option<String>,
    id: Option<String>,
}

impl SseReader {
    /// Takes the next bytes and returns the events they complete.
    ///
    /// # Errors
    ///
    /// A line has no end.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, LineTooLong> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(LineTooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                events.extend(self.take_line(line.trim_end_matches(['\r', '\n'])));
            }
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let data = self.data.take()?;
            return Some(SseEvent { id: self.id.clone(), data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // An event of several lines is printed as one: outside strings JSON's spaces are equal.
            "data" => match &mut self.data {
                Some(data) => {
                    data.push(' ');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, data: &str) -> SseEvent {
        SseEvent { id: Some(id.to_owned()), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = "retry: 1000\n\n: hello\nid: 7\nevent: x\ndata: {\"a\":1}\n\nid:8\r\ndata:{\"a\":\ndata: 2}\r\n\r\n";
        let expected = vec![event("7", "{\"a\":1}"), event("8", "{\"a\": 2}")];
        for size in 1..text.len() {
            let mut reader = SseReader::default();
            let parts = text.as_bytes().chunks(size);
            let events: Vec<SseEvent> = parts.flat_map(|part| reader.feed(part).unwrap()).collect();
            assert_eq!(events, expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn an_event_cut_off_is_not_given_out() {
        let mut reader = SseReader::default();
        assert_eq!(reader.feed(b"id: 1\ndata: {}\n").unwrap(), vec![]);
        assert_eq!(reader.feed(b"\n").unwrap(), vec![event("1", "{}")]);
    }
}
