//! Paths on this machine: the sources, the build directory and the directories of single runs.

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

/// The build directory that contains the running program, or the default one if the program is in none.
pub(crate) fn target_dir() -> PathBuf {
    let from_program = std::env::current_exe().ok().and_then(|program| {
        program
            .ancestors()
            .find(|directory| directory.join("CACHEDIR.TAG").is_file())
            .map(Path::to_owned)
    });
    from_program.unwrap_or_else(|| root().join("target"))
}

/// Whether the running program was built with optimisation. The programs that it starts are built the same way.
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
    /// Creates a new one for the run called `name`, and deletes those of earlier runs of that name.
    pub fn create(name: &str) -> io::Result<Self> {
        /// Numbers the runs of one process.
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

    /// Keeps it for inspection until the next run of that name.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl WorkDir {
    /// Keeps it together with the processes that use it, until [`end_kept`] ends them.
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
            // An error is ignored: the next run of that name deletes the directory.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// File in the directory of a run: the ids of the processes that were left running.
const PROCESSES: &str = "processes";

/// Ends the processes that runs called `name` have left running, and deletes the directories of these runs. Returns how
/// many processes it has ended.
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
        // Only a directory that was kept has this file. A run that is in progress has none.
        if directory.join(PROCESSES).is_file() {
            remove_when_quiet(&directory)?;
        }
    }
    Ok(ended)
}

/// The listed processes of a directory that still run. Their command lines are checked, because the kernel may have
/// given an id to another process.
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

/// Deletes the directories that neither a run nor a process left running by it still uses.
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
