//! What a node has shown before somebody opened its console: the last lines of its output, for a terminal.

/// So many lines.
pub const LINES: u16 = 50;
/// The longest line, in characters: what is longer is a picture or no text at all.
const LONGEST: usize = 1024;

/// The last [`LINES`] lines of an output; none if all are empty. What would move a cursor or switch a mode was for another
/// terminal, and is left out.
pub fn last_lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last: Vec<String> = lines[lines.len().saturating_sub(LINES.into())..].iter().map(|line| plain(line)).collect();
    if last.iter().all(String::is_empty) { Vec::new() } else { last }
}

/// The same in grey, for a terminal that takes every byte as it is; `None` if there are none.
pub fn grey(output: &[u8]) -> Option<String> {
    let lines = last_lines(output);
    (!lines.is_empty()).then(|| format!("\x1b[90m{}\x1b[0m\r\n", lines.join("\r\n")))
}

/// A line without control characters and sequences (ECMA-48) other than tabs.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.next() {
                // A control sequence, to its final character.
                Some('[') => drop(rest.find(|c| matches!(c, '@'..='~'))),
                // A command for the terminal, as the title of its window, to its terminator.
                Some(']') => drop(rest.find(|c| matches!(c, '\x07' | '\\'))),
                _ => {}
            },
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    if let Some((end, _)) = plain.char_indices().nth(LONGEST) {
        plain.truncate(end);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_without_what_was_for_another_terminal() {
        assert_eq!(grey(b""), None);
        assert_eq!(grey(b"\r\n\r\n"), None);
        let shown = grey(b"\x1b[2J\x1b]0;title\x07\x1b[1;31mred\x1b[0m\tX\x08\r\n\xffend\r\n").unwrap();
        assert_eq!(shown, "\x1b[90mred\tX\r\n\u{fffd}end\x1b[0m\r\n");
        let many = (0..60).map(|number| format!("line {number}")).collect::<Vec<_>>().join("\n");
        let shown = grey(many.as_bytes()).unwrap();
        assert!(shown.starts_with("\x1b[90mline 10\r\n") && shown.contains("line 59\x1b[0m"), "{shown:?}");
        assert!(grey(&[b'a'; 9000]).unwrap().len() < 1100);
    }
}
