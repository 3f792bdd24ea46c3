//! The values that fields of a node have: sizes, commands, names of users and images.

pub(super) mod container;
pub(super) mod device;
pub(super) mod document;
pub(super) mod number;
pub(super) mod stage;
pub(super) mod vars;

use std::collections::BTreeMap;

use super::MAX_INHERITED;
use super::diagnostic::{Code, Path, cut};
use super::path::resolve;
use super::reader::{At, Cx, Read};
use super::tree::Value;
use crate::check::{host_name, is_sysctl, is_variable};
use crate::lab::{NetworkMode, RestartPolicy, RuntimeKind};

impl Read for RuntimeKind {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let choices = [("namespace", Self::Namespace), ("docker", Self::Docker), ("libvirt", Self::Libvirt)];
        if cx.text(value, at)?.eq_ignore_ascii_case("podman") {
            cx.report
                .warning(Code::IgnoredField, value.span, at, "there is no runtime `podman`; taken as `docker`")
                .help("write `runtime: docker`, or leave it out: an image runs on docker");
            return Some(Self::Docker);
        }
        cx.choice(value, at, &choices, &["ignite"])
    }
}

impl Read for RestartPolicy {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let choices = [
            ("no", Self::No),
            ("always", Self::Always),
            ("on-failure", Self::OnFailure),
            ("unless-stopped", Self::UnlessStopped),
        ];
        cx.lenient_choice(value, at, &choices)
    }
}

impl Read for NetworkMode {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        if let Some(other) = cx.text(value, at)?.strip_prefix("container:") {
            return container::container_name(other, value, at, cx).map(Self::Container);
        }
        match cx.choice(value, at, &[("none", 0), ("host", 1), ("bridge", 2), ("container:NODE", 3)], &[])? {
            0 => Some(Self::None),
            1 => Some(Self::Host),
            _ => Some(Self::Default),
        }
    }
}

/// A file of environment variables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EnvFile {
    /// As the file has it.
    pub(super) written: String,
    /// Absolute.
    pub(super) path: String,
}

impl Read for EnvFile {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if text.is_empty() {
            cx.invalid(value, at, "this path is empty", "remove it");
            return None;
        }
        Some(Self { written: text.to_owned(), path: resolve(text, value, at, cx)? })
    }
}

/// The longest command, in bytes: a quarter of the usual stack (fs/exec.c: `bprm_stack_limits`).
const MAX_COMMAND: usize = 2 << 20;

/// A command split into words as a POSIX shell splits them; nothing is expanded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Words(pub(super) Vec<String>);

impl Read for Words {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if text.contains('\0') {
            cx.invalid(value, at, "a command cannot contain a NUL character", "");
            return None;
        }
        if text.len() > MAX_COMMAND {
            let message =
                format!("this command has {} bytes; the kernel starts none of more than {MAX_COMMAND}", text.len());
            cx.report.error(Code::TooLarge, value.span, at, message).help("put it into a file, and bind that");
            return None;
        }
        let Some(words) = shlex::split(text) else {
            cx.invalid(value, at, "this command ends inside of a quotation", "close the quote, or escape it: `\\'`");
            return None;
        };
        Some(Self(words))
    }
}

/// One command of a list: words, and at least one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Command(pub(super) Vec<String>);

impl Read for Command {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let words = Words::read(value, at, cx)?.0;
        if words.is_empty() {
            cx.invalid(value, at, "this command is empty", "remove it");
            return None;
        }
        Some(Self(words))
    }
}

/// Names an image. Its form is the registry's business; what cannot be one is refused.
#[derive(Debug, Clone)]
pub(super) struct Image(pub(super) String);

impl Read for Image {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let message = format!("image `{}` is not a name of an image", cut(text));
            cx.invalid(value, at, message, "write for example `alpine:3`");
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

/// A host name.
#[derive(Debug, Clone)]
pub(super) struct HostName(pub(super) String);

impl Read for HostName {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let Err(message) = host_name(text) else { return Some(Self(text.to_owned())) };
        cx.invalid(value, at, message, "letters, digits, `-`, `.` and `_` are possible");
        None
    }
}

/// The `user[:group]` that a process runs as.
#[derive(Debug, Clone)]
pub(super) struct User(pub(super) String);

impl Read for User {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let good =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._$".contains(c));
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        if good(user) && group.is_none_or(good) {
            return Some(Self(text.to_owned()));
        }
        let message = format!("`{}` is not a user", cut(text));
        cx.invalid(value, at, message, "write `user` or `user:group`, by name or number");
        None
    }
}

/// A whole number of seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub(super) u32);

impl Read for Seconds {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if let Some(seconds) = number::whole(value, text, at, cx) {
            return Some(Self(seconds));
        }
        let message = format!("`{}` is not a number of seconds", cut(text));
        cx.invalid(value, at, message, "write a whole number of seconds, such as `5`");
        None
    }
}

/// A whole number in decimal digits; no sign.
pub(super) fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A share of the processors in thousandths of a core.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuMillis(pub(super) u32);

