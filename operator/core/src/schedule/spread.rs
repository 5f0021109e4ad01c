//! Replicas divided so that the rules about domains hold.
//!
//! The rules hold for what runs: replicas move if they have to, and no more of them than that. A domain in which nothing runs counts only
//! for `min`: one that is new or returns moves nothing.
//!
//! One replica after the other goes where the fewest are in its domains. Cost: replicas that are placed or moved, times combinations of
//! domains.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{case::Case, divide as even, survival::Place};
use crate::{
    id::MemberName,
    workload::{MAX_SPREAD, Share, Spread},
};

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
                let number = |name: &MemberName| {
                    let next = numbers.len();
                    *numbers.entry(self.domain(rule, name)).or_insert(next)
                };
                let of = hosts.iter().map(number).collect();
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
        let totals: Vec<_> = hosts
            .iter()
            .map(|name| i64::from(shares[name].total()))
            .collect();
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
            let mut counts = vec![0; *all];
            for (domain, total) in of.iter().zip(&totals) {
                counts[*domain] += total;
            }
            let used = Used::of(&counts);
            let differ = used.most - used.least;
            (used.unevenness(rule) > 0).then(|| {
                let (one, most) = (rule.counted(1), rule.max_skew.unwrap_or_default());
                format!(
                    "{one} runs {differ} replicas more than another, and `placement.spread` asks for at most {most}"
                )
            })
        })
    }

    /// The hosts of a workload that each host runs whole: of `hosts`, those in no more domains than allowed, who has it first.
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

/// The shares of cells while they are divided.
struct Table {
    shares: Vec<u32>,
    most: Vec<u32>,
    /// The domain of each cell, by rule.
    domains: Vec<Vec<usize>>,
    rules: Vec<Spread>,
    /// How many replicas are in each domain, by rule.
    counts: Vec<Vec<i64>>,
}

/// What there is in the domains of one rule in which anything is.
struct Used {
    /// How many domains.
    domains: usize,
    least: i64,
    /// The least but for one domain.
    second: i64,
    most: i64,
}

impl Used {
    fn of(counts: &[i64]) -> Self {
        let mut used = Self {
            domains: 0,
            least: i64::MAX,
            second: i64::MAX,
            most: 0,
        };
        for count in counts.iter().copied().filter(|count| *count > 0) {
            used.domains += 1;
            used.most = used.most.max(count);
            used.second = used.second.min(count.max(used.least));
            used.least = used.least.min(count);
        }
        used
    }

    /// By how much more than `rule` allows the domains differ.
    fn unevenness(&self, rule: &Spread) -> i64 {
        match rule.max_skew {
            Some(skew) if self.domains > 0 => (self.most - self.least - i64::from(skew)).max(0),
            Some(_) | None => 0,
        }
    }

    /// The same with one more replica in a domain that has `count`.
    fn with_one_more(&self, count: i64) -> Self {
        let others = if count == self.least {
            self.second
        } else {
            self.least
        };
        Self {
            domains: self.domains + usize::from(count == 0),
            least: (count + 1).min(if count == 0 { self.least } else { others }),
            second: self.second,
            most: self.most.max(count + 1),
        }
    }
}

