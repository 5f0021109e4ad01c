//! The report as one screen: the verdict and its reasons, the federation, the members, and the workloads, each with the
//! reasons why it is not healthy.

use hanse_crds::{Fencing, Lease, Quorum, Survives};
use k8s_openapi::jiff::Timestamp;

use super::report::{FederationRow, LostMember, MemberCounts, Report, Safety, WorkloadRow};
use crate::{
    prose::{ago, count, wrap},
    table::{Cell, Mood, Paint, Table},
};

/// Explanations are broken at this many characters.
const WIDTH: usize = 100;

/// Lines of explanation under one workload, and findings at the top. More would push the rest off the screen; all of it
/// is in `-o yaml`.
const MOST_LINES: usize = 8;

/// Hosts named in a row.
const MOST_HOSTS: usize = 4;

pub(super) fn render(report: &Report, now: Timestamp, paint: Paint) -> String {
    [
        verdict(report, paint),
        federation(&report.federation, paint),
        members(&report.members, &report.lost_members, now, paint),
        workloads(&report.workloads, paint),
    ]
    .join("\n")
}

fn verdict(report: &Report, paint: Paint) -> String {
    let (word, mood) = match report.safety {
        Safety::Safe => ("SAFE", Mood::Good),
        Safety::AtRisk => ("AT RISK", Mood::Warning),
        Safety::Failing => ("FAILING", Mood::Bad),
    };
    let word = paint.text(mood, word);
    if report.findings.is_empty() {
        let told = match report.workloads.len() {
            0 => "there is no workload yet".to_owned(),
            number => format!(
                "{} ready, able to survive the loss of any one member",
                count(number, "workload")
            ),
        };
        return format!("{word}: {told}\n");
    }
    let findings = report
        .findings
        .iter()
        .map(|finding| wrap("  - ", &finding.message, WIDTH));
    format!("{word}\n{}", first_few(findings))
}

fn federation(row: &FederationRow, paint: Paint) -> String {
    let quorum = match row.quorum {
        Some(Quorum::Healthy) => paint.text(Mood::Good, "Healthy"),
        Some(Quorum::Degraded) => paint.text(Mood::Warning, "Degraded"),
        Some(Quorum::Lost) => paint.text(Mood::Bad, "Lost"),
        None => paint.text(Mood::Warning, "Unknown"),
    };
    let voters: Vec<String> = row
        .voters
        .iter()
        .map(|voter| {
            let leads = row.leader.as_ref() == Some(voter);
            let is_silent = row.silent_voters.contains(voter);
            let part = match (leads, is_silent) {
                (true, _) => " (leader)",
                (false, true) => " (does not vote)",
                (false, false) => "",
            };
            format!("{voter}{part}")
        })
        .collect();
    let voters = format!("{}: {}", count(voters.len(), "voter"), voters.join(", "));
    let number =
        |number: Option<i64>| number.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let head: String = row
        .head
        .as_deref()
        .unwrap_or("unknown")
        .chars()
        .take(8)
        .collect();
    let height = format!(
        "height {}, term {}, head {head}",
        number(row.height),
        number(row.term)
    );
    [
        field("Federation", row.id.as_deref().unwrap_or("unknown")),
        field("Quorum", &format!("{quorum}, {voters}")),
        field("Ledger", &height),
        field("This member", &this_member(row, paint)),
    ]
    .concat()
}

fn this_member(row: &FederationRow, paint: Paint) -> String {
    let name = row.member.as_deref().unwrap_or("unknown");
    let owner = row.owner.as_deref().unwrap_or("unknown");
    let role = row
        .role
        .map_or_else(|| "role unknown".to_owned(), |role| format!("{role:?}"));
    format!(
        "{name} of {owner}, {role}, lease {}",
        lease(row.lease, paint)
    )
}

pub(crate) fn lease(lease: Option<Lease>, paint: Paint) -> String {
    let (word, mood) = match lease {
        Some(Lease::Held) => ("Held", Mood::Good),
        Some(Lease::Lost) => ("Lost", Mood::Bad),
        Some(Lease::Revoked) => ("Revoked", Mood::Faint),
        None => ("Unknown", Mood::Warning),
    };
    paint.text(mood, word)
}

fn members(counts: &MemberCounts, lost: &[LostMember], now: Timestamp, paint: Paint) -> String {
    let MemberCounts {
        held,
        lost: _,
        revoked,
        unknown,
    } = counts;
    let lost: Vec<String> = lost
        .iter()
        .map(|member| match &member.since {
            Some(since) => format!("{} for {}", member.name, ago(since.0, now)),
            None => member.name.clone(),
        })
        .collect();
    let mut parts = vec![format!("{held} held")];
    if !lost.is_empty() {
        let lost = format!("{} lost ({})", lost.len(), lost.join(", "));
        parts.push(paint.text(Mood::Bad, &lost));
    }
    if *unknown > 0 {
        parts.push(paint.text(Mood::Warning, &format!("{unknown} without a report yet")));
    }
    if *revoked > 0 {
        parts.push(paint.text(Mood::Faint, &format!("{revoked} revoked")));
    }
    field("Members", &parts.join(", "))
}

