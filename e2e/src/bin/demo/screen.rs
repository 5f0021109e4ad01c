//! Shows events and scenes: on a terminal as a table that is redrawn, elsewhere as one line per event, or as JSON.
//!
//! ```text
//! Events ── Event ──►┐
//!                    ├─► task ──► standard output
//! Stage ─── Scene ──►┘   (the only writer)
//! ```

mod table;

use std::{
    env,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::JoinHandle,
    time::{Instant, interval},
};

use self::table::Paint;
use crate::{
    event::{Event, Summary},
    stage::{Scene, Stage},
};

/// Short enough that a change is shown without visible delay.
const REFRESH: Duration = Duration::from_millis(100);

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A table that is redrawn in place, in colour unless `NO_COLOR` is set.
    Table(Paint),
    /// A line for each event.
    Lines,
    /// An object for each event.
    Json,
}

impl Look {
    pub(crate) fn chosen(json: bool, terminal: bool) -> Self {
        match (json, terminal) {
            (true, _) => Self::Json,
            (false, true) => {
                let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                Self::Table(if plain { Paint::Plain } else { Paint::Coloured })
            }
            (false, false) => Self::Lines,
        }
    }
}

/// The task that writes to standard output.
pub(crate) struct Screen {
    task: JoinHandle<io::Result<()>>,
}

impl Screen {
    /// Shows every event of `inbox` and every change of `stage` until the sender of `inbox` is dropped.
    pub(crate) fn open(look: Look, stage: Arc<Stage>, inbox: UnboundedReceiver<Event>) -> Self {
        let writer = Writer {
            look,
            started: Instant::now(),
            shown: Scene::default(),
            drawn_lines: 0,
        };
        let task = tokio::spawn(writer.run(stage, inbox));
        Self { task }
    }

    /// Waits until everything is written. Returns only after the sender of the events is dropped.
    pub(crate) async fn close(self) -> Result<()> {
        self.task
            .await?
            .context("failed to write to standard output")
    }
}

/// Writes to standard error why the demo failed.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "cargo demo: {text}");
}

struct Writer {
    look: Look,
    started: Instant,
    shown: Scene,
    drawn_lines: usize,
}

impl Writer {
    async fn run(
        mut self,
        stage: Arc<Stage>,
        mut inbox: UnboundedReceiver<Event>,
    ) -> io::Result<()> {
        let mut ticks = interval(REFRESH);
        loop {
            tokio::select! {
                biased;
                event = inbox.recv() => {
                    self.show(&stage.look())?;
                    match event {
                        Some(event) => self.tell(event)?,
                        None => return Ok(()),
                    }
                }
                _ = ticks.tick() => self.show(&stage.look())?,
            }
        }
    }

    fn tell(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Step(text) => self.write(&json!({"event": "step", "text": text}), &text),
            Event::Measured { name, took, text } => self.write(
                &json!({"event": name, "seconds": seconds(took), "text": text}),
                &format!("{text}: {:.2} s", took.as_secs_f64()),
            ),
            Event::Kept(kubeconfigs) => self.kept(kubeconfigs),
            Event::Summary(summary) => self.summarise(summary),
        }
    }

    fn kept(&mut self, kubeconfigs: Vec<(String, String)>) -> io::Result<()> {
        for (member, path) in kubeconfigs {
            let line = format!("export KUBECONFIG={path}");
            self.write(
                &json!({"event": "kept", "member": member, "kubeconfig": path}),
                &line,
            )?;
        }
        self.write(
            &json!({"event": "step", "text": "to end all of it: cargo demo --stop"}),
            "to end all of it: cargo demo --stop",
        )
    }

    fn summarise(&mut self, summary: Summary) -> io::Result<()> {
        let Summary {
            detected,
            replaced,
            ready,
            healed,
        } = summary;
        let json = json!({
            "event": "summary",
            "detect_s": seconds(detected),
            "replaced_s": seconds(replaced),
            "ready_s": seconds(ready),
            "healed_s": seconds(healed),
        });
        let text = format!(
            "after the kill: replaced {:.2} s, ready {:.2} s, lost {:.2} s; after the restart: healed {:.2} s",
            replaced.as_secs_f64(),
            ready.as_secs_f64(),
            detected.as_secs_f64(),
            healed.as_secs_f64()
        );
        if self.look == Look::Json {
            return write_line(&json.to_string());
        }
        self.write(&json, &text)
    }

    /// Shows a scene if it differs from the last one.
    fn show(&mut self, scene: &Scene) -> io::Result<()> {
        match self.look {
            Look::Table(paint) => self.redraw(scene, paint)?,
            Look::Lines | Look::Json => {
                for (json, text) in changes(&self.shown, scene) {
                    self.write(&json, &text)?;
                }
            }
        }
        self.shown = scene.clone();
        Ok(())
    }

    /// Writes one event: the JSON or the text, with the time since the start.
    fn write(&mut self, json: &Value, text: &str) -> io::Result<()> {
        let elapsed = self.started.elapsed();
        let at = elapsed.as_secs_f64();
        match self.look {
            Look::Json => {
                let mut json = json.clone();
                json["at_s"] = seconds(elapsed).into();
                write_line(&json.to_string())
            }
            Look::Lines => write_line(&format!("{at:7.2} s  {text}")),
            Look::Table(paint) => {
                // The line is written above the table, so the table moves down by one.
                self.erase()?;
                write_line(&format!("{at:7.2} s  {}", paint.bold(text)))?;
                let scene = self.shown.clone();
                self.redraw(&scene, paint)
            }
        }
    }

    fn redraw(&mut self, scene: &Scene, paint: Paint) -> io::Result<()> {
        self.erase()?;
        let lines = table::lines(scene, self.started.elapsed(), paint);
        self.drawn_lines = lines.len();
        lines.iter().try_for_each(|line| write_line(line))
    }

    fn erase(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.drawn_lines);
        if lines > 0 {
            write!(io::stdout(), "\x1b[{lines}A\x1b[J")?;
        }
        Ok(())
    }
}

/// The changes from one scene to the next, each as JSON and as a line.
fn changes(before: &Scene, now: &Scene) -> Vec<(Value, String)> {
    let mut changes = Vec::new();
    if before.leader != now.leader {
        changes.push((
            json!({"event": "leader", "leader": now.leader}),
            table::leader(now),
        ));
    }
    if before.quorum != now.quorum || before.voters != now.voters {
        let quorum = now.quorum.as_deref().unwrap_or("unknown");
        let text = format!("the quorum of {} voters is {quorum}", now.voters);
        changes.push((
            json!({"event": "quorum", "quorum": now.quorum, "voters": now.voters}),
            text,
        ));
    }
    for member in &now.members {
        let name = &member.name;
        let was = before.member(name);
        if was.map(|was| was.lease) != Some(member.lease) {
            let text = format!("{name}: lease {}", table::word(member.lease));
            changes.push((
                json!({"event": "lease", "member": name, "lease": member.lease}),
                text,
            ));
        }
        if was.and_then(|was| was.placement.as_ref()) != member.placement.as_ref() {
            let text = format!("{name}: placement {}", table::placement(member));
            changes.push((
                json!({"event": "placement", "member": name, "placement": member.placement}),
                text,
            ));
        }
        if was.and_then(|was| was.deployment.as_ref()) != member.deployment.as_ref() {
            let text = format!("{name}: deployment {}", table::deployment(member));
            changes.push((
                json!({"event": "deployment", "member": name, "deployment": member.deployment}),
                text,
            ));
        }
    }
    changes
}

/// Rounded to milliseconds: the conditions are checked every 50 ms, so further digits would mean nothing.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
