//! Why a workload runs where it does and not elsewhere: every member's answer, computed when somebody asks.

use std::collections::BTreeMap;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::{
    Gap, Hearsay, Observations, Planner,
    filter::{self, Part, Question},
    needs::Needs,
    observations,
    rooms::{self, Rooms},
};
use crate::{
    capacity::Room,
    domain::FailureDomain,
    id::{Generation, MemberName, OwnerName, WorkloadKey},
    state::{Member, State, Workload},
    workload::Share,
};

/// The members that an answer lists; the others are counted. Those that run the workload come first.
const MAX_LISTED: usize = 1_000;

/// Where a workload runs and why, member by member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The generation that this is about.
    pub generation: Generation,
    /// Why it is not wholly placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced: Option<String>,
    /// The largest kind of failure domain of which it survives the loss of any one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survives: Option<FailureDomain>,
    /// What stops it from surviving more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// At most 1,000 members.
    pub members: BTreeMap<MemberName, Verdict>,
    /// How many others there are.
    pub more: usize,
}

/// What one member has of a workload, or why it has nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whose member it is.
    pub owner: OwnerName,
    /// Whether that is the workload's owner: those members come first.
    pub own: bool,
    /// How many workloads it hosts. Of those that may host another, the one with fewer comes first.
    pub hosts: usize,
    /// What it runs, and why there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<(Share, String)>,
    /// The first filter that rules it out, in CamelCase, and its words; `None` if it may host it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<(String, String)>,
}

/// The explanation; `None` if there is no such workload.
#[must_use]
pub fn explain(state: &State, hearsay: Hearsay<'_>, key: &WorkloadKey) -> Option<Explanation> {
    let observations = hearsay.observations;
    let capacities = Rooms::settled(state, hearsay.capacities);
    let workload = state.workloads.get(key).filter(|row| !row.removed)?;
    let needs = Needs::of(key, workload);
    let names: Vec<_> = listed(state, key);
    let more = state.members.len() - names.len();
    let members = names.into_iter().map(|(name, member)| {
        let question = Question {
            key,
            needs: &needs,
            name,
            member,
            placed: state.placements.get(key, name).map(|_| Part {
                refused: observations.leaves(key, name),
                relieved: true,
            }),
            owes: state.owes_another(key, name),
        };
        let excluded = filter::first_objection(&question)
            .map(|it| (it.reason.to_owned(), it.message))
            .or_else(|| refusal(observations, (key, workload), name))
            .or_else(|| {
                let capacity = capacities.get(name).filter(|_| question.placed.is_none())?;
                no_room(&Room::of(capacity), workload)
            });
        let share = state.placements.get(key, name);
        let verdict = Verdict {
            owner: member.owner.clone(),
            own: member.owner == key.owner,
            hosts: state.placements.count_at(name),
            share: share.map(|row| (row.share.clone(), row.reason.to_string())),
            excluded,
        };
        (name.clone(), verdict)
    });
    let mut explanation = Explanation {
        generation: workload.generation,
        unplaced: None,
        survives: None,
        gap: None,
        members: members.collect(),
        more,
    };
    explanation.find(state, hearsay.settled(&capacities), key);
    Some(explanation)
}

impl Explanation {
    /// What a planner finds that knows this workload alone.
    fn find(&mut self, state: &State, hearsay: Hearsay<'_>, key: &WorkloadKey) {
        let mut planner = Planner::default();
        planner.plan(&alone(state, key), hearsay);
        if let Some((diagnosis, findings)) = planner.found(key) {
            self.unplaced.clone_from(&diagnosis.unplaced);
            self.survives = findings.survives;
            self.gap.clone_from(&findings.gap);
        }
    }
}

/// The state with this workload alone.
pub(super) fn alone(state: &State, key: &WorkloadKey) -> State {
    let workload = state.workloads.get_key_value(key);
    let workloads = workload.map(|(key, workload)| (key.clone(), workload.clone()));
    State {
        workloads: workloads.into_iter().collect::<OrdMap<_, _>>().into(),
        ..state.clone()
    }
}

/// That a member which has nothing of it cannot run the least of it.
fn no_room(room: &Room, workload: &Workload) -> Option<(String, String)> {
    let spec = &workload.spec;
    let least = spec.pods().least(spec.placement.mode, &spec.counts());
    let is_full = !rooms::holds(room, &least);
    is_full.then(|| (rooms::NO_ROOM.to_owned(), rooms::objection(room, &least)))
}

fn refusal(
    observations: &Observations,
    workload: (&WorkloadKey, &Workload),
    name: &MemberName,
) -> Option<(String, String)> {
    let words = observations.against(workload, name)?;
    Some((
        observations::REFUSED.to_owned(),
        observations::exclusion(words),
    ))
}

fn listed<'a>(state: &'a State, key: &WorkloadKey) -> Vec<(&'a MemberName, &'a Member)> {
    let hosts = |name: &MemberName| state.placements.get(key, name).is_some();
    let (first, others): (Vec<_>, Vec<_>) = state.members.iter().partition(|(name, _)| hosts(name));
    first.into_iter().chain(others).take(MAX_LISTED).collect()
}
