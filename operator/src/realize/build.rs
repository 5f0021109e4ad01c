//! Builds the objects of a placement for this cluster. Pure. The third of five steps.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::workload::{
    Autoscaler, Manifest, OnImmutable, ScalePath, ScaleTarget, Share, Stop,
};
use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use super::{marks::Marks, object_id::ObjectId, verify::Verified};

/// A verified placement and its objects.
pub(super) struct Built<'a> {
    pub(super) verified: Verified<'a>,
    /// In the order in which they are applied: by wave, and within a wave as the user wrote them.
    pub(super) objects: Vec<BuiltObject>,
    /// The objects that must not exist while the workload is suspended.
    pub(super) absent: Vec<ObjectId>,
    /// The objects that have done what they are for: they are not applied again, and stay if they are still there.
    pub(super) done: BTreeSet<ObjectId>,
    /// The jobs that later waves wait for and that another member runs, by wave.
    pub(super) elsewhere: BTreeMap<u8, ObjectId>,
}

/// One object as it is to be applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BuiltObject {
    /// In the workload's namespace here, also if its kind turns out to have none.
    pub(super) id: ObjectId,
    /// The version it is written in, such as `v1`.
    pub(super) version: String,
    pub(super) wave: u8,
    /// Whether later waves wait until it is ready.
    pub(super) awaited: bool,
    /// What becomes of it if it cannot be changed.
    pub(super) on_immutable: OnImmutable,
    /// Whether another workload brings it, so that it only has to exist.
    pub(super) shared: bool,
    /// Whether an autoscaler among the objects decides its replicas once it runs.
    pub(super) autoscaled: bool,
    /// Its replicas here, if it scales.
    pub(super) count: Option<Count>,
    /// How it is stopped when this member's lease ends; `None` if it may run on or runs nothing.
    pub(super) stop: Option<Stop>,
    pub(super) object: Value,
}

/// How many replicas an object has here, and where that is written in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Count {
    pub(super) path: ScalePath,
    pub(super) replicas: u32,
}