fn number(limit: Option<u32>, otherwise: usize) -> usize {
    limit.map_or(otherwise, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

impl Table {
    fn divide(&mut self, total: u32) {
        for cell in 0..self.shares.len() {
            self.count(cell, i64::from(self.shares[cell]));
        }
        self.leave_surplus_domains();
        self.shrink(total);
        self.even_out();
        // A move can make room for what had none.
        for _ in self.cells() {
            let before = self.shares.clone();
            self.grow(total);
            self.enter_missing_domains();
            self.even_out();
            if self.shares == before {
                return;
            }
        }
    }

    fn held(&self) -> u64 {
        self.shares.iter().copied().map(u64::from).sum()
    }

    fn count(&mut self, cell: usize, more: i64) {
        for (domain, counts) in self.domains[cell].iter().zip(&mut self.counts) {
            counts[*domain] += more;
        }
    }

    fn add(&mut self, cell: usize) {
        self.shares[cell] += 1;
        self.count(cell, 1);
    }

    fn take(&mut self, cell: usize) {
        self.shares[cell] -= 1;
        self.count(cell, -1);
    }

    /// How many replicas are in the domains of a cell, by rule, and in itself: the order in which cells get replicas.
    fn fullness(&self, cell: usize) -> ([i64; MAX_SPREAD], u32, usize) {
        let mut counts = [0; MAX_SPREAD];
        let domains = self.domains[cell].iter().zip(&self.counts);
        for (of, (domain, in_domains)) in counts.iter_mut().zip(domains) {
            *of = in_domains[*domain];
        }
        (counts, self.shares[cell], cell)
    }

    fn used(&self) -> Vec<Used> {
        self.counts.iter().map(|counts| Used::of(counts)).collect()
    }

    fn unevenness(&self, used: &[Used]) -> i64 {
        let rules = self.rules.iter().zip(used);
        rules.map(|(rule, used)| used.unevenness(rule)).sum()
    }

    /// How unequal the domains of the rules about that are: less after each move from one to another that has two fewer.
    fn crowding(&self) -> i64 {
        let rules = self.rules.iter().zip(&self.counts);
        let counts = rules.filter(|(rule, _)| rule.max_skew.is_some());
        let squares = counts.flat_map(|(_, counts)| counts.iter().map(|count| count * count));
        squares.sum()
    }

    fn cells(&self) -> std::ops::Range<usize> {
        0..self.shares.len()
    }

    fn has_room(&self, cell: usize) -> bool {
        self.shares[cell] < self.most[cell]
    }

    /// Whether a replica in a cell is in no more domains than allowed.
    fn may_enter(&self, cell: usize, used: &[Used]) -> bool {
        let mut rules = self.rules.iter().zip(used).enumerate();
        rules.all(|(position, (rule, used))| {
            let is_new = self.counts[position][self.domains[cell][position]] == 0;
            !is_new || used.domains < number(rule.max, usize::MAX)
        })
    }

    /// Whether domains then differ by no more than allowed, or by less than before.
    fn evens(&self, cell: usize, used: &[Used], before: i64) -> bool {
        let rules = self.rules.iter().zip(used).enumerate();
        let after = rules.map(|(position, (rule, used))| {
            let count = self.counts[position][self.domains[cell][position]];
            used.with_one_more(count).unevenness(rule)
        });
        let after: i64 = after.sum();
        after == 0 || after < before
    }

    /// Takes everything out of the domains with the fewest replicas, where it runs in more than it may.
    fn leave_surplus_domains(&mut self) {
        for rule in 0..self.rules.len() {
            let most = number(self.rules[rule].max, usize::MAX);
            while Used::of(&self.counts[rule]).domains > most {
                let used = self.counts[rule].iter().enumerate();
                let used = used.filter(|(_, count)| **count > 0);
                let fewest = used.min_by_key(|(domain, count)| (**count, Reverse(*domain)));
                let Some((fewest, _)) = fewest else { return };
                for cell in self
                    .cells()
                    .filter(|cell| self.domains[*cell][rule] == fewest)
                    .collect::<Vec<_>>()
                {
                    self.count(cell, -i64::from(self.shares[cell]));
                    self.shares[cell] = 0;
                }
            }
        }
    }

    /// Adds replicas one by one until there are `total`, or no rule allows one more.
    fn grow(&mut self, total: u32) {
        for _ in self.held()..u64::from(total) {
            let used = self.used();
            let before = self.unevenness(&used);
            let open = self.cells().filter(|cell| {
                self.has_room(*cell)
                    && self.may_enter(*cell, &used)
                    && self.evens(*cell, &used, before)
            });
            match open.min_by_key(|cell| self.fullness(*cell)) {
                Some(cell) => self.add(cell),
                None => return,
            }
        }
    }

    /// Takes replicas one by one until there are no more than `total`.
    fn shrink(&mut self, total: u32) {
        for _ in u64::from(total)..self.held() {
            let some = self.cells().filter(|cell| self.shares[*cell] > 0);
            match some.max_by_key(|cell| self.fullness(*cell)) {
                Some(cell) => self.take(cell),
                None => return,
            }
        }
    }

    /// Moves a replica from a domain with several into one with none, where it runs in fewer domains than it has to.
    fn enter_missing_domains(&mut self) {
        for rule in 0..self.rules.len() {
            let least = number(self.rules[rule].min, 0);
            loop {
                let used = self.used();
                if used[rule].domains >= least {
                    break;
                }
                let count = |cell: usize| self.counts[rule][self.domains[cell][rule]];
                let several = self
                    .cells()
                    .filter(|cell| self.shares[*cell] > 0 && count(*cell) > 1);
                let open = self.cells().filter(|cell| {
                    count(*cell) == 0 && self.has_room(*cell) && self.may_enter(*cell, &used)
                });
                let from = several.max_by_key(|cell| self.fullness(*cell));
                let to = open.min_by_key(|cell| self.fullness(*cell));
                let (Some(from), Some(to)) = (from, to) else {
                    break;
                };
                self.take(from);
                self.add(to);
            }
        }
    }

    /// Moves replicas from full domains to emptier ones in use, until those of no rule differ by more than they may, or no move helps.
    fn even_out(&mut self) {
        loop {
            let used = self.used();
            let before = (self.unevenness(&used), self.crowding());
            if before.0 == 0 {
                return;
            }
            let domains: Vec<_> = used.iter().map(|used| used.domains).collect();
            let some = self.cells().filter(|cell| self.shares[*cell] > 0);
            let mut from: Vec<_> = some.collect();
            from.sort_by_cached_key(|cell| Reverse(self.fullness(*cell)));
            let mut to: Vec<_> = self.cells().filter(|cell| self.has_room(*cell)).collect();
            to.sort_by_cached_key(|cell| self.fullness(*cell));
            let mut pairs = from
                .iter()
                .flat_map(|from| to.iter().map(|to| (*from, *to)));
            let helps = |table: &mut Self, (from, to): (usize, usize)| {
                table.take(from);
                table.add(to);
                let used = table.used();
                let stays = used
                    .iter()
                    .map(|used| used.domains)
                    .eq(domains.iter().copied());
                let helps = stays && (table.unevenness(&used), table.crowding()) < before;
                if !helps {
                    table.take(to);
                    table.add(from);
                }
                helps
            };
            if !pairs.any(|pair| helps(self, pair)) {
                return;
            }
        }
    }
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