fn workloads(rows: &[WorkloadRow], paint: Paint) -> String {
    if rows.is_empty() {
        return field("Workloads", "none; kubectl apply a FederatedWorkload");
    }
    let mut table = Table::new(&["NAMESPACE", "NAME", "READY", "DESIRED", "HOSTS", "SURVIVES"]);
    for row in rows {
        let cells = vec![
            Cell::new(&row.namespace),
            Cell::new(&row.name),
            Cell::new(row.ready).mood(readiness(row)),
            Cell::new(row.desired),
            Cell::or_dash(hosts(row)),
            survival(row),
        ];
        table.row(cells, reasons(row, paint));
    }
    table.render(paint)
}

fn readiness(row: &WorkloadRow) -> Mood {
    if row.healthy { Mood::Good } else { Mood::Bad }
}

fn hosts(row: &WorkloadRow) -> Option<String> {
    let (named, rest) = row
        .placements
        .split_at(row.placements.len().min(MOST_HOSTS));
    let mut hosts: Vec<String> = named
        .iter()
        .map(|placement| placement.member.clone())
        .collect();
    if !rest.is_empty() {
        hosts.push(format!("+{}", rest.len()));
    }
    (!hosts.is_empty()).then(|| hosts.join(", "))
}

fn survival(row: &WorkloadRow) -> Cell {
    let mood = match row.survives {
        None | Some(Survives::Nothing) => Mood::Warning,
        Some(Survives::Cluster | Survives::Region | Survives::Provider | Survives::Owner) => {
            Mood::Neutral
        }
    };
    let survives = row.survives.map(|survives| format!("{survives:?}"));
    // "Never two copies" depends on the fencing, so both are shown together.
    let fencing = match row.fencing {
        Some(Fencing::Cooperative) => " (fencing: Cooperative)",
        Some(Fencing::None) | None => "",
    };
    Cell::or_dash(survives.map(|survives| survives + fencing)).mood(mood)
}

/// Why a workload is not healthy: its condition, then the hosts that are not ready, or the members that were excluded.
fn reasons(row: &WorkloadRow, paint: Paint) -> String {
    let Some(because) = &row.because else {
        return String::new();
    };
    let condition = format!(
        "{}={:?} {}",
        because.condition, because.status, because.reason
    );
    let message = match &*because.message {
        "" => condition,
        message => format!("{condition}: {message}"),
    };
    let troubled = row.troubled().map(|placement| {
        let first = format!("      {}: {:?}, ", placement.member, placement.state);
        let ready = format!("{} of {} ready", placement.ready, placement.replicas);
        match &*placement.message {
            "" => wrap(&first, &ready, WIDTH),
            message => wrap(&first, &format!("{ready}: {message}"), WIDTH),
        }
    });
    let excluded = row
        .excluded
        .iter()
        .filter(|_| row.lacks_places())
        .map(|exclusion| {
            let first = format!("      {}: {}", exclusion.member, exclusion.reason);
            match &*exclusion.message {
                "" => format!("{first}\n"),
                message => wrap(&format!("{first}: "), message, WIDTH),
            }
        });
    let unnamed = row.excluded_members - length(row.excluded.len());
    let unnamed = (unnamed > 0 && row.lacks_places())
        .then(|| format!("      and {unnamed} more members, for the same reasons\n"));
    let reasons = wrap("    ", &message, WIDTH) + &first_few(troubled.chain(excluded));
    let reasons = reasons + &unnamed.unwrap_or_default();
    let painted = reasons
        .lines()
        .map(|line| paint.text(Mood::Faint, line) + "\n");
    painted.collect()
}

fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn first_few(entries: impl Iterator<Item = String>) -> String {
    let mut entries: Vec<String> = entries.collect();
    if entries.len() > MOST_LINES {
        let more = entries.split_off(MOST_LINES - 1);
        let indent: String = more[0].chars().take_while(|c| *c == ' ').collect();
        let more = more.len();
        entries.push(format!(
            "{indent}and {more} more: kubectl hanse status -o yaml\n"
        ));
    }
    entries.concat()
}

fn field(name: &str, value: &str) -> String {
    format!("{name:<13}{value}\n")
}

#[cfg(test)]
mod tests {
    use hanse_crds::ConditionStatus::{False, True};

    use super::*;
    use crate::{
        status::Objects,
        testing::{self, federation, member, now, placement, workload},
    };
    use hanse_crds::PlacementState;

    fn screen(objects: Objects) -> String {
        render(&Report::of(objects), now(), Paint::Plain)
    }

