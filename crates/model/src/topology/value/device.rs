//! Values of network devices: credentials, certificates, cards, and what only some kinds have.

use std::collections::BTreeMap;

use crate::duration::GoDuration;
use crate::lab::{Certificate, Component, Credentials, K8sDeploy, LinkApplyMode, Mda, Vars, Xiom};

use super::super::diagnostic::{Path, Span, cut};
use super::super::path::resolve;
use super::super::reader::{Cx, Field, First, Merged, Read, Table, get, optional, required};
use super::super::tree::{Data, Value};
use super::EnvValue;
use super::vars::Var;

impl Read for GoDuration {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(value, at)?.parse() {
            Ok(duration) => Some(duration),
            Err(error) => {
                let error: crate::name::Invalid = error;
                cx.invalid(value, at, error.to_string(), "write for example `24h`, `90m` or `1h30m`");
                None
            }
        }
    }
}

impl Read for LinkApplyMode {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let choices = [("live", Self::Live), ("restart", Self::Restart), ("recreate", Self::Recreate)];
        cx.choice(value, at, &choices, &[])
    }
}

/// Name and password are taken together from the closest level that has either; the key on its own.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct CredentialsSpec {
    username: Option<String>,
    password: Option<String>,
    identity_file: Option<String>,
    span: Option<Span>,
}

impl Field for CredentialsSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        const CREDENTIALS: Table =
            Table { what: "`credentials`", acted: &["username", "password", "identity-file"], later: &[] };
        let Some(entries) = cx.fields(value, at, &CREDENTIALS) else { return Self::default() };
        let key = get(entries, "identity-file").filter(|value| matches!(value.data, Data::Text(_)));
        let at_key = at.key("identity-file");
        Self {
            username: optional(entries, "username", at, cx),
            password: optional(entries, "password", at, cx),
            identity_file: key.and_then(|value| resolve(cx.text(value, &at_key)?, value, &at_key, cx)),
            span: Some(value.span),
        }
    }

    fn inherit(&mut self, farther: &Self) {
        if self.username.is_none() && self.password.is_none() {
            self.username.clone_from(&farther.username);
            self.password.clone_from(&farther.password);
        }
        if self.identity_file.is_none() {
            self.identity_file.clone_from(&farther.identity_file);
        }
        self.span = self.span.or(farther.span);
    }

    fn span(&self) -> Option<Span> {
        self.span
    }
}

impl CredentialsSpec {
    /// Takes over the old fields `username` and `password` of the same level.
    pub(in super::super) fn take_over(&mut self, username: &First<String>, password: &First<String>) {
        if self.username.is_none() && self.password.is_none() {
            self.username = username.get().cloned();
            self.password = password.get().cloned();
            self.span = self.span.or(username.span()).or(password.span());
        }
    }

    pub(in super::super) fn credentials(&self) -> Credentials {
        let Self { username, password, identity_file, .. } = self.clone();
        Credentials { username, password, identity_file }
    }
}

/// Merged field by field.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct CertificateSpec {
    issue: First<bool>,
    key_size: First<u32>,
    validity: First<GoDuration>,
    sans: First<Vec<String>>,
    span: Option<Span>,
}

impl Field for CertificateSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        const CERTIFICATE: Table =
            Table { what: "`certificate`", acted: &["issue", "key-size", "validity-duration", "sans"], later: &[] };
        let mut found = Self { span: Some(value.span), ..Self::default() };
        for entry in cx.fields(value, at, &CERTIFICATE).unwrap_or_default() {
            let at = at.key(entry.key);
            match entry.key {
                "issue" => found.issue = Field::read(&entry.value, &at, cx),
                "key-size" => found.key_size = Field::read(&entry.value, &at, cx),
                "validity-duration" => found.validity = Field::read(&entry.value, &at, cx),
                "sans" => found.sans = Field::read(&entry.value, &at, cx),
                _ => {}
            }
        }
        found
    }

    fn inherit(&mut self, farther: &Self) {
        self.issue.inherit(&farther.issue);
        self.key_size.inherit(&farther.key_size);
        self.validity.inherit(&farther.validity);
        self.sans.inherit(&farther.sans);
        self.span = self.span.or(farther.span);
    }

    fn span(&self) -> Option<Span> {
        self.span
    }
}

impl CertificateSpec {
    pub(in super::super) fn certificate(&self) -> Certificate {
        Certificate {
            issue: self.issue.get().copied(),
            key_size: self.key_size.get().copied(),
            validity: self.validity.get().copied(),
            sans: self.sans.get().cloned().unwrap_or_default(),
        }
    }
}

/// `config`: today only `vars`, merged by key.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct ConfigSpec(Merged<Var>);

