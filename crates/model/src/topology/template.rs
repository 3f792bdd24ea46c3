//! A file that is a template as the text that it makes.

use netloom_template::{Error, Made, Source, Value};

use super::Input;
use super::origin::{File, Kind, Origin, Piece};

/// What a template is rendered with; nothing by default.
#[derive(Clone, Copy, Default)]
pub struct Templates<'a> {
    /// The data that it sees as `.`, all files of it merged.
    pub data: Option<&'a Value>,
    /// Templates that it may call.
    pub files: &'a [TemplateFile],
}

/// A file with a template that topology files call by its name: `{{ template "spine.gotmpl" . }}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its path as the reader knows it, for diagnostics.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Renders a text. The files are the text itself and all that it may call.
pub(super) fn render(text: &str, input: &Input<'_>) -> (Origin, Result<(), Vec<Error>>) {
    let name = input.source.and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or("topology");
    let called = input.templates.files;
    let main = Source { name, text };
    let sources: Vec<Source<'_>> =
        std::iter::once(main).chain(called.iter().map(|file| Source { name: &file.name, text: &file.text })).collect();
    let files = std::iter::once(File::new(None, text.to_owned()))
        .chain(called.iter().map(|file| File::new(Some(file.path.clone()), file.text.clone())))
        .collect();
    let mut origin = Origin::new(files);
    let made = match netloom_template::render(&sources, input.templates.data.unwrap_or(&Value::Missing)) {
        Ok(made) => made,
        Err(errors) => return (origin, Err(errors)),
    };
    let pieces = made.runs.into_iter().map(|run| {
        let kind = if run.made == Made::Copied { Kind::Copied } else { Kind::Made };
        Piece { start: run.start, len: run.len, file: run.source, from: run.from, kind }
    });
    origin.stage(made.text, pieces.collect());
    (origin, Ok(()))
}
