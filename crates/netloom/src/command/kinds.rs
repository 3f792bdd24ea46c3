//! `netloom kinds`: what nodes can be, and the file of each.

use crate::cli::Kinds;
use crate::failure::{Failure, Result};
use crate::{kinds, output, render};

/// All kinds, or the file of one.
pub(crate) fn run(options: &Kinds) -> Result {
    let kinds = kinds::around(&options.topology)?;
    let Some(name) = &options.name else {
        let all = kinds.iter();
        return if options.json { output::json(&all.collect::<Vec<_>>()) } else { output::result(&render::kinds(all)) };
    };
    let Some(kind) = kinds.find(name) else {
        let near = kinds.nearest(&name.to_ascii_lowercase());
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(Failure::input(format_args!("there is no kind `{name}`{near}")));
    };
    if options.json { output::json(kind) } else { output::result(&kind.to_toml()) }
}
