//! Which members are excluded and why, and which failures a workload survives.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Case;
use crate::{
    command::Attributes,
    id::{Generation, MemberName},
    state::Member,
};

/// The largest failure domain whose loss a workload survives as things stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Survives {
    /// Not even the loss of one cluster.
    #[default]
    Nothing,
    /// The loss of any one cluster.
    Cluster,
    /// The loss of any one region.
    Region,
    /// The loss of any one provider.
    Provider,
    /// The loss of any one owner.
    Owner,
}

/// Why a workload cannot run on a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// The filter that ruled the member out, in CamelCase, for example `NotGranted`.
    pub reason: String,
    /// A sentence that a person can act on.
    pub message: String,
}

impl Exclusion {
    pub(super) fn new(reason: &str, message: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// What the planner found out about one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The members ruled out, each with the first filter that did.
    pub excluded: BTreeMap<MemberName, Exclusion>,
    /// The largest failure domain whose loss the workload survives.
    pub survives: Survives,
    /// Why it is not (wholly) placed; `None` when it is.
    pub unplaced: Option<String>,
    /// The generation of the workload that this is about; 0 before the first plan.
    #[serde(default)]
    pub generation: Generation,
}

pub(super) fn diagnose(case: &Case<'_>, unplaced: Option<String>) -> Diagnosis {
    let members: Vec<(&MemberName, &Member)> = case
        .eligible
        .iter()
        .filter_map(|name| Some((*name, case.member(name)?)))
        .collect();
    Diagnosis {
        excluded: case.excluded.clone(),
        survives: survives(&members),
        unplaced,
        generation: case.workload.generation,
    }
}

/// The largest kind of domain of which any one may be lost and a member that may host the workload remains; the smaller
/// kinds must hold too, so that the answer means "this and everything less". A region or provider that is not given is a
/// domain of its own for each member.
fn survives(members: &[(&MemberName, &Member)]) -> Survives {
    let own = |name: &MemberName, value: &str| {
        if value.is_empty() {
            format!("member/{name}")
        } else {
            format!("named/{value}")
        }
    };
    let kinds: [(Survives, &dyn Fn(&MemberName, &Member) -> String); 4] = [
        (Survives::Cluster, &|name, _| name.to_string()),
        (Survives::Region, &|name, member| {
            let Attributes {
                provider, region, ..
            } = &member.attributes;
            if region.is_empty() {
                own(name, "")
            } else {
                format!("named/{provider}/{region}")
            }
        }),
        (Survives::Provider, &|name, member| {
            own(name, &member.attributes.provider)
        }),
        (Survives::Owner, &|_, member| member.owner.to_string()),
    ];
    let mut survives = Survives::Nothing;
    for (kind, domain) in kinds {
        let domains: BTreeSet<String> = members
            .iter()
            .map(|(name, member)| domain(name, member))
            .collect();
        if domains.len() < 2 {
            break;
        }
        survives = kind;
    }
    survives
}