impl Read for CpuMillis {
    /// No limit, as none given.
    fn is_unset(text: &str) -> bool {
        text.parse() == Ok(0.0)
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const HELP: &str = "write how many cores it may use, such as `0.5` or `2`";
        let text = cx.text(value, at)?;
        let Some(cores) = text.parse::<f64>().ok().filter(|cores| cores.is_finite()) else {
            cx.invalid(value, at, format!("`{}` is not a number of cores", cut(text)), HELP);
            return None;
        };
        let millis = (cores * 1000.0).round();
        // The kernel's smallest quota is 1 ms of a 100 ms period (kernel/sched/core.c: min_cfs_quota_period).
        if millis < 10.0 {
            cx.invalid(value, at, format!("`{text}` cores are too few; at least 0.01 is possible"), HELP);
            return None;
        }
        if millis > 8_192_000.0 {
            cx.invalid(value, at, format!("`{text}` cores are more than any host has"), HELP);
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 10 and 8,192,000")]
        Some(Self(millis as u32))
    }
}

/// A size in bytes, written as Docker takes it: binary multiples, case does not matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryBytes(pub(super) u64);

impl Read for MemoryBytes {
    /// No limit, as none given.
    fn is_unset(text: &str) -> bool {
        matches!(text, "" | "0")
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        /// Docker's least memory limit.
        const MIN: u64 = 6 << 20;
        const HELP: &str = "write for example `512MB`, `1G` or `256MiB` (1 KB is 1000 bytes, 1 KiB 1024)";
        let text = cx.text(value, at)?;
        match memory_bytes(text) {
            None => {
                cx.invalid(value, at, format!("`{}` is not an amount of memory", cut(text)), HELP);
                None
            }
            Some(bytes) if bytes < MIN => {
                cx.invalid(value, at, format!("`{text}` of memory is too little; at least 6MiB are possible"), HELP);
                None
            }
            Some(bytes) => Some(Self(bytes)),
        }
    }
}

/// `[number] [unit]`, the unit `b`, or one of `k m g t p` followed by nothing or `b` (powers of 1000), `i` or `ib` (powers
/// of 1024), as other readers of the format take it. Docker's own command line has only the latter.
fn memory_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let power = |prefix| Some(1 + u32::try_from("kmgtp".find(prefix)?).ok()?);
    let unit = match (unit.chars().next(), unit.get(1..)) {
        (None, _) | (Some('b'), Some("")) => 1,
        (Some(prefix), Some("" | "b")) => 1000_u64.pow(power(prefix)?),
        (Some(prefix), Some("i" | "ib")) => 1024_u64.pow(power(prefix)?),
        _ => return None,
    };
    if let Some(whole) = digits::<u64>(number) {
        return whole.checked_mul(unit);
    }
    let number: f64 = number.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "exact: of a power of ten up to the fifteenth, and of two")]
    let bytes = number * unit as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: from 0 to 2^63")]
    (0.0..9.2e18).contains(&bytes).then_some(bytes as u64)
}

/// A sysctl's value; its name is checked with it.
#[derive(Debug, Clone)]
pub(super) struct Sysctl(pub(super) String);

impl Read for Sysctl {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if let Path::Key(_, name) = at
            && !is_sysctl(name)
        {
            let message = format!("`{}` is not the name of a sysctl", cut(name));
            cx.invalid(value, at, message, "write for example `net.ipv4.ip_forward`");
            return None;
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            cx.invalid(value, at, "a sysctl's value is one line of text", "");
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

/// The value of an environment variable.
#[derive(Debug, Clone)]
pub(super) struct EnvValue(pub(super) String);

impl Read for EnvValue {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if let Path::Key(_, name) = at
            && !is_variable(name)
        {
            let message = format!("`{}` cannot be the name of a variable", cut(name));
            cx.invalid(value, at, message, "a name is not empty and has no `=`");
            return None;
        }
        if text.contains('\0') {
            cx.invalid(value, at, "a variable cannot hold a NUL character", "");
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn empty() -> Option<Self> {
        Some(Self(String::new()))
    }

    /// `__IMPORT_ENVS: "true"` puts the caller's environment under what the map says itself.
    fn complete(found: &mut BTreeMap<String, At<Self>>, at: &Path<'_>, cx: &mut Cx<'_>) {
        let Some(import) = found.remove("__IMPORT_ENVS").filter(|import| import.value.0 == "true") else { return };
        let variables = cx.input.host.variables();
        let units = variables.iter().map(|(name, value)| 1 + (name.len() + value.len()) as u64 / 64);
        cx.imported = cx.imported.saturating_add(units.sum());
        if cx.imported > MAX_INHERITED {
            let message = "the environments that are imported here are too large together";
            cx.report.error(Code::TooLarge, import.span, at, message);
            return;
        }
        for (name, value) in variables {
            if is_variable(&name) && !value.contains('\0') {
                found.entry(name).or_insert(At { value: Self(value), span: import.span });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::memory_bytes;

    #[test]
    fn memory_is_read_as_other_readers_of_the_format_read_it() {
        let mib = 1 << 20;
        for (text, bytes) in [
            ("1G", Some(1_000_000_000)),
            ("1g", Some(1_000_000_000)),
            ("512MB", Some(512_000_000)),
            ("256MiB", Some(256 * mib)),
            ("256 mib", Some(256 * mib)),
            ("1Gi", Some(1024 * mib)),
            ("1.5g", Some(1_500_000_000)),
            ("1.5GiB", Some(1536 * mib)),
            ("8388608", Some(8 * mib)),
            ("100b", Some(100)),
            ("1GGB", None),
            ("-1G", None),
            ("G", None),
            ("", None),
            ("1.2.3G", None),
            ("99999999999999999999P", None),
            ("9999999999P", None),
            ("1é", None),
        ] {
            assert_eq!(memory_bytes(text), bytes, "{text}");
        }
    }
}
