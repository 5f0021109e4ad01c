//! `kubectl hanse simulate`: what would happen if members were lost or added, or workloads changed.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use hanse_core::{
    inquiry::Answer,
    schedule::{Difference, Move, Simulation},
};
use hanse_crds::{FailureDomain, Loss, Question};
use kube::Client;

use crate::{
    failure::Failure,
    file,
    output::{Format, Streams},
    prose::{clean, count, wrap},
    question::{self, Asking},
    table::{Cell, Mood, Paint, Table},
};

const EXIT_CODES: &str = "Exit codes: 1 if a workload would not run as it should, or nothing could be decided any more. The others are \
                          those of every command: kubectl hanse --help";

/// Of the lines under a workload.
const WIDTH: usize = 100;

/// Try what would happen, without changing anything.
///
/// The leader of the federation plans a copy of what holds now. Shown are the workloads of this cluster's owner that would run elsewhere,
/// stop, or survive something else than before.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, group = ArgGroup::new("what").args(["lose", "add", "change"]).required(true).multiple(true))]
pub(crate) struct Simulate {
    /// What is lost: `member`, `region`, `provider` or `owner`, and one or more names, all at once. For example
    /// `owner=acme` or `member=bergen,riga`.
    #[arg(long, value_name = "KIND=NAME[,NAME]", value_parser = loss)]
    lose: Vec<Losses>,
    /// A file with a `Member` that is admitted, and the `HostingPolicy` that it has. It belongs to `status.owner`, or else to the
    /// owner of this cluster.
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// A file with `FederatedWorkload`s that are applied.
    #[arg(long, value_name = "FILE")]
    change: Vec<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    asking: Asking,
}

/// The losses of one option.
#[derive(Debug, Clone, PartialEq)]
struct Losses(Vec<Loss>);

fn loss(value: &str) -> Result<Losses, String> {
    let (kind, names) = value
        .split_once('=')
        .ok_or("must be KIND=NAME, such as 'owner=acme'")?;
    let domain = match kind {
        "member" => FailureDomain::Cluster,
        "region" => FailureDomain::Region,
        "provider" => FailureDomain::Provider,
        "owner" => FailureDomain::Owner,
        other => {
            return Err(format!(
                "'{other}' is not one of 'member', 'region', 'provider', 'owner'"
            ));
        }
    };
    let names = names.split(',').map(|name| match name {
        "" => Err("a name is missing".to_owned()),
        name => Ok(Loss {
            domain,
            name: name.to_owned(),
        }),
    });
    names.collect::<Result<_, _>>().map(Losses)
}

/// Asks and writes the answer. What would fail is a failure of the command, too.
pub(crate) async fn run(
    client: Client,
    simulate: &Simulate,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let mut objects = Vec::new();
    for path in simulate.add.iter().chain(&simulate.change) {
        objects.extend(file::objects(path)?);
    }
    let lose = simulate.lose.iter().flat_map(|it| it.0.clone());
    let question = Question::Simulate {
        lose: lose.collect(),
        objects,
    };
    let simulation = match question::ask(client, &simulate.asking, &question).await? {
        Answer::Simulated { simulation } => simulation,
        Answer::Explained { .. } | Answer::Drained { .. } | Answer::Refused { .. } => {
            return Err(Failure::Refused {
                reason: "it answered another question".to_owned(),
            });
        }
    };
    streams.answer(&*simulation, simulate.output, render)?;
    if simulation.failing > 0 || simulation.no_quorum.is_some() {
        return Err(Failure::WouldFail {
            workloads: simulation.failing,
        });
    }
    Ok(())
}

fn render(simulation: &Simulation, paint: Paint) -> String {
    let mut parts = vec![headline(simulation, paint)];
    if !simulation.lost.is_empty() {
        let lost: Vec<_> = simulation.lost.iter().map(ToString::to_string).collect();
        parts.push(format!("lost: {}\n", lost.join(", ")));
    }
    if !simulation.workloads.is_empty() {
        parts.push("\n".to_owned());
        parts.push(workloads(simulation).render(paint));
    }
    if simulation.more > 0 {
        parts.push(format!("and {}\n", count(simulation.more, "more workload")));
    }
    if simulation.others > 0 {
        let others = count(simulation.others, "workload");
        parts.push(format!("{others} of other owners would move as well\n"));
    }
    parts.concat()
}

fn workloads(simulation: &Simulation) -> Table {
    let mut table = Table::new(&["NAMESPACE", "NAME", "MOVES", "MISSING", "SURVIVES"]);
    for (key, difference) in &simulation.workloads {
        let unplaced = difference.unplaced.as_ref();
        let unplaced = unplaced.map(|why| wrap("  ", &clean(why), WIDTH));
        let cells = vec![
            Cell::new(&key.namespace),
            Cell::new(&key.name),
            Cell::or_dash(moves(difference)),
            missing(difference),
            survives(difference),
        ];
        table.row(cells, unplaced.unwrap_or_default());
    }
    table
}

