//! Results go to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::{Exit, Failure, Result, plain};

/// Writes a result. A reader that has gone (`| head`) ends the command quietly.
pub(crate) fn result(text: &str) -> Result {
    bytes(&mut io::stdout().lock(), text.as_bytes())
}

/// Writes a value as JSON, made for people to look at too.
pub(crate) fn json(value: &impl Serialize) -> Result {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    result(&(text + "\n"))
}

/// Writes a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    result(&(text + "\n"))
}

/// Writes bytes at once and in full.
pub(crate) fn bytes(to: &mut impl Write, bytes: &[u8]) -> Result {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::said(Exit::Failed),
        _ => Failure::failed(format_args!("cannot write the output: {}", plain(&error))),
    })
}

/// Says something on standard error; if nobody can hear it, nothing can be done about that.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// Whether standard error shows colours: it is a terminal and `NO_COLOR` (no-color.org) is not set.
pub(crate) fn coloured() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !plain && !dumb && io::stderr().is_terminal()
}
