//! Inputs that are like those of a corpus, but for a few changes.

/// The largest input that is made, in bytes.
const LARGEST: usize = 512 << 10;

/// Pieces that mean something in a topology file, or in what a database server says.
const PIECES: [&str; 56] = [
    "\t",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: *a",
    "<<: ",
    "~",
    "null",
    "\n",
    "\r\n",
    "\r",
    "\n  ",
    "\n---\n",
    "\n...\n",
    "é",
    "\u{feff}",
    "\u{1f600}",
    "\0",
    "!!x ",
    "!!binary ",
    "|\n",
    ">-\n",
    "? ",
    "%YAML 1.1\n",
    "#",
    "$X",
    "${X:-y}",
    "$$",
    "{{ .x }}",
    "{{",
    "}}",
    "-1",
    "0x10",
    "1e999",
    "[[[[[[[[",
    "a:eth1",
    "host:x",
    "kind: ",
    "type: ",
    "endpoints: ",
    "99999999999999999999",
    "\\",
    ",",
    "[\"set\",[",
    "[\"map\",[[\"a\",\"b\"]]]",
    "[\"uuid\",\"550e8400-e29b-41d4-a716-446655440000\"]",
    "{\"modify\":{\"tag\":7}}",
    "{\"delete\":null}",
    "\"insert\":{",
];

/// Makes inputs; equal seeds make equal ones.
pub(crate) struct Mutator<'c> {
    corpus: &'c [Vec<u8>],
    state: u64,
}

impl<'c> Mutator<'c> {
    pub(crate) fn new(corpus: &'c [Vec<u8>], seed: u64) -> Self {
        Self { corpus, state: seed | 1 }
    }

    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut input = self.pick(self.corpus).cloned().unwrap_or_default();
        for _ in 0..=self.below(5) {
            self.change(&mut input);
            input.truncate(LARGEST);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.part(input);
        match self.below(8) {
            0 => drop(input.drain(from..to)),
            1 => {
                let piece = self.pick(&PIECES).copied().unwrap_or_default();
                input.splice(from..from, piece.bytes());
            }
            2 => {
                let piece = self.pick(&PIECES).copied().unwrap_or_default();
                input.splice(from..to, piece.bytes());
            }
            // Again, up to 1,000 times.
            3 => {
                let part = input[from..to].to_vec();
                let times = 1 << self.below(10);
                input.splice(to..to, part.repeat(times.min(LARGEST / part.len().max(1))));
            }
            // To another place.
            4 => {
                let part: Vec<u8> = input.drain(from..to).collect();
                let at = self.below(input.len() + 1);
                input.splice(at..at, part);
            }
            // A part of another file.
            5 => {
                let other = self.pick(self.corpus).cloned().unwrap_or_default();
                let (begin, end) = self.part(&other);
                input.splice(from..to, other[begin..end].iter().copied());
            }
            6 => {
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= 1 << self.below(8);
                }
            }
            _ => {
                if let Some(line) = input[from..].iter().position(|byte| *byte == b'\n') {
                    let spaces = self.below(5);
                    let next = from + line + 1;
                    input.splice(next..next, vec![b' '; spaces]);
                }
            }
        }
    }

    /// A part of some text: short ones are likelier, and some begin and end with lines.
    fn part(&mut self, text: &[u8]) -> (usize, usize) {
        let from = self.below(text.len() + 1);
        let longest = 1 << self.below(8);
        let to = (from + self.below(longest) + 1).min(text.len()).max(from);
        if self.below(3) > 0 {
            return (from, to);
        }
        let line = |at: usize| text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        let end = text[to..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |after| to + after + 1);
        (line(from), end)
    }

    fn pick<'p, T>(&mut self, from: &'p [T]) -> Option<&'p T> {
        let index = self.below(from.len());
        from.get(index)
    }

    /// A number below this one, or 0. Marsaglia, "Xorshift RNGs" (2003).
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 11).unwrap_or_default().checked_rem(limit).unwrap_or_default()
    }
}
