//! Stops `Single` workloads while this member's lease is over, because another member may start them then.
//!
//! It needs the inventories and this cluster's API server, and nothing else: no slice, no specification, no round. So
//! nothing that is wrong with a workload, and no earlier call of a round, holds it up, and a process that was started
//! inside a partition stops what an earlier one left running. What runs again although it was stopped is stopped again.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};
use hanse_core::{
    mutation::{Mutation, is_on},
    workload::{ScalePath, Stop},
};
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::{host::Host, inventory::Inventory, object_id::ObjectId};
use crate::cluster::CallError;

/// How soon an object is stopped again that could not be stopped, or runs again.
const AGAIN: Duration = Duration::from_millis(500);

/// The longest that one object may take before all are looked at again.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

/// Objects stopped at once: enough to hide the latency of an API server.
const AT_ONCE: usize = 64;

/// An object to be stopped.
struct Running {
    id: ObjectId,
    version: String,
    how: Stop,
    /// Where it has its replicas, if it scales.
    scale: ScalePath,
}

impl Host {
    /// Keeps `Single` workloads stopped while this member's lease is over. Runs until it is dropped.
    pub(super) async fn keep_stopped(&self) {
        // What was stopped since the lease ended, and has not been seen to run since.
        let mut stopped = BTreeSet::new();
        let mut failed = BTreeSet::new();
        loop {
            if self.holds_lease() {
                stopped.clear();
                failed.clear();
                self.lease_ends().await;
                continue;
            }
            let running = self.running(&stopped);
            let stopping = running.into_iter().map(|object| self.stop(object));
            let mut stopping = stream::iter(stopping).buffer_unordered(AT_ONCE);
            while let Some((id, result)) = stopping.next().await {
                match result {
                    Ok(()) => {
                        if stopped.insert(id.clone()) {
                            info!(object = %id, namespace = id.namespace, "stopped: this member's lease is over");
                        }
                    }
                    Err(error) => {
                        stopped.remove(&id);
                        if failed.insert(id.clone()) {
                            warn!(object = %id, namespace = id.namespace, %error, "could not stop it although this member's lease is over; trying again");
                        }
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Waits until this member's lease may be over.
    async fn lease_ends(&self) {
        let ends = self.uplink.standing().borrow().lease_ends;
        if let Some(ends) = ends {
            sleep_until(ends).await;
        }
    }

    /// What is not known to be stopped.
    fn running(&self, stopped: &BTreeSet<ObjectId>) -> Vec<Running> {
        let inventories = self.inventories.lock();
        let objects = inventories.values().flat_map(Inventory::to_stop);
        let objects = objects.filter(|_| !is_on(Mutation::StopSingles));
        let running = objects.filter(|(id, entry, how)| match self.live.get(id) {
            Some(live) => !is_stopped(&live, *how, &entry.scale) && !self.live.has_completed(id),
            None => !self.live.is_gone(id) && !stopped.contains(*id),
        });
        running
            .map(|(id, entry, how)| Running {
                id: id.clone(),
                version: entry.version.clone(),
                how,
                scale: entry.scale.clone(),
            })
            .collect()
    }

    async fn stop(&self, object: Running) -> (ObjectId, Result<(), CallError>) {
        let result = timeout(STOPS_WITHIN, self.try_stop(&object)).await;
        let late = || {
            let within = STOPS_WITHIN.as_secs();
            Err(CallError::Unavailable(format!(
                "no answer within {within} s"
            )))
        };
        (object.id, result.unwrap_or_else(|_| late()))
    }

    async fn try_stop(&self, object: &Running) -> Result<(), CallError> {
        let Running {
            id,
            version,
            how,
            scale,
        } = object;
        match how {
            Stop::Scale => self.objects.scale(id, version, scale, 0).await,
            Stop::Suspend => {
                self.objects.suspend(id, version).await?;
                self.end_runs(id, version).await
            }
            Stop::Delete => match self.objects.get(id, version).await? {
                Some(found) => self.delete(id, version, &found).await,
                None => Ok(()),
            },
            Stop::Nothing => Ok(()),
        }
    }

    /// Deletes the Jobs that a `CronJob` has started: they run on when it is suspended.
    async fn end_runs(&self, id: &ObjectId, version: &str) -> Result<(), CallError> {
        if !id.is("batch", "CronJob") {
            return Ok(());
        }
        let Some(found) = self.objects.get(id, version).await? else {
            return Ok(());
        };
        for name in active(&found.data) {
            let job = ObjectId {
                kind: "Job".to_owned(),
                name: name.to_owned(),
                ..id.clone()
            };
            if let Some(found) = self.objects.get(&job, version).await? {
                self.delete(&job, version, &found).await?;
            }
        }
        Ok(())
    }

    async fn delete(
        &self,
        id: &ObjectId,
        version: &str,
        found: &DynamicObject,
    ) -> Result<(), CallError> {
        match found.metadata.deletion_timestamp {
            Some(_) => Ok(()),
            None => self.objects.delete(id, version, found).await,
        }
    }
}

/// Whether an object runs nothing any more, or is about to.
fn is_stopped(live: &Value, how: Stop, scale: &ScalePath) -> bool {
    match how {
        Stop::Scale => scale.of(live).is_some_and(|count| *count == 0),
        Stop::Suspend => live["spec"]["suspend"] == true && active(live).next().is_none(),
        Stop::Delete => live["metadata"]["deletionTimestamp"].is_string(),
        Stop::Nothing => true,
    }
}

/// The names of the Jobs that a `CronJob` has running.
fn active(object: &Value) -> impl Iterator<Item = &str> {
    let jobs = object["status"]["active"].as_array();
    jobs.into_iter()
        .flatten()
        .filter_map(|job| job["name"].as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_stopped(live: &Value, how: Stop) -> bool {
        super::is_stopped(live, how, &ScalePath::REPLICAS)
    }

    #[test]
    fn an_object_is_stopped_when_it_runs_nothing_any_more() {
        let instances = ".spec.instances".parse().unwrap();
        let database = json!({"spec": {"replicas": 0, "instances": 1}});
        assert!(!super::is_stopped(&database, Stop::Scale, &instances));
        let deployment = |replicas: u32| json!({"spec": {"replicas": replicas}});
        assert!(is_stopped(&deployment(0), Stop::Scale));
        assert!(!is_stopped(&deployment(1), Stop::Scale));
        // Without a count it has one.
        assert!(!is_stopped(&json!({"spec": {}}), Stop::Scale));
        assert!(!is_stopped(&json!({"spec": {}}), Stop::Suspend));
        assert!(is_stopped(
            &json!({"spec": {"suspend": true}}),
            Stop::Suspend
        ));
        let runs = json!({"spec": {"suspend": true}, "status": {"active": [{"name": "report-1"}]}});
        assert!(!is_stopped(&runs, Stop::Suspend));
        // A Job counts its pods there.
        let job = json!({"spec": {"suspend": true}, "status": {"active": 1}});
        assert!(is_stopped(&job, Stop::Suspend));
        assert!(!is_stopped(&json!({"metadata": {}}), Stop::Delete));
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(is_stopped(&going, Stop::Delete));
    }
}
