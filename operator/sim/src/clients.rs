//! What the owner of a simulated member asks for: to put, change and remove workloads, to let others run theirs here, and to
//! cordon and drain the member. Some workloads are put into the ledger, where every command and its answer is known; the others,
//! and all the rest, are written into the API server, as with kubectl.

use std::time::Duration;

use hanse_core::{
    command::Command,
    id::{Generation, WorkloadKey},
    workload::{Mode, PlacementRules, WorkloadSpec},
};
use hanse_crds::{
    FederatedWorkload, Grant, GrantedKind, HostingPolicy, HostingPolicySpec, Member, PodSecurity,
    Scheduling,
};
use hanse_operator::uplink::Uplink;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{member::SimulatedMember, seeded::Seeded};

/// The grace period of every pod.
pub const GRACE_MS: u64 = 1_000;

/// The namespace of all workloads.
const NAMESPACE: &str = "shop";

/// The jurisdictions of members, and what workloads are limited to.
pub const JURISDICTIONS: [&str; 3] = ["DE", "FR", "US"];

/// Asks the ledger until the simulation is to come to rest, as owners do in other clusters.
pub async fn run(member: &SimulatedMember, uplink: &Uplink) {
    let random = &member.requests;
    let longest = if member.is_quiet { 120_000 } else { 1_500 };
    while member.scene.pause(random.millis(50, longest)).await {
        let command = next(member, uplink, random);
        member.ask(uplink, command).await;
    }
}

fn next(member: &SimulatedMember, uplink: &Uplink, random: &Seeded) -> Command {
    let key = key_of(&member.owner, random);
    if mode_of(&key) != Mode::Single && random.chance(10) {
        let seen = generation(uplink, &key);
        return Command::RemoveWorkload {
            key,
            seen,
            orphan: false,
        };
    }
    // Now and then an edit of something that was changed meanwhile, which is refused.
    let base = if random.chance(10) {
        Generation(random.between(0, 50))
    } else {
        generation(uplink, &key)
    };
    let spec = spec_of(&key, random);
    Command::PutWorkload { key, base, spec }
}

fn generation(uplink: &Uplink, key: &WorkloadKey) -> Generation {
    let slice = uplink.slice().borrow().clone();
    let row = slice.and_then(|slice| slice.workloads.get(key).cloned());
    row.map_or(Generation(0), |row| row.generation)
}

/// A workload that owners put into the ledger. It has one mode for life, by its name.
fn key_of(owner: &str, random: &Seeded) -> WorkloadKey {
    let name = random.pick(&["single-a", "single-b", "divided", "duplicated"]);
    format!("{owner}/{NAMESPACE}/{name}")
        .parse()
        .expect("a key of a simulated workload")
}

/// The mode of a workload.
#[must_use]
pub fn mode_of(key: &WorkloadKey) -> Mode {
    mode_named(key.name.as_str())
}

/// The mode of the workload of this name.
fn mode_named(name: &str) -> Mode {
    match name.split('-').next() {
        Some("divided") => Mode::Divided,
        Some("duplicated") => Mode::Duplicated,
        _ => Mode::Single,
    }
}

fn spec_of(key: &WorkloadKey, random: &Seeded) -> WorkloadSpec {
    let mode = mode_of(key);
    let rules = PlacementRules {
        replicas: replicas(mode, random),
        domicile: domicile(random).map(str::to_owned).into_iter().collect(),
        ..PlacementRules::new(mode)
    };
    let manifest = manifest(key.name.as_str(), random);
    WorkloadSpec::new(vec![manifest], rules, &key.namespace).expect("a valid specification")
}

/// A `Single` has the one replica of its manifest.
fn replicas(mode: Mode, random: &Seeded) -> Option<u32> {
    let replicas = (mode != Mode::Single).then(|| random.between(0, 9));
    replicas.and_then(|replicas| u32::try_from(replicas).ok())
}

/// Half of the time a workload may be anywhere.
fn domicile(random: &Seeded) -> Option<&'static str> {
    match random.between(0, 4) {
        0 => Some("EU"),
        1 => Some(*random.pick(&JURISDICTIONS)),
        _ => None,
    }
}

