//! Archives as tools write them.

use super::archive::{Header, Layout, Tar, gzip, sha256, zstd};
use super::world::World;
use shoal_container::image::Format;
use shoal_container::policy::USERS_FIRST;
use shoal_container::protocol::User;
use std::os::unix::fs::MetadataExt;

fn rootfs() -> Tar {
    let long = format!("opt/{}", "n".repeat(200));
    let records = [("path", long.as_str()), ("mtime", "1700000000.5")];
    Tar::new()
        .dir("./")
        .dir("./etc/")
        .file("./etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:1000:100::/:/bin/sh\n")
        .file("./etc/group", b"root:x:0:\nstaff:x:50:\n")
        .entry(
            Header {
                uid: 1000,
                gid: 100,
                mode: 0o750,
                mtime: b"14371604571",
                ..Header::new("home/app/run", b'0')
            },
            b"run",
        )
        .symlink("bin", "usr/bin")
        .hardlink("etc/passwd-", "etc/passwd")
        .pax(b'x', &records)
        .file("short", b"long")
        .file("etc/.wh.x", b"no whiteout in a root file system")
}

#[test]
fn a_root_file_system_is_unpacked_however_it_is_packed() {
    let mut world = World::new();
    let plain = rootfs().end();
    let twice =
        [zstd(&plain[..1024]), vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], zstd(&plain[1024..])].concat();
    for packed in [plain.clone(), gzip(&plain), zstd(&plain), twice] {
        let unpacked = world.good(&packed);
        assert_eq!((unpacked.format, &unpacked.digest), (Format::Tar, &sha256(&packed)));
        let tree = world.tree(&unpacked);
        let run = tree.join("home/app/run").metadata().unwrap();
        assert_eq!((run.uid(), run.gid()), (USERS_FIRST + 1000, USERS_FIRST + 100));
        assert_eq!((run.mode() & 0o7777, run.mtime()), (0o750, 0o14_371_604_571));
        let home = tree.join("home").metadata().unwrap();
        assert_eq!((home.uid(), home.mode() & 0o7777), (USERS_FIRST, 0o755));
        assert_eq!(std::fs::read_link(tree.join("bin")).unwrap().to_str(), Some("usr/bin"));
        assert_eq!(tree.join("etc/passwd").metadata().unwrap().nlink(), 2);
        let long = tree.join("opt").join("n".repeat(200));
        assert_eq!(std::fs::read(&long).unwrap(), b"long");
        assert_eq!(long.metadata().unwrap().mtime(), 1_700_000_000);
        assert!(tree.join("etc/.wh.x").exists());
        assert_eq!(unpacked.inodes, 11, "{unpacked:?}");
    }
}

#[test]
fn layers_lie_on_each_other_and_whiteouts_take_away() {
    let mut world = World::new();
    let below = rootfs()
        .dir("gone")
        .file("gone/a", b"x")
        .dir("veiled")
        .file("veiled/old", b"x")
        .file("veiled/both", b"old");
    let below = below.dir("veiled/sub").file("veiled/sub/old", b"x").file("turned", b"x");
    // The whiteouts stand behind what the layer itself makes: they speak of the layers below alone.
    let above = Tar::new()
        .file("veiled/new", b"new")
        .file("veiled/both", b"new")
        .file("veiled/sub/new", b"new")
        .file("veiled/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .file("etc/.wh.passwd-", b"")
        .file(".wh.never-there", b"")
        .file("not/there/.wh.either", b"")
        .dir("turned")
        .file("turned/inside", b"x")
        .file(".wh.turned", b"");
    let config = serde_json::json!({"Env": ["PATH=/bin", "EMPTY=", "junk"], "Entrypoint": ["/bin/app"], "Cmd": ["serve"],
        "User": "app:staff", "WorkingDir": "/home/app"});
    let layout = Layout { config, ..Layout::new(vec![below.end(), gzip(&above.end())]) };
    for packed in [layout.pack(|_, blob| blob), gzip(&layout.pack(|_, blob| blob))] {
        let unpacked = world.good(&packed);
        assert_eq!((unpacked.format, &unpacked.digest, unpacked.layers), (Format::Oci, &layout.digest(), 2));
        let tree = world.tree(&unpacked);
        for there in ["veiled/new", "veiled/both", "veiled/sub/new", "turned/inside", "etc/passwd"] {
            assert!(tree.join(there).exists(), "{there}");
        }
        assert_eq!(std::fs::read(tree.join("veiled/both")).unwrap(), b"new");
        for gone in
            ["gone", "veiled/old", "veiled/sub/old", "etc/passwd-", ".wh.gone", "veiled/.wh..wh..opq", "not"]
        {
            assert!(tree.join(gone).symlink_metadata().is_err(), "{gone}");
        }
        let config = unpacked.config;
        assert_eq!(config.env.iter().collect::<Vec<_>>().len(), 2);
        assert_eq!((config.entrypoint, config.cmd), (vec!["/bin/app".to_owned()], vec!["serve".to_owned()]));
        assert_eq!((config.ids, config.workdir.as_str()), (Some(User { uid: 1000, gid: 50 }), "/home/app"));
    }
}

#[test]
fn an_old_archive_of_docker_is_an_image_too() {
    let mut world = World::new();
    let layer = rootfs().end();
    let config = serde_json::to_vec(&serde_json::json!({"config": {"User": "1000"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]}}))
    .unwrap();
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["x:latest"], "Layers": ["l/layer.tar"]}]);
    let pack = |layer: &[u8]| {
        let manifest = serde_json::to_vec(&manifest).unwrap();
        Tar::new()
            .file("manifest.json", &manifest)
            .file("c.json", &config)
            .dir("l")
            .file("l/layer.tar", layer)
            .end()
    };
    let unpacked = world.good(&pack(&layer));
    assert_eq!((unpacked.format, unpacked.digest.clone()), (Format::Docker, sha256(&config)));
    assert_eq!(unpacked.config.ids, Some(User { uid: 1000, gid: 100 }));
    assert!(world.tree(&unpacked).join("etc/passwd").exists());
    let other = world.unpack(&pack(&Tar::new().file("other", b"x").end()), Default::default());
    assert!(format!("{other:?}").contains("its digest must be"), "{other:?}");
}
