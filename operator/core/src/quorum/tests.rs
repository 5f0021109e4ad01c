use super::*;
use crate::{
    command::Attributes,
    id::{Epoch, Generation, MemberName, PublicKey},
    state::Seat,
};

/// A member as a table writes it: `NODE OWNER PROVIDER REGION STATE`.
fn member(row: &str) -> (String, Member) {
    let fields: Vec<&str> = row.split_whitespace().collect();
    let [node, owner, provider, region, state] = fields[..] else {
        panic!("a member has five fields: {row}");
    };
    let epoch = Epoch(1);
    let lease = match state {
        "held" | "unreachable" => Lease::Held { epoch },
        "lost" => Lease::Lost {
            epoch,
            fenced: false,
        },
        "revoked" => Lease::Revoked {
            epoch,
            fenced: false,
        },
        other => panic!("{other}"),
    };
    let address = if state == "unreachable" { "" } else { "a:1" };
    let node = NodeId(node.parse().unwrap());
    let member = Member {
        owner: owner.parse().unwrap(),
        key: PublicKey([u8::try_from(node.0).unwrap(); 32]),
        sponsor: None,
        attributes: Attributes {
            provider: provider.into(),
            region: region.into(),
            ..Attributes::default()
        },
        version: String::new(),
        level: Level::FIRST,
        grants: vec![],
        kinds: None,
        seat: Some(Seat {
            node,
            address: address.into(),
        }),
        lease,
        generation: Generation(1),
    };
    (format!("member-{node}"), member)
}

fn state(rows: &[&str]) -> State {
    let members = rows.iter().map(|row| {
        let (name, member) = member(row);
        (name.parse().unwrap(), member)
    });
    State {
        members: members.collect(),
        ..State::default()
    }
}

fn nodes(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

#[derive(Clone)]
struct Case {
    because: &'static str,
    members: &'static [&'static str],
    voters: &'static [u64],
    caught_up: &'static [u64],
    behind: &'static [u64],
    given_up: &'static [u64],
    silent: &'static [u64],
    step: Step,
}

impl Case {
    fn holds(&self) {
        let learners = |nodes: &[u64], caught_up| {
            let learners = nodes.iter().map(move |node| (NodeId(*node), caught_up));
            learners.collect::<Vec<_>>()
        };
        let quorum = Quorum {
            voters: nodes(self.voters),
            learners: [learners(self.caught_up, true), learners(self.behind, false)]
                .concat()
                .into_iter()
                .collect(),
            given_up: nodes(self.given_up),
            silent: nodes(self.silent),
            leader: NodeId(self.voters[0]),
        };
        let step = next_step(&state(self.members), &quorum);
        assert_eq!(step, self.step, "{}", self.because);
    }
}

const ALONE: Case = Case {
    because: "one voter and nobody else is as good as it gets",
    members: &["1 a x r held"],
    voters: &[1],
    caught_up: &[],
    behind: &[],
    given_up: &[],
    silent: &[],
    step: Step::Nothing,
};

#[test]
fn the_quorum_grows_by_two_and_waits_until_both_have_caught_up() {
    const THREE: &[&str] = &["1 a x r held", "2 b x r held", "3 c x r held"];
    let cases = [
        ALONE,
        Case {
            because: "two are no better than one",
            members: &["1 a x r held", "2 b x r held"],
            ..ALONE
        },
        Case {
            because: "both start to learn at once",
            members: THREE,
            step: Step::AddLearners(nodes(&[2, 3])),
            ..ALONE
        },
        Case {
            because: "one learns already",
            members: THREE,
            caught_up: &[2],
            step: Step::AddLearners(nodes(&[3])),
            ..ALONE
        },
        Case {
            because: "one has not caught up",
            members: THREE,
            caught_up: &[2],
            behind: &[3],
            step: Step::Nothing,
            ..ALONE
        },
        Case {
            because: "both have caught up",
            members: THREE,
            caught_up: &[2, 3],
            step: Step::ReplaceVoters(nodes(&[1, 2, 3])),
            ..ALONE
        },
        Case {
            because: "three stay",
            members: THREE,
            voters: &[1, 2, 3],
            ..ALONE
        },
        Case {
            because: "seven are the most",
            members: &[
                "1 a x r held",
                "2 b x r held",
                "3 c x r held",
                "4 d x r held",
                "5 e x r held",
                "6 f x r held",
                "7 g x r held",
                "8 h x r held",
                "9 i x r held",
            ],
            step: Step::AddLearners(nodes(&[2, 3, 4, 5, 6, 7])),
            ..ALONE
        },
    ];
    cases.iter().for_each(Case::holds);
}

#[test]
fn voters_are_spread_over_owners_then_providers_then_regions() {
    let cases = [
        Case {
            because: "another owner comes before another provider",
            members: &[
                "1 a x r held",
                "2 a y s held",
                "3 b x r held",
                "4 c x r held",
            ],
            step: Step::AddLearners(nodes(&[3, 4])),
            ..ALONE
        },
        Case {
            because: "another provider comes before another region",
            members: &[
                "1 a x r held",
                "2 a x s held",
                "3 a y r held",
                "4 a z r held",
            ],
            step: Step::AddLearners(nodes(&[3, 4])),
            ..ALONE
        },
        Case {
            because: "then another region",
            members: &[
                "1 a x r held",
                "2 a x r held",
                "3 a x s held",
                "4 a x t held",
            ],
            step: Step::AddLearners(nodes(&[3, 4])),
            ..ALONE
        },
        Case {
            because: "a better spread is no reason to unseat a voter that does well",
            members: &[
                "1 a x r held",
                "2 a x r held",
                "3 a x r held",
                "4 b y s held",
            ],
            voters: &[1, 2, 3],
            ..ALONE
        },
    ];
    cases.iter().for_each(Case::holds);
}

