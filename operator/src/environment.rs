//! The environment of an operator: network, disk, clocks, randomness and its cluster's API server, in one struct.
//!
//! Only this struct differs between a machine and a simulation. There are no globals and no threads, so several
//! operators can run in one process. The monotonic clock is tokio's, which a test can pause and a simulator can
//! control.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use hanse_core::level::Level;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use redb::{Builder, Database, DatabaseError};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::spawn_blocking;

use crate::peer::{Network, TcpNetwork};

/// The environment of an operator.
#[derive(Clone)]
pub struct Environment {
    /// Opens every socket: those to and from other operators, and the one for probes and metrics.
    pub network: Arc<dyn Network>,
    /// Where the ledger is kept, and the end of the lease.
    pub disk: Arc<dyn Disk>,
    /// The wall clock. Used for timestamps and expiry, never for a lease.
    pub clock: Clock,
    /// The boot of the machine, and the time since.
    pub boot: Boot,
    /// The source of keys and identifiers.
    pub entropy: Entropy,
    /// Which build of the operator it is, as far as other members notice.
    pub build: Build,
    /// The cluster's API server; without it the operator votes and can lead, but hosts and observes nothing.
    pub kubernetes: Option<kube::Client>,
}

impl Environment {
    /// This machine's own network, disk, clock and randomness.
    #[must_use]
    pub fn of_this_machine(network: TcpNetwork, kubernetes: Option<kube::Client>) -> Self {
        Self {
            network: Arc::new(network),
            disk: Arc::new(FileSystem),
            clock: Clock::system(),
            boot: Boot::of_this_machine(),
            entropy: Entropy(Arc::new(rand::random)),
            build: Build::default(),
            kubernetes,
        }
    }
}

/// What sets builds of the operator apart in a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The newest level that it knows.
    pub level: Level,
    /// For how long all voters must know a level before this one, as the leader, raises the federation to it.
    pub raises_after: Duration,
}

/// An hour: by then it is seen whether an upgrade has to be taken back, which a raised level does not allow.
impl Default for Build {
    fn default() -> Self {
        Self {
            level: Level::NEWEST,
            raises_after: Duration::from_hours(1),
        }
    }
}

/// Opens directories of databases, and keeps notes.
pub trait Disk: Send + Sync + 'static {
    /// The directory at `path`, which need not exist yet.
    fn directory(&self, path: PathBuf) -> Arc<dyn Directory>;

    /// Replaces the small file at `path` in one step, without holding up the caller's thread. The next process finds it;
    /// after a power cut the file may be the previous one.
    fn replace(&self, path: PathBuf, content: Vec<u8>) -> BoxFuture<'static, io::Result<()>>;

    /// The content of the small file at `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// One directory of databases.
pub trait Directory: fmt::Debug + Send + Sync + 'static {
    /// Opens the database `name` with the settings in `builder`. Creates it, and this directory, if there is none; both
    /// are on stable storage when this returns.
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError>;

    /// The names of everything in it; none if it does not exist.
    fn names(&self) -> io::Result<Vec<String>>;
}

/// The local file system.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn directory(&self, path: PathBuf) -> Arc<dyn Directory> {
        Arc::new(FileDirectory(path))
    }

    fn replace(&self, path: PathBuf, content: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        let replacing = spawn_blocking(move || {
            let aside = path.with_extension("new");
            fs::write(&aside, content)?;
            fs::rename(aside, path)
        });
        async move { replacing.await.map_err(io::Error::other)? }.boxed()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}

/// A directory of the local file system.
#[derive(Debug, Clone)]
pub struct FileDirectory(pub PathBuf);

impl Directory for FileDirectory {
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let io = |error: io::Error| DatabaseError::Storage(redb::StorageError::from(error));
        fs::create_dir_all(&self.0).map_err(io)?;
        let database = builder.create(self.0.join(name))?;
        // A new file survives a power cut only once its directory is synced. A voter that lost its log could vote
        // twice.
        fs::File::open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        Ok(database)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
}

/// A wall clock.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that does not advance, at this many milliseconds since 1970.
    #[cfg(test)]
    pub(crate) fn fixed(ms: i64) -> Self {
        Self(Arc::new(move || {
            Timestamp::from_millisecond(ms).unwrap_or_default()
        }))
    }

    /// Now, as Kubernetes writes it: in whole seconds, because its API drops fractions.
    #[must_use]
    pub fn now(&self) -> Time {
        let now = (self.0)();
        Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from((self.0)().as_millisecond()).unwrap_or(0)
    }
}

/// The boot of a machine, and a clock that counts from it: what is measured on it means the same to the next process on
/// that machine, and nothing after a reboot.
#[derive(Clone)]
pub struct Boot {
    /// Identifies the boot; an error if the machine does not tell it.
    pub id: Arc<dyn Fn() -> io::Result<String> + Send + Sync>,
    /// The time since, which also passes while the machine is suspended and which no setting of the wall clock changes.
    pub since: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Boot {
    /// This machine's, as Linux tells it.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self {
            id: Arc::new(|| fs::read_to_string("/proc/sys/kernel/random/boot_id")),
            since: Arc::new(|| {
                let now = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
                Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
            }),
        }
    }
}

/// A source of 32 unpredictable bytes.
#[derive(Clone)]
pub struct Entropy(pub Arc<dyn Fn() -> [u8; 32] + Send + Sync>);

impl Entropy {
    /// 32 unpredictable bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        (self.0)()
    }
}
