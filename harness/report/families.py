"""Over which metrics Holm's correction ran, and why not over all: a note under every table of p.

Input: what was compared -> output: a phrase computed from it, so that a family that shrank for want
of data says so. The correction itself is in ``compare``, ``seeds`` and ``checkpoints``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compare.checkpoints import LastBesideBest
from harness.compare.pairing import PRIMARY
from harness.compare.quality import PairComparison
from harness.compare.seeds import SeedDifference
from harness.markdown import code, escape
from harness.report.conclusions import listed

SHORT = {"completion_loss": "completion loss", "full_text_loss": "full-text loss"}


Family = tuple[Sequence[str], Mapping[str, str]]
"""The metrics tested together, and why the other primary ones were not."""


def pairs_family(found: Sequence[PairComparison]) -> str:
    """Over what Holm ran in each pair; empty without a pair."""
    return _told(
        {
            f"{code(pair.b)} − {code(pair.a)}": ([c.metric for c in pair.primary], pair.missing)
            for pair in found
        }
    )


def seeds_family(differences: Sequence[SeedDifference]) -> str:
    """Over what Holm ran across seeds; empty where nothing was compared."""
    if differences and all(d.p is None for d in differences):
        return "no test: fewer than three independent seeds"
    tested: dict[str, list[str]] = {}
    for d in differences:
        if d.p is not None:
            tested.setdefault(f"{code(d.b)} − {code(d.a)}", []).append(d.metric)
    why = "not measured under every seed"
    return _told(
        {
            pair: (metrics, {metric: why for metric in PRIMARY if metric not in metrics})
            for pair, metrics in tested.items()
        }
    )


def checkpoints_family(found: Sequence[LastBesideBest]) -> str:
    """Over what Holm ran for last checkpoints beside the best; empty where nothing was tested."""
    metrics = list(dict.fromkeys(one.metric for one in found))
    return f"Holm over {_listed(metrics)}" if len(metrics) > 1 else _alone(metrics)


def _told(families: Mapping[str, Family]) -> str:
    """One phrase for all pairs where they share it, else one a pair."""
    alike = {_family(family, " of each pair") for family in families.values()}
    if len(alike) <= 1:
        return "".join(alike)
    return "; ".join(f"{pair}: {_family(family)}" for pair, family in families.items())


def _family(family: Family, of: str = "") -> str:
    metrics, missing = family
    lacking: dict[str, list[str]] = {}
    for metric, why in missing.items():
        lacking.setdefault(why, []).append(metric)
    absent = [f"no {_listed(names, 'or')}: {escape(why)}" for why, names in lacking.items()]
    tested = f"Holm over {_listed(metrics)}{of}" if len(metrics) > 1 else _alone(metrics)
    return f"{tested} ({'; '.join(absent)})" if absent else tested


def _alone(metrics: Sequence[str]) -> str:
    return f"{_listed(metrics)} alone, so without a correction" if metrics else ""


def _listed(metrics: Sequence[str], last: str = "and") -> str:
    return listed([SHORT.get(metric, metric) for metric in metrics], last)
