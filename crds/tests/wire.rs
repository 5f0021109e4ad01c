//! What is read from and written to an API server.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use hanse_crds::{
    FederatedWorkload, FederatedWorkloadSpec, Federation, FederationRole, FederationSpec,
    FederationStatus, GrantedKind, HostingPolicy, Member, MemberSpec, Placement, PodSecurity,
    Quorum, Scheduling, names,
};
use serde_json::{from_value, json, to_value};

#[test]
fn a_workload_without_a_placement_is_divided_over_all_members() {
    let manifests = json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}]);
    let workload: FederatedWorkload = from_value(json!({
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "FederatedWorkload",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"manifests": manifests},
    }))
    .unwrap();
    let expected = FederatedWorkloadSpec {
        manifests: from_value(manifests).unwrap(),
        placement: Placement::default(),
        ..FederatedWorkloadSpec::default()
    };
    assert_eq!(workload.spec, expected);
}

#[test]
fn what_is_not_said_is_not_written() {
    assert_eq!(
        to_value(Placement::default()).unwrap(),
        json!({"mode": "Divided"})
    );
    assert_eq!(
        to_value(MemberSpec::default()).unwrap(),
        json!({"scheduling": "Enabled"})
    );
    assert_eq!(
        to_value(Member::new("eu-1", MemberSpec::default())).unwrap(),
        json!({
            "apiVersion": "hanse.dev/v1alpha1",
            "kind": "Member",
            "metadata": {"name": "eu-1"},
            "spec": {"scheduling": "Enabled"},
        })
    );
}

#[test]
fn a_member_is_enabled_unless_it_is_cordoned_or_drained() {
    let cordoned: MemberSpec = from_value(json!({"scheduling": "Cordoned"})).unwrap();
    assert_eq!(
        from_value::<MemberSpec>(json!({})).unwrap().scheduling,
        Scheduling::Enabled
    );
    assert_eq!(cordoned.scheduling, Scheduling::Cordoned);
    let drained: MemberSpec = from_value(json!({"scheduling": "Drained"})).unwrap();
    assert_eq!(drained.scheduling, Scheduling::Drained);
}

#[test]
fn a_granted_kind_without_a_group_is_of_the_core_group_and_a_grant_is_restricted() {
    let policy: HostingPolicy = from_value(json!({
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "HostingPolicy",
        "metadata": {"name": "guests"},
        "spec": {"grants": [{"name": "north", "owner": "north", "namespaces": ["shop"], "kinds": [{"kind": "Service"}]}]},
    }))
    .unwrap();
    let grant = &policy.spec.grants[0];
    assert_eq!(
        grant.kinds,
        [GrantedKind {
            group: String::new(),
            kind: "Service".into()
        }]
    );
    assert_eq!(grant.pod_security, PodSecurity::Restricted);
}

#[test]
fn a_federation_has_a_status_and_no_spec() {
    let mut federation = Federation::new(names::FEDERATION_NAME, FederationSpec {});
    federation.status = Some(FederationStatus {
        leader: Some("eu-1".into()),
        quorum: Some(Quorum::Healthy),
        role: Some(FederationRole::Follower),
        voters: ["ap-1", "eu-1", "us-1"].map(String::from).into(),
        voter_count: 3,
        ..FederationStatus::default()
    });
    let written = json!({
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Federation",
        "metadata": {"name": "hanse"},
        "status": {
            "leader": "eu-1",
            "quorum": "Healthy",
            "role": "Follower",
            "voters": ["ap-1", "eu-1", "us-1"],
            "voterCount": 3,
        },
    });
    assert_eq!(to_value(&federation).unwrap(), written);
    assert_eq!(from_value::<Federation>(written).unwrap(), federation);
}
