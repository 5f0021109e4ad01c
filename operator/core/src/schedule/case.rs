//! One workload before the planner: what it has where, and who may have more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    candidates::Candidates,
    diagnosis::{Exclusion, Exclusions, Findings},
    filter::{self, Part, Question},
    hearsay::Heard,
    observations::{self, About, Observations},
    rooms::{self, Rooms},
    score::Order,
};
use crate::{
    command::PlacementChange,
    id::{MemberName, WorkloadKey},
    per_host::Rows,
    reason::Reason,
    slice::PlacementPhase,
    state::{Member, Placement, State, Surge, Workload},
    workload::{Demands, Mode, Pods, Share},
};

/// What a plan wants a member to run of a workload, and why; `None` takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) share: Option<Share>,
    /// What of the share is in addition.
    pub(super) surge: Option<Surge>,
    pub(super) reason: Reason,
}

/// Everything the steps of one workload look at.
pub(super) struct Case<'a> {
    pub(super) state: &'a State,
    pub(super) key: &'a WorkloadKey,
    pub(super) workload: &'a Workload,
    /// What it asks for.
    pub(super) counts: Share,
    /// What is placed now.
    pub(super) placed: Rows<Arc<Placement>>,
    candidates: &'a Candidates,
    /// The members that may run it, best first for ties. Of those that have nothing of it, no more than it can use.
    pub(super) eligible: Vec<MemberName>,
    /// Those that have or owe something of it and may not run it, each with the first reason against it.
    pub(super) excluded: BTreeMap<MemberName, Exclusion>,
    /// Those that refused it, with their words.
    pub(super) refusing: BTreeMap<MemberName, String>,
    /// What was seen of hosts over time.
    pub(super) observations: Option<&'a About>,
    /// Those that run it although they may not run another with the same needs.
    staying: BTreeSet<MemberName>,
    /// Who is away, and what hosts report.
    pub(super) heard: &'a Heard,
    /// How much more each member can run.
    pub(super) rooms: &'a Rooms,
    /// What its pods ask for.
    pub(super) pods: Pods,
    /// What a host that is new to it has to hold at least.
    least: Demands,
    /// The members that might run it and have no room, where that matters.
    full: BTreeSet<MemberName>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        state: &'a State,
        (key, workload): (&'a WorkloadKey, &'a Workload),
        candidates: &'a Candidates,
        observations: &'a Observations,
        heard: &'a Heard,
        (order, rooms): (&Order, &'a Rooms),
    ) -> Self {
        // Nobody is full where nobody says so.
        let pods = if rooms.is_empty() {
            Pods::default()
        } else {
            workload.spec.pods()
        };
        let counts = workload.spec.counts();
        let least = pods.least(workload.spec.placement.mode, &counts);
        let mut case = Self {
            state,
            key,
            workload,
            counts,
            placed: state.placements.rows(key),
            candidates,
            eligible: Vec::new(),
            excluded: BTreeMap::new(),
            refusing: BTreeMap::new(),
            observations: observations.get(key),
            staying: BTreeSet::new(),
            heard,
            rooms,
            pods,
            least,
            full: BTreeSet::new(),
        };
        case.ask(observations);
        case.choose(order);
        case
    }

    /// Asks the filters about each member that has, owes or refused something of it: those that only share its needs with
    /// others are among the candidates.
    fn ask(&mut self, observations: &Observations) {
        let mut refusing = BTreeMap::new();
        let relieved = self.is_relieved();
        for name in self.concerned(observations) {
            let Some(member) = self.member(&name) else {
                continue;
            };
            let question = Question {
                key: self.key,
                needs: self.candidates.needs(),
                name: &name,
                member,
                placed: self.placed.get(&name).map(|_| Part {
                    refused: observations.leaves(self.key, &name),
                    relieved,
                }),
                owes: self.state.owes_another(self.key, &name),
            };
            if let Some(exclusion) = filter::first_objection(&question) {
                self.excluded.insert(name, exclusion);
                continue;
            }
            if let Some(words) = observations.against((self.key, self.workload), &name) {
                refusing.insert(name.clone(), words.to_owned());
            }
            if !self.candidates.has(&name) {
                self.staying.insert(name);
            }
        }
        // If all refuse it, those that have it keep it.
        if refusing.len() == self.hosts() {
            let is_placed = |name: &MemberName| self.placed.contains_key(name);
            let somewhere = self
                .placed
                .keys()
                .any(|name| !self.excluded.contains_key(name));
            refusing.retain(|name, _| somewhere && !is_placed(name));
        }
        self.refusing = refusing;
    }

    fn concerned(&self, observations: &Observations) -> BTreeSet<MemberName> {
        let owing = self.state.removals.of(self.key).map(|(name, _)| name);
        let concerned = self.placed.keys().chain(owing);
        let concerned = concerned.chain(observations.leaving(self.key));
        concerned
            .chain(self.workload.avoided.keys())
            .cloned()
            .collect()
    }

    /// The members that may run it: those that have some of it, and the first of the others.
    fn choose(&mut self, order: &Order) {
        let most = self
            .counts
            .iter()
            .map(|(_, count)| count)
            .max()
            .unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let enough = match self.workload.spec.placement.mode {
            // Each host that is new to it takes at least one; those that are away take none.
            Mode::Divided => most
                .max(1)
                .saturating_add(self.heard.silent.len() + self.heard.drained.len())
                .saturating_add(self.heard.unheard.len()),
            Mode::Duplicated => usize::MAX,
            Mode::Single => 1,
        };
        let is_new = |name: &MemberName| !self.placed.contains_key(name) && !self.rules_out(name);
        let has_room = |name: &MemberName| is_new(name) && self.has_room(name);
        // The best may all be in the same domain.
        let enough = match self.workload.spec.placement.spread.as_slice() {
            [] => enough,
            _ => usize::MAX,
        };
        let mut eligible = self.candidates.first(enough, order, has_room);
        // Where one of them may take less than its part, others are needed.
        if eligible.len() == enough && eligible.iter().any(|name| self.is_narrow(name)) {
            eligible = self.candidates.first(usize::MAX, order, has_room);
        }
        let held = self.placed.keys().filter(|name| self.may_host(name));
        eligible.extend(held.cloned());
        let owner = &self.key.owner;
        let is_guest = |name: &MemberName| self.member(name).is_none_or(|it| it.owner != *owner);
        eligible.sort_by_cached_key(|name| (is_guest(name), order.load(name), name.clone()));
        self.eligible = eligible;
    }

    pub(super) fn member(&self, name: &MemberName) -> Option<&Member> {
        self.state.members.get(name)
    }

    /// Whether a member reports that all of what it has by this row is ready.
    pub(super) fn is_reported_ready(&self, name: &MemberName, row: &Placement) -> bool {
        let Some(reports) = &self.heard.reports else {
            return true;
        };
        let report = reports.get(self.key, name);
        let report = report.filter(|_| !self.heard.control_planes_down.contains(name));
        report.is_some_and(|report| {
            report.phase == PlacementPhase::Ready
                && report.is_about(row.epoch, self.workload.generation)
        })
    }

    fn rules_out(&self, name: &MemberName) -> bool {
        self.excluded.contains_key(name) || self.refusing.contains_key(name)
    }

    /// Whether a member that is new to it can run the least of it.
    fn has_room(&self, name: &MemberName) -> bool {
        let room = self.rooms.of(name);
        room.is_none_or(|room| rooms::holds(room, &self.least))
    }

    /// Whether a member cannot run all of it.
    fn is_narrow(&self, name: &MemberName) -> bool {
        let room = self.rooms.of(name);
        room.is_some_and(|room| !rooms::holds(room, &self.pods.added(None, &self.counts)))
    }

    /// Notes the members that have no room, to say so.
    pub(super) fn note_full(&mut self) {
        let names = self.candidates.iter();
        let full = names.filter(|name| {
            !self.placed.contains_key(*name) && !self.rules_out(name) && !self.has_room(name)
        });
        self.full = full.cloned().collect();
    }

    /// Whether any member was noted to have no room, or keeps what is not ready there only for want of room elsewhere.
    pub(super) fn is_crowded(&self) -> bool {
        !self.full.is_empty() || self.observations.is_some_and(About::has_limits)
    }

    pub(super) fn may_host(&self, name: &MemberName) -> bool {
        !self.rules_out(name) && (self.candidates.has(name) || self.staying.contains(name))
    }

    /// How many members may run it, of those that have and have not refused it.
    pub(super) fn hosts(&self) -> usize {
        let lost = self
            .excluded
            .keys()
            .filter(|name| self.candidates.has(name));
        self.candidates.len() + self.staying.len() - lost.count()
    }

    /// How many members may not.
    pub(super) fn ruled_out(&self) -> usize {
        self.state.members.len() + self.refusing.len() - self.hosts()
    }

    /// Whether its hosts are others than those of a workload with the same needs that runs nowhere.
    fn is_special(&self) -> bool {
        let as_candidate = |name: &MemberName| !self.candidates.has(name);
        !(self.refusing.is_empty()
            && self.full.is_empty()
            && self.staying.is_empty()
            && self.excluded.keys().all(as_candidate))
    }

    /// Whether its plan may be another when any member becomes a candidate or ceases to be one.
    pub(super) fn is_watchful(&self) -> bool {
        let surges = self
            .placed
            .iter()
            .any(|(name, row)| row.surge.is_some() || self.heard.is_away(name));
        surges
            || self.is_special()
            || !self.workload.avoided.is_empty()
            || self.workload.spec.placement.mode == Mode::Duplicated
    }

    /// What the planner found, if it is not what holds for all workloads with the same needs.
    pub(super) fn findings(&self) -> Option<Findings> {
        if !self.is_special() {
            return None;
        }
        let mut names: BTreeMap<&'static str, BTreeSet<&MemberName>> = BTreeMap::new();
        for (reason, members) in self.candidates.excluded() {
            let others = members.iter();
            let others = others
                .filter(|name| !self.excluded.contains_key(*name) && !self.staying.contains(*name));
            names.entry(reason).or_default().extend(others);
        }
        for (name, exclusion) in &self.excluded {
            names.entry(exclusion.reason).or_default().insert(name);
        }
        names
            .entry(observations::REFUSED)
            .or_default()
            .extend(self.refusing.keys());
        names.entry(rooms::NO_ROOM).or_default().extend(&self.full);
        let mut excluded = Exclusions::default();
        for (reason, names) in names.into_iter().filter(|(_, names)| !names.is_empty()) {
            excluded.add(reason, names, |name| self.objection(name));
        }
        let members = self.candidates.iter().chain(&self.staying);
        let members = members.filter(|name| !self.rules_out(name) && !self.full.contains(*name));
        let members: Vec<_> = members
            .filter_map(|name| self.state.members.get_key_value(name))
            .collect();
        Some(self.candidates.found(excluded, &members))
    }

    fn objection(&self, name: &MemberName) -> String {
        if let Some(words) = self.refusing.get(name) {
            return observations::exclusion(words);
        }
        if self.full.contains(name) {
            let room = self.rooms.of(name);
            return room.map_or_else(String::new, |room| rooms::objection(room, &self.least));
        }
        match (self.excluded.get(name), self.member(name)) {
            (Some(exclusion), _) => exclusion.message.clone(),
            (None, Some(member)) => self.candidates.message(name, member),
            (None, None) => String::new(),
        }
    }

    /// The wishes that are not already so, removals first, as rows decided on the current generations.
    pub(super) fn changes(&self, wishes: BTreeMap<MemberName, Wish>) -> Vec<PlacementChange> {
        let news = wishes.into_iter().filter(|(name, wish)| {
            let placed = self.placed.get(name);
            let now = placed.map(|row| (&row.share, row.surge.as_ref()));
            now != wish
                .share
                .as_ref()
                .map(|share| (share, wish.surge.as_ref()))
        });
        let row = |(name, wish): (MemberName, Wish)| {
            Some(PlacementChange {
                workload: self.key.clone(),
                workload_generation: self.workload.generation,
                member_generation: self.member(&name)?.generation,
                member: name,
                share: wish.share,
                surge: wish.surge,
                reason: wish.reason,
            })
        };
        let mut rows: Vec<_> = news.filter_map(row).collect();
        rows.sort_by_key(|row| row.share.is_some());
        rows
    }
}