impl Field for ConfigSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        const CONFIG: Table = Table { what: "`config`", acted: &["vars"], later: &[] };
        let entries = cx.fields(value, at, &CONFIG).unwrap_or_default();
        let vars = get(entries, "vars");
        Self(vars.map(|vars| Field::read(vars, &at.key("vars"), cx)).unwrap_or_default())
    }

    fn inherit(&mut self, farther: &Self) {
        self.0.inherit(&farther.0);
    }

    fn span(&self) -> Option<Span> {
        self.0.span()
    }
}

impl ConfigSpec {
    pub(in super::super) fn vars(&self) -> Vars {
        self.0.0.iter().map(|(key, found)| (key.clone(), found.value.0.clone())).collect()
    }
}

impl Read for Component {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const COMPONENT: Table =
            Table { what: "component", acted: &["slot", "type", "env", "sfm", "xiom", "mda"], later: &[] };
        let entries = cx.fields(value, at, &COMPONENT)?;
        let env: BTreeMap<String, EnvValue> =
            get(entries, "env").map(|env| Merged::read(env, &at.key("env"), cx).values()).unwrap_or_default();
        Some(Self {
            slot: optional(entries, "slot", at, cx).unwrap_or_default(),
            card: optional(entries, "type", at, cx),
            env: env.into_iter().map(|(key, value)| (key, value.0)).collect(),
            sfm: optional(entries, "sfm", at, cx),
            xiom: optional(entries, "xiom", at, cx).unwrap_or_default(),
            mda: optional(entries, "mda", at, cx).unwrap_or_default(),
        })
    }
}

impl Read for Xiom {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const XIOM: Table = Table { what: "xiom", acted: &["slot", "type", "mda"], later: &[] };
        let entries = cx.fields(value, at, &XIOM)?;
        Some(Self {
            slot: required((value, entries), "slot", at, cx)?,
            card: optional(entries, "type", at, cx),
            mda: optional(entries, "mda", at, cx).unwrap_or_default(),
        })
    }
}

impl Read for Mda {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const MDA: Table = Table { what: "mda", acted: &["slot", "type"], later: &[] };
        let entries = cx.fields(value, at, &MDA)?;
        Some(Self { slot: required((value, entries), "slot", at, cx)?, card: optional(entries, "type", at, cx) })
    }
}

/// `extras`, its paths as they are written.
#[derive(Debug, Clone)]
pub(in super::super) struct ExtrasSpec {
    pub(in super::super) srl_agents: Vec<String>,
    pub(in super::super) mysocket_proxy: Option<String>,
    pub(in super::super) ceos_copy_to_flash: Vec<String>,
    pub(in super::super) k8s_kind: Option<K8sDeploy>,
}

impl Read for ExtrasSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const EXTRAS: Table = Table {
            what: "`extras`",
            acted: &["srl-agents", "mysocket-proxy", "ceos-copy-to-flash", "k8s_kind"],
            later: &[],
        };
        const K8S: Table = Table { what: "`k8s_kind`", acted: &["deploy"], later: &[] };
        let entries = cx.fields(value, at, &EXTRAS)?;
        let at_k8s = at.key("k8s_kind");
        let k8s = get(entries, "k8s_kind").and_then(|k8s| cx.fields(k8s, &at_k8s, &K8S));
        Some(Self {
            srl_agents: optional(entries, "srl-agents", at, cx).unwrap_or_default(),
            mysocket_proxy: optional(entries, "mysocket-proxy", at, cx),
            ceos_copy_to_flash: optional(entries, "ceos-copy-to-flash", at, cx).unwrap_or_default(),
            k8s_kind: k8s.and_then(|entries| optional(entries, "deploy", &at_k8s, cx)),
        })
    }
}

impl Read for K8sDeploy {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const DEPLOY: Table = Table { what: "`deploy`", acted: &["kubeconfig", "wait"], later: &[] };
        let entries = cx.fields(value, at, &DEPLOY)?;
        Some(Self { kubeconfig: optional(entries, "kubeconfig", at, cx), wait: optional(entries, "wait", at, cx) })
    }
}

/// An address of a node on the management network.
macro_rules! read_address {
    ($($type:ty, $example:literal;)*) => {
        $(impl Read for $type {
            fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
                let text = cx.text(value, at)?;
                let address = text.parse().ok();
                if address.is_none() {
                    let message = format!("`{}` cannot be `{}`", at.last(), cut(text));
                    let help = concat!("write an address without a prefix length, such as `", $example, "`");
                    cx.invalid(value, at, message, help);
                }
                address
            }
        })*
    };
}

read_address! {
    std::net::Ipv4Addr, "172.20.20.11";
    std::net::Ipv6Addr, "3fff:172:20:20::11";
}
