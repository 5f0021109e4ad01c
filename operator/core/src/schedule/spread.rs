//! Replicas divided so that the rules about domains hold.
//!
//! The rules hold for what runs: replicas move if they have to, and no more of them than that. A domain in which nothing runs counts only
//! for `min`: one that is new or returns moves nothing.
//!
//! One replica after the other goes where the fewest are in its domains. Cost: replicas that are placed or moved, times combinations of
//! domains.

use std::collections::{BTreeMap, BTreeSet};

use super::{case::Case, divide as even, survival::Place};
use crate::{
    id::MemberName,
    workload::{Share, Spread},
};

mod table;

use table::{Table, Used, number};

/// One rule, and the domain of each host.
pub(super) struct Zones {
    rule: Spread,
    of: Vec<usize>,
    /// How many there are.
    all: usize,
}

impl Case<'_> {
    /// The rules of the workload with the domains of `hosts`.
    pub(super) fn zones(&self, hosts: &[MemberName]) -> Vec<Zones> {
        let rules = self.workload.spec.placement.spread.iter();
        rules
            .map(|rule| {
                let mut numbers = BTreeMap::new();
                let domain = |name: &MemberName| {
                    let next = numbers.len();
                    *numbers.entry(self.domain(rule, name)).or_insert(next)
                };
                let of = hosts.iter().map(domain).collect();
                let all = numbers.len();
                let rule = rule.clone();
                Zones { rule, of, all }
            })
            .collect()
    }

    /// The domain of a member, in words.
    fn domain(&self, rule: &Spread, name: &MemberName) -> String {
        let own = || format!("member '{name}'");
        let Some(member) = self.member(name) else {
            return own();
        };
        match (rule.by, &rule.label) {
            (Some(kind), _) => Place::of(kind, name, member).to_string(),
            (None, Some(key)) => match member.label(name, key) {
                Some(value) => format!("'{value}'"),
                None => own(),
            },
            (None, None) => own(),
        }
    }

    /// The rule that does not hold with these shares, in words.
    pub(super) fn broken_rule(&self, shares: &BTreeMap<MemberName, Share>) -> Option<String> {
        let hosts = shares.iter().filter(|(_, share)| share.total() > 0);
        let hosts: Vec<_> = hosts.map(|(name, _)| name.clone()).collect();
        let zones = self.zones(&hosts);
        zones.iter().filter(|zones| zones.all > 0).find_map(|zones| {
            let Zones { rule, of, all } = zones;
            let least = number(rule.min, 0);
            if *all < least {
                return Some(format!(
                    "it runs in {}, and `placement.spread` asks for at least {least}",
                    rule.counted(*all)
                ));
            }
            // Each object is divided by itself, and what an autoscaler may add is not divided by these rules.
            let objects = self.counts.iter().map(|(target, _)| target);
            let mut objects = objects.filter(|it| it.has_replicas());
            objects.find_map(|target| {
                let mut counts = vec![0; *all];
                for (domain, name) in of.iter().zip(&hosts) {
                    counts[*domain] += i64::from(shares[name].of(target));
                }
                let used = Used::of(&counts);
                (used.unevenness(rule) > 0).then(|| {
                    let (one, differ) = (rule.counted(1), used.most - used.least);
                    let most = rule.max_skew.unwrap_or_default();
                    format!(
                        "{one} runs {differ} replicas more than another, and `placement.spread` asks for at most {most}"
                    )
                })
            })
        })
    }

    /// For a workload that every host runs whole: the eligible hosts in no more domains than allowed. Those that run it come first.
    pub(super) fn in_few_domains(&self) -> BTreeSet<MemberName> {
        let zones = self.zones(&self.eligible);
        let mut used: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); zones.len()];
        let is_placed = |host: &usize| self.placed.contains_key(&self.eligible[*host]);
        let (placed, new): (Vec<_>, Vec<_>) = (0..self.eligible.len()).partition(is_placed);
        let mut chosen = BTreeSet::new();
        for host in placed.into_iter().chain(new) {
            let mut rules = zones.iter().zip(&used);
            let fits = rules.all(|(zones, used)| {
                let most = number(zones.rule.max, usize::MAX);
                used.contains(&zones.of[host]) || used.len() < most
            });
            if fits {
                chosen.insert(host);
                for (zones, used) in zones.iter().zip(&mut used) {
                    used.insert(zones.of[host]);
                }
            }
        }
        let chosen = chosen.into_iter();
        chosen.map(|host| self.eligible[host].clone()).collect()
    }
}

