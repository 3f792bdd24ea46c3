//! Reads values of the tree as what a field wants, and says what is wrong when they are something else.
//!
//! [`Read`] is how one value is read, [`Field`] is how a field that can be inherited is read and merged.
//! The rule of merging is part of the field's type, so a field is declared in one line (see [`super::node`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Input;
use super::diagnostic::{Code, Path, Report, Span, cut};
use super::tree::{Data, Entry, Value};
use super::value::number::whole;
use crate::name::LabName;

/// What all of the reading shares.
pub(super) struct Cx<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) report: Report,
    /// The lab's name, once it is known: placeholders stand for it.
    pub(super) lab: Option<LabName>,
    /// What levels have taken over from the caller's environment, in units of inherited values.
    pub(super) imported: u64,
    /// Fields that stand misspelt in a map: where the map begins, and the field that is meant.
    misspelt: HashSet<(u32, &'static str)>,
}

/// The fields that one kind of map has.
pub(super) struct Table {
    /// What the map describes, for messages: "node", "link".
    pub(super) what: &'static str,
    /// Fields that are acted on.
    pub(super) acted: &'static [&'static str],
    /// Fields of the format that have no effect yet.
    pub(super) later: &'static [&'static str],
}

impl<'a> Cx<'a> {
    pub(super) fn new(input: &'a Input<'a>) -> Self {
        Self { input, report: Report::new(), lab: None, imported: 0, misspelt: HashSet::new() }
    }
}

impl AsMut<Report> for Cx<'_> {
    fn as_mut(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Cx<'_> {
    pub(super) fn wrong_type(&mut self, value: &Value<'_>, at: &Path<'_>, wanted: &str) {
        if matches!(value.data, Data::Broken) {
            return;
        }
        let message = format!("`{}` must be {wanted}, and this is {}", at.last(), value.describe());
        let diagnostic = self.report.error(Code::WrongType, value.span, at, message);
        match (&value.data, wanted) {
            (Data::Text(_), "a list") => {
                diagnostic.help("write one entry per line, each after `- `, or put them in `[` and `]`");
            }
            (Data::Map(entries), "a text") if entries.len() == 1 => {
                diagnostic.help("if this is meant as a text, put it in quotes: it contains `: `");
            }
            (Data::List(_), "a text") => {
                diagnostic.help("write one text, without `- ` or `[` and `]`");
            }
            (Data::Map(_), "a list") => {
                diagnostic.help("write one entry per line, each after `- `");
            }
            (Data::List(_), "a map") => {
                diagnostic.help("write one `name: value` per line, without `- ` or `[` and `]`");
            }
            (Data::Text(text), "a map") if !value.quoted && !text.contains(char::is_whitespace) => {
                if let Some((field, behind)) = text.split_once(':').filter(|(_, behind)| !behind.is_empty()) {
                    diagnostic.help(format!("write a space behind the colon: `{}: {}`", cut(field), cut(behind)));
                }
            }
            _ => {}
        }
    }

    /// The entries of a map; none of nothing.
    pub(super) fn map<'v>(&mut self, value: &'v Value<'v>, at: &Path<'_>) -> Option<&'v [Entry<'v>]> {
        match &value.data {
            Data::Map(entries) => Some(entries),
            Data::Null => Some(&[]),
            Data::Text(_) | Data::List(_) | Data::Broken => {
                self.wrong_type(value, at, "a map");
                None
            }
        }
    }

    /// The entries of a list; none of nothing.
    pub(super) fn list<'v>(&mut self, value: &'v Value<'v>, at: &Path<'_>) -> Option<&'v [Value<'v>]> {
        match &value.data {
            Data::List(items) => Some(items),
            Data::Null => Some(&[]),
            Data::Text(_) | Data::Map(_) | Data::Broken => {
                self.wrong_type(value, at, "a list");
                None
            }
        }
    }

    /// The text of a scalar; nothing of nothing.
    pub(super) fn text<'v>(&mut self, value: &'v Value<'v>, at: &Path<'_>) -> Option<&'v str> {
        match &value.data {
            Data::Text(text) => Some(text),
            Data::Null => None,
            Data::List(_) | Data::Map(_) | Data::Broken => {
                self.wrong_type(value, at, "a text");
                None
            }
        }
    }

    /// The entries of a map that has only certain fields; says which it should not have.
    pub(super) fn fields<'v>(&mut self, value: &'v Value<'v>, at: &Path<'_>, table: &Table) -> Option<&'v [Entry<'v>]> {
        let entries = self.map(value, at)?;
        #[cfg(test)]
        note_table(table, at);
        for entry in entries {
            let key = entry.key;
            if table.acted.contains(&key) {
                continue;
            }
            if table.later.contains(&key) {
                self.report.ignored(table.what, key, entry.key_span, &at.key(key));
                continue;
            }
            let names = || table.acted.iter().chain(table.later).copied();
            let nearest = self.report.nearest(key, names());
            if elsewhere(table.what, key).is_none()
                && let Some(meant) = names().find(|name| nearest.as_deref() == Some(*name))
            {
                self.misspelt.insert((value.span.start, meant));
            }
            let message = format!("{} has no field `{}`", table.what, cut(key));
            let diagnostic = self.report.error(Code::UnknownField, entry.key_span, &at.key(key), message);
            match elsewhere(table.what, key) {
                Some(advice) => diagnostic.help(advice),
                None => diagnostic.suggest(nearest),
            };
        }
        Some(entries)
    }

    /// Whether a map has a field under a name that is almost right: it has been said, and that it is missing needs
    /// not be.
    pub(super) fn is_misspelt(&self, map: &Value<'_>, field: &'static str) -> bool {
        self.misspelt.contains(&(map.span.start, field))
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        value: &Value<'_>,
        at: &Path<'_>,
        choices: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        let text = self.text(value, at)?;
        if let Some((_, found)) = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Some(*found);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let listed = format!("possible: {}", list(&names));
        if later.iter().any(|name| name.eq_ignore_ascii_case(text)) {
            self.report
                .error(Code::Unsupported, value.span, at, format!("`{}: {text}` is not supported yet", at.last()))
                .help(listed);
        } else {
            let nearest = self.report.nearest(text, names.iter().copied());
            self.report
                .error(Code::InvalidValue, value.span, at, format!("`{}` cannot be `{}`", at.last(), cut(text)))
                .help(listed)
                .suggest(nearest);
        }
        None
    }

    /// One of several words, where the format takes any other for its default: that is said and left out.
    pub(super) fn lenient_choice<T: Copy>(
        &mut self,
        value: &Value<'_>,
        at: &Path<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(value, at)?;
        if let Some((_, found)) = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Some(*found);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let nearest = self.report.nearest(text, names.iter().copied());
        self.report
            .warning(Code::InvalidValue, value.span, at, format!("`{}` cannot be `{}`", at.last(), cut(text)))
            .label("taken as if it were not there")
            .help(format!("possible: {}", list(&names)))
            .suggest(nearest);
        None
    }

    pub(super) fn invalid(&mut self, value: &Value<'_>, at: &Path<'_>, message: impl Into<String>, help: &str) {
        let diagnostic = self.report.error(Code::InvalidValue, value.span, at, message);
        if !help.is_empty() {
            diagnostic.help(help);
        }
    }
}

