//! Step 6 of the flow: what the federation decided and what became of it, as status that people read.
//!
//! | object | says |
//! |---|---|
//! | `Federation` `hanse` | leader, quorum, voters, height and head of the ledger, this member's part |
//! | `Member` of each member | its lease and role; rows of other clusters are mirrored here |
//! | `FederatedWorkload`s of this owner | is it safe, where is it, why |
//!
//! Level-triggered: on every change of the slice, of the way to the federation or of a local object, what should stand
//! there is computed anew and written where it differs. Writes are server-side apply of the status alone, so that a field
//! no longer said goes away. While there is no way to a quorum the last known rows stay and the conditions say so.

use std::sync::Arc;

use futures::{StreamExt, stream};
use hanse_core::{
    id::{MemberName, WorkloadKey},
    slice::{OwnedWorkload, Slice},
};
use hanse_crds::{FederatedWorkload, Federation, Member, names};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    cluster::{CallError, Cluster, Local, bounded, optional},
    observe::{AllProblems, object_key},
    uplink::{Uplink, UplinkStanding},
};

mod conditions;
mod federation;
mod member;
mod number;
mod workload;

/// Status writes under way at once.
const WRITES: usize = 16;

/// The pause between two looks. Many changes within it make one write; a person does not notice it.
const PACE: Duration = Duration::from_millis(50);

/// The pause after an API server could not be reached.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Reports until `stop`.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    local: &Local,
    problems: &AllProblems,
    stop: &CancellationToken,
) {
    let reporter = Reporter {
        cluster,
        uplink,
        local,
        problems,
    };
    stop.run_until_cancelled(reporter.keep()).await;
}

struct Reporter<'a> {
    cluster: &'a Cluster,
    uplink: &'a Uplink,
    local: &'a Local,
    problems: &'a AllProblems,
}

/// How this member stands with the federation, as its status tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// Its stream to a leader stands.
    attached: bool,
    /// A leader that hears a quorum acknowledged a heartbeat within the lease.
    quorate: bool,
}

impl Standing {
    fn of(standing: &UplinkStanding) -> Self {
        Self {
            attached: standing.attached,
            quorate: standing
                .lease_ends
                .is_some_and(|ends| ends > Instant::now()),
        }
    }
}