/// Divides `total` replicas over `hosts` as [`even::divide`] does, and so that the rules of `zones` hold. What would break a
/// rule is in no share.
///
/// Hosts that are in the same domains by every rule are one cell: the rules decide about cells.
pub(super) fn divide<K: Ord + Clone>(
    total: u32,
    hosts: &[K],
    current: &BTreeMap<K, u32>,
    most: impl Fn(&K) -> u32,
    zones: &[Zones],
) -> BTreeMap<K, u32> {
    let held = |host: &K| current.get(host).copied().unwrap_or(0);
    let mut cells: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for host in 0..hosts.len() {
        let domains = zones.iter().map(|zones| zones.of[host]).collect();
        cells.entry(domains).or_default().push(host);
    }
    // The best hosts are the first, and so are their cells.
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by_key(|(_, members)| members.first().copied());
    let sum = |members: &[usize], of: &dyn Fn(&K) -> u32| {
        let members = members.iter().map(|host| of(&hosts[*host]));
        members.fold(0, u32::saturating_add)
    };
    let mut table = Table {
        shares: cells
            .iter()
            .map(|(_, members)| sum(members, &held))
            .collect(),
        most: cells
            .iter()
            .map(|(_, members)| sum(members, &most))
            .collect(),
        domains: cells.iter().map(|(domains, _)| domains.clone()).collect(),
        rules: zones.iter().map(|zones| zones.rule.clone()).collect(),
        counts: zones.iter().map(|zones| vec![0; zones.all]).collect(),
    };
    table.divide(total);
    let cells = cells.into_iter().zip(table.shares);
    let shares = cells.flat_map(|((_, members), share)| {
        let members: Vec<K> = members.iter().map(|host| hosts[*host].clone()).collect();
        even::divide(share, &members, current, &most)
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::FailureDomain;

    /// Hosts with their domain, what they have and their room on top of it.
    type Hosts = Vec<(usize, u32, u32)>;

    fn divided(total: u32, hosts: &Hosts, rule: &Spread) -> Vec<u32> {
        let numbers: Vec<usize> = (0..hosts.len()).collect();
        let current = numbers.iter().map(|host| (*host, hosts[*host].1)).collect();
        let zones = Zones {
            rule: rule.clone(),
            of: hosts.iter().map(|(domain, ..)| *domain).collect(),
            all: 4,
        };
        let most = |host: &usize| hosts[*host].1.saturating_add(hosts[*host].2);
        let shares = divide(total, &numbers, &current, most, &[zones]);
        shares.into_values().collect()
    }

    fn counts(hosts: &Hosts, shares: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; 4];
        for ((domain, ..), share) in hosts.iter().zip(shares) {
            counts[*domain] += share;
        }
        counts.retain(|count| *count > 0);
        counts
    }

    fn rules() -> impl Strategy<Value = Spread> {
        let limit = |range: std::ops::Range<u32>| prop::option::of(range);
        (limit(1..3), limit(3..5), limit(1..4)).prop_map(|(min, max, max_skew)| Spread {
            by: Some(FailureDomain::Provider),
            label: None,
            min,
            max,
            max_skew,
        })
    }

    proptest! {
        #[test]
        fn rules_hold_where_there_is_room(
            total in 0_u32..60,
            hosts in prop::collection::vec((0_usize..4, 0_u32..12), 1..7),
            rule in rules(),
        ) {
            let hosts = hosts.into_iter().map(|(domain, held)| (domain, held, 1_000)).collect();
            let shares = divided(total, &hosts, &rule);
            let counts = counts(&hosts, &shares);
            let (least, most) = (counts.iter().min(), counts.iter().max());
            let differ = most.zip(least).map_or(0, |(most, least)| most - least);
            prop_assert_eq!(shares.iter().sum::<u32>(), total);
            prop_assert!(differ <= rule.max_skew.unwrap_or(u32::MAX), "{:?}", counts);
            prop_assert!(counts.len() <= number(rule.max, usize::MAX));
            let domains: BTreeSet<_> = hosts.iter().map(|(domain, ..)| domain).collect();
            let least = number(rule.min, 0).min(domains.len()).min(total as usize);
            prop_assert!(counts.len() >= least);
        }

        #[test]
        fn no_host_gets_more_than_it_has_room_for_and_the_same_again_changes_nothing(
            total in 0_u32..60,
            hosts in prop::collection::vec((0_usize..4, 0_u32..12, 0_u32..12), 1..7),
            rule in rules(),
        ) {
            let shares = divided(total, &hosts, &rule);
            prop_assert!(shares.iter().zip(&hosts).all(|(share, (_, held, room))| *share <= held + room));
            prop_assert!(shares.iter().sum::<u32>() <= total);
            prop_assert!(counts(&hosts, &shares).len() <= number(rule.max, usize::MAX));
            let most = hosts.iter().map(|(_, held, room)| held + room);
            let settled = hosts.iter().zip(&shares).zip(most);
            let settled: Hosts = settled.map(|(((domain, ..), share), most)| (*domain, *share, most - share)).collect();
            prop_assert_eq!(divided(total, &settled, &rule), shares);
        }
    }
}
