//! The first entries of a federation, written by the member that founds it.

use anyhow::Context;
use hanse_core::{
    command::{Command, Newcomer, SignedCommand},
    id::NodeId,
    state::FOUNDER_NODE,
};
use tracing::{error, info};

use super::seat::SeatKeeper;
use crate::{identity::Membership, replicate::ledger::Ledger};

impl SeatKeeper {
    /// Writes the first entries of a federation. A step may have been done before a crash, so each step checks first.
    pub(super) async fn found(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let address = self.settings.peer_address.clone().unwrap_or_default();
        if ledger.is_pristine().await? {
            ledger
                .found(&address, self.credentials.public())
                .await
                .context("failed to found the federation")?;
        }
        let mut leadership = ledger.leadership();
        leadership
            .wait_for(|now| now.is_self)
            .await
            .context("the ledger closed")?;
        while ledger.read(|state| state.federation.is_none()) {
            let founder = Newcomer {
                name: self.settings.name.clone(),
                owner: self.settings.owner.clone(),
                key: self.credentials.public(),
            };
            let federation = self.membership.federation;
            let command = Command::Found {
                federation,
                founder,
                timings: self.membership.timings,
                level: self.environment.build.level,
            };
            let signed = SignedCommand::sign(&federation, &self.credentials.key, 1, &command);
            if let Err(reason) = ledger.propose(signed).await {
                error!(%reason, "failed to found the federation; trying again");
            }
        }
        let founded = Membership {
            founding: false,
            ..self.membership.clone()
        };
        // Until this is stored the founding has not ended, also for this process.
        founded.write(&self.settings.data_dir)?;
        self.membership = founded;
        info!(federation = %self.membership.federation, "founded the federation");
        Ok(())
    }

    /// Proposes the address of a founder: its seat exists before its address is in the ledger.
    pub(super) async fn propose_address(&self, node: NodeId, ledger: &Ledger) {
        let Some(address) = self
            .settings
            .peer_address
            .clone()
            .filter(|_| node == FOUNDER_NODE)
        else {
            return;
        };
        let key = self.credentials.public();
        let told = ledger.read(|state| {
            let seat = state
                .member_of(&key)
                .and_then(|(_, member)| member.seat.as_ref());
            seat.is_none_or(|seat| !seat.address.is_empty())
        });
        if !told {
            // If the operator stops meanwhile, the next start checks again.
            let level = self.environment.build.level;
            let _ = self
                .uplink
                .propose(Command::Volunteer { address, level })
                .await;
        }
    }
}
