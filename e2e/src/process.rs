//! One child process: its log, its signals, and its end at the latest when this process ends.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A process could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("failed to start {name}")]
    Start {
        /// What it is called.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// Waiting for its end failed.
    #[error("failed to wait for the end of {name}")]
    Wait {
        /// What it is called.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended unexpectedly.
    #[error("{name} ended unexpectedly with {status}; its log {log} ends with:\n{tail}")]
    Ended {
        /// What it is called.
        name: String,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
}

/// A running child in a process group of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    group: Pid,
    reaper: Arc<Reaper>,
    outlives_us: bool,
}

impl Process {
    /// Starts `command` and appends its standard output and standard error to `log`. `reaper` kills it if this process
    /// is killed.
    pub(crate) fn spawn(
        name: &str,
        mut command: Command,
        log: &Path,
        reaper: &Arc<Reaper>,
    ) -> Result<Self, ProcessError> {
        let at = |source| ProcessError::Start {
            name: name.to_owned(),
            source,
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(at)?;
        let errors = output.try_clone().map_err(at)?;
        // In a group of its own it gets no SIGINT from Ctrl-C. Only this process does, and ends its children itself.
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(at)?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| at(io::ErrorKind::NotFound.into()))?;
        reaper.adopt(group);
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
            group,
            reaper: Arc::clone(reaper),
            outlives_us: false,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().cast_unsigned()
    }

    /// Ends it at once with SIGKILL, as a power cut would: it runs no handler and flushes nothing.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::KILL);
        self.wait().await.map(drop)
    }

    /// Sends SIGTERM, and SIGKILL if it has not ended after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> Result<(), ProcessError> {
        self.signal(Signal::TERM);
        match timeout(grace, self.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_elapsed) => self.kill().await,
        }
    }

    /// Sends SIGSTOP, and returns once all its threads have stopped: the kernel still accepts connections to it, but no
    /// request is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal takes effect later than this call on a busy machine. An error means that the process has ended.
        let _ = waitid(
            WaitId::Pid(self.group),
            WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT,
        );
    }

    /// Sends SIGCONT: ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// An error if it has ended unexpectedly.
    pub fn ensure_running(&mut self) -> Result<(), ProcessError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(ProcessError::Ended {
                name: self.name.clone(),
                status,
                log: self.log.clone(),
                tail: tail(&self.log, 15),
            }),
            Err(source) => Err(ProcessError::Wait {
                name: self.name.clone(),
                source,
            }),
        }
    }

    /// Keeps it running when this is dropped and when this process ends.
    pub(crate) fn leave_running(&mut self) {
        self.outlives_us = true;
        self.reaper.release(self.group);
    }

    async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let ended = self.child.wait().await;
        self.reaper.release(self.group);
        ended.map_err(|source| ProcessError::Wait {
            name: self.name.clone(),
            source,
        })
    }

    fn signal(&self, signal: Signal) {
        // After the child has been waited for, its group no longer exists, and another process may have the id.
        if self.child.id().is_some() {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.outlives_us {
            self.signal(Signal::KILL);
            self.reaper.release(self.group);
        }
    }
}

/// A process that kills the children of this process when this process ends without running destructors.
///
/// It reads process groups from its standard input. This process holds the other end of that pipe. The kernel closes it
/// when this process ends, for whatever reason. The reaper then kills every adopted group that was not released.
#[derive(Debug)]
pub(crate) struct Reaper {
    stdin: Mutex<ChildStdin>,
    // Not waited for: it ends after this process does. Until then it sleeps.
    _child: std::process::Child,
}

impl Reaper {
    /// Starts it from the testbed's binary.
    pub(crate) fn start(testbed: &Path) -> Result<Self, ProcessError> {
        let at = |source| ProcessError::Start {
            name: "the reaper".to_owned(),
            source,
        };
        let mut child = std::process::Command::new(testbed)
            .arg("reap")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(at)?;
        let stdin = child
            .stdin
            .take()
            .ok_or_else(|| at(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            stdin: Mutex::new(stdin),
            _child: child,
        })
    }

    fn adopt(&self, group: Pid) {
        self.tell('+', group);
    }

    fn release(&self, group: Pid) {
        self.tell('-', group);
    }

    fn tell(&self, sign: char, group: Pid) {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing fails if the reaper has been killed. Then the children still end when they are dropped.
        let _ = writeln!(stdin, "{sign}{}", group.as_raw_nonzero());
    }
}

/// The last `lines` lines of a log, or why there are none.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    match std::fs::read(log) {
        Ok(content) => {
            let content = String::from_utf8_lossy(&content);
            let all: Vec<_> = content.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({} cannot be read: {error})", log.display()),
    }
}
