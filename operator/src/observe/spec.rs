//! A specification as a user writes it, and as the ledger has it.

use hanse_core::{
    domain::FailureDomain,
    id::Namespace,
    selector::Toleration,
    workload::{
        Adopt, Conflicts, Failover, Mode, OnImmutable, Override, PlacementRules, Scales, SpecError,
        SurgeWhen, VolumePolicy, Volumes, WorkloadSpec, check_overrides,
    },
};
use hanse_crds::{
    FailbackRules, FailoverRules, FederatedWorkloadSpec, Placement, PlacementMode, Requirements,
    ScaledObject, UpdateRules,
};

use super::{
    expressions::{expression, written_expression},
    member::{effect_of, written_effect},
    same,
};

/// The specification of an object, in the ledger's types.
pub(crate) fn spec_of(
    spec: &FederatedWorkloadSpec,
    namespace: &Namespace,
) -> Result<WorkloadSpec, SpecError> {
    let rules = rules_of(&spec.placement)?;
    let checked = WorkloadSpec::new(spec.manifests.clone(), rules, namespace)?;
    let incomplete = |number, message| SpecError::Override { number, message };
    let overrides: Vec<Override> = same::read(&spec.overrides, incomplete)?;
    check_overrides(&checked.manifests, &overrides)?;
    let incomplete = |number, message| SpecError::Health { number, message };
    let spec = WorkloadSpec {
        health: same::read(&spec.health, incomplete)?,
        overrides,
        suspend: spec.suspend,
        failover: failover(&spec.failover),
        volumes: Volumes {
            on_move: volume_policy(spec.volumes.on_move),
            on_delete: volume_policy(spec.volumes.on_delete),
        },
        adopt: match spec.adopt {
            hanse_crds::Adopt::Never => Adopt::Never,
            hanse_crds::Adopt::IfUnchanged => Adopt::IfUnchanged,
            hanse_crds::Adopt::Always => Adopt::Always,
        },
        conflicts: match spec.conflicts {
            hanse_crds::Conflicts::Refuse => Conflicts::Refuse,
            hanse_crds::Conflicts::Force => Conflicts::Force,
        },
        on_immutable: match spec.update.on_immutable {
            hanse_crds::OnImmutable::Fail => OnImmutable::Fail,
            hanse_crds::OnImmutable::Recreate => OnImmutable::Recreate,
        },
        ..checked
    };
    spec.check_health()?;
    spec.check_on_immutable()?;
    Ok(spec)
}

/// Where and how many, in the ledger's types.
fn rules_of(placement: &Placement) -> Result<PlacementRules, SpecError> {
    let Placement {
        mode,
        replicas,
        scales,
        require: Requirements {
            match_labels,
            match_expressions,
        },
        tolerations,
        survive,
        spread,
        domicile,
    } = placement;
    Ok(PlacementRules {
        mode: mode_of(*mode),
        // The schema excludes values below 0.
        replicas: replicas.and_then(|replicas| u32::try_from(replicas).ok()),
        scales: scales.as_ref().map(|ScaledObject { kind, name }| Scales {
            kind: kind.clone(),
            name: name.clone(),
        }),
        match_labels: match_labels.clone(),
        match_expressions: match_expressions.iter().map(expression).collect(),
        tolerations: tolerations.iter().map(toleration).collect(),
        survive: survive.map(domain_of),
        spread: same::read(spread, |number, message| SpecError::Spread {
            number,
            message,
        })?,
        domicile: domicile.clone(),
    })
}

/// A specification of the ledger, in the object's types.
pub(crate) fn object_of(spec: &WorkloadSpec) -> FederatedWorkloadSpec {
    let manifests = spec.manifests.iter();
    FederatedWorkloadSpec {
        manifests: manifests
            .map(|manifest| manifest.object().clone())
            .collect(),
        placement: written_placement(&spec.placement),
        overrides: same::write(&spec.overrides),
        suspend: spec.suspend,
        failover: written_failover(spec.failover),
        volumes: hanse_crds::Volumes {
            on_move: written_volume_policy(spec.volumes.on_move),
            on_delete: written_volume_policy(spec.volumes.on_delete),
        },
        adopt: match spec.adopt {
            Adopt::Never => hanse_crds::Adopt::Never,
            Adopt::IfUnchanged => hanse_crds::Adopt::IfUnchanged,
            Adopt::Always => hanse_crds::Adopt::Always,
        },
        conflicts: match spec.conflicts {
            Conflicts::Refuse => hanse_crds::Conflicts::Refuse,
            Conflicts::Force => hanse_crds::Conflicts::Force,
        },
        update: UpdateRules {
            on_immutable: match spec.on_immutable {
                OnImmutable::Fail => hanse_crds::OnImmutable::Fail,
                OnImmutable::Recreate => hanse_crds::OnImmutable::Recreate,
            },
        },
        health: same::write(&spec.health),
    }
}

