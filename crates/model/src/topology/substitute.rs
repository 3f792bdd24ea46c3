//! Environment variables in the text: `$NAME`, `${NAME}` and `${NAME:-default}` with its relatives.
//!
//! Works on the raw text, comments included, before it is YAML. What is no variable stays as it is: a name begins with
//! a letter or `_`, so `$1` does. `$$` is one `$`.

use std::ops::Range;

use super::origin::{Kind, Piece};
use super::{Host, MAX_BYTES};

/// How deep defaults may be nested: `${A:-${B:-c}}` is 2.
const MAX_DEPTH: usize = 20;

/// Variables that one file has at most: a lab of 10,000 nodes with ten each has 100,000.
const MAX_VARIABLES: usize = 500_000;

/// Variables that are not set that are told.
const MAX_UNSET: usize = 1_000;

/// A text with its variables replaced.
#[derive(Debug, Default)]
pub(super) struct Substituted {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    /// Variables in braces that are not set and have no default, and forms that are none.
    pub(super) unset: Vec<Unset>,
}

/// A place that stays as it is though something else may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unset {
    pub(super) range: Range<usize>,
    /// The variable; nothing if it is no form of a substitution.
    pub(super) name: Option<String>,
}

/// Why a text cannot be substituted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// Replaces the variables of a text. Nothing if there is nothing to replace.
pub(super) fn substitute(text: &str, host: &dyn Host) -> Result<Option<Substituted>, Refused> {
    let Some(first) = text.find('$') else { return Ok(None) };
    let mut out = Substituted::default();
    let (mut copied, mut at, mut comments) = (0, first, Comments::default());
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        let in_comment = comments.reach(text, dollar);
        let form = match form(text, dollar) {
            // What is no variable in a comment does no harm.
            Err(refused) if in_comment => Form::None(refused.range.end),
            form => form?,
        };
        let made = match form {
            Form::None(end) => {
                at = end;
                continue;
            }
            Form::Unknown(range) => {
                at = range.end;
                if !in_comment && out.unset.len() < MAX_UNSET {
                    out.unset.push(Unset { range, name: None });
                }
                continue;
            }
            Form::Escape => (dollar + 2, "$".to_owned()),
            Form::Plain(end) => {
                let Some(value) = host.variable(&text[dollar + 1..end]) else {
                    at = end;
                    continue;
                };
                (end, value)
            }
            Form::Braces(braces) => {
                let set = host.variable(braces.name).is_some();
                if !set && braces.operator.is_empty() && !in_comment && out.unset.len() < MAX_UNSET {
                    out.unset.push(Unset { range: dollar..braces.end, name: Some(braces.name.to_owned()) });
                }
                (braces.end, braces.value(host, MAX_DEPTH).map_err(|message| too_deep(dollar..braces.end, message))?)
            }
        };
        let (end, value) = made;
        out.push(&text[copied..dollar], copied..dollar, Kind::Copied)?;
        out.push(&value, dollar..end, Kind::Made)?;
        (copied, at) = (end, end);
    }
    if copied == 0 && out.unset.is_empty() {
        return Ok(None);
    }
    out.push(&text[copied..], copied..text.len(), Kind::Copied)?;
    Ok(Some(out))
}

fn too_deep(range: Range<usize>, message: &str) -> Refused {
    Refused { range, message: message.to_owned(), help: "" }
}

impl Substituted {
    fn push(&mut self, text: &str, from: Range<usize>, kind: Kind) -> Result<(), Refused> {
        if self.text.len() + text.len() > MAX_BYTES {
            let message = format!("with its variables replaced the file has more than {MAX_BYTES} bytes");
            return Err(Refused { range: from, message, help: "" });
        }
        if self.pieces.len() > 2 * MAX_VARIABLES {
            let message = format!("the file has more than {MAX_VARIABLES} variables");
            return Err(Refused { range: from, message, help: "" });
        }
        if !text.is_empty() {
            self.pieces.push(Piece { start: self.text.len(), len: text.len(), file: 0, from, kind });
            self.text.push_str(text);
        }
        Ok(())
    }
}

