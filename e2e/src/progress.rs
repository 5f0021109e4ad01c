//! Runs a long build and shows its progress.
//!
//! On a terminal one line is redrawn; elsewhere a line is printed every ten seconds. It writes to standard error
//! directly, because the test harness captures the output of `eprintln!` until the test is over.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, interval},
};

/// Nothing is shown of a build that is done sooner.
const SILENCE: Duration = Duration::from_secs(1);
/// Time between two lines if the output is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Lines of a failed build that are shown: enough for one message of a compiler.
const TAIL_LINES: usize = 40;

/// The result of a build.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// The last lines of standard error that were not progress.
    pub(crate) tail: String,
}

/// What is shown of a build, and how its progress is read from its standard error.
pub(crate) struct Steps<'a> {
    /// What the build does, such as `Building the operator`.
    pub(crate) title: &'a str,
    /// What is counted, in the plural.
    pub(crate) unit: &'a str,
    /// How many of them there are at most, if that is known.
    pub(crate) total: Option<usize>,
    /// Whether a line of standard error means that one more of them is done.
    pub(crate) counts: fn(&str) -> bool,
}

/// Runs `command` to its end.
pub(crate) async fn run_visibly(steps: Steps<'_>, mut command: Command) -> io::Result<Finished> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut output = String::new();
    let (tail, read) = tokio::join!(
        show_lines(&mut child, steps),
        stdout.read_to_string(&mut output)
    );
    read?;
    Ok(Finished {
        tail: tail?,
        status: child.wait().await?,
        stdout: output,
    })
}

async fn show_lines(child: &mut Child, steps: Steps<'_>) -> io::Result<String> {
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut lines = BufReader::new(stderr).lines();
    let mut display = Display::new(steps);
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    let mut ticks = interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) if (display.steps.counts)(&line) => display.done += 1,
                Some(line) => {
                    if tail.len() == TAIL_LINES {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                None => break,
            },
            _ = ticks.tick() => display.draw(),
        }
    }
    display.finish();
    Ok(Vec::from(tail).join("\n"))
}

struct Display<'a> {
    steps: Steps<'a>,
    done: usize,
    started: Instant,
    drawn: Option<Instant>,
    redraws: bool,
}

impl<'a> Display<'a> {
    fn new(steps: Steps<'a>) -> Self {
        Self {
            steps,
            done: 0,
            started: Instant::now(),
            drawn: None,
            redraws: io::stderr().is_terminal(),
        }
    }

    fn draw(&mut self) {
        let due = self.drawn.map_or(self.started + SILENCE, |drawn| {
            drawn
                + if self.redraws {
                    Duration::ZERO
                } else {
                    LINE_EVERY
                }
        });
        if Instant::now() >= due {
            self.drawn = Some(Instant::now());
            self.write(if self.redraws { "" } else { "\n" });
        }
    }

    fn finish(&self) {
        if self.drawn.is_some() {
            self.write("\n");
        }
    }

    fn write(&self, end: &str) {
        let start = if self.redraws { "\r\x1b[2K" } else { "" };
        let seconds = self.started.elapsed().as_secs();
        let done = self.done;
        let Steps {
            title, unit, total, ..
        } = self.steps;
        // What earlier builds left in the compiler's cache is not compiled again, and for a while that may be all.
        let count = match (done, total) {
            (0, _) => format!("no {unit} so far"),
            (_, Some(total)) => format!("{done} of at most {total} {unit}"),
            (_, None) => format!("{done} {unit}"),
        };
        let mut stderr = io::stderr().lock();
        // The build continues even if the terminal has been closed.
        let _ = write!(stderr, "{start}{title}: {seconds} s, {count}{end}");
        let _ = stderr.flush();
    }
}
