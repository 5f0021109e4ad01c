//! How many where: replicas divided as evenly as moving little allows.

use std::collections::BTreeMap;

/// Divides `total` replicas over `hosts`, which hold `current` of them now and have room for `most`, which is at least that.
///
/// Hosts that hold some keep them; only the difference to `total` moves. What is missing goes one by one to the host
/// with the fewest, what is too much is taken one by one from the host with the most; ties go to the earlier host when
/// giving and to the later one when taking. A first division is therefore even. What no host has room for is in no share.
/// Terminates after at most two rounds of whole layers per host, whatever the size of `total`. Every host is in the answer,
/// also with 0.
pub(super) fn divide<K: Ord + Clone>(
    total: u32,
    hosts: &[K],
    current: &BTreeMap<K, u32>,
    most: impl Fn(&K) -> u32,
) -> BTreeMap<K, u32> {
    let mut shares: Vec<u32> = hosts
        .iter()
        .map(|host| current.get(host).copied().unwrap_or(0))
        .collect();
    if shares.is_empty() {
        return BTreeMap::new();
    }
    let held: u64 = shares.iter().copied().map(u64::from).sum();
    match u64::from(total).checked_sub(held) {
        Some(0) => {}
        Some(missing) => {
            let most: Vec<u32> = hosts.iter().map(most).collect();
            fill(&mut shares, &most, missing);
        }
        None => drain(&mut shares, held - u64::from(total)),
    }
    hosts.iter().cloned().zip(shares).collect()
}

/// Raises the lowest shares to the next level until `missing` is used up, or every share is at its most.
fn fill(shares: &mut [u32], most: &[u32], mut missing: u64) {
    while missing > 0 {
        let open: Vec<usize> = (0..shares.len())
            .filter(|&host| shares[host] < most[host])
            .collect();
        let Some(lowest) = open.iter().map(|&host| shares[host]).min() else {
            return;
        };
        let is_low = |host: &usize| shares[*host] == lowest;
        let (low, higher): (Vec<usize>, Vec<usize>) = open.into_iter().partition(is_low);
        let full = low.iter().map(|&host| most[host]);
        let next = higher.iter().map(|&host| shares[host]).chain(full).min();
        let step = u64::from(next.unwrap_or(u32::MAX) - lowest);
        let level = missing.min(step * low.len() as u64);
        let (each, rest) = (level / low.len() as u64, level % low.len() as u64);
        for (position, host) in low.into_iter().enumerate() {
            let more = each + u64::from((position as u64) < rest);
            shares[host] = shares[host].saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
        missing -= level;
    }
}

/// Lowers the highest shares to the next level until `surplus` is used up.
fn drain(shares: &mut [u32], mut surplus: u64) {
    while surplus > 0 {
        let highest = shares.iter().copied().max().unwrap_or(0);
        let next = shares
            .iter()
            .copied()
            .filter(|share| *share < highest)
            .max()
            .unwrap_or(0);
        let high: Vec<usize> = (0..shares.len())
            .rev()
            .filter(|&host| shares[host] == highest)
            .collect();
        let level = surplus.min(u64::from(highest - next) * high.len() as u64);
        let (each, rest) = (level / high.len() as u64, level % high.len() as u64);
        for (position, host) in high.into_iter().enumerate() {
            let less = each + u64::from((position as u64) < rest);
            shares[host] = shares[host].saturating_sub(u32::try_from(less).unwrap_or(u32::MAX));
        }
        surplus -= level;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(total: u32, current: &[u32]) -> Vec<u32> {
        bounded(total, current, &vec![u32::MAX; current.len()])
    }

    fn bounded(total: u32, current: &[u32], most: &[u32]) -> Vec<u32> {
        let hosts: Vec<usize> = (0..current.len()).collect();
        let held = hosts.iter().copied().zip(current.iter().copied()).collect();
        let divided = divide(total, &hosts, &held, |host| most[*host]);
        hosts
            .iter()
            .map(|host| divided.get(host).copied().unwrap_or(0))
            .collect()
    }

    #[test]
    fn replicas_are_divided_evenly_and_moved_little() {
        let cases: [(&str, u32, &[u32], &[u32]); 7] = [
            ("a first division is even", 6, &[0, 0, 0], &[2, 2, 2]),
            ("the remainder goes to the first", 7, &[0, 0, 0], &[3, 2, 2]),
            (
                "nothing moves when nothing changed",
                6,
                &[1, 5, 0],
                &[1, 5, 0],
            ),
            ("what is missing goes to the fewest", 6, &[2, 2], &[3, 3]),
            ("growth leaves what runs", 9, &[5, 1, 1], &[5, 2, 2]),
            (
                "what is too much is taken from the most, last first",
                4,
                &[2, 2, 2],
                &[2, 1, 1],
            ),
            ("fewer replicas than hosts", 2, &[0, 0, 0], &[1, 1, 0]),
        ];
        for (name, total, current, expected) in cases {
            assert_eq!(shares(total, current), expected, "{name}");
        }
    }

    #[test]
    fn a_host_gets_no_more_than_it_has_room_for() {
        assert_eq!(bounded(9, &[0, 0, 0], &[1, 9, 9]), [1, 4, 4]);
        assert_eq!(bounded(9, &[2, 0, 0], &[2, 3, 9]), [2, 3, 4]);
        assert_eq!(bounded(9, &[2, 0, 0], &[2, 3, 0]), [2, 3, 0]);
        assert_eq!(bounded(1, &[2, 0, 0], &[2, 0, 0]), [1, 0, 0]);
    }

    proptest! {
        #[test]
        fn what_has_room_is_placed_and_nothing_else_moves(
            total in 0_u32..2_000,
            hosts in prop::collection::vec((0_u32..200, 0_u32..200), 1..12),
        ) {
            let current: Vec<u32> = hosts.iter().map(|(held, _)| *held).collect();
            let most: Vec<u32> = hosts.iter().map(|(held, room)| held + room).collect();
            let (held, all): (u32, u32) = (current.iter().sum(), most.iter().sum());
            let new = bounded(total, &current, &most);
            prop_assert!(new.iter().zip(&most).all(|(new, most)| new <= most));
            prop_assert_eq!(new.iter().sum::<u32>(), total.min(all));
            let moved: u32 = new.iter().zip(&current).map(|(new, old)| new.abs_diff(*old)).sum();
            prop_assert_eq!(moved, held.abs_diff(total.min(all)));
        }

        #[test]
        fn the_sum_is_exact_and_only_the_difference_moves(
            total in 0_u32..100_000,
            current in prop::collection::vec(0_u32..1_000, 1..20),
        ) {
            let new = shares(total, &current);
            let (sum, held): (u64, u64) =
                (new.iter().copied().map(u64::from).sum(), current.iter().copied().map(u64::from).sum());
            prop_assert_eq!(sum, u64::from(total));
            let moved: u64 = new.iter().zip(&current).map(|(new, old)| u64::from(new.abs_diff(*old))).sum();
            prop_assert_eq!(moved, held.abs_diff(u64::from(total)));
            prop_assert_eq!(shares(total, &new), new);
        }
    }
}
