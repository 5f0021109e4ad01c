//! When an object of each kind is ready, and what a placement of several objects reports.

use serde_json::json;

use super::*;

fn deployment_with(status: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status})
}

/// The health of an object of this kind in words.
fn health(kind: &str, spec: &Value, status: &Value) -> String {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let metadata = json!({"name": "x", "generation": 2});
    let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status});
    match assess(&object) {
        Health::Ready => "ready".to_owned(),
        Health::Progressing { message } => message,
        Health::Refused { message } => format!("REFUSED {message}"),
        Health::Failed { message } => format!("FAILED {message}"),
    }
}

/// Status of a kind whose controller has seen the newest change.
fn seen(mut status: Value) -> Value {
    status["observedGeneration"] = json!(2);
    status
}

fn conditions(conditions: &[(&str, &str, &str, &str)]) -> Value {
    let conditions = conditions.iter().map(|(kind, status, reason, message)| {
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    });
    json!({"conditions": conditions.collect::<Vec<_>>()})
}

/// Kind, specification, status, and the health in words.
type Row = (&'static str, Value, Value, &'static str);

fn check(rows: Vec<Row>) {
    for (kind, spec, status, expected) in rows {
        assert_eq!(
            health(kind, &spec, &status),
            expected,
            "{kind} {spec} {status}"
        );
    }
}

#[test]
fn a_deployment_is_ready_when_all_replicas_are_new_ready_and_available_and_no_old_one_is_left() {
    let three = || json!({"replicas": 3});
    let counts = |total: u32, updated: u32, ready: u32, available: u32| {
        seen(
            json!({"replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available}),
        )
    };
    let late = [(
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        "too slow",
    )];
    let quota = [("ReplicaFailure", "True", "FailedCreate", "quota")];
    let kind = "apps/v1/Deployment";
    check(vec![
        (
            kind,
            three(),
            json!({}),
            "its controller has not seen it yet",
        ),
        (
            kind,
            three(),
            json!({"observedGeneration": 1}),
            "its controller has not seen the newest change",
        ),
        (
            kind,
            three(),
            counts(3, 1, 3, 3),
            "1 of 3 replicas are updated",
        ),
        (
            kind,
            three(),
            counts(3, 3, 2, 2),
            "2 of 3 replicas are ready",
        ),
        (
            kind,
            three(),
            counts(3, 3, 3, 1),
            "1 of 3 replicas are available",
        ),
        (
            kind,
            three(),
            counts(4, 3, 3, 3),
            "1 replicas too many are still ending",
        ),
        (kind, three(), counts(3, 3, 3, 3), "ready"),
        (kind, json!({"replicas": 0}), seen(json!({})), "ready"),
        (
            kind,
            three(),
            seen(conditions(&late)),
            "FAILED exceeded its progress deadline: too slow",
        ),
        (
            kind,
            three(),
            seen(conditions(&quota)),
            "REFUSED cannot create its pods: quota",
        ),
    ]);
}

#[test]
fn a_rollout_is_over_when_its_strategy_has_nothing_left_to_replace() {
    let kind = "apps/v1/StatefulSet";
    let strategy = |strategy: Value| json!({"replicas": 3, "updateStrategy": strategy});
    let rolling = |updated: u32, current: &str| {
        seen(json!({
            "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "updatedReplicas": updated,
            "currentRevision": current, "updateRevision": "b",
        }))
    };
    let partition =
        || strategy(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}));
    check(vec![
        (
            kind,
            strategy(json!({})),
            rolling(1, "a"),
            "1 of 3 replicas are updated",
        ),
        (kind, strategy(json!({})), rolling(3, "a"), "ready"),
        // Afterwards the counter is no longer kept.
        (kind, strategy(json!({})), rolling(0, "b"), "ready"),
        (
            kind,
            partition(),
            rolling(0, "a"),
            "0 of 1 replicas are updated",
        ),
        (kind, partition(), rolling(1, "a"), "ready"),
        (
            kind,
            strategy(json!({"type": "OnDelete"})),
            rolling(0, "a"),
            "ready",
        ),
        (
            kind,
            strategy(json!({})),
            seen(json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 2})),
            "2 of 3 replicas are available",
        ),
    ]);
    let kind = "apps/v1/DaemonSet";
    let nodes = |updated: u32, available: u32| {
        seen(json!({
            "desiredNumberScheduled": 3, "updatedNumberScheduled": updated, "numberReady": 3, "numberAvailable": available,
        }))
    };
    let by_hand = || json!({"updateStrategy": {"type": "OnDelete"}});
    check(vec![
        (
            kind,
            json!({}),
            json!({}),
            "its controller has not seen it yet",
        ),
        (
            kind,
            json!({}),
            nodes(1, 3),
            "1 of 3 nodes run its newest version",
        ),
        (kind, by_hand(), nodes(1, 3), "ready"),
        (kind, json!({}), nodes(3, 2), "2 of 3 nodes run it"),
        (kind, json!({}), nodes(3, 3), "ready"),
    ]);
}