    fn three_members() -> Vec<hanse_crds::Member> {
        vec![
            member("acme-eu-1", "acme", Lease::Held),
            member("beta-us-1", "beta", Lease::Held),
            member("gamma-ap-1", "gamma", Lease::Held),
        ]
    }

    fn web() -> hanse_crds::FederatedWorkload {
        let mut web = workload("shop", "web", 6, 6, Survives::Owner);
        testing::status(&mut web).placements = vec![
            placement("acme-eu-1", 3, 3, PlacementState::Ready),
            placement("beta-us-1", 3, 3, PlacementState::Ready),
        ];
        web
    }

    #[test]
    fn a_healthy_federation_is_safe() {
        let single = {
            let mut single = workload("shop", "orders-database", 1, 1, Survives::Cluster);
            testing::status(&mut single).placements =
                vec![placement("acme-eu-1", 1, 1, PlacementState::Ready)];
            testing::status(&mut single).fencing = Some(Fencing::Cooperative);
            single
        };
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]),
            members: three_members(),
            workloads: vec![single, web()],
        }));
    }

    #[test]
    fn a_new_federation_is_at_risk_until_three_vote() {
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1"]),
            members: vec![member("acme-eu-1", "acme", Lease::Held)],
            workloads: vec![],
        }));
    }

    #[test]
    fn after_a_loss_it_says_what_is_lost_and_how_far_the_takeover_is() {
        let mut members = three_members();
        members[1] = member("beta-us-1", "beta", Lease::Lost);
        let mut web = workload("shop", "web", 3, 6, Survives::Nothing);
        testing::condition(
            &mut web,
            "Ready",
            False,
            "Starting",
            "3 of 6 replicas are ready",
        );
        let status = testing::status(&mut web);
        status.placements = vec![
            placement("acme-eu-1", 3, 3, PlacementState::Ready),
            placement("beta-us-1", 0, 0, PlacementState::Lost),
            placement("gamma-ap-1", 3, 0, PlacementState::Applied),
        ];
        status.placements[2].message = "Deployment/web: 0 of 3 replicas are available; the newest pod says \
             \u{1b}[31mImagePullBackOff: registry.example/web:1.4 took longer than expected to answer"
            .into();
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]),
            members,
            workloads: vec![web],
        }));
    }

    #[test]
    fn a_workload_nobody_may_host_says_so_member_by_member() {
        let mut web = workload("shop", "web", 0, 6, Survives::Nothing);
        testing::condition(
            &mut web,
            "Ready",
            False,
            "NotPlaced",
            "0 of 6 replicas are ready",
        );
        testing::condition(
            &mut web,
            "Placed",
            False,
            "NoEligibleMember",
            "no member may host it",
        );
        testing::status(&mut web).excluded_members = 9;
        testing::status(&mut web).excluded = vec![
            testing::exclusion(
                "beta-us-1",
                "NotGranted",
                "no HostingPolicy there lets owner acme run apps/Deployment from namespace shop",
            ),
            testing::exclusion(
                "gamma-ap-1",
                "OutsideDomicile",
                "jurisdiction SG is not one of CH, EU",
            ),
        ];
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]),
            members: three_members(),
            workloads: vec![web],
        }));
    }

    #[test]
    fn a_lost_quorum_is_the_first_thing_said() {
        let mut members = three_members();
        members[1] = member("beta-us-1", "beta", Lease::Lost);
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Lost, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]),
            members,
            workloads: vec![web()],
        }));
    }

    #[test]
    fn a_voter_that_does_not_vote_is_named_though_it_hosts() {
        let mut federation =
            federation(Quorum::Degraded, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]);
        if let Some(status) = &mut federation.status {
            status.silent_voters = ["gamma-ap-1".to_owned()].into();
        }
        insta::assert_snapshot!(screen(Objects {
            federation,
            members: three_members(),
            workloads: vec![web()],
        }));
    }

    #[test]
    fn what_would_not_fit_is_counted() {
        let mut web = workload("shop", "web", 0, 60, Survives::Nothing);
        testing::condition(&mut web, "Placed", False, "NoEligibleMember", "");
        testing::condition(&mut web, "Stalled", True, "NoEligibleMember", "");
        testing::status(&mut web).excluded = (0..20)
            .map(|n| testing::exclusion(&format!("member-{n:02}"), "NotGranted", ""))
            .collect();
        testing::status(&mut web).placements = (0..6)
            .map(|n| placement(&format!("host-{n}"), 10, 10, PlacementState::Ready))
            .collect();
        insta::assert_snapshot!(screen(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1", "beta-us-1", "gamma-ap-1"]),
            members: three_members(),
            workloads: vec![web],
        }));
    }

    #[test]
    fn programs_get_the_same_report_as_json() {
        insta::assert_json_snapshot!(Report::of(Objects {
            federation: federation(Quorum::Healthy, &["acme-eu-1"]),
            members: vec![member("acme-eu-1", "acme", Lease::Held)],
            workloads: vec![web()],
        }));
    }
}
