//! The host: limits, room, clock, uplink, and what is left of nodes.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use netloom_drivers::limits::KernelLimits;
use netloom_engine::{Layout, Limits};
use netloom_plan::{HostLimits, Limit};
use rustix::fs::{statfs, statvfs};

use super::Finding;
use super::fix::Fix;
use crate::failure::plain;

const AREA: &str = "host";
/// As large as labs are that a host should have room for.
const NODES: u64 = 100;
const MIB: u64 = 1 << 20;

/// What a node with two links takes of a limit, measured; see docs/agent.md.
fn cost(limit: Limit) -> u64 {
    match limit {
        Limit::NeighboursV6 => 8,
        Limit::NeighboursV4 => 4,
        Limit::OpenFiles => 16,
        Limit::Pids | Limit::Threads | Limit::GroupPids => 2,
        Limit::BridgePorts => 0,
        _ => 1,
    }
}

/// The limits that deploys are held against.
pub(super) async fn limits() -> Vec<Finding> {
    let read = match KernelLimits::start() {
        Ok(limits) => limits.read().await.map_err(|error| error.to_string()),
        Err(error) => Err(plain(&error)),
    };
    match read {
        Ok(host) => judge_limits(&host),
        Err(why) => vec![Finding::warn(AREA, "limits", why)],
    }
}

fn judge_limits(host: &HostLimits) -> Vec<Finding> {
    let (mut findings, mut fitting) = (Vec::new(), 0);
    for (limit, level) in &host.levels {
        let cost = cost(*limit);
        let room = level.max.saturating_sub(level.used).checked_div(cost).unwrap_or(u64::MAX);
        if room >= NODES {
            fitting += 1;
            continue;
        }
        let name = match (limit.sysctl(), &level.place) {
            (Some(sysctl), _) => sysctl.to_owned(),
            (None, Some(place)) => place.clone(),
            (None, None) => "RLIMIT_NOFILE".to_owned(),
        };
        let found = format!("{} of {} in use: room for {room} nodes with two links each", level.used, level.max);
        let finding = if room == 0 { Finding::fail(AREA, &name, found) } else { Finding::warn(AREA, &name, found) };
        let enough = (level.used + NODES * cost).max(level.max.saturating_mul(2));
        let mend = match (limit.sysctl(), &level.place) {
            (Some(sysctl), _) => {
                format!("sysctl -w {sysctl}={enough}; or `netloom deploy --raise-limits`, for as long as it is needed")
            }
            (None, Some(place)) => format!("echo {enough} > {place}"),
            (None, None) => format!("ulimit -n {enough}, where the agent is started (LimitNOFILE of its service)"),
        };
        findings.push(finding.means("a larger lab is refused, or works badly").mend(mend));
    }
    if fitting > 0 {
        findings.insert(0, Finding::ok(AREA, "limits", format!("{fitting} leave room for {NODES} nodes and more")));
    }
    findings
}

