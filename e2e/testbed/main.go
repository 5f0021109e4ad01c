// Testbed is one program that is every component of a Kubernetes control plane, chosen by its first argument:
//
//	testbed etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kwok|kubectl|helm ARGUMENTS...
//	testbed kwok-stages    prints what a fake node and its pods go through
//	testbed reap           kills process groups when its standard input closes
//
// One binary compiles and links the packages of Kubernetes once instead of seven times. Each component runs in a
// process of its own: their flag sets and feature gates are global and collide within one.
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

	// The component is chosen before any command is constructed: two commands of Kubernetes in one process panic.
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

// kwok runs the kubelet of every fake node.
func kwok() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The components linked above have registered flags of their own, among them a "version" that is no boolean.
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

// stages are what a fake node and its pods go through; kwok has none at run time unless its configuration lists them.
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
	// Helm's own main does the same: without it the field manager is the name of the binary.
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

// reap reads process groups from standard input, "+4711" to adopt one and "-4711" to release it, and kills the adopted
// ones when it closes. Whoever holds the other end can so be killed itself without leaving anything behind.
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
