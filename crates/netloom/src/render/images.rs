//! Images as text.

use std::fmt::Write;
use std::time::SystemTime;

use netloom_engine::{ImageView, ImagesRemoved, ImagesView};
use netloom_model::LabName;

use super::{count, table, text};

/// How much of an id is shown, as Docker does.
const SHORT_ID: usize = 12;

/// All images, one line for each name.
pub(crate) fn images(view: &ImagesView) -> String {
    let mut out = String::new();
    if let Some(stale) = &view.stale {
        let _ = match view.listed {
            Some(at) => writeln!(out, "as last seen: {stale}, last seen {}", ago(at)),
            None => writeln!(out, "{stale}"),
        };
        if view.listed.is_none() {
            return out;
        }
    }
    if view.images.is_empty() {
        out.push_str("no images; `netloom image pull NAME` or `netloom image load FILE` brings some\n");
        return out;
    }
    let mut rows: Vec<(&str, &ImageView)> = Vec::new();
    for image in &view.images {
        match image.image.references.as_slice() {
            [] => rows.push(("<none>", image)),
            names => rows.extend(names.iter().map(|name| (name.as_str(), image))),
        }
    }
    rows.sort_by(|(a, x), (b, y)| (a, &x.image.id).cmp(&(b, &y.image.id)));
    let mut table = table(&["IMAGE", "ID", "SIZE", "LABS"]);
    for (name, view) in rows {
        let labs: Vec<&str> = view.labs.iter().map(LabName::as_str).collect();
        let id = view.image.id.strip_prefix("sha256:").unwrap_or(&view.image.id);
        let id = id.get(..SHORT_ID).unwrap_or(id);
        table.add_row(vec![name.to_owned(), id.to_owned(), size(view.image.size_bytes), labs.join(", ")]);
    }
    out + &text(table)
}

/// What was removed.
pub(crate) fn removed(removed: &ImagesRemoved) -> String {
    let mut out = String::new();
    out.extend(removed.removed.iter().map(|name| format!("removed {name}\n")));
    out.extend(removed.kept.iter().map(|why| format!("kept {why}\n")));
    let many = count(removed.removed.len(), "image");
    let _ = match removed.freed_bytes {
        Some(bytes) => writeln!(out, "{many} removed, {} freed", size(bytes)),
        None => writeln!(out, "{many} removed"),
    };
    out
}

/// Bytes as people say them: powers of ten, as registries have them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

fn ago(at: SystemTime) -> String {
    let age = SystemTime::now().duration_since(at).unwrap_or_default();
    format!("{} ago", humantime::format_duration(std::time::Duration::from_secs(age.as_secs())))
}

#[cfg(test)]
mod tests {
    use netloom_engine::ImageFact;
    use netloom_model::RuntimeKind;

    use super::*;

    fn image(id: &str, names: &[&str], size_bytes: u64, labs: &[&str]) -> ImageView {
        let image = ImageFact {
            runtime: RuntimeKind::Docker,
            id: format!("sha256:{id:0<64}"),
            references: names.iter().map(|name| (*name).to_owned()).collect(),
            digests: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            size_bytes,
        };
        ImageView { image, labs: labs.iter().map(|lab| lab.parse().unwrap()).collect() }
    }

    #[test]
    fn images_are_listed_by_name_with_the_labs_that_need_them() {
        let view = ImagesView {
            images: vec![
                image("c0ffee", &["web:1", "alpine:3.20"], 7_840_000, &["ospf", "two"]),
                image("beef", &[], 1_234_567_890, &[]),
            ],
            listed: None,
            stale: None,
        };
        insta::assert_snapshot!(images(&view), @r"
        IMAGE        ID            SIZE    LABS
        <none>       beef00000000  1.2 GB
        alpine:3.20  c0ffee000000  7.8 MB  ospf, two
        web:1        c0ffee000000  7.8 MB  ospf, two
        ");
        let stale = ImagesView { images: Vec::new(), listed: None, stale: Some("images of docker: down".into()) };
        assert_eq!(images(&stale), "images of docker: down\n", "which there are is not known");
        let before = ImagesView { listed: Some(SystemTime::now()), ..stale };
        assert!(images(&before).starts_with("as last seen: images of docker: down, last seen 0s ago\nno images"));
    }

    #[test]
    fn a_clean_up_says_what_it_freed() {
        let kept = vec!["web:1: in use".to_owned()];
        let both = ImagesRemoved { removed: vec!["old:1".into()], kept, freed_bytes: Some(5_400) };
        assert_eq!(removed(&both), "removed old:1\nkept web:1: in use\n1 image removed, 6 kB freed\n");
        assert_eq!(removed(&ImagesRemoved::default()), "0 images removed\n");
    }
}
