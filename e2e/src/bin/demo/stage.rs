//! The state of the federation at one moment, read from Kubernetes objects only.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use hanse_crds::{FederationStatus, Lease, MemberRole, PlacementState};
use hanse_e2e::{Fleet, View};
use serde::Serialize;

/// The workload of the demo.
pub(crate) const WORKLOAD: &str = "web";

/// Views of the clusters that run. The last state of a killed cluster is not used.
#[derive(Default)]
pub(crate) struct Stage {
    views: Mutex<BTreeMap<String, View>>,
}

impl Stage {
    /// Opens a view of a running cluster. It replaces an earlier one.
    pub(crate) fn enter(&self, fleet: &Fleet, member: &str) -> anyhow::Result<()> {
        let view = View::of(&fleet.client(member)?);
        self.views().insert(member.to_owned(), view);
        Ok(())
    }

    /// Closes the view of a cluster that has been killed.
    pub(crate) fn leave(&self, member: &str) {
        self.views().remove(member);
    }

    /// The current state.
    pub(crate) fn look(&self) -> Scene {
        Scene::of(&self.views())
    }

    fn views(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The federation at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Scene {
    /// The leader that most running clusters report.
    pub(crate) leader: Option<String>,
    /// From the cluster that reports the greatest height of the ledger.
    pub(crate) quorum: Option<String>,
    pub(crate) voters: usize,
    pub(crate) height: i64,
    pub(crate) members: Vec<MemberScene>,
    pub(crate) workload: Option<WorkloadScene>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MemberScene {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) place: String,
    pub(crate) lease: Option<Lease>,
    pub(crate) role: Option<MemberRole>,
    /// Its placement of the workload; `None` if it has none.
    pub(crate) placement: Option<PlacementScene>,
    /// The Deployment in its own API server; `None` if there is none or the cluster does not run.
    pub(crate) deployment: Option<DeploymentScene>,
    /// Whether its cluster runs and the view of it is complete.
    pub(crate) is_seen: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PlacementScene {
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    pub(crate) state: PlacementState,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DeploymentScene {
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
}

/// The workload in its home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct WorkloadScene {
    pub(crate) desired: i32,
    pub(crate) ready: i32,
    pub(crate) survives: Option<String>,
    pub(crate) epoch: i64,
    placements: BTreeMap<String, PlacementScene>,
}

impl Scene {
    fn of(views: &BTreeMap<String, View>) -> Self {
        let federations: Vec<_> = views
            .values()
            .filter_map(|view| view.federation()?.status.clone())
            .collect();
        let leader = most_named(&federations);
        let newest = federations
            .iter()
            .max_by_key(|seen| seen.height)
            .cloned()
            .unwrap_or_default();
        let workload = views.values().find_map(WorkloadScene::of);
        // The leader's cluster has changes first. If it does not run, any running cluster is used.
        let witness = leader
            .as_ref()
            .and_then(|leader| views.get(leader))
            .or_else(|| views.values().next());
        let mut members: Vec<_> = witness
            .map(View::members)
            .unwrap_or_default()
            .iter()
            .map(|member| MemberScene::of(member, views, workload.as_ref()))
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            leader,
            quorum: newest.quorum.map(|quorum| format!("{quorum:?}")),
            voters: newest.voters.len(),
            height: newest.height.unwrap_or_default(),
            members,
            workload,
        }
    }

    /// One member of the scene.
    pub(crate) fn member(&self, name: &str) -> Option<&MemberScene> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Sum of `spec.replicas` of the Deployments in running clusters.
    pub(crate) fn deployed(&self) -> i32 {
        self.deployments()
            .map(|deployment| deployment.replicas)
            .sum()
    }

    /// Sum of their ready replicas.
    pub(crate) fn ready(&self) -> i32 {
        self.deployments().map(|deployment| deployment.ready).sum()
    }

    fn deployments(&self) -> impl Iterator<Item = &DeploymentScene> {
        self.members
            .iter()
            .filter_map(|member| member.deployment.as_ref())
    }
}

impl MemberScene {
    fn of(
        member: &hanse_crds::Member,
        views: &BTreeMap<String, View>,
        workload: Option<&WorkloadScene>,
    ) -> Self {
        let name = member.metadata.name.clone().unwrap_or_default();
        let status = member.status.clone().unwrap_or_default();
        let place = [
            &member.spec.provider,
            &member.spec.region,
            &member.spec.jurisdiction,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("/");
        let view = views.get(&name);
        Self {
            owner: status.owner.unwrap_or_default(),
            place,
            lease: status.lease,
            role: status.role,
            placement: workload.and_then(|workload| workload.placements.get(&name).cloned()),
            deployment: view.and_then(DeploymentScene::of),
            is_seen: view.is_some_and(View::is_complete),
            name,
        }
    }

    /// Whether its Deployment has exactly the replicas of its placement.
    pub(crate) fn runs_what_it_was_given(&self) -> bool {
        let given = self.placement.as_ref().map(|placement| placement.replicas);
        let runs = self
            .deployment
            .as_ref()
            .map(|deployment| deployment.replicas);
        self.is_seen && given == runs
    }
}

impl DeploymentScene {
    fn of(view: &View) -> Option<Self> {
        let deployment = view.deployment(WORKLOAD)?;
        let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let ready = deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas);
        Some(Self {
            replicas: asked.unwrap_or_default(),
            ready: ready.unwrap_or_default(),
        })
    }
}

impl WorkloadScene {
    fn of(view: &View) -> Option<Self> {
        let status = view.workload(WORKLOAD)?.status.clone().unwrap_or_default();
        let placements = status.placements.into_iter().map(|placement| {
            let scene = PlacementScene {
                replicas: placement.replicas,
                ready: placement.ready,
                state: placement.state,
            };
            (placement.member, scene)
        });
        Some(Self {
            desired: status.desired,
            ready: status.ready,
            survives: status.survives.map(|survives| format!("{survives:?}")),
            epoch: status.epoch.unwrap_or_default(),
            placements: placements.collect(),
        })
    }
}

fn most_named(federations: &[FederationStatus]) -> Option<String> {
    let named = || federations.iter().filter_map(|seen| seen.leader.as_ref());
    named()
        .max_by_key(|leader| named().filter(|other| other == leader).count())
        .cloned()
}
