//! The loop that computes the status of all objects and writes it.

use std::sync::Arc;

use futures::{StreamExt, stream};
use hanse_core::{
    id::{MemberName, WorkloadKey},
    slice::{MemberView, Slice},
};
use hanse_crds::{FederatedWorkload, Federation, HostingPolicy, Member, MemberSpec, names};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    federation,
    grants::{GuestKinds, published, uses},
    member, policy,
    refused::Refused,
    shown::{Inputs, Shown},
    standing::{Standing, differs},
    workload,
};
use crate::{
    cluster::{CallError, Cluster, Local, applying, bounded, creating, merging},
    observe::{AllProblems, Terms, hosting_policy::named_grants, member::spec_of, object_key},
    settings::AskedTimings,
    uplink::Uplink,
};

/// Concurrent status writes.
const WRITES: usize = 16;

/// The pause between two rounds. Many changes within it make one write; a person does not notice it.
const PACE: Duration = Duration::from_millis(50);

/// The pause after a failed call of the API server.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The inputs of the reporter, besides the slice.
pub struct Reported<'a> {
    /// The objects of the local API server.
    pub local: &'a Local,
    /// The problems of those objects.
    pub problems: &'a AllProblems,
    /// Whether the ledger has this cluster's grants.
    pub terms: &'a Terms,
    /// The timings in this operator's flags.
    pub asked: AskedTimings,
}

/// Reports until `stop`.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    reported: &Reported<'_>,
    stop: &CancellationToken,
) {
    let reporter = Reporter {
        cluster,
        uplink,
        local: reported.local,
        problems: reported.problems,
        terms: reported.terms,
        asked: reported.asked,
        guest_kinds: GuestKinds::default(),
        shown: Shown::default(),
        refused: Refused::default(),
    };
    stop.run_until_cancelled(reporter.keep()).await;
}

struct Reporter<'a> {
    cluster: &'a Cluster,
    uplink: &'a Uplink,
    local: &'a Local,
    problems: &'a AllProblems,
    terms: &'a Terms,
    asked: AskedTimings,
    guest_kinds: GuestKinds,
    shown: Shown,
    /// The members that the API server refuses to show.
    refused: Refused,
}

