//! A planner that has seen every state so far plans the same as one that sees only the last.
//!
//! [`Federation::plan`] compares the two, in every test of the planner. Here are many workloads, and everything that a plan
//! depends on changes in any order.

use super::{capacity::web, *};
use crate::{
    domain::FailureDomain,
    id::NodeId,
    schedule::observations::Why,
    selector::{Effect, Taint},
    state::Seat,
    workload::Spread,
};

const NAMES: [&str; 5] = ["acme-1", "acme-2", "beta-1", "gamma-1", "delta-1"];

/// What happens between two plans.
#[derive(Debug, Clone, Copy)]
struct Event {
    kind: u8,
    member: usize,
    workload: u8,
    value: u8,
    /// Whether the ledger takes over the plan after it, all or half of it.
    applied: u8,
}

fn event() -> impl Strategy<Value = Event> {
    (0_u8..26, 0_usize..5, 0_u8..8, 0_u8..6, 0_u8..4).prop_map(
        |(kind, member, workload, value, applied)| Event {
            kind,
            member,
            workload,
            value,
            applied,
        },
    )
}

fn taint(value: u8) -> Option<Taint> {
    let effects = [Effect::NoSchedule, Effect::NoExecute];
    let taint = Taint {
        key: "gpu".to_owned(),
        value: String::new(),
        effect: effects[usize::from(value % 2)],
    };
    (value < 4).then_some(taint)
}

fn key(workload: u8) -> WorkloadKey {
    let namespace = ["shop", "billing"][usize::from(workload % 2)];
    format!("acme/{namespace}/w{workload}").parse().unwrap()
}

impl Federation {
    fn put_some(
        &mut self,
        Event {
            workload,
            value,
            kind,
            ..
        }: Event,
    ) {
        let mode = [Mode::Divided, Mode::Divided, Mode::Duplicated, Mode::Single];
        let mode = mode[usize::from(workload % 4)];
        let mut placement = PlacementRules::new(mode);
        if mode != Mode::Single {
            placement.replicas = Some(u32::from(value));
        }
        if kind.is_multiple_of(2) {
            placement.domicile = BTreeSet::from(["EU".into()]);
        }
        if (mode != Mode::Single) && kind > 1 {
            placement.spread = vec![Spread {
                by: Some(FailureDomain::Region),
                min: Some(u32::from(value) % 3 + 1),
                max: (kind == 3).then_some(3),
                max_skew: (mode == Mode::Divided).then_some(1),
                label: None,
            }];
        }
        let mut manifests = vec![web(kind % 3)];
        if value == 4 {
            manifests.push(
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}}),
            );
        }
        self.put_named(&key(workload).to_string(), manifests, placement);
        let row = self.state.workloads.get_mut(&key(workload)).unwrap();
        if value == 5 {
            let rule = HealthRule {
                kind: "Deployment".into(),
                ready: "true".into(),
                ..HealthRule::default()
            };
            Arc::make_mut(&mut row.spec).health = vec![rule];
        }
    }

    fn happen(&mut self, event: Event) {
        let name = NAMES[event.member];
        let member: MemberName = name.parse().unwrap();
        let workload = key(event.workload);
        let epoch = Epoch(self.index + 1);
        let even = event.value.is_multiple_of(2);
        match event.kind {
            0..=3 => self.put_some(event),
            4 => {
                if let Some(row) = self.state.workloads.get_mut(&workload) {
                    row.removed = true;
                    self.state.placements.remove_all_of(&workload);
                }
            }
            5 => {
                self.state.workloads.remove(&workload);
                self.state.placements.remove_all_of(&workload);
            }
            6 => drop(self.state.removals.remove_all_at(&member)),
            7 | 8 => {
                let set = if even {
                    &mut self.unheard
                } else {
                    &mut self.silent
                };
                if event.kind == 7 {
                    set.insert(member);
                } else {
                    set.remove(&member);
                }
            }
            9 => drop(self.change(name, |row| {
                let scheduling = [
                    Scheduling::Enabled,
                    Scheduling::Cordoned,
                    Scheduling::Drained,
                ];
                row.attributes.scheduling = scheduling[usize::from(event.value % 3)];
            })),
            10 => drop(self.change(name, |row| {
                row.attributes.jurisdiction = if even { "EU" } else { "CH" }.into();
                row.attributes.region = event.value.to_string();
            })),
            11 => drop(self.change(name, |row| {
                let granted = if even {
                    GrantedNamespaces::Any
                } else {
                    GrantedNamespaces::Named(BTreeSet::from(["shop".parse().unwrap()]))
                };
                row.grants[0].namespaces = granted;
            })),
            12 => drop(self.change(name, |row| row.lease = Lease::Held { epoch })),
            13 => drop(self.change(name, |row| {
                row.lease = Lease::Lost {
                    epoch,
                    fenced: even,
                }
            })),
            14 => {
                if let Some(row) = self.state.workloads.get_mut(&workload) {
                    row.avoided.insert(member, "no room".into());
                }
            }
            15 => drop(self.change(name, |row| {
                row.attributes.taints = taint(event.value).into_iter().collect();
            })),
            16 => {
                let node = NodeId(u64::from(event.value));
                self.change(name, |row| {
                    let address = String::new();
                    row.seat = Some(Seat { node, address });
                });
                self.state.voters.insert(node);
            }
            22 if even => drop(self.control_planes_down.insert(member)),
            22 => drop(self.control_planes_down.remove(&member)),
            23 => {
                let node = NodeId(u64::from(event.value / 2));
                if even {
                    self.silent_voters.insert(node);
                } else {
                    self.silent_voters.remove(&node);
                }
            }
            24 => drop(self.change(name, |row| {
                row.level = if even { Level::NEWEST } else { Level::FIRST };
            })),
            20 => self.come(&workload, name, PlacementPhase::Ready),
            21 => self.come(&workload, name, PlacementPhase::Applied),
            25 => self.complete(&workload, "Job.batch/once"),
            17 | 18 => self.report(name, u32::from(event.value), even),
            _ => {
                self.observations = Observations::of(&workload, |about| match event.value % 4 {
                    0 => about.leave(&member, "no room", Why::Refused),
                    1 => about.limit(&member, event.value.into(), "no node"),
                    2 => about.give_back(&member),
                    _ => about.forgive(&member),
                });
            }
        }
    }
}

