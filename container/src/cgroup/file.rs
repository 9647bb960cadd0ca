//! Reading and writing control files.

use super::CgroupError;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longer than any value that is read back.
const VALUE_BYTES_MAX: usize = 256;

/// Writes a limit and reads it back through the same descriptor.
pub fn set(path: &Path, value: &str) -> Result<(), CgroupError> {
    set_as(path, value, value)
}

/// The same for a file that shows a value in other words than it takes it.
pub fn set_as(path: &Path, value: &str, shown: &str) -> Result<(), CgroupError> {
    let file = open_to_change(path)?;
    (&file).write_all(value.as_bytes()).map_err(|e| CgroupError::file("write", path, e))?;
    let mut bytes = [0; VALUE_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0).map_err(|e| CgroupError::file("read", path, e))?;
    let found = bytes[..read].trim_ascii_end();
    if found == shown.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found).into_owned();
    Err(CgroupError::NotHeld { path: path.to_owned(), wanted: shown.to_owned(), found })
}

/// Opens a control file for reading and writing; without O_CREAT, so that a missing one is an error and not a new file's EACCES.
pub fn open_to_change(path: &Path) -> Result<File, CgroupError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|e| CgroupError::file("open", path, e))
}

/// Opens a control file for writing.
pub fn open_to_write(path: &Path) -> Result<File, CgroupError> {
    OpenOptions::new().write(true).open(path).map_err(|e| CgroupError::file("open", path, e))
}

/// Writes what cannot be read back.
pub fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    let mut file = open_to_write(path)?;
    file.write_all(text.as_bytes()).map_err(|e| CgroupError::file("write", path, e))
}

/// All of a file.
pub fn read(path: &Path) -> Result<String, CgroupError> {
    let text = std::fs::read_to_string(path).map_err(|e| CgroupError::file("read", path, e))?;
    Ok(text.trim_end().to_owned())
}

/// The number after `key` in a file of lines `KEY NUMBER`, of which only the beginning is looked at; 0 without one.
pub fn count(file: &File, keys: &[&str]) -> u64 {
    let mut bytes = [0; VALUE_BYTES_MAX];
    let Ok(read) = file.read_at(&mut bytes, 0) else { return 0 };
    let text = std::str::from_utf8(&bytes[..read]).unwrap_or_default();
    let counts = text.lines().filter_map(|line| line.split_once(' ')).filter(|(key, _)| keys.contains(key));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).max().unwrap_or(0)
}
