//! What a workload asks of its hosts, and what hosts keep away.

use super::*;
use crate::selector::{Effect, Expression, Operator, Taint, Toleration};

fn expression(key: &str, operator: Operator, values: &[&str]) -> Expression {
    Expression {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|&value| value.to_owned()).collect(),
    }
}

fn gpu(effect: Effect) -> BTreeSet<Taint> {
    let taint = Taint {
        key: "gpu".to_owned(),
        value: "h200".to_owned(),
        effect,
    };
    BTreeSet::from([taint])
}

impl Federation {
    fn hosts(&mut self) -> Vec<String> {
        self.step();
        self.shares().into_keys().collect()
    }

    fn why_not(&mut self, name: &str) -> String {
        let excluded = self.found().1.excluded;
        let (reason, message) = excluded.named()[&name.parse::<MemberName>().unwrap()];
        format!("{reason}: {message}")
    }
}

#[test]
fn members_are_chosen_by_name_owner_and_place_as_by_their_labels() {
    let hosts = |expressions: &[Expression]| {
        let mut federation = Federation::of(&["acme-1", "acme-2", "beta-1", "gamma-1"]);
        federation.change("acme-1", |row| row.attributes.provider = "hetzner".into());
        federation.change("beta-1", |row| row.attributes.provider = "ovh".into());
        federation.put(Mode::Duplicated, Some(1), |rules| {
            rules.match_expressions = expressions.to_vec();
        });
        federation.hosts().join(" ")
    };
    assert_eq!(hosts(&[]), "acme-1 acme-2 beta-1 gamma-1");
    let by_name = expression("hanse.dev/member", Operator::In, &["acme-2", "gamma-1"]);
    assert_eq!(hosts(&[by_name]), "acme-2 gamma-1");
    let not_beta = expression("hanse.dev/owner", Operator::NotIn, &["beta"]);
    let known = expression("hanse.dev/provider", Operator::Exists, &[]);
    assert_eq!(hosts(std::slice::from_ref(&known)), "acme-1 beta-1");
    assert_eq!(hosts(&[known, not_beta]), "acme-1");
    let nobody = expression("hanse.dev/region", Operator::In, &["fsn1"]);
    assert_eq!(hosts(&[nobody]), "");
}

#[test]
fn a_label_that_does_not_match_is_named_with_what_is_wrong_with_it() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]);
    let why_not = |federation: &mut Federation, expression: Expression| {
        federation.put(Mode::Divided, None, |rules| {
            rules.match_expressions = vec![expression.clone()];
        });
        federation.why_not("acme-2")
    };
    federation.change("acme-2", |row| {
        row.attributes.labels = BTreeMap::from([("tier".into(), "tin".into())]);
    });
    let said = [
        expression("tier", Operator::In, &["gold", "silver"]),
        expression("tier", Operator::In, &["gold"]),
        expression("tier", Operator::NotIn, &["tin"]),
        expression("gpu", Operator::Exists, &[]),
        expression("tier", Operator::DoesNotExist, &[]),
    ]
    .map(|expression| why_not(&mut federation, expression));
    assert_eq!(
        said,
        [
            "LabelsDoNotMatch: its label 'tier' is none of 'gold', 'silver'",
            "LabelsDoNotMatch: its label 'tier' is not 'gold'",
            "LabelsDoNotMatch: its label 'tier' is 'tin'",
            "LabelsDoNotMatch: its label 'gpu' is missing",
            "LabelsDoNotMatch: its label 'tier' is set",
        ]
    );
}

#[test]
fn requirements_that_nobody_can_meet_are_refused_with_the_label() {
    let check = |label: Option<&str>, expressions: Vec<Expression>| {
        let mut rules = PlacementRules::new(Mode::Divided);
        rules.match_labels = label
            .map(|it| ("tier".into(), it.into()))
            .into_iter()
            .collect();
        rules.match_expressions = expressions;
        let web = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}});
        let spec = WorkloadSpec::new(vec![web], rules, &"shop".parse().unwrap());
        spec.err().map(|error| error.to_string())
    };
    let gold = expression("tier", Operator::In, &["gold"]);
    assert_eq!(check(Some("gold"), vec![gold.clone()]), None);
    let contradiction = "no member can have what `placement.require` asks of label 'tier': its rules in `matchLabels` and \
                         `matchExpressions` exclude each other";
    assert_eq!(
        check(Some("tin"), vec![gold.clone()]),
        Some(contradiction.to_owned())
    );
    assert_eq!(
        check(None, vec![expression("tier", Operator::In, &[])]),
        Some(
            "`placement.require.matchExpressions` must have values for 'In' and 'NotIn' and none otherwise: see key 'tier'"
                .to_owned()
        )
    );
    assert_eq!(
        check(None, vec![gold; 17]),
        Some("`placement.require.matchExpressions` must have at most 16 items, not 17".to_owned())
    );
}