/// What to write instead of a field that people bring along from another place, or from another tool.
fn elsewhere(what: &str, field: &str) -> Option<&'static str> {
    Some(match (what, field) {
        ("`topology`", "name" | "prefix" | "mgmt" | "settings" | "debug") => {
            "it stands at the top of the file, outside of `topology`"
        }
        ("node", "wait-for" | "depends_on" | "depends-on") => {
            "write `stages: { create: { wait-for: [{ node: NAME, stage: healthy }] } }`"
        }
        ("node", "copy-to-flash") => "write `extras: { ceos-copy-to-flash: [PATH] }`",
        ("node", "vars") => "write `config: { vars: { NAME: value } }`",
        ("node", "command") => "write `cmd`",
        ("node", "environment") => "write `env: { NAME: value }`",
        ("node", "publish" | "expose") => "write `ports: [\"8080:80\"]` for ports that the host shall have",
        ("node", "links" | "interfaces" | "endpoints") => {
            "links stand at `topology.links`: `- endpoints: [\"r1:eth1\", \"r2:eth1\"]`"
        }
        _ => return None,
    })
}

/// The way to each map that was read, and the fields that it can have.
#[cfg(test)]
type Tables = Vec<(String, Vec<&'static str>)>;

#[cfg(test)]
thread_local! {
    /// Filled while a test wants to know.
    pub(super) static TABLES: std::cell::RefCell<Option<Tables>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn note_table(table: &Table, at: &Path<'_>) {
    TABLES.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            seen.push((at.to_string(), table.acted.iter().chain(table.later).copied().collect()));
        }
    });
}

