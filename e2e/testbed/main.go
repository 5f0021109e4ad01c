// Testbed is one program with every component of a Kubernetes control plane. Its first argument chooses the component:
//
//	testbed etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kwok|kubectl|helm ARGUMENTS...
//	testbed kwok-stages    prints the kwok stages of a fake node and its pods
//	testbed reap           kills process groups when its standard input closes
//
// One binary compiles and links the packages of Kubernetes once instead of seven times. Each component runs in a
// process of its own, because their flag sets and feature gates are global and collide within one process.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helmcmd "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodelease "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwokcmd "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: testbed COMPONENT [ARGUMENTS]")
	}
	component := os.Args[1]
	os.Args = os.Args[1:]

	// The component is chosen before any command is constructed, because two commands of Kubernetes in one process panic.
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	case "kubectl":
		run(kubectl.NewDefaultKubectlCommand())
	case "kwok":
		kwok()
	case "kwok-stages":
		fmt.Println(stages())
	case "helm":
		helm()
	case "reap":
		reap()
	default:
		fail("unknown component %q", component)
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// kwok simulates the kubelet of every fake node.
func kwok() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The imported components have registered flags of their own, one of them a "version" that is not a boolean.
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	early := pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	early.ParseErrorsAllowlist.UnknownFlags = true
	early.Usage = func() {}
	ctx, logger := kwoklog.InitFlags(ctx, early)
	ctx, err := kwokconfig.InitFlags(ctx, early)
	if err != nil {
		fail("failed to read the kwok configuration: %v", err)
	}
	command := kwokcmd.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(early)
	if err := command.ExecuteContext(ctx); err != nil {
		logger.Error("kwok ends", err)
		os.Exit(1)
	}
}

// stages returns the state changes of a fake node and its pods. kwok has only those that its configuration lists.
func stages() string {
	documents := []string{
		nodefast.DefaultNodeInit,
		nodelease.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady,
		podfast.DefaultPodComplete,
		podfast.DefaultPodDelete,
	}
	for i, document := range documents {
		documents[i] = strings.TrimSpace(document)
	}
	return strings.Join(documents, "\n---\n")
}

func helm() {
	// As in Helm's own main. Without it the field manager is the name of the binary.
	helmkube.ManagedFieldsManager = "helm"
	command, err := helmcmd.NewRootCmd(os.Stdout, os.Args[1:], helmcmd.SetupLogging)
	if err != nil {
		fail("failed to prepare helm: %v", err)
	}
	if err := command.Execute(); err != nil {
		var coded helmcmd.CommandError
		if errors.As(err, &coded) {
			os.Exit(coded.ExitCode)
		}
		os.Exit(1)
	}
}

// reap reads process groups from standard input, "+4711" to adopt one and "-4711" to release it. When standard input
// closes, it kills the adopted groups. So the process at the other end can be killed without leaving children behind.
func reap() {
	adopted := map[int]bool{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		line := lines.Text()
		group, err := strconv.Atoi(strings.TrimLeft(line, "+-"))
		if err != nil || group <= 1 {
			fail("%q is no process group", line)
		}
		if strings.HasPrefix(line, "+") {
			adopted[group] = true
		} else {
			delete(adopted, group)
		}
	}
	for group := range adopted {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "testbed: "+format+"\n", values...)
	os.Exit(2)
}
