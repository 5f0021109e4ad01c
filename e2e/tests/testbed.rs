//! Tests of the harness on which the other tests depend.

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
/// A thousand times as long as bytes on the loopback take.
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

/// One fleet for all steps, because most of the time is the start of a fleet.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_run_pods_and_keep_their_data_when_they_are_killed_and_restarted() -> Result<()>
{
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
        .context("killing one cluster changed the other")?;

    fleet.restart("lubeck").await?;
    let data = kept.get("kept").await?.data.unwrap_or_default();
    assert_eq!(data, [("by".to_owned(), "etcd".to_owned())].into());
    let client = fleet.client("lubeck")?;
    await_condition("the deployment is ready again", SOON, async || {
        web_is_ready(client.clone()).await
    })
    .await?;

    a_paused_api_server_accepts_connections_and_does_not_answer(&mut fleet).await?;
    an_api_server_is_reached_through_its_link_unless_that_refuses(&mut fleet).await?;

    let cluster = fleet.cluster("bergen")?;
    cluster.stop().await?;
    cluster.restart().await?;
    let client = fleet.client("bergen")?;
    await_condition("a stopped cluster has its data again", SOON, async || {
        web_is_ready(client.clone()).await
    })
    .await?;
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

async fn an_api_server_is_reached_through_its_link_unless_that_refuses(
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
    let fleet = &*fleet;
    // The link does not listen again at once.
    await_condition("kubectl gets through again", SOON, async || {
        fleet.kubectl("bergen", &version).await.map(drop)
    })
    .await?;
    Ok(())
}

/// A proxy in front of a server that sends back every byte.
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
    timeout(SOON, stream.read_exact(&mut answer)).await??;
    ensure!(answer == *word, "the echo is {answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_blackholed_direction_delivers_its_bytes_when_it_passes_again() -> Result<()> {
    let (proxy, mut stream) = echo_behind_proxy().await?;
    echoed(&mut stream, b"pass").await?;

    for direction in [Direction::Forward, Direction::Backward] {
        proxy.set(direction, Flow::Blackhole);
        stream.write_all(b"late").await?;
        let mut answer = [0; 4];
        let early = timeout(A_WHILE, stream.read_exact(&mut answer)).await;
        ensure!(early.is_err(), "{direction:?} delivers {answer:?}");
        proxy.set(direction, Flow::Pass);
        timeout(SOON, stream.read_exact(&mut answer)).await??;
        assert_eq!(&answer, b"late");
    }
    Ok(())
}

#[tokio::test]
async fn every_piece_is_delayed_once_and_delays_do_not_add_up() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(500);
    let (proxy, mut stream) = echo_behind_proxy().await?;
    proxy.set(Direction::Forward, Flow::Delay(DELAY));

    // 64 KiB are at least four pieces, because the proxy reads at most 16 KiB at once.
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(64 * 1024).collect();
    let sent = Instant::now();
    stream.write_all(&bytes).await?;
    let mut answer = vec![0; bytes.len()];
    timeout(SOON, stream.read_exact(&mut answer)).await??;
    let took = sent.elapsed();
    ensure!(answer == bytes, "the echo differs from what was sent");
    ensure!(took >= DELAY, "it took only {took:?}");
    // Four delays that add up take 2 s. The second beyond one delay is for a loaded machine.
    ensure!(took < 3 * DELAY, "delays add up to {took:?}");
    Ok(())
}

#[tokio::test]
async fn a_link_that_refuses_ends_open_connections_and_accepts_none_until_it_is_healed()
-> Result<()> {
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
async fn a_cut_connection_ends_and_a_new_one_passes() -> Result<()> {
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
async fn a_condition_that_is_not_met_is_an_error_with_what_was_seen_last() {
    let mut looks = 0;
    let error = await_condition("lubeck leads", A_WHILE, async || {
        looks += 1;
        anyhow::bail!("riga leads") as Result<()>
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "not within 0.3 s: lubeck leads; last seen: riga leads"
    );
    assert!(looks > 1);
}

#[tokio::test]
async fn two_calls_at_once_never_return_the_same_port() -> Result<()> {
    let (a, b) = tokio::try_join!(free_ports::<8>(), free_ports::<8>())?;
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 16);
    Ok(())
}
