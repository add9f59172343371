"""Which stages of a vision backbone are put out, told by name or by number."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["get_aligned_output_features_output_indices", "verify_out_features_out_indices"]


def get_aligned_output_features_output_indices(
    out_features: Sequence[str] | None,
    out_indices: Sequence[int] | None,
    stage_names: Sequence[str],
) -> tuple[list[str], list[int]]:
    """Complete names by numbers or numbers by names; the last stage where neither is given.

    As in Transformers 4.34, `transformers.utils.backbone_utils`.

    Args:
        out_features: names of the stages to put out, or None.
        out_indices: their numbers, negative ones from the end, or None.
        stage_names: the names of all stages, in order.

    Returns:
        The names, and the numbers as they were given or found.

    Raises:
        ValueError: a stage does not exist, or names and numbers do not agree.

    Example:
        >>> from headsmith.compat.backbones import get_aligned_output_features_output_indices
        >>> get_aligned_output_features_output_indices(["b"], None, ["a", "b", "c"])
        (['b'], [1])
    """
    verify_out_features_out_indices(out_features, out_indices, stage_names)
    if out_indices is None and out_features is None:
        return [stage_names[-1]], [len(stage_names) - 1]
    if out_indices is None:
        return list(out_features or ()), [list(stage_names).index(f) for f in out_features or ()]
    if out_features is None:
        return [stage_names[i] for i in out_indices], list(out_indices)
    return list(out_features), list(out_indices)


def verify_out_features_out_indices(
    out_features: Sequence[str] | None,
    out_indices: Sequence[int] | None,
    stage_names: Sequence[str] | None,
) -> None:
    """Check names and numbers of stages against each other and against the stages.

    Args:
        out_features: names of the stages to put out, or None.
        out_indices: their numbers, or None.
        stage_names: the names of all stages, in order.

    Raises:
        ValueError: what is wrong with them.

    Example:
        >>> from headsmith.compat.backbones import verify_out_features_out_indices
        >>> verify_out_features_out_indices(["a"], [0], ["a", "b"])
    """
    if stage_names is None:
        raise ValueError("Expected stage_names, the names of all stages. Received None.")
    stages = list(stage_names)
    if out_features is not None:
        _check("out_features", list(out_features), [f for f in out_features if f not in stages])
        places = [stages.index(f) for f in out_features]
        _check_order("out_features", places, list(out_features))
    if out_indices is not None:
        count = len(stages)
        _check(
            "out_indices", list(out_indices), [i for i in out_indices if not -count <= i < count]
        )
        _check_order("out_indices", [i % count for i in out_indices], list(out_indices))
    if (
        out_features is not None
        and out_indices is not None
        and list(out_features) != [stages[i] for i in out_indices]
    ):
        raise ValueError(
            "Expected out_features and out_indices to name the same stages. "
            f"Received {list(out_features)} and {list(out_indices)} of {stages}."
        )


def _check(what: str, given: list[object], wrong: list[object]) -> None:
    if wrong:
        raise ValueError(f"Expected {what} among the model's stages. Received {wrong} in {given}.")


def _check_order(what: str, places: list[int], given: list[object]) -> None:
    if places != sorted(set(places)):
        raise ValueError(
            f"Expected {what} in the order of the stages, each once. Received {given}."
        )