fn headline(simulation: &Simulation, paint: Paint) -> String {
    if let Some(gap) = &simulation.no_quorum {
        let words = format!("FAILS: {gap}: nothing would move\n");
        return paint.text(Mood::Bad, &clean(&words)) + "\n";
    }
    let workloads = || simulation.workloads.values();
    let moved = workloads().filter(|it| !it.moves.is_empty()).count();
    let moved = count(moved, "workload");
    let at_risk = workloads().filter(|it| it.survives.1.is_none()).count();
    let (mood, words) = if simulation.failing > 0 {
        let failing = count(simulation.failing, "workload");
        let words = format!("FAILS: {failing} would not run as it should");
        (Mood::Bad, words)
    } else if at_risk > 0 {
        let at_risk = count(at_risk, "workload");
        let words = format!(
            "AT RISK: {moved} would move, and all would run; {at_risk} would not survive a further loss"
        );
        (Mood::Warning, words)
    } else if simulation.workloads.is_empty() {
        (Mood::Good, "SAFE: nothing would change".to_owned())
    } else {
        let words = format!("SAFE: {moved} would move, and all would run");
        (Mood::Good, words)
    };
    paint.text(mood, &words) + "\n"
}

/// Such as `bergen 2→0, riga 1→3`.
fn moves(difference: &Difference) -> Option<String> {
    let share = |share: &Option<_>| match share {
        Some(share) => format!("{share}"),
        None => "-".to_owned(),
    };
    let moves = difference.moves.iter();
    let moves =
        moves.map(|(name, Move { from, to })| format!("{name} {}→{}", share(from), share(to)));
    let moves: Vec<_> = moves.collect();
    (!moves.is_empty()).then(|| moves.join(", "))
}

fn missing(difference: &Difference) -> Cell {
    match difference.missing {
        0 => Cell::new(0),
        missing => Cell::new(missing).mood(Mood::Bad),
    }
}

fn survives(difference: &Difference) -> Cell {
    let kind = |kind: Option<_>| match kind {
        Some(kind) => format!("{kind:?}"),
        None => "Nothing".to_owned(),
    };
    let (before, then) = difference.survives;
    if before == then {
        return Cell::new(kind(then));
    }
    let mood = if then < before {
        Mood::Warning
    } else {
        Mood::Good
    };
    Cell::new(format!("{}→{}", kind(before), kind(then))).mood(mood)
}

#[cfg(test)]
mod tests {
    use hanse_core::{domain, schedule::Gap, workload::Share};

    use super::*;

    fn share(replicas: u32) -> Option<Share> {
        let counts = [("Deployment.apps/web".parse().unwrap(), replicas)];
        Some(counts.into_iter().collect())
    }

    fn moved(from: Option<Share>, to: Option<Share>) -> Move {
        Move { from, to }
    }

    #[test]
    fn what_moves_and_what_would_not_run_is_shown_with_the_reason() {
        let owner = Some(domain::FailureDomain::Owner);
        let moves = [
            ("acme-1", moved(share(2), None)),
            ("acme-2", moved(share(2), share(4))),
        ];
        let web = Difference {
            moves: moves.map(|(name, it)| (name.parse().unwrap(), it)).into(),
            survives: (owner, None),
            ..Difference::default()
        };
        let stopped = Difference {
            moves: [("acme-1".parse().unwrap(), moved(share(1), None))].into(),
            missing: 1,
            unplaced: Some("none of the 2 members may host it (acme-2: no grant)".to_owned()),
            survives: (None, None),
            fails: true,
        };
        let mut simulation = Simulation {
            lost: [("acme-1".parse().unwrap())].into(),
            workloads: [
                ("acme/shop/database".parse().unwrap(), stopped),
                ("acme/shop/web".parse().unwrap(), web),
            ]
            .into(),
            others: 1,
            failing: 1,
            ..Simulation::default()
        };
        insta::assert_snapshot!(render(&simulation, Paint::Plain));
        simulation.failing = 0;
        assert!(
            render(&simulation, Paint::Plain)
                .starts_with("AT RISK: 2 workloads would move, and all would run; 2 workloads would not survive a further loss")
        );
        let gap = Gap::NoQuorum {
            without: None,
            left: 1,
            voters: 3,
        };
        simulation.no_quorum = Some(gap);
        let text = render(&simulation, Paint::Plain);
        assert!(text.starts_with("FAILS: the federation has 1 of 3 voters, and nothing is decided with less than 2: nothing would move"), "{text}");
    }

    #[test]
    fn without_a_difference_it_says_so() {
        assert_eq!(
            render(&Simulation::default(), Paint::Plain),
            "SAFE: nothing would change\n"
        );
    }

    #[test]
    fn several_names_of_a_kind_are_lost_together() {
        let named = |name: &str| Loss {
            domain: FailureDomain::Cluster,
            name: name.to_owned(),
        };
        assert_eq!(loss("member=a,b"), Ok(Losses(vec![named("a"), named("b")])));
    }
}