#[test]
fn a_job_is_ready_while_it_runs_and_a_pod_says_what_its_container_says() {
    let waiting = |reason: &str, message: &str| json!({"name": "c", "state": {"waiting": {"reason": reason, "message": message}}});
    let crashing = json!({
        "name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"message": "no such table"}},
    });
    let failed = [("Failed", "True", "BackoffLimitExceeded", "too often")];
    let unschedulable = [(
        "PodScheduled",
        "False",
        "Unschedulable",
        "0/3 nodes are available",
    )];
    let none = || json!({});
    check(vec![
        ("batch/v1/Job", none(), none(), "has not started"),
        ("batch/v1/Job", none(), json!({"startTime": "now"}), "ready"),
        (
            "batch/v1/Job",
            none(),
            conditions(&[("Suspended", "True", "JobSuspended", "")]),
            "ready",
        ),
        (
            "batch/v1/Job",
            none(),
            conditions(&failed),
            "FAILED failed (BackoffLimitExceeded): too often",
        ),
        ("batch/v1/CronJob", none(), none(), "ready"),
        (
            "v1/Pod",
            none(),
            json!({"phase": "Running"}),
            "is not ready",
        ),
        ("v1/Pod", none(), json!({"phase": "Succeeded"}), "ready"),
        (
            "v1/Pod",
            none(),
            json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}),
            "FAILED failed Evicted: disk",
        ),
        (
            "v1/Pod",
            none(),
            conditions(&unschedulable),
            "has no node: 0/3 nodes are available",
        ),
        (
            "v1/Pod",
            none(),
            json!({"containerStatuses": [waiting("ImagePullBackOff", "no such image")]}),
            "FAILED has container 'c' in ImagePullBackOff: no such image",
        ),
        (
            "v1/Pod",
            none(),
            json!({"containerStatuses": [crashing]}),
            "FAILED has container 'c' in CrashLoopBackOff: no such table",
        ),
        (
            "v1/Pod",
            none(),
            json!({"containerStatuses": [waiting("ContainerCreating", "")]}),
            "is not ready",
        ),
    ]);
}

#[test]
fn what_runs_nothing_is_ready_by_its_own_conditions() {
    let none = || json!({});
    let balancer = || json!({"type": "LoadBalancer"});
    let is = |kind: &str, status: &str| conditions(&[(kind, status, "Why", "words")]);
    let definition = "apiextensions.k8s.io/v1/CustomResourceDefinition";
    let budget = |healthy: u32| seen(json!({"currentHealthy": healthy, "desiredHealthy": 2}));
    check(vec![
        ("v1/ConfigMap", none(), none(), "ready"),
        (
            "v1/PersistentVolumeClaim",
            none(),
            json!({"phase": "Bound"}),
            "ready",
        ),
        (
            "v1/PersistentVolumeClaim",
            none(),
            json!({"phase": "Pending"}),
            "is not bound to a volume",
        ),
        (
            "v1/PersistentVolumeClaim",
            none(),
            json!({"phase": "Lost"}),
            "FAILED has lost its volume",
        ),
        (
            "v1/Service",
            balancer(),
            none(),
            "has no address from its load balancer yet",
        ),
        (
            "v1/Service",
            balancer(),
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
            "ready",
        ),
        (
            "policy/v1/PodDisruptionBudget",
            none(),
            budget(1),
            "1 of the 2 pods that it protects are healthy",
        ),
        ("policy/v1/PodDisruptionBudget", none(), budget(2), "ready"),
        (
            "autoscaling/v2/HorizontalPodAutoscaler",
            none(),
            is("AbleToScale", "False"),
            "cannot scale (Why): words",
        ),
        (
            "autoscaling/v2/HorizontalPodAutoscaler",
            none(),
            is("ScalingActive", "False"),
            "ready",
        ),
        ("networking.k8s.io/v1/Ingress", none(), none(), "ready"),
        (definition, none(), none(), "is not established yet"),
        (definition, none(), is("Established", "True"), "ready"),
        (
            definition,
            none(),
            is("NamesAccepted", "False"),
            "FAILED has names that are taken: words",
        ),
        (
            "apiregistration.k8s.io/v1/APIService",
            none(),
            is("Available", "False"),
            "is not available: words",
        ),
        (
            "db.example/v1/Database",
            none(),
            is("Ready", "False"),
            "is not ready (Why): words",
        ),
        (
            "db.example/v1/Database",
            none(),
            is("Stalled", "True"),
            "FAILED is stalled (Why): words",
        ),
        (
            "db.example/v1/Database",
            none(),
            is("Reconciling", "True"),
            "is reconciling (Why): words",
        ),
        (
            "db.example/v1/Database",
            none(),
            is("Ready", "True"),
            "ready",
        ),
    ]);
}

