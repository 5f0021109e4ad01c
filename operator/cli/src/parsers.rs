//! Parsers for the values of options, used by several commands.

use std::time::Duration;

/// The name of a member or an owner.
pub(crate) fn dns_label(value: &str) -> Result<String, String> {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = value.bytes().all(|c| alphanumeric(c) || c == b'-');
    let ends = value.bytes().next().is_some_and(alphanumeric)
        && value.bytes().last().is_some_and(alphanumeric);
    if inside && ends && value.len() <= 63 {
        return Ok(value.to_owned());
    }
    Err("must be a DNS label: 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit".into())
}

/// A duration that is not zero, such as `30s`.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(value)
        .map_err(|error| format!("must be a duration such as '30s' or '1h': {error}"))?;
    if duration.is_zero() {
        return Err("must be more than zero".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "acme-eu-1", "a".repeat(63).as_str()] {
            assert_eq!(dns_label(good).unwrap(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Acme",
            "a.b",
            "a b",
            "a".repeat(64).as_str(),
        ] {
            assert!(dns_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("0s").unwrap_err(), "must be more than zero");
        assert!(duration("30").is_err());
    }
}
