//! Templates of Jinja, and so of Ansible, in the place of topology files. They look like Go's and are others.

use std::ops::Range;

/// What is wrong where the first tag is.
pub(super) const MESSAGE: &str = "this is a tag of Jinja, and the templates of topology files are Go's";

/// What to do about it.
pub(super) const HELP: &str = "this looks like Jinja: render the file with that, or with Ansible, first; or write it with `{{ if .x }}`, \
    `{{ range .x }}`, `{{ end }}` and `{{ .x }}`; the data comes with `--vars FILE`";

/// Whether a line is a tag (`{% … %}`) or a comment (`{# … #}`) of Jinja: nothing that YAML could have there, unless it is
/// in the middle of a text.
pub(super) fn is_tag(line: &str) -> bool {
    ["{%", "{#"].iter().any(|open| line.trim_start().starts_with(open))
}

/// Where the first such line is in a text, without its indentation.
pub(super) fn first_tag(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if is_tag(line) {
            let begin = start + line.len() - line.trim_start().len();
            return Some(begin..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}
