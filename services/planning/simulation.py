"""The platform in simulated time: what happens to each request, and to the replicas meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simpy import Environment

from services.planning.chart import CPU_SERVICES, SERVICES, Rules
from services.planning.decoding import DecoderReplica
from services.planning.encoding import EncoderReplica
from services.planning.fleet import Fleet
from services.planning.hearing import PreprocessReplica
from services.planning.load import Request
from services.planning.processor import Processor
from services.planning.profile import Profile
from services.planning.scaling import Scaler
from services.planning.scenario import StartSeconds
from services.planning.signals import Signals
from services.planning.working import Holder, UnitQueue

_REPORTS = 200
_LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class Setup:
    """What is simulated besides the requests.

    Attributes:
        rules: the chart's.
        profile: service times.
        replicas: of each service; where scaling is on, at the beginning.
        scaled: whether the rules change them.
        start_seconds: of new pods.
        shared_cores: one machine for all; None gives each replica a device of its own.
        scrape_seconds: of Prometheus.
        seed: of what is drawn on the way.
    """

    rules: Rules
    profile: Profile
    replicas: Mapping[str, int]
    scaled: bool = False
    start_seconds: StartSeconds = field(default_factory=StartSeconds)
    shared_cores: float | None = None
    scrape_seconds: float = 15.0
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        requests: as they were given, with what happened to them.
        history: by service, times and the number of replicas from then on.
        replica_hours: by service.
        preemptions: of all decoders.
    """

    requests: Sequence[Request]
    history: Mapping[str, Sequence[tuple[float, int]]]
    replica_hours: Mapping[str, float]
    preemptions: int


def simulate(
    setup: Setup,
    requests: Sequence[Request],
    span: tuple[float, float, float],
    on_progress: Callable[[float], None] = lambda _: None,
) -> Outcome:
    """Let the requests come; when the span ends, those that are still there are answered before it returns.

    Args:
        requests: in the order of their coming.
        span: seconds at which it begins, from which replicas' hours count, and at which it ends.
        on_progress: told the part that is done, 0 to 1.
    """
    begin, counted_from, end = span
    platform = Platform(setup, begin)
    env, fleets = platform.env, platform.fleets
    env.process(platform.arrive(requests))
    if setup.scaled:
        env.process(platform.scale())
    if counted_from > begin:
        env.run(until=counted_from)
    before = {name: fleet.replica_seconds() for name, fleet in fleets.items()}
    for share in range(1, _REPORTS + 1):
        env.run(until=counted_from + (end - counted_from) * share / _REPORTS)
        on_progress(share / _REPORTS)
    hours = {name: (fleet.replica_seconds() - before[name]) / 3600 for name, fleet in fleets.items()}
    history = {name: tuple(fleet.history) for name, fleet in fleets.items()}
    # What is still here gets its answer: nothing comes any more, and every queue has a limit.
    while platform.here:
        env.run(until=env.now + _LOOK_SECONDS)
    return Outcome(requests, history, hours, sum(decoder.preemptions for decoder in platform.decoders))


