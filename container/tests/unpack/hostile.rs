//! The table of hostile archives. Each case says what must come of it; for all of them nothing outside of the image's own tree may change, and an
//! archive that is refused leaves nothing behind.

use super::archive::{Header, Layout, Tar, gzip, sha256, zstd};
use super::world::World;
use shoal_container::image::{Caps, Outcome};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

enum Expect {
    /// Refused with a message that contains this.
    Refused(&'static str),
    /// Unpacked, and the tree is so.
    Made(fn(&Path)),
}
use Expect::{Made, Refused};

struct Case {
    name: &'static str,
    archive: Vec<u8>,
    caps: Caps,
    expect: Expect,
}

fn case(name: &'static str, archive: Vec<u8>, expect: Expect) -> Case {
    Case { name, archive, caps: Caps::default(), expect }
}

fn capped(name: &'static str, archive: Vec<u8>, caps: Caps, expect: Expect) -> Case {
    Case { name, archive, caps, expect }
}

fn header(name: &str, kind: u8) -> Header<'_> {
    Header::new(name, kind)
}

fn absent(path: &Path) {
    assert!(path.symlink_metadata().is_err(), "{} exists", path.display());
}

fn names() -> Vec<Case> {
    let long = "d/".repeat(1500);
    vec![
        case("dot dot", Tar::new().file("../evil", b"x").end(), Refused("contains \"..\"")),
        case("dot dot inside", Tar::new().file("a/../../evil", b"x").end(), Refused("contains \"..\"")),
        case("absolute", Tar::new().file("/evil", b"x").end(), Refused("absolute")),
        case(
            "dot dot in an extended header",
            Tar::new().pax(b'x', &[("path", "../../evil")]).file("a", b"x").end(),
            Refused("contains \"..\""),
        ),
        case(
            "dot dot in a long name",
            Tar::new().entry(header("l", b'L'), b"../../evil\0").file("a", b"x").end(),
            Refused("contains \"..\""),
        ),
        case(
            "absolute in an extended header",
            Tar::new().pax(b'x', &[("path", "/etc/passwd")]).file("a", b"x").end(),
            Refused("absolute"),
        ),
        case(
            "a zero byte in a name",
            Tar::new().pax(b'x', &[("path", "a\0b")]).file("a", b"x").end(),
            Refused("zero byte"),
        ),
        case(
            "a name's part of 300 bytes",
            Tar::new().pax(b'x', &[("path", &"x".repeat(300))]).file("a", b"x").end(),
            Refused("bytes of a name's part must be at most 255, was 300"),
        ),
        case(
            "a name of 3000 bytes",
            Tar::new().pax(b'x', &[("path", &long)]).dir("a").end(),
            Refused("path bytes must be at most 2048, was 3000"),
        ),
        case(
            "129 directories deep",
            Tar::new().pax(b'x', &[("path", &"d/".repeat(129))]).dir("a").end(),
            Refused("depth must be at most 128, was 129"),
        ),
        case("the root as a file", Tar::new().file(".", b"x").end(), Refused("replace the root")),
        case("the root as a link", Tar::new().symlink("./", "/").end(), Refused("replace the root")),
    ]
}