#[test]
fn what_waits_for_a_job_waits_until_it_has_succeeded() {
    let job = |status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "status": status});
    let running = job(json!({"startTime": "now"}));
    assert_eq!(
        assess_awaited(&running, &Rules::default()),
        Health::progressing("has not succeeded yet")
    );
    let mut over = job(conditions(&[("Complete", "True", "", "")]));
    over["status"]["startTime"] = json!("now");
    assert_eq!(assess_awaited(&over, &Rules::default()), Health::Ready);
    assert!(is_complete(&over) && !is_complete(&running));
}

#[test]
fn a_placement_is_as_good_as_its_worst_object() {
    let good = deployment_with(
        &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}),
    );
    let bad = deployment_with(
        &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 1, "availableReplicas": 1}),
    );
    let share = |counts: &[(&str, u32)]| {
        let counts = counts.iter();
        counts
            .map(|(target, count)| (target.parse().unwrap(), *count))
            .collect::<Share>()
    };
    let of = |counts: &[(&str, u32)], objects: &[(&str, Option<&Value>)]| {
        let objects: Vec<_> = objects
            .iter()
            .map(|(id, object)| Observed {
                id: id.parse().unwrap(),
                object: *object,
                scale: ScalePath::REPLICAS,
                scaled_by: None,
            })
            .collect();
        report(
            Epoch(7),
            Generation(5),
            &share(counts),
            &objects,
            &Rules::default(),
        )
    };
    let expected = |phase, ready, runs, message: &str| PlacementReport {
        epoch: Epoch(7),
        generation: Generation(5),
        phase,
        ready,
        runs,
        rolls_out: false,
        desired: None,
        scaled_by: None,
        message: message.into(),
    };
    let (a, b) = ("Deployment.apps/a", "Deployment.apps/b");
    assert_eq!(
        of(
            &[(a, 3)],
            &[(a, Some(&good)), ("ConfigMap/c", Some(&json!({})))]
        ),
        expected(PlacementPhase::Ready, 3, true, "")
    );
    assert_eq!(
        of(&[(a, 3), (b, 3)], &[(a, Some(&good)), (b, Some(&bad))]),
        expected(
            PlacementPhase::Applied,
            4,
            true,
            "Deployment 'b' 1 of 3 replicas are ready"
        )
    );
    assert_eq!(
        of(&[("*", 1)], &[("ConfigMap/c", None)]),
        expected(
            PlacementPhase::Applied,
            0,
            false,
            "ConfigMap 'c' is not there yet"
        )
    );
    assert_eq!(
        of(&[("*", 2)], &[("ConfigMap/c", Some(&json!({})))]),
        expected(PlacementPhase::Ready, 2, false, "")
    );
}

