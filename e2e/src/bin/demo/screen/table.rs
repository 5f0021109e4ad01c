//! The scene as a table.

use std::{fmt::Debug, time::Duration};

use hanse_crds::Lease;

use crate::stage::{MemberScene, Scene};

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Green if `well`, otherwise red.
    fn verdict(self, well: bool, text: &str) -> String {
        self.with(if well { "32" } else { "31" }, text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

const HEADINGS: [&str; 7] = [
    "MEMBER",
    "OWNER",
    "PLACE",
    "LEASE",
    "ROLE",
    "PLACEMENT",
    "DEPLOYMENT",
];
/// The column that is green if the member holds its lease, otherwise red.
const LEASE_COLUMN: usize = 3;

/// All lines of the table. There are none before there is a member.
pub(super) fn lines(scene: &Scene, at: Duration, paint: Paint) -> Vec<String> {
    if scene.members.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = scene.members.iter().map(row).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([HEADINGS[column].len()])
            .max()
            .unwrap_or_default()
    });
    let mut lines = vec![
        String::new(),
        paint.dim(&padded(&HEADINGS.map(str::to_owned), widths).join("  ")),
    ];
    for (member, row) in scene.members.iter().zip(&rows) {
        let mut cells = padded(row, widths);
        cells[LEASE_COLUMN] =
            paint.verdict(member.lease == Some(Lease::Held), &cells[LEASE_COLUMN]);
        lines.push(cells.join("  "));
    }
    lines.push(footer(scene, at, paint));
    lines
}

fn row(member: &MemberScene) -> [String; 7] {
    [
        member.name.clone(),
        member.owner.clone(),
        member.place.clone(),
        word(member.lease),
        word(member.role),
        placement(member),
        deployment(member),
    ]
}

fn padded(cells: &[String; 7], widths: [usize; 7]) -> Vec<String> {
    cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect()
}

fn footer(scene: &Scene, at: Duration, paint: Paint) -> String {
    let leader = leader(scene);
    let quorum = scene.quorum.as_deref().unwrap_or("unknown");
    let federation = format!(
        "{:.1} s   {leader}, quorum {quorum} ({} voters), ledger at {}",
        at.as_secs_f64(),
        scene.voters,
        scene.height
    );
    let Some(workload) = &scene.workload else {
        return federation;
    };
    let ready = format!("{} of {} ready", workload.ready, workload.desired);
    let ready = paint.verdict(workload.ready >= workload.desired, &ready);
    let survives = workload.survives.as_deref().unwrap_or("unknown");
    format!(
        "{federation}   web: {ready}, survives {survives}, epoch {}",
        workload.epoch
    )
}

pub(super) fn leader(scene: &Scene) -> String {
    match &scene.leader {
        Some(leader) => format!("{leader} leads"),
        None => "there is no leader".to_owned(),
    }
}

/// A status as it is written in the object.
pub(super) fn word<T: Debug>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:?}"))
}

pub(super) fn placement(member: &MemberScene) -> String {
    member.placement.as_ref().map_or_else(
        || "-".to_owned(),
        |placement| {
            format!(
                "{} of {} {:?}",
                placement.ready, placement.replicas, placement.state
            )
        },
    )
}

pub(super) fn deployment(member: &MemberScene) -> String {
    match &member.deployment {
        Some(deployment) => format!("{} of {} ready", deployment.ready, deployment.replicas),
        None if member.is_seen => "-".to_owned(),
        None => "not seen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hanse_crds::{MemberRole, PlacementState};

    use super::*;
    use crate::stage::{DeploymentScene, PlacementScene};

    fn member(name: &str, lease: Lease, role: MemberRole) -> MemberScene {
        MemberScene {
            name: name.to_owned(),
            owner: format!("{name}-ag"),
            place: format!("metal/{name}-1"),
            lease: Some(lease),
            role: Some(role),
            placement: None,
            deployment: None,
            is_seen: false,
        }
    }

    #[test]
    fn the_table_shows_the_lease_of_each_member_and_what_it_runs() {
        let scene = Scene {
            leader: Some("bergen".to_owned()),
            quorum: Some("Healthy".to_owned()),
            voters: 3,
            height: 42,
            members: vec![
                MemberScene {
                    placement: Some(PlacementScene {
                        replicas: 6,
                        ready: 5,
                        state: PlacementState::Applied,
                    }),
                    deployment: Some(DeploymentScene {
                        replicas: 6,
                        ready: 5,
                    }),
                    is_seen: true,
                    ..member("bergen", Lease::Held, MemberRole::Leader)
                },
                member("riga", Lease::Lost, MemberRole::Voter),
            ],
            workload: None,
        };
        assert_eq!(
            lines(&scene, Duration::from_millis(1250), Paint::Plain),
            [
                "",
                "MEMBER  OWNER      PLACE           LEASE  ROLE    PLACEMENT       DEPLOYMENT  ",
                "bergen  bergen-ag  metal/bergen-1  Held   Leader  5 of 6 Applied  5 of 6 ready",
                "riga    riga-ag    metal/riga-1    Lost   Voter   -               not seen    ",
                "1.2 s   bergen leads, quorum Healthy (3 voters), ledger at 42",
            ]
        );
    }

    #[test]
    fn there_is_no_table_before_there_is_a_member() {
        assert_eq!(
            lines(&Scene::default(), Duration::ZERO, Paint::Plain),
            Vec::<String>::new()
        );
    }
}
