//! What is checked out of a repository, read from its files: no `git` needs to be installed.

use std::fs;
use std::path::{Path, PathBuf};

use netloom_model::topology::GitHead;

/// Digits of a hash that are shown, as `git` does in small repositories.
const SHORT: usize = 7;

/// A reference that names another one may be followed this often.
const MOST_HOPS: usize = 5;

/// The branch and commit of the repository that a directory is in. Nothing outside of one, or before its first commit.
pub(crate) fn head(directory: &Path) -> Option<GitHead> {
    let own = directory.ancestors().find_map(git_directory)?;
    let head = read(&own.join("HEAD"))?;
    let common = read(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path.trim()));
    let mut reference = head.trim().to_owned();
    for _ in 0..MOST_HOPS {
        let Some(name) = reference.strip_prefix("ref: ") else { break };
        let loose = [&own, &common].into_iter().find_map(|place| read(&place.join(name)));
        let found = loose.or_else(|| packed(&common, name))?;
        found.trim().clone_into(&mut reference);
    }
    let hash = reference.get(..SHORT).filter(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let branch = head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned);
    Some(GitHead { branch, hash: hash.to_owned() })
}

/// `.git` in a directory: a directory, or a file that names one (work trees, submodules).
fn git_directory(directory: &Path) -> Option<PathBuf> {
    let path = directory.join(".git");
    if path.is_dir() {
        return Some(path);
    }
    let text = read(&path)?;
    Some(directory.join(text.trim().strip_prefix("gitdir: ")?))
}

/// A reference that is kept with all others in one file.
fn packed(common: &Path, name: &str) -> Option<String> {
    let all = read(&common.join("packed-refs"))?;
    all.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
}

/// A small file of text.
fn read(path: &Path) -> Option<String> {
    const MOST: u64 = 16 << 20;
    let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MOST);
    if is_small { fs::read_to_string(path).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_and_commit_are_read_from_the_files_of_a_repository() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let labs = at("labs/one");
        fs::create_dir_all(&labs).unwrap();
        assert_eq!(head(&labs), None);

        fs::create_dir_all(at(".git/refs/heads/feature")).unwrap();
        fs::write(at(".git/HEAD"), "ref: refs/heads/feature/x\n").unwrap();
        assert_eq!(head(&labs), None);

        let hash = "0123456789abcdef0123456789abcdef01234567";
        fs::write(at(".git/packed-refs"), format!("# pack-refs\n{hash} refs/heads/feature/x\n")).unwrap();
        let wanted = |branch: Option<&str>, hash: &str| {
            Some(GitHead { branch: branch.map(str::to_owned), hash: hash.to_owned() })
        };
        assert_eq!(head(&labs), wanted(Some("feature/x"), "0123456"));

        fs::write(at(".git/refs/heads/feature/x"), "fedcba9876543210fedcba9876543210fedcba98\n").unwrap();
        assert_eq!(head(&labs), wanted(Some("feature/x"), "fedcba9"));

        fs::write(at(".git/HEAD"), format!("{hash}\n")).unwrap();
        assert_eq!(head(&labs), wanted(None, "0123456"));

        // A work tree of it.
        fs::create_dir_all(at(".git/worktrees/w")).unwrap();
        fs::write(at(".git/worktrees/w/HEAD"), "ref: refs/heads/feature/x\n").unwrap();
        fs::write(at(".git/worktrees/w/commondir"), "../..\n").unwrap();
        fs::write(labs.join(".git"), format!("gitdir: {}\n", at(".git/worktrees/w").display())).unwrap();
        assert_eq!(head(&labs), wanted(Some("feature/x"), "fedcba9"));
    }
}