/// Waits until the standing is another than `seen`. `false` when the uplink has ended.
async fn differs(standing: &mut watch::Receiver<UplinkStanding>, seen: Standing) -> bool {
    loop {
        let now = *standing.borrow_and_update();
        if Standing::of(&now) != seen {
            return true;
        }
        // The lease moves with every heartbeat; only its end is news.
        let over = async {
            match now.lease_ends.filter(|_| seen.quorate) {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            changed = standing.changed() => if changed.is_err() { return false },
        }
    }
}

impl Reporter<'_> {
    async fn keep(&self) {
        self.local.workloads.completed().await;
        self.local.members.completed().await;
        let (mut slices, mut standing) = (self.uplink.slice(), self.uplink.standing());
        let (mut workloads, mut members) =
            (self.local.workloads.version(), self.local.members.version());
        let mut workload_problems = self.problems.workloads.changes();
        let mut member_problems = self.problems.members.changes();
        loop {
            slices.borrow_and_update();
            workloads.borrow_and_update();
            members.borrow_and_update();
            workload_problems.borrow_and_update();
            member_problems.borrow_and_update();
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
                changed = workload_problems.changed() => changed.is_err(),
                changed = member_problems.changed() => changed.is_err(),
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
        self.workloads(&slice, standing.quorate).await
    }

    async fn federation(&self, slice: Option<&Slice>, standing: Standing) -> Result<(), CallError> {
        let api: Api<Federation> = Api::all(self.cluster.client.clone());
        let existing = match optional(api.get(names::FEDERATION_NAME)).await? {
            Some(existing) => existing,
            None => {
                let new = Federation::new(names::FEDERATION_NAME, hanse_crds::FederationSpec {});
                bounded(api.create(&PostParams::default(), &new)).await?
            }
        };
        let before = existing.status.clone().unwrap_or_default();
        let after = federation::status(
            &before,
            slice,
            &self.cluster.member,
            standing.attached,
            standing.quorate,
            &self.cluster.clock.now(),
        );
        if existing.status.as_ref() == Some(&after) {
            return Ok(());
        }
        self.write(&api, &existing, &after).await
    }

    async fn members(&self, slice: &Slice) -> Result<(), CallError> {
        let api: Api<Member> = Api::all(self.cluster.client.clone());
        for name in slice.members.keys() {
            let key = (String::new(), name.to_string());
            let own = *name == self.cluster.member;
            let existing = match self.local.members.get(&key) {
                Some(Ok(existing)) => existing,
                // The own row is its owner's to write; an unreadable one is nobody's to overwrite.
                None if !own => Arc::new(self.mirror(&api, name, slice).await?),
                Some(Err(_)) | None => continue,
            };
            if !own && existing.spec != member::spec(slice, name) {
                let patch = json!({"spec": member::spec(slice, name)});
                bounded(api.patch(
                    name.as_str(),
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                ))
                .await?;
            }
            let before = existing.status.clone().unwrap_or_default();
            let generation = existing.metadata.generation;
            let problem = self.problems.members.of(name);
            let now = self.cluster.clock.now();
            let after = member::status(&before, slice, name, generation, problem.as_ref(), &now);
            if existing.status.as_ref() != Some(&after) {
                self.write(&api, &*existing, &after).await?;
            }
        }
        Ok(())
    }

    /// The row of another cluster's member, made here because it is not.
    async fn mirror(
        &self,
        api: &Api<Member>,
        name: &MemberName,
        slice: &Slice,
    ) -> Result<Member, CallError> {
        let mut row = Member::new(name.as_str(), member::spec(slice, name));
        row.metadata = ObjectMeta {
            labels: Some([(names::MIRRORED_LABEL.to_owned(), names::TRUE.to_owned())].into()),
            ..row.metadata
        };
        match bounded(api.create(&PostParams::default(), &row)).await {
            Err(CallError::Conflict) => bounded(api.get(name.as_str())).await,
            made => made,
        }
    }

    async fn workloads(&self, slice: &Slice, quorate: bool) -> Result<(), CallError> {
        let keys: Vec<_> = self.local.workloads.all();
        let writes = stream::iter(keys).map(|(key, object)| async move {
            let Ok(object) = object else { return Ok(()) };
            let workload = WorkloadKey {
                owner: self.cluster.owner.clone(),
                namespace: match key.0.parse() {
                    Ok(namespace) => namespace,
                    Err(_) => return Ok(()),
                },
                name: match key.1.parse() {
                    Ok(name) => name,
                    Err(_) => return Ok(()),
                },
            };
            debug_assert_eq!(object_key(&workload), key);
            self.workload(
                slice,
                &workload,
                &object,
                slice.workloads.get(&workload),
                quorate,
            )
            .await
        });
        let results: Vec<Result<(), CallError>> = writes.buffer_unordered(WRITES).collect().await;
        results.into_iter().collect()
    }

    async fn workload(
        &self,
        slice: &Slice,
        key: &WorkloadKey,
        object: &FederatedWorkload,
        owned: Option<&OwnedWorkload>,
        quorate: bool,
    ) -> Result<(), CallError> {
        let before = object.status.clone().unwrap_or_default();
        let problem = self.problems.workloads.of(key);
        let question = workload::Question {
            slice,
            owned,
            problem: problem.as_ref(),
            generation: object.metadata.generation,
            quorate,
        };
        let after = workload::status(&before, &question, &self.cluster.clock.now());
        if object.status.as_ref() == Some(&after) {
            return Ok(());
        }
        let api: Api<FederatedWorkload> = Api::namespaced(
            self.cluster.client.clone(),
            &object.namespace().unwrap_or_default(),
        );
        self.write(&api, object, &after).await
    }

    /// Writes the status of `object`. Gone meanwhile is no failure.
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
        let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
        let name = object.name_any();
        match bounded(api.patch_status(&name, &parameters, &Patch::Apply(&patch))).await {
            Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                warn!(object = name, %error, "the API server refused a status");
                Ok(())
            }
        }
    }
}
