//! The arithmetic of the rules about domains: shares of cells, changed one replica at a time.

use std::cmp::Reverse;

use crate::workload::{MAX_SPREAD, Spread};

/// The shares of cells while they are divided.
pub(super) struct Table {
    pub(super) shares: Vec<u32>,
    pub(super) most: Vec<u32>,
    /// The domain of each cell, by rule.
    pub(super) domains: Vec<Vec<usize>>,
    pub(super) rules: Vec<Spread>,
    /// How many replicas are in each domain, by rule.
    pub(super) counts: Vec<Vec<i64>>,
}

/// What there is in the domains of one rule in which anything is.
pub(super) struct Used {
    /// How many domains.
    domains: usize,
    pub(super) least: i64,
    /// The least when one domain that has the least is left out.
    second: i64,
    pub(super) most: i64,
}

impl Used {
    pub(super) fn of(counts: &[i64]) -> Self {
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
    pub(super) fn unevenness(&self, rule: &Spread) -> i64 {
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

/// A limit of a rule, or what holds without it.
pub(super) fn number(limit: Option<u32>, otherwise: usize) -> usize {
    limit.map_or(otherwise, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

impl Table {
    /// Divides `total`.
    pub(super) fn divide(&mut self, total: u32) {
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
