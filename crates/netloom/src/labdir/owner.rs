//! Whose the files of a lab are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid};

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user.
    pub(crate) user: Uid,
    /// The group.
    pub(crate) group: Gid,
}

impl Owner {
    /// The one who called sudo, if this is root for somebody; everybody else owns what they make anyway.
    pub(crate) fn behind_sudo() -> Option<Self> {
        let number = |name: &str| std::env::var(name).ok();
        if rustix::process::geteuid().is_root() { Self::read(number) } else { None }
    }

    /// From the variables that sudo(8) sets.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        // The highest number says "unchanged" to chown(2).
        let number = |name: &str| variable(name)?.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        Some(Self { user: Uid::from_raw(number("SUDO_UID")?), group: Gid::from_raw(number("SUDO_GID")?) })
    }
}

/// The name of the user whose a file is, or their number if the host has no name for it; empty for a file that is not
/// there.
pub(crate) fn name_of(path: &Path) -> String {
    let Ok(there) = fs::metadata(path) else { return String::new() };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&users, there.uid()).map_or_else(|| there.uid().to_string(), str::to_owned)
}

/// The name of a user in the form of passwd(5).
fn find(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_the_one_who_called_sudo() {
        let read = |user: &'static str, group: &'static str| {
            Owner::read(|name| match name {
                "SUDO_UID" => Some(user.to_owned()),
                _ => Some(group.to_owned()).filter(|text| !text.is_empty()),
            })
        };
        let me = Owner { user: Uid::from_raw(1000), group: Gid::from_raw(1001) };
        assert_eq!(read("1000", "1001"), Some(me));
        for (user, group) in [("1000", ""), ("-1", "0"), ("4294967295", "0"), ("me", "us")] {
            assert_eq!(read(user, group), None, "{user} {group}");
        }
    }

    #[test]
    fn users_have_the_names_of_the_host() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\nme:x:1000:1001::/home/me:/bin/sh\n";
        assert_eq!((find(users, 1000), find(users, 0), find(users, 7)), (Some("me"), Some("root"), None));
    }
}
