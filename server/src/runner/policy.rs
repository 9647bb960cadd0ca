//! The policy file that a runner of this server's own reads: written before the runner is started or greeted, whole or not at all.

use shoal_container::policy::Policy;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes `path` hold `policy`. What holds it already is left alone, so that to call this often costs nothing.
pub(super) fn write(path: &Path, policy: &Policy) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(policy)?;
    text.push(b'\n');
    if std::fs::read(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = path.with_extension("tmp");
    // One that was left by a crash may have other permissions.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_changed_policy_replaces_the_file_and_an_equal_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        std::fs::write(path.with_extension("tmp"), "left over").unwrap();
        let strict = Policy::default();
        write(&path, &strict).unwrap();
        assert_eq!(Policy::read(&path).unwrap(), strict);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = std::fs::metadata(&path).unwrap().ino();
        write(&path, &strict).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), first);
        let loose = Policy { host_net: true, ..Policy::default() };
        write(&path, &loose).unwrap();
        assert_eq!(Policy::read(&path).unwrap(), loose);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
