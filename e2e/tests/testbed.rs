//! The harness itself: what the other stories rest on has to be true of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_e2e::{
    Component, Direction, Fleet, Flow, Links, MemberPlan, Proxy, await_condition, free_ports,
    hold_condition,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{Api, Client};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const SOON: Duration = Duration::from_secs(30);
/// Long enough that what passes would have passed, a thousand times over.
const A_WHILE: Duration = Duration::from_millis(300);

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 10
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, resources: {requests: {cpu: 100m, memory: 64Mi}}}]}
";

async fn web_is_ready(client: Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let ready = deployments
        .get("web")
        .await?
        .status
        .and_then(|status| status.ready_replicas);
    ensure!(ready == Some(10), "{ready:?} replicas are ready");
    Ok(())
}

/// One fleet for all of it, since starting one is most of the time it takes.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_start_run_pods_are_killed_and_come_back_with_their_data() -> Result<()> {
    let plans = [MemberPlan::new("lubeck"), MemberPlan::new("bergen")];
    let mut fleet = Fleet::start("testbed", plans, Links::Proxied).await?;

    for member in ["lubeck", "bergen"] {
        fleet.apply_yaml(member, WEB).await?;
        let client = fleet.client(member)?;
        await_condition("the deployment is ready", SOON, async || {
            web_is_ready(client.clone()).await
        })
        .await?;
    }

    fleet
        .kubectl(
            "lubeck",
            &["create", "configmap", "kept", "--from-literal=by=etcd"],
        )
        .await?;
    fleet.kill("lubeck").await?;
    let kept: Api<ConfigMap> = Api::default_namespaced(fleet.client("lubeck")?);
    ensure!(
        kept.get("kept").await.is_err(),
        "a killed API server answers"
    );
    web_is_ready(fleet.client("bergen")?)
        .await
        .context("the other cluster is not touched")?;

    fleet.restart("lubeck").await?;
    let data = kept.get("kept").await?.data.unwrap_or_default();
    assert_eq!(data, [("by".to_owned(), "etcd".to_owned())].into());
    let client = fleet.client("lubeck")?;
    await_condition("the deployment is ready again", SOON, async || {
        web_is_ready(client.clone()).await
    })
    .await?;

    a_paused_api_server_accepts_connections_and_does_not_answer(&mut fleet).await?;
    an_api_server_is_reached_through_its_link_only_while_that_passes(&mut fleet).await?;

    let cluster = fleet.cluster("bergen")?;
    cluster.stop().await?;
    cluster.restart().await?;
    web_is_ready(fleet.client("bergen")?)
        .await
        .context("a stopped cluster comes back with its data")?;
    fleet.end().await
}

async fn a_paused_api_server_accepts_connections_and_does_not_answer(
    fleet: &mut Fleet,
) -> Result<()> {
    let cluster = fleet.cluster("bergen")?;
    let client = cluster.client();
    cluster
        .component(Component::ApiServer)
        .context("it runs")?
        .pause();
    ensure!(
        timeout(A_WHILE, web_is_ready(client.clone()))
            .await
            .is_err(),
        "a paused API server answers"
    );
    cluster
        .component(Component::ApiServer)
        .context("it runs")?
        .resume();
    await_condition("it answers again", SOON, async || {
        web_is_ready(client.clone()).await
    })
    .await?;
    Ok(())
}

async fn an_api_server_is_reached_through_its_link_only_while_that_passes(
    fleet: &mut Fleet,
) -> Result<()> {
    let port = fleet.api_link("bergen")?.address().port();
    let through = fleet
        .cluster("bergen")?
        .kubeconfig_through(port)?
        .display()
        .to_string();
    let version = ["--kubeconfig", &through, "get", "--raw", "/version"];
    fleet.kubectl("bergen", &version).await?;
    fleet.api_link("bergen")?.refuse();
    ensure!(
        fleet.kubectl("bergen", &version).await.is_err(),
        "a link that refuses lets kubectl through"
    );
    fleet.heal_all();
    fleet.kubectl("bergen", &version).await.map(drop)
}