/// Where and how many, in the object's types.
fn written_placement(rules: &PlacementRules) -> Placement {
    let PlacementRules {
        mode,
        replicas,
        scales,
        match_labels,
        match_expressions,
        tolerations,
        survive,
        spread,
        domicile,
    } = rules;
    Placement {
        mode: written_mode(*mode),
        replicas: replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX)),
        scales: scales.as_ref().map(|Scales { kind, name }| ScaledObject {
            kind: kind.clone(),
            name: name.clone(),
        }),
        require: Requirements {
            match_labels: match_labels.clone(),
            match_expressions: match_expressions.iter().map(written_expression).collect(),
        },
        tolerations: tolerations.iter().map(written_toleration).collect(),
        survive: survive.map(written_domain),
        spread: same::write(spread),
        domicile: domicile.clone(),
    }
}

fn mode_of(mode: PlacementMode) -> Mode {
    match mode {
        PlacementMode::Divided => Mode::Divided,
        PlacementMode::Duplicated => Mode::Duplicated,
        PlacementMode::Single => Mode::Single,
    }
}

fn written_mode(mode: Mode) -> PlacementMode {
    match mode {
        Mode::Divided => PlacementMode::Divided,
        Mode::Duplicated => PlacementMode::Duplicated,
        Mode::Single => PlacementMode::Single,
    }
}

pub(super) fn domain_of(kind: hanse_crds::FailureDomain) -> FailureDomain {
    match kind {
        hanse_crds::FailureDomain::Cluster => FailureDomain::Cluster,
        hanse_crds::FailureDomain::Region => FailureDomain::Region,
        hanse_crds::FailureDomain::Provider => FailureDomain::Provider,
        hanse_crds::FailureDomain::Owner => FailureDomain::Owner,
    }
}

fn written_domain(kind: FailureDomain) -> hanse_crds::FailureDomain {
    match kind {
        FailureDomain::Cluster => hanse_crds::FailureDomain::Cluster,
        FailureDomain::Region => hanse_crds::FailureDomain::Region,
        FailureDomain::Provider => hanse_crds::FailureDomain::Provider,
        FailureDomain::Owner => hanse_crds::FailureDomain::Owner,
    }
}

fn toleration(written: &hanse_crds::Toleration) -> Toleration {
    Toleration {
        key: written.key.clone(),
        value: written.value.clone(),
        effect: written.effect.map(effect_of),
    }
}

fn written_toleration(toleration: &Toleration) -> hanse_crds::Toleration {
    hanse_crds::Toleration {
        key: toleration.key.clone(),
        value: toleration.value.clone(),
        effect: toleration.effect.map(written_effect),
    }
}

/// The schema excludes whatever does not parse.
fn failover(rules: &FailoverRules) -> Failover {
    let seconds = |text: &Option<String>| {
        let duration = humantime::parse_duration(text.as_deref()?).ok()?;
        u32::try_from(duration.as_secs()).ok()
    };
    let unless_never = |text: &Option<String>| match text.as_deref() {
        Some(hanse_crds::NEVER) => Some(0),
        _ => seconds(text),
    };
    let usual = Failover::default();
    Failover {
        unplaceable_after_seconds: seconds(&rules.unplaceable_after)
            .unwrap_or(usual.unplaceable_after_seconds),
        unhealthy_after_seconds: unless_never(&rules.unhealthy_after),
        failback_after_seconds: unless_never(&rules.failback.after),
        surge: match rules.surge {
            hanse_crds::SurgeWhen::MemberSilent => SurgeWhen::MemberSilent,
            hanse_crds::SurgeWhen::Never => SurgeWhen::Never,
        },
    }
}

fn written_failover(failover: Failover) -> FailoverRules {
    let or_never = |seconds| match seconds {
        0 => hanse_crds::NEVER.to_owned(),
        seconds => format!("{seconds}s"),
    };
    let seconds = failover.unplaceable_after_seconds;
    let is_usual = seconds == Failover::default().unplaceable_after_seconds;
    FailoverRules {
        unplaceable_after: (!is_usual).then(|| format!("{seconds}s")),
        unhealthy_after: failover.unhealthy_after_seconds.map(or_never),
        failback: FailbackRules {
            after: failover.failback_after_seconds.map(or_never),
        },
        surge: match failover.surge {
            SurgeWhen::MemberSilent => hanse_crds::SurgeWhen::MemberSilent,
            SurgeWhen::Never => hanse_crds::SurgeWhen::Never,
        },
    }
}

fn volume_policy(policy: hanse_crds::VolumePolicy) -> VolumePolicy {
    match policy {
        hanse_crds::VolumePolicy::Retain => VolumePolicy::Retain,
        hanse_crds::VolumePolicy::Delete => VolumePolicy::Delete,
    }
}

