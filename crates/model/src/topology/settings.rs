//! `settings` and `debug`: what is said about the whole lab.

use super::diagnostic::{Code, Path};
use super::path::resolve;
use super::reader::{At, Cx, Read, Table, get, optional};
use super::tree::{Data, Entry, Value};
use super::value::document::exists;
use crate::lab::{CertificateAuthority, FabricKind, Settings};

const SETTINGS: Table = Table { what: "`settings`", acted: &["certificate-authority", "fabric"], later: &[] };
const AUTHORITY: Table =
    Table { what: "`certificate-authority`", acted: &["cert", "key", "key-size", "validity-duration"], later: &[] };

/// Reads both from the top of a file.
pub(super) fn read(entries: &[Entry<'_>], cx: &mut Cx<'_>) -> Settings {
    let root = Path::Root;
    let mut settings =
        Settings { debug: optional(entries, "debug", &root, cx).unwrap_or(false), ..Settings::default() };
    if settings.debug
        && let Some(value) = get(entries, "debug")
    {
        let message = "`debug` needs nothing here: what is logged is set when the agent is started";
        cx.report.warning(Code::IgnoredField, value.span, &root.key("debug"), message).label("has no effect");
    }
    let at = root.key("settings");
    let Some(entries) = get(entries, "settings").and_then(|value| cx.fields(value, &at, &SETTINGS)) else {
        return settings;
    };
    settings.fabric = optional(entries, "fabric", &at, cx);
    let at = at.key("certificate-authority");
    if let Some(value) = get(entries, "certificate-authority").filter(|value| !matches!(value.data, Data::Null)) {
        settings.certificate_authority = authority(value, &at, cx);
        if settings.certificate_authority.is_some() {
            let message = "`certificate-authority` needs a certificate authority, which this version does not have";
            cx.report.warning(Code::IgnoredField, value.span, &at, message).label("no node gets a certificate");
        }
    }
    settings
}

fn authority(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<CertificateAuthority> {
    let entries = cx.fields(value, at, &AUTHORITY)?;
    let cert = file(entries, "cert", at, cx);
    let key = file(entries, "key", at, cx);
    let key_size = optional(entries, "key-size", at, cx);
    let validity = optional(entries, "validity-duration", at, cx);
    match (cert, key) {
        (Some(cert), Some(key)) => Some(CertificateAuthority::Files { cert, key }),
        (None, None) => Some(CertificateAuthority::Made { key_size, validity }),
        (cert, _) => {
            let missing = if cert.is_some() { "key" } else { "cert" };
            let message =
                format!("an authority that is there already has a `cert` and a `key`, and here is no `{missing}`");
            cx.report
                .error(Code::Missing, value.span, at, message)
                .help(format!("add `{missing}: PATH`, or remove the other to have one made"));
            None
        }
    }
}

fn file(entries: &[Entry<'_>], key: &'static str, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<String> {
    let at = at.key(key);
    let value = get(entries, key).filter(|value| !matches!(value.data, Data::Null))?;
    let text = cx.text(value, &at)?;
    let path = resolve(text, value, &at, cx)?;
    exists(&path, At { value: text, span: value.span }, &at, cx);
    Some(path)
}

impl Read for FabricKind {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.choice(value, at, &[("kernel", Self::Kernel), ("ovs", Self::Ovs)], &[])
    }
}
