//! Workloads: how a test applies and changes them, and how it reads their status and the objects that run.
//!
//! Functions whose names start with `await` wait. Those that read do it once, so they can be used inside conditions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, ensure};
use hanse_crds::{
    ConditionStatus, FederatedWorkload, FederatedWorkloadStatus, PlacementState, condition::READY,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Pod},
};
use kube::{Api, api::ListParams};
use serde_json::Value;

use super::{
    Fleet,
    federate::{SETTLES_WITHIN, answer_of},
};
use crate::{condition::await_condition, workspace};

/// Replicas by member. A member without a Deployment of the workload has no entry.
pub type Shares = BTreeMap<String, i32>;

/// A workload with one Deployment. The Deployment has the workload's name, which is also the value of its label `app`.
/// All examples have this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its owner.
    pub owner: &'static str,
    /// Its namespace in the clusters of its owner.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// The owner is empty because it is used only to find a Deployment, and this workload has none.
const PROBE: Workload = Workload {
    owner: "",
    namespace: "default",
    name: "consent-probe",
};
/// One `ConfigMap` in every member that consents.
const PROBE_YAML: &str = "
apiVersion: hanse.dev/v1alpha1
kind: FederatedWorkload
metadata: {name: consent-probe, namespace: default}
spec:
  placement: {mode: Duplicated}
  manifests: [{apiVersion: v1, kind: ConfigMap, metadata: {name: consent-probe}}]
";

impl Fleet {
    /// Applies a file of the folder `examples` in a member, as a user would.
    pub async fn apply_example(&self, member: &str, file: &str) -> Result<()> {
        let path = workspace::root().join("examples").join(file);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        self.apply_yaml(member, &text).await.map(drop)
    }

    /// Applies `hosting-policy.yaml` in every member and waits until all of these policies are in the ledger. They are
    /// when a probe workload, applied in `home`, is placed in every member. The probe is removed again.
    pub async fn await_consent_of_all(&self, home: &str) -> Result<()> {
        for member in self.members() {
            self.apply_example(member, "hosting-policy.yaml").await?;
        }
        self.apply_yaml(home, PROBE_YAML).await?;
        let all: BTreeSet<_> = self.members().map(str::to_owned).collect();
        await_condition("every member hosts a probe", SETTLES_WITHIN, async || {
            let status = self.workload_status(home, &PROBE).await?;
            let hosts: BTreeSet<_> = placed(&status).into_keys().collect();
            ensure!(
                hosts == all,
                "it is placed in {hosts:?}, and not elsewhere because of {:?}",
                status.excluded
            );
            Ok(())
        })
        .await?;
        self.delete_workload(home, &PROBE).await
    }

    /// Merges `patch` into a workload in one cluster of its owner.
    pub async fn patch_workload(
        &self,
        member: &str,
        workload: &Workload,
        patch: &Value,
    ) -> Result<()> {
        let Workload {
            namespace, name, ..
        } = *workload;
        let patch = patch.to_string();
        let arguments = [
            "patch",
            "fwl",
            name,
            "-n",
            namespace,
            "--type=merge",
            "-p",
            &patch,
        ];
        self.kubectl(member, &arguments).await.map(drop)
    }

    /// Deletes a workload in one cluster of its owner and waits until no host has any object of it.
    pub async fn delete_workload(&self, member: &str, workload: &Workload) -> Result<()> {
        let Workload {
            namespace, name, ..
        } = *workload;
        let arguments = ["delete", "fwl", name, "-n", namespace, "--timeout=90s"];
        self.kubectl(member, &arguments).await.map(drop)
    }

    /// Merges `patch` into the `Member` object of a member, in its own cluster.
    pub async fn patch_member(&self, member: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let arguments = ["patch", "mbr", member, "--type=merge", "-p", &patch];
        self.kubectl(member, &arguments).await.map(drop)
    }

    /// The object of a workload in a cluster of its owner.
    pub async fn workload(&self, member: &str, workload: &Workload) -> Result<FederatedWorkload> {
        let workloads: Api<FederatedWorkload> =
            Api::namespaced(self.client(member)?, workload.namespace);
        answer_of(member, workloads.get(workload.name)).await
    }

    /// The status of a workload in a cluster of its owner.
    pub async fn workload_status(
        &self,
        member: &str,
        workload: &Workload,
    ) -> Result<FederatedWorkloadStatus> {
        let object = self.workload(member, workload).await?;
        object
            .status
            .with_context(|| format!("{} in {member} has no status yet", workload.name))
    }

    /// The value of a JSON path in a workload.
    pub async fn field(&self, member: &str, workload: &Workload, path: &str) -> Result<String> {
        let Workload {
            namespace, name, ..
        } = *workload;
        let path = format!("jsonpath={path}");
        let arguments = ["get", "fwl", name, "-n", namespace, "-o", &path];
        self.kubectl(member, &arguments).await
    }

