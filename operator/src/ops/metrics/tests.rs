use std::{collections::BTreeSet, time::Duration};

use prometheus::TextEncoder;

use hanse_core::{command::PlacementChange, id::Generation, reason::Reason, workload::ScaleTarget};

use super::*;
use crate::{
    realize::RealizeMetrics,
    uplink::{CommandOutcome, UplinkMetrics},
    voter::VoterMetrics,
};

/// The metrics of all modules, on one registry.
struct All {
    uplink: UplinkMetrics,
    voter: VoterMetrics,
    realize: RealizeMetrics,
}

fn registered(census: Census) -> (Registry, All) {
    let registry = Registry::new();
    register(&registry, move || census.clone()).unwrap();
    let all = All {
        uplink: UplinkMetrics::register(&registry).unwrap(),
        voter: VoterMetrics::register(&registry).unwrap(),
        realize: RealizeMetrics::register(&registry).unwrap(),
    };
    (registry, all)
}

/// The samples of one family, without comments.
fn samples(registry: &Registry, family: &str) -> Vec<String> {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let mine = |line: &&str| line.starts_with(family);
    text.lines().filter(mine).map(str::to_owned).collect()
}

/// The name of a label, with its value. The value of `version` is left out, because it changes with every release.
fn label_text(label: &prometheus::proto::LabelPair) -> String {
    match label.name() {
        "version" => "version".to_owned(),
        name => format!("{name}={}", label.value()),
    }
}

#[test]
fn the_names_and_meanings_of_the_families_do_not_change_unnoticed() {
    let (registry, _metrics) = registered(Census::default());
    let families: Vec<String> = registry
        .gather()
        .iter()
        .filter(|family| !family.name().starts_with("process_"))
        .map(|family| {
            let labels: BTreeSet<String> = family
                .get_metric()
                .iter()
                .flat_map(prometheus::proto::Metric::get_label)
                .map(label_text)
                .collect();
            let labels: Vec<String> = labels.into_iter().collect();
            format!(
                "{} {:?} {{{}}}\n    {}",
                family.name(),
                family.get_field_type(),
                labels.join(", "),
                family.help()
            )
        })
        .collect();
    insta::assert_snapshot!(families.join("\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_measured_too() {
    let (registry, _metrics) = registered(Census::default());
    assert_eq!(
        samples(&registry, "process_resident_memory_bytes ").len(),
        1
    );
}

#[test]
fn a_command_counts_under_its_outcome() {
    let (registry, metrics) = registered(Census::default());
    metrics.uplink.count_command(CommandOutcome::Accepted);
    metrics.uplink.count_command(CommandOutcome::Accepted);
    metrics.uplink.count_command(CommandOutcome::Unanswered);
    assert_eq!(
        samples(&registry, "hanse_commands_total"),
        [
            r#"hanse_commands_total{outcome="accepted"} 2"#,
            r#"hanse_commands_total{outcome="rejected"} 0"#,
            r#"hanse_commands_total{outcome="unanswered"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn realizing_is_measured_on_the_clock_of_tokio_and_counts_as_failed_by_default() {
    let (registry, metrics) = registered(Census::default());
    let applied = metrics.realize.time();
    tokio::time::advance(Duration::from_secs(2)).await;
    applied.applied();
    let abandoned = metrics.realize.time();
    tokio::time::advance(Duration::from_secs(3)).await;
    drop(abandoned);
    assert_eq!(
        samples(&registry, "hanse_realize_duration_seconds_sum"),
        [
            r#"hanse_realize_duration_seconds_sum{outcome="applied"} 2"#,
            r#"hanse_realize_duration_seconds_sum{outcome="failed"} 3"#,
        ]
    );
}

#[test]
fn two_operators_in_one_process_count_separately() {
    let (one, metrics) = registered(Census::default());
    let (other, _metrics) = registered(Census::default());
    let failover = PlacementChange {
        workload: "acme/shop/web".parse().unwrap(),
        workload_generation: Generation(1),
        member: "acme-1".parse().unwrap(),
        member_generation: Generation(1),
        share: Some([(ScaleTarget::Workload, 1)].into_iter().collect()),
        surge: None,
        reason: Reason::MemberLost {
            member: "beta-1".parse().unwrap(),
        },
    };
    metrics
        .voter
        .count(&[failover.clone(), failover.clone(), failover]);
    assert_eq!(
        samples(&one, "hanse_failovers_total"),
        ["hanse_failovers_total 3"]
    );
    assert_eq!(
        samples(&other, "hanse_failovers_total"),
        ["hanse_failovers_total 0"]
    );
}

#[test]
fn a_registry_takes_one_operator() {
    let (registry, _metrics) = registered(Census::default());
    assert!(register(&registry, Census::default).is_err());
}
