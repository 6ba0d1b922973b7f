//! What a process has used so far, as the kernel counts it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The number behind a title in a file of `/proc/self`.
fn field(file: &str, title: &str) -> Result<u64> {
    let path = Path::new("/proc/self").join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(title));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{} has no {title}", path.display()))
}

/// The most memory that this process has had, in bytes.
pub(crate) fn memory_peak() -> Result<u64> {
    Ok(field("status", "VmHWM:")? << 10)
}

/// Bytes that this process has had read from drives.
pub(crate) fn bytes_read() -> Result<u64> {
    field("io", "read_bytes:")
}

/// Bytes that this process has read by its calls, wherever they came from, and written.
pub(crate) fn bytes_called_for() -> Result<(u64, u64)> {
    Ok((field("io", "rchar:")?, field("io", "wchar:")?))
}

/// Bytes of a file, or of all files in a folder.
pub(crate) fn length(path: &Path) -> Result<u64> {
    let data = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    if !data.is_dir() {
        return Ok(data.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
        sum += length(&entry?.path())?;
    }
    Ok(sum)
}

/// So many in so many seconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
