//! `kubectl hanse`: the federation from a terminal.
//!
//! ```text
//! arguments ──► connect ──► status   objects ──► Report ──► text, JSON or YAML     (pure after the reading)
//!               (client)    members  objects ──► rows   ──► text, JSON or YAML     (pure after the reading)
//!                           invite   Secret  ──► operator ──► token
//!                           revoke   annotation ──► operator ──► status
//! ```
//!
//! It talks to the API server and to nothing else: whoever can use `kubectl` can use it, with the same rights
//! (docs/adr/0008). Standard output carries only the answer; prompts, explanations and errors go to standard error.
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 124 no answer in time, 130 interrupted.

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod connect;
mod failure;
mod federation;
mod invite;
mod members;
mod output;
mod prose;
mod revoke;
mod status;
mod table;
#[cfg(test)]
mod testing;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let mut streams = output::Streams::standard(arguments.connection.color);
    match arguments.run(&mut streams).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => streams.report(&failure),
    }
}
