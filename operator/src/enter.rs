//! How a cluster becomes a member: it founds a federation, joins one with an invitation, or is one already.
//!
//! The result is stored in the data directory ([`Membership`]). From then on the flags for founding and joining are
//! ignored.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use hanse_core::{
    command::{Command, Newcomer, SignedCommand, admission_message},
    id::{FederationId, PublicKey},
    state::Outcome,
    timings::Timings,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::Status;
use tracing::{info, warn};

use crate::{
    identity::Membership,
    invitation::Invitation,
    ops::readiness::Readiness,
    peer::{
        Credentials, Peer, Peers,
        proto::federation::{JoinRequest, JoinResponse, federation_client::FederationClient},
        redirect::named_by,
    },
    settings::{Entry, Settings},
    uplink::{Uplink, voters_of},
};

/// How long one voter may take to answer a newcomer: a write to the ledger, possibly through a relay.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// The pause before the voters of an invitation are called again.
const JOIN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The membership of this cluster. Calls the voters of an invitation until one answers, and publishes in `readiness`
/// what it waits for. A rejection is an error, because only a person can resolve it.
pub async fn enter(
    settings: &Settings,
    credentials: &Credentials,
    peers: &Peers,
    readiness: &watch::Sender<Readiness>,
    federation: impl FnOnce() -> FederationId,
) -> anyhow::Result<Membership> {
    if let Some(membership) = Membership::read(&settings.data_dir)? {
        check_same(settings, &membership)?;
        return Ok(membership);
    }
    let membership = match &settings.entry {
        Entry::Found => found(settings, federation())?,
        Entry::Join(invitation) => {
            join(settings, credentials, peers, invitation, readiness).await?
        }
        Entry::Resume => bail!(
            "the data directory {} holds no member; use --found to found a federation or --invitation to join one",
            settings.data_dir.display()
        ),
    };
    membership.write(&settings.data_dir)?;
    Ok(membership)
}

fn check_same(settings: &Settings, membership: &Membership) -> anyhow::Result<()> {
    if membership.name == settings.name && membership.owner == settings.owner {
        return Ok(());
    }
    bail!(
        "the data directory {} holds member '{}' of owner '{}', not '{}' of '{}'; correct --name and --owner, or use an empty directory",
        settings.data_dir.display(),
        membership.name,
        membership.owner,
        settings.name,
        settings.owner
    )
}

fn found(settings: &Settings, federation: FederationId) -> anyhow::Result<Membership> {
    info!(%federation, "founding a federation");
    Ok(Membership {
        federation,
        name: settings.name.clone(),
        owner: settings.owner.clone(),
        founding: true,
        timings: settings.timings.to_found()?,
        voters: BTreeSet::new(),
    })
}

async fn join(
    settings: &Settings,
    credentials: &Credentials,
    peers: &Peers,
    invitation: &Invitation,
    readiness: &watch::Sender<Readiness>,
) -> anyhow::Result<Membership> {
    let newcomer = Newcomer {
        name: settings.name.clone(),
        owner: settings.owner.clone(),
        key: credentials.public(),
    };
    let invited = &invitation.key;
    let proof = invited.sign(&admission_message(&invitation.federation, &newcomer));
    let command = Command::Admit {
        invitation: invited.public(),
        newcomer,
        proof,
    };
    let signed = SignedCommand::sign(&invitation.federation, &credentials.key, 1, &command);
    info!(federation = %invitation.federation, "asking to join");
    let voters = loop {
        if let Some(voters) = ask_all(peers, invitation, &signed, readiness).await? {
            break voters;
        }
        sleep(JOIN_AGAIN_AFTER).await;
    };
    info!(federation = %invitation.federation, "joined");
    Ok(Membership {
        federation: invitation.federation,
        name: settings.name.clone(),
        owner: settings.owner.clone(),
        founding: false,
        timings: Timings::default(),
        voters: voters.into_iter().collect(),
    })
}

/// Calls the invitation's voters in turn, then the voters that their refusals named: those of an old invitation may no longer
/// vote. `None` if none of them could decide.
async fn ask_all(
    peers: &Peers,
    invitation: &Invitation,
    signed: &SignedCommand,
    readiness: &watch::Sender<Readiness>,
) -> anyhow::Result<Option<Vec<Peer>>> {
    let mut others: Vec<Peer> = Vec::new();
    let mut asked = 0;
    while let Some(voter) = invitation.voters.iter().chain(&others).nth(asked) {
        asked += 1;
        match ask(peers, voter, signed).await {
            Ok(response) => return accepted(&response, invitation).map(Some),
            Err(error) => {
                warn!(address = voter.address, %error, "this voter could not decide; trying the next");
                readiness.send_replace(Readiness::waiting_for(format!(
                    "a voter to admit this member; {} failed: {error:#}",
                    voter.address
                )));
                // Only the invitation's own voters may name others, so that the list ends.
                if asked <= invitation.voters.len()
                    && let Some(refusal) = error.downcast_ref::<Status>()
                {
                    others.extend(named_by(refusal));
                }
            }
        }
    }
    Ok(None)
}

async fn ask(peers: &Peers, voter: &Peer, signed: &SignedCommand) -> anyhow::Result<JoinResponse> {
    let request = JoinRequest {
        command: serde_json::to_vec(signed)?,
    };
    let mut client = FederationClient::new(peers.channel(voter));
    let answer = timeout(JOIN_WITHIN, client.join(request))
        .await
        .context("no answer in time")?;
    Ok(answer?.into_inner())
}

fn accepted(response: &JoinResponse, invitation: &Invitation) -> anyhow::Result<Vec<Peer>> {
    match serde_json::from_slice(&response.outcome)
        .context("the federation's answer is not readable")?
    {
        Outcome::Rejected { rejection } => {
            bail!("the federation rejected this member: {rejection}")
        }
        Outcome::Accepted { .. } => {}
    }
    let voters: Vec<Peer> = response
        .voters
        .iter()
        .filter_map(|peer| peer.clone().try_into().ok())
        .collect();
    Ok(if voters.is_empty() {
        invitation.voters.clone()
    } else {
        voters
    })
}

/// Keeps the voters and the timings in the data directory up to date, so that a restarted operator finds voters whose
/// addresses have changed. Logs once when this operator's flags differ from the federation's timings. Ends only with
/// the uplink.
pub async fn remember(settings: &Settings, own: &PublicKey, uplink: &Uplink) -> anyhow::Result<()> {
    let mut slices = uplink.slice();
    let (mut warned, mut failed) = (None, false);
    while slices.changed().await.is_ok() {
        let Some(slice) = slices.borrow_and_update().clone() else {
            continue;
        };
        let differences = settings.timings.differences(slice.federation.timings);
        if let Some(differences) = differences
            .as_ref()
            .filter(|it| Some(*it) != warned.as_ref())
        {
            warn!(
                differences,
                "this operator's flags differ from the federation's timings, which are used"
            );
        }
        warned = differences;
        let Some(before) = Membership::read(&settings.data_dir)? else {
            continue;
        };
        let voters: BTreeSet<Peer> = voters_of(&slice, own).into_iter().collect();
        let mut after = Membership {
            timings: slice.federation.timings,
            ..before.clone()
        };
        if !voters.is_empty() {
            after.voters = voters;
        }
        if after != before {
            let written = after.write(&settings.data_dir);
            if let Err(error) = &written
                && !failed
            {
                warn!(%error, "cannot store the voters of today; those stored before are asked after a restart");
            }
            failed = written.is_err();
        }
    }
    Ok(())
}
