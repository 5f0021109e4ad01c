//! `kubectl hanse members`: who is in the federation.

use clap::Args;
use hanse_crds::{Federation, Lease, Member, MemberRole, MemberStatus, Scheduling};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Client, ResourceExt};
use serde::Serialize;

use crate::{
    failure::Failure,
    federation,
    output::{Format, Streams},
    prose,
    table::{Cell, Mood, Paint, Table},
};

/// List the members of the federation.
#[derive(Debug, Args)]
pub(crate) struct Members {
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Reads the members and writes them.
pub(crate) async fn run(
    client: Client,
    members: &Members,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let (federation, listed) = futures::try_join!(
        federation::federation(&client),
        federation::members(&client)
    )?;
    let rows = rows(&federation, listed);
    streams.answer(&rows, members.output, |rows, paint| {
        render(rows, Timestamp::now(), paint)
    })
}

/// One member.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    /// Whether it is the cluster that the client is connected to.
    this: bool,
    owner: Option<String>,
    lease: Option<Lease>,
    lease_epoch: Option<i64>,
    /// Since when `lease` is what it is.
    since: Option<Time>,
    role: Option<MemberRole>,
    provider: Option<String>,
    region: Option<String>,
    jurisdiction: Option<String>,
    scheduling: Scheduling,
    workloads: i32,
    address: Option<String>,
    version: Option<String>,
    key: Option<String>,
}

fn rows(federation: &Federation, members: Vec<Member>) -> Vec<Row> {
    let this = federation
        .status
        .as_ref()
        .and_then(|status| status.member.clone());
    members
        .into_iter()
        .map(|member| Row::of(this.as_deref(), member))
        .collect()
}

impl Row {
    fn of(this: Option<&str>, member: Member) -> Self {
        let name = member.name_any();
        let MemberStatus {
            owner,
            key,
            lease,
            lease_epoch,
            lease_transition_time,
            role,
            address,
            version,
            workloads,
            ..
        } = member.status.unwrap_or_default();
        Self {
            this: this == Some(&*name),
            name,
            owner,
            lease,
            lease_epoch,
            since: lease_transition_time,
            role,
            provider: member.spec.provider,
            region: member.spec.region,
            jurisdiction: member.spec.jurisdiction,
            scheduling: member.spec.scheduling,
            workloads,
            address,
            version,
            key,
        }
    }
}

fn render(rows: &Vec<Row>, now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&[
        "THIS",
        "NAME",
        "OWNER",
        "LEASE",
        "FOR",
        "ROLE",
        "PROVIDER",
        "REGION",
        "JURISDICTION",
        "WORKLOADS",
        "VERSION",
    ]);
    for row in rows {
        let since = row.since.as_ref().map(|since| prose::ago(since.0, now));
        let cells = vec![
            Cell::new(if row.this { "*" } else { "" }),
            Cell::new(&row.name),
            Cell::or_dash(row.owner.as_ref()),
            lease(row),
            Cell::or_dash(since),
            Cell::or_dash(row.role.map(|role| format!("{role:?}"))),
            Cell::or_dash(row.provider.as_ref()),
            Cell::or_dash(row.region.as_ref()),
            Cell::or_dash(row.jurisdiction.as_ref()),
            Cell::new(row.workloads),
            Cell::or_dash(row.version.as_deref().map(prose::clean)),
        ];
        table.row(cells, String::new());
    }
    table.render(paint)
}

/// A member that is cordoned or drained is marked beside its lease, as `kubectl get nodes` marks nodes.
fn lease(row: &Row) -> Cell {
    let (word, mood) = match row.lease {
        Some(Lease::Held) => ("Held", Mood::Good),
        Some(Lease::Lost) => ("Lost", Mood::Bad),
        Some(Lease::Revoked) => ("Revoked", Mood::Faint),
        None => ("Unknown", Mood::Warning),
    };
    match row.scheduling {
        Scheduling::Enabled => Cell::new(word).mood(mood),
        Scheduling::Drained => Cell::new(format!("{word},Drained")).mood(mood),
        Scheduling::Cordoned => Cell::new(format!("{word},Cordoned")).mood(mood),
    }
}

#[cfg(test)]
mod tests {
    use hanse_crds::Quorum;

    use super::*;
    use crate::testing::{federation, member, now};

    fn members() -> Vec<Member> {
        let mut held = member("acme-eu-1", "acme", Lease::Held);
        held.spec.provider = Some("hetzner".into());
        held.spec.region = Some("fsn1".into());
        held.spec.jurisdiction = Some("EU".into());
        held.status.as_mut().unwrap().role = Some(MemberRole::Leader);
        held.status.as_mut().unwrap().workloads = 12;
        let mut cordoned = member("beta-us-1", "beta", Lease::Held);
        cordoned.spec.scheduling = Scheduling::Cordoned;
        let mut drained = member("beta-us-2", "beta", Lease::Held);
        drained.spec.scheduling = Scheduling::Drained;
        let mut unknown = member("delta-1", "delta", Lease::Held);
        unknown.status = None;
        vec![
            held,
            cordoned,
            drained,
            unknown,
            member("gamma-ap-1", "gamma", Lease::Lost),
            member("old-1", "acme", Lease::Revoked),
        ]
    }

    #[test]
    fn members_are_shown_as_a_table() {
        let federation = federation(Quorum::Healthy, &["acme-eu-1"]);
        insta::assert_snapshot!(render(&rows(&federation, members()), now(), Paint::Plain));
    }

    #[test]
    fn programs_get_the_members_as_json() {
        let federation = federation(Quorum::Healthy, &["acme-eu-1"]);
        insta::assert_json_snapshot!(&rows(&federation, members())[..1]);
    }
}
