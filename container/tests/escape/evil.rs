//! What a hostile root file system carries, and how the attack program gets into a root that has no C library.

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The attack program's name at the top of `root`.
pub const PROGRAM: &str = "attack";

/// Copies this program and the libraries that it is linked with into a root.
pub fn install(root: &Path) {
    fs::copy(std::env::current_exe().unwrap(), root.join(PROGRAM)).unwrap();
    for dir in ["lib", "lib64"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        fs::set_permissions(root.join(dir), Permissions::from_mode(0o755)).unwrap();
    }
    for library in libraries() {
        let name = library.file_name().unwrap();
        // The loader is looked up in one, the libraries in the other; which is which differs between processors.
        for dir in ["lib", "lib64"] {
            fs::copy(&library, root.join(dir).join(name)).unwrap();
        }
    }
}

/// The shared objects that are mapped into this process.
fn libraries() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    let mut libraries: Vec<_> = mapped.filter(|path| path.to_string_lossy().contains(".so")).collect();
    libraries.sort();
    libraries.dedup();
    libraries
}

/// Fills a directory with set-id programs, device nodes, files that the mode would let everyone write to, and links that lead out.
pub fn fill(evil: &Path, canary: &Path) {
    fs::create_dir(evil).unwrap();
    open_to(evil, 0o755);
    let program = std::env::current_exe().unwrap();
    for (name, mode) in [("setuid-root", 0o4755), ("setgid-root", 0o2755), ("capable", 0o755)] {
        fs::copy(&program, evil.join(name)).unwrap();
        open_to(&evil.join(name), mode);
    }
    rustix::fs::setxattr(evil.join("capable"), "security.capability", &capabilities(), XattrFlags::empty())
        .unwrap();
    nodes(evil);
    fs::write(evil.join("writable-by-all"), vec![b'x'; 4096]).unwrap();
    open_to(&evil.join("writable-by-all"), 0o666);
    fs::create_dir(evil.join("open-to-all")).unwrap();
    open_to(&evil.join("open-to-all"), 0o777);
    let secret = canary.join("secret");
    symlink(&secret, evil.join("link-to-canary")).unwrap();
    symlink(
        format!("{}{}", "../".repeat(20), &secret.to_str().unwrap()[1..]),
        evil.join("relative-link-to-canary"),
    )
    .unwrap();
    symlink("/proc/self/fd/7", evil.join("link-to-descriptor")).unwrap();
    fs::write(evil.join("runs-itself"), "#!/proc/self/exe\n").unwrap();
    open_to(&evil.join("runs-itself"), 0o755);
}

/// Devices that the mode would let everyone use.
fn nodes(evil: &Path) {
    let disk = fs::metadata("/").unwrap().dev();
    let character = FileType::CharacterDevice;
    for (name, kind, device) in [
        ("null-device", character, makedev(1, 3)),
        ("kmsg-device", character, makedev(1, 11)),
        ("disk-device", FileType::BlockDevice, disk),
    ] {
        mknodat(CWD, evil.join(name), kind, Mode::empty(), device).unwrap();
        open_to(&evil.join(name), 0o666);
    }
}

/// Gives all of a tree to this user and group, with the special bits that giving takes away.
pub fn give(path: &Path, id: u32) {
    use std::os::unix::fs::lchown;
    let metadata = fs::symlink_metadata(path).unwrap();
    let capabilities = path.ends_with("capable").then(capabilities);
    lchown(path, Some(id), Some(id)).unwrap();
    if !metadata.is_symlink() {
        open_to(path, metadata.mode() & 0o7777);
    }
    if let Some(capabilities) = capabilities {
        rustix::fs::setxattr(path, "security.capability", &capabilities, XattrFlags::empty()).unwrap();
    }
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), id));
    }
}

/// `struct vfs_cap_data`, revision 2, effective: CAP_SYS_ADMIN and CAP_DAC_OVERRIDE permitted.
fn capabilities() -> Vec<u8> {
    [0x0200_0001u32, 1 << 21 | 1 << 1, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Sets the mode, whatever the umask is.
pub fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
