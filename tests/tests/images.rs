//! Images: imported over one node, run on all, kept when nodes are lost, gone when they are removed.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use shoal_proto::v1::image_import_event::What as Told;
use shoal_proto::v1::image_import_request::What;
use shoal_proto::v1::{
    Image, ImageImportEnd, ImageImportHead, ImageImportRequest, ListImagesRequest, RemoveImageRequest, RunAs,
    State, Task, TaskSpec,
};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{sh, with_cpu, with_memory};
use shoal_tests::{case, suite, wait};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, a_root_file_system_runs_on_every_node_and_stays_as_it_was),
            case!(shared, an_image_of_layers_runs_as_it_says_itself),
            case!(shared, a_name_means_at_submit_what_it_meant_then),
            case!(shared, what_is_no_image_is_refused_with_the_reason),
            case!(shared, an_image_in_use_is_kept_and_one_that_is_removed_leaves_all_nodes),
            case!(own Options::default(), an_image_outlives_the_node_that_imported_it),
        ],
    )
}

/// A tar of the default root, which node 0 has built, and of some files more.
fn root_tar(cluster: &Cluster, files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", cluster.node(0).data_dir().join("roots/default"))?;
    append(&mut tar, files)?;
    Ok(tar.into_inner()?)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        append_bytes(tar, name, text.as_bytes())?;
    }
    Ok(())
}

fn append_bytes(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(tar.append_data(&mut header, name, bytes)?)
}

