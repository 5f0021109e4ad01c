//! The order in which the members that may host a workload are considered.

use std::collections::BTreeMap;

use crate::{
    id::{MemberName, WorkloadKey},
    state::State,
};

/// How many placements each member has.
pub(super) fn load(state: &State) -> BTreeMap<MemberName, usize> {
    let members = state.members.keys();
    let count = |name: &MemberName| (name.clone(), state.placements.count_at(name));
    members.map(count).collect()
}

/// Best first: the owner's own members before guests', then the one with fewer placements, then by name, so that the
/// order is total and the same everywhere.
pub(super) fn order(
    members: &mut [&MemberName],
    state: &State,
    key: &WorkloadKey,
    load: &BTreeMap<MemberName, usize>,
) {
    let is_guest = |name: &MemberName| {
        state
            .members
            .get(name)
            .is_none_or(|member| member.owner != key.owner)
    };
    members.sort_by_key(|name| {
        (
            is_guest(name),
            load.get(*name).copied().unwrap_or(0),
            (*name).clone(),
        )
    });
}