impl Reporter<'_> {
    async fn keep(&self) {
        self.local.workloads.completed().await;
        self.local.members.completed().await;
        self.local.federations.completed().await;
        let (mut slices, mut standing) = (self.uplink.slice(), self.uplink.standing());
        let (mut workloads, mut members) =
            (self.local.workloads.version(), self.local.members.version());
        let (mut policies, mut federations) = (
            self.local.policies.version(),
            self.local.federations.version(),
        );
        let mut workload_problems = self.problems.workloads.changes();
        let mut accepted = self.problems.accepted.changes();
        let mut member_problems = self.problems.members.changes();
        let mut timing_problems = self.problems.timings.changes();
        let mut publication = self.terms.publication.clone();
        let mut reports = self.uplink.report_changes();
        loop {
            slices.borrow_and_update();
            workloads.borrow_and_update();
            members.borrow_and_update();
            policies.borrow_and_update();
            federations.borrow_and_update();
            timing_problems.borrow_and_update();
            publication.borrow_and_update();
            workload_problems.borrow_and_update();
            accepted.borrow_and_update();
            member_problems.borrow_and_update();
            reports.borrow_and_update();
            let seen = Standing::of(&standing.borrow_and_update());
            let pause = match self.round(seen).await {
                Ok(()) => PACE,
                Err(error) => {
                    warn!(%error, "cannot write status, trying again");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let ended = tokio::select! {
                changed = slices.changed() => changed.is_err(),
                goes_on = differs(&mut standing, seen) => !goes_on,
                _ = workloads.changed() => false,
                _ = members.changed() => false,
                _ = policies.changed() => false,
                _ = federations.changed() => false,
                changed = timing_problems.changed() => changed.is_err(),
                changed = publication.changed() => changed.is_err(),
                changed = workload_problems.changed() => changed.is_err(),
                changed = accepted.changed() => changed.is_err(),
                changed = member_problems.changed() => changed.is_err(),
                // With a quorum they come back in the slice.
                changed = reports.changed(), if !seen.quorate => changed.is_err(),
            };
            if ended {
                return;
            }
            sleep(pause).await;
        }
    }

    async fn round(&self, standing: Standing) -> Result<(), CallError> {
        let slice = self.uplink.slice().borrow().clone();
        self.federation(slice.as_deref(), standing).await?;
        let Some(slice) = slice else { return Ok(()) };
        self.members(&slice).await?;
        self.policies(&slice).await?;
        self.workloads(&slice, standing.quorate).await
    }

    async fn federation(&self, slice: Option<&Slice>, standing: Standing) -> Result<(), CallError> {
        let api: Api<Federation> = Api::all(self.cluster.client.clone());
        let key = (String::new(), names::FEDERATION_NAME.to_owned());
        let existing = match self.local.federations.get(&key) {
            Some(Ok(existing)) => existing,
            // An unreadable object must be repaired by its owner; the operator does not overwrite it.
            Some(Err(_)) => return Ok(()),
            None => {
                let new = Federation::new(names::FEDERATION_NAME, hanse_crds::FederationSpec {});
                match bounded(api.create(&creating(), &new)).await {
                    Err(CallError::Conflict) => bounded(api.get(names::FEDERATION_NAME)).await,
                    made => made,
                }
                .map(Arc::new)?
            }
        };
        let before = existing.status.clone().unwrap_or_default();
        let question = federation::Question {
            slice,
            own: &self.cluster.member,
            standing,
            generation: existing.metadata.generation,
            asked: self.asked,
            problem: self.problems.timings.of(&()),
        };
        let after = federation::status(&before, &question, &self.cluster.clock.now());
        if existing.status.as_ref() == Some(&after) {
            return Ok(());
        }
        self.write(&api, &*existing, &after).await
    }

    async fn members(&self, slice: &Slice) -> Result<(), CallError> {
        self.refused.keep(|name| {
            let mut members = slice.members.keys();
            members.any(|member| member.as_str() == name)
        });
        for (name, row) in &slice.members {
            let shown = self.member(slice, name, row).await;
            self.refused.pass(name.as_str(), shown)?;
        }
        Ok(())
    }

    async fn member(
        &self,
        slice: &Slice,
        name: &MemberName,
        row: &MemberView,
    ) -> Result<(), CallError> {
        let api: Api<Member> = Api::all(self.cluster.client.clone());
        let own = *name == self.cluster.member;
        let spec = spec_of(&row.attributes);
        let existing = match self.local.members.get(&(String::new(), name.to_string())) {
            Some(Ok(existing)) => existing,
            None if !own => Arc::new(mirror(&api, name, spec.clone()).await?),
            // The owner of this cluster writes this member's own row. An unreadable row is not overwritten.
            Some(Err(_)) | None => return Ok(()),
        };
        if !own && existing.spec != spec {
            let patch = Patch::Merge(json!({"spec": spec}));
            bounded(api.patch(name.as_str(), &merging(), &patch)).await?;
        }
        let problem = self.problems.members.of(name);
        let question = member::Question {
            slice,
            name,
            row,
            spec: if own { &existing.spec } else { &spec },
            generation: existing.metadata.generation,
            problem: problem.as_ref(),
        };
        let before = existing.status.clone().unwrap_or_default();
        let after = member::status(&before, &question, &self.cluster.clock.now());
        if existing.status.as_ref() == Some(&after) {
            return Ok(());
        }
        self.write(&api, &*existing, &after).await
    }

    async fn policies(&self, slice: &Slice) -> Result<(), CallError> {
        let api: Api<HostingPolicy> = Api::all(self.cluster.client.clone());
        let all = named_grants(&self.local.policies);
        let mut uses = uses(&self.guest_kinds, &self.cluster.owner, slice, &all);
        for ((_, name), policy) in self.local.policies.all() {
            // A policy of a version that this operator cannot read gets no status.
            let Ok(policy) = policy else { continue };
            let before = policy.status.clone().unwrap_or_default();
            let question = policy::Question {
                generation: policy.metadata.generation,
                published: &published(&self.terms.publication.borrow(), &policy, &all),
                uses: &uses.remove(&name).unwrap_or_default(),
            };
            let after = policy::status(&before, &question, &self.cluster.clock.now());
            if policy.status.as_ref() != Some(&after) {
                self.write(&api, &*policy, &after).await?;
            }
        }
        Ok(())
    }

    async fn workloads(&self, slice: &Slice, quorate: bool) -> Result<(), CallError> {
        let objects = self.local.workloads.all();
        self.shown.forget_gone(objects.len(), |key| {
            self.local.workloads.get(&object_key(key)).is_some()
        });
        let known = objects.into_iter().filter_map(|(key, object)| {
            let workload = WorkloadKey {
                owner: self.cluster.owner.clone(),
                namespace: key.0.parse().ok()?,
                name: key.1.parse().ok()?,
            };
            let inputs = self.inputs(slice, &workload, object.ok()?, quorate);
            (!self.shown.is_of(&workload, &inputs)).then_some((workload, inputs))
        });
        let known: Vec<_> = known.collect();
        let writes = stream::iter(known);
        let writes = writes.map(|(key, inputs)| self.workload(slice, key, inputs));
        let results: Vec<Result<(), CallError>> = writes.buffer_unordered(WRITES).collect().await;
        results.into_iter().collect()
    }

    fn inputs(
        &self,
        slice: &Slice,
        key: &WorkloadKey,
        object: Arc<FederatedWorkload>,
        quorate: bool,
    ) -> Inputs {
        let owned = slice.workloads.get(key).cloned();
        let findings = owned.as_ref().map(|owned| owned.diagnosis.findings);
        let findings = findings.and_then(|number| slice.findings.get(&number).cloned());
        let reports = (!quorate).then(|| self.uplink.reports());
        Inputs {
            accepted: self.problems.accepted.of(key) == object.metadata.generation,
            problem: self.problems.workloads.of(key),
            object,
            owned,
            findings,
            quorate,
            seen_here: reports.and_then(|it| it.placements.get(key).cloned()),
        }
    }

    async fn workload(
        &self,
        slice: &Slice,
        key: WorkloadKey,
        inputs: Inputs,
    ) -> Result<(), CallError> {
        let object = inputs.object.clone();
        let before = object.status.clone().unwrap_or_default();
        let seen_here = inputs.seen_here.as_deref();
        let question = workload::Question {
            slice,
            owned: inputs.owned.as_deref(),
            problem: inputs.problem.as_ref(),
            generation: object.metadata.generation,
            accepted: inputs.accepted,
            quorate: inputs.quorate,
            seen_here: seen_here.map(|report| (&self.cluster.member, report)),
        };
        let after = workload::status(&before, &question, &self.cluster.clock.now());
        if object.status.as_ref() == Some(&after) {
            self.shown.note(&key, inputs);
            return Ok(());
        }
        let api: Api<FederatedWorkload> = Api::namespaced(
            self.cluster.client.clone(),
            &object.namespace().unwrap_or_default(),
        );
        self.write(&api, &*object, &after).await
    }

    /// Writes the status of `object`. An object that was deleted meanwhile is not an error.
    async fn write<K, S>(&self, api: &Api<K>, object: &K, status: &S) -> Result<(), CallError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize,
    {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": object.name_any()},
            "status": status,
        });
        let name = object.name_any();
        match bounded(api.patch_status(&name, &applying(), &Patch::Apply(&patch))).await {
            Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                warn!(object = name, %error, "the API server refused a status");
                Ok(())
            }
        }
    }
}

/// Creates the row of another cluster's member.
async fn mirror(
    api: &Api<Member>,
    name: &MemberName,
    spec: MemberSpec,
) -> Result<Member, CallError> {
    let mut row = Member::new(name.as_str(), spec);
    row.metadata = ObjectMeta {
        labels: Some([(names::MIRRORED_LABEL.to_owned(), names::TRUE.to_owned())].into()),
        ..row.metadata
    };
    match bounded(api.create(&creating(), &row)).await {
        Err(CallError::Conflict) => bounded(api.get(name.as_str())).await,
        made => made,
    }
}
