//! Makes clusters a federation as their owners would: one member founds it and invites the others, which join.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use hanse_crds::{Federation, FederationStatus, Lease, Member, Quorum, names};
use kube::Api;
use tokio::{process::Command, time::timeout};

use super::Fleet;
use crate::{
    condition::await_condition,
    operator::{Entry, Operator, OperatorFlags},
};

/// Ten times what joining takes, because another fleet may run on the machine.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_mins(1);
/// A healthy API server on the loopback answers in milliseconds. A paused one does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The most voters a federation has.
const MAX_VOTERS: usize = 7;

impl Fleet {
    /// Makes all members one federation, founded by the first, and waits for its quorum.
    pub async fn federate(&mut self) -> Result<()> {
        let members: Vec<_> = self.members().map(str::to_owned).collect();
        let (founder, others) = members.split_first().context("a fleet has a member")?;
        self.found(founder).await?;
        for (earlier, member) in others.iter().enumerate() {
            let owner = self.plan(member)?.owner.clone();
            // Only a member of the same owner may invite a further cluster of it. Any member may invite a new owner.
            let mut inside = members.iter().take(earlier + 1);
            let of_owner =
                inside.find(|name| self.plan(name).is_ok_and(|plan| plan.owner == owner));
            let sponsor = of_owner.unwrap_or(founder).clone();
            let invitation = self.invite(&sponsor, &owner, &[]).await?;
            self.join(member, &invitation).await?;
        }
        self.await_quorum().await
    }

    /// Starts the operator of a member as the founder of a federation.
    pub async fn found(&mut self, member: &str) -> Result<()> {
        self.start_operator(member, &Entry::Found).await?;
        self.await_admission(member, member).await
    }

    /// Starts the operator of a member with an invitation and waits until it is admitted.
    pub async fn join(&mut self, member: &str, invitation: &str) -> Result<()> {
        self.start_operator(member, &Entry::Join(invitation.to_owned()))
            .await?;
        self.await_admission(member, member).await
    }

    /// Issues an invitation for an owner in a member, with `kubectl hanse invite` and further flags of it.
    pub async fn invite(&self, sponsor: &str, owner: &str, flags: &[&str]) -> Result<String> {
        let output = self
            .cli(sponsor, &["invite", "--owner", owner])?
            .args(flags)
            .output()
            .await?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "kubectl hanse invite ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let invitation = stdout
            .split_whitespace()
            .find(|word| word.starts_with("hanse1."));
        invitation
            .map(str::to_owned)
            .with_context(|| format!("no invitation in {stdout:?}"))
    }

