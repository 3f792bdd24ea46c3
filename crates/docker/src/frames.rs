//! Output of processes: the two streams that the daemon puts into one, or the one of a terminal.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use tokio::net::unix::OwnedReadHalf;

use crate::error::{Error, ErrorKind, Result};
use crate::reply::Reply;

/// What is read at once of a connection.
const PIECE: usize = 16 * 1024;

/// A piece of a process's output. Pieces end anywhere, not at lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Of standard output, or of the terminal.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// How the output of a process is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it is: the output of a terminal.
    Raw,
    /// Each piece behind its stream and its length.
    Framed,
}

/// The output of a process.
///
/// It holds back no more than it was asked for: a reader that is slow makes the process wait.
#[derive(Debug)]
pub struct Frames {
    source: Source,
    operation: &'static str,
    object: String,
    state: State,
}

/// Where in the stream the next byte is.
#[derive(Debug)]
enum State {
    Raw,
    /// So much of a header has come.
    Header([u8; 8], usize),
    /// So much of a frame of this stream is to come.
    Inside(u8, usize),
    Ended,
}

/// Where bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The body of an answer.
    Reply(Box<Reply>),
    /// A bare connection, and what was read of it already.
    Raw(Bytes, OwnedReadHalf),
}

impl Frames {
    pub(crate) fn new(source: Source, framing: Framing, operation: &'static str, object: &str) -> Self {
        let state = match framing {
            Framing::Raw => State::Raw,
            Framing::Framed => State::Header([0; 8], 0),
        };
        Self { source, operation, object: object.to_owned(), state }
    }

    /// The next piece; `None` when the process has closed its output, and after an error. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Frame>> {
        poll_fn(|context| self.poll_frame(context)).await
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame>>> {
        loop {
            if matches!(self.state, State::Ended) {
                return Poll::Ready(None);
            }
            let next = match ready!(self.source.poll_piece(context)) {
                Some(Ok(mut piece)) => match self.state.take(&mut piece) {
                    Ok(frame) => {
                        self.source.give_back(piece);
                        match frame {
                            Some(frame) => return Poll::Ready(Some(Ok(frame))),
                            None => continue,
                        }
                    }
                    Err(kind) => Some(kind),
                },
                Some(Err(kind)) => Some(kind),
                None if matches!(self.state, State::Raw | State::Header(_, 0)) => None,
                None => Some(ErrorKind::Cut("it ended in the middle of a frame".into())),
            };
            self.state = State::Ended;
            let error = |kind| Err(Error { operation: self.operation, object: self.object.clone(), kind });
            return Poll::Ready(next.map(error));
        }
    }
}

impl Stream for Frames {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_frame(context)
    }
}

impl State {
    /// Takes the next frame, or the part of it that is there, from a piece.
    fn take(&mut self, piece: &mut Bytes) -> std::result::Result<Option<Frame>, ErrorKind> {
        match self {
            Self::Raw => Ok(Some(Frame::Stdout(std::mem::take(piece)))),
            Self::Header(header, have) => {
                let more = piece.len().min(header.len() - *have);
                piece.copy_to_slice(&mut header[*have..*have + more]);
                *have += more;
                if *have == header.len() {
                    *self = Self::after(*header)?;
                }
                Ok(None)
            }
            Self::Inside(stream, left) => {
                let bytes = piece.split_to(piece.len().min(*left));
                *left -= bytes.len();
                let stream = *stream;
                if *left == 0 {
                    *self = Self::Header([0; 8], 0);
                }
                frame(stream, bytes).map(Some)
            }
            Self::Ended => Ok(None),
        }
    }

    /// What a header says: the stream, three zeros, and the length.
    fn after(header: [u8; 8]) -> std::result::Result<Self, ErrorKind> {
        let [stream @ 0..=3, 0, 0, 0, a, b, c, d] = header else {
            return Err(ErrorKind::Protocol(format!("{header:?} is no header of a frame")));
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        Ok(if length == 0 { Self::Header([0; 8], 0) } else { Self::Inside(stream, length) })
    }
}

fn frame(stream: u8, bytes: Bytes) -> std::result::Result<Frame, ErrorKind> {
    match stream {
        2 => Ok(Frame::Stderr(bytes)),
        // The daemon's own words about what went wrong while it copied.
        3 => Err(ErrorKind::Daemon { status: 200, message: String::from_utf8_lossy(&bytes).trim().to_owned() }),
        _ => Ok(Frame::Stdout(bytes)),
    }
}

impl Source {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<std::result::Result<Bytes, ErrorKind>>> {
        match self {
            Self::Raw(read, _) if !read.is_empty() => Poll::Ready(Some(Ok(std::mem::take(read)))),
            Self::Raw(_, half) => poll_read(half, context),
            Self::Reply(reply) => reply.poll_piece(context),
        }
    }

    /// Takes back what was not needed of a piece.
    fn give_back(&mut self, piece: Bytes) {
        match self {
            Self::Raw(read, _) => *read = piece,
            Self::Reply(reply) => reply.give_back(piece),
        }
    }
}

fn poll_read(half: &OwnedReadHalf, context: &mut Context<'_>) -> Poll<Option<std::result::Result<Bytes, ErrorKind>>> {
    loop {
        let ready = ready!(half.as_ref().poll_read_ready(context));
        let mut piece = BytesMut::with_capacity(PIECE);
        return Poll::Ready(match ready.and_then(|()| half.try_read_buf(&mut piece)) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.freeze())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => Some(Err(ErrorKind::Cut(error.to_string()))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(state: &mut State, bytes: &'static [u8]) -> Vec<Frame> {
        let mut piece = Bytes::from_static(bytes);
        let mut all = Vec::new();
        while !piece.is_empty() {
            all.extend(state.take(&mut piece).unwrap());
        }
        all
    }

    #[test]
    fn headers_and_frames_may_be_split_anywhere() {
        let mut state = State::Header([0; 8], 0);
        assert_eq!(frames(&mut state, b"\x01\0\0"), []);
        assert_eq!(frames(&mut state, b"\0\0\0\0\x03ab"), [Frame::Stdout(Bytes::from_static(b"ab"))]);
        let rest = frames(&mut state, b"c\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01!");
        assert_eq!(rest, [Frame::Stdout(Bytes::from_static(b"c")), Frame::Stderr(Bytes::from_static(b"!"))]);
        assert!(matches!(state, State::Header(_, 0)));
    }

    #[test]
    fn the_daemons_own_words_are_an_error() {
        let mut state = State::Inside(3, 8);
        let error = state.take(&mut Bytes::from_static(b"no disk\n")).unwrap_err();
        assert!(matches!(error, ErrorKind::Daemon { message, .. } if message == "no disk"));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let mut state = State::Header([0; 8], 0);
        assert!(matches!(state.take(&mut Bytes::from_static(b"/ # echo")), Err(ErrorKind::Protocol(_))));
    }
}
