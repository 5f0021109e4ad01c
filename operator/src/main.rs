//! The operator's executable: arguments in, exit code out.

use clap::Parser;
use hanse_operator::{
    run,
    settings::{Action, Arguments},
};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().action {
        Action::Run(arguments) => run::on_this_machine(*arguments).await,
        Action::Crds => run::print_crds(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hanse-operator: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
