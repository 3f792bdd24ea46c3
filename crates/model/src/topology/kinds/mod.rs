//! Kinds of nodes: what is known of each stands in a file of its own, and a file more is a kind more.
//!
//! ```text
//!  crates/model/kinds/*.toml ──▶ Kinds::builtin() ──extend──▶ Kinds ──▶ Input ──┬─▶ level(): the farthest level of a node
//!  kinds.d/*.toml, kinds/*.toml ──────────────────────┘                         ├─▶ device(): what the node keeps of it
//!                                                                               └─▶ interface(): vendor's → kernel's name
//! ```
//!
//! The files are TOML; [`KindSpec`] has their keys. One with the name of a kind that is there goes over it: see
//! [`KindSpec::extend`].

mod defaults;
mod interfaces;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

#[cfg(test)]
pub(super) use defaults::OF_KIND;
pub(super) use defaults::level;
pub use spec::KindSpec;

use super::diagnostic::{Code, Path, cut};
use super::reader::{Cx, Read};
use super::tree::Value;
use crate::name::Kind;

/// As many kinds as there may be; each is parsed for every file that is read.
const MAX_KINDS: usize = 10_000;

macro_rules! embedded {
    ($($name:literal)*) => {
        /// The files of the built-in kinds: name and content.
        const EMBEDDED: &[(&str, &str)] =
            &[$((concat!($name, ".toml"), include_str!(concat!("../../../kinds/", $name, ".toml")))),*];
    };
}

embedded! {
    "6wind_vsr" "alpine" "arista_ceos" "arista_veos" "arrcus_arcos" "aruba_aoscx" "border0" "bridge" "cat9800"
    "checkpoint_cloudguard" "ciena_saos" "cisco_asav" "cisco_c8000" "cisco_c8000v" "cisco_cat9kv" "cisco_csr1000v"
    "cisco_ftdv" "cisco_iol" "cisco_n9kv" "cisco_sdwan" "cisco_vios" "cisco_viosl2" "cisco_xrd" "cisco_xrd_vrouter"
    "cisco_xrv" "cisco_xrv9k" "citrix_adc" "codelaboratory_bng" "cumulus_cvx" "dell_ftosv" "dell_sonic"
    "ext-container" "f5_bigip-ve" "fdio_vpp" "fmcv" "fortinet_fortigate" "freebsd" "frr" "generic_vm" "haproxy" "host"
    "huawei_vrp" "ipinfusion_ocnos" "juniper_apstra" "juniper_cjunosevolved" "juniper_crpd" "juniper_csrx"
    "juniper_vjunosevolved" "juniper_vjunosrouter" "juniper_vjunosswitch" "juniper_vmx" "juniper_vqfx" "juniper_vsrx"
    "k8s-kind" "keysight_ixia-c-one" "light_olt" "linux" "mikrotik_ros" "mysocketio" "nokia_srlinux" "nokia_sros"
    "nokia_srsim" "nvidia_cumulusvx" "openbsd" "openwrt" "ostinato" "ovs-bridge" "paloalto_panos" "plvision_sonic"
    "rare" "sonic-vm" "sonic-vs" "spirent_stc" "tcl" "veesix_osvbng" "vyosnetworks_vyos" "windows"
}

/// What is known of every kind.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    specs: BTreeMap<Kind, Arc<KindSpec>>,
    /// The names that kinds also have.
    aliases: BTreeMap<Kind, Kind>,
}

/// Why the file of a kind cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {why}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct KindError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1, if it is one line's mistake.
    pub line: Option<usize>,
    /// What is wrong and what to write.
    pub why: String,
}