/// `a`, `b` and `c`, each in backticks.
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The value of a key in a map.
pub(super) fn get<'v>(entries: &'v [Entry<'v>], key: &str) -> Option<&'v Value<'v>> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// How one value is read. Nothing means that there is none, or that it was wrong and that has been said.
pub(super) trait Read: Sized + Clone {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self>;

    /// Whether a text says as much as no text: the format has fields of text unset while they are empty, so that
    /// `image: "${IMAGE:-}"` leaves to the next level what is not given.
    fn is_unset(text: &str) -> bool {
        text.is_empty()
    }

    /// What `key:` with nothing behind it means in a map of free keys.
    fn empty() -> Option<Self> {
        None
    }

    /// What becomes of a whole map of them.
    fn complete(_found: &mut BTreeMap<String, At<Self>>, _at: &Path<'_>, _cx: &mut Cx<'_>) {}
}

impl Read for String {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.text(value, at).map(str::to_owned)
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }
}

impl Read for bool {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => {
                let message = format!("`{}` cannot be `{}`", at.last(), cut(text));
                cx.invalid(value, at, message, "possible: `true` or `false`");
                None
            }
        }
    }
}

impl Read for u32 {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let number = whole(value, text, at, cx);
        if number.is_none() {
            let message = format!("`{}` must be a whole number, and this is `{}`", at.last(), cut(text));
            cx.invalid(value, at, message, "");
        }
        number
    }
}

impl<T: Read> Read for Vec<T> {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let items = cx.list(value, at)?.iter().enumerate();
        Some(items.filter_map(|(index, item)| T::read(item, &at.index(index), cx)).collect())
    }
}

/// The value of a field that may be left out.
pub(super) fn optional<T: Read>(entries: &[Entry<'_>], key: &'static str, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<T> {
    let value = get(entries, key).filter(|value| !matches!(value.data, Data::Null))?;
    T::read(value, &at.key(key), cx)
}

/// The value of a field that must be there.
pub(super) fn required<T: Read>(
    (map, entries): (&Value<'_>, &[Entry<'_>]),
    key: &'static str,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Option<T> {
    if get(entries, key).is_none_or(|value| matches!(value.data, Data::Null)) {
        cx.report.error(Code::Missing, map.span, at, format!("`{key}` is missing in `{}`", at.last()));
        return None;
    }
    optional(entries, key, at, cx)
}

/// How a field is read at one level and what it takes over from the level behind (the farther one).
pub(super) trait Field: Default + Clone {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self;
    fn inherit(&mut self, farther: &Self);
    /// Where it is set first, if it is.
    fn span(&self) -> Option<Span>;
}

/// The first level that sets it wins, whole value. A level that sets it to something wrong has set it, too, so
/// that one mistake is not followed by others.
#[derive(Debug, Clone)]
pub(super) struct First<T> {
    value: Option<T>,
    span: Option<Span>,
}

impl<T> Default for First<T> {
    fn default() -> Self {
        Self { value: None, span: None }
    }
}

impl<T> First<T> {
    /// Takes it as set to something that cannot be used and has been said, unless it is set.
    pub(super) fn give_up(&mut self, span: Span) {
        self.span.get_or_insert(span);
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Whether it is set, but to nothing that can be used.
    pub(super) fn is_broken(&self) -> bool {
        self.span.is_some() && self.value.is_none()
    }
}

impl<T: Read> Field for First<T> {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        match &value.data {
            Data::Null => Self::default(),
            Data::Text(text) if T::is_unset(text) => Self::default(),
            _ => Self { value: T::read(value, at, cx), span: Some(value.span) },
        }
    }

    fn inherit(&mut self, farther: &Self) {
        if self.span.is_none() {
            self.clone_from(farther);
        }
    }

    fn span(&self) -> Option<Span> {
        self.span
    }
}

/// Maps merged by key; closer wins.
#[derive(Debug, Clone)]
pub(super) struct Merged<T>(pub(super) BTreeMap<String, At<T>>);

impl<T> Default for Merged<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Merged<T> {
    pub(super) fn values(&self) -> BTreeMap<String, T> {
        self.0.iter().map(|(key, found)| (key.clone(), found.value.clone())).collect()
    }
}

impl<T: Read> Field for Merged<T> {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        let mut found = BTreeMap::new();
        for entry in cx.map(value, at).unwrap_or_default() {
            let at = at.key(entry.key);
            let value = match (&entry.value.data, T::empty()) {
                (Data::Null, None) => {
                    let message = format!("`{}` has no value", cut(entry.key));
                    cx.report.error(Code::Missing, entry.key_span, &at, message);
                    None
                }
                (Data::Null, empty) => empty,
                _ => T::read(&entry.value, &at, cx),
            };
            if let Some(value) = value {
                found.insert(entry.key.to_owned(), At { value, span: entry.key_span });
            }
        }
        T::complete(&mut found, at, cx);
        Self(found)
    }

    fn inherit(&mut self, farther: &Self) {
        for (key, value) in &farther.0 {
            if !self.0.contains_key(key) {
                self.0.insert(key.clone(), value.clone());
            }
        }
    }

    fn span(&self) -> Option<Span> {
        self.0.values().map(|found| found.span).min_by_key(|span| span.start)
    }
}

