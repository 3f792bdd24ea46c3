//! The contract of copying, a part of that of runtimes.

use bytes::Bytes;
use tar::{Builder, Header};

use super::{LAB, PATIENCE};
use crate::copy::{CopyError, CopyIn, CopyOut, Landing, Links, Owner};
use crate::driver::Runtime;
use crate::testing::world::name;

/// Copies into and out of the node `lives`, which runs.
pub(super) async fn files_come_and_go(runtime: &dyn Runtime) {
    let one = archive(&[("one", Some("1"))]);
    let both = archive(&[("both", None), ("both/one", Some("1")), ("both/two", Some(&"2".repeat(200_000)))]);

    put(runtime, "/tmp", Landing::Named, &one).await.expect("into a directory");
    put(runtime, "tmp/renamed", Landing::Named, &one).await.expect("under a new name, counted from /");
    put(runtime, "/tmp/new", Landing::Named, &both).await.expect("a directory under a new name");
    put(runtime, "/tmp/new", Landing::Named, &both).await.expect("into that directory");
    put(runtime, "/tmp/new", Landing::Into, &archive(&[("a", Some("")), ("b", Some(""))])).await.expect("as it is");
    assert_eq!(get(runtime, "/tmp/one").await.expect("it is there"), [("one".to_owned(), 1)]);
    assert_eq!(get(runtime, "/tmp/renamed").await.expect("it is there"), [("renamed".to_owned(), 1)]);
    let mut all = get(runtime, "/tmp/new").await.expect("it is there");
    all.sort();
    let expected = [
        ("new", 0),
        ("new/a", 0),
        ("new/b", 0),
        ("new/both", 0),
        ("new/both/one", 1),
        ("new/both/two", 200_000),
        ("new/one", 1),
        ("new/two", 200_000),
    ];
    assert_eq!(all, expected.map(|(name, size)| (name.to_owned(), size)));
    let content = get(runtime, "/tmp/new/both/.").await.expect("it is there");
    assert_eq!(content.first().map(|(name, _)| name.as_str()), Some("."), "{content:?}");

    for refused in [
        get(runtime, "/tmp/missing").await.map(drop),
        put(runtime, "/missing/one", Landing::Named, &one).await,
        put(runtime, "/missing", Landing::Into, &one).await,
    ] {
        assert!(matches!(&refused, Err(CopyError::Refused(why)) if why.contains("missing")), "{refused:?}");
    }
    let short = &both[..both.len() - 1024];
    put(runtime, "/tmp/short", Landing::Named, short).await.expect_err("it has no end");
    assert!(get(runtime, "/tmp/short").await.is_err(), "nothing is left of it");

    // Left half way.
    let request = CopyOut { path: "/tmp/new".into(), links: Links::Kept };
    drop(runtime.copy_out(&name(LAB), &name("lives"), request).await.expect("it begins"));
    let copying = runtime.copy_in(&name(LAB), &name("lives"), to("/tmp/left", Landing::Named)).await;
    let copying = copying.expect("it begins");
    copying.pieces.send(Bytes::copy_from_slice(&both[..2000])).await.expect("it takes something");
    drop(copying.pieces);
    let ended = tokio::time::timeout(PATIENCE, copying.done).await.expect("it ends").expect("and says how");
    assert!(ended.is_err(), "{ended:?}");
    assert!(get(runtime, "/tmp/left").await.is_err(), "nothing is left of it");

    let request = CopyOut { path: "/tmp".into(), links: Links::Kept };
    let absent = runtime.copy_out(&name(LAB), &name("absent"), request).await.expect_err("there is no such node");
    assert!(matches!(&absent, CopyError::Failed(why) if why.to_string().contains("absent")), "{absent:?}");
    let absent = runtime.copy_in(&name(LAB), &name("absent"), to("/tmp", Landing::Named)).await;
    assert!(absent.is_err(), "there is no such node");
}

fn to(path: &str, landing: Landing) -> CopyIn {
    CopyIn { path: path.to_owned(), landing, owner: Owner::Root }
}

fn archive(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let content = content.unwrap_or_default();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).expect("memory takes everything");
    }
    builder.into_inner().expect("memory takes everything")
}

async fn put(runtime: &dyn Runtime, path: &str, landing: Landing, archive: &[u8]) -> Result<(), CopyError> {
    let copying = runtime.copy_in(&name(LAB), &name("lives"), to(path, landing)).await?;
    let feed = async {
        for piece in archive.chunks(7000) {
            if copying.pieces.send(Bytes::copy_from_slice(piece)).await.is_err() {
                break;
            }
        }
        drop(copying.pieces);
        copying.done.await.expect("it says how it ended")
    };
    tokio::time::timeout(PATIENCE, feed).await.expect("it ends")
}

/// Names and lengths of what is copied.
async fn get(runtime: &dyn Runtime, path: &str) -> Result<Vec<(String, u64)>, CopyError> {
    let request = CopyOut { path: path.to_owned(), links: Links::Kept };
    let mut copying = runtime.copy_out(&name(LAB), &name("lives"), request).await?;
    let mut archive = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, copying.pieces.recv()).await.expect("it ends") {
        archive.extend_from_slice(&piece?);
    }
    let end = archive.len().checked_sub(1024).expect("there is an end mark");
    assert!(archive[end..].iter().all(|byte| *byte == 0), "there is an end mark");
    let mut archive = tar::Archive::new(archive.as_slice());
    let entries = archive.entries().expect("it is an archive");
    let of = |entry: tar::Entry<'_, _>| {
        let path = entry.path().expect("a name").display().to_string();
        (path.trim_end_matches('/').to_owned(), entry.size())
    };
    Ok(entries.map(|entry| of(entry.expect("it is an archive"))).collect())
}
