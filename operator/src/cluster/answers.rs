//! When the local API server last answered.

use std::time::Duration;

use hanse_crds::{Federation, names};
use kube::Api;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{access::Cluster, call::bounded, error::CallError};

/// The interval of the requests: the default interval of heartbeats.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// One question that takes longer is given up and asked again, so that a single lost answer does not look like an API server
/// that is gone.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// When the local API server last answered. Clones share one value.
#[derive(Debug, Clone)]
pub struct Answers(watch::Receiver<Instant>);

impl Answers {
    /// How long ago that was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed()
    }
}

/// The sending side of [`Answers`]: records when the local API server answers.
#[derive(Debug)]
pub struct AnswersKept(watch::Sender<Instant>);

/// Both sides. The count begins now.
#[must_use]
pub fn answers() -> (AnswersKept, Answers) {
    let (kept, answers) = watch::channel(Instant::now());
    (AnswersKept(kept), Answers(answers))
}

impl AnswersKept {
    /// Reads one small object from the API server repeatedly until `stop`. A plain read goes to etcd, so an API server
    /// that has lost etcd does not count as answering. An HTTP error such as 403 is an answer.
    pub async fn keep(&self, cluster: &Cluster, stop: &CancellationToken) {
        let api: Api<Federation> = Api::all(cluster.client.clone());
        let asking = async {
            loop {
                match timeout(ANSWERS_WITHIN, bounded(api.get(names::FEDERATION_NAME))).await {
                    Err(_) | Ok(Err(CallError::Unavailable(_))) => {}
                    Ok(Ok(_) | Err(_)) => {
                        self.0.send_replace(Instant::now());
                    }
                }
                sleep(ASK_EVERY).await;
            }
        };
        stop.run_until_cancelled(asking).await;
    }
}
