//! Amounts of resources, exact to a thousandth.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MAX_RESOURCES;

/// Kubernetes' name for the number of pods.
const PODS: &str = "pods";

/// Amounts by the name of the resource, in thousandths of its unit (cores, bytes, pieces). What is not named is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(BTreeMap<String, u64>);

impl Resources {
    /// Those that a Kubernetes object lists, such as `requests` or `allocatable`. What is no quantity or negative counts as
    /// none: the API server of its cluster refuses it.
    #[must_use]
    pub fn of(list: &Value) -> Self {
        let quantities = list.as_object().into_iter().flatten();
        let amounts = quantities.filter_map(|(name, quantity)| {
            let text = match quantity {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((name.clone(), thousandths(&text)?))
        });
        Self(amounts.collect())
    }

    /// One pod.
    pub(super) fn one_pod() -> Self {
        Self(BTreeMap::from([(PODS.to_owned(), 1_000)]))
    }

    /// The first [`MAX_RESOURCES`] by name, the number of pods among them: without that, nothing fits.
    pub(super) fn bounded(self) -> Self {
        let (pods, others): (BTreeMap<_, _>, _) =
            self.0.into_iter().partition(|(name, _)| name == PODS);
        let others = others.into_iter().take(MAX_RESOURCES - 1);
        Self(pods.into_iter().chain(others).collect())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each name with its amount.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether `name` is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The amount of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// How often `asked` fits in; the largest number there is if it asks for nothing.
    pub(super) fn holds(&self, asked: &Self) -> u32 {
        let asked = asked.iter().filter(|(_, amount)| *amount > 0);
        let times = asked.map(|(name, amount)| self.get(name) / amount).min();
        times.map_or(u32::MAX, |times| u32::try_from(times).unwrap_or(u32::MAX))
    }

    /// With each amount of `other` in addition.
    #[must_use]
    pub(super) fn plus(mut self, other: &Self) -> Self {
        for (name, amount) in other.iter() {
            let sum = self.0.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        }
        self
    }

    /// With the larger amount of both.
    #[must_use]
    pub(super) fn at_least(mut self, other: &Self) -> Self {
        for (name, amount) in other.iter() {
            let most = self.0.entry(name.to_owned()).or_default();
            *most = amount.max(*most);
        }
        self
    }

    /// Without `times` the amounts of `other`, at least none.
    #[must_use]
    pub(super) fn minus(mut self, other: &Self, times: u32) -> Self {
        for (name, left) in &mut self.0 {
            let taken = other.get(name).saturating_mul(times.into());
            *left = left.saturating_sub(taken);
        }
        self
    }

    /// With each amount replaced by what `amount` makes of it.
    pub(super) fn map(self, amount: impl Fn(&str, u64) -> u64) -> Self {
        let amounts = self.0.into_iter();
        Self(
            amounts
                .map(|(name, old)| {
                    let new = amount(&name, old);
                    (name, new)
                })
                .collect(),
        )
    }
}

/// A quantity as Kubernetes writes it, in thousandths, rounded up. `None` for what is none, or negative.
///
/// The grammar is that of `k8s.io/apimachinery/pkg/api/resource`. Read here because a crate that reads it needs the types of one
/// version of Kubernetes, and answers in floats.
fn thousandths(text: &str) -> Option<u64> {
    let end = text.find(|it: char| !(it.is_ascii_digit() || it == '.'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits are less than a thousandth of the smallest unit.
    let fraction = fraction.get(..fraction.len().min(12))?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (by, per) = scale(suffix)?;
    let per = per.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let amount = digits
        .saturating_mul(by)
        .saturating_mul(1_000)
        .div_ceil(per);
    Some(u64::try_from(amount).unwrap_or(u64::MAX))
}

/// What a suffix multiplies by, and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = |suffixes: [&str; 7], base: u128| {
        let power = suffixes.iter().position(|it| *it == suffix)?;
        Some((base.pow(u32::try_from(power).ok()?), 1))
    };
    let small = match suffix {
        "m" => Some(1_000),
        "u" => Some(1_000_000),
        "n" => Some(1_000_000_000),
        _ => None,
    };
    let exponent = || {
        let exponent: i8 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        let power = 10_u128.checked_pow(exponent.unsigned_abs().into())?;
        Some(if exponent < 0 { (1, power) } else { (power, 1) })
    };
    let small = small.map(|per| (1, per));
    let known = power(DECIMAL, 1_000).or_else(|| power(BINARY, 1_024));
    known.or(small).or_else(exponent)
}

/// An amount as a person writes it: the shortest form that is exact to a tenth.
pub(super) fn amount(name: &str, thousandths: u64) -> String {
    const SUFFIXES: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let is_bytes =
        ["memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !is_bytes {
        let is_whole = thousandths.is_multiple_of(1_000);
        return if is_whole {
            (thousandths / 1_000).to_string()
        } else {
            format!("{thousandths}m")
        };
    }
    let (mut tenths, mut suffixes) = (thousandths / 100, SUFFIXES.iter());
    let mut suffix = suffixes.next();
    while tenths >= 10_240 {
        let Some(next) = suffixes.next() else { break };
        (tenths, suffix) = (tenths / 1_024, Some(next));
    }
    let suffix = suffix.copied().unwrap_or_default();
    match tenths % 10 {
        0 => format!("{}{suffix}", tenths / 10),
        tenth => format!("{}.{tenth}{suffix}", tenths / 10),
    }
}

/// As a person reads them, without the one pod that every pod is.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.iter().filter(|(name, _)| *name != PODS);
        let words: Vec<_> = named
            .map(|(name, thousandths)| format!("{name} {}", amount(name, thousandths)))
            .collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_read_as_kubernetes_reads_it() {
        let cases = [
            ("2", Some(2_000)),
            ("500m", Some(500)),
            ("0.5", Some(500)),
            ("1.29", Some(1_290)),
            ("1k", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("64Gi", Some(68_719_476_736_000)),
            ("1M", Some(1_000_000_000)),
            ("1e3", Some(1_000_000)),
            ("15E-1", Some(1_500)),
            (".5", Some(500)),
            ("5.", Some(5_000)),
            ("1e99", None),
            ("1 Gi", None),
            ("1E", Some(u64::MAX)),
            ("500u", Some(1)),
            ("-1", None),
            ("two", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn an_amount_is_shown_as_a_person_writes_it() {
        let cases = [
            ("cpu", 1_500, "1500m"),
            ("cpu", 2_000, "2"),
            ("memory", 1_610_612_736_000, "1.5Gi"),
            ("memory", 512_000, "512"),
            ("memory", 68_719_476_736_000, "64Gi"),
            ("nvidia.com/gpu", 8_000, "8"),
        ];
        for (name, thousandths, expected) in cases {
            assert_eq!(amount(name, thousandths), expected);
        }
    }
}
