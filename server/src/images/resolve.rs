//! At submit: the name of an image becomes its digest, so that every attempt has the same content, and what the task does not say is filled in from
//! what the image says of itself.

use super::{ImageError, Images};
use shoal_core::image::{self, Digest, ImageEntry};
use shoal_proto::v1;
use std::collections::BTreeMap;

impl Images {
    /// The tasks of a request whose root is no directory that some node offers: an image, or what nobody knows.
    pub async fn named(&self, tasks: &[v1::TaskSpec]) -> Vec<usize> {
        let nodes = self.insight.nodes().await;
        let offered = |root: &String| nodes.iter().any(|node| node.entry.roots.contains(root));
        let named =
            tasks.iter().enumerate().filter(|(_, task)| !task.root.is_empty() && !offered(&task.root));
        named.map(|(index, _)| index).collect()
    }

    /// Fills in these tasks of a request. What is no image is left as it is, and is refused later. `earlier` has the roots that a task got in an earlier
    /// try of this request: a name that has moved on since then does not change it.
    pub async fn resolve(
        &self,
        tasks: &mut [v1::TaskSpec],
        named: &[usize],
        earlier: &BTreeMap<usize, String>,
    ) -> Result<(), ImageError> {
        let mut found: BTreeMap<String, Option<(Digest, ImageEntry)>> = BTreeMap::new();
        for index in named {
            let task = &mut tasks[*index];
            let name = earlier.get(index).filter(|root| image::is_image(root)).unwrap_or(&task.root).clone();
            if !found.contains_key(&name) {
                let image = self.find(&name).await?;
                found.insert(name.clone(), image.map(|(digest, stored)| (digest, stored.value)));
            }
            match found.get(&name).and_then(Option::as_ref) {
                Some((digest, entry)) => fill_in(task, *digest, entry),
                None if image::is_image(&name) => return Err(ImageError::Unknown(name)),
                None => {}
            }
        }
        Ok(())
    }
}

fn fill_in(task: &mut v1::TaskSpec, digest: Digest, entry: &ImageEntry) {
    task.root = digest.to_string();
    if task.command.is_empty() {
        task.command.clone_from(&entry.command);
    }
    if task.workdir.is_empty() {
        task.workdir.clone_from(&entry.workdir);
    }
    if task.run_as.is_none() {
        task.run_as = Some(v1::RunAs { uid: entry.run_as.uid, gid: entry.run_as.gid });
    }
    for (name, value) in &entry.env {
        task.env.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::spec::RunAs;
    use shoal_core::time::WallMs;

    #[test]
    fn what_a_task_says_goes_before_what_the_image_says() {
        let digest = Digest::new([7; 32]);
        let entry = ImageEntry {
            name: "tools".to_owned(),
            blob: digest,
            blob_bytes: 1,
            bytes: 1,
            inodes: 1,
            format: "oci".to_owned(),
            created: WallMs(0),
            env: [("A", "image"), ("B", "image")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            command: vec!["/bin/app".to_owned(), "serve".to_owned()],
            workdir: "/srv".to_owned(),
            run_as: RunAs { uid: 7, gid: 8 },
            unknown: Default::default(),
        };
        let mut silent = v1::TaskSpec { root: "tools".to_owned(), ..Default::default() };
        fill_in(&mut silent, digest, &entry);
        assert_eq!((silent.root.as_str(), silent.command.len()), (digest.to_string().as_str(), 2));
        assert_eq!((silent.workdir.as_str(), silent.run_as), ("/srv", Some(v1::RunAs { uid: 7, gid: 8 })));
        let mut task = v1::TaskSpec {
            command: vec!["true".to_owned()],
            env: [("A".to_owned(), "task".to_owned())].into(),
            workdir: "/tmp".to_owned(),
            run_as: Some(v1::RunAs { uid: 1, gid: 1 }),
            ..Default::default()
        };
        fill_in(&mut task, digest, &entry);
        assert_eq!((task.command.as_slice(), task.workdir.as_str()), (&["true".to_owned()][..], "/tmp"));
        assert_eq!((task.env["A"].as_str(), task.env["B"].as_str()), ("task", "image"));
        assert_eq!(task.run_as, Some(v1::RunAs { uid: 1, gid: 1 }));
    }
}
