//! Which jurisdiction is part of which, so that a member in `DE` is in `EU`.
//!
//! Two rules, and no other: a subdivision `US-CA` is in its country `US` (ISO 3166-2), and a country is in the groups of the table below.
//! Whatever else is written is only in itself. The table grows with releases: an operator that does not know a group yet places
//! nothing in its countries.

use std::collections::BTreeSet;

/// Groups of countries, by the codes of ISO 3166-1, as of 2025-01-01.
///
/// Sources: the treaties' lists of members: European Union <https://european-union.europa.eu/principles-countries-history/eu-countries_en>,
/// European Economic Area <https://www.efta.int/eea>, EFTA <https://www.efta.int/about-efta/the-efta-states>.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "EU",
        &[
            "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU",
            "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
        ],
    ),
    ("EEA", &["EU", "IS", "LI", "NO"]),
    ("EFTA", &["CH", "IS", "LI", "NO"]),
];

/// Whether the law allows a workload with this domicile to be in a jurisdiction. Without a domicile it may be anywhere; an empty
/// jurisdiction is in no domicile.
#[must_use]
pub fn allows(domicile: &BTreeSet<String>, jurisdiction: &str) -> bool {
    domicile.is_empty() || domicile.iter().any(|it| is_within(jurisdiction, it))
}

/// What is against a member with this jurisdiction, in words that follow its name; `None` if the law allows it.
#[must_use]
pub fn objection(domicile: &BTreeSet<String>, jurisdiction: &str) -> Option<String> {
    if allows(domicile, jurisdiction) {
        return None;
    }
    let allowed: Vec<_> = domicile.iter().map(String::as_str).collect();
    let allowed = allowed.join(", ");
    Some(if jurisdiction.is_empty() {
        format!("it names no jurisdiction, and the workload must stay in {allowed}")
    } else {
        format!("it is in {jurisdiction}, and the workload must stay in {allowed}")
    })
}

/// Whether what is in `inner` is in `outer`.
fn is_within(inner: &str, outer: &str) -> bool {
    if inner.is_empty() {
        return false;
    }
    if inner == outer {
        return true;
    }
    let country = inner.split_once('-').map(|(country, _)| country);
    let groups = GROUPS
        .iter()
        .filter(|(_, members)| members.contains(&inner))
        .map(|(group, _)| *group);
    country
        .into_iter()
        .chain(groups)
        .any(|wider| is_within(wider, outer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_itself_in_its_country_and_in_its_groups() {
        let within = |inner, outers: [&str; 4]| outers.map(|outer| is_within(inner, outer));
        let outers = ["DE", "EU", "EEA", "CH"];
        assert_eq!(within("DE", outers), [true, true, true, false]);
        assert_eq!(within("DE-BY", outers), [true, true, true, false]);
        assert_eq!(within("NO", outers), [false, false, true, false]);
        assert_eq!(within("CH", outers), [false, false, false, true]);
        assert_eq!(within("EU", outers), [false, true, true, false]);
        assert_eq!(within("GB", outers), [false; 4]);
    }

    #[test]
    fn a_group_is_not_in_its_members_and_nowhere_is_in_nothing() {
        assert!(!is_within("EU", "DE"));
        assert!(!is_within("US", "US-CA"));
        assert!(!is_within("", ""));
        assert!(!is_within("", "EU"));
        // A name that only begins like a country.
        assert!(!is_within("DEX", "DE"));
    }

    #[test]
    fn without_a_domicile_every_place_is_allowed_also_one_that_is_not_named() {
        let eu = BTreeSet::from(["CH".to_owned(), "EU".to_owned()]);
        let allowed = |domicile: &BTreeSet<String>| {
            ["DE", "CH", "US", ""].map(|jurisdiction| allows(domicile, jurisdiction))
        };
        assert_eq!(allowed(&eu), [true, true, false, false]);
        assert_eq!(allowed(&BTreeSet::new()), [true; 4]);
    }

    #[test]
    fn no_group_contains_itself() {
        for (group, members) in GROUPS {
            for member in *members {
                assert!(!is_within(group, member), "{group} is in {member}");
            }
        }
    }
}
