//! Every reason for which a host refuses a placement, independently of the plan.

use hanse_core::{
    command::SignedCommand,
    grant::Grantee,
    id::{FederationId, Generation, PrivateKey},
    slice::MemberView,
};
use serde_json::json;

use super::*;
use crate::realize::fixture::{Case, core_kind, put, sign};

fn case() -> Case {
    Case::of(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3},
    }))
}

fn refusal(case: &Case) -> String {
    match verify(case.dereferenced()) {
        Ok(_) => "verified".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn author(case: &mut Case) -> &mut MemberView {
    case.slice.members.get_mut(&case.placement.home).unwrap()
}

#[test]
fn a_guests_placement_is_verified_with_the_hosts_terms() {
    let case = case();
    let verified = verify(case.dereferenced()).unwrap();
    assert_eq!(
        (verified.is_guest(), verified.consent().namespace.as_str()),
        (true, "acme--shop")
    );
    assert_eq!(verified.spec(), &case.spec);
}

#[test]
fn an_owner_needs_no_grant_on_its_own_member() {
    let mut case = case();
    case.owner = "acme".parse().unwrap();
    case.grants.clear();
    let verified = verify(case.dereferenced()).unwrap();
    assert_eq!(
        (verified.is_guest(), verified.consent().namespace.as_str()),
        (false, "shop")
    );
}

/// The name of a change, the change, and the host's refusal of the changed case.
type Row = (&'static str, fn(&mut Case), &'static str);

const REFUSED: &[Row] = &[
    (
        "the author is unknown",
        |case| case.slice.members.clear(),
        "its author 'acme-1' is not a member of this federation",
    ),
    (
        "the author is of another owner",
        |case| author(case).owner = "beta".parse().unwrap(),
        "its author 'acme-1' is a member of owner 'beta', not 'acme'",
    ),
    (
        "the author has another key now",
        |case| author(case).key = PrivateKey::from_seed(&[9; 32]).public(),
        "it was signed by another key than that of 'acme-1'",
    ),
    (
        "it was signed for another federation",
        |case| case.placement.proof = sign(&FederationId([9; 16]), &put(&case.key, &case.spec)),
        "its author's signature is not valid: the signature does not hold for issuer 8a88e3dd in this federation",
    ),
    (
        "the signed command was changed afterwards",
        |case| {
            let mut forged = SignedCommand::clone(&case.placement.proof);
            forged.body = forged.body.replace("\"replicas\":3", "\"replicas\":4");
            case.placement.proof = Arc::new(forged);
        },
        "its author's signature is not valid: the signature does not hold for issuer 8a88e3dd in this federation",
    ),
    (
        "the proof is of another workload",
        |case| {
            let other = "acme/shop/api".parse().unwrap();
            case.placement.proof = sign(&case.slice.federation.id, &put(&other, &case.spec));
        },
        "its author signed something else than this workload",
    ),
    (
        "the proof is of another command",
        |case| {
            let removal = Command::RemoveWorkload {
                seen: Generation(0),
                orphan: false,
                key: case.key.clone(),
            };
            case.placement.proof = sign(&case.slice.federation.id, &removal);
        },
        "its author signed something else than this workload",
    ),
    (
        "there is no grant",
        |case| case.grants.clear(),
        "this host's policies do not allow it: no HostingPolicy there grants owner 'acme' namespace 'shop'",
    ),
    (
        "another owner is granted",
        |case| case.grants[0].grantee = Grantee::Owner("beta".parse().unwrap()),
        "this host's policies do not allow it: no HostingPolicy there grants owner 'acme' namespace 'shop'",
    ),
    (
        "another kind is granted",
        |case| case.grants[0].kinds = [core_kind("ConfigMap")].into(),
        "this host's policies do not allow it: no HostingPolicy there grants owner 'acme' the kind apps/Deployment",
    ),
    (
        "a newer epoch was applied here",
        |case| {
            case.inventory = Some(Inventory {
                epoch: Epoch(13),
                ..Inventory::default()
            });
        },
        "epoch 12 is older than epoch 13, which was applied here already",
    ),
];

#[test]
fn a_placement_is_refused_with_a_message_for_each_reason() {
    for (what, change, expected) in REFUSED {
        let mut case = case();
        change(&mut case);
        assert_eq!(refusal(&case), *expected, "{what}");
    }
}

#[test]
fn a_host_outside_the_domicile_refuses_even_a_granted_workload() {
    let swiss = |jurisdiction: &str| {
        let mut case = case().with_spec(|spec| {
            spec.placement.domicile = ["CH".to_owned()].into();
        });
        case.attributes.jurisdiction = jurisdiction.to_owned();
        refusal(&case)
    };
    assert_eq!(swiss("CH"), "verified");
    assert_eq!(
        [swiss("EU"), swiss("")],
        ["EU", ""]
            .map(|place| format!("this host is in '{place}', outside the workload's domicile"))
    );
}

#[test]
fn a_signed_specification_that_breaks_a_rule_is_refused() {
    let case = case().with_spec(|spec| spec.manifests.clear());
    assert_eq!(
        refusal(&case),
        "its specification breaks a rule: `manifests` must have 1 to 64 items, not 0"
    );
}

#[test]
fn the_same_epoch_and_a_newer_one_are_applied_again() {
    let mut case = case();
    for epoch in [11, 12] {
        case.inventory = Some(Inventory {
            epoch: Epoch(epoch),
            ..Inventory::default()
        });
        assert_eq!(refusal(&case), "verified");
    }
    case.placement.generation = Generation(8);
    assert_eq!(refusal(&case), "verified");
}

#[test]
fn an_override_changes_what_runs_here_and_a_label_that_is_missing_here_is_named() {
    let changing = || {
        case().with_spec(|spec| {
            let labels = json!({"disk": "$(member:disk)", "host": "$(member:hanse.dev/member)"});
            let overrides = json!([{"merge": {"metadata": {"labels": labels}}}]);
            spec.overrides = serde_json::from_value(overrides).unwrap();
        })
    };
    let mut case = changing();
    case.attributes.labels = [("disk".to_owned(), "ssd".to_owned())].into();
    let verified = verify(case.dereferenced()).unwrap();
    let (here, written) = verified.manifests().next().unwrap();
    let labels = &here.object()["metadata"]["labels"];
    assert_eq!(*labels, json!({"disk": "ssd", "host": "host-1"}));
    assert_eq!(written, &case.spec.manifests[0]);
    let case = changing();
    assert_eq!(
        refusal(&case),
        "its specification breaks a rule: `overrides[0]` takes label 'disk' of the member, and this member has none"
    );
}
