//! A table with one value for each workload and host, readable from both sides.
//!
//! It is persistent: a clone costs nothing and shares what does not change, and the difference of two versions costs what
//! differs (docs/adr/0013).

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{MemberName, WorkloadKey};

/// The values of one workload.
pub type Rows<V> = OrdMap<MemberName, V>;

/// One value for each workload and host. Written as a map of maps, the workload first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerHost<V> {
    rows: OrdMap<WorkloadKey, Rows<V>>,
    /// The workloads of each host: the same pairs the other way round.
    workloads: OrdMap<MemberName, OrdSet<WorkloadKey>>,
}

impl<V> Default for PerHost<V> {
    fn default() -> Self {
        Self {
            rows: OrdMap::new(),
            workloads: OrdMap::new(),
        }
    }
}

impl<V> PerHost<V> {
    /// Whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All values, by workload.
    pub fn iter(&self) -> impl Iterator<Item = (&WorkloadKey, &Rows<V>)> {
        self.rows.iter()
    }

    /// The value of `workload` at `host`.
    #[must_use]
    pub fn get(&self, workload: &WorkloadKey, host: &MemberName) -> Option<&V> {
        self.rows.get(workload)?.get(host)
    }

    /// Whether `workload` has a value at any host.
    #[must_use]
    pub fn has(&self, workload: &WorkloadKey) -> bool {
        self.rows.contains_key(workload)
    }

    /// The values of `workload`, by host.
    pub fn of(&self, workload: &WorkloadKey) -> impl Iterator<Item = (&MemberName, &V)> {
        self.rows.get(workload).into_iter().flatten()
    }

    /// The same as a map of its own, which costs nothing either.
    #[must_use]
    pub fn rows(&self, workload: &WorkloadKey) -> Rows<V> {
        self.rows.get(workload).cloned().unwrap_or_default()
    }

    /// The workloads with a value at `host`, in order.
    pub fn at(&self, host: &MemberName) -> impl Iterator<Item = &WorkloadKey> {
        self.workloads.get(host).into_iter().flatten()
    }

    /// How many workloads have a value at `host`.
    #[must_use]
    pub fn count_at(&self, host: &MemberName) -> usize {
        self.workloads.get(host).map_or(0, OrdSet::len)
    }
}

impl<V: Clone> PerHost<V> {
    /// Sets the value of `workload` at `host`; returns the one before.
    pub fn insert(&mut self, workload: WorkloadKey, host: MemberName, value: V) -> Option<V> {
        let keys = self.workloads.entry(host.clone()).or_default();
        keys.insert(workload.clone());
        self.rows.entry(workload).or_default().insert(host, value)
    }

    /// Removes the value of `workload` at `host`.
    pub fn remove(&mut self, workload: &WorkloadKey, host: &MemberName) -> Option<V> {
        let rows = self.rows.get_mut(workload)?;
        let value = rows.remove(host)?;
        if rows.is_empty() {
            self.rows.remove(workload);
        }
        self.forget(workload, host);
        Some(value)
    }

    /// Removes all values of `workload`.
    pub fn remove_all_of(&mut self, workload: &WorkloadKey) -> Rows<V> {
        let rows = self.rows.remove(workload).unwrap_or_default();
        for host in rows.keys() {
            self.forget(workload, host);
        }
        rows
    }

    /// Removes all values at `host`; returns the workloads that had one.
    pub fn remove_all_at(&mut self, host: &MemberName) -> OrdSet<WorkloadKey> {
        let workloads = self.workloads.remove(host).unwrap_or_default();
        for workload in &workloads {
            if let Some(rows) = self.rows.get_mut(workload) {
                rows.remove(host);
                if rows.is_empty() {
                    self.rows.remove(workload);
                }
            }
        }
        workloads
    }

    fn forget(&mut self, workload: &WorkloadKey, host: &MemberName) {
        if let Some(keys) = self.workloads.get_mut(host) {
            keys.remove(workload);
            if keys.is_empty() {
                self.workloads.remove(host);
            }
        }
    }
}

impl<V: PartialEq> PerHost<V> {
    /// The workloads with other values than in `older`. Costs what differs, where this table came from `older`.
    pub fn changed_since<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = &'a WorkloadKey> {
        changed_keys(&older.rows, &self.rows)
    }
}

/// The keys whose values differ between two versions of a map. Costs what differs, where one came from the other.
pub fn changed_keys<'a, K: Ord, V: PartialEq>(
    older: &'a OrdMap<K, V>,
    newer: &'a OrdMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    older.diff(newer).map(|item| match item {
        DiffItem::Add(key, _)
        | DiffItem::Remove(key, _)
        | DiffItem::Update { new: (key, _), .. } => key,
    })
}

impl<V: Clone> FromIterator<(WorkloadKey, MemberName, V)> for PerHost<V> {
    fn from_iter<I: IntoIterator<Item = (WorkloadKey, MemberName, V)>>(values: I) -> Self {
        let mut table = Self::default();
        for (workload, host, value) in values {
            table.insert(workload, host, value);
        }
        table
    }
}

