//! The table that a run prints, line by line as figures become known.

/// Prints the heading.
pub(crate) fn heading() {
    println!("{:<46} {:>10} {:>10}  {:<28} bar", "what", "floor", "netloom", "");
}

/// A line of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: String,
    /// What it is compared with.
    pub(crate) floor: String,
    /// The figure.
    pub(crate) figure: String,
    /// What else there is to say.
    pub(crate) more: String,
    /// What it has to be, and whether it is.
    pub(crate) bar: Option<(String, bool)>,
}

/// Prints lines, each of them; whether all bars hold.
pub(crate) fn print_all(lines: impl IntoIterator<Item = Line>) -> bool {
    lines.into_iter().filter(|line| !line.print()).count() == 0
}

impl Line {
    /// Prints it; whether its bar holds.
    pub(crate) fn print(&self) -> bool {
        let bar = self
            .bar
            .as_ref()
            .map_or(String::new(), |(bar, holds)| format!("{bar}  {}", if *holds { "holds" } else { "MISSED" }));
        let line = format!("{:<46} {:>10} {:>10}  {:<28} {bar}", self.what, self.floor, self.figure, self.more);
        println!("{}", line.trim_end());
        self.bar.as_ref().is_none_or(|(_, holds)| *holds)
    }
}
