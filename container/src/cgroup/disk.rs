//! Limiting what an attempt reads from and writes to the disk that holds the attempts' directories. Made only for an attempt that is to
//! have such a limit: on v1 a group of the blkio hierarchy, on v2 the io controller.
//!
//! v1 counts what a process reads and writes itself: of buffered writes, which the kernel's own threads bring to the disk, it sees nothing.

use super::file::{read, set, set_as};
use super::{CgroupError, Group, unified};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Sets and verifies the limit, for reading and for writing each.
pub fn limit(group: &Group, bytes_per_s: u64) -> Result<(), CgroupError> {
    let device = whole_disk(group.disk_of(), Path::new("/sys/dev/block"))?;
    if group.is_v2() {
        let parent = group.any_parent()?;
        let path = parent.join(&group.id).join("io.max");
        if !path.exists() {
            unified::hand_down_io(parent);
        }
        let shown = format!("{device} rbps={bytes_per_s} wbps={bytes_per_s} riops=max wiops=max");
        return set_as(&path, &format!("{device} rbps={bytes_per_s} wbps={bytes_per_s}"), &shown);
    }
    let dir = group.make_io()?;
    for file in ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"] {
        set(&dir.join(file), &format!("{device} {bytes_per_s}"))?;
    }
    Ok(())
}

/// The number (`MAJOR:MINOR`) of the disk that a directory's file system is on: of the whole disk for one on a partition, which has no queue
/// of its own to throttle. `block` is sysfs' list of block devices.
fn whole_disk(dir: &Path, block: &Path) -> Result<String, CgroupError> {
    let failed = |e| CgroupError::file("look at", dir, e);
    let number = std::fs::metadata(dir).map_err(failed)?.dev();
    let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    // A file system that is on no disk (tmpfs), on several (btrfs) or on another machine has a number that no device has.
    let Ok(device) = block.join(&number).canonicalize() else {
        return Err(CgroupError::NoDisk { path: dir.to_owned() });
    };
    if !device.join("partition").exists() {
        return Ok(number);
    }
    let whole = device.parent().unwrap_or(&device).join("dev");
    read(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_limited_by_its_disk_and_what_is_on_no_disk_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let block = tempfile::tempdir().unwrap();
        let number = std::fs::metadata(dir.path()).unwrap().dev();
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let error = whole_disk(dir.path(), block.path()).unwrap_err().to_string();
        assert!(error.contains("on no single disk"), "{error}");
        let disk = block.path().join("devices/sda");
        std::fs::create_dir_all(disk.join("sda1")).unwrap();
        std::fs::write(disk.join("dev"), "8:0\n").unwrap();
        std::os::unix::fs::symlink("devices/sda/sda1", block.path().join(&number)).unwrap();
        assert_eq!(whole_disk(dir.path(), block.path()).unwrap(), number);
        std::fs::write(disk.join("sda1/partition"), "1\n").unwrap();
        assert_eq!(whole_disk(dir.path(), block.path()).unwrap(), "8:0");
    }
}