fn manifest(name: &str, random: &Seeded) -> Value {
    // What tells one edit from the next.
    let marker = random.between(0, u64::MAX).to_string();
    let pod = json!({"terminationGracePeriodSeconds": GRACE_MS / 1_000});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": {"example.com/edit": marker}},
        "spec": {"replicas": 1, "template": {"spec": pod}},
    })
}

/// Writes into the API server until the simulation is to come to rest; then the member takes part again, so that everything
/// can be placed.
pub async fn run_kubectl(member: &SimulatedMember) {
    let kubectl = Kubectl::new(member);
    let policies: Api<HostingPolicy> = Api::all(kubectl.client.clone());
    insist(
        async || match policies.create(&PostParams::default(), &anyone()).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            written => written.map(drop),
        },
    )
    .await;
    let random = &member.orders;
    let longest = if member.is_quiet { 120_000 } else { 10_000 };
    while member.scene.pause(random.millis(500, longest)).await {
        // A request that is refused is not repeated.
        let _ = kubectl.write_something(random).await;
    }
    insist(async || kubectl.schedule(Scheduling::Enabled).await).await;
}

/// What the owner of a member writes into its API server.
struct Kubectl {
    client: Client,
    member: String,
    as_person: PatchParams,
}

impl Kubectl {
    fn new(member: &SimulatedMember) -> Self {
        Self {
            client: member.api.client(),
            member: member.name.clone(),
            as_person: PatchParams {
                field_manager: Some("kubectl-edit".to_owned()),
                ..PatchParams::default()
            },
        }
    }

    async fn write_something(&self, random: &Seeded) -> kube::Result<()> {
        let scheduling = [
            Scheduling::Enabled,
            Scheduling::Cordoned,
            Scheduling::Drained,
        ];
        let name = random.pick(&["single-k", "divided-k", "duplicated-k"]);
        match random.between(0, 10) {
            0..=2 => self.schedule(*random.pick(&scheduling)).await,
            3..=4 if mode_named(name) != Mode::Single => self.delete(name).await,
            _ => self.put(name, random).await,
        }
    }

    async fn schedule(&self, scheduling: Scheduling) -> kube::Result<()> {
        let members: Api<Member> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"scheduling": scheduling}}));
        let written = members.patch(&self.member, &self.as_person, &patch).await;
        written.map(drop)
    }

    fn workloads(&self) -> Api<FederatedWorkload> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn delete(&self, name: &str) -> kube::Result<()> {
        let workloads = self.workloads();
        workloads
            .delete(name, &DeleteParams::default())
            .await
            .map(drop)
    }

    /// Changes a workload, or makes it where it does not exist yet.
    async fn put(&self, name: &str, random: &Seeded) -> kube::Result<()> {
        let mode = mode_named(name);
        let domicile: Vec<_> = domicile(random).into_iter().collect();
        let placement =
            json!({"mode": mode, "replicas": replicas(mode, random), "domicile": domicile});
        let spec = json!({"manifests": [manifest(name, random)], "placement": placement});
        let patch = Patch::Merge(json!({"spec": spec}));
        let workloads = self.workloads();
        match workloads.patch(name, &self.as_person, &patch).await {
            Err(kube::Error::Api(status)) if status.reason == "NotFound" => {
                let spec = serde_json::from_value(spec).map_err(kube::Error::SerdeError)?;
                let made = FederatedWorkload::new(name, spec);
                let made = workloads.create(&PostParams::default(), &made).await;
                made.map(drop)
            }
            written => written.map(drop),
        }
    }
}

/// Tries until the API server has done it.
async fn insist(request: impl AsyncFn() -> kube::Result<()>) {
    while request().await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Lets everyone run Deployments.
fn anyone() -> HostingPolicy {
    let deployment = GrantedKind {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
    };
    let grant = Grant {
        name: "anyone".to_owned(),
        owner: "*".to_owned(),
        namespaces: ["*".to_owned()].into(),
        kinds: vec![deployment],
        namespace: None,
        pod_security: PodSecurity::Restricted,
    };
    let grants = vec![grant];
    HostingPolicy::new("anyone", HostingPolicySpec { grants })
}