#[allow(clippy::too_many_lines)] // a table
fn links() -> Vec<Case> {
    vec![
        case(
            "through a link to the host's root",
            Tar::new().symlink("a", "/").file("a/evil", b"x").end(),
            Refused("symbolic link leads to its directory"),
        ),
        case(
            "through a link upwards",
            Tar::new().symlink("a", "../../../../../..").file("a/evil", b"x").end(),
            Refused("symbolic link leads"),
        ),
        case(
            "through a link inside of the tree",
            Tar::new().dir("real").symlink("a", "real").file("a/evil", b"x").end(),
            Refused("links are not followed"),
        ),
        case(
            "through a chain of links",
            Tar::new().symlink("a", "b").symlink("b", "..").dir("a/c").end(),
            Refused("symbolic link leads"),
        ),
        case(
            "onto a link",
            Tar::new().symlink("a", "/canary").file("a", b"x").end(),
            Made(|tree| {
                assert!(tree.join("a").symlink_metadata().unwrap().is_file());
            }),
        ),
        case(
            "a directory onto a link",
            Tar::new().symlink("a", "/etc").dir("a").file("a/b", b"x").end(),
            Made(|tree| {
                assert!(tree.join("a").symlink_metadata().unwrap().is_dir());
            }),
        ),
        case(
            "links are kept as they are",
            Tar::new().symlink("a", "/etc/../../passwd").symlink("b", "gone").end(),
            Made(|tree| {
                assert_eq!(std::fs::read_link(tree.join("a")).unwrap(), Path::new("/etc/../../passwd"));
            }),
        ),
        case(
            "a hard link out",
            Tar::new().hardlink("a", "../../canary/file").end(),
            Refused("contains \"..\""),
        ),
        case("an absolute hard link", Tar::new().hardlink("a", "/etc/passwd").end(), Refused("absolute")),
        case(
            "a hard link through a link",
            Tar::new().symlink("d", "/etc").hardlink("a", "d/passwd").end(),
            Refused("is not there"),
        ),
        case(
            "a hard link to nothing keeps what is there",
            Tar::new().file("a", b"x").hardlink("a", "gone").end(),
            Refused("is not there"),
        ),
        case("a hard link to itself", Tar::new().file("a", b"x").hardlink("a", "a").end(), Refused("itself")),
        case(
            "a hard link to a directory",
            Tar::new().dir("d").hardlink("a", "d").end(),
            Refused("hard link to a directory"),
        ),
        case(
            "a hard link to a link, then written",
            Tar::new().symlink("l", "/etc/passwd").hardlink("a", "l").file("a", b"x").end(),
            Made(|tree| {
                assert!(tree.join("a").symlink_metadata().unwrap().is_file());
                assert!(tree.join("l").symlink_metadata().unwrap().is_symlink());
            }),
        ),
        case(
            "a hard link with bytes of its own",
            Tar::new().file("t", b"x").entry(Header { link: b"t", ..header("a", b'1') }, b"second").end(),
            Refused("is no file and has 6 bytes"),
        ),
        case("a link to nothing at all", Tar::new().symlink("a", "").end(), Refused("link to nothing")),
    ]
}

fn kinds() -> Vec<Case> {
    let device = |kind| Tar::new().file("ok", b"x").entry(header("dev", kind), b"").end();
    vec![
        case("a character device", device(b'3'), Made(|tree| absent(&tree.join("dev")))),
        case("a block device", device(b'4'), Made(|tree| absent(&tree.join("dev")))),
        case("a pipe", device(b'6'), Made(|tree| absent(&tree.join("dev")))),
        case("an unknown type", device(b'V'), Refused("its type 'V' is not known")),
        case(
            "set-user-id is dropped",
            Tar::new().entry(Header { mode: 0o6755, ..header("su", b'0') }, b"x").end(),
            Made(|tree| {
                assert_eq!(tree.join("su").metadata().unwrap().mode() & 0o7777, 0o755);
            }),
        ),
        case("a sparse file of GNU", Tar::new().entry(header("s", b'S'), b"x").end(), Refused("sparse")),
        case(
            "a sparse file of PAX",
            Tar::new().pax(b'x', &[("GNU.sparse.major", "1")]).file("s", b"x").end(),
            Refused("sparse"),
        ),
        case(
            "an owner beyond the ids",
            Tar::new().entry(Header { uid: 65535, ..header("a", b'0') }, b"x").end(),
            Refused("uid must be at most 65534, was 65535"),
        ),
        case(
            "a group beyond the ids",
            Tar::new().pax(b'x', &[("gid", "4294967295")]).file("a", b"x").end(),
            Refused("gid must be at most 65534, was 4294967295"),
        ),
        case(
            "a negative time",
            Tar::new()
                .entry(Header { mtime: &[0xff; 12], ..header("a", b'0') }, b"x")
                .pax(b'x', &[("mtime", "-99.5")])
                .file("b", b"x")
                .end(),
            Made(|tree| {
                assert_eq!(tree.join("a").metadata().unwrap().mtime(), 0);
                assert_eq!(tree.join("b").metadata().unwrap().mtime(), 0);
            }),
        ),
        case(
            "extended attributes are dropped",
            Tar::new()
                .pax(
                    b'x',
                    &[("SCHILY.xattr.user.overlay.opaque", "y"), ("SCHILY.xattr.security.capability", "x")],
                )
                .file("a", b"x")
                .end(),
            Made(|tree| {
                let mut list = [0; 64];
                assert_eq!(rustix::fs::listxattr(tree.join("a"), &mut list[..]).unwrap(), 0);
            }),
        ),
    ]
}

