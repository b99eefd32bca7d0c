"""A new model beside the one that serves: started, given a share, promoted or aborted.

    start      model into the volume; canary encoder and decoder; then the gateway gives them their share
    share      another share
    promote    the canary takes everything, encoder and decoder of the release change, and take everything back
    abort      the gateway gives the canary nothing, then it goes; a promotion that has begun is taken back first

Each step can be repeated: a command that was cut off is given again. No step leaves a moment in which an answer could
need halves of two models.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from services.kube import canary
from services.kube.canary import HALVES, canary_name
from services.kube.cluster import DEPLOYMENTS, JOBS, SERVICES, Cluster, Conflict, KubeError, Object
from services.kube.release import Release, find_release, model_of, name_of, with_model, with_variables
from services.kube.scaling import hold, let_go
from services.kube.telling import Telling
from services.kube.waiting import job_done, rolled_out

# Of a change that others come between.
_TRIES = 5
# They ask encoder and decoder of the release, whatever the gateway does; units that they would fail wait in the queues.
WORKERS = ("worker-prepare", "worker-encode", "worker-decode")


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to."""

    model: str
    passed: bool
    text: str


class Rollout:
    """A rollout of a release.

    Args:
        cluster: where it is.
        instance: Helm's name of the release; None where there is but one.
        telling: is told.
        timeout_seconds: for each wait.
    """

    def __init__(self, cluster: Cluster, instance: str | None, telling: Telling, timeout_seconds: float) -> None:
        self._cluster = cluster
        self._instance = instance
        self._telling = telling
        self._timeout_seconds = timeout_seconds

    @property
    def release(self) -> Release:
        """As it is now."""
        return find_release(self._cluster, self._instance)

    def start(self, model: str, percent: int, replicas: int, job: Object | None) -> None:
        """Bring the model up beside the stable one, and give it its share.

        Args:
            model: a hub id or a directory of the volume.
            percent: of the conversations.
            replicas: of its encoder and of its decoder.
            job: fills the volume first; None where it is filled.

        Raises:
            KubeError: another is being rolled out, it is the stable one, or the cluster does not bring it up.
        """
        release = self.release
        if release.canary:
            rolled = model_of(next(iter(release.canary.values())))
            raise KubeError(f"a rollout is in progress: {rolled}; promote or abort it first")
        if model == model_of(release.deployment("decoder")):
            raise KubeError(f"{model} is what the release serves")
        made = {half: canary.deployment(release, half, model, replicas) for half in HALVES}
        variables = canary.gateway_variables(release, percent)
        if job:
            self._fill(model, job)
        for half in HALVES:
            name = canary_name(release, half)
            self._telling.will(f"create {name}: {replicas} pods of {canary.images_of(made[half])} with {model}")
            self._cluster.create(DEPLOYMENTS, made[half])
            stable = self._cluster.get(SERVICES, f"{release.fullname}-{half}")
            self._make_service(canary.service(release, half, stable))
        for half in HALVES:
            rolled_out(self._cluster, canary_name(release, half), self._telling, self._timeout_seconds)
        self._telling.will(f"give {percent} % of the conversations to {model}; the gateway's pods are replaced")
        self._tell_gateway(release, variables)

    def share(self, percent: int) -> None:
        """Give the canary another share."""
        release = self._in_progress()
        self._telling.will(f"give {percent} % of the conversations to the canary; the gateway's pods are replaced")
        self._tell_gateway(release, canary.gateway_variables(release, percent))

    def note(self, verdict: Verdict) -> None:
        """Write down what the comparison came to, for `promote`."""
        noted = json.dumps({"model": verdict.model, "passed": verdict.passed, "text": verdict.text})
        self._annotate_canary(self._in_progress(), canary.VERDICT, noted)

    def model(self) -> str:
        """The model that is rolled out."""
        return model_of(self._in_progress().canary["decoder"]) or ""

    def promote(self, *, force: bool) -> None:
        """Make the canary's model the release's.

        Raises:
            KubeError: it was not compared, or compared and found worse, and `force` is not set.
        """
        release = self._in_progress()
        model = self.model()
        self._check_verdict(release, model, force)
        if canary.FORMER_MODEL not in (release.canary["decoder"]["metadata"].get("annotations") or {}):
            former = model_of(release.deployment("decoder")) or ""
            self._annotate_canary(release, canary.FORMER_MODEL, former)
        for half in HALVES:
            self._grow_canary(release, half)
        self._telling.will(f"give all conversations to the canary while the release changes to {model}")
        self._tell_gateway(release, canary.gateway_variables(release, 100))
        self._change_release(model)
        self._take_down(self.release)
        self._telling.say(
            f"the release serves {model}; set model.name={model} in its values before the next helm upgrade"
        )

    def abort(self) -> None:
        """Take the canary away; a promotion that has begun is taken back before."""
        release = self.release
        notes = (release.canary.get("decoder") or {"metadata": {}})["metadata"].get("annotations") or {}
        former = notes.get(canary.FORMER_MODEL)
        if former and any(model_of(release.deployment(half)) != former for half in HALVES):
            self._telling.will(f"give all conversations to the canary while the release goes back to {former}")
            self._tell_gateway(release, canary.gateway_variables(release, 100))
            self._change_release(former)
        elif not release.canary and canary.percent_of(release) is None:
            raise KubeError("no rollout is in progress")
        self._take_down(self.release)

    def _in_progress(self) -> Release:
        release = self.release
        if missing := [half for half in HALVES if half not in release.canary]:
            begun = "is not whole: abort it" if release.canary else "is not in progress"
            raise KubeError(f"a rollout {begun}; it has no {' and no '.join(missing)}")
        return release

    def _fill(self, model: str, job: Object) -> None:
        self._telling.will(f"get {model} into the volume, by job {name_of(job)}")
        try:
            self._cluster.create(JOBS, job)
        except Conflict:
            self._telling.say(f"job {name_of(job)} is there already")
        job_done(self._cluster, name_of(job), self._telling, self._timeout_seconds)

    def _make_service(self, service: Object) -> None:
        try:
            self._cluster.create(SERVICES, service)
        except Conflict:
            self._telling.say(f"service {name_of(service)} is there already")

    def _tell_gateway(self, release: Release, variables: dict[str, str | None]) -> None:
        name = name_of(release.deployment("gateway"))
        self._change_pods(name, lambda template: with_variables(template, variables))
        rolled_out(self._cluster, name, self._telling, self._timeout_seconds)

    def _change_pods(self, name: str, change: Callable[[Object], Object]) -> None:
        """Change a Deployment's pod template as it is now; autoscalers and controllers write to it at any time."""
        for tries_left in reversed(range(_TRIES)):
            deployment = self._cluster.get(DEPLOYMENTS, name)
            template = change(deployment["spec"]["template"])
            if template == deployment["spec"]["template"]:
                return
            # Lists are replaced whole, so somebody else's change meanwhile must not be lost.
            version = {"resourceVersion": deployment["metadata"]["resourceVersion"]}
            patch = {"metadata": version, "spec": {"template": {"spec": template["spec"]}}}
            try:
                self._cluster.patch(DEPLOYMENTS, name, patch)
                return
            except Conflict:
                if not tries_left:
                    raise

    def _annotate_canary(self, release: Release, key: str, value: str) -> None:
        change = {"metadata": {"annotations": {key: value}}}
        self._cluster.patch(DEPLOYMENTS, canary_name(release, "decoder"), change)

    def _check_verdict(self, release: Release, model: str, force: bool) -> None:
        notes = release.canary["decoder"]["metadata"].get("annotations") or {}
        noted = json.loads(notes.get(canary.VERDICT, "{}"))
        if noted.get("model") == model and noted["passed"]:
            self._telling.say(f"compared: {noted['text']}")
        elif force:
            self._telling.say(f"promoted by force: {noted.get('text', 'it was never compared')}")
        elif noted.get("model") == model:
            raise KubeError(f"the comparison speaks against it: {noted['text']}; --force promotes it all the same")
        else:
            raise KubeError("it was not compared with the stable model: auricle k8s rollout compare, or --force")

    def _grow_canary(self, release: Release, half: str) -> None:
        wanted, name = release.deployment(half)["spec"].get("replicas", 1), canary_name(release, half)
        if release.canary[half]["spec"]["replicas"] < wanted:
            self._telling.will(f"scale {name} to {wanted} pods, as many as it stands in for")
            self._cluster.patch(DEPLOYMENTS, name, {"spec": {"replicas": wanted}})
        rolled_out(self._cluster, name, self._telling, self._timeout_seconds)

    def _change_release(self, model: str) -> None:
        """Both halves of the release to another model, while the canary answers and the workers wait."""
        release = self.release
        held = [release.stable[name] for name in WORKERS if name in release.stable]
        for worker in held:
            hold(self._cluster, worker, 0, self._telling)
        for half in HALVES:
            # Idle meanwhile, it must not be scaled in before it gets its load back.
            hold(
                self._cluster,
                release.deployment(half),
                release.deployment(half)["spec"].get("replicas", 1),
                self._telling,
            )
        for worker in held:
            rolled_out(self._cluster, name_of(worker), self._telling, self._timeout_seconds, replicas=0)
        release = self.release
        for half in HALVES:
            deployment = release.deployment(half)
            self._telling.will(f"change {name_of(deployment)} from {model_of(deployment)} to {model}")
            self._change_pods(name_of(deployment), partial(with_model, component=half, model=model))
        for half in HALVES:
            rolled_out(self._cluster, name_of(release.deployment(half)), self._telling, self._timeout_seconds)

    def _take_down(self, release: Release) -> None:
        self._telling.will("give all conversations to the release; the gateway's pods are replaced")
        self._tell_gateway(release, canary.gateway_variables(release, None))
        release = self.release
        for name in (*HALVES, *WORKERS):
            if name in release.stable:
                let_go(self._cluster, release.stable[name], self._telling)
        for half in HALVES:
            name = canary_name(release, half)
            self._telling.will(f"remove {name}")
            self._cluster.delete(SERVICES, name)
            # Last: while it is there a rollout is in progress.
            self._cluster.delete(DEPLOYMENTS, name)