#[test]
fn a_taint_keeps_away_what_does_not_tolerate_it_and_only_no_execute_drives_out() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(2));
    assert_eq!(federation.hosts(), ["acme-1", "acme-2"]);
    federation.change("acme-2", |row| {
        row.attributes.taints = gpu(Effect::NoSchedule);
    });
    assert_eq!(federation.hosts(), ["acme-1", "acme-2"]);
    federation.change("acme-2", |row| {
        row.attributes.taints = gpu(Effect::NoExecute);
    });
    let why = "the workload does not tolerate its taint 'gpu=h200:NoExecute'";
    assert_eq!(
        federation.step(),
        format!(
            "acme-2 - (acme-2 may no longer host it: {why}); acme-1 2 (acme-2 may no longer host it: {why})"
        )
    );
    assert_eq!(federation.why_not("acme-2"), format!("Tainted: {why}"));
    // What leaves because of a taint leaves for somewhere else, not for nowhere.
    federation.change("acme-1", |row| {
        row.attributes.taints = gpu(Effect::NoExecute);
    });
    assert_eq!(federation.hosts(), ["acme-1"]);
}

#[test]
fn a_workload_goes_where_it_tolerates_the_taint() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]);
    federation.change("acme-1", |row| {
        row.attributes.taints = gpu(Effect::NoSchedule);
    });
    federation.put(Mode::Duplicated, None, |_| {});
    assert_eq!(federation.hosts(), ["acme-2"]);
    federation.put(Mode::Duplicated, None, |rules| {
        rules.tolerations = vec![Toleration {
            key: Some("gpu".to_owned()),
            value: None,
            effect: Some(Effect::NoSchedule),
        }];
    });
    assert_eq!(federation.hosts(), ["acme-1", "acme-2"]);
}

#[test]
fn a_domicile_includes_what_is_part_of_it_and_holds_when_all_inside_are_lost() {
    let mut federation = Federation::of(&["acme-1", "acme-2", "acme-3"]);
    for (name, jurisdiction) in [("acme-1", "DE-BY"), ("acme-2", "FR"), ("acme-3", "CH")] {
        federation.change(name, |row| {
            row.attributes.jurisdiction = jurisdiction.into();
        });
    }
    federation.put(Mode::Divided, Some(4), |rules| {
        rules.domicile = BTreeSet::from(["EU".to_owned()]);
    });
    assert_eq!(federation.hosts(), ["acme-1", "acme-2"]);
    assert_eq!(federation.lose("acme-1").hosts(), ["acme-2"]);
    assert_eq!(federation.lose("acme-2").hosts(), ["acme-2"]);
    assert_eq!(
        federation.unplaced().unwrap(),
        "none of the 3 members may host it"
    );
}

#[test]
fn an_explanation_has_the_answer_of_every_member() {
    let mut federation = Federation::of(&["acme-1", "acme-2", "beta-1", "gamma-1"]);
    federation.change("beta-1", |row| row.grants.clear());
    federation.schedule("acme-2", Scheduling::Cordoned);
    federation.put(Mode::Single, None, |_| {});
    federation.step();
    let key = WEB.parse().unwrap();
    let explained = || {
        let explanation = explain(&federation.state, federation.hearsay(), &key).unwrap();
        let members = explanation.members.into_iter();
        let members = members.map(|(name, verdict)| {
            let share = verdict
                .share
                .map(|(share, why)| format!(" runs {share} ({why})"));
            let excluded = verdict.excluded.map(|(reason, _)| format!(" {reason}"));
            let (share, excluded) = (share.unwrap_or_default(), excluded.unwrap_or_default());
            format!(
                "{name} of {} hosts {}{share}{excluded}",
                verdict.owner, verdict.hosts
            )
        });
        (members.collect::<Vec<_>>(), explanation.survives)
    };
    assert_eq!(
        explained(),
        (
            [
                "acme-1 of acme hosts 1 runs 1 (placed for the first time)",
                "acme-2 of acme hosts 0 Cordoned",
                "beta-1 of beta hosts 0 NotGranted",
                "gamma-1 of gamma hosts 0",
            ]
            .map(str::to_owned)
            .to_vec(),
            Some(FailureDomain::Owner)
        )
    );
    let unknown = "acme/shop/other".parse().unwrap();
    assert_eq!(
        explain(&federation.state, federation.hearsay(), &unknown),
        None
    );
}