/// What stands at a `$`.
enum Form<'t> {
    /// No variable; it goes on behind.
    None(usize),
    /// Braces with something in them that is no form of a substitution.
    Unknown(Range<usize>),
    Escape,
    /// `$NAME`, up to here.
    Plain(usize),
    Braces(Braces<'t>),
}

/// `${NAME…}`.
struct Braces<'t> {
    name: &'t str,
    /// `:-`, `-`, `:=`, `=`, `:+`, `+`, or empty.
    operator: &'t str,
    default: &'t str,
    /// Behind the closing brace.
    end: usize,
}

fn name_len(text: &str) -> usize {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    // `$_` alone is a parameter of shells.
    if begins && &text[..end] != "_" { end } else { 0 }
}

fn form(text: &str, dollar: usize) -> Result<Form<'_>, Refused> {
    let rest = &text[dollar + 1..];
    if rest.starts_with('$') {
        return Ok(Form::Escape);
    }
    let Some(inner) = rest.strip_prefix('{') else {
        let len = name_len(rest);
        return Ok(if len == 0 { Form::None(dollar + 1) } else { Form::Plain(dollar + 1 + len) });
    };
    let len = name_len(inner);
    if len == 0 {
        return Ok(Form::None(dollar + 2));
    }
    let Some(close) = closing(inner) else {
        let line = inner.lines().next().unwrap_or_default();
        let range = dollar..dollar + 2 + line.len();
        let message = "this `${` is not closed on its line".to_owned();
        return Err(Refused { range, message, help: "write `}` behind it, or `$${` if no variable is meant" });
    };
    let end = dollar + 2 + close + 1;
    let (name, behind) = (&inner[..len], &inner[len..close]);
    let operators = [":-", ":=", ":+", "-", "=", "+"];
    let operator = operators.into_iter().find(|operator| behind.starts_with(operator));
    match operator {
        Some(operator) => Ok(Form::Braces(Braces { name, operator, default: &behind[operator.len()..], end })),
        None if behind.is_empty() => Ok(Form::Braces(Braces { name, operator: "", default: "", end })),
        None => Ok(Form::Unknown(dollar..end)),
    }
}

/// The brace that closes, on the same line, what is open before a text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => return None,
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

impl Braces<'_> {
    fn value(&self, host: &dyn Host, depth: usize) -> Result<String, &'static str> {
        let value = host.variable(self.name);
        let empty = value.as_ref().is_none_or(String::is_empty);
        match (self.operator, value) {
            (":-" | ":=", Some(value)) if !empty => Ok(value),
            ("-" | "=" | "", Some(value)) => Ok(value),
            ("+" | ":+", Some(_)) | ("-" | "=" | ":-" | ":=", _) => expand(self.default, host, depth),
            ("+" | ":+", None) => Ok(String::new()),
            (_, _) => Ok(format!("${}", self.name)),
        }
    }
}

