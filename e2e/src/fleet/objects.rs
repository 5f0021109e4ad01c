//! Objects of any kind, read as a user reads them: by kind, name and a JSON path.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::{Fleet, federate::SETTLES_WITHIN};
use crate::condition::await_condition;

const READY: &str = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
const WHY: &str = r#"{.status.conditions[?(@.type=="Ready")].message}"#;

impl Fleet {
    /// The value of a JSON path of one object (`KIND/NAME`) in one member; empty if there is no such object or kind.
    pub async fn value(
        &self,
        member: &str,
        object: &str,
        namespace: &str,
        path: &str,
    ) -> Result<String> {
        let path = format!("jsonpath={path}");
        let arguments = [
            "get",
            object,
            "-n",
            namespace,
            "--ignore-not-found",
            "-o",
            &path,
        ];
        match self.kubectl(member, &arguments).await {
            Err(error)
                if format!("{error:#}").contains("the server doesn't have a resource type") =>
            {
                Ok(String::new())
            }
            found => found,
        }
    }

    /// The same in every member in which it is not empty.
    pub async fn values(
        &self,
        object: &str,
        namespace: &str,
        path: &str,
    ) -> Result<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        for member in self.running() {
            let found = self.value(member, object, namespace, path).await?;
            if !found.is_empty() {
                values.insert(member.to_owned(), found);
            }
        }
        Ok(values)
    }

    /// The sum of a number over all members that run.
    pub async fn sum(&self, object: &str, namespace: &str, path: &str) -> Result<u32> {
        let values = self.values(object, namespace, path).await?;
        values
            .values()
            .map(|value| value.parse::<u32>().with_context(|| value.clone()))
            .sum()
    }

    /// Makes these namespaces in one member.
    pub async fn create_namespaces(&self, member: &str, names: &[&str]) -> Result<()> {
        for name in names {
            self.kubectl(member, &["create", "namespace", name]).await?;
        }
        Ok(())
    }

    /// Merges a patch into one object, as `manager`.
    pub async fn merge(
        &self,
        member: &str,
        object: &str,
        namespace: &str,
        manager: &str,
        patch: &str,
    ) -> Result<()> {
        let manager = format!("--field-manager={manager}");
        let what = [
            "patch",
            object,
            "-n",
            namespace,
            "--type=merge",
            "-p",
            patch,
        ];
        self.kubectl(member, &[&what[..], &[&manager]].concat())
            .await?;
        Ok(())
    }

    /// Waits until a JSON path of one object has this value; an empty value also means that there is no such object.
    pub async fn await_value(
        &self,
        member: &str,
        object: &str,
        namespace: &str,
        path: &str,
        expected: &str,
    ) -> Result<()> {
        let description = format!("{path} of {object} in {member} is '{expected}'");
        await_condition(description, SETTLES_WITHIN, async || {
            let found = self.value(member, object, namespace, path).await?;
            ensure!(found == expected, "it is '{found}'");
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Waits until a workload is ready for the specification that it has now.
    pub async fn await_ready(&self, member: &str, workload: &str, namespace: &str) -> Result<()> {
        let object = format!("fwl/{workload}");
        let path = format!("{READY} {{.status.observedGeneration}}/{{.metadata.generation}} {WHY}");
        let description = format!("{object} in {namespace} is ready");
        await_condition(description, SETTLES_WITHIN, async || {
            let found = self.value(member, &object, namespace, &path).await?;
            let current = found
                .split_whitespace()
                .nth(1)
                .and_then(|it| it.split_once('/'))
                .is_some_and(|(observed, generation)| observed == generation);
            ensure!(found.starts_with("True") && current, "it is {found}");
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Waits until a workload says these words in the message of its condition `Ready`.
    pub async fn await_words(
        &self,
        member: &str,
        workload: &str,
        namespace: &str,
        words: &str,
    ) -> Result<()> {
        let object = format!("fwl/{workload}");
        await_condition(
            format!("{object} says '{words}'"),
            SETTLES_WITHIN,
            async || {
                let found = self.value(member, &object, namespace, WHY).await?;
                ensure!(found.contains(words), "it says '{found}'");
                Ok(())
            },
        )
        .await?;
        Ok(())
    }
}
