//! What members say about themselves, and the timings they share.

use std::{collections::BTreeSet, sync::Arc};

use super::{Rejection, State};
use crate::{
    command::Attributes,
    grant::{Grant, MAX_GRANTS},
    id::{Epoch, Generation, MemberName},
    level::Level,
    timings::Timings,
    workload::GroupKind,
};

/// The most kinds of one member: several times what a cluster full of operators serves.
const MAX_KINDS: usize = 4_096;

/// The longest version of an operator; the CRD states the same bound.
const MAX_VERSION_BYTES: usize = 64;

impl State {
    pub(super) fn set_timings(&mut self, index: u64, timings: Timings) -> Result<(), Rejection> {
        timings.check().map_err(|error| Rejection::Invalid {
            reason: error.to_string(),
        })?;
        self.longest_lease_ms = self.longest_lease_ms.max(timings.lease_ms);
        if self.timings != timings || self.timings_since == Epoch(0) {
            self.timings = timings;
            self.timings_since = Epoch(index);
        }
        Ok(())
    }

    pub(super) fn raise_level(&mut self, to: Level) -> Result<(), Rejection> {
        let mut members = self.members.iter();
        let behind = members.find(|(_, row)| self.is_voter(row) && row.level < to);
        match behind {
            Some((name, row)) => Err(Rejection::Invalid {
                reason: format!(
                    "`to` must be a level that all voters know, and '{name}' knows up to {}, not {to}",
                    row.level
                ),
            }),
            None if to <= self.level => Err(Rejection::Invalid {
                reason: format!("`to` must be higher than {}, not {to}", self.level),
            }),
            None => {
                self.level = to;
                Ok(())
            }
        }
    }

    pub(super) fn settle_timings(&mut self, since: Epoch) -> Result<(), Rejection> {
        if self.timings_since == since {
            self.longest_lease_ms = self.timings.lease_ms;
        }
        Ok(())
    }

    pub(super) fn describe(
        &mut self,
        index: u64,
        issuer: &MemberName,
        attributes: Attributes,
        (version, level): (String, Level),
    ) -> Result<(), Rejection> {
        if version.len() > MAX_VERSION_BYTES {
            return Err(Rejection::Invalid {
                reason: format!("`version` must have at most {MAX_VERSION_BYTES} characters"),
            });
        }
        attributes.check().map_err(|error| Rejection::Invalid {
            reason: error.to_string(),
        })?;
        let member = self.member_mut(issuer)?;
        (member.version, member.level) = (version, level);
        // Neither is what plans are decided on, so they leave the generation as it is.
        if member.attributes != attributes {
            member.attributes = attributes;
            member.generation = Generation(index);
        }
        Ok(())
    }

    pub(super) fn publish_grants(
        &mut self,
        index: u64,
        issuer: &MemberName,
        grants: Vec<Grant>,
    ) -> Result<(), Rejection> {
        if grants.len() > MAX_GRANTS {
            return Err(Rejection::TooMany {
                what: "grants".into(),
                most: MAX_GRANTS,
            });
        }
        let member = self.member_mut(issuer)?;
        if member.grants != grants {
            member.grants = grants;
            member.generation = Generation(index);
        }
        Ok(())
    }

    pub(super) fn publish_kinds(
        &mut self,
        index: u64,
        issuer: &MemberName,
        kinds: BTreeSet<GroupKind>,
    ) -> Result<(), Rejection> {
        if kinds.len() > MAX_KINDS {
            return Err(Rejection::TooMany {
                what: "kinds".into(),
                most: MAX_KINDS,
            });
        }
        let member = self.member_mut(issuer)?;
        if member.kinds.as_deref() != Some(&kinds) {
            member.kinds = Some(Arc::new(kinds));
            member.generation = Generation(index);
        }
        Ok(())
    }
}
