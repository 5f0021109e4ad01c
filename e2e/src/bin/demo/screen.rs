//! Shows the story: a table that is redrawn on a terminal, a line per event elsewhere, or JSON.
//!
//! ```text
//! story ── Message ──►┐
//!                     ├─► task ──► standard output
//! stage ── Scene ────►┘   (alone writes to it)
//! ```

mod table;

use std::{
    env,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hanse_e2e::Fleet;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::{Instant, interval},
};

use self::table::Paint;
use crate::{
    stage::{Scene, Stage},
    story::Summary,
};

/// Fast enough to be seen as it happens.
const REFRESH: Duration = Duration::from_millis(100);

/// How it is shown.
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

enum Message {
    Say(String),
    Measured {
        event: &'static str,
        took: Duration,
        text: String,
    },
    Keep(Vec<(String, String)>),
    Summary(Summary),
}

/// What the story talks to.
pub(crate) struct Screen {
    stage: Arc<Stage>,
    // A few dozen messages in all, so that nothing need bound them.
    messages: UnboundedSender<Message>,
    task: JoinHandle<io::Result<()>>,
}

impl Screen {
    pub(crate) fn open(look: Look) -> Self {
        let stage = Arc::new(Stage::default());
        let (messages, inbox) = mpsc::unbounded_channel();
        let writer = Writer {
            look,
            started: Instant::now(),
            shown: Scene::default(),
            drawn_lines: 0,
        };
        let task = tokio::spawn(writer.run(Arc::clone(&stage), inbox));
        Self {
            stage,
            messages,
            task,
        }
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Tells what happens next.
    pub(crate) fn say(&self, text: &str) {
        self.send(Message::Say(text.to_owned()));
    }

    /// Tells what has happened, and how long it took.
    pub(crate) fn measured(&self, event: &'static str, took: Duration, text: &str) {
        self.send(Message::Measured {
            event,
            took,
            text: text.to_owned(),
        });
    }

    /// Tells how to reach what goes on running.
    pub(crate) fn keep(&self, fleet: &Fleet) -> Result<()> {
        let kubeconfigs = fleet
            .members()
            .map(|member| {
                Ok((
                    member.to_owned(),
                    fleet.kubeconfig(member)?.display().to_string(),
                ))
            })
            .collect::<Result<_>>()?;
        self.send(Message::Keep(kubeconfigs));
        Ok(())
    }

    /// The last that is told.
    pub(crate) fn summarise(&self, summary: Summary) {
        self.send(Message::Summary(summary));
    }

    /// Waits until everything is written.
    pub(crate) async fn close(self) -> Result<()> {
        let Self {
            messages,
            task,
            stage: _,
        } = self;
        drop(messages);
        task.await?.context("failed to write to standard output")
    }

    fn send(&self, message: Message) {
        // A closed standard output ends the task; `close` tells.
        let _ = self.messages.send(message);
    }
}

/// Writes to standard error what the demo failed of.
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
        mut inbox: UnboundedReceiver<Message>,
    ) -> io::Result<()> {
        let mut ticks = interval(REFRESH);
        loop {
            tokio::select! {
                biased;
                message = inbox.recv() => {
                    self.show(&stage.look())?;
                    match message {
                        Some(message) => self.tell(message)?,
                        None => return Ok(()),
                    }
                }
                _ = ticks.tick() => self.show(&stage.look())?,
            }
        }
    }

    fn tell(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Say(text) => self.event(&json!({"event": "step", "text": text}), &text),
            Message::Measured { event, took, text } => self.event(
                &json!({"event": event, "seconds": seconds(took), "text": text}),
                &format!("{text}: {:.2} s", took.as_secs_f64()),
            ),
            Message::Keep(kubeconfigs) => {
                for (member, path) in kubeconfigs {
                    let line = format!("export KUBECONFIG={path}");
                    self.event(
                        &json!({"event": "kept", "member": member, "kubeconfig": path}),
                        &line,
                    )?;
                }
                self.event(
                    &json!({"event": "step", "text": "cargo demo --stop ends it"}),
                    "cargo demo --stop ends it",
                )
            }
            Message::Summary(summary) => self.summarise(summary),
        }
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
            "after the kill: seen {:.2} s, moved {:.2} s, ready {:.2} s; after the restart: healed {:.2} s",
            detected.as_secs_f64(),
            replaced.as_secs_f64(),
            ready.as_secs_f64(),
            healed.as_secs_f64()
        );
        if self.look == Look::Json {
            return write_line(&json.to_string());
        }
        self.event(&json, &text)
    }

    /// Shows what is seen, if it is not what was shown last.
    fn show(&mut self, scene: &Scene) -> io::Result<()> {
        match self.look {
            Look::Table(paint) => self.redraw(scene, paint)?,
            Look::Lines | Look::Json => {
                for (json, text) in changes(&self.shown, scene) {
                    self.event(&json, &text)?;
                }
            }
        }
        self.shown = scene.clone();
        Ok(())
    }

    fn event(&mut self, json: &Value, text: &str) -> io::Result<()> {
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
                // Above the table, which moves down by a line.
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

/// What is new in a scene, as JSON and as a line.
fn changes(before: &Scene, now: &Scene) -> Vec<(Value, String)> {
    let mut changes = Vec::new();
    if before.leader != now.leader {
        let leader = now.leader.as_deref().unwrap_or("nobody");
        changes.push((
            json!({"event": "leader", "leader": now.leader}),
            format!("{leader} leads"),
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

/// Milliseconds are as exact as what is measured by looking every 50 ms deserves.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