#[test]
fn a_custom_object_is_counted_where_it_has_its_replicas_and_ready_as_a_whole_unless_it_counts_them()
{
    let report_of = |status: Value| {
        let mut status = status;
        let object = json!({
            "apiVersion": "db.example/v1", "kind": "Database", "metadata": {"generation": 1},
            "spec": {"instances": 5}, "status": status.take(),
        });
        let counts = [("Database.db.example/main".parse().unwrap(), 3)];
        let share: Share = counts.into_iter().collect();
        let object = Observed {
            id: "Database.db.example/main".parse().unwrap(),
            object: Some(&object),
            scale: ".spec.instances".parse().unwrap(),
            scaled_by: Some("kube-controller-manager"),
        };
        let report = report(
            Epoch(7),
            Generation(5),
            &share,
            &[object],
            &Rules::default(),
        );
        (report.ready, report.desired)
    };
    let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
    assert_eq!(report_of(ready("True")), (5, Some(5)));
    assert_eq!(report_of(ready("False")), (0, Some(5)));
    assert_eq!(report_of(json!({"readyReplicas": 2})), (2, Some(5)));
}

#[test]
fn where_another_controller_decides_its_count_is_the_one_that_counts() {
    let scaled = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 5},
        "status": {"observedGeneration": 2, "replicas": 5, "updatedReplicas": 5, "readyReplicas": 4, "availableReplicas": 4},
    });
    let share: Share = [("Deployment.apps/web".parse().unwrap(), 2)]
        .into_iter()
        .collect();
    let object = Observed {
        id: "Deployment.apps/web".parse().unwrap(),
        object: Some(&scaled),
        scale: ScalePath::REPLICAS,
        scaled_by: Some("kube-controller-manager"),
    };
    let report = report(
        Epoch(7),
        Generation(5),
        &share,
        &[object],
        &Rules::default(),
    );
    assert_eq!(
        (report.ready, report.desired, report.scaled_by.as_deref()),
        (4, Some(5), Some("kube-controller-manager"))
    );
}

#[test]
fn what_has_pods_or_may_have_them_runs_and_what_only_exists_does_not() {
    let runs = |kind: &str, status: Value| {
        let (api_version, kind) = kind.rsplit_once('/').unwrap();
        kinds::runs(&json!({"apiVersion": api_version, "kind": kind, "status": status}))
    };
    let started = json!({"startTime": "2026-11-25T19:16:09Z"});
    let over = json!({
        "startTime": "2026-11-25T19:16:09Z", "conditions": [{"type": "Complete", "status": "True"}],
    });
    let cases = [
        (
            "apps/v1/StatefulSet",
            json!({"replicas": 1, "readyReplicas": 0}),
            true,
        ),
        ("apps/v1/StatefulSet", json!({"replicas": 0}), false),
        (
            "apps/v1/DaemonSet",
            json!({"currentNumberScheduled": 2}),
            true,
        ),
        ("apps/v1/DaemonSet", json!({}), false),
        ("batch/v1/Job", json!({}), false),
        ("batch/v1/Job", started, true),
        ("batch/v1/Job", over, false),
        ("batch/v1/CronJob", json!({}), true),
        ("v1/Pod", json!({"phase": "Pending"}), true),
        ("v1/Pod", json!({"phase": "Succeeded"}), false),
        ("v1/Service", json!({}), false),
        ("networking.k8s.io/v1/Ingress", json!({}), false),
        ("db.example/v1/Database", json!({}), true),
    ];
    for (kind, status, expected) in cases {
        assert_eq!(runs(kind, status.clone()), expected, "{kind} {status}");
    }
}

#[test]
fn a_rollout_goes_on_while_replicas_are_of_an_older_version() {
    let rolls_out = |kind: &str, spec: Value, status: Value| {
        kinds::rolls_out(
            &json!({"apiVersion": "apps/v1", "kind": kind, "spec": spec, "status": status}),
        )
    };
    let three = || json!({"replicas": 3});
    let updated = |count: u32| json!({"replicas": 3, "updatedReplicas": count, "readyReplicas": 3});
    assert!(rolls_out("Deployment", three(), updated(2)));
    assert!(!rolls_out("Deployment", three(), updated(3)));
    let anew = json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2});
    assert!(!rolls_out("Deployment", three(), anew));
    let revisions = |update: &str| json!({"currentRevision": "a", "updateRevision": update, "updatedReplicas": 1});
    assert!(rolls_out("StatefulSet", three(), revisions("b")));
    assert!(!rolls_out("StatefulSet", three(), revisions("a")));
    assert!(!rolls_out("ReplicaSet", three(), updated(0)));
}