impl<V: Serialize> Serialize for PerHost<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de> + Clone> Deserialize<'de> for PerHost<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = OrdMap::<WorkloadKey, Rows<V>>::deserialize(deserializer)?;
        let values = rows.into_iter().flat_map(|(workload, rows)| {
            let rows = rows.into_iter();
            rows.map(move |(host, value)| (workload.clone(), host, value))
        });
        Ok(values.collect())
    }
}

/// The form in which the host comes first: `#[serde(with = "per_host::host_first")]`.
pub(crate) mod host_first {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PerHost;
    use crate::id::{MemberName, WorkloadKey};

    pub(crate) fn serialize<V: Serialize, S: Serializer>(
        table: &PerHost<V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(table.workloads.iter().map(|(host, workloads)| {
            let values = workloads.iter();
            let values = values.filter_map(|key| Some((key, table.get(key, host)?)));
            (host, values.collect::<BTreeMap<_, _>>())
        }))
    }

    pub(crate) fn deserialize<'de, V: Deserialize<'de> + Clone, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PerHost<V>, D::Error> {
        let hosts = BTreeMap::<MemberName, BTreeMap<WorkloadKey, V>>::deserialize(deserializer)?;
        let values = hosts.into_iter().flat_map(|(host, values)| {
            let values = values.into_iter();
            values.map(move |(workload, value)| (workload, host.clone(), value))
        });
        Ok(values.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn workload(number: u8) -> WorkloadKey {
        format!("acme/shop/w{number}").parse().unwrap()
    }

    fn host(number: u8) -> MemberName {
        format!("host-{number}").parse().unwrap()
    }

    /// A table after `steps`, and a plain map that did the same.
    fn after(
        steps: &[(u8, u8, Option<u8>)],
    ) -> (PerHost<u8>, BTreeMap<(WorkloadKey, MemberName), u8>) {
        let (mut table, mut map) = (PerHost::default(), BTreeMap::new());
        for (number, at, value) in steps {
            let pair = (workload(*number), host(*at));
            let (before, expected) = match value {
                Some(value) => (
                    table.insert(pair.0.clone(), pair.1.clone(), *value),
                    map.insert(pair, *value),
                ),
                None => (table.remove(&pair.0, &pair.1), map.remove(&pair)),
            };
            assert_eq!(before, expected);
        }
        (table, map)
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, u8, Option<u8>)>> {
        prop::collection::vec((0_u8..20, 0_u8..5, prop::option::of(0_u8..4)), 0..200)
    }

    proptest! {
        #[test]
        fn both_sides_show_the_same_pairs(steps in steps()) {
            let (table, map) = after(&steps);
            let by_workload: Vec<_> = table.iter().flat_map(|(key, rows)| rows.iter().map(move |(host, value)| ((key.clone(), host.clone()), *value))).collect();
            prop_assert_eq!(by_workload, map.clone().into_iter().collect::<Vec<_>>());
            for at in (0..5).map(host) {
                let workloads: Vec<_> = map.keys().filter(|(_, name)| *name == at).map(|(key, _)| key).collect();
                prop_assert_eq!(table.at(&at).collect::<Vec<_>>(), workloads.clone());
                prop_assert_eq!(table.count_at(&at), workloads.len());
            }
        }

        #[test]
        fn it_reads_back_in_both_forms(steps in steps()) {
            let (table, _) = after(&steps);
            let text = serde_json::to_string(&table).unwrap();
            prop_assert_eq!(&serde_json::from_str::<PerHost<u8>>(&text).unwrap(), &table);
            let mut bytes = Vec::new();
            host_first::serialize(&table, &mut serde_json::Serializer::new(&mut bytes)).unwrap();
            let read = host_first::deserialize(&mut serde_json::Deserializer::from_slice(&bytes));
            prop_assert_eq!(&read.unwrap(), &table);
        }

        #[test]
        fn what_changed_is_what_differs(before in steps(), later in steps()) {
            let (older, old) = after(&before);
            let (newer, new) = after(&[before, later].concat());
            let rows_of = |map: &BTreeMap<(WorkloadKey, MemberName), u8>, key: &WorkloadKey| {
                map.iter().filter(|((of, _), _)| of == key).map(|((_, host), value)| (host.clone(), *value)).collect::<Vec<_>>()
            };
            let differ: Vec<_> = (0..20).map(workload).filter(|key| rows_of(&old, key) != rows_of(&new, key)).collect();
            let mut changed: Vec<_> = newer.changed_since(&older).cloned().collect();
            changed.sort();
            let mut expected = differ;
            expected.sort();
            prop_assert_eq!(changed, expected);
        }

        #[test]
        fn all_values_of_a_workload_or_at_a_host_go_at_once(steps in steps()) {
            let (table, map) = after(&steps);
            let mut without = table.clone();
            without.remove_all_at(&host(1));
            let rest = map.clone().into_iter().filter(|((_, name), _)| *name != host(1));
            prop_assert_eq!(&without, &rest.map(|((key, name), value)| (key, name, value)).collect());
            let mut without = table;
            without.remove_all_of(&workload(1));
            let rest = map.into_iter().filter(|((key, _), _)| *key != workload(1));
            prop_assert_eq!(&without, &rest.map(|((key, name), value)| (key, name, value)).collect());
        }
    }
}
