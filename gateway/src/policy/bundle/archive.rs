//! A bundle as bytes and as files: unpacks, packs, reads a folder. Bounded; nothing is ever written by a name that an
//! archive gives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::BundleFault;

/// Bytes of an archive as it comes.
pub const ARCHIVE_BYTES_MAX: usize = 16 << 20;
/// Bytes of all files of a bundle together; a policy folder has the same bound.
pub const FILES_BYTES_MAX: u64 = 32 << 20;
/// Files of one bundle.
const FILES_MAX: usize = 1_024;
/// Bytes of an archive when unpacked: the files, and 4 kB for the headers and the padding of each.
const TAR_BYTES_MAX: u64 = FILES_BYTES_MAX + (1_024 << 12) + (1 << 20);
/// Folders in one another.
const DEPTH_MAX: usize = 16;
/// Bytes of a file's name.
const NAME_BYTES_MAX: usize = 512;

/// Files of a bundle by their path in it, without a slash at the beginning.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of a `.tar.gz` archive.
///
/// # Errors
/// It is broken, too large, or holds anything but plain files and folders with plain names.
pub fn unpack(bytes: &[u8]) -> Result<Files, BundleFault> {
    if bytes.len() > ARCHIVE_BYTES_MAX {
        return Err(BundleFault::Large { what: "the archive", most: 16 << 20 });
    }
    let mut source = bytes;
    let mut plain = GzDecoder::new(&mut source).take(TAR_BYTES_MAX);
    let files = read(&mut plain)?;
    // To the very end: only there the checksum stands.
    std::io::copy(&mut plain, &mut std::io::sink()).map_err(|fault| broken(&fault))?;
    if plain.limit() == 0 {
        return Err(BundleFault::Large { what: "the unpacked archive", most: TAR_BYTES_MAX });
    }
    match source.is_empty() {
        true => Ok(files),
        false => Err(BundleFault::Broken("bytes follow its end".to_owned())),
    }
}

fn read(plain: &mut impl Read) -> Result<Files, BundleFault> {
    let mut files = Files::new();
    let mut left = FILES_BYTES_MAX;
    let mut archive = Archive::new(plain);
    for entry in archive.entries().map_err(|fault| broken(&fault))? {
        let mut entry = entry.map_err(|fault| broken(&fault))?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| BundleFault::Name("a name that is no text".to_owned()))?;
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory || kind == EntryType::XGlobalHeader {
            continue;
        }
        if kind != EntryType::Regular {
            return Err(BundleFault::Link(brief(&path)));
        }
        let name = plain_name(&path)?;
        if files.len() >= FILES_MAX {
            return Err(BundleFault::Large { what: "the number of files", most: 1_024 });
        }
        let too_large = || BundleFault::Large { what: "the files together", most: FILES_BYTES_MAX };
        left = left.checked_sub(entry.size()).ok_or_else(too_large)?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|fault| broken(&fault))?;
        if u64::try_from(content.len()) != Ok(entry.size()) {
            return Err(BundleFault::Broken("it ends within a file".to_owned()));
        }
        if files.insert(name, content).is_some() {
            return Err(BundleFault::Twice(brief(&path)));
        }
    }
    Ok(files)
}

/// The path of a file within its bundle. `opa build` writes one slash before each name, which means the bundle's root.
fn plain_name(path: &str) -> Result<String, BundleFault> {
    let fault = || BundleFault::Name(brief(path));
    if path.len() > NAME_BYTES_MAX || path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        return Err(fault());
    }
    let name = path.strip_prefix("./").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    let levels: Vec<&str> = name.split('/').collect();
    let is_plain = |level: &&str| !matches!(*level, "" | "." | "..");
    match levels.len() <= DEPTH_MAX && levels.iter().all(is_plain) {
        true => Ok(name.to_owned()),
        false => Err(fault()),
    }
}

/// The archive that a path names: a `.tar.gz` file as it is, a folder packed.
///
/// # Errors
/// It can't be read, or is too large.
pub fn from_disk(path: &Path) -> Result<Vec<u8>, BundleFault> {
    let found = fs::metadata(path).map_err(|fault| broken(&fault))?;
    if found.is_dir() {
        return pack(&folder(path)?).map_err(|fault| broken(&fault));
    }
    if found.len() > 16 << 20 {
        return Err(BundleFault::Large { what: "the archive", most: 16 << 20 });
    }
    fs::read(path).map_err(|fault| broken(&fault))
}

/// The files of a folder, hidden ones too; links are followed nowhere.
///
/// # Errors
/// It can't be read, is too large, or holds links.
pub fn folder(path: &Path) -> Result<Files, BundleFault> {
    let mut files = Files::new();
    let mut left = FILES_BYTES_MAX;
    let mut waiting = vec![path.to_owned()];
    while let Some(inner) = waiting.pop() {
        for entry in fs::read_dir(&inner).map_err(|fault| broken(&fault))? {
            let entry = entry.map_err(|fault| broken(&fault))?;
            let (at, kind) = (entry.path(), entry.file_type().map_err(|fault| broken(&fault))?);
            let below = at.strip_prefix(path).unwrap_or(&at);
            let names = below.components().map(|part| match part {
                Component::Normal(name) => name.to_str(),
                Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
            });
            let names: Option<Vec<&str>> = names.collect();
            let name = names.ok_or_else(|| BundleFault::Name(brief(&below.to_string_lossy())))?.join("/");
            let name = plain_name(&name)?;
            if kind.is_dir() {
                waiting.push(at);
                continue;
            }
            if !kind.is_file() {
                return Err(BundleFault::Link(brief(&name)));
            }
            if files.len() >= FILES_MAX {
                return Err(BundleFault::Large { what: "the number of files", most: 1_024 });
            }
            let length = entry.metadata().map_err(|fault| broken(&fault))?.len();
            let too_large = || BundleFault::Large { what: "the files together", most: FILES_BYTES_MAX };
            left = left.checked_sub(length).ok_or_else(too_large)?;
            files.insert(name, fs::read(&at).map_err(|fault| broken(&fault))?);
        }
    }
    Ok(files)
}

/// An archive of these files; the same files give the same bytes.
///
/// # Errors
/// Memory takes every write: none that is known.
pub fn pack(files: &Files) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        builder.append_data(&mut header, name, content.as_slice())?;
    }
    let mut out = builder.into_inner()?;
    out.flush()?;
    out.finish()
}

fn broken(fault: &std::io::Error) -> BundleFault {
    BundleFault::Broken(fault.to_string())
}

fn brief(name: &str) -> String {
    name.chars().take(128).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
