//! Where answers, explanations and errors go.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::{failure::Failure, prose, table::Paint, yaml};

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Standard output carries the answer, standard error everything else.
pub(crate) struct Streams<'a> {
    pub(crate) answer: Box<dyn Write + 'a>,
    pub(crate) explanation: Box<dyn Write + 'a>,
    pub(crate) paint: Paint,
}

/// The last line of progress of a command that waits.
#[derive(Debug, Default)]
pub(crate) struct Progress(String);

impl Progress {
    /// Writes what is waited for, unless that is what was written last.
    pub(crate) fn show(&mut self, waits_for: &str, streams: &mut Streams<'_>) {
        let line = format!("waiting: {waits_for}\n");
        if line != self.0 {
            // Waiting goes on when standard error is closed: the answer is written to standard output.
            drop(streams.explain(&line));
            self.0 = line;
        }
    }
}

impl Streams<'static> {
    pub(crate) fn standard(color: Color) -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let auto = io::stdout().is_terminal() && !set("NO_COLOR") && !dumb;
        Self {
            answer: Box::new(io::stdout()),
            explanation: Box::new(io::stderr()),
            paint: match color {
                Color::Always => Paint::Ansi,
                Color::Auto if auto => Paint::Ansi,
                Color::Auto | Color::Never => Paint::Plain,
            },
        }
    }
}

impl Streams<'_> {
    /// Writes `value` as `format` asks, as a table by `render`.
    pub(crate) fn answer<T: Serialize>(
        &mut self,
        value: &T,
        format: Format,
        render: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let text = match format {
            Format::Table => render(value, self.paint),
            Format::Json => {
                let json = serde_json::to_string_pretty(value);
                json.map_err(|error| Failure::Write {
                    source: error.into(),
                })? + "\n"
            }
            Format::Yaml => {
                let json = serde_json::to_value(value);
                let json = json.map_err(|error| Failure::Write {
                    source: error.into(),
                })?;
                return self.answer_object(&json);
            }
        };
        write(&mut self.answer, &text)
    }

    /// Writes an object as `kubectl apply` reads it.
    pub(crate) fn answer_object(&mut self, object: &Value) -> Result<(), Failure> {
        let yaml = yaml::write(object);
        let yaml = yaml.map_err(|error| Failure::Write {
            source: io::Error::other(error),
        })?;
        write(&mut self.answer, &yaml)
    }

    /// Writes one line of answer.
    pub(crate) fn answer_line(&mut self, line: &str) -> Result<(), Failure> {
        write(&mut self.answer, &format!("{line}\n"))
    }

    /// Writes something that is not the answer.
    pub(crate) fn explain(&mut self, text: &str) -> Result<(), Failure> {
        write(&mut self.explanation, text)
    }

    /// Writes what went wrong and what to do about it, and returns the exit code.
    pub(crate) fn report(&mut self, failure: &Failure) -> ExitCode {
        let code = failure.exit_code();
        if code != 0 {
            let hint = failure
                .hint()
                .map(|hint| format!("{hint}\n"))
                .unwrap_or_default();
            let error = prose::clean(&failure.chain());
            // If this cannot be written either, the exit code is still right.
            drop(self.explain(&format!("error: {error}\n{hint}")));
        }
        ExitCode::from(code)
    }
}

fn write(stream: &mut impl Write, text: &str) -> Result<(), Failure> {
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
    written.map_err(|source| Failure::Write { source })
}