    /// Waits until the value of a JSON path in a workload contains `part`.
    pub async fn await_field(
        &self,
        member: &str,
        workload: &Workload,
        path: &str,
        part: &str,
    ) -> Result<()> {
        let description = format!("{path} of {} contains '{part}'", workload.name);
        await_condition(description, SETTLES_WITHIN, async || {
            let found = self.field(member, workload, path).await?;
            ensure!(found.contains(part), "it is '{found}'");
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// `spec.replicas` of a workload's Deployment in a member; `None` if there is no Deployment.
    pub async fn replicas(&self, member: &str, workload: &Workload) -> Result<Option<i32>> {
        let deployment = self.deployment(member, workload).await?;
        Ok(deployment.as_ref().map(replicas_of))
    }

    /// `spec.replicas` of a workload's Deployments in all clusters that run.
    pub async fn shares(&self, workload: &Workload) -> Result<Shares> {
        self.of_deployments(workload, replicas_of).await
    }

    /// The ready replicas of a workload's Deployments in all clusters that run.
    pub async fn ready_shares(&self, workload: &Workload) -> Result<Shares> {
        self.of_deployments(workload, ready_replicas_of).await
    }

    /// Waits until the clusters that run have exactly these [`shares`](Self::shares).
    pub async fn await_shares(
        &self,
        description: &str,
        workload: &Workload,
        expected: &[(&str, i32)],
    ) -> Result<()> {
        let expected: Shares = expected
            .iter()
            .map(|(member, replicas)| ((*member).to_owned(), *replicas))
            .collect();
        await_condition(description, SETTLES_WITHIN, async || {
            let shares = self.shares(workload).await?;
            ensure!(
                shares == expected,
                "the replicas are {shares:?} and not {expected:?}"
            );
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The [`shares`](Self::shares). An error unless they equal the placements and the condition `Ready` in `home` is
    /// `True`.
    pub async fn settled_shares(&self, home: &str, workload: &Workload) -> Result<Shares> {
        let status = self.workload_status(home, workload).await?;
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == READY)
            .with_context(|| format!("{} has no condition {READY} yet", workload.name))?;
        ensure!(
            ready.status == ConditionStatus::True,
            "it is not ready: {}: {}",
            ready.reason,
            ready.message
        );
        let placed = placed(&status);
        let shares = self.shares(workload).await?;
        ensure!(
            shares == placed,
            "the placements are {placed:?}, the clusters run {shares:?}"
        );
        Ok(shares)
    }

    /// The UIDs of a workload's pods in a member, without those that are being deleted.
    pub async fn pods(&self, member: &str, workload: &Workload) -> Result<BTreeSet<String>> {
        let namespace = self.namespace_in(member, workload.owner, workload.namespace)?;
        let pods: Api<Pod> = Api::namespaced(self.client(member)?, &namespace);
        let of_workload = ListParams::default().labels(&format!("app={}", workload.name));
        let pods = answer_of(member, pods.list(&of_workload)).await?;
        Ok(pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(|pod| pod.metadata.uid)
            .collect())
    }

    /// The Events about a workload with a given reason in a cluster of its owner. They are found by the UID of the
    /// object, as in `kubectl describe`.
    pub async fn events(
        &self,
        member: &str,
        workload: &Workload,
        reason: &str,
    ) -> Result<Vec<Event>> {
        let object = self.workload(member, workload).await?;
        let uid = object
            .metadata
            .uid
            .context("an object of an API server has a UID")?;
        let events: Api<Event> = Api::namespaced(self.client(member)?, workload.namespace);
        let about_it =
            ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
        Ok(answer_of(member, events.list(&about_it)).await?.items)
    }

    async fn of_deployments(
        &self,
        workload: &Workload,
        number: impl Fn(&Deployment) -> i32,
    ) -> Result<Shares> {
        let mut numbers = Shares::new();
        for member in self.running() {
            if let Some(deployment) = self.deployment(member, workload).await? {
                numbers.insert(member.to_owned(), number(&deployment));
            }
        }
        Ok(numbers)
    }

    async fn deployment(&self, member: &str, workload: &Workload) -> Result<Option<Deployment>> {
        let namespace = self.namespace_in(member, workload.owner, workload.namespace)?;
        let deployments: Api<Deployment> = Api::namespaced(self.client(member)?, &namespace);
        answer_of(member, deployments.get_opt(workload.name)).await
    }

    /// The members whose cluster has not been killed.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.seats
            .iter()
            .filter(|seat| seat.cluster.process_ids().next().is_some())
            .map(|seat| seat.plan.name.as_str())
    }
}

/// The replicas placed in each member, without placements that are being removed.
fn placed(status: &FederatedWorkloadStatus) -> Shares {
    status
        .placements
        .iter()
        .filter(|placement| placement.state != PlacementState::Removing)
        .map(|placement| (placement.member.clone(), placement.replicas))
        .collect()
}

fn replicas_of(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or_default()
}

fn ready_replicas_of(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default()
}
