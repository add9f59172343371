"""The one sentence that tells how a run went."""

from __future__ import annotations

from headsmith.report.numbers import closeness, percent
from headsmith.spec.run import LatencyRun, RunRecord

__all__ = ["headline", "kept", "main_latency"]

_WORDS = {
    1 / 4: "A quarter of the",
    1 / 3: "A third of the",
    1 / 2: "Half the",
    2 / 3: "Two thirds of the",
    3 / 4: "Three quarters of the",
}
_NEAR = 0.0125
_SAME_SPEED = 0.03


def headline(record: RunRecord) -> str:
    """What the run did, in plain words.

    Example:
        >>> from headsmith.report.headline import headline
        >>> from headsmith.spec.run import RunRecord
        >>> record = RunRecord("m", "bert", "BertModel", "0.1.0", {}, {}, "", "", {}, {}, [],
        ...                    {"flops": 100}, {"flops": 50}, {"cosine": 0.941})
        >>> headline(record)
        'Half the FLOPs, cosine 0.94 to the original on text it has not seen.'
    """
    parts = [_cost(record)]
    latency = main_latency(record)
    if latency is not None:
        parts.append(_speed(latency))
    if "cosine" in record.quality:
        cosine = closeness(record.quality["cosine"], 2)
        parts.append(f"cosine {cosine} to the original on text it has not seen")
    elif "agreement" in record.quality:
        parts.append(
            f"the same answer as the original in {percent(record.quality['agreement'])} of cases "
            "on text it has not seen"
        )
    return ", ".join(parts) + "."


def kept(record: RunRecord, what: str) -> float | None:
    """Fraction of `what` that is left; None where it is not recorded."""
    before, after = record.before.get(what), record.after.get(what)
    return after / before if before and after is not None else None


def main_latency(record: RunRecord) -> LatencyRun | None:
    """The measurement with the most tokens a call: the one that tells most of the work."""
    return max(record.latency, key=lambda run: run.batch * run.length, default=None)


def _cost(record: RunRecord) -> str:
    fraction = kept(record, "flops")
    name = "FLOPs"
    if fraction is None:
        fraction, name = kept(record, "parameters"), "parameters"
    if fraction is None:
        return "Pruned"
    if fraction > 1 - _NEAR:
        return f"All the {name}"
    near = [words for value, words in _WORDS.items() if abs(fraction - value) <= _NEAR]
    return f"{near[0] if near else percent(fraction) + ' of the'} {name}"


def _speed(latency: LatencyRun) -> str:
    if abs(latency.speedup - 1) <= _SAME_SPEED:
        return f"as fast as before at batch {latency.batch}"
    return f"{latency.speedup:.1f}× as fast at batch {latency.batch}"
