//! Files of containers.

use std::io::Read;

use bytes::Bytes;
use netloom_docker::{ByteStream, PathKind, PutOptions};

use crate::stage::{Stage, idle, soon};

pub(crate) async fn files_go_in_and_come_out(stage: &Stage) {
    let docker = &stage.docker;
    let id = docker.create_container("files", &idle(), soon()).await.unwrap().id;
    // Large enough that it goes in many pieces.
    let content = vec![b'x'; 3 << 20];
    let body = ByteStream::new(futures::stream::iter(
        archive("note", &content).chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>(),
    ));
    docker.put_archive(&id, "/tmp", body, PutOptions::default(), soon()).await.unwrap();

    let stat = docker.head_archive(&id, "/tmp/note", soon()).await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size, stat.kind()), ("note", 3 << 20, PathKind::File));
    assert_eq!(docker.head_archive(&id, "/tmp", soon()).await.unwrap().kind(), PathKind::Directory);
    let link = docker.head_archive(&id, "/bin/sh", soon()).await.unwrap();
    assert_eq!((link.kind(), link.link_target.as_str()), (PathKind::Symlink, "/bin/busybox"));

    let (stat, mut bytes) = docker.get_archive(&id, "/tmp/note", soon()).await.unwrap();
    assert_eq!(stat.name, "note");
    let mut whole = Vec::new();
    while let Some(piece) = bytes.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert!(only_file(&whole) == ("note".to_owned(), content));

    for missing in
        [docker.head_archive(&id, "/no", soon()).await.err(), docker.get_archive(&id, "/no", soon()).await.err()]
    {
        let error = missing.unwrap();
        assert!(error.is_not_found() && error.object == format!("{id}:/no"), "{error}");
    }
    let nowhere = docker.put_archive(&id, "/no", Bytes::from(archive("a", b"")).into(), PutOptions::default(), soon());
    assert!(nowhere.await.unwrap_err().is_not_found());
    stage.remove(&id).await;
}

fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    archive.append_data(&mut header, name, content).unwrap();
    archive.into_inner().unwrap()
}

/// The name and the content of the only file of an archive.
fn only_file(archive: &[u8]) -> (String, Vec<u8>) {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let name = entry.path().unwrap().to_str().unwrap().to_owned();
    assert!(entries.next().is_none());
    (name, content)
}