/// Room where the agent keeps things, and whether nodes can write there.
pub(super) fn disk(layout: &Layout) -> Vec<Finding> {
    let places = [("state", layout.state(), 256 * MIB), ("run directory", layout.run(), 16 * MIB)];
    let mut findings: Vec<Finding> =
        places.into_iter().map(|(name, path, least)| room(name, existing(&path), least)).collect();
    // OVERLAYFS_SUPER_MAGIC (linux/magic.h).
    let is_overlay = statfs(existing(&layout.state())).is_ok_and(|fs| fs.f_type == 0x794c_7630);
    if is_overlay {
        findings.push(
            Finding::warn(AREA, "layers", format!("{} is on an overlay", layout.state().display()))
                .means("what namespace nodes write is kept in memory, and lost when they end")
                .mend("mount a disk there (docker run -v netloom:/var/lib/netloom), or set NETLOOM_ROOT"),
        );
    }
    findings
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn room(name: &str, path: &Path, least: u64) -> Finding {
    let at = path.display();
    let stat = match statvfs(path) {
        Ok(stat) => stat,
        Err(errno) => return Finding::fail(AREA, name, format!("{at}: {}", plain(&errno.into()))),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MiB free at {at}", free / MIB);
    let mend = format!("df -h {at}; netloom image prune; netloom prune");
    let inodes = stat.f_files == 0 || stat.f_favail > 1000;
    match (free, inodes) {
        (free, _) if free < least / 16 => Finding::fail(AREA, name, found).means("no lab can be changed").mend(mend),
        (free, _) if free < least => Finding::warn(AREA, name, found).means("it may be full soon").mend(mend),
        (_, false) => {
            let found = format!("{} inodes free at {at}", stat.f_favail);
            Finding::warn(AREA, name, found).means("it may be full soon").mend(format!("df -i {at}; netloom prune"))
        }
        _ => Finding::ok(AREA, name, found),
    }
}

/// A clock that is behind makes everything that has a date too young or not yet valid.
pub(super) fn clock() -> Option<Finding> {
    let built = fs::metadata("/proc/self/exe").and_then(|metadata| metadata.modified()).ok()?;
    Some(judge_clock(SystemTime::now(), built))
}

fn judge_clock(now: SystemTime, built: SystemTime) -> Finding {
    const SLACK: Duration = Duration::from_secs(60);
    let text = humantime::format_rfc3339_seconds(now);
    if now + SLACK < built {
        let found = format!("it is {text}, which was before this program was made");
        let means = "certificates are not valid yet, ages and logs mislead";
        return Finding::fail(AREA, "clock", found)
            .means(means)
            .mend("timedatectl set-ntp true; or set it by `date -s`");
    }
    Finding::ok(AREA, "clock", text.to_string())
}

/// What tunnels to other hosts have room for.
pub(super) fn uplink() -> Option<Finding> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let Some(name) = default_interface(&routes) else {
        return Some(Finding::ok(AREA, "uplink", "no default route: labs stay on this host"));
    };
    let mtu = fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()?;
    Some(judge_uplink(name, mtu))
}

fn default_interface(routes: &str) -> Option<&str> {
    let mut lines = routes.lines().skip(1).map(|line| line.split('\t'));
    lines.find_map(|mut fields| {
        let (name, destination, mask) = (fields.next()?, fields.next()?, fields.nth(5)?);
        (destination == "00000000" && mask == "00000000").then_some(name)
    })
}

/// Bytes that VXLAN over IPv4 adds to a packet: Ethernet, IP, UDP and its own header.
const VXLAN: u64 = 50;

fn judge_uplink(name: &str, mtu: u64) -> Finding {
    let found = format!("{name} has an MTU of {mtu}: vxlan links carry {} bytes", mtu.saturating_sub(VXLAN));
    if mtu >= 1500 {
        return Finding::ok(AREA, "uplink", found);
    }
    let means = "larger packets are lost on links to other hosts without a word";
    let mend = format!(
        "set `mtu: {}` on links of the type vxlan; or, where the network carries it, ip link set {name} mtu 1550",
        mtu.saturating_sub(VXLAN)
    );
    Finding::warn(AREA, "uplink", found).means(means).mend(mend)
}

/// Links of ours for `ip netns` that lead nowhere.
pub(super) fn dangling(layout: &Layout) -> Option<Finding> {
    let pins = layout.pins();
    let entries = fs::read_dir(layout.ip_netns()).ok()?;
    let links = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = links.filter(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(&pins)) && !link.exists());
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    let first = ours.first()?.display().to_string();
    let found = format!("{} to namespaces that are gone, such as {first}", crate::render::count(ours.len(), "link"));
    let finding = Finding::warn(AREA, "ip netns", found).means("`ip netns` lists nodes that are not there");
    Some(finding.mend("netloom doctor --fix").fix(Fix::DanglingLinks(ours)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use netloom_plan::Level;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn limits_are_judged_by_the_nodes_that_there_is_room_for() {
        let level = |max, used| Level { max, used, place: None };
        let levels = BTreeMap::from([
            (Limit::Pids, level(4_194_304, 300)),
            (Limit::NeighboursV4, level(128, 8)),
            (Limit::Descriptors, level(64, 64)),
        ]);
        let findings = judge_limits(&HostLimits { levels, ..HostLimits::default() });
        let told: Vec<_> = findings.iter().map(|f| (f.verdict, f.check.as_str())).collect();
        let expected = [
            (Verdict::Ok, "limits"),
            (Verdict::Warn, "net.ipv4.neigh.default.gc_thresh3"),
            (Verdict::Fail, "RLIMIT_NOFILE"),
        ];
        assert_eq!(told, expected);
        assert!(findings[1].found.contains("room for 30 nodes"), "{}", findings[1].found);
        assert!(findings[1].mend.as_ref().unwrap().contains("sysctl -w net.ipv4.neigh.default.gc_thresh3=408"));
    }

    #[test]
    fn the_uplink_is_the_interface_of_the_default_route() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                      docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n\
                      ens3\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\n";
        assert_eq!(default_interface(routes), Some("ens3"));
        assert_eq!(default_interface("Iface\tDestination\n"), None);
        assert_eq!(judge_uplink("ens3", 1500).verdict, Verdict::Ok);
        let small = judge_uplink("ens3", 1400);
        assert_eq!(small.verdict, Verdict::Warn);
        assert!(small.mend.unwrap().contains("mtu: 1350"));
    }

    #[test]
    fn a_clock_before_this_program_was_made_is_wrong() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(judge_clock(built, built).verdict, Verdict::Ok);
        assert_eq!(judge_clock(SystemTime::UNIX_EPOCH, built).verdict, Verdict::Fail);
    }

    #[test]
    fn links_that_lead_nowhere_are_found_and_taken_away_and_others_stay() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        assert_eq!(dangling(&layout), None);
        fs::create_dir_all(layout.ip_netns()).unwrap();
        fs::create_dir_all(layout.pins().join("x")).unwrap();
        fs::write(layout.pins().join("x/b"), "").unwrap();
        let link = |name: &str, target: &Path| symlink(target, layout.ip_netns().join(name)).unwrap();
        link("gone", &layout.pins().join("x/a"));
        link("there", &layout.pins().join("x/b"));
        link("foreign", Path::new("/nowhere/at/all"));
        let finding = dangling(&layout).unwrap();
        assert!(finding.found.starts_with("1 link"), "{}", finding.found);
        assert_eq!(finding.fix.unwrap().apply(), Ok("removed 1 link".to_owned()));
        assert_eq!(dangling(&layout), None);
        assert!(layout.ip_netns().join("foreign").is_symlink() && layout.ip_netns().join("there").exists());
    }
}
