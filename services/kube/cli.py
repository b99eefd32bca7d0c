"""``auricle k8s``: a release on a cluster. The kubernetes client is imported by the commands that talk to it."""

from pathlib import Path
from typing import Annotated

import typer

from services.kube.rollout_cli import rollout_app
from services.kube.session import Options, session

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; the cluster checks it, keeps nothing.")
]

k8s_app = typer.Typer(no_args_is_help=True, help="A release on a Kubernetes cluster: status, scale, train, rollout.")
k8s_app.add_typer(rollout_app, name="rollout")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(k8s_app, name="k8s")


@k8s_app.callback()
def options(
    context: typer.Context,
    kube_context: Annotated[str | None, typer.Option("--context", help="Of the kubeconfig; its current one.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Of the release; the context's.")] = None,
    release: Annotated[str | None, typer.Option(help="Helm's name of the release, where there are several.")] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Longest wait for pods or a job.")] = 3600.0,
) -> None:
    """The cluster is the kubeconfig's ($KUBECONFIG), or the one that the command runs in."""
    Options(kube_context, namespace, release, timeout).keep(context)


@k8s_app.command()
def status(context: typer.Context) -> None:
    """Pods, versions, models, autoscalers, queues and signals in one table; ends with 1 while pods are not ready."""
    with session(context) as here:
        from rich.console import Console

        from services.kube.release import find_release
        from services.kube.status import rows_of, table

        release = find_release(here.cluster, here.options.release)
        rows = rows_of(here.cluster, release)
        Console().print(table(release, rows))
    if any(row.ready < row.wanted for row in rows):
        raise typer.Exit(1)


@k8s_app.command()
def scale(
    context: typer.Context,
    component: Annotated[str, typer.Argument(help="encoder, decoder, preprocess, gateway, prepare, encode or decode.")],
    replicas: Annotated[int | None, typer.Option(min=0, help="So many, whatever the load: autoscaling pauses.")] = None,
    least: Annotated[int | None, typer.Option("--min", min=0, help="The autoscaler's lower limit.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Its upper limit.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take --replicas back.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Set how many pods a component has, or the limits of its autoscaler. Helm's next upgrade sets them anew."""
    if sum((replicas is not None, least is not None or most is not None, resume)) != 1:
        raise typer.BadParameter("give --replicas, or --min and --max, or --resume")
    with session(context, dry_run=dry_run) as here:
        from services.kube import scaling
        from services.kube.release import find_release, name_of
        from services.kube.waiting import rolled_out

        deployment = find_release(here.cluster, here.options.release).deployment(component)
        if replicas is not None:
            scaling.hold(here.cluster, deployment, replicas, here.telling)
            rolled_out(here.cluster, name_of(deployment), here.telling, here.options.timeout_seconds, replicas)
        elif resume:
            scaling.let_go(here.cluster, deployment, here.telling)
        else:
            scaling.set_limits(here.cluster, deployment, least, most, here.telling)


@k8s_app.command()
def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="TOML file; its paths are those of the pods, /data and /models.")],
    claim: Annotated[str, typer.Option(help="PersistentVolumeClaim with manifests and audio, mounted at /data.")],
    name: Annotated[str | None, typer.Option(help="Of the run; train-RECIPE by default.")] = None,
    folder: Annotated[str | None, typer.Option(help="Of checkpoints and curves; /data/runs/NAME by default.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Pods that train together; more than one needs JobSets.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Of each pod, one for each GPU.")] = 1,
    image: Annotated[str | None, typer.Option(help="Of the trainer; the release's registry and version.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is made.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Run a recipe on pods like the decoder's, and follow it. A run that is cut off goes on where it was."""
    with session(context, dry_run=dry_run) as here:
        from services.kube import training
        from services.kube.release import find_release

        run_name = name or f"train-{recipe.stem.replace('_', '-').lower()}"
        run = training.Run(
            run_name, recipe.read_text(), claim, folder or f"/data/runs/{run_name}", nodes, processes, image
        )
        release = find_release(here.cluster, here.options.release)
        made = training.start(here.cluster, release, run, here.telling)
        if not detach and not dry_run:
            training.follow(here.cluster, run, here.telling, here.options.timeout_seconds)
        elif detach:
            typer.echo(
                f"kubectl --namespace {here.cluster.namespace} logs --follow --selector {training.RUN}={run_name}"
            )
            typer.echo(
                f"remove it: kubectl --namespace {here.cluster.namespace} delete {made['kind'].lower()} {run_name}"
            )
