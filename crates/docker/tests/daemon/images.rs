//! Images.

use bytes::Bytes;
use netloom_docker::{ByteStream, ErrorKind, Filters, RemoveImage, Removed};
use netloom_dockerd_fixture::archive;

use crate::stage::{Stage, idle, soon};

pub(crate) async fn images_are_loaded_listed_and_removed(stage: &Stage) {
    let docker = &stage.docker;
    let reference = "netloom.test/loaded:2";
    let config = serde_json::json!({
        "Cmd": ["sh"], "Entrypoint": ["env"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"who": "test"},
        "WorkingDir": "/tmp", "Volumes": null,
    });
    let bytes = ByteStream::from(Bytes::from(archive(reference, &config, &[("etc/motd", b"hello\n", 0o644)])));
    assert_eq!(docker.load_image(bytes, soon()).await.unwrap(), [reference]);

    let image = docker.inspect_image(reference, soon()).await.unwrap();
    assert_eq!((image.os.as_str(), image.repo_tags.as_slice()), ("linux", [reference.to_owned()].as_slice()));
    assert_eq!((image.config.cmd[0].as_str(), image.config.entrypoint[0].as_str()), ("sh", "env"));
    assert!(image.config.exposed_ports.contains("80/tcp") && image.config.volumes.is_empty());
    assert_eq!(image.config.working_dir, "/tmp");

    let listed = docker.list_images(&Filters::new().label("who=test"), soon()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].id.as_str(), listed[0].repo_tags.as_slice()),
        (image.id.as_str(), image.repo_tags.as_slice())
    );

    let mut spec = idle();
    spec.image = reference.into();
    let id = docker.create_container("loaded", &spec, soon()).await.unwrap().id;
    let error = docker.remove_image(reference, RemoveImage::Unused, soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    stage.remove(&id).await;
    let removed = docker.remove_image(reference, RemoveImage::Unused, soon()).await.unwrap();
    assert!(removed.contains(&Removed::Untagged(reference.into())) && removed.contains(&Removed::Deleted(image.id)));

    let nothing = Filters::new().with("dangling", "false").label("who=nobody");
    assert_eq!(docker.prune_images(&nothing, soon()).await.unwrap().removed, []);

    let broken = ByteStream::from(Bytes::from_static(b"this is no archive"));
    let error = docker.load_image(broken, soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Daemon { .. } | ErrorKind::Refused { .. }), "{error}");
}

pub(crate) async fn an_image_that_exists_nowhere_is_a_clear_error(stage: &Stage) {
    // The daemon's network has no way out: no registry answers.
    let reference = "registry.invalid/nothing:1";
    let error = match stage.docker.pull_image(reference, soon()).await {
        Err(error) => error,
        Ok(mut pull) => loop {
            if let Err(error) = pull.next().await.expect("it cannot succeed") {
                break error;
            }
        },
    };
    let text = error.to_string();
    assert!(text.starts_with("cannot pull image `registry.invalid/nothing:1`: "), "{text}");
    assert!(matches!(&error.kind, ErrorKind::Daemon { message, .. } if message.contains("registry.invalid")), "{text}");
}
