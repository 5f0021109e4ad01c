//! Our own programs, built by the Cargo that built this one, as it built this one.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{
    lock::FileLock,
    progress::{Steps, run_visibly},
    workspace,
};

/// The programs could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// Cargo did not start.
    #[error("failed to start cargo ({cargo:?}): install Rust (https://rustup.rs) or set CARGO")]
    CargoMissing {
        /// What was started.
        cargo: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process builds and does not come to an end.
    #[error("failed to get the turn to build")]
    Lock(#[source] io::Error),
    /// Cargo refused the sources.
    #[error("failed to build the operator; cargo says:\n{tail}")]
    Build {
        /// What it said last.
        tail: String,
    },
    /// Cargo built something else.
    #[error("cargo built no program called {name}")]
    Absent {
        /// Which one.
        name: &'static str,
    },
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    operator: PathBuf,
    cli: PathBuf,
}

impl Binaries {
    /// Builds what is not up to date.
    pub async fn ready() -> Result<Self, BinariesError> {
        let lock = workspace::target_dir().join("e2e").join("cargo.lock");
        let _lock = FileLock::acquire(&lock)
            .await
            .map_err(BinariesError::Lock)?;
        let steps = Steps {
            title: "Building hanse-operator and kubectl-hanse",
            unit: "crates compiled",
            total: None,
            counts: |line| line.trim_start().starts_with("Compiling "),
        };
        let cargo = PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let finished = run_visibly(steps, build_command(&cargo))
            .await
            .map_err(|source| BinariesError::CargoMissing { cargo, source })?;
        if !finished.status.success() {
            return Err(BinariesError::Build {
                tail: finished.tail,
            });
        }
        Ok(Self {
            operator: executable(&finished.stdout, "hanse-operator")?,
            cli: executable(&finished.stdout, "kubectl-hanse")?,
        })
    }

    /// The operator.
    #[must_use]
    pub fn operator(&self) -> &Path {
        &self.operator
    }

    /// The kubectl plugin.
    #[must_use]
    pub fn cli(&self) -> &Path {
        &self.cli
    }
}

fn build_command(cargo: &Path) -> Command {
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--package=hanse-operator",
            "--package=kubectl-hanse",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace::root());
    // What Cargo tells this program about its own package must not reach the build: build scripts that look at it
    // (ring's does) would run again, and with them half of the dependencies, in this build and in the next one outside.
    for (name, _) in env::vars_os() {
        let about_us = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if about_us {
            command.env_remove(name);
        }
    }
    if workspace::is_release() {
        command.arg("--release");
    }
    command
}

/// Cargo says in one JSON line per artifact where it has put it.
fn executable(messages: &str, name: &'static str) -> Result<PathBuf, BinariesError> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: PathBuf,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .find(|artifact| artifact.target.name == name)
        .map(|artifact| artifact.executable)
        .ok_or(BinariesError::Absent { name })
}