proptest! {
    #[test]
    fn a_plan_does_not_depend_on_what_was_planned_before(events in prop::collection::vec(event(), 1..60)) {
        let mut federation = Federation::of(&NAMES[..4]);
        for (number, event) in events.into_iter().enumerate() {
            if number == 20 {
                federation.state.members.insert(NAMES[4].parse().unwrap(), member_row(NAMES[4], 9));
            }
            if federation.state.members.contains_key(&NAMES[event.member].parse::<MemberName>().unwrap()) {
                federation.happen(event);
            }
            let mut changes = federation.plan();
            if event.applied > 1 {
                changes.truncate(changes.len() / 2);
            }
            if event.applied > 0 {
                federation.index += 1;
                federation.state.apply_plan(federation.index, &changes);
            }
        }
    }

    /// Even where most of what may be added is used up.
    #[test]
    fn nor_where_the_budget_for_replicas_in_addition_is_short(
        counts in prop::collection::vec(0_u32..2_500, 6),
        events in prop::collection::vec((0_usize..4, any::<bool>(), 0_u8..6, 0_u32..2_500, any::<bool>()), 1..30),
    ) {
        let mut federation = Federation::of(&NAMES[..4]);
        let put = |federation: &mut Federation, workload: u8, replicas: u32| {
            let mut placement = PlacementRules::new(Mode::Divided);
            placement.replicas = Some(replicas);
            let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
            federation.put_named(&key(workload).to_string(), vec![web], placement);
        };
        for (workload, replicas) in (0..).zip(counts) {
            put(&mut federation, workload, replicas);
        }
        federation.step();
        for (member, silent, workload, replicas, edits) in events {
            let name: MemberName = NAMES[member].parse().unwrap();
            if edits && replicas < 500 {
                let drained = if silent { Scheduling::Drained } else { Scheduling::Enabled };
                federation.schedule(NAMES[member], drained);
            } else if edits && replicas < 1_500 {
                federation.come(&key(workload), NAMES[member], PlacementPhase::Ready);
            } else if edits {
                put(&mut federation, workload, replicas);
            } else if silent {
                federation.silent.insert(name);
            } else {
                federation.silent.remove(&name);
            }
            federation.step();
        }
    }
}
