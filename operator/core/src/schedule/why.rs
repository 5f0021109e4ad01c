//! Why a row of a plan is made, and why nobody may host a workload.

use super::{case::Case, filter::DRAINED};
use crate::{id::MemberName, reason::Reason, state::Lease};

impl Case<'_> {
    /// Why a member that runs the workload may no longer.
    pub(super) fn why_not(&self, name: &MemberName) -> Reason {
        let member = name.clone();
        match self.member(name).map(|member| member.lease) {
            Some(Lease::Lost { .. }) => Reason::MemberLost { member },
            Some(Lease::Revoked { .. }) => Reason::MemberRevoked { member },
            Some(Lease::Held { .. }) | None => {
                if let Some(message) = self.refusing.get(name).cloned() {
                    let reason = self.observations.and_then(|about| about.reason(name));
                    return reason
                        .unwrap_or_else(|| Reason::MemberRefused { member, message }.bounded());
                }
                let exclusion = self.excluded.get(name);
                if exclusion.is_some_and(|it| it.reason == DRAINED) {
                    return Reason::MemberDrained { member };
                }
                let message = exclusion.map_or_else(String::new, |it| it.message.clone());
                Reason::MemberExcluded { member, message }.bounded()
            }
        }
    }

    /// Why replicas appear on a member: the first reason any other had to give some up, or the workload itself.
    pub(super) fn why_here(&self) -> Reason {
        let lost = self.placed.keys().find(|name| !self.may_host(name));
        match lost {
            Some(name) => self.why_not(name),
            None if self.placed.is_empty() => Reason::FirstPlacement,
            None => self.why_limited().unwrap_or(Reason::WorkloadChanged),
        }
    }

    /// Why replicas leave a member that keeps others.
    fn why_limited(&self) -> Option<Reason> {
        let about = self.observations?;
        self.placed.iter().find_map(|(name, row)| {
            let (most, words) = about.limit_of(name)?;
            let (member, message) = (name.clone(), words.to_owned());
            let reason = Reason::MemberUnready { member, message };
            (row.base().total() > most).then(|| reason.bounded())
        })
    }

    /// Why a member that may host the workload runs less of it: it ran some in addition, or else the workload itself.
    pub(super) fn why_less(&self, name: &MemberName) -> Reason {
        let Some(row) = self.placed.get(name) else {
            return Reason::WorkloadChanged;
        };
        let covered = row.surge.as_ref();
        let covered = covered.and_then(|surge| surge.covers.first().cloned());
        match (covered, &row.reason) {
            (Some(member), _) if !self.may_host(&member) => self.why_not(&member),
            (Some(_), _) if self.heard.silent.contains(name) => Reason::MemberSilent {
                member: name.clone(),
            },
            (None, _) | (Some(_), Reason::MemberReturned { .. }) => Reason::WorkloadChanged,
            (Some(member), Reason::MemberDrained { .. }) => Reason::MemberUncordoned { member },
            (Some(member), _) => Reason::MemberHeardAgain { member },
        }
    }

    pub(super) fn nobody(&self) -> String {
        if self.hosts() > self.refusing.len() {
            return "no member that may host it has room for it".to_owned();
        }
        match self.ruled_out() {
            0 => "the federation has no members".to_owned(),
            1 => "the only member may not host it".to_owned(),
            members => format!("none of the {members} members may host it"),
        }
    }
}