/// The manifests with this host's namespace, Hanse's marks and the replicas placed here; nothing runs if the workload is
/// suspended.
pub(super) fn build(verified: Verified<'_>) -> Built<'_> {
    let suspended = verified.spec().suspend;
    let (mut objects, mut absent, mut done) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut elsewhere = BTreeMap::new();
    for (manifest, written) in verified.manifests() {
        let id = ObjectId::of(manifest, &verified.consent().namespace);
        // A guest's namespace is the host's: Hanse makes it, and its labels are the host's terms.
        if verified.is_guest() && is_namespace_of(manifest, &verified) {
            continue;
        }
        let completed = verified.placement().completed.get(&manifest.id());
        if completed.is_some_and(|completed| *completed == written.digest()) {
            done.insert(id);
            continue;
        }
        if !verified.placement().share.runs_task(&manifest.id()) {
            if manifest.is_awaited() && id.is("batch", "Job") {
                elsewhere.insert(manifest.wave(), id);
            }
            continue;
        }
        // Every specification was checked before it was signed, so its annotations are readable.
        let stop = manifest.stop().ok().flatten();
        if suspended && stop == Some(Stop::Delete) {
            absent.push(id);
            continue;
        }
        objects.push(built_object(&verified, manifest, id, stop));
    }
    objects.sort_by_key(|built| built.wave);
    Built {
        verified,
        objects,
        absent,
        done,
        elsewhere,
    }
}

fn is_namespace_of(manifest: &Manifest, verified: &Verified<'_>) -> bool {
    manifest.id().to_string() == format!("Namespace/{}", verified.key().namespace)
}

/// `stop` is how it is stopped, which it is while its workload is suspended.
fn built_object(
    verified: &Verified<'_>,
    manifest: &Manifest,
    id: ObjectId,
    stop: Option<Stop>,
) -> BuiltObject {
    let placement = verified.placement();
    let target = ScaleTarget::Object(manifest.id());
    let suspended = verified.spec().suspend;
    let count = manifest.scale_path().map(|path| Count {
        path,
        replicas: match stop {
            Some(_) if suspended => 0,
            Some(_) | None => placement.share.of(&target),
        },
    });
    let mut object = manifest.object().clone();
    if let Some(Count { path, replicas }) = &count {
        path.set(&mut object, json!(replicas));
    }
    set_part(&mut object, verified, manifest);
    if stop == Some(Stop::Suspend) {
        let spec = entry(&mut object, "spec");
        if suspended {
            spec.insert("suspend".into(), json!(true));
        } else if verified.is_single() {
            // Written also where the user did not, so that it runs again after the end of a lease has suspended it.
            spec.entry("suspend").or_insert(json!(false));
        }
    }
    if id.is("", "Secret") {
        encode_string_data(&mut object);
    }
    if let Some(fields) = object.as_object_mut() {
        // Only the host's controllers write status.
        fields.remove("status");
    }
    if id.is("batch", "Job") || id.is("", "ReplicationController") {
        default_labels(&mut object);
    }
    mark(
        &mut object,
        &id.namespace,
        &Marks::of(verified.key(), placement.epoch),
    );
    let version = manifest.api_version.rsplit('/').next().unwrap_or_default();
    BuiltObject {
        version: version.to_owned(),
        wave: manifest.wave(),
        awaited: manifest.is_awaited(),
        on_immutable: verified.spec().on_immutable_of(manifest),
        shared: false,
        autoscaled: verified.spec().autoscaler_of(&manifest.id()).is_some(),
        count,
        stop: stop.filter(|stop| verified.is_single() && *stop != Stop::Nothing),
        object,
        id,
    }
}

/// What an autoscaler or a budget of disruptions says of the replicas that run here.
fn set_part(object: &mut Value, verified: &Verified<'_>, manifest: &Manifest) {
    let (spec, share) = (verified.spec(), &verified.placement().share);
    let autoscalers = spec.autoscalers();
    if let Some(autoscaler) = autoscalers.iter().find(|it| it.id == manifest.id()) {
        set_limits(object, share, autoscaler);
    }
    if let Some((field, pods)) = spec.disruptions_here(manifest, share) {
        entry(object, "spec").insert(field.into(), json!(pods));
    }
}

/// The limits of an autoscaler here. It has at least one replica, also where it has none to scale and is idle.
fn set_limits(object: &mut Value, share: &Share, autoscaler: &Autoscaler) {
    let least = share
        .of(&ScaleTarget::Object(autoscaler.target.clone()))
        .max(1);
    let most = share
        .of(&ScaleTarget::Limit(autoscaler.id.clone()))
        .max(least);
    let spec = entry(object, "spec");
    spec.insert("minReplicas".into(), json!(least));
    spec.insert("maxReplicas".into(), json!(most));
}

/// Gives an object without labels those of its pods. The API server does so for these kinds, but not where Hanse's own label is.
fn default_labels(object: &mut Value) {
    let template = object.pointer("/spec/template/metadata/labels");
    if let Some(labels) = template.filter(|it| it.is_object()).cloned() {
        let metadata = entry(object, "metadata");
        let own = metadata.entry("labels").or_insert(Value::Null);
        if own.as_object().is_none_or(Map::is_empty) {
            *own = labels;
        }
    }
}

fn mark(object: &mut Value, namespace: &str, marks: &Marks) {
    let metadata = entry(object, "metadata");
    metadata.insert("namespace".into(), json!(namespace));
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    for (name, value) in &marks.annotations {
        set(annotations, name, value);
    }
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    for (name, value) in &marks.labels {
        set(labels, name, value);
    }
}

/// Moves `stringData` of a Secret into `data`, as the API server does. Under server-side apply a key that left
/// `stringData` would stay in `data`, because nobody owns it there.
fn encode_string_data(object: &mut Value) {
    let Some(Value::Object(plain)) = object
        .as_object_mut()
        .and_then(|it| it.remove("stringData"))
    else {
        return;
    };
    let encoded: BTreeMap<String, Value> = plain
        .into_iter()
        .map(|(key, value)| match value.as_str() {
            Some(text) => (key, json!(ByteString(text.as_bytes().to_vec()))),
            // The API server refuses it with the reason.
            None => (key, value),
        })
        .collect();
    entry(object, "data").extend(encoded);
}

fn entry<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object[field].is_object() {
        object[field] = json!({});
    }
    // The lines above make this field an object.
    match &mut object[field] {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

fn set(map: &mut Value, name: &str, value: &str) {
    if !map.is_object() {
        *map = json!({});
    }
    map[name] = json!(value);
}

#[cfg(test)]
mod tests {
    use hanse_core::workload::{Mode, WorkloadSpec};

    use super::*;
    use crate::realize::{fixture::Case, verify::verify};

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 3}, "status": {"replicas": 9},
        })
    }

    fn built_for(case: &Case) -> Built<'_> {
        build(verify(case.dereferenced()).unwrap())
    }

    fn built(manifest: Value) -> Value {
        built_for(&Case::of(manifest)).objects.remove(0).object
    }

    fn suspended(manifest: Value) -> Case {
        Case::of(manifest).with_spec(|spec| spec.suspend = true)
    }

    #[test]
    fn a_manifest_gets_this_hosts_namespace_marks_and_replicas_and_nothing_else() {
        assert_eq!(
            built(deployment()),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {
                    "name": "web", "namespace": "acme--shop",
                    "annotations": {"hanse.dev/epoch": "12", "hanse.dev/workload": "acme/shop/web"},
                    "labels": {"app": "web", "hanse.dev/workload": "47cbdb9d23d8037d"},
                },
                "spec": {"replicas": 3},
            })
        );
    }

    #[test]
    fn a_job_without_labels_has_those_of_its_pods_as_without_hanse() {
        let labels = |own: Value| {
            let template = json!({"metadata": {"labels": {"app": "migrate"}}});
            let job = built(json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "labels": own},
                "spec": {"template": template},
            }));
            let mut labels = job["metadata"]["labels"].clone();
            labels.as_object_mut().unwrap().remove("hanse.dev/workload");
            labels
        };
        assert_eq!(labels(Value::Null), json!({"app": "migrate"}));
        assert_eq!(labels(json!({"team": "a"})), json!({"team": "a"}));
    }

    #[test]
    fn a_suspended_workload_keeps_its_objects_and_runs_nothing() {
        let manifest = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": {}});
        let spec_of =
            |manifest: Value| built_for(&suspended(manifest)).objects[0].object["spec"].clone();
        assert_eq!(spec_of(deployment())["replicas"], json!(0));
        assert_eq!(
            spec_of(manifest("batch/v1", "CronJob")),
            json!({"suspend": true})
        );
        let case = suspended(manifest("v1", "Pod"));
        let stopped = built_for(&case);
        assert_eq!(stopped.objects, []);
        let absent: Vec<_> = stopped.absent.iter().map(ToString::to_string).collect();
        assert_eq!(absent, ["Pod 'x'"]);
    }

    #[test]
    fn only_what_a_single_runs_is_stopped_when_a_lease_ends() {
        let cron_job = || json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": {}});
        let single = |manifest: Value| {
            let case = Case::of(manifest).with_spec(|spec| spec.placement.mode = Mode::Single);
            built_for(&case).objects.remove(0)
        };
        let built = single(cron_job());
        assert_eq!(built.stop, Some(Stop::Suspend));
        // Else it would stay suspended when the lease is held again.
        assert_eq!(built.object["spec"], json!({"suspend": false}));
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        assert_eq!(single(config).stop, None);
        let divided = Case::of(cron_job());
        let divided = &built_for(&divided).objects[0];
        assert_eq!((divided.stop, &divided.object["spec"]), (None, &json!({})));
    }

    #[test]
    fn what_has_completed_is_not_built_again_unless_its_manifest_changed() {
        let job =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {}});
        let mut case = Case::of(job);
        let (id, digest) = (case.spec.manifests[0].id(), case.spec.manifests[0].digest());
        case.placement.completed = [(id.clone(), digest)].into();
        let built_again = |case: &Case| {
            let built = built_for(case);
            (built.objects.len(), built.done.len())
        };
        assert_eq!(built_again(&case), (0, 1));
        case.placement.completed = [(id, hanse_core::id::Digest([0; 32]))].into();
        assert_eq!(built_again(&case), (1, 0));
    }

    #[test]
    fn a_job_that_another_member_runs_is_not_built_and_later_waves_wait_for_it_if_told() {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "migrate", "annotations": {"hanse.dev/wave": "45"}},
        });
        let mut case = Case::of(deployment()).with_spec(|spec| {
            let rules = hanse_core::workload::PlacementRules::new(Mode::Divided);
            let manifests = vec![job.clone(), deployment()];
            *spec = WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap()).unwrap();
        });
        case.grants[0].kinds = case.spec.kinds();
        let built = |case: &Case| {
            let built = built_for(case);
            let ids = built.objects.iter().map(|it| it.id.to_string());
            let elsewhere = built.elsewhere.iter();
            let elsewhere = elsewhere.map(|(wave, id)| format!("{wave} {id}"));
            (
                ids.collect::<Vec<_>>().join(", "),
                elsewhere.collect::<Vec<_>>().join(", "),
            )
        };
        let (both, one) = ("Job 'migrate', Deployment 'web'", "Deployment 'web'");
        assert_eq!(built(&case), (both.to_owned(), String::new()));
        let (id, digest) = (case.spec.manifests[0].id(), case.spec.manifests[0].digest());
        case.placement.share.set(ScaleTarget::Task(id.clone()), 0);
        assert_eq!(
            built(&case),
            (one.to_owned(), "45 Job 'migrate'".to_owned())
        );
        case.placement.completed = [(id, digest)].into();
        assert_eq!(built(&case), (one.to_owned(), String::new()));
    }

    #[test]
    fn a_budget_of_disruptions_is_about_the_replicas_here() {
        let template = json!({"metadata": {"labels": {"app": "web"}}});
        let mut web = deployment();
        web["spec"]["template"] = template;
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        });
        let mut case = Case::of(deployment()).with_spec(|spec| {
            let rules = hanse_core::workload::PlacementRules::new(Mode::Divided);
            let manifests = vec![web, budget];
            *spec = WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap()).unwrap();
        });
        case.grants[0].kinds = case.spec.kinds();
        let target = ScaleTarget::Object(case.spec.manifests[0].id());
        case.placement.share.set(target, 2);
        assert_eq!(
            built_for(&case).objects[1].object["spec"]["minAvailable"],
            json!(1)
        );
    }

    #[test]
    fn the_keys_of_string_data_become_data_so_that_a_key_taken_away_goes() {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
            "data": {"user": "YQ==", "port": "MQ=="}, "stringData": {"user": "root"},
        });
        let secret = built(secret);
        assert_eq!(
            (&secret["data"], secret.get("stringData")),
            (&json!({"user": "cm9vdA==", "port": "MQ=="}), None)
        );
    }

    #[test]
    fn objects_are_in_the_order_of_their_waves_and_a_guest_brings_no_namespace() {
        let manifest = |api_version: &str, kind: &str, name: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        let case = Case::of(deployment()).with_spec(|spec| {
            let manifests = vec![
                deployment(),
                manifest("v1", "Service", "web"),
                manifest("v1", "ConfigMap", "b"),
                manifest("v1", "Secret", "a"),
                manifest("v1", "Namespace", "shop"),
            ];
            let rules = hanse_core::workload::PlacementRules::new(Mode::Divided);
            *spec = WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap()).unwrap();
        });
        let case = Case {
            grants: vec![hanse_core::grant::Grant {
                kinds: case.spec.kinds(),
                ..case.grants[0].clone()
            }],
            ..case
        };
        let built = built_for(&case);
        let order: Vec<_> = built.objects.iter().map(|it| it.id.to_string()).collect();
        assert_eq!(
            order,
            [
                "ConfigMap 'b'",
                "Secret 'a'",
                "Service 'web'",
                "Deployment 'web'"
            ]
        );
    }
}
