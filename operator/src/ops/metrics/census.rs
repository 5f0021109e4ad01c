//! The sizes and states of the federation, counted from this member's slice at each scrape.

use hanse_core::{
    id::MemberName,
    slice::{PlacementPhase, Reports, Slice},
    state::Lease,
};
use prometheus::{
    IntGauge, IntGaugeVec, Opts,
    core::{Collector as PrometheusCollector, Desc},
    proto::MetricFamily,
};

/// The values that a scrape shows. All are zero before the member has received its first slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Whether this member's stream is open and a leader with a quorum has answered within a lease.
    pub attached: bool,
    /// Whether this operator leads.
    pub leads: bool,
    /// The index of the newest ledger entry that this member has seen applied.
    pub height: u64,
    /// The Raft term.
    pub term: u64,
    /// The number of voters.
    pub voters: u64,
    /// Members by the state of their lease.
    pub members: LeaseCounts,
    /// Placements of this member, by phase.
    pub placements: PlacementCounts,
    /// Workloads of this member's owner with fewer placements than they need.
    pub unplaced: u64,
}

/// Members by the state of their lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    pub held: u64,
    pub lost: u64,
    pub revoked: u64,
}

/// Placements of one member, by phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementCounts {
    /// Decided, but not reported yet.
    pub pending: u64,
    pub applied: u64,
    pub ready: u64,
    pub failed: u64,
    pub stopped: u64,
    /// Pending removal: moved away, but not confirmed as removed.
    pub removing: u64,
}

impl Census {
    /// Counts from the slice of `member` and its own reports of its placements.
    #[must_use]
    pub fn of(member: &MemberName, attached: bool, slice: &Slice, reports: &Reports) -> Self {
        let unplaced = slice
            .workloads
            .values()
            .filter(|workload| !workload.removed && workload.diagnosis.unplaced.is_some());
        Self {
            attached,
            leads: attached && slice.federation.leader == *member,
            height: slice.federation.index,
            term: slice.federation.term,
            voters: slice.federation.voters.len() as u64,
            members: LeaseCounts::of(slice),
            placements: PlacementCounts::of(slice, reports),
            unplaced: unplaced.count() as u64,
        }
    }
}

impl LeaseCounts {
    fn of(slice: &Slice) -> Self {
        let mut counts = Self::default();
        for member in slice.members.values() {
            let count = match member.lease {
                Lease::Held { .. } => &mut counts.held,
                Lease::Lost { .. } => &mut counts.lost,
                Lease::Revoked { .. } => &mut counts.revoked,
            };
            *count += 1;
        }
        counts
    }
}

impl PlacementCounts {
    fn of(slice: &Slice, reports: &Reports) -> Self {
        let mut counts = Self {
            removing: slice.removals.len() as u64,
            ..Self::default()
        };
        for (key, placement) in &slice.placements {
            // A report about an older epoch does not apply to the current placement.
            let report = reports.placements.get(key);
            let report = report.filter(|report| report.epoch == placement.epoch);
            let count = match report.map(|report| report.phase) {
                None | Some(PlacementPhase::Removing) => &mut counts.pending,
                Some(PlacementPhase::Applied) => &mut counts.applied,
                Some(PlacementPhase::Ready) => &mut counts.ready,
                Some(PlacementPhase::Failed | PlacementPhase::Refused) => &mut counts.failed,
                Some(PlacementPhase::Stopped) => &mut counts.stopped,
            };
            *count += 1;
        }
        counts
    }
}

/// Takes a census at each scrape and exports it as gauges.
pub(super) struct Collector {
    census: Box<dyn Fn() -> Census + Send + Sync>,
    attached: IntGauge,
    leads: IntGauge,
    height: IntGauge,
    term: IntGauge,
    voters: IntGauge,
    members: IntGaugeVec,
    placements: IntGaugeVec,
    unplaced: IntGauge,
}

impl Collector {
    pub(super) fn new(
        census: Box<dyn Fn() -> Census + Send + Sync>,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            census,
            attached: IntGauge::new(
                "hanse_attached",
                "1 while the quorum answers this member within a lease, else 0.",
            )?,
            leads: IntGauge::new("hanse_is_leader", "1 while this operator leads, else 0.")?,
            height: IntGauge::new(
                "hanse_ledger_height",
                "Index of the newest ledger entry this member has seen applied.",
            )?,
            term: IntGauge::new("hanse_ledger_term", "Raft term; grows with every election.")?,
            voters: IntGauge::new("hanse_voters", "Members that vote.")?,
            members: IntGaugeVec::new(
                Opts::new("hanse_members", "Members, by the state of their lease."),
                &["lease"],
            )?,
            placements: IntGaugeVec::new(
                Opts::new(
                    "hanse_placements",
                    "Placements of this member, by how far they are.",
                ),
                &["phase"],
            )?,
            unplaced: IntGauge::new(
                "hanse_workloads_unplaced",
                "Workloads of this member's owner that have too few places to run.",
            )?,
        })
    }

    fn show(&self, census: &Census) {
        let Census {
            attached,
            leads,
            height,
            term,
            voters,
            members,
            placements,
            unplaced,
        } = census;
        self.attached.set(i64::from(*attached));
        self.leads.set(i64::from(*leads));
        self.height.set(gauge(*height));
        self.term.set(gauge(*term));
        self.voters.set(gauge(*voters));
        self.unplaced.set(gauge(*unplaced));
        for (lease, count) in members.by_label() {
            self.members.with_label_values(&[lease]).set(gauge(count));
        }
        for (phase, count) in placements.by_label() {
            self.placements
                .with_label_values(&[phase])
                .set(gauge(count));
        }
    }

    fn gauges(&self) -> [&dyn PrometheusCollector; 8] {
        [
            &self.attached,
            &self.leads,
            &self.height,
            &self.term,
            &self.voters,
            &self.members,
            &self.placements,
            &self.unplaced,
        ]
    }
}

impl PrometheusCollector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges()
            .into_iter()
            .flat_map(PrometheusCollector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.show(&(self.census)());
        let gauges = self.gauges().into_iter();
        gauges.flat_map(PrometheusCollector::collect).collect()
    }
}

impl LeaseCounts {
    fn by_label(&self) -> [(&'static str, u64); 3] {
        let Self {
            held,
            lost,
            revoked,
        } = *self;
        [("held", held), ("lost", lost), ("revoked", revoked)]
    }
}

impl PlacementCounts {
    fn by_label(&self) -> [(&'static str, u64); 6] {
        let Self {
            pending,
            applied,
            ready,
            failed,
            stopped,
            removing,
        } = *self;
        [
            ("pending", pending),
            ("applied", applied),
            ("ready", ready),
            ("failed", failed),
            ("stopped", stopped),
            ("removing", removing),
        ]
    }
}

/// Converts a count or an index. Both stay far below the bound; a larger one would show as the largest number.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