#[test]
fn a_newcomer_must_be_alive_and_reachable_and_able_to_reach_the_rest() {
    let cases = [
        Case {
            because: "one lost its lease, one has no address, one was revoked, one was given up on",
            members: &[
                "1 a x r held",
                "2 b x r lost",
                "3 c x r unreachable",
                "4 d x r revoked",
                "5 e x r held",
                "6 f x r held",
            ],
            given_up: &[5],
            ..ALONE
        },
        Case {
            because: "a founder without an address stays alone",
            members: &["1 a x r unreachable", "2 b x r held", "3 c x r held"],
            ..ALONE
        },
        Case {
            because: "a learner that died, one given up on and one revoked are not sent the log",
            members: &[
                "1 a x r held",
                "2 b x r lost",
                "3 c x r held",
                "4 d x r revoked",
            ],
            behind: &[2, 3, 4],
            given_up: &[3],
            step: Step::DropLearners(nodes(&[2, 3, 4])),
            ..ALONE
        },
        Case {
            because: "a learner that is alive stays, as a spare",
            members: &["1 a x r held", "2 b x r held"],
            caught_up: &[2],
            ..ALONE
        },
    ];
    cases.iter().for_each(Case::holds);
}

#[test]
fn who_knows_less_than_the_level_of_the_federation_gets_no_vote() {
    let mut state = state(&[
        "1 a x r held",
        "2 b x r held",
        "3 c x r held",
        "4 d x r held",
    ]);
    state.level = Level(2);
    for node in [1, 3, 4] {
        let name: MemberName = format!("member-{node}").parse().unwrap();
        state.members.get_mut(&name).unwrap().level = Level(2);
    }
    let quorum = Quorum {
        voters: nodes(&[1]),
        leader: NodeId(1),
        ..Quorum::default()
    };
    let step = next_step(&state, &quorum);
    assert_eq!(step, Step::AddLearners(nodes(&[3, 4])));
}

#[test]
fn a_voter_is_replaced_when_it_is_lost_for_long_and_somebody_can_take_its_seat() {
    const FOUR: &[&str] = &[
        "1 a x r held",
        "2 b x r held",
        "3 c x r held",
        "4 d x r held",
    ];
    let lost = Case {
        because: "a voter lost a moment ago comes back",
        members: &[
            "1 a x r held",
            "2 b x r held",
            "3 c x r lost",
            "4 d x r held",
        ],
        voters: &[1, 2, 3],
        caught_up: &[4],
        ..ALONE
    };
    let cases = [
        Case {
            because: "after a while another takes its seat",
            given_up: &[3],
            step: Step::ReplaceVoters(nodes(&[1, 2, 4])),
            ..lost.clone()
        },
        Case {
            because: "so is one whose member does well as a host and that does not answer as a voter",
            members: &[
                "1 a x r held",
                "2 b x r held",
                "3 c x r held",
                "4 d x r held",
            ],
            silent: &[3],
            given_up: &[3],
            step: Step::ReplaceVoters(nodes(&[1, 2, 4])),
            ..lost.clone()
        },
        Case {
            because: "without a majority that answers nothing can be changed, whatever leases are held",
            members: FOUR,
            silent: &[2, 3],
            given_up: &[2, 3],
            ..lost.clone()
        },
        Case {
            because: "with nobody to take it, it keeps its seat",
            members: &["1 a x r held", "2 b x r held", "3 c x r lost"],
            caught_up: &[],
            given_up: &[3],
            ..lost.clone()
        },
        Case {
            because: "with two to come, three do well and nobody needs the fourth",
            members: &[
                "1 a x r held",
                "2 b x r held",
                "3 c x r lost",
                "4 d x r held",
                "5 e x r held",
            ],
            caught_up: &[4, 5],
            given_up: &[3],
            step: Step::ReplaceVoters(nodes(&[1, 2, 4])),
            ..lost.clone()
        },
        Case {
            because: "without a majority alive nothing can be changed",
            members: &[
                "1 a x r held",
                "2 b x r lost",
                "3 c x r lost",
                "4 d x r held",
                "5 e x r held",
            ],
            caught_up: &[4, 5],
            given_up: &[2, 3],
            ..lost.clone()
        },
        lost,
    ];
    cases.iter().for_each(Case::holds);
}

#[test]
fn a_voter_whose_seat_is_gone_is_removed() {
    let cases = [
        Case {
            because: "its volume was lost, so it sits elsewhere now: the new seat replaces the old",
            members: &["1 a x r held", "2 b x r held", "9 c x r held"],
            voters: &[1, 2, 3],
            caught_up: &[9],
            step: Step::ReplaceVoters(nodes(&[1, 2, 9])),
            ..ALONE
        },
        Case {
            because: "revoked with nobody to take its seat: two are no place to rest",
            members: &["1 a x r held", "2 b x r held", "3 c x r revoked"],
            voters: &[1, 2, 3],
            step: Step::ReplaceVoters(nodes(&[1])),
            ..ALONE
        },
        Case {
            because: "five shrink to the three that are spread best and alive, the leader among them",
            members: &[
                "1 a x r held",
                "2 a y r held",
                "3 b x r lost",
                "4 c x r held",
                "5 d x r revoked",
            ],
            voters: &[1, 2, 3, 4, 5],
            step: Step::ReplaceVoters(nodes(&[1, 2, 4])),
            ..ALONE
        },
        Case {
            because: "what is left could not agree on anything",
            members: &["1 a x r held", "2 b x r lost", "3 c x r revoked"],
            voters: &[1, 2, 3],
            ..ALONE
        },
    ];
    cases.iter().for_each(Case::holds);
}
