//! Small files that are replaced atomically and that only the operator's user can read.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::error::IdentityError;

/// Readable and writable by the user who owns the file only.
const PRIVATE: u32 = 0o600;

/// Replaces `path` by `content` in one step that survives a crash: a second file is written, synced and renamed, then
/// the directory is synced.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    replace(path, content).map_err(|source| IdentityError::Write {
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let aside = path.with_extension("new");
    // A file left over from a crash may have any mode: only a file created here has the right one from its first byte.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(directory)?.sync_all()
}

/// The text of `path`, or `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Like [`read`], for a file that holds a secret: refuses one that others can read.
///
/// Permissions of the group are removed, and are no error: a kubelet that mounts a volume with an `fsGroup` adds them
/// to every file at every start, and that group is the pod's own. Permissions of others come from a person or a bad
/// copy.
pub(super) fn read_private(path: &Path) -> Result<Option<String>, IdentityError> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(IdentityError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let too_open = || IdentityError::TooOpen {
        path: path.to_owned(),
        mode,
    };
    if mode & 0o007 != 0 {
        return Err(too_open());
    }
    if mode & 0o070 != 0 {
        fs::set_permissions(path, Permissions::from_mode(PRIVATE)).map_err(|_| too_open())?;
    }
    read(path)
}