fn written_volume_policy(policy: VolumePolicy) -> hanse_crds::VolumePolicy {
    match policy {
        VolumePolicy::Retain => hanse_crds::VolumePolicy::Retain,
        VolumePolicy::Delete => hanse_crds::VolumePolicy::Delete,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hanse_core::{
        selector::{Effect, Expression, Operator},
        workload::Spread,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn a_specification_of_the_ledger_written_and_read_is_unchanged() {
        let pod = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        let shop = "shop".parse().unwrap();
        let usual =
            WorkloadSpec::new(vec![pod], PlacementRules::new(Mode::Divided), &shop).unwrap();
        let unusual = WorkloadSpec {
            suspend: true,
            failover: Failover {
                unplaceable_after_seconds: 90,
                unhealthy_after_seconds: Some(0),
                failback_after_seconds: Some(300),
                surge: SurgeWhen::Never,
            },
            volumes: Volumes {
                on_move: VolumePolicy::Delete,
                on_delete: VolumePolicy::Retain,
            },
            adopt: Adopt::IfUnchanged,
            conflicts: Conflicts::Force,
            on_immutable: OnImmutable::Recreate,
            ..usual.clone()
        };
        let mut choosy = usual.clone();
        let values = ["gold".to_owned()];
        let operators = [
            Operator::In,
            Operator::NotIn,
            Operator::Exists,
            Operator::DoesNotExist,
        ];
        choosy.placement.match_expressions = operators
            .map(|operator| Expression {
                key: format!("{operator:?}"),
                operator,
                values: match operator {
                    Operator::In | Operator::NotIn => values.clone().into(),
                    Operator::Exists | Operator::DoesNotExist => BTreeSet::new(),
                },
            })
            .into();
        choosy.placement.spread = vec![
            Spread {
                by: Some(FailureDomain::Provider),
                min: Some(2),
                max: Some(3),
                max_skew: Some(1),
                label: None,
            },
            Spread {
                label: Some("rack".to_owned()),
                max: Some(4),
                ..Spread::default()
            },
        ];
        choosy.placement.tolerations = [None, Some(Effect::NoSchedule), Some(Effect::NoExecute)]
            .map(|effect| Toleration {
                key: effect.map(|_| "gpu".to_owned()),
                value: None,
                effect,
            })
            .into();
        let surviving = FailureDomain::ALL.map(|kind| {
            let mut spec = usual.clone();
            spec.placement.survive = Some(kind);
            spec
        });
        let value = json!({"a": [1, "$(member:hanse.dev/region)", false, null]});
        let overrides = json!([
            {
                "members": {"matchLabels": {"tier": "gold"}, "matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                "manifests": {"kind": "ConfigMap", "name": "c"}, "imageRegistry": "mirror.example/hub", "merge": {"data": {"b": "2"}},
            },
            {"patch": [
                {"op": "add", "path": "/data", "value": value}, {"op": "replace", "path": "/data", "value": value},
                {"op": "test", "path": "/data", "value": value}, {"op": "move", "from": "/data", "path": "/other"},
                {"op": "remove", "path": "/other"},
            ]},
        ]);
        let changing = WorkloadSpec {
            overrides: serde_json::from_value::<Vec<Override>>(overrides).unwrap(),
            ..usual.clone()
        };
        let health = json!([
            {"kind": "ConfigMap", "ready": "object.data.ready == 'yes'"},
            {"kind": "ConfigMap", "name": "c", "ready": "true", "failed": "false", "message": "object.data.why"},
        ]);
        let judging = WorkloadSpec {
            health: serde_json::from_value(health).unwrap(),
            ..usual.clone()
        };
        for spec in [usual, unusual, choosy, changing, judging]
            .into_iter()
            .chain(surviving)
        {
            assert_eq!(spec_of(&object_of(&spec), &shop).unwrap(), spec);
        }
    }

    #[test]
    fn an_hour_is_an_hour_and_no_duration_is_a_minute() {
        let seconds = |text: Option<&str>| {
            let unplaceable_after = text.map(ToOwned::to_owned);
            let rules = FailoverRules {
                unplaceable_after,
                ..FailoverRules::default()
            };
            failover(&rules).unplaceable_after_seconds
        };
        assert_eq!(
            [Some("1h"), Some("2m"), Some("3s"), None].map(seconds),
            [3_600, 120, 3, 60]
        );
        let unhealthy = |text: Option<&str>| {
            let unhealthy_after = text.map(ToOwned::to_owned);
            let rules = FailoverRules {
                unhealthy_after,
                ..FailoverRules::default()
            };
            assert_eq!(written_failover(failover(&rules)), rules);
            failover(&rules).unhealthy_after_seconds
        };
        assert_eq!(
            [Some("90s"), Some("Never"), None].map(unhealthy),
            [Some(90), Some(0), None]
        );
    }
}