impl Kinds {
    /// The kinds that come with this version. Read once.
    ///
    /// # Panics
    /// Never: a test reads each of them.
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Kinds> = LazyLock::new(|| {
            let mut kinds = Kinds::default();
            for (file, text) in EMBEDDED {
                kinds.extend(file, text).expect("a test reads each built-in kind");
            }
            kinds
        });
        &BUILTIN
    }

    /// Adds the kind of a file, or puts it over the one that has its name.
    pub fn extend(&mut self, file: &str, text: &str) -> Result<(), KindError> {
        let error = |line, why: String| KindError { file: file.to_owned(), line, why };
        if text.len() > KindSpec::MAX_BYTES {
            return Err(error(
                None,
                format!("it has {} bytes; a kind has at most {}", text.len(), KindSpec::MAX_BYTES),
            ));
        }
        let later: KindSpec = toml::from_str(text).map_err(|wrong| {
            let line = wrong.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            error(line, wrong.message().to_owned())
        })?;
        // Where a key stands, for mistakes that are of two keys at once.
        let line_of = |key: &str| {
            let is_key = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
            let at = text.lines().position(|line| is_key(line.trim_start()));
            at.map(|at| at + 1)
        };
        let mut spec = match self.specs.get(&later.name) {
            Some(there) => KindSpec::clone(there),
            None if self.specs.len() >= MAX_KINDS => {
                return Err(error(None, format!("there are {MAX_KINDS} kinds already")));
            }
            None => KindSpec::new(later.name.clone()),
        };
        if let Some(of) = self.aliases.get(&later.name) {
            let why =
                format!("`{}` is another name of the kind `{of}`; write `name = \"{of}\"` to change it", later.name);
            return Err(error(line_of("name"), why));
        }
        for alias in &later.aliases {
            let taken = match self.aliases.get(alias) {
                Some(of) if *of != later.name => Some(format!("another name of the kind `{of}`")),
                _ if *alias == later.name => Some("the name of the kind itself".to_owned()),
                _ if self.specs.contains_key(alias) => Some("the name of a kind".to_owned()),
                _ => None,
            };
            if let Some(taken) = taken {
                return Err(error(
                    line_of("aliases"),
                    format!("the alias `{alias}` is {taken} already; choose another"),
                ));
            }
        }
        spec.extend(later);
        spec.check().map_err(|(key, why)| error(line_of(key), why))?;
        self.aliases.extend(spec.aliases.iter().map(|alias| (alias.clone(), spec.name.clone())));
        self.specs.insert(spec.name.clone(), Arc::new(spec));
        Ok(())
    }

    /// The kind of this name or alias, in any case.
    pub fn find(&self, name: &str) -> Option<&KindSpec> {
        let name: Kind = name.to_ascii_lowercase().parse().ok()?;
        let name = self.aliases.get(&name).unwrap_or(&name);
        self.specs.get(name).map(Arc::as_ref)
    }

    /// The kind of this name, unless it is none of these.
    pub fn get(&self, kind: &Kind) -> Option<&KindSpec> {
        self.specs.get(kind).map(Arc::as_ref)
    }

    /// The kind of this name, to be kept.
    pub(super) fn shared(&self, kind: &Kind) -> Option<Arc<KindSpec>> {
        self.specs.get(kind).map(Arc::clone)
    }

    /// All kinds by name.
    pub fn iter(&self) -> impl Iterator<Item = &KindSpec> {
        self.specs.values().map(Arc::as_ref)
    }

    /// The names of all kinds, and all other names that they have.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.specs.keys().chain(self.aliases.keys()).map(Kind::as_str)
    }

    /// The name that looks most like this one, if one looks like it at all.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        super::nearest::nearest(name, self.names())
    }
}

/// The kind of a node, by one of its names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) kind: Kind,
    /// The name that the file has for it, in lower-case letters.
    pub(super) written: String,
}

impl Read for Named {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const ADVICE: &str =
            "`netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one";
        let name = cx.text(value, at)?;
        let written = name.to_ascii_lowercase();
        let kinds = cx.input.kinds;
        if let Some(spec) = kinds.find(&written) {
            return Some(Self { kind: spec.name.clone(), written });
        }
        let near = cx.report.nearest(&written, kinds.names());
        let message = format!("there is no kind `{}`", cut(name));
        let help = match &near {
            Some(near) => format!("did you mean `{near}`? {ADVICE}"),
            None => ADVICE.to_owned(),
        };
        cx.report.error(Code::UnknownKind, value.span, at, message).suggest(near).help(help);
        None
    }
}