/// Lists concatenated, the farthest first; exact duplicates dropped.
#[derive(Debug, Clone)]
pub(super) struct Appended<T>(pub(super) Vec<At<T>>);

impl<T> Default for Appended<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read + Ord> Field for Appended<T> {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        let mut found = Self(items(value, at, cx));
        found.drop_duplicates();
        found
    }

    fn inherit(&mut self, farther: &Self) {
        if !farther.0.is_empty() {
            let own = std::mem::replace(&mut self.0, farther.0.clone());
            self.0.extend(own);
            self.drop_duplicates();
        }
    }

    fn span(&self) -> Option<Span> {
        self.0.first().map(|found| found.span)
    }
}

/// The entries of a list that are right.
fn items<T: Read>(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Vec<At<T>> {
    let mut found = Vec::new();
    for (index, item) in cx.list(value, at).unwrap_or_default().iter().enumerate() {
        let at = at.index(index);
        if matches!(item.data, Data::Null) {
            cx.invalid(item, &at, "this entry is empty", "remove it, or write something behind the `-`");
        } else if let Some(value) = T::read(item, &at, cx) {
            found.push(At { value, span: item.span });
        }
    }
    found
}

/// What only a node itself can say: other levels have no part in it.
#[derive(Debug, Clone)]
pub(super) struct Own<T>(pub(super) First<T>);

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self(First::default())
    }
}

impl<T: Read> Field for Own<T> {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        Self(First::read(value, at, cx))
    }

    fn inherit(&mut self, _farther: &Self) {}

    fn span(&self) -> Option<Span> {
        self.0.span()
    }
}

impl<T: Read> Own<T> {
    /// Takes over what stands under the old one of two names.
    pub(super) fn take_over(
        &mut self,
        old: &mut Self,
        (old_name, name): (&'static str, &'static str),
        at: &Path<'_>,
        cx: &mut Cx<'_>,
    ) {
        let Some(span) = old.span() else { return };
        cx.report
            .warning(Code::OldName, span, &at.key(old_name), format!("`{old_name}` is an old name of this field"))
            .help(format!("write `{name}`"));
        let old = std::mem::take(old);
        if self.span().is_none() {
            *self = old;
        }
    }
}

/// What has a place in the node that only one of its kind can have.
pub(super) trait Targeted {
    fn target(&self) -> &str;
}

/// Merged by target; closer wins, ordered by target.
#[derive(Debug, Clone)]
pub(super) struct ByTarget<T>(pub(super) BTreeMap<String, At<T>>);

impl<T> Default for ByTarget<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Read + Targeted> Field for ByTarget<T> {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        // In one list the last of a target counts, also when it is like an earlier one.
        Self(items::<T>(value, at, cx).into_iter().map(|found| (found.value.target().to_owned(), found)).collect())
    }

    fn inherit(&mut self, farther: &Self) {
        for (target, found) in &farther.0 {
            if !self.0.contains_key(target) {
                self.0.insert(target.clone(), found.clone());
            }
        }
    }

    fn span(&self) -> Option<Span> {
        self.0.values().map(|found| found.span).min_by_key(|span| span.start)
    }
}

impl<T: Ord + Clone> Appended<T> {
    fn drop_duplicates(&mut self) {
        if self.0.len() > 1 {
            let mut seen = BTreeSet::new();
            self.0.retain(|item| seen.insert(item.value.clone()));
        }
    }
}
