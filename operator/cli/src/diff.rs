//! `kubectl hanse diff`: what overrides make of a workload's objects in each member, or what an edit would change.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use hanse_core::{
    command::Attributes,
    id::{MemberName, OwnerName},
    strict,
    workload::{Manifest, ManifestId, Override, check_overrides, overridden},
};
use hanse_crds::{FederatedWorkload, FederatedWorkloadSpec, Member};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use similar::TextDiff;

use crate::{
    failure::{Asked, Failure},
    federation::{self, WORKLOADS},
    file,
    output::{Format, Streams},
    prose::clean,
    table::{Mood, Paint},
    yaml,
};

const EXIT_CODES: &str = "Exit codes: 1 if a file differs from what is there now, or a member would refuse its part. The others are those \
                          of every command: kubectl hanse --help";

/// Show what the objects of a workload are like in each member.
///
/// For a workload: what its overrides change. For a file with `FederatedWorkload`s: what would change if it were applied. Replicas are those
/// that are written, not the share that a member gets.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Diff {
    /// The name of the `FederatedWorkload`, in the namespace of --namespace (else `default`); or NAMESPACE/NAME.
    #[arg(
        value_name = "WORKLOAD",
        required_unless_present = "filename",
        conflicts_with = "filename"
    )]
    workload: Option<String>,
    /// A file with `FederatedWorkload`s as they would be applied; `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One workload.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    namespace: String,
    name: String,
    /// Members in which the same changes.
    groups: Vec<Group>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    members: Vec<String>,
    /// The differences of each object that differs, as unified diffs.
    objects: BTreeMap<String, String>,
    /// Why these members would refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Compares and writes the differences.
pub(crate) async fn run(
    client: Client,
    namespace: Option<&str>,
    diff: &Diff,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let members = federation::members(&client).await?;
    let namespace = namespace.unwrap_or("default");
    let mut changes = Vec::new();
    match (&diff.workload, &diff.filename) {
        (Some(workload), _) => {
            let (namespace, name) = workload.split_once('/').unwrap_or((namespace, workload));
            let found = workload_of(&client, namespace, name).await?;
            let found = found.ok_or_else(|| Failure::NoWorkload {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })?;
            let written = FederatedWorkloadSpec {
                overrides: Vec::new(),
                ..found.spec.clone()
            };
            let groups = groups(&members, Some(&written), &found.spec);
            changes.push(Changes::new(namespace, name, groups));
        }
        (None, Some(path)) => {
            for wanted in file::workloads(path)? {
                let namespace = wanted.namespace().unwrap_or_else(|| namespace.to_owned());
                let name = wanted.name_any();
                let now = workload_of(&client, &namespace, &name).await?;
                let groups = groups(&members, now.as_ref().map(|it| &it.spec), &wanted.spec);
                changes.push(Changes::new(&namespace, &name, groups));
            }
        }
        // clap asks for one of them.
        (None, None) => {}
    }
    streams.answer(&changes, diff.output, |changes, paint| {
        let changes = changes.iter().map(|it| render(it, paint));
        changes.collect::<Vec<_>>().join("\n")
    })?;
    let groups = changes.iter().flat_map(|it| &it.groups);
    let differing = groups
        .filter(|it| it.refused.is_some() || (diff.filename.is_some() && !it.objects.is_empty()));
    match differing.map(|group| group.members.len()).sum() {
        0 => Ok(()),
        members => Err(Failure::Differs { members }),
    }
}

async fn workload_of(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<FederatedWorkload>, Failure> {
    let api: Api<FederatedWorkload> = Api::namespaced(client.clone(), namespace);
    let asked = Asked::of("get", WORKLOADS).within(namespace);
    federation::answer(asked, api.get_opt(name)).await
}

/// What differs between `before` and `after`, by the members in which it does.
fn groups(
    members: &[Member],
    before: Option<&FederatedWorkloadSpec>,
    after: &FederatedWorkloadSpec,
) -> Vec<Group> {
    let mut groups: BTreeMap<(Option<String>, BTreeMap<String, String>), Vec<String>> =
        BTreeMap::new();
    for member in members {
        let before = before.map(|spec| objects(member, spec));
        // What cannot be read now is no reason not to show what it would be.
        let before = before.and_then(Result::ok).unwrap_or_default();
        let outcome = match objects(member, after) {
            Ok(after) => (None, differences(&before, &after)),
            Err(refused) => (Some(refused), BTreeMap::new()),
        };
        groups.entry(outcome).or_default().push(member.name_any());
    }
    let groups = groups.into_iter();
    groups
        .map(|((refused, objects), members)| Group {
            members,
            objects,
            refused,
        })
        .collect()
}

/// The objects in `member`, as YAML.
fn objects(
    member: &Member,
    spec: &FederatedWorkloadSpec,
) -> Result<BTreeMap<ManifestId, (String, String)>, String> {
    let manifests = spec.manifests.iter().cloned().map(Manifest::try_from);
    let manifests: Result<Vec<_>, _> = manifests.collect();
    let manifests = manifests.map_err(|error| error.to_string())?;
    let overrides = spec.overrides.iter().map(|written| {
        // The ledger's are the same JSON.
        let written = serde_json::to_value(written)?;
        strict::read(written)
    });
    let overrides: Result<Vec<Override>, serde_json::Error> = overrides.collect();
    let overrides = overrides.map_err(|error| error.to_string())?;
    check_overrides(&manifests, &overrides).map_err(|error| error.to_string())?;
    let attributes = attributes(member);
    let name: MemberName = member
        .name_any()
        .parse()
        .map_err(|error| format!("{error}"))?;
    let owner = member.status.as_ref().and_then(|it| it.owner.clone());
    let owner: OwnerName = owner
        .unwrap_or_default()
        .parse()
        .map_err(|error| format!("{error}"))?;
    let label = |key: &str| attributes.label((&name, &owner), key);
    let changed = overridden(&manifests, &overrides, label).map_err(|error| error.to_string())?;
    let yaml = |manifest: &Manifest| yaml::write(manifest.object()).unwrap_or_default();
    let objects = changed.iter();
    Ok(objects
        .map(|manifest| (manifest.id(), (manifest.to_string(), yaml(manifest))))
        .collect())
}

fn attributes(member: &Member) -> Attributes {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Attributes {
        provider: text(&member.spec.provider),
        region: text(&member.spec.region),
        jurisdiction: text(&member.spec.jurisdiction),
        labels: member.spec.labels.clone(),
        ..Attributes::default()
    }
}

fn differences(
    before: &BTreeMap<ManifestId, (String, String)>,
    after: &BTreeMap<ManifestId, (String, String)>,
) -> BTreeMap<String, String> {
    let gone = before.iter().filter(|(id, _)| !after.contains_key(*id));
    let objects = after.iter().chain(gone);
    let differences = objects.filter_map(|(id, (object, _))| {
        let text =
            |side: &BTreeMap<ManifestId, (String, String)>| side.get(id).map(|it| it.1.clone());
        let (before, after) = (
            text(before).unwrap_or_default(),
            text(after).unwrap_or_default(),
        );
        let diff = TextDiff::from_lines(&before, &after);
        let diff = diff.unified_diff().to_string();
        (!diff.is_empty()).then(|| (object.clone(), diff))
    });
    differences.collect()
}

impl Changes {
    fn new(namespace: &str, name: &str, groups: Vec<Group>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            groups,
        }
    }
}