/// A default, which may have variables itself.
fn expand(text: &str, host: &dyn Host, depth: usize) -> Result<String, &'static str> {
    if depth == 0 {
        return Err("the defaults of this variable are nested too deep");
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let end = match form(rest, dollar).map_err(|_| "a `${` within this default is not closed")? {
            Form::None(end) => {
                out.push_str(&rest[dollar..end]);
                end
            }
            Form::Unknown(range) => {
                out.push_str(&rest[range.clone()]);
                range.end
            }
            Form::Escape => {
                out.push('$');
                dollar + 2
            }
            Form::Plain(end) => {
                let name = &rest[dollar + 1..end];
                out.push_str(&host.variable(name).unwrap_or_else(|| format!("${name}")));
                end
            }
            Form::Braces(braces) => {
                out.push_str(&braces.value(host, depth - 1)?);
                braces.end
            }
        };
        if out.len() > MAX_BYTES {
            return Err("the value of this variable is too large");
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    Ok(out)
}

/// A variable in a message about a value: what is left of one that is not set.
pub(super) fn left_over(message: &str) -> Option<&str> {
    let at = message.find('$')? + 1;
    let len = name_len(&message[at..]);
    (len > 0).then(|| &message[at..at + len])
}

/// Where comments are, as far as one can tell before the text is YAML. Goes through the text once.
#[derive(Default)]
struct Comments {
    reached: usize,
    inside: bool,
}

impl Comments {
    /// Whether an offset, which is not before the last one, is in a comment.
    fn reach(&mut self, text: &str, offset: usize) -> bool {
        let bytes = text.as_bytes();
        for at in self.reached..offset {
            match bytes[at] {
                b'\n' => self.inside = false,
                b'#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => self.inside = true,
                _ => {}
            }
        }
        self.reached = self.reached.max(offset);
        self.inside
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    struct Environment;

    impl Host for Environment {
        fn exists(&self, _: &Path) -> bool {
            false
        }

        fn home(&self) -> Option<PathBuf> {
            None
        }

        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "BAR" => Some("bar".to_owned()),
                "EMPTY" => Some(String::new()),
                "DOLLAR" => Some("$BAR".to_owned()),
                _ => None,
            }
        }
    }

    fn made(text: &str) -> String {
        substitute(text, &Environment).unwrap().map_or_else(|| text.to_owned(), |made| made.text)
    }

    #[test]
    fn variables_are_replaced_as_the_format_says() {
        for (text, wanted) in [
            ("no variable", "no variable"),
            ("$BAR baz", "bar baz"),
            ("$BAR$BAR", "barbar"),
            ("${BAR}baz", "barbaz"),
            ("$NOT and ${NOT}", "$NOT and $NOT"),
            ("$EMPTY|${EMPTY}|", "||"),
            ("${NOT:-d} ${NOT:=d} ${NOT-d} ${NOT=d}", "d d d d"),
            ("${EMPTY:-d} ${EMPTY:=d} ${EMPTY-d}|${EMPTY=d}|", "d d ||"),
            ("${BAR:-d} ${BAR:=d} ${BAR-d} ${BAR=d}", "bar bar bar bar"),
            ("${BAR+d} ${BAR:+d} ${EMPTY+d} ${EMPTY:+d}", "d d d d"),
            ("${NOT+d}|${NOT:+d}|", "||"),
            ("${NOT:-}|", "|"),
            ("${NOT:-$BAR} ${NOT:-${BAR}} ${NOT:-a${NO:-${BAR}}b} ${NOT:-$NO}", "bar bar abarb $NO"),
            ("${NOT:-http://localhost:8080/a-b=c+d}", "http://localhost:8080/a-b=c+d"),
            ("$$BAR $${BAR} $$$BAR $$", "$BAR ${BAR} $bar $"),
            ("$1 ${1} $10 a$ $ $- ${} $_ ${_}", "$1 ${1} $10 a$ $ $- ${} $_ ${_}"),
            ("# in a comment: $BAR ${NOT\n$BAR", "# in a comment: bar ${NOT\nbar"),
            ("a${", "a${"),
            ("${BAR%x} ${BAR?no}", "${BAR%x} ${BAR?no}"),
            ("$DOLLAR", "$BAR"),
            ("é$BARé", "ébaré"),
        ] {
            assert_eq!(made(text), wanted, "{text}");
        }
    }

    #[test]
    fn an_open_brace_is_refused_and_a_missing_variable_is_said() {
        let refused = substitute("a: ${BAR\nb: }", &Environment).unwrap_err();
        assert_eq!(refused.range, 3..8);
        let said = substitute("a: ${NOT} ${NOT%x} # ${NOT}\n", &Environment).unwrap().unwrap().unset;
        let names: Vec<Option<&str>> = said.iter().map(|unset| unset.name.as_deref()).collect();
        assert_eq!(names, [Some("NOT"), None]);
        for hostile in ["${A", "${A} ", "$A", "${", "# ${A", "${A:-", "$$", "${A%}", "${A:-${B}} "] {
            let text = hostile.repeat(4_000_000 / hostile.len());
            let begun = std::time::Instant::now();
            let _ = substitute(&text, &Environment);
            assert!(begun.elapsed().as_secs() < 20, "{hostile}: {:?}", begun.elapsed());
        }
        let deep = format!("{}x{}", "${A:-".repeat(30), "}".repeat(30));
        assert!(substitute(&deep, &Environment).is_err());
    }
}