/// A proxy in front of someone who sends back everything.
async fn echo_behind_proxy() -> Result<(Proxy, TcpStream)> {
    let echo = TcpListener::bind("127.0.0.1:0").await?;
    let target = echo.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    let [port] = free_ports().await?;
    let proxy = Proxy::start(([127, 0, 0, 1], port).into(), target).await?;
    let stream = TcpStream::connect(proxy.address()).await?;
    Ok((proxy, stream))
}

async fn echoed(stream: &mut TcpStream, word: &[u8; 4]) -> Result<()> {
    stream.write_all(word).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *word, "the echo is {answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_direction_that_swallows_delivers_everything_once_it_passes_again() -> Result<()> {
    let (proxy, mut stream) = echo_behind_proxy().await?;
    echoed(&mut stream, b"pass").await?;

    for direction in [Direction::Forward, Direction::Backward] {
        proxy.set(direction, Flow::Blackhole);
        stream.write_all(b"late").await?;
        let mut answer = [0; 4];
        let early = timeout(A_WHILE, stream.read_exact(&mut answer)).await;
        ensure!(early.is_err(), "{direction:?} lets through {answer:?}");
        proxy.set(direction, Flow::Pass);
        timeout(SOON, stream.read_exact(&mut answer)).await??;
        assert_eq!(&answer, b"late");
    }
    Ok(())
}

#[tokio::test]
async fn a_delay_adds_to_each_answer_and_not_to_the_one_behind_it() -> Result<()> {
    let (proxy, mut stream) = echo_behind_proxy().await?;
    proxy.set(Direction::Forward, Flow::Delay(Duration::from_millis(200)));

    let sent = Instant::now();
    for word in [b"one ", b"two ", b"six "] {
        stream.write_all(word).await?;
    }
    let mut answer = [0; 12];
    timeout(SOON, stream.read_exact(&mut answer)).await??;
    assert_eq!(&answer, b"one two six ");
    let took = sent.elapsed();
    ensure!(took >= Duration::from_millis(200), "it took only {took:?}");
    ensure!(
        took < Duration::from_millis(550),
        "delays add up to {took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_link_that_refuses_ends_what_stands_and_lets_nobody_in_until_it_heals() -> Result<()> {
    let (proxy, mut stream) = echo_behind_proxy().await?;
    echoed(&mut stream, b"pass").await?;

    proxy.refuse();
    await_condition("connections are refused", SOON, async || {
        ensure!(
            TcpStream::connect(proxy.address()).await.is_err(),
            "one is accepted"
        );
        Ok(())
    })
    .await?;
    let ended = timeout(SOON, stream.read(&mut [0; 4])).await?;
    ensure!(
        !matches!(ended, Ok(1..)),
        "the connection still carries something"
    );
    hold_condition("connections are refused", A_WHILE, async || {
        ensure!(
            TcpStream::connect(proxy.address()).await.is_err(),
            "one is accepted"
        );
        Ok(())
    })
    .await?;

    proxy.heal();
    await_condition("connections are accepted again", SOON, async || {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        echoed(&mut stream, b"heal").await
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_and_the_next_one_passes() -> Result<()> {
    let (proxy, mut stream) = echo_behind_proxy().await?;
    echoed(&mut stream, b"pass").await?;
    proxy.cut();
    let ended = timeout(SOON, stream.read(&mut [0; 4])).await?;
    ensure!(
        !matches!(ended, Ok(1..)),
        "the connection still carries something"
    );
    let mut next = TcpStream::connect(proxy.address()).await?;
    echoed(&mut next, b"next").await
}

#[tokio::test]
async fn what_is_waited_for_in_vain_says_what_was_seen_last() {
    let mut looks = 0;
    let error = await_condition("the moon is blue", A_WHILE, async || {
        looks += 1;
        anyhow::bail!("it is grey") as Result<()>
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "waited 0.3 s in vain until the moon is blue; last seen: it is grey"
    );
    assert!(looks > 1);
}

#[tokio::test]
async fn no_port_is_handed_out_twice() -> Result<()> {
    let (a, b) = tokio::try_join!(free_ports::<8>(), free_ports::<8>())?;
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 16);
    Ok(())
}
