//! `netloom validate`: every mistake of a topology file at once.

use netloom_model::topology::Severity;

use crate::cli::Validate;
use crate::failure::{Exit, Failure, Result};
use crate::render::count;
use crate::{output, topology};

/// Exit code 0 when the file could be deployed, 2 when not, or when warnings are taken for errors and there are some.
pub(crate) fn run(options: &Validate) -> Result {
    let source = topology::find_with(&options.topology, &options.vars.files)?;
    let reading = topology::read(&source, None)?;
    let reading = if options.strict { reading.strict() } else { reading };
    if options.json {
        output::json(&reading.marked())?;
    } else {
        let said = reading.rendered();
        if !said.is_empty() {
            output::say(&said);
        }
    }
    let Some(lab) = &reading.lab else { return Err(Failure::said(Exit::Input)) };
    if options.json {
        return Ok(());
    }
    let warnings = match reading.count(Severity::Warning) {
        0 => String::new(),
        n => format!(", {}", count(n, "warning")),
    };
    let (nodes, links) = (count(lab.nodes().len(), "node"), count(lab.links().len(), "link"));
    output::result(&format!("lab {}: {nodes}, {links}: valid{warnings}\n", lab.name()))
}