fn sha256(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// An OCI layout of these layers.
fn layout(layers: &[Vec<u8>], config: &serde_json::Value) -> Result<(String, Vec<u8>)> {
    let config =
        serde_json::to_vec(&serde_json::json!({"architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": []}}))?;
    let descriptor = |bytes: &[u8]| serde_json::json!({"mediaType": "application/octet-stream", "digest": sha256(bytes), "size": bytes.len()});
    let described: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
    let manifest = serde_json::to_vec(
        &serde_json::json!({"schemaVersion": 2, "config": descriptor(&config), "layers": described}),
    )?;
    let index =
        serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": [descriptor(&manifest)]}))?;
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, &[("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)])?;
    append_bytes(&mut tar, "index.json", &index)?;
    for blob in layers.iter().chain([&config, &manifest]) {
        append_bytes(&mut tar, &sha256(blob).replace("sha256:", "blobs/sha256/"), blob)?;
    }
    Ok((sha256(&manifest), tar.into_inner()?))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}

async fn import(api: &Api, name: &str, archive: &[u8]) -> Result<Image, Status> {
    let message = |what| ImageImportRequest { what: Some(what) };
    let head = message(What::Head(ImageImportHead { name: name.to_owned() }));
    let data = archive.chunks(100_000).map(|chunk| message(What::Data(chunk.to_vec())));
    let end = message(What::End(ImageImportEnd { archive_bytes: archive.len() as u64 }));
    let requests: Vec<_> = std::iter::once(head).chain(data).chain([end]).collect();
    let mut events = api.images().import(futures::stream::iter(requests)).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(Told::Image(image)) = event.what {
            return Ok(image);
        }
    }
    Err(Status::internal("no image at the end of an import"))
}

async fn images(api: &Api) -> Result<Vec<Image>> {
    Ok(api.images().list_images(ListImagesRequest {}).await?.into_inner().images)
}

async fn find(api: &Api, digest: &str) -> Result<Option<Image>> {
    Ok(images(api).await?.into_iter().find(|image| image.digest == digest))
}

fn in_image(image: &str, spec: TaskSpec) -> TaskSpec {
    TaskSpec { root: image.to_owned(), ..spec }
}

fn node_of(task: &Task) -> Result<String> {
    Ok(task.attempts.last().context("a task that ran has an attempt")?.node_name.clone())
}

async fn a_root_file_system_runs_on_every_node_and_stays_as_it_was(cluster: Arc<Cluster>) -> Result<()> {
    let archive = gzip(&root_tar(&cluster, &[("etc/motto", "as imported\n")])?)?;
    let image = import(cluster.api(0), "box", &archive).await?;
    ensure!(
        (image.digest.as_str(), image.format.as_str()) == (sha256(&archive).as_str(), "tar"),
        "{image:?}"
    );
    let held = find(cluster.api(2), &image.digest).await?.context("an image is known everywhere at once")?;
    ensure!(held.nodes.len() >= 2, "two nodes have it when the import is answered: {held:?}");
    // Each of them fills a node, and each changes the file that all of them read.
    let script = "cat /etc/motto && id -u && echo changed >/etc/motto && cat /etc/motto && sleep 1";
    let spec = in_image("box", with_memory(with_cpu(sh(script), cluster.options().cpus * 1000), 256 << 20));
    for _ in 0..2 {
        let ids = cluster.api(1).submit_many(vec![spec.clone(); 3]).await?;
        let tasks = cluster.api(1).wait_all(&ids, SOON).await?;
        let nodes = tasks.values().map(node_of).collect::<Result<BTreeSet<_>>>()?;
        ensure!(nodes.len() == 3, "three tasks of a whole node each ran on {nodes:?}");
        for (id, task) in &tasks {
            let log = cluster.api(0).log(id, false).await?.text();
            ensure!(exit_code(task) == Some(0), "{task:?}: {log}");
            ensure!(log == "as imported\n0\nchanged\n", "{log}");
            let root = task.spec.as_ref().context("a task has a specification")?.root.clone();
            ensure!(root == image.digest, "the name has become a digest: {root}");
        }
    }
    Ok(())
}

async fn an_image_of_layers_runs_as_it_says_itself(cluster: Arc<Cluster>) -> Result<()> {
    let passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:100::/:/bin/sh\n";
    let below = root_tar(&cluster, &[("etc/passwd", passwd), ("srv/version", "1\n"), ("srv/gone", "x")])?;
    let mut above = tar::Builder::new(Vec::new());
    append(&mut above, &[("srv/version", "2\n"), ("srv/.wh.gone", "")])?;
    let config = serde_json::json!({"Env": ["PATH=/bin", "GREETING=hello"], "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["echo $GREETING; id -u; pwd; cat version; ls"], "User": "app", "WorkingDir": "/srv"});
    let (digest, archive) = layout(&[gzip(&below)?, above.into_inner()?], &config)?;
    let image = import(cluster.api(1), "app", &archive).await?;
    ensure!((image.digest.as_str(), image.format.as_str()) == (digest.as_str(), "oci"), "{image:?}");
    // Without a command, and by the digest.
    let plain = TaskSpec { command: Vec::new(), ..with_memory(sh(""), 256 << 20) };
    let id = cluster.api(2).submit(in_image(&digest, plain)).await?;
    let task = cluster.api(2).wait_end(&id, SOON).await?;
    let log = cluster.api(0).log(&id, false).await?.text();
    ensure!(exit_code(&task) == Some(0) && log == "hello\n1000\n/srv\n2\nversion\n", "{task:?}: {log}");
    // What the task says itself goes before it.
    let own = TaskSpec {
        env: [("GREETING".to_owned(), "hi".to_owned())].into(),
        run_as: Some(RunAs { uid: 7, gid: 7 }),
        workdir: "/tmp".to_owned(),
        ..with_memory(sh("echo $GREETING; id -u; pwd"), 256 << 20)
    };
    let id = cluster.api(0).submit(in_image("app", own)).await?;
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    let log = cluster.api(0).log(&id, false).await?.text();
    ensure!(exit_code(&task) == Some(0) && log == "hi\n7\n/tmp\n", "{task:?}: {log}");
    Ok(())
}

async fn a_name_means_at_submit_what_it_meant_then(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let first = import(api, "moving", &root_tar(&cluster, &[("etc/which", "first\n")])?).await?;
    let spec = in_image("moving", with_memory(sh("cat /etc/which"), 256 << 20));
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = shoal_proto::v1::SubmitRequest {
        request_id,
        tasks: vec![spec.clone()],
        validate_only: false,
        allow_impossible: false,
    };
    let ids = api.raw().submit(request.clone()).await?.into_inner().ids;
    let second = import(cluster.api(2), "moving", &root_tar(&cluster, &[("etc/which", "second\n")])?).await?;
    // A retry of the submit is the same task, though the name has moved on.
    ensure!(
        cluster.api(1).raw().submit(request).await?.into_inner().ids == ids,
        "a retry names the same task"
    );
    let again = api.submit(spec).await?;
    for (id, text) in [(&ids[0], "first\n"), (&again, "second\n")] {
        api.wait_end(id, SOON).await?;
        let log = api.log(id, false).await?.text();
        ensure!(log == text, "{text:?} was meant, {log:?} ran");
    }
    let names: Vec<(String, String)> =
        images(api).await?.into_iter().map(|image| (image.digest, image.name)).collect();
    ensure!(names.contains(&(first.digest, String::new())), "the first image has lost the name: {names:?}");
    ensure!(names.contains(&(second.digest, "moving".to_owned())), "the second has it: {names:?}");
    Ok(())
}

async fn what_is_no_image_is_refused_with_the_reason(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let mut out = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.as_gnu_mut().context("it is one")?.name[..7].copy_from_slice(b"../evil");
    header.set_cksum();
    out.append(&header, &b""[..])?;
    for (name, archive, words) in [
        ("bad", b"no archive at all".to_vec(), "damaged"),
        ("bad", out.into_inner()?, "contains \"..\""),
        ("Bad Name", Vec::new(), "must be 1 to 64 of a-z 0-9 . _ -"),
        ("host", Vec::new(), "every node has a root of that name"),
    ] {
        match import(api, name, &archive).await {
            Err(status) if status.code() == Code::InvalidArgument && status.message().contains(words) => {}
            other => bail!("{name}, {words}: {other:?}"),
        }
    }
    ensure!(!images(api).await?.iter().any(|image| image.name == "bad"), "nothing was imported");
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (root, words) in [("no-such", "no live node has root"), (unknown.as_str(), "no image")] {
        let spec = in_image(root, sh("true"));
        let error = format!("{:#}", api.submit(spec).await.err().context("it is refused")?);
        ensure!(error.contains(words), "{error}");
    }
    Ok(())
}

async fn an_image_in_use_is_kept_and_one_that_is_removed_leaves_all_nodes(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let api = cluster.api(1);
    let image = import(api, "passing", &root_tar(&cluster, &[("etc/passing", "x")])?).await?;
    let id = api.submit(in_image("passing", with_memory(sh("sleep 600"), 256 << 20))).await?;
    api.wait_state(&id, State::Running, SOON).await?;
    let remove = |force| {
        let request = RemoveImageRequest { image: "passing".to_owned(), force };
        let mut images = api.images();
        async move { images.remove_image(request).await }
    };
    let refused = remove(false).await.err().context("an image in use is kept")?;
    ensure!(refused.code() == Code::FailedPrecondition, "{refused:?}");
    ensure!(refused.message().contains("is used by 1 tasks"), "{refused:?}");
    api.cancel(&id, "done").await?;
    api.wait_end(&id, SOON).await?;
    remove(false).await?;
    ensure!(find(cluster.api(2), &image.digest).await?.is_none(), "it is forgotten everywhere at once");
    wait::until("archive and tree to leave all nodes", SOON * 2, async || {
        for node in cluster.nodes() {
            let dir = node.data_dir().join("images");
            let digits = image.digest.trim_start_matches("sha256:");
            for left in [dir.join("trees").join(digits), dir.join("archives").join(digits)] {
                ensure!(!left.exists(), "{} is there", left.display());
            }
        }
        Ok(())
    })
    .await
}

async fn an_image_outlives_the_node_that_imported_it(cluster: Arc<Cluster>) -> Result<()> {
    let archive = root_tar(&cluster, &[("etc/motto", "still here\n")])?;
    let image = import(cluster.api(0), "kept", &archive).await?;
    cluster.node(0).crash()?;
    let api = cluster.api(1);
    wait::until("the cluster to see the loss", SOON, async || {
        ensure!(api.nodes().await?.len() == 2, "three nodes");
        Ok(())
    })
    .await?;
    let whole = cluster.options().cpus * 1000;
    let spec = in_image("kept", with_memory(with_cpu(sh("cat /etc/motto; sleep 1"), whole), 256 << 20));
    let ids = api.submit_many(vec![spec; 2]).await?;
    let tasks = api.wait_all(&ids, SOON).await?;
    let nodes = tasks.values().map(node_of).collect::<Result<BTreeSet<_>>>()?;
    ensure!(nodes.len() == 2, "both that are left ran one: {nodes:?}");
    for id in tasks.keys() {
        ensure!(cluster.api(2).log(id, false).await?.text() == "still here\n", "the image's own content");
    }
    wait::until("a second copy on the nodes that are left", SOON, async || {
        let held = find(api, &image.digest).await?.context("the image is known")?;
        ensure!(held.nodes.len() == 2, "{:?}", held.nodes);
        Ok(())
    })
    .await
}
