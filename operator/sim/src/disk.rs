//! A simulated disk that loses what was not synced when its machine loses power.
//!
//! What a write changed is on the disk once the file is synced. Of what was written since, a power cut keeps some writes
//! and loses others, and may keep only the first sectors of one, as a disk with a cache of its own does.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use hanse_operator::environment::{Boot, Directory, Disk};
use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::seeded::Seeded;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The disk of one member.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<Files>>);

/// One process on a machine: how many were killed before it.
pub type ProcessId = u64;

struct Files {
    /// How often the power was cut.
    boot: u64,
    /// Handles of an earlier process are dead.
    process: ProcessId,
    /// Whether anything can be written: not on a disk that is full or read-only.
    takes_writes: bool,
    databases: BTreeMap<PathBuf, File>,
    notes: BTreeMap<PathBuf, Vec<u8>>,
    random: Seeded,
}

impl Files {
    fn may_write(&self) -> io::Result<()> {
        if self.takes_writes {
            return Ok(());
        }
        Err(io::ErrorKind::StorageFull.into())
    }
}

/// One file: what a reader sees, what survives, and what happened in between.
#[derive(Default)]
struct File {
    seen: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                let end = at + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(data);
            }
            Self::Length(length) => content.resize(*length, 0),
        }
    }
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Seeded) -> Self {
        Self(Arc::new(Mutex::new(Files {
            boot: 0,
            process: 0,
            takes_writes: true,
            databases: BTreeMap::new(),
            notes: BTreeMap::new(),
            random,
        })))
    }

    /// The process that runs now.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.0.lock().process
    }

    /// Kills the process. To be called before it ends, so that nothing it does while it ends reaches the disk.
    pub fn kill(&self) {
        self.0.lock().process += 1;
    }

    /// Cuts the power, which kills the process too.
    pub fn cut_power(&self) {
        let Files {
            boot,
            process,
            databases,
            random,
            ..
        } = &mut *self.0.lock();
        *boot += 1;
        *process += 1;
        for file in databases.values_mut() {
            for change in file.since.drain(..) {
                match change {
                    _ if random.chance(50) => {}
                    Change::Write(at, mut data) if random.chance(20) => {
                        let sectors = data.len().div_ceil(SECTOR) as u64;
                        let kept = usize::try_from(random.between(0, sectors + 1)).unwrap_or(0);
                        data.truncate(kept * SECTOR);
                        Change::Write(at, data).apply(&mut file.synced);
                    }
                    whole => whole.apply(&mut file.synced),
                }
            }
            file.seen = file.synced.clone();
        }
    }

    /// Whether anything can be written from now on.
    pub fn take_writes(&self, takes: bool) {
        self.0.lock().takes_writes = takes;
    }

    /// Loses every database whose name ends so.
    pub fn lose(&self, ending: &str) {
        let is_lost = |path: &Path| path.to_string_lossy().ends_with(ending);
        self.0.lock().databases.retain(|path, _| !is_lost(path));
    }

    /// The boot of its machine, which has a clock that shows `since`.
    #[must_use]
    pub fn boot(&self, since: fn() -> Duration) -> Boot {
        let disk = self.clone();
        Boot {
            id: Arc::new(move || Ok(disk.0.lock().boot.to_string())),
            since: Arc::new(since),
        }
    }
}

impl Disk for SimulatedDisk {
    fn directory(&self, path: PathBuf) -> Arc<dyn Directory> {
        let disk = self.clone();
        Arc::new(SimulatedDirectory { disk, path })
    }

    fn replace(&self, path: PathBuf, content: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        let files = &mut *self.0.lock();
        let written = files.may_write().map(|()| {
            files.notes.insert(path, content);
        });
        std::future::ready(written).boxed()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.lock().notes.get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimulatedDirectory {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl fmt::Debug for SimulatedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Directory for SimulatedDirectory {
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let path = self.path.join(name);
        let process = {
            let mut files = self.disk.0.lock();
            files.databases.entry(path.clone()).or_default();
            files.process
        };
        builder.create_with_backend(Handle {
            disk: self.disk.clone(),
            path,
            process,
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let files = self.disk.0.lock();
        let below = files.databases.keys().filter_map(|path| {
            let rest = path.strip_prefix(&self.path).ok()?;
            let first = rest.components().next()?;
            first.as_os_str().to_str().map(str::to_owned)
        });
        let mut names: Vec<_> = below.collect();
        names.dedup();
        Ok(names)
    }
}

/// An open file.
struct Handle {
    disk: SimulatedDisk,
    path: PathBuf,
    process: ProcessId,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Handle {
    fn with<T>(
        &self,
        writes: bool,
        act: impl FnOnce(&mut File) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        let mut files = self.disk.0.lock();
        if files.process != self.process {
            return Err(io::Error::other("the process has ended"));
        }
        if writes {
            files.may_write()?;
        }
        let file = files.databases.get_mut(&self.path);
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        act(file)
    }

    fn change(&self, change: Change) -> Result<(), io::Error> {
        self.with(true, |file| {
            change.apply(&mut file.seen);
            file.since.push(change);
            Ok(())
        })
    }
}

/// A length or position in memory.
fn place(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64, io::Error> {
        self.with(false, |file| Ok(file.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.with(false, |file| {
            let from = place(offset)?;
            let content = file.seen.get(from..from + out.len());
            let content = content.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            out.copy_from_slice(content);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.change(Change::Length(place(len)?))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.with(true, |file| {
            let File { synced, since, .. } = file;
            since.drain(..).for_each(|change| change.apply(synced));
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let at = place(offset)?;
        self.change(Change::Write(at, data.to_vec()))
    }
}
