//! The faults of a simulation, all decided by its seed before it begins, so that they can be read as a list.

use std::{fmt, time::Duration};

use crate::{api::Service, seeded::Seeded};

/// Something that happens to the machines or the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed, and started again after [`STARTED_AGAIN_AFTER`](crate::simulation::STARTED_AGAIN_AFTER). What it wrote is in
    /// the machine's memory, and its cluster runs on.
    Kill(String),
    /// A machine loses power: its processes end and what its disk had not synced may be lost.
    CutPower(String),
    /// A machine loses power and, for good, the files of its replica of the ledger whose names end so.
    LoseReplica(String, &'static str),
    /// It is switched on again.
    PowerOn(String),
    /// Nothing reaches whoever leads then, and nothing it sends reaches anyone.
    IsolateLeader,
    /// Everyone reaches everyone.
    Reconnect,
    /// Nothing that the first sends reaches the second.
    Block(String, String),
    /// What it sends arrives again.
    Unblock(String, String),
    /// What is sent between two arrives only after [`Release`](Self::Release).
    Hold(String, String),
    /// What was held arrives.
    Release(String, String),
    /// What is sent between two takes up to so many milliseconds from now on.
    Slow(String, String, u64),
    /// Nothing can be written to its disk: it is full, or read-only.
    FillDisk(String),
    /// Its disk can be written to.
    FreeDisk(String),
    /// The API server of a cluster serves like this.
    Serve(String, Service),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(it) => write!(f, "the operator of {it} is killed"),
            Self::CutPower(it) => write!(f, "{it} loses power"),
            Self::LoseReplica(it, files) => {
                write!(
                    f,
                    "{it} loses power and what is called '*{files}' of its replica"
                )
            }
            Self::PowerOn(it) => write!(f, "{it} is switched on"),
            Self::IsolateLeader => write!(f, "the leader is cut off"),
            Self::Reconnect => write!(f, "everyone can reach everyone"),
            Self::Block(from, to) => write!(f, "{from} cannot reach {to}"),
            Self::Unblock(from, to) => write!(f, "{from} can reach {to}"),
            Self::Hold(a, b) => write!(f, "{a} and {b} wait for each other's messages"),
            Self::Release(a, b) => write!(f, "{a} and {b} get each other's messages"),
            Self::FillDisk(it) => write!(f, "the disk of {it} takes no writes"),
            Self::FreeDisk(it) => write!(f, "the disk of {it} takes writes"),
            Self::Serve(it, Service::Up) => write!(f, "the API server of {it} answers again"),
            Self::Serve(it, Service::Down) => write!(f, "the API server of {it} is down"),
            Self::Serve(it, Service::Stuck) => write!(f, "the API server of {it} answers nothing"),
            Self::Slow(a, b, most) => {
                write!(f, "messages between {a} and {b} take up to {most} ms")
            }
        }
    }
}

/// The faults between `from` and `to`, in order. All that can be repaired are.
#[must_use]
pub fn plan(
    random: &Seeded,
    members: &[String],
    from: Duration,
    to: Duration,
) -> Vec<(Duration, Fault)> {
    let mut planned = Vec::new();
    let mut at = from;
    loop {
        at += random.millis(500, 8_000);
        if at >= to {
            break;
        }
        let longest = if random.chance(20) { 40_000 } else { 15_000 };
        let began = at;
        let mut until = at + random.millis(300, longest);
        for (fault, repair) in trouble(random, members) {
            if fault == Fault::IsolateLeader {
                // Until another leads, has declared it lost and fenced, and given its work to others: about 20 s, in which
                // nothing else begins.
                until = at + random.millis(18_000, 32_000);
                at = until;
            }
            if matches!(fault, Fault::Serve(..)) {
                // As long as it may be for a `Single` to be stopped in time (docs/guarantees.md).
                until = at + random.millis(300, 3_000);
            }
            planned.push((began, fault));
            planned.extend(repair.map(|repair| (until, repair)));
        }
    }
    planned.sort();
    planned
}

/// The loss of one replica between `from` and `to`. Once in a simulation at most, and not before there are three voters:
/// the replicas of a majority are what was decided.
#[must_use]
pub fn loss(
    random: &Seeded,
    members: &[String],
    from: Duration,
    to: Duration,
) -> [(Duration, Fault); 2] {
    let victim = random.pick(members);
    let files = *random.pick(&["", "log.redb", "state.redb"]);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let at = random.millis(millis(from), millis(to));
    [
        (at, Fault::LoseReplica(victim.clone(), files)),
        (
            at + random.millis(300, 5_000),
            Fault::PowerOn(victim.clone()),
        ),
    ]
}

/// One trouble: its faults, each with what repairs it.
fn trouble(random: &Seeded, members: &[String]) -> Vec<(Fault, Option<Fault>)> {
    let victim = random.pick(members);
    let others = || members.iter().filter(|other| *other != victim);
    let block = |from: &String, to: &String| {
        (
            Fault::Block(from.clone(), to.clone()),
            Some(Fault::Unblock(from.clone(), to.clone())),
        )
    };
    match random.between(0, 14) {
        0..=2 => {
            let off = Fault::CutPower(victim.clone());
            vec![(off, Some(Fault::PowerOn(victim.clone())))]
        }
        // Cut off, in both directions or in one.
        3 => others()
            .flat_map(|other| [block(victim, other), block(other, victim)])
            .collect(),
        4 => others().map(|other| block(victim, other)).collect(),
        5 => others().map(|other| block(other, victim)).collect(),
        6 => {
            let hold = |other: &String| {
                (
                    Fault::Hold(victim.clone(), other.clone()),
                    Some(Fault::Release(victim.clone(), other.clone())),
                )
            };
            others().map(hold).collect()
        }
        7 => vec![(Fault::IsolateLeader, Some(Fault::Reconnect))],
        8..=9 => vec![(Fault::Kill(victim.clone()), None)],
        10 => {
            let full = Fault::FillDisk(victim.clone());
            vec![(full, Some(Fault::FreeDisk(victim.clone())))]
        }
        11..=12 => {
            let how = *random.pick(&[Service::Down, Service::Stuck]);
            let repair = Fault::Serve(victim.clone(), Service::Up);
            vec![(Fault::Serve(victim.clone(), how), Some(repair))]
        }
        _ => {
            let slow = |other: &String| {
                let most = random.between(20, 300);
                (Fault::Slow(victim.clone(), other.clone(), most), None)
            };
            others().map(slow).collect()
        }
    }
}
