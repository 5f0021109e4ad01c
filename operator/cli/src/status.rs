//! `kubectl hanse status`: is it safe, where is it, and why.

use hanse_crds::{FederatedWorkload, Federation, Member};
use k8s_openapi::jiff::Timestamp;
use kube::Client;

use crate::{arguments::Format, failure::Failure, federation, output::Streams};

mod report;
mod screen;

use report::Report;

/// Reads the objects, judges them and writes the answer.
pub(crate) async fn run(
    client: Client,
    namespace: Option<&str>,
    format: Format,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let (federation, members, workloads) = futures::try_join!(
        federation::federation(&client),
        federation::members(&client),
        federation::workloads(&client, namespace),
    )?;
    let report = Report::of(Objects {
        federation,
        members,
        workloads,
    });
    streams.answer(&report, format, |report, paint| {
        screen::render(report, Timestamp::now(), paint)
    })
}

/// What the report is made from.
struct Objects {
    federation: Federation,
    members: Vec<Member>,
    workloads: Vec<FederatedWorkload>,
}
