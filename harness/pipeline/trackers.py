"""Trackers that a variant's `report_to` names: its curve while it trains, its metrics at the end.

A curve's rows and the final values -> runs named `RUN:variant` in Weights & Biases, SwanLab,
trackio, TensorBoard or MLflow, each in the place and with the settings that are its own. A tracker
that is not installed, or that fails, costs a line and never the run. Not covered: pictures, rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from harness.errors import one_line
from harness.machine.installed import has_package
from harness.schema.variant_result import CurvePoint
from harness.train.variant import Variant


class Sink(Protocol):
    """One run of one tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep values at a step."""

    def finish(self) -> None:
        """End the run."""


@dataclass(frozen=True)
class Subject:
    """What a tracker's run is called and where it belongs."""

    project: str
    name: str
    config: dict[str, Any]
    folder: Path
    """For a tracker that writes where it is told."""


def missing(variant: Variant) -> list[str]:
    """A sentence for each tracker of the variant's that is not installed."""
    return [
        f"{variant.name}: report_to: {name} is not installed, so nothing is sent to it; "
        f"pip install {name}"
        for name in variant.report_to
        if not has_package(name)
    ]


@dataclass
class Trackers:
    """The trackers of one variant's run, opened when there is something to send."""

    subject: Subject | None
    names: tuple[str, ...]
    notify: Callable[[str], None]
    _opened: bool = False
    _sinks: dict[str, Sink] = field(default_factory=dict)
    _sent: set[int] = field(default_factory=set)

    def row(self, point: CurvePoint) -> None:
        """Send a row of the curve, once."""
        if point.iteration not in self._sent:
            self._sent.add(point.iteration)
            values = point.model_dump(exclude={"iteration"}, exclude_none=True)
            self._each(lambda sink: sink.log(values, point.iteration))

    def end(self, curve: Iterable[CurvePoint], metrics: Mapping[str, float]) -> None:
        """Send what was not sent while training (a curve from the cache), then the metrics, and
        end the runs."""
        last = 0
        for point in curve:
            self.row(point)
            last = point.iteration
        final = {f"final/{key}": value for key, value in metrics.items()}
        self._each(lambda sink: sink.log(final, last))
        self.close()

    def close(self) -> None:
        """End the runs that were begun."""
        for name, sink in list(self._sinks.items()):
            self._guarded(name, sink.finish)
        self._opened, self._sinks = True, {}

    def _each(self, send: Callable[[Sink], None]) -> None:
        """Do something with each tracker, opened when it is first needed."""
        if not self._opened:
            self._opened = True
            for name in filter(has_package, self.names):
                self._guarded(name, self._open, name)
        for name, sink in list(self._sinks.items()):
            self._guarded(name, send, sink)

    def _open(self, name: str) -> None:
        assert self.subject is not None
        self._sinks[name] = _OPENERS[name](import_module(name), self.subject)

    def _guarded(self, name: str, do: Callable[..., None], *arguments: Any) -> None:
        """Call ``do``; a tracker that fails is left out from then on."""
        try:
            do(*arguments)
        except Exception as error:  # another project's code, whose service may be out of reach
            self._sinks.pop(name, None)
            why = f"{type(error).__name__}: {one_line(error)[:200]}"
            self.notify(f"report_to: {name} failed and gets nothing more: {why}")


def _wandb(module: Any, subject: Subject) -> Any:
    settings = {"project": subject.project, "name": subject.name, "config": subject.config}
    return module.init(**settings, reinit="create_new")  # beside the other variants' runs


def _trackio(module: Any, subject: Subject) -> Any:
    return module.init(project=subject.project, name=subject.name, config=subject.config)


@dataclass(frozen=True)
class _SwanLab:
    """SwanLab has one run at a time, and a variant's ends after the next one's began: its values
    are kept, and sent when it ends."""

    module: Any
    subject: Subject
    kept: list[tuple[dict[str, float], int]] = field(default_factory=list)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.kept.append((dict(values), step))

    def finish(self) -> None:
        settings = {"experiment_name": self.subject.name, "config": self.subject.config}
        run = self.module.init(project=self.subject.project, **settings)
        for values, step in self.kept:
            run.log(values, step)
        run.finish()


@dataclass(frozen=True)
class _MLflow:
    """A run of MLflow by its id, so that several can be open."""

    module: Any
    id: str

    @classmethod
    def open(cls, module: Any, subject: Subject) -> _MLflow:
        client = module.MlflowClient()
        known = client.get_experiment_by_name(subject.project)
        experiment = known.experiment_id if known else client.create_experiment(subject.project)
        run = client.create_run(experiment, run_name=subject.name)
        for key, value in subject.config.items():
            client.log_param(run.info.run_id, key, str(value)[:500])
        return cls(module, run.info.run_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        client = self.module.MlflowClient()
        for key, value in values.items():
            client.log_metric(self.id, key, value, step=step)

    def finish(self) -> None:
        self.module.MlflowClient().set_terminated(self.id)


@dataclass(frozen=True)
class _TensorBoard:
    """A folder of event files, named as the run."""

    writer: Any

    @classmethod
    def open(cls, _: Any, subject: Subject) -> _TensorBoard:
        return cls(import_module("tensorboard.summary").Writer(str(subject.folder)))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def finish(self) -> None:
        self.writer.close()


_OPENERS: dict[str, Callable[[Any, Subject], Sink]] = {
    "wandb": _wandb,
    "swanlab": _SwanLab,
    "trackio": _trackio,
    "tensorboard": _TensorBoard.open,
    "mlflow": _MLflow.open,
}