#[allow(clippy::too_many_lines)] // a table
fn sizes() -> Vec<Case> {
    let small = Caps { bytes_max: 100_000, ..Caps::default() };
    let few = Caps { inodes_max: 10, ..Caps::default() };
    let many = |n: usize| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), b"")).end();
    let bomb = Tar::new().file("zeros", &vec![0; 1 << 20]).end();
    let stream = Caps { bytes_max: 1000, inodes_max: 1, ..Caps::default() };
    let padding = Tar::new().entry(header("pax", b'g'), record_of_spaces().as_bytes());
    let padded = Tar(padding.0.repeat(1000)).file("a", b"x").end();
    vec![
        capped(
            "one file too large",
            Tar::new().file("a", &vec![7; 100_001]).end(),
            small,
            Refused("size must be at most 100000, was 100001"),
        ),
        capped(
            "files too large together",
            Tar::new().file("a", &vec![7; 60_000]).file("b", &vec![7; 60_000]).end(),
            small,
            Refused("unpacked bytes must be at most 100000, was 120000"),
        ),
        capped(
            "the same name again and again",
            (0..5).fold(Tar::new(), |t, _| t.file("a", &vec![7; 30_000])).end(),
            small,
            Refused("unpacked bytes must be at most 100000"),
        ),
        capped("a gzip bomb", gzip(&bomb), small, Refused("size must be at most 100000")),
        capped("a zstd bomb", zstd(&bomb), small, Refused("size must be at most 100000")),
        capped("a bomb of headers", gzip(&padded), stream, Refused("unpacked stream bytes must be at most")),
        capped("too many files", many(11), few, Refused("inodes must be at most 10, was 11")),
        capped(
            "too many directories by one name",
            Tar::new().file("1/2/3/4/5/6/7/8/9/10/f", b"").end(),
            few,
            Refused("inodes must be at most 10"),
        ),
        capped(
            "too many devices",
            (0..11).fold(Tar::new(), |t, _| t.entry(header("d", b'3'), b"")).end(),
            few,
            Refused("inodes must be at most 10"),
        ),
        case(
            "a negative size",
            Tar::new().entry(Header { size: Some(u64::MAX), ..header("a", b'0') }, b"x").end(),
            Refused(""),
        ),
        case(
            "an immense size",
            Tar::new().entry(Header { size: Some(1 << 50), ..header("a", b'0') }, b"x").end(),
            Refused("size must be at most"),
        ),
        case(
            "two sizes",
            Tar::new().pax(b'x', &[("size", "5")]).file("a", &[b'x'; 512]).end(),
            Refused("its size is 512 in its header and 5 in the extended one"),
        ),
        case(
            "a size for all",
            Tar::new().pax(b'g', &[("size", "5")]).file("a", b"x").end(),
            Refused("global header names"),
        ),
        case(
            "a path for all",
            Tar::new().pax(b'g', &[("path", "../x")]).file("a", b"x").end(),
            Refused("global header names"),
        ),
        case(
            "records that are none",
            Tar::new().entry(header("p", b'x'), b"nonsense").file("a", b"x").end(),
            Refused("LENGTH KEY=VALUE"),
        ),
        case(
            "an extended header of 2 MiB",
            Tar::new().entry(header("p", b'x'), &vec![b'x'; 2 << 20]).file("a", b"x").end(),
            Refused("extended header bytes must be at most 1048576"),
        ),
        case(
            "an extended header of nothing",
            Tar::new().file("a", b"x").pax(b'x', &[("path", "b")]).end(),
            Refused("ends behind an extended header"),
        ),
    ]
}

/// A global header's record of 1000 spaces, which means nothing.
fn record_of_spaces() -> String {
    format!("1024 comment={}\n", " ".repeat(1024 - 14))
}

fn damage() -> Vec<Case> {
    let whole = Tar::new().file("a", &vec![7; 10_000]).end();
    let mut sum = whole.clone();
    sum[0] = b'b';
    let mut packed = gzip(&whole);
    packed.truncate(packed.len() / 2);
    let mut checked = gzip(&whole);
    let at = checked.len() - 6;
    checked[at] ^= 1;
    vec![
        case("nothing", Vec::new(), Refused("empty")),
        case("zeros", vec![0; 4096], Refused("empty")),
        case("noise", (0..8192u32).map(|i| (i * 7919 % 251) as u8).collect(), Refused("damaged")),
        case("a wrong checksum", sum, Refused("checksum")),
        case("cut inside of a file", whole[..5000].to_vec(), Refused("")),
        case("cut inside of a header", whole[..200].to_vec(), Refused("")),
        case(
            "a second archive behind the first",
            [&whole[..], &Tar::new().file("hidden", b"x").end()].concat(),
            Refused("something follows the end"),
        ),
        case("a cut gzip", packed, Refused("damaged")),
        case("a gzip with a wrong checksum", checked, Refused("damaged")),
        case("a wrong zstd", [&zstd(&whole)[..20], &[0xff; 64]].concat(), Refused("")),
        case(
            "xz",
            b"\xfd7zXZ\0\0\0".to_vec(),
            Refused("it is packed with xz; what can be read is tar, tar.gz and tar.zst"),
        ),
    ]
}

