//! When the local API server last answered.

use std::time::Duration;

use hanse_crds::{Federation, names};
use kube::Api;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    access::Cluster,
    call::{CallError, bounded},
};

/// How often it is asked: as often as a member says that it is alive by default.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// When the local API server last answered. Clones are the same.
#[derive(Debug, Clone)]
pub struct Answers(watch::Receiver<Instant>);

impl Answers {
    /// How long ago that was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed()
    }
}

/// When the local API server last answered, as far as whoever holds this has noticed.
#[derive(Debug)]
pub struct AnswersKept(watch::Sender<Instant>);

/// Both sides. The count begins now.
#[must_use]
pub fn answers() -> (AnswersKept, Answers) {
    let (kept, answers) = watch::channel(Instant::now());
    (AnswersKept(kept), Answers(answers))
}

impl AnswersKept {
    /// Asks the API server for one small object, again and again until `stop`. A plain read goes to its database, so an API
    /// server that has lost that one does not count as answering; a refusal is an answer.
    pub async fn keep(&self, cluster: &Cluster, stop: &CancellationToken) {
        let api: Api<Federation> = Api::all(cluster.client.clone());
        let asking = async {
            loop {
                match bounded(api.get(names::FEDERATION_NAME)).await {
                    Err(CallError::Unavailable(_)) => {}
                    Ok(_) | Err(_) => {
                        self.0.send_replace(Instant::now());
                    }
                }
                sleep(ASK_EVERY).await;
            }
        };
        stop.run_until_cancelled(asking).await;
    }
}
