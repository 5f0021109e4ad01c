//! The operator and the kubectl plugin, built by the same Cargo and in the same profile as this program.

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
        /// Its path.
        cargo: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process builds and holds the lock for too long.
    #[error("failed to get the lock for the build")]
    Lock(#[source] io::Error),
    /// The build failed.
    #[error("failed to build the operator; the last output of cargo:\n{tail}")]
    Build {
        /// The last lines of Cargo's output.
        tail: String,
    },
    /// The build succeeded without one of the programs.
    #[error("cargo built no program called {name}")]
    Absent {
        /// Which one.
        name: &'static str,
    },
}

/// The paths of the programs.
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
    // Cargo sets these variables to describe this program's own package. They must not reach the build: build scripts
    // that read them (ring's does) would run again, and half of the dependencies would be compiled again, in this build
    // and in the next one that a developer starts.
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

/// Finds the path of a program in Cargo's messages, which are one JSON line per artifact.
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
