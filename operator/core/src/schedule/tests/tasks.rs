//! What runs and cannot be divided, beside replicas that are.

use super::*;
use crate::workload::ManifestId;

const JOB: &str = "Job.batch/migrate";

fn web_and_job(members: &[&str]) -> Federation {
    let mut federation = Federation::of(members);
    for name in members {
        let job = GroupKind {
            group: "batch".to_owned(),
            kind: "Job".to_owned(),
        };
        federation.change(name, |row| {
            row.grants[0].kinds.insert(job);
        });
    }
    let manifest = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    let web = manifest("apps/v1", "Deployment", "web");
    let job = manifest("batch/v1", "Job", "migrate");
    let rules = PlacementRules {
        replicas: Some(6),
        ..PlacementRules::new(Mode::Divided)
    };
    federation.put_objects(vec![job, web], rules);
    federation.step();
    federation
}

impl Federation {
    /// The member that runs the job, with what the others know of it.
    fn job_runs_in(&self) -> Vec<String> {
        let rows = self.state.placements.rows(&WEB.parse().unwrap());
        let id: ManifestId = JOB.parse().unwrap();
        let runs = rows.iter().filter(|(_, row)| row.share.runs_task(&id));
        runs.map(|(name, _)| name.to_string()).collect()
    }

    fn put_replicas(&mut self, replicas: u32) {
        let row = self
            .state
            .workloads
            .get_mut(&WEB.parse::<WorkloadKey>().unwrap())
            .unwrap();
        Arc::make_mut(&mut row.spec).placement.replicas = Some(replicas);
    }

    fn complete_job(&mut self) {
        self.complete(&WEB.parse().unwrap(), JOB);
    }
}

#[test]
fn a_job_beside_divided_replicas_is_run_by_one_member_and_stays_there() {
    let mut federation = web_and_job(&["acme-1", "beta-1", "gamma-1"]);
    assert_eq!(federation.job_runs_in(), ["acme-1"]);
    federation.lose("acme-1").step();
    assert_eq!(federation.job_runs_in(), ["beta-1"]);
    // It is back, and with a part again.
    federation.change("acme-1", |row| row.lease = Lease::Held { epoch: Epoch(99) });
    federation.put_replicas(9);
    federation.step();
    assert_eq!(federation.job_runs_in(), ["beta-1"]);
    assert_eq!(federation.step(), "");
}

#[test]
fn at_zero_the_job_stays_where_it_is() {
    let mut federation = web_and_job(&["acme-1", "beta-1"]);
    let row = federation
        .state
        .workloads
        .get_mut(&WEB.parse::<WorkloadKey>().unwrap());
    Arc::make_mut(&mut row.unwrap().spec).placement.replicas = Some(0);
    federation.step();
    assert_eq!(federation.job_runs_in(), ["acme-1"]);
}

#[test]
fn nothing_runs_in_addition_before_the_job_has_succeeded_and_the_job_never_does() {
    let mut federation = web_and_job(&["acme-1", "beta-1", "gamma-1"]);
    federation.silent = BTreeSet::from(["acme-1".parse().unwrap()]);
    assert_eq!(federation.step(), "");
    federation.complete_job();
    let why = "acme-1 is silent";
    assert_eq!(
        federation.step(),
        format!("beta-1 3, 1 more ({why}); gamma-1 3, 1 more ({why})")
    );
    assert_eq!(federation.job_runs_in(), ["acme-1"]);
    // It is lost: the ledger remembers that the job has succeeded, whoever has it now.
    federation.silent.clear();
    federation.lose("acme-1").step();
    assert_eq!(federation.job_runs_in(), ["beta-1"]);
}

#[test]
fn a_drained_member_gives_its_job_away_with_the_rest() {
    let mut federation = web_and_job(&["acme-1", "beta-1"]);
    federation.complete_job();
    let drained = "acme-1 is drained";
    let begun = format!("beta-1 6, 3 more ({drained})");
    assert_eq!(
        federation.schedule("acme-1", Scheduling::Drained).step(),
        begun
    );
    assert_eq!(federation.job_runs_in(), ["acme-1"]);
    federation.come(&WEB.parse().unwrap(), "beta-1", PlacementPhase::Ready);
    federation.step();
    assert_eq!(federation.job_runs_in(), ["beta-1"]);
}
