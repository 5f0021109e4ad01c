//! `kubectl hanse`: the federation from a terminal.
//!
//! ```text
//! arguments ──► connect ──► status   objects ──► Report ──► text, JSON or YAML     (pure after the reading)
//!               (client)    members  objects ──► rows   ──► text, JSON or YAML     (pure after the reading)
//!                           invite   Secret  ──► operator ──► token
//!                           revoke   annotation ──► operator ──► status
//!                           cordon, uncordon   spec ──► operator ──► condition
//!                           drain    the same, then ConfigMap ──► operator ──► leader ──► progress
//!                           diff     objects ──► differences ──► text, JSON or YAML  (pure after the reading)
//!                           explain, simulate   ConfigMap ──► operator ──► leader ──► text, JSON or YAML
//!           └─► wrap        files ──► FederatedWorkload                              (asks no cluster)
//! ```
//!
//! It sends requests to the API server only, with the rights that its user has there (docs/adr/0008). Standard output
//! carries only the answer; prompts, explanations and errors go to standard error.
//! Exit codes: 0 done, 1 failed or the status is FAILING, 2 wrong usage, 124 no answer in time, 130 interrupted.
//!
//! Each command's module has its own arguments; `arguments` puts them together, and nothing but `main` imports it. No
//! modules import one another in a circle (`tests/imports.rs`).

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod connect;
mod cordon;
mod diff;
mod drain;
mod explain;
mod failure;
mod federation;
mod file;
mod invite;
mod members;
mod output;
mod parsers;
mod prose;
mod question;
mod revoke;
mod simulate;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod wrap;
mod yaml;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let mut streams = output::Streams::standard(arguments.connection.color);
    match arguments.run(&mut streams).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => streams.report(&failure),
    }
}