class Platform:
    """Fleets of the services, and the way of a request through them.

    Attributes:
        here: requests that have come and have no end yet.
        encoders, decoders: all that there ever were.
    """

    def __init__(self, setup: Setup, start: float) -> None:
        self.env = Environment(initial_time=start)
        self._setup, self._random = setup, Random(setup.seed)
        self._shared = None if setup.shared_cores is None else Processor(self.env, setup.shared_cores)
        self._threads = setup.shared_cores or 1.0
        self.here = 0
        self.encoders: list[EncoderReplica] = []
        self.decoders: list[DecoderReplica] = []
        self.gateway = self._fleet("gateway", Holder)
        self.worker = self._fleet("worker", Holder)
        self.preprocess = self._fleet("preprocess", self._make_preprocess)
        self.encoder = self._fleet("encoder", self._make_encoder)
        self.decoder = self._fleet("decoder", self._make_decoder)
        self.fleets: dict[str, Fleet[Any]] = {name: getattr(self, name) for name in SERVICES}
        self._units = UnitQueue(self.env, setup.rules.limits.units)
        self._signals = Signals(self)

    @property
    def waiting_units(self) -> int:
        """Units of jobs in the queues."""
        return len(self._units)

    def arrive(self, requests: Sequence[Request]) -> Generator[Any, Any, None]:
        """Start the way of each request when it comes."""
        for request in requests:
            if request.at > self.env.now:
                yield self.env.timeout(request.at - self.env.now)
            self.here += 1
            self.env.process(self._live(request))

    def scale(self) -> Generator[Any, Any, None]:
        """Follow the chart's rules."""
        rules = self._setup.rules
        scalers = {name: Scaler(rules.bounds[name], rules.behavior) for name in SERVICES}
        self.env.process(self._signals.scrape(self._setup.scrape_seconds))
        while True:
            yield self.env.timeout(rules.behavior.poll_seconds)
            for name, fleet in self.fleets.items():
                fleet.resize(scalers[name].decide(self.env.now, fleet.count, self._signals.of(name)))
            self._units.hand_out(self.worker.serving)

    def _live(self, request: Request) -> Generator[Any, Any, None]:
        try:
            request.refused_by = yield from self._held(request)
            if request.refused_by is None:
                request.end_at = self.env.now
        finally:
            self.here -= 1

    def _held(self, request: Request) -> Generator[Any, Any, str | None]:
        """In the hands of a gateway or a worker; who refused it, if anybody."""
        holder: Holder
        if request.bulk:
            turn = self._units.join()
            self._units.hand_out(self.worker.serving)
            holder = yield turn
        else:
            holder = self.gateway.by_calls()[0]
            if holder.calls >= self._setup.rules.limits.chats:
                return "gateway"
            holder.calls += 1
        try:
            yield self.env.timeout(self._setup.profile.gateway_ms / 1000)
            return (yield from self._answered(request))
        finally:
            holder.calls -= 1
            if request.bulk:
                self._units.hand_out(self.worker.serving)

    def _answered(self, request: Request) -> Generator[Any, Any, str | None]:
        """Heard, encoded, decoded; the service that refused it, if any."""
        profile = self._setup.profile
        if request.audio_seconds:
            if not (yield from self._heard(request)):
                return "preprocess"
            yield self.env.timeout(profile.preprocess.call_ms / 1000)
            request.heard_at = self.env.now
            if not request.cached:
                encoded = self._first(self.encoder.by_calls(), lambda r: r.encode(request.audio_seconds))
                if encoded is None:
                    return "encoder"
                yield encoded
                yield self.env.timeout(profile.encoder.call_ms / 1000)
                request.encoded_at = self.env.now
        yield self.env.timeout(profile.decoder.call_ms / 1000)
        prompt = profile.prompt_tokens(request.audio_seconds)
        sequence = self._first(
            self.decoder.by_affinity(), lambda r: r.generate(prompt, request.answer_tokens, request.bulk)
        )
        if sequence is None:
            return "decoder"
        request.first_at = yield sequence.first
        yield sequence.done
        return None

    def _heard(self, request: Request) -> Generator[Any, Any, bool]:
        """By the first preprocess that has room in time."""
        for replica in self.preprocess.by_calls():
            if (yield from replica.hear(request.audio_seconds)):
                return True
        return False

    @staticmethod
    def _first(replicas: list[Any], call: Callable[[Any], Any]) -> Any:
        """What the first replica says that does not refuse."""
        return next((said for replica in replicas if (said := call(replica)) is not None), None)

    def _noise(self, spread: float) -> float:
        """A factor of mean 1."""
        return self._random.gammavariate(1 / spread**2, spread**2) if spread else 1.0

    def _processor(self, cores: float | None = None) -> Processor:
        return self._shared or Processor(self.env, cores)

    def _fleet(self, name: str, make: Callable[[], Any]) -> Fleet[Any]:
        kind = "cpu" if name in CPU_SERVICES else name
        seconds = getattr(self._setup.start_seconds, kind)
        return Fleet(self.env, make, seconds, self._setup.replicas[name], self._random)

    def _make_preprocess(self) -> PreprocessReplica:
        limits, times = self._setup.rules.limits, self._setup.profile.preprocess
        return PreprocessReplica(self.env, self._processor(limits.preprocess_cores), times, limits, self._noise)

    def _make_encoder(self) -> EncoderReplica:
        limits, times = self._setup.rules.limits, self._setup.profile.encoder
        made = EncoderReplica(self.env, self._processor(), self._threads, times, limits, self._noise)
        self.encoders.append(made)
        return made

    def _make_decoder(self) -> DecoderReplica:
        limits, times = self._setup.rules.limits, self._setup.profile.decoder
        made = DecoderReplica(self.env, self._processor(), self._threads, times, limits, self._noise)
        self.decoders.append(made)
        return made
