//! What a look at a host found.

use std::fmt::Write;

use super::count;
use crate::command::{Finding, Verdict};

/// Area by area; what is not well has what it means and what mends it, and a last line sums up.
pub(crate) fn findings(all: &[Finding]) -> String {
    let mut out = String::new();
    let mut area = "";
    for finding in all {
        if finding.area != area {
            area = finding.area;
            let _ = writeln!(out, "{area}");
        }
        let word = match finding.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let _ = writeln!(out, "  {word}  {}: {}", finding.check, finding.found);
        if let Some(fixed) = &finding.fixed {
            let _ = writeln!(out, "          fixed: {fixed}");
            continue;
        }
        if let Some(means) = &finding.means {
            let _ = writeln!(out, "          {means}");
        }
        if let Some(mend) = &finding.mend {
            let _ = writeln!(out, "          mend: {mend}");
        }
    }
    let many = |verdict| all.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = match (many(Verdict::Fail), many(Verdict::Warn)) {
        (0, 0) => writeln!(out, "\nthis host is fit for labs"),
        (0, warnings) => writeln!(out, "\nthis host is fit for labs, with {}", count(warnings, "warning")),
        (fails, 0) => writeln!(out, "\n{}", count(fails, "failure")),
        (fails, warnings) => writeln!(out, "\n{}, {}", count(fails, "failure"), count(warnings, "warning")),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_has_what_it_means_and_what_mends_it() {
        let mut fixed = Finding::ok("agent", "process", "no agent runs");
        fixed.fixed = Some("removed /run/x".into());
        let all = [
            Finding::ok("kernel", "features", "veth, bridge"),
            Finding::warn("kernel", "vrf", "there is none").means("no VRFs").mend("modprobe vrf"),
            fixed,
            Finding::fail("agent", "port 8001", "it is taken").means("no agent starts"),
        ];
        insta::assert_snapshot!(findings(&all), @r"
        kernel
          ok    features: veth, bridge
          warn  vrf: there is none
                  no VRFs
                  mend: modprobe vrf
        agent
          ok    process: no agent runs
                  fixed: removed /run/x
          FAIL  port 8001: it is taken
                  no agent starts

        1 failure, 1 warning
        ");
        assert!(findings(&all[..1]).ends_with("\nthis host is fit for labs\n"));
    }
}