    /// A command that runs the kubectl plugin in a member.
    pub fn cli(&self, member: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.binaries.cli());
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig(member)?)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts the operator of a member. Before that, installs the definitions and the namespace, as the chart would.
    pub async fn start_operator(&mut self, member: &str, entry: &Entry) -> Result<()> {
        self.install_definitions(member).await?;
        let flags = self.operator_flags(member)?;
        let (binary, testbed) = (self.binaries.operator().to_owned(), self.testbed.clone());
        let seat = self.seat_mut(member)?;
        let log = seat.cluster.logs().join("hanse-operator.log");
        seat.operator = Some(Operator::start(&binary, &testbed, flags, entry, log)?);
        Ok(())
    }

    async fn install_definitions(&self, member: &str) -> Result<()> {
        let output = Command::new(self.binaries.operator())
            .arg("crds")
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "hanse-operator crds ended with {}",
            output.status
        );
        let definitions = String::from_utf8(output.stdout).context("definitions are text")?;
        self.apply_yaml(member, &definitions).await?;
        self.kubectl(
            member,
            &[
                "wait",
                "--for=condition=Established",
                "crd",
                "--all",
                "--timeout=30s",
            ],
        )
        .await?;
        let namespace = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {}}}}}",
            names::DEFAULT_NAMESPACE
        );
        self.apply_yaml(member, &namespace).await.map(drop)
    }

    fn operator_flags(&self, member: &str) -> Result<OperatorFlags> {
        let seat = self.seat(member)?;
        let kubeconfig = match &seat.api_link {
            Some(link) => seat.cluster.kubeconfig_through(link.address().port())?,
            None => seat.cluster.kubeconfig(),
        };
        let peer_via = self
            .links
            .dialled_by(member)
            .map(|(to, proxy)| Ok((self.seat(to)?.peer_address, proxy)))
            .collect::<Result<_>>()?;
        Ok(OperatorFlags {
            name: seat.plan.name.clone(),
            owner: seat.plan.owner.clone(),
            data_dir: seat.directory.join("hanse"),
            kubeconfig,
            peer_listen: seat.peer_address,
            peer_address: (!seat.plan.dials_out_only).then_some(seat.peer_address),
            peer_via,
            admin_listen: seat.admin_address,
            others: seat.plan.flags(),
        })
    }

    /// Waits until the cluster of `witness` shows `member` with a held lease.
    pub async fn await_admission(&mut self, witness: &str, member: &str) -> Result<()> {
        let members: Api<Member> = Api::all(self.client(witness)?);
        let operator = self.operator(member)?;
        let admitted = await_condition(
            format!("{member} is admitted"),
            SETTLES_WITHIN,
            async || {
                if let Err(ended) = operator.ensure_running() {
                    return Ok(Err(ended));
                }
                operator.ready().await?;
                let row = members.get(member).await?;
                let lease = row.status.and_then(|status| status.lease);
                ensure!(lease == Some(Lease::Held), "its lease is {lease:?}");
                Ok(Ok(()))
            },
        );
        Ok(admitted.await??)
    }

    /// Waits until every member reports the same leader and the expected number of voters.
    pub async fn await_quorum(&self) -> Result<()> {
        let expected = self.expected_voters();
        await_condition(
            format!("{expected} voters agree on a leader"),
            SETTLES_WITHIN,
            async || {
                let mut leaders = BTreeSet::new();
                for member in self.members() {
                    let seen = self.federation(member).await?;
                    ensure!(
                        seen.quorum == Some(Quorum::Healthy),
                        "the quorum in {member} is {:?}",
                        seen.quorum
                    );
                    ensure!(
                        seen.voters.len() == expected,
                        "the voters in {member} are {:?}",
                        seen.voters
                    );
                    leaders.insert(seen.leader);
                }
                ensure!(
                    leaders.len() == 1 && !leaders.contains(&None),
                    "the reported leaders are {leaders:?}"
                );
                Ok(())
            },
        )
        .await?;
        Ok(())
    }

    /// The status of the `Federation` object in a member's cluster.
    pub async fn federation(&self, member: &str) -> Result<FederationStatus> {
        let federations: Api<Federation> = Api::all(self.client(member)?);
        let federation = answer_of(member, federations.get(names::FEDERATION_NAME)).await?;
        federation
            .status
            .with_context(|| format!("the federation in {member} has no status yet"))
    }

    /// The `Member` object of `member` in the cluster of `witness`.
    pub async fn row(&self, witness: &str, member: &str) -> Result<Member> {
        let members: Api<Member> = Api::all(self.client(witness)?);
        answer_of(witness, members.get(member)).await
    }

    /// The lease of `member` in the cluster of `witness`; `None` if it is not in the status yet.
    pub async fn lease(&self, witness: &str, member: &str) -> Result<Option<Lease>> {
        let row = self.row(witness, member).await?;
        Ok(row.status.and_then(|status| status.lease))
    }

    /// The leader that most members with a running operator report.
    pub async fn leader(&self) -> Result<String> {
        let running = self
            .seats
            .iter()
            .filter(|seat| seat.operator.iter().any(|o| o.process().is_some()));
        let seen = join_all(running.map(|seat| self.federation(&seat.plan.name))).await;
        let named: Vec<_> = seen
            .into_iter()
            .flatten()
            .filter_map(|status| status.leader)
            .collect();
        let votes = |leader: &String| named.iter().filter(|other| *other == leader).count();
        match named.iter().max_by_key(|leader| votes(leader)) {
            Some(leader) => Ok(leader.clone()),
            None => bail!("no member reports a leader"),
        }
    }

    /// All that can vote, but an odd number and at most seven.
    fn expected_voters(&self) -> usize {
        let eligible = self
            .seats
            .iter()
            .filter(|seat| !seat.plan.dials_out_only)
            .count();
        let odd = if eligible.is_multiple_of(2) {
            eligible.saturating_sub(1)
        } else {
            eligible
        };
        odd.min(MAX_VOTERS)
    }
}

/// The answer of a member's API server, or an error if it is paused or dead.
pub(super) async fn answer_of<T>(
    member: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T> {
    let answer = timeout(ANSWERS_WITHIN, request).await;
    Ok(answer.with_context(|| format!("the API server of {member} does not answer"))??)
}
