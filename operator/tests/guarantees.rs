//! The times in `docs/guarantees.md` follow from the constants of the code.
//!
//! The page has one block between two comments. This test computes that block and compares it with the page. With
//! `UPDATE_GUARANTEES` set it writes the block instead.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use hanse_core::{
    lease::{CLOCK_RATE_TOLERANCE_PER_MILLE, STOP_CALLS, fence_after_loss},
    suspicion::suspect_after,
    timings::Timings,
};
use hanse_operator::settings::{Action, Arguments, RaftTimings};

const BEGIN: &str = "<!-- derived: begin -->";
const END: &str = "<!-- derived: end -->";

/// What Kubernetes gives a pod that names no grace period.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The constants that the times are computed from.
struct Constants {
    timings: Timings,
    raft: RaftTimings,
    /// How often the leader checks the leases.
    look: Duration,
}

impl Constants {
    fn read() -> Self {
        let timings = Timings::default();
        Self {
            timings,
            raft: default_raft_timings(),
            look: timings.look_every(),
        }
    }

    /// A table row for each constant: its name and its value.
    fn rows(&self) -> String {
        let per_cent = f64::from(CLOCK_RATE_TOLERANCE_PER_MILLE) / 10.0;
        [
            ("lease", seconds(self.timings.lease())),
            ("heartbeat of a member", seconds(self.timings.heartbeat())),
            ("heartbeat of Raft", seconds(self.raft.heartbeat)),
            ("shortest election timeout", seconds(self.raft.election_min)),
            ("longest election timeout", seconds(self.raft.election_max)),
            ("the leader looks at the leases every", seconds(self.look)),
            ("tolerated error of a clock's rate", format!("{per_cent} %")),
            (
                "time for the calls that stop a `Single`",
                seconds(STOP_CALLS),
            ),
            ("default grace period of a pod", seconds(DEFAULT_GRACE)),
        ]
        .map(|(what, value)| format!("| {what} | {value} |\n"))
        .concat()
    }

    /// The events after a loss, each with its shortest and longest time.
    fn derived(&self) -> [Derived; 9] {
        let (lease, heartbeat) = (self.timings.lease(), self.timings.heartbeat());
        let RaftTimings {
            heartbeat: raft_heartbeat,
            election_min,
            election_max,
        } = self.raft;
        let lost = (lease.saturating_sub(heartbeat), lease + self.look);
        let elected = (
            (election_max + election_min).saturating_sub(raft_heartbeat),
            election_max * 2,
        );
        let suspect = suspect_after(self.timings);
        let silent = (suspect.saturating_sub(heartbeat), suspect);
        let leader_lost = (
            elected.0 + lease + election_max,
            elected.1 + lease + election_max + self.look,
        );
        let fence = fence_after_loss(lease, DEFAULT_GRACE);
        let fenced = |lost: (Duration, Duration)| (lost.0 + fence, lost.1 + fence + self.look);
        [
            Derived(
                "a member that was cut off ends its own lease",
                (lease.saturating_sub(heartbeat), lease),
                "the lease counts from sending the last heartbeat that was acknowledged",
            ),
            Derived(
                "a leader that was cut off ends its own lease",
                (lease.saturating_sub(heartbeat), election_min + lease),
                "it acknowledges its own heartbeats for the shortest election timeout after it last heard a majority",
            ),
            Derived(
                "a silent member's replicas are placed elsewhere in addition",
                silent,
                "two heartbeats and a fifth of one after the last, if they were regular until then",
            ),
            Derived(
                "a silent leader's replicas are placed elsewhere in addition",
                (elected.0, elected.1 + self.timings.acknowledged_within()),
                "the new leader suspects the old one at once, and waits for the others' reports: for 2.5 heartbeats at most",
            ),
            Derived(
                "a lost member is declared lost",
                lost,
                "the lease counts from receiving the last heartbeat; the leader looks at intervals",
            ),
            Derived(
                "a lost leader is replaced",
                elected,
                "the last Raft heartbeat, then the longest election timeout, then a random election timeout",
            ),
            Derived(
                "a lost leader is declared lost",
                leader_lost,
                "the new leader gives every member a whole lease and the longest election timeout",
            ),
            Derived(
                "a `Single` of a lost member starts elsewhere",
                fenced(lost),
                "(lease + calls + grace period) × (1 + ρ) / (1 − ρ) − lease, from when the loss was decided",
            ),
            Derived(
                "a `Single` of a lost leader starts elsewhere",
                fenced(leader_lost),
                "the same, after the new leader",
            ),
        ]
    }

    /// The block as the page must have it, without the comments around it.
    fn block(&self) -> String {
        let derived = self.derived();
        let derived = derived.iter().map(Derived::row).collect::<String>();
        let constants = self.rows();
        format!(
            "| constant | default |\n|---|---|\n{constants}\n\
             | after a loss | at least | at most | because |\n|---|---|---|---|\n{derived}"
        )
    }
}

/// What happens, the shortest and the longest time after the loss, and why.
struct Derived(&'static str, (Duration, Duration), &'static str);

impl Derived {
    fn row(&self) -> String {
        let Self(what, (least, most), because) = self;
        let (least, most) = (seconds(*least), seconds(*most));
        format!("| {what} | {least} | {most} | {because} |\n")
    }
}

/// Two decimals: the rounding error is less than a round trip between clusters.
fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// The Raft timings of a voter that was started without flags for them.
fn default_raft_timings() -> RaftTimings {
    let flags = [
        "hanse-operator",
        "run",
        "--name=eu-1",
        "--owner=acme",
        "--data-dir=/data",
    ];
    match Arguments::try_parse_from(flags).unwrap().action {
        Action::Run(run) => run.settings().unwrap().raft,
        Action::Crds => unreachable!("the action is `run`"),
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guarantees.md")
}

/// The text before the block, the block, and the text after it.
fn parts(text: &str) -> (&str, &str, &str) {
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (block, after) = rest.split_once(END).unwrap();
    (before, block, after)
}

#[test]
fn the_times_on_the_page_follow_from_the_constants() {
    let text = fs::read_to_string(page()).unwrap();
    let (before, block, after) = parts(&text);
    let computed = Constants::read().block();
    if env::var_os("UPDATE_GUARANTEES").is_some() {
        let updated = format!("{before}{BEGIN}\n\n{computed}\n{END}{after}");
        fs::write(page(), updated).unwrap();
        return;
    }
    assert_eq!(
        block.trim(),
        computed.trim(),
        "docs/guarantees.md does not contain the times computed from the constants; \
         `UPDATE_GUARANTEES=1 cargo test -p hanse-operator --test guarantees` writes it"
    );
}

#[test]
fn the_text_around_the_block_contains_no_times() {
    let text = fs::read_to_string(page()).unwrap();
    let (before, _, after) = parts(&text);
    let prose = format!("{before} {after}");
    let words: Vec<&str> = prose.split_whitespace().collect();
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let is_unit = |word: &str| {
        let word = word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '%');
        ["s", "ms", "%", "second", "seconds", "minute", "minutes"].contains(&word)
    };
    let times: Vec<String> = words
        .windows(2)
        .filter(|pair| {
            let number = pair[0].trim_matches(|letter: char| !letter.is_ascii_digit());
            is_number(number) && is_unit(pair[1])
        })
        .map(|pair| pair.join(" "))
        .collect();
    assert_eq!(
        times,
        Vec::<String>::new(),
        "times must be in the computed block"
    );
}