fn render(changes: &Changes, paint: Paint) -> String {
    let title = format!("{}/{}\n", changes.namespace, changes.name);
    let groups = changes.groups.iter().map(|group| {
        let members = group.members.join(", ");
        let head = match &group.refused {
            Some(why) => paint.text(Mood::Bad, &format!("{members}: refuse it: {}", clean(why))),
            None if group.objects.is_empty() => format!("{members}: no difference"),
            None if group.objects.len() == 1 => format!("{members}: 1 object differs"),
            None => format!("{members}: {} objects differ", group.objects.len()),
        };
        let objects = group.objects.iter();
        let objects = objects.map(|(object, diff)| format!("{object}\n{}", painted(diff, paint)));
        format!("{head}\n{}", objects.collect::<String>())
    });
    title + &groups.collect::<Vec<_>>().join("\n")
}

fn painted(diff: &str, paint: Paint) -> String {
    let lines = diff.lines().map(|line| {
        let line = match line.as_bytes().first() {
            Some(b'+') => paint.text(Mood::Good, line),
            Some(b'-') => paint.text(Mood::Bad, line),
            Some(_) | None => line.to_owned(),
        };
        format!("{line}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use hanse_crds::Lease;
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn members() -> Vec<Member> {
        ["bergen", "lubeck", "riga"]
            .map(|name| {
                let mut member = testing::member(name, "acme", Lease::Held);
                member.spec.provider =
                    Some(if name == "riga" { "tet" } else { "hetzner" }.to_owned());
                member.spec.region = (name != "riga").then(|| format!("{name}-1"));
                member
            })
            .into()
    }

    fn spec(image: &str, overrides: &serde_json::Value) -> FederatedWorkloadSpec {
        let containers = json!([{"name": "app", "image": image}]);
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "template": {"spec": {"containers": containers}}},
        });
        serde_json::from_value(json!({"manifests": [web], "overrides": overrides})).unwrap()
    }

    fn mirrored() -> serde_json::Value {
        json!([
            {"members": {"matchLabels": {"hanse.dev/provider": "hetzner"}}, "imageRegistry": "mirror.example"},
            {"merge": {"metadata": {"labels": {"region": "$(member:hanse.dev/region)"}}}},
        ])
    }

    #[test]
    fn members_with_the_same_differences_are_shown_together_and_who_would_refuse() {
        let now = spec("ghcr.io/acme/web:1", &json!([]));
        let only_images = json!([mirrored()[0]]);
        let wanted = spec("ghcr.io/acme/web:1", &only_images);
        let changes = |wanted| Changes::new("shop", "web", groups(&members(), Some(&now), wanted));
        insta::assert_snapshot!(render(&changes(&wanted), Paint::Plain));
        let wanted = spec("ghcr.io/acme/web:2", &mirrored());
        insta::assert_snapshot!(render(&changes(&wanted), Paint::Plain));
    }

    #[test]
    fn an_override_that_the_federation_would_refuse_is_refused_for_all() {
        let wrong = json!([{"manifests": {"kind": "Service"}, "merge": {"a": "b"}}]);
        let groups = groups(&members(), None, &spec("web:1", &wrong));
        assert_eq!(
            (groups.len(), groups[0].refused.as_deref()),
            (
                1,
                Some("`overrides[0]` is for Service '*', and no manifest is that")
            )
        );
    }

    #[test]
    fn an_object_that_comes_or_goes_is_shown_whole() {
        let some = spec("web:1", &json!([]));
        let none = FederatedWorkloadSpec::default();
        let shown = |before: Option<&FederatedWorkloadSpec>, after| {
            let groups = groups(&members(), before, after);
            groups[0].objects["Deployment 'web'"].clone()
        };
        assert!(shown(None, &some).contains("\n+kind: Deployment\n"));
        assert!(shown(Some(&some), &none).contains("\n-kind: Deployment\n"));
    }
}
