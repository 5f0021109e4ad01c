//! `kubectl hanse explain`: why a workload runs where it does and not elsewhere.

use clap::Args;
use hanse_core::{
    inquiry::Answer,
    schedule::{Explanation, Verdict},
};
use hanse_crds::Question;
use kube::Client;

use crate::{
    failure::Failure,
    output::{Format, Streams},
    prose::{clean, count},
    question::{self, Asking},
    table::{Cell, Mood, Paint, Table},
};

/// Explain where a workload runs, and what every member says about it.
///
/// The leader of the federation is asked. Members that may host the workload come first in the order in which they would be chosen:
/// those of its owner, then those with fewer workloads.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The name of the `FederatedWorkload`, in the namespace of --namespace (else `default`); or NAMESPACE/NAME.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    asking: Asking,
}

/// Asks and writes the answer.
pub(crate) async fn run(
    client: Client,
    namespace: Option<&str>,
    explain: &Explain,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let (namespace, name) = explain
        .workload
        .split_once('/')
        .unwrap_or_else(|| (namespace.unwrap_or("default"), &explain.workload));
    let question = Question::Explain {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    match question::ask(client, &explain.asking, &question).await? {
        Answer::Explained { explanation } => {
            streams.answer(&*explanation, explain.output, |explanation, paint| {
                let title = format!("{namespace}/{name}");
                render(&title, explanation, paint)
            })
        }
        Answer::Simulated { .. } | Answer::Drained { .. } | Answer::Refused { .. } => {
            Err(Failure::Refused {
                reason: "it answered another question".to_owned(),
            })
        }
    }
}

fn render(title: &str, explanation: &Explanation, paint: Paint) -> String {
    let headline = match &explanation.unplaced {
        Some(why) => paint.text(Mood::Bad, &format!("{title}: {}", clean(why))),
        None => format!("{title}: {}", runs(explanation)),
    };
    let more = match explanation.more {
        0 => String::new(),
        more => format!("and {}\n", count(more, "more member")),
    };
    let survival = survival(explanation);
    let members = members(explanation).render(paint);
    format!("{headline}\n{survival}\n\n{members}{more}")
}

/// Its hosts first, then who may host it in the order in which they would be chosen, then the others.
fn members(explanation: &Explanation) -> Table {
    let mut table = Table::new(&["MEMBER", "OWNER", "WORKLOADS", "RUNS", "VERDICT"]);
    let mut members: Vec<_> = explanation.members.iter().collect();
    members.sort_by_key(|(name, verdict)| {
        let order = (verdict.share.is_none(), verdict.excluded.is_some());
        (order, !verdict.own, verdict.hosts, *name)
    });
    for (name, verdict) in members {
        let share = verdict.share.as_ref().map(|(share, _)| share);
        let cells = vec![
            Cell::new(name),
            Cell::new(&verdict.owner),
            Cell::new(verdict.hosts),
            Cell::or_dash(share),
            said(verdict),
        ];
        table.row(cells, String::new());
    }
    table
}

fn runs(explanation: &Explanation) -> String {
    let members = explanation.members.values();
    let hosts = members.filter(|verdict| verdict.share.is_some()).count();
    format!("runs in {}", count(hosts, "member"))
}

fn survival(explanation: &Explanation) -> String {
    let survives = match explanation.survives {
        Some(kind) if explanation.gap.is_some() => {
            format!("survives the loss of any one {kind}, and of nothing larger")
        }
        Some(kind) => format!("survives the loss of any one {kind}"),
        None => "would not survive the loss of a cluster".to_owned(),
    };
    match &explanation.gap {
        Some(gap) => format!("{survives}: {}", clean(&gap.to_string())),
        None => survives,
    }
}

fn said(verdict: &Verdict) -> Cell {
    match (&verdict.excluded, &verdict.share) {
        (Some((reason, words)), _) => {
            Cell::new(format!("{reason}: {}", clean(words))).mood(Mood::Warning)
        }
        (None, Some((_, why))) => Cell::new(clean(why)).mood(Mood::Good),
        (None, None) => Cell::new("may host it"),
    }
}

#[cfg(test)]
mod tests {
    use hanse_core::{domain::FailureDomain, schedule::Gap, workload::Share};

    use super::*;

    fn verdict(owner: &str, hosts: usize) -> Verdict {
        Verdict {
            owner: owner.parse().unwrap(),
            own: owner == "acme",
            hosts,
            share: None,
            excluded: None,
        }
    }

    #[test]
    fn hosts_come_first_then_who_would_be_chosen_next_then_who_may_not() {
        let share: Share = [("Deployment.apps/web".parse().unwrap(), 3)]
            .into_iter()
            .collect();
        let excluded = (
            "NotGranted".to_owned(),
            "no HostingPolicy\nthere".to_owned(),
        );
        let members = [
            ("acme-1", verdict("acme", 4)),
            ("acme-2", verdict("acme", 2)),
            (
                "acme-3",
                Verdict {
                    share: Some((share, "acme-9 was lost".to_owned())),
                    ..verdict("acme", 9)
                },
            ),
            ("beta-1", verdict("beta", 0)),
            (
                "beta-2",
                Verdict {
                    excluded: Some(excluded),
                    ..verdict("beta", 0)
                },
            ),
        ];
        let explanation = Explanation {
            generation: hanse_core::id::Generation(7),
            unplaced: None,
            survives: Some(FailureDomain::Region),
            gap: Some(Gap::NoQuorum {
                without: Some("provider 'metal'".to_owned()),
                left: 1,
                voters: 3,
            }),
            members: members
                .map(|(name, verdict)| (name.parse().unwrap(), verdict))
                .into(),
            more: 2,
        };
        insta::assert_snapshot!(render("shop/web", &explanation, Paint::Plain));
    }
}
