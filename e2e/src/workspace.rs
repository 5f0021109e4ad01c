//! Where things are on this machine: the sources, the build directory and the directories of single runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_root.parent().unwrap_or(crate_root).to_owned()
}

/// The build directory that holds the running program, or the default one if it holds none.
pub(crate) fn target_dir() -> PathBuf {
    let from_program = std::env::current_exe().ok().and_then(|program| {
        program
            .ancestors()
            .find(|directory| directory.join("CACHEDIR.TAG").is_file())
            .map(Path::to_owned)
    });
    from_program.unwrap_or_else(|| root().join("target"))
}

/// Whether the running program was built with optimisation, so that what it starts is built the same way.
pub(crate) fn is_release() -> bool {
    !cfg!(debug_assertions)
}

/// A directory for one run: data, keys and logs. Deleted at the end of the run unless it is kept.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    kept: bool,
}

impl WorkDir {
    /// Makes a new one for the run called `name`, and deletes what earlier runs of that name have left behind.
    pub fn create(name: &str) -> io::Result<Self> {
        /// Tells apart the runs of one process.
        static RUNS: AtomicU32 = AtomicU32::new(0);

        let all = target_dir().join("e2e").join(name);
        fs::create_dir_all(&all)?;
        remove_abandoned(&all)?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = all.join(format!("{}-{run}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, kept: false })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it in place, for someone to look at, until the next run of that name.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl WorkDir {
    /// Leaves it in place together with the processes that work in it, until [`end_kept`] ends them.
    pub(crate) fn keep_with(&mut self, processes: &[u32]) -> io::Result<()> {
        let lines: Vec<_> = processes.iter().map(u32::to_string).collect();
        fs::write(self.path.join(PROCESSES), lines.join("\n"))?;
        self.keep();
        Ok(())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.kept {
            // A directory that stays is no reason to fail; the next run of that name deletes it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// In the directory of a run: the ids of the processes that were left running there.
const PROCESSES: &str = "processes";

/// Ends what runs called `name` have left running, and deletes their directories. Returns how many processes that were.
pub fn end_kept(name: &str) -> io::Result<usize> {
    let mut ended = 0;
    let all = target_dir().join("e2e").join(name);
    if !all.is_dir() {
        return Ok(0);
    }
    for entry in fs::read_dir(&all)? {
        let directory = entry?.path();
        for process in processes_left_in(&directory) {
            kill_process_group(process, Signal::KILL)?;
            ended += 1;
        }
        // Told by the list being there: what another process is running now has none.
        if directory.join(PROCESSES).is_file() {
            remove_when_quiet(&directory)?;
        }
    }
    Ok(ended)
}

/// The processes listed in a directory that are still what they were: an id alone may have gone to another process.
fn processes_left_in(directory: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(directory.join(PROCESSES)).unwrap_or_default();
    let works_here = |process: &Pid| {
        let command =
            fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&*directory.to_string_lossy())
    };
    listed
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(works_here)
        .collect()
}

/// A killed process may still be writing its last file while the directory is being deleted.
fn remove_when_quiet(directory: &Path) -> io::Result<()> {
    fs::remove_dir_all(directory).or_else(|_| fs::remove_dir_all(directory))
}

/// Deletes the directories of which nobody works any more, neither the run itself nor what it has left running.
fn remove_abandoned(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name
            .to_str()
            .and_then(|name| name.split('-').next())
            .and_then(|id| id.parse().ok())
            .and_then(Pid::from_raw);
        let run_is_over = run.is_some_and(|run| test_kill_process(run).is_err());
        if run_is_over && processes_left_in(&entry.path()).is_empty() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
