//! Where one message ends and the next begins.
//!
//! The messages of a session stand one behind the other in a stream of bytes, each a JSON object, with nothing or white
//! space between them (RFC 7047, section 4). [`Scanner`] finds their ends without reading what is in them: it knows
//! strings, escapes and how deep it is, and looks at each byte once, however the bytes come in. It is not a parser: that
//! what stands between a brace and its end is JSON is for the reader of the message to see.

use bytes::{Buf, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// How deep arrays and objects may stand in one another. The parser behind it goes no deeper than 128.
const DEEPEST: u32 = 100;

/// How much room is made for what comes next, in bytes.
const PIECE: usize = 64 << 10;

/// Finds the messages in a stream of bytes. It never holds more than the limit and a piece of what was read behind it.
#[derive(Debug)]
pub struct Scanner {
    buffer: BytesMut,
    /// How much of the buffer has been looked at.
    seen: usize,
    depth: u32,
    text: Text,
    limit: usize,
}

/// Whether it is in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

/// A stream of bytes that is no stream of messages. Nothing behind it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A byte that begins no message stands where one has to begin.
    #[error("a message begins with `{}`", .0.escape_ascii())]
    Garbage(u8),
    /// A message is longer than the limit, in bytes.
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    /// Arrays and objects stand too deep in one another.
    #[error("a message is more than {DEEPEST} arrays and objects deep")]
    TooDeep,
}

impl Scanner {
    /// A scanner for messages of so many bytes at most.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), seen: 0, depth: 0, text: Text::Outside, limit }
    }

    /// Where the bytes that come next have to be put, at its end. Take all messages out before more is put in, else it
    /// grows beyond its limit.
    pub fn space(&mut self) -> &mut BytesMut {
        self.buffer.reserve(PIECE);
        &mut self.buffer
    }

    /// Whether a message has begun and not ended.
    pub fn is_amid(&self) -> bool {
        self.depth > 0
    }

    /// How many bytes of a message that has not ended are there.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message; `None` where more bytes are needed.
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.depth == 0 {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
        }
        while let Some(&byte) = self.buffer.get(self.seen) {
            if self.depth == 0 && byte != b'{' {
                return Err(FrameError::Garbage(byte));
            }
            self.seen += 1;
            if self.seen > self.limit {
                return Err(FrameError::TooLong(self.limit));
            }
            self.step(byte)?;
            if self.depth == 0 {
                let message = self.buffer.split_to(self.seen).freeze();
                self.seen = 0;
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<(), FrameError> {
        match (self.text, byte) {
            (Text::Escaped, _) | (Text::Outside, b'"') => self.text = Text::Inside,
            (Text::Inside, b'\\') => self.text = Text::Escaped,
            (Text::Inside, b'"') => self.text = Text::Outside,
            (Text::Outside, b'{' | b'[') => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(FrameError::TooDeep);
                }
            }
            (Text::Outside, b'}' | b']') => self.depth -= 1,
            _ => {}
        }
        Ok(())
    }
}
