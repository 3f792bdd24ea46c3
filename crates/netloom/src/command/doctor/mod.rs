//! `netloom doctor`: whether this host is fit for labs. Each finding says what was found, what that means for labs, and the
//! command that mends it. It works without an agent, and asks one that is there.
//!
//! A check is a function that returns findings; the list of them is [`examine`]. Nothing is changed without `--fix`, and with it
//! only what nobody can miss ([`fix`]).

mod agent;
mod docker;
mod fix;
mod host;
mod kernel;
mod ovs;

use netloom_engine::Layout;
use serde::Serialize;

use crate::failure::{Exit, Failure, Result};
use crate::{output, render};

/// How something that was looked at fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Labs run; some of what they could have does not.
    Warn,
    /// Labs cannot be made, or lose something.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// `kernel`, `docker`, `ovs`, `agent`, `host`.
    pub(crate) area: &'static str,
    /// What, in a word or two.
    pub(crate) check: String,
    /// How it fares.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What that means for labs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) means: Option<String>,
    /// The command, or else the hint, that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
    /// What `--fix` did about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fixed: Option<String>,
    /// What `--fix` would do.
    #[serde(skip)]
    fix: Option<fix::Fix>,
}

impl Finding {
    pub(crate) fn ok(area: &'static str, check: &str, found: impl Into<String>) -> Self {
        Self {
            area,
            check: check.to_owned(),
            verdict: Verdict::Ok,
            found: found.into(),
            means: None,
            mend: None,
            fixed: None,
            fix: None,
        }
    }

    pub(crate) fn warn(area: &'static str, check: &str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(area, check, found) }
    }

    pub(crate) fn fail(area: &'static str, check: &str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::ok(area, check, found) }
    }

    pub(crate) fn means(self, means: impl Into<String>) -> Self {
        Self { means: Some(means.into()), ..self }
    }

    pub(crate) fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }

    fn fix(self, fix: fix::Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

/// Looks at everything and shows it. Fails (1) if anything fails; warnings do not.
pub(crate) async fn run(fix: bool, json: bool, layout: &Layout) -> Result {
    let mut findings = examine(layout).await;
    if fix {
        for finding in &mut findings {
            if let Some(fix) = finding.fix.take() {
                match fix.apply() {
                    Ok(done) => {
                        finding.fixed = Some(done);
                        finding.verdict = Verdict::Ok;
                    }
                    Err(why) => finding.found = format!("{}; --fix: {why}", finding.found),
                }
            }
        }
    }
    if json {
        output::json(&findings)?;
    } else {
        output::result(&render::findings(&findings))?;
    }
    let fails = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    // All is said already.
    if fails { Err(Failure { exit: Exit::Failed, text: None }) } else { Ok(()) }
}

/// All checks, area by area.
async fn examine(layout: &Layout) -> Vec<Finding> {
    let mut findings = kernel::features();
    findings.extend(kernel::control_groups());
    findings.extend(docker::daemon().await);
    findings.extend(ovs::all(layout).await);
    findings.extend(agent::all(layout).await);
    findings.extend(host::limits().await);
    findings.extend(host::disk(layout));
    findings.extend(host::clock());
    findings.extend(host::uplink());
    findings.extend(host::dangling(layout));
    findings
}
