//! Where the drives of the pool are: `DATA/drives.toml`.
//!
//! The file is there once the pool has been given a second drive. It is small, may be edited, and is hostile until it is
//! parsed. It says only where to look: what a drive is, it says itself.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use drives::{DriveUuid, PoolUuid};
use hardware::DriveId;
use serde::{Deserialize, Serialize};

/// Bytes of the file at most.
const LENGTH_MAX: u64 = 256 << 10;
/// As many drives as a set has at most.
const PLACES_MAX: usize = 255;
/// What the file begins with.
const HEAD: &str = "# Where the drives of the pool are. `keepfast drive` keeps this file.\n\n";

/// Where the drives are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) pool: PoolUuid,
    pub(crate) all: Vec<Place>,
}

/// Where a drive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory that is the drive; of a whole disk, below where it is mounted.
    pub(crate) directory: PathBuf,
    /// The whole disk, which the appliance mounts.
    pub(crate) disk: Option<DriveId>,
    /// Which drive it was when it was there last.
    pub(crate) drive: Option<DriveUuid>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    pool: String,
    #[serde(default, rename = "drive")]
    drives: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    directory: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

/// The bytes of a UUID, however it is divided.
fn uuid(text: &str) -> anyhow::Result<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').take(33).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.with_context(|| format!("{:?} is not a UUID", text.chars().take(64).collect::<String>()))
}

impl Places {
    /// Reads the file; nothing if there is none.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("open {}", path.display()))?,
        };
        let mut text = String::new();
        file.take(LENGTH_MAX + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("read {}", path.display()))?;
        let parsed = Self::parse(&text);
        parsed.map(Some).with_context(|| {
            format!("{} does not say where the drives of the pool are; put it right", path.display())
        })
    }

    /// Reads what the file says. Directories are absolute; no two are the same.
    fn parse(text: &str) -> anyhow::Result<Self> {
        if text.len() as u64 > LENGTH_MAX {
            bail!("it is longer than {LENGTH_MAX} bytes");
        }
        let document: Document = toml::from_str(text)?;
        if document.drives.is_empty() || document.drives.len() > PLACES_MAX {
            bail!("it has {} drives and should have 1 to {PLACES_MAX}", document.drives.len());
        }
        let mut all: Vec<Place> = Vec::new();
        for Entry { directory, disk, uuid: drive } in document.drives {
            if !directory.is_absolute() {
                bail!("{} is not an absolute path", directory.display());
            }
            if all.iter().any(|place| place.directory == directory) {
                bail!("{} is there twice", directory.display());
            }
            let disk = disk.map(|disk| uuid(&disk).map(DriveId)).transpose()?;
            let drive = drive.map(|drive| uuid(&drive).map(DriveUuid)).transpose()?;
            all.push(Place { directory, disk, drive });
        }
        Ok(Self { pool: PoolUuid(uuid(&document.pool)?), all })
    }

    fn text(&self) -> anyhow::Result<String> {
        let entry = |place: &Place| Entry {
            directory: place.directory.clone(),
            disk: place.disk.map(|disk| disk.to_string()),
            uuid: place.drive.map(|drive| drive.to_string()),
        };
        let document = Document { pool: self.pool.to_string(), drives: self.all.iter().map(entry).collect() };
        Ok(format!("{HEAD}{}", toml::to_string(&document)?))
    }

    /// Writes the file, in the place of the one that is there.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let (text, beside) = (self.text()?, path.with_extension("toml.tmp"));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// The place of a drive.
    pub(crate) fn of(&self, drive: DriveUuid) -> Option<&Place> {
        self.all.iter().find(|place| place.drive == Some(drive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let place = |number: u8, disk| Place {
            directory: PathBuf::from(format!("/mnt/{number}/pool")),
            disk,
            drive: (number > 1).then_some(DriveUuid([number; 16])),
        };
        let disk = Some(DriveId([0xab; 16]));
        Places { pool: PoolUuid([0x11; 16]), all: vec![place(1, None), place(2, None), place(3, disk)] }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drives.toml");
        assert_eq!(Places::load(&path).unwrap(), None);
        for _ in 0..2 {
            places().save(&path).unwrap();
            assert_eq!(Places::load(&path).unwrap(), Some(places()));
        }
        assert_eq!(places().of(DriveUuid([3; 16])).unwrap().disk, Some(DriveId([0xab; 16])));
        assert_eq!(places().of(DriveUuid([9; 16])), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let pool = "11111111-1111-1111-1111-111111111111";
        let one = format!("pool = \"{pool}\"\n[[drive]]\ndirectory = \"/mnt/a\"\n");
        Places::parse(&one).unwrap();
        let many = format!("pool = \"{pool}\"\n{}", "[[drive]]\ndirectory = \"/a\"\n".repeat(256));
        let cases = [
            (String::new(), "pool"),
            (format!("pool = \"{pool}\""), "it has 0 drives"),
            (many, "it has 256 drives"),
            (format!("{one}{}", &one[one.find("[[").unwrap()..]), "is there twice"),
            (one.replace("/mnt", "mnt"), "not an absolute path"),
            (one.replace("1111-", "111-"), "is not a UUID"),
            (one.replace("1111-", "g111-"), "is not a UUID"),
            (format!("{one}disk = \"kf-1\"\n"), "is not a UUID"),
            (format!("{one}also = 1\n"), "unknown field"),
            (format!("{one}#{}", "x".repeat(300_000)), "is longer than"),
        ];
        for (text, words) in cases {
            let error = format!("{:#}", Places::parse(&text).unwrap_err());
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
