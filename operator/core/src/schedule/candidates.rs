//! The members that may host workloads of the same needs, and why the others may not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    diagnosis::{Exclusions, Findings},
    filter::{self, Question},
    needs::Needs,
    score::Order,
    survival::Survival,
};
use crate::{
    id::{MemberName, WorkloadKey},
    state::{Member, State},
};

/// What the filters say of each member about a workload of which it has nothing and owes nothing.
#[derive(Debug)]
pub(super) struct Candidates {
    needs: Needs,
    /// A workload with these needs, for the filters' words.
    example: WorkloadKey,
    /// Those that may host them: members of the workloads' owner, and others.
    own: BTreeSet<MemberName>,
    guests: BTreeSet<MemberName>,
    /// The others, by the reason of the first filter against them.
    excluded: BTreeMap<&'static str, BTreeSet<MemberName>>,
    pub(super) findings: Arc<Findings>,
    /// What the quorum survives.
    quorum: Arc<Survival>,
    /// How many workloads have these needs.
    pub(super) workloads: usize,
    /// Those whose plan may be another when any member becomes a candidate or ceases to be one.
    pub(super) watchful: BTreeSet<WorkloadKey>,
}

impl Candidates {
    pub(super) fn new(
        needs: Needs,
        example: WorkloadKey,
        state: &State,
        quorum: &Arc<Survival>,
    ) -> Self {
        let mut candidates = Self {
            needs,
            example,
            own: BTreeSet::new(),
            guests: BTreeSet::new(),
            excluded: BTreeMap::new(),
            findings: Arc::default(),
            quorum: quorum.clone(),
            workloads: 0,
            watchful: BTreeSet::new(),
        };
        for (name, member) in &state.members {
            candidates.enter(name, member);
        }
        candidates.conclude(state, quorum);
        candidates
    }

    pub(super) fn needs(&self) -> &Needs {
        &self.needs
    }

    pub(super) fn len(&self) -> usize {
        self.own.len() + self.guests.len()
    }

    pub(super) fn has(&self, name: &MemberName) -> bool {
        self.own.contains(name) || self.guests.contains(name)
    }

    /// The candidates, the owner's first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &MemberName> {
        self.own.iter().chain(&self.guests)
    }

    /// The members that are none, by reason.
    pub(super) fn excluded(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<MemberName>)> {
        self.excluded.iter().map(|(reason, names)| (*reason, names))
    }

    /// What the filter says against a member, which is no candidate.
    pub(super) fn message(&self, name: &MemberName, member: &Member) -> String {
        let exclusion = filter::first_objection(&self.question(name, member));
        exclusion.map_or_else(String::new, |exclusion| exclusion.message)
    }

    /// The first `count` candidates that `wanted` accepts: the owner's own members before guests', each by load.
    pub(super) fn first(
        &self,
        count: usize,
        order: &Order,
        wanted: impl Fn(&MemberName) -> bool,
    ) -> Vec<MemberName> {
        let owner = Some(&self.needs.owner);
        let mut first = order.first(count, owner, &self.own, &wanted);
        let missing = count - first.len();
        first.extend(order.first(missing, None, &self.guests, &wanted));
        first
    }

    /// Takes over what `member` is by now, and was before. Returns whether that matters; then [`Candidates::conclude`] must follow.
    pub(super) fn update(
        &mut self,
        name: &MemberName,
        before: Option<&Member>,
        member: &Member,
    ) -> bool {
        let was = before.map(|before| filter::first_objection(&self.question(name, before)));
        let now = filter::first_objection(&self.question(name, member));
        let moved = before.is_none_or(|before| before.attributes != member.attributes);
        if was.as_ref() == Some(&now) && !(now.is_none() && moved) {
            return false;
        }
        self.own.remove(name);
        self.guests.remove(name);
        if let Some(Some(exclusion)) = was
            && let Some(names) = self.excluded.get_mut(exclusion.reason)
        {
            names.remove(name);
            if names.is_empty() {
                self.excluded.remove(exclusion.reason);
            }
        }
        self.enter(name, member);
        true
    }

    fn enter(&mut self, name: &MemberName, member: &Member) {
        let objection = filter::first_objection(&self.question(name, member));
        let names = match objection {
            Some(exclusion) => self.excluded.entry(exclusion.reason).or_default(),
            None if member.owner == self.needs.owner => &mut self.own,
            None => &mut self.guests,
        };
        names.insert(name.clone());
    }

    /// What follows for all workloads of these needs.
    pub(super) fn conclude(&mut self, state: &State, quorum: &Arc<Survival>) {
        self.quorum = quorum.clone();
        let members = self
            .iter()
            .filter_map(|name| state.members.get_key_value(name));
        let members: Vec<_> = members.collect();
        let mut excluded = Exclusions::default();
        for (reason, names) in self.excluded() {
            excluded.add(reason, names.iter(), |name| {
                let member = state.members.get(name);
                member.map_or_else(String::new, |member| self.message(name, member))
            });
        }
        self.findings = Arc::new(self.found(excluded, &members));
    }

    /// What to say of workloads that may run on these members.
    pub(super) fn found(&self, excluded: Exclusions, hosts: &[(&MemberName, &Member)]) -> Findings {
        let Survival { survives, gap } = Survival::of_hosts(hosts, &self.quorum);
        Findings {
            excluded,
            survives,
            gap,
        }
    }

    fn question<'a>(&'a self, name: &'a MemberName, member: &'a Member) -> Question<'a> {
        Question {
            key: &self.example,
            needs: &self.needs,
            name,
            member,
            placed: None,
            owes: false,
        }
    }
}
