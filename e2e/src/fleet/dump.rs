//! Prints the state of a fleet, to find out why a test failed.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{Fleet, Seat};

/// Lines of each operator's log: the last seconds of it.
const LOG_LINES: usize = 60;

/// The kubectl commands for each cluster: first the objects of the federation, then Deployments and pods.
const QUESTIONS: [&[&str]; 3] = [
    &[
        "get",
        "federatedworkloads,members,federations,hostingpolicies",
        "-A",
        "-o",
        "wide",
    ],
    &[
        "get",
        "federatedworkloads",
        "-A",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}: {.status}{\"\\n\"}{end}",
    ],
    &["get", "deployments,pods", "-A", "-o", "wide"],
];

impl Fleet {
    /// Prints the state to standard error. Not asynchronous, because it is called while a panic unwinds.
    pub(super) fn dump(&self) {
        let mut out = std::io::stderr().lock();
        // If standard error is closed, the error cannot be reported anywhere.
        let _ = writeln!(
            out,
            "\n=== the fleet {:?} at the time of the failure; its files are in {}",
            self.name,
            self.work.path().display()
        );
        for seat in &self.seats {
            let _ = writeln!(out, "\n--- {} of {}", seat.plan.name, seat.plan.owner);
            for question in QUESTIONS {
                let _ = writeln!(
                    out,
                    "$ kubectl {}\n{}",
                    question.join(" "),
                    self.ask(seat, question)
                );
            }
            if let Some(operator) = &seat.operator {
                let _ = writeln!(
                    out,
                    "$ tail {}\n{}",
                    operator.log().display(),
                    operator.log_tail(LOG_LINES)
                );
            }
        }
    }

    fn ask(&self, seat: &Seat, question: &[&str]) -> String {
        let output = Command::new(self.testbed.binary())
            .arg("kubectl")
            .args(question)
            .args(["--request-timeout=3s"])
            .env("KUBECONFIG", seat.cluster.kubeconfig())
            .env("HOME", &seat.directory)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) => {
                let both = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&both).trim_end().to_owned()
            }
            Err(error) => format!("(kubectl did not start: {error})"),
        }
    }
}
