//! An archive that passes through as it is.

use std::io::{self, Read, Write, copy, sink};

use tar::Archive;

use crate::failure::{Exit, Failure, Result, plain};

/// Writes an archive out, unchanged. One that ends before its end mark is an error, as it is where files are made of it.
pub(super) fn pass(from: impl Read, to: impl Write) -> Result {
    let mut through = Through { from, to, ended: false, unwritten: None };
    let read = walk(&mut through).and_then(|()| {
        let ended = through.ended;
        copy(&mut through, &mut sink())?;
        Ok(ended)
    });
    let flushed = through.to.flush();
    match (through.unwritten, read, flushed) {
        (Some(error), ..) | (None, Ok(_), Err(error)) => Err(match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::said(Exit::Failed),
            _ => Failure::failed(format_args!("cannot write the archive: {}", plain(&error))),
        }),
        (None, Ok(false), Ok(())) => Ok(()),
        (None, Err(error), _) if !through.ended => Err(Failure::failed(format_args!("the archive: {}", plain(&error)))),
        _ => Err(Failure::failed("the archive ends too early")),
    }
}

/// Up to the end mark; names that need more than a header are entries like any other.
fn walk(through: &mut impl Read) -> io::Result<()> {
    for entry in Archive::new(through).entries()?.raw(true) {
        entry?;
    }
    Ok(())
}

/// Writes what is read from it.
struct Through<R, W> {
    from: R,
    to: W,
    /// It was read to its end.
    ended: bool,
    unwritten: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Through<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        if let Err(error) = self.to.write_all(&buffer[..count]) {
            let told = io::Error::from(error.kind());
            self.unwritten = Some(error);
            return Err(told);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2000);
        header.set_mode(0o644);
        builder.append_data(&mut header, "n".repeat(200), [0; 2000].as_slice()).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_passes_unchanged_and_only_with_its_end_mark() {
        let archive = archive();
        let mut out = Vec::new();
        assert_eq!(pass(archive.as_slice(), &mut out), Ok(()));
        assert_eq!(out, archive);
        // Inside a header, inside the file of zeros, before the end mark.
        for cut in [0, 100, archive.len() - 1024 - 700, archive.len() - 1024] {
            let failure = pass(&archive[..cut], Vec::new()).unwrap_err();
            assert_eq!(failure.text.as_deref(), Some("the archive ends too early"), "{cut}");
        }
    }

    /// Takes everything, as a buffer does, and then cannot write it.
    struct Full;

    impl Write for Full {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn what_cannot_be_written_at_the_end_is_said() {
        let failure = pass(archive().as_slice(), Full).unwrap_err();
        assert_eq!(failure.text.as_deref(), Some("cannot write the archive: no storage space"));
    }
}
