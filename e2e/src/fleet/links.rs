//! The links between operators: one proxy for each ordered pair of dialler and dialled.
//!
//! An operator advertises one address to all. The flag `--peer-via` makes each of the others dial a proxy of its own
//! instead.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result};

use super::{Seat, loopback};
use crate::{
    port::free_ports,
    proxy::{Direction, Flow, Proxy},
};

#[derive(Debug, Default)]
pub(super) struct PeerLinks {
    /// By the names of the member that dials and the one that is dialled.
    proxies: BTreeMap<(String, String), Proxy>,
}

impl PeerLinks {
    pub(super) async fn between(seats: &[Seat]) -> Result<Self> {
        let mut proxies = BTreeMap::new();
        for from in seats {
            for to in seats
                .iter()
                .filter(|to| to.plan.name != from.plan.name && !to.plan.dials_out_only)
            {
                let [port] = free_ports().await?;
                let proxy = Proxy::start(loopback(port), to.peer_address).await?;
                proxies.insert((from.plan.name.clone(), to.plan.name.clone()), proxy);
            }
        }
        Ok(Self { proxies })
    }

    pub(super) fn get(&self, from: &str, to: &str) -> Result<&Proxy> {
        let link = self.proxies.get(&(from.to_owned(), to.to_owned()));
        link.with_context(|| format!("there is no link from {from} to {to}"))
    }

    /// The proxies that a member dials, each with the name of the member behind it.
    pub(super) fn dialled_by(&self, from: &str) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.proxies
            .iter()
            .filter(move |((dialler, _), _)| dialler == from)
            .map(|((_, to), proxy)| (to.as_str(), proxy.address()))
    }

    /// `from` sends forward on the link that it dials, and backward on the link on which `to` dials it. Blocks both.
    pub(super) fn block(&self, from: &str, to: &str) -> Result<()> {
        let dialled = self
            .get(from, to)
            .map(|link| link.set(Direction::Forward, Flow::Blackhole));
        let was_dialled = self
            .get(to, from)
            .map(|link| link.set(Direction::Backward, Flow::Blackhole));
        // One of the two links is enough, because no link leads to a member that only dials out.
        dialled.or(was_dialled)
    }

    pub(super) fn heal(&self) {
        self.proxies.values().for_each(Proxy::heal);
    }
}