fn layers() -> Vec<Case> {
    let layer = |tar: Tar| vec![tar.end()];
    let one = || Layout::new(layer(Tar::new().file("a", b"x")));
    let twisted =
        |which: usize| one().pack(move |n, blob| if n == which { [&blob[..], b" "].concat() } else { blob });
    let missing = {
        let layout = one();
        let mut manifest: serde_json::Value = serde_json::from_slice(&layout.manifest()).unwrap();
        manifest["layers"][0]["digest"] = format!("sha256:{}", sha256(b"gone")).into();
        with_manifest(&manifest)
    };
    let traversal = {
        let mut manifest: serde_json::Value = serde_json::from_slice(&one().manifest()).unwrap();
        manifest["layers"][0]["digest"] = "sha256:../../../etc/passwd".into();
        with_manifest(&manifest)
    };
    let few = Caps { layers_max: 3, ..Caps::default() };
    let workdir = Layout { config: serde_json::json!({"WorkingDir": "relative"}), ..one() };
    let user = Layout { config: serde_json::json!({"User": "nobody-knows"}), ..one() };
    let long = Layout { config: serde_json::json!({"Env": [format!("A={}", "x".repeat(200_000))]}), ..one() };
    vec![
        case("a manifest that is another", twisted(0), Refused("the manifest")),
        case("a configuration that is another", twisted(1), Refused("the configuration")),
        case("a layer that is another", twisted(2), Refused("its digest must be sha256:")),
        case("a layer that is missing", missing, Refused("does not hold it")),
        case("a digest that is a path", traversal, Refused("64 hexadecimal digits")),
        case(
            "a layer that leads out",
            Layout::new(layer(Tar::new().file("../evil", b"x"))).pack(|_, b| b),
            Refused("contains \"..\""),
        ),
        case(
            "a whiteout that leads out",
            Layout::new(layer(Tar::new().symlink("d", "/").file("d/.wh.etc", b""))).pack(|_, b| b),
            Made(|_| {}),
        ),
        case(
            "a whiteout of the parent",
            Layout::new(layer(Tar::new().dir("d").file("d/.wh...", b""))).pack(|_, b| b),
            Refused("whiteout of nothing"),
        ),
        capped(
            "too many layers",
            Layout::new(vec![Tar::new().file("a", b"x").end(); 4]).pack(|_, b| b),
            few,
            Refused("layers must be at most 3, was 4"),
        ),
        case(
            "another machine's",
            Layout { platform: Some(("linux", "s390x")), ..one() }.pack(|_, b| b),
            Refused("none of its 1 manifests is for linux/"),
        ),
        case("a relative directory", workdir.pack(|_, b| b), Refused("working directory must be absolute")),
        case("a user that nobody knows", user.pack(|_, b| b), Refused("is neither below 65535 nor known")),
        case(
            "an immense environment",
            long.pack(|_, b| b),
            Refused("bytes of the configuration must be at most 131072"),
        ),
        case(
            "an index that is none",
            Tar::new().file("oci-layout", b"{}").file("index.json", b"[]").end(),
            Refused("index.json is not valid"),
        ),
    ]
}

/// A layout with no blob but this manifest.
fn with_manifest(manifest: &serde_json::Value) -> Vec<u8> {
    let manifest = serde_json::to_vec(manifest).unwrap();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": []}});
    let config = serde_json::to_vec(&config).unwrap();
    let index = serde_json::json!({"manifests": [{"digest": format!("sha256:{}", sha256(&manifest))}]});
    Tar::new()
        .file("oci-layout", b"{}")
        .file("index.json", &serde_json::to_vec(&index).unwrap())
        .file(&format!("blobs/sha256/{}", sha256(&manifest)), &manifest)
        .file(&format!("blobs/sha256/{}", sha256(&config)), &config)
        .end()
}

fn all_are_as_expected(cases: Vec<Case>) {
    let mut world = World::new();
    let before = world.surroundings();
    for Case { name, archive, caps, expect } in cases {
        let outcome = world.unpack(&archive, caps);
        match (&outcome, expect) {
            (Outcome::Failed(why), Refused(words)) => assert!(why.contains(words), "{name}: {why}"),
            (Outcome::Unpacked(unpacked), Made(check)) => check(&world.tree(unpacked)),
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
        assert_eq!(world.surroundings(), before, "{name}: something outside was touched");
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn names_lead_nowhere_else() {
    all_are_as_expected(names());
}

#[test]
fn links_are_never_followed() {
    all_are_as_expected(links());
}

#[test]
fn only_files_directories_and_links_are_made() {
    all_are_as_expected(kinds());
}

#[test]
fn an_image_costs_no_more_than_its_caps() {
    all_are_as_expected(sizes());
}

#[test]
fn damaged_archives_are_refused() {
    all_are_as_expected(damage());
}

#[test]
fn layers_are_what_their_digests_say() {
    all_are_as_expected(layers());
}
