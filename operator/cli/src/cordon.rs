//! `kubectl hanse cordon` and `uncordon`: whether this cluster's member takes placements. The object says so; the operator tells
//! the federation.

use std::time::Duration;

use clap::Args;
use hanse_crds::{Condition, ConditionStatus, Member, Scheduling, condition::SYNCED};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    failure::{Asked, Failure},
    federation::{self, MEMBERS},
    output::Streams,
    parsers::{dns_label, duration},
    prose::clean,
};

/// Take nothing new in this cluster; what runs there stays.
#[derive(Debug, Args)]
pub(crate) struct Cordon {
    #[command(flatten)]
    own: Own,
}

/// Take placements in this cluster again. What left a drained member moves back after `failover.failback.after` of its workload.
#[derive(Debug, Args)]
pub(crate) struct Uncordon {
    #[command(flatten)]
    own: Own,
}

#[derive(Debug, Args)]
struct Own {
    /// Name of this cluster's member.
    #[arg(value_parser = dns_label)]
    member: String,
    /// How long to wait for the federation to know it.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

pub(crate) async fn cordon(
    client: Client,
    Cordon { own }: &Cordon,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    set(&client, &own.member, Scheduling::Cordoned, own.timeout).await?;
    let member = &own.member;
    streams.answer_line(&format!(
        "member {member} is cordoned: it keeps what it runs and takes nothing new"
    ))
}

pub(crate) async fn uncordon(
    client: Client,
    Uncordon { own }: &Uncordon,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    set(&client, &own.member, Scheduling::Enabled, own.timeout).await?;
    let member = &own.member;
    streams.answer_line(&format!("member {member} takes placements"))
}

/// Writes it into this cluster's `Member`, and waits until the federation has taken it over.
pub(crate) async fn set(
    client: &Client,
    name: &str,
    scheduling: Scheduling,
    limit: Duration,
) -> Result<(), Failure> {
    let api: Api<Member> = Api::all(client.clone());
    let member = federation::member(client, name).await?;
    if !federation::is_own(&member) {
        return Err(Failure::OtherMember {
            member: name.to_owned(),
        });
    }
    let patch = Patch::Merge(json!({"spec": {"scheduling": scheduling}}));
    let parameters = PatchParams::default();
    let patched = api.patch(name, &parameters, &patch);
    let patched = federation::answer(Asked::of("patch", MEMBERS), patched).await?;
    agreement(&api, &patched, limit).await
}

/// Waits until the federation has the description in `patched`, or a later one.
async fn agreement(api: &Api<Member>, patched: &Member, limit: Duration) -> Result<(), Failure> {
    let name = patched.name_any();
    let mut objection = None;
    let agreed = |member: Option<Member>| {
        let synced = synced(member.as_ref()?, patched.metadata.generation)?;
        objection = (synced.status == ConditionStatus::False).then(|| clean(&synced.message));
        (synced.status == ConditionStatus::True).then_some(())
    };
    let watching = federation::watch(api, &name, Asked::of("watch", MEMBERS), agreed);
    match timeout(limit, watching).await {
        Ok(watched) => watched,
        Err(_) => {
            let reported = objection.map(|words| format!("The operator reports: {words}\n"));
            Err(Failure::TimedOut {
                what: format!("the federation did not take over the description of {name}"),
                after: limit,
                hint: format!(
                    "{}It stays in the Member and is taken over as soon as the operator reaches a quorum: kubectl hanse status",
                    reported.unwrap_or_default()
                ),
            })
        }
    }
}

/// Whether the ledger has the object of this generation, once the operator has said so.
fn synced(member: &Member, generation: Option<i64>) -> Option<&Condition> {
    let status = member.status.as_ref()?;
    let mut conditions = status.conditions.iter();
    conditions.find(|it| it.type_ == SYNCED && it.observed_generation >= generation)
}
