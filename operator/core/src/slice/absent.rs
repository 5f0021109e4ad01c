//! Pods that a host should run and could not make.

use super::{AssignedPlacement, PlacementPhase, PlacementReport};
use crate::{command::Command, workload::Demands};

impl AssignedPlacement {
    /// Its pods that are not there although it is applied, by what they ask for, as its host reports: a quota is used up, or a policy
    /// forbids them. They need room once they are made, so they wait like pods that wait for a node. Goes by the specification as it is
    /// written, and does not verify it.
    #[must_use]
    pub fn absent_pods(&self, report: &PlacementReport) -> Demands {
        let is_stuck = matches!(
            report.phase,
            PlacementPhase::Refused | PlacementPhase::Failed
        );
        if !is_stuck || report.epoch != self.epoch {
            return Demands::new();
        }
        let Ok(Command::PutWorkload { spec, .. }) = self.proof.read() else {
            return Demands::new();
        };
        let mut ready = report.ready;
        let pods = spec.pods().added(None, &self.share).into_iter();
        let absent = pods.map(|(pod, count)| {
            let there = count.min(ready);
            ready -= there;
            (pod, count - there)
        });
        absent.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde_json::json;

    use super::*;
    use crate::{
        command::SignedCommand,
        id::{Epoch, FederationId, Generation, PrivateKey},
        workload::{Mode, PlacementRules, WorkloadSpec},
    };

    #[test]
    fn what_a_host_could_not_make_is_absent_and_what_is_on_its_way_is_not() {
        let containers = json!([{"resources": {"requests": {"cpu": 2}}}]);
        let template = json!({"spec": {"containers": containers}});
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 5, "template": template},
        });
        let rules = PlacementRules::new(Mode::Divided);
        let spec = WorkloadSpec::new(vec![web], rules, &"shop".parse().unwrap()).unwrap();
        let share = spec.counts();
        let command = Command::PutWorkload {
            key: "acme/shop/web".parse().unwrap(),
            base: Generation(0),
            spec,
        };
        let key = PrivateKey::from_seed(&[1; 32]);
        let placement = AssignedPlacement {
            share,
            epoch: Epoch(7),
            generation: Generation(3),
            proof: Arc::new(SignedCommand::sign(
                &FederationId([0; 16]),
                &key,
                1,
                &command,
            )),
            home: "acme-1".parse().unwrap(),
            completed: BTreeMap::new(),
        };
        let absent = |phase, epoch, ready| {
            let report = PlacementReport {
                epoch: Epoch(epoch),
                generation: Generation(3),
                phase,
                ready,
                runs: true,
                rolls_out: false,
                desired: None,
                scaled_by: None,
                message: String::new(),
            };
            let absent = placement.absent_pods(&report).into_iter();
            let words = absent.map(|(pod, count)| format!("{count} × {}", pod.resources));
            words.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(absent(PlacementPhase::Refused, 7, 1), "4 × cpu 2");
        assert_eq!(absent(PlacementPhase::Failed, 7, 0), "5 × cpu 2");
        assert_eq!(absent(PlacementPhase::Failed, 7, 5), "");
        assert_eq!(absent(PlacementPhase::Refused, 6, 0), "");
        assert_eq!(absent(PlacementPhase::Applied, 7, 0), "");
    }
}
