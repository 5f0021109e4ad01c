//! The control plane's programs, as one binary that `go build` builds from `e2e/testbed/`.
//!
//! The binary is built once and cached in the build directory under a hash of its sources and settings. The first build
//! compiles all of Kubernetes and takes minutes. It is done under a lock, because tests run in several processes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{
    lock::FileLock,
    process::{ProcessError, Reaper},
    progress::{Steps, run_visibly},
    workspace,
};

const KUBERNETES: &str = "v1.36.3";
const HELM: &str = "v4.2.4";
/// The oldest Go that can read `go.mod`.
const GO: &str = "1.26";

/// The sources of the binary.
const SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// The same for every Go command, because a command with other flags would compile everything again.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("CGO_ENABLED", "0"),
    ("GOFLAGS", "-trimpath -buildvcs=false"),
    ("GOTOOLCHAIN", "local"),
    ("GOWORK", "off"),
];

/// The binary could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// No `go` command.
    #[error(
        "the tests start real Kubernetes control planes, which Go builds, and `go` was not found: install Go {GO} or later \
         (https://go.dev/dl) and put it on the PATH"
    )]
    GoMissing(#[source] io::Error),
    /// Modules could not be downloaded.
    #[error(
        "failed to download the Go modules of the control plane: the first build needs a Go module proxy (GOPROXY is {proxy:?}); \
         the last output of go:\n{tail}"
    )]
    Modules {
        /// The value of `GOPROXY`.
        proxy: String,
        /// The last lines of Go's output.
        tail: String,
    },
    /// `go build` failed.
    #[error("failed to build the control plane with {go}; its last output:\n{tail}")]
    Build {
        /// The version of Go.
        go: String,
        /// The last lines of its output.
        tail: String,
    },
    /// The cache cannot be used.
    #[error("failed to use {path}")]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// The binary, ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Testbed {
    binary: Arc<Path>,
    reaper: Arc<Reaper>,
}

impl Testbed {
    /// Builds the binary if it does not exist yet. The processes started from it are killed when this process ends, for
    /// whatever reason, unless they are left running on purpose.
    pub async fn ready() -> Result<Self, TestbedError> {
        let binary = ensure_binary().await?;
        let reaper = Arc::new(Reaper::start(&binary)?);
        Ok(Self {
            binary: binary.into(),
            reaper,
        })
    }

    /// The multicall binary; its first argument is the name of a component.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn reaper(&self) -> &Arc<Reaper> {
        &self.reaper
    }

    /// A command that ends by itself, such as `kubectl` or `helm`.
    #[must_use]
    pub fn command(&self, component: &str) -> Command {
        let mut command = Command::new(&*self.binary);
        command
            .arg(component)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

async fn ensure_binary() -> Result<PathBuf, TestbedError> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed");
    let go = go_version(&sources).await?;
    let cache = workspace::target_dir().join("testbed");
    let directory = cache.join(fingerprint(&sources, &go)?);
    let binary = directory.join("testbed");
    if binary.is_file() {
        return Ok(binary);
    }

    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| TestbedError::Cache { path, source }
    };
    let lock = cache.join("build.lock");
    let _lock = FileLock::acquire(&lock).await.map_err(at(&lock))?;
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&directory).map_err(at(&directory))?;
    let partial = directory.join("partial");
    build(&sources, &go, &partial).await?;
    // Renamed only when complete, so that the file of an interrupted build is never used.
    fs::rename(&partial, &binary).map_err(at(&binary))?;
    Ok(binary)
}

async fn go_version(sources: &Path) -> Result<String, TestbedError> {
    let output = go(sources, &["version"])
        .output()
        .await
        .map_err(TestbedError::GoMissing)?;
    Ok(text(&output.stdout))
}

fn fingerprint(sources: &Path, go: &str) -> Result<String, TestbedError> {
    let mut hash = Sha256::new();
    for name in SOURCES {
        let path = sources.join(name);
        let content = fs::read(&path).map_err(|source| TestbedError::Cache { path, source })?;
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    for setting in [go, &linker_flags()] {
        hash.update(setting.len().to_le_bytes());
        hash.update(setting);
    }
    for (name, value) in ENVIRONMENT {
        hash.update(name);
        hash.update(value);
    }
    let digest = hex::encode(hash.finalize());
    // 64 bits are enough to distinguish the few binaries in one build directory.
    Ok(digest[..16].to_owned())
}

async fn build(sources: &Path, go_version: &str, binary: &Path) -> Result<(), TestbedError> {
    download(sources).await?;
    let packages = go(sources, &["list", "-deps", "."])
        .output()
        .await
        .map_err(TestbedError::GoMissing)?;
    let steps = Steps {
        title: "Building Kubernetes, etcd, kwok and Helm (only this once)",
        unit: "packages compiled",
        total: Some(text(&packages.stdout).lines().count()),
        // `go build -v` prints the name of each package that it compiles, and nothing else unless there is an error.
        counts: |line| !line.starts_with('#') && !line.contains(' '),
    };
    let binary = binary.to_string_lossy();
    let command = go(
        sources,
        &[
            "build",
            "-v",
            "-ldflags",
            &linker_flags(),
            "-o",
            &binary,
            ".",
        ],
    );
    let finished = run_visibly(steps, command)
        .await
        .map_err(TestbedError::GoMissing)?;
    if finished.status.success() {
        return Ok(());
    }
    Err(TestbedError::Build {
        go: go_version.to_owned(),
        tail: finished.tail,
    })
}

/// A step of its own, because it fails for other reasons (no network) than a build does.
async fn download(sources: &Path) -> Result<(), TestbedError> {
    let steps = Steps {
        title: "Downloading the modules of Kubernetes (only this once)",
        unit: "modules",
        total: None,
        counts: |line| line.contains(".zip: 200"),
    };
    let finished = run_visibly(steps, go(sources, &["mod", "download", "-x"]))
        .await
        .map_err(TestbedError::GoMissing)?;
    if finished.status.success() {
        return Ok(());
    }
    let proxy = go(sources, &["env", "GOPROXY"])
        .output()
        .await
        .map_err(TestbedError::GoMissing)?;
    Err(TestbedError::Modules {
        proxy: text(&proxy.stdout),
        tail: finished.tail,
    })
}

fn go(sources: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command
        .args(arguments)
        .current_dir(sources)
        .envs(ENVIRONMENT)
        .kill_on_drop(true);
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

/// Without these, `/version` contains no number, and every comparison of versions (Helm's `kubeVersion`) fails.
fn linker_flags() -> String {
    let (major, minor) = KUBERNETES
        .trim_start_matches('v')
        .split_once('.')
        .map_or(("", ""), |(major, rest)| {
            (major, rest.split('.').next().unwrap_or_default())
        });
    let of = |package| {
        format!(
            "-X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )
    };
    let (components, client) = (
        of("k8s.io/component-base/version"),
        of("k8s.io/client-go/pkg/version"),
    );
    format!("-s -w -X helm.sh/helm/v4/internal/version.version={HELM} {components} {client}")
}
