"""The pictures: well-formed, complete, and true to the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from headsmith.report.figures import (
    head_map,
    latency_bars,
    measure_of,
    neuron_bars,
    repair_bars,
    tradeoff_curve,
)
from headsmith.report.ranks import ranks
from headsmith.report.svg import picture, tag
from headsmith.spec.run import BlockRun, CurvePoint, LatencyRun, RunRecord, Timing

SVG = "{http://www.w3.org/2000/svg}"


def _parse(drawn: str | None) -> ElementTree.Element:
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text
    assert root.get("aria-labelledby") == title.get("id")
    return root


def _classes(root: ElementTree.Element) -> Counter[str]:
    return Counter(word for e in root.iter() for word in (e.get("class") or "").split())


def _titles(root: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in root.iter(f"{SVG}title")][1:]


def _inside(root: ElementTree.Element) -> None:
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(k) or 0) for k in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width + 0.01
        assert 0 <= y <= y + h <= height + 0.01
        assert w >= 0


def test_every_head_is_shown_once(record: RunRecord) -> None:
    root = _parse(head_map(record.blocks))
    rows = [b for b in record.blocks if b.kind == "heads"]
    kept = sum(len(b.kept) for b in rows)
    removed = sum(b.count for b in rows) - kept
    classes = _classes(root)
    assert classes["cell"] == kept + 5  # and the legend
    assert classes["gone"] == classes["cross"] == removed + 1
    titles = _titles(root)
    for block in rows:
        places = ranks(block.importance, block.kept)
        for head in range(block.count):
            state = "kept" if head in block.kept else "removed"
            assert f"Layer {block.layer}, head {head}: {state}, rank {places[head]} of 12" in titles
    assert "37 of 72 removed" in (root.find(f"{SVG}title").text or "")  # type: ignore[union-attr]
    _inside(root)


def test_shades_follow_the_ranks() -> None:
    block = BlockRun("a", "heads", 0, 5, [0, 1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4, 0.5])
    root = _parse(head_map([block]))
    groups = [g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None]
    shades = [g.find(f"{SVG}rect").get("class") for g in groups]  # type: ignore[union-attr]
    assert shades == [f"cell s{level}" for level in range(5)]
    numbers = [g.find(f"{SVG}text").text for g in groups]  # type: ignore[union-attr]
    assert numbers == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize("importance", [[], [0.5]])
def test_heads_of_unknown_importance_are_all_alike(importance: list[float]) -> None:
    root = _parse(head_map([BlockRun("a", "heads", 0, 3, [0, 1], importance)]))
    assert _classes(root)["s2"] >= 2
    assert all("rank" not in title for title in _titles(root))


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3), (32, 32), (96, 96)])
def test_head_maps_of_all_sizes_stay_in_their_frame(layers: int, heads: int) -> None:
    blocks = [
        BlockRun(f"b{i}", "heads", i, heads, list(range(i % (heads + 1))), [1.0] * heads)
        for i in range(layers)
    ]
    _inside(_parse(head_map(blocks)))


def test_a_picture_that_would_be_too_heavy_is_left_out() -> None:
    assert head_map([BlockRun("a", "heads", 0, 10**9, [])]) is None


def test_neuron_bars_are_as_long_as_what_stays(record: RunRecord) -> None:
    root = _parse(neuron_bars(record.blocks))
    tracks = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "track"]
    left = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "after"]
    rows = [b for b in record.blocks if b.kind == "neurons"]
    assert len(tracks) == len(left) == len(rows)
    for block, whole, part in zip(rows, tracks, left, strict=True):
        share = float(part.get("width") or 0) / float(whole.get("width") or 0)
        assert share == pytest.approx(len(block.kept) / block.count, abs=1e-3)
    assert "Layer 0: 600 of 1,536 (39%) neurons kept" in _titles(root)
    _inside(root)


def test_latency_bars_are_to_scale(record: RunRecord) -> None:
    root = _parse(latency_bars(record.latency))
    bars = {
        name: [r for r in root.iter(f"{SVG}rect") if r.get("class") == name]
        for name in ("before", "after")
    }
    for run, before, after in zip(record.latency, bars["before"], bars["after"], strict=True):
        ratio = float(before.get("width") or 0) / float(after.get("width") or 0)
        assert ratio == pytest.approx(run.speedup, rel=1e-2)
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert "1.54×" in texts
    assert "441 ms after" in texts
    assert _classes(root)["whisker"] == 4
    _inside(root)


def test_a_slower_model_stays_in_the_frame() -> None:
    run = LatencyRun(1, 8, Timing(1, 1, 1, 3), Timing(9, 8, 30, 3))
    _inside(_parse(latency_bars([run])))


def test_a_time_of_zero_is_drawn() -> None:
    zero = Timing(0, 0, 0, 1)
    _inside(_parse(latency_bars([LatencyRun(1, 8, zero, zero)])))


def test_repair_bars_show_what_is_left(record: RunRecord) -> None:
    root = _parse(repair_bars(record.blocks))
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert texts.count("25% left") == 12
    assert texts.count("Layer 3") == 1
    _inside(root)


def test_repair_that_made_it_worse_is_told() -> None:
    root = _parse(repair_bars([BlockRun("a", "heads", 0, 2, [0], [], 0.1, 0.12)]))
    assert "120% left" in [t.text for t in root.iter(f"{SVG}text")]
    before, after = root.iter(f"{SVG}rect")
    assert after.get("width") == before.get("width")  # never longer than its place


@pytest.mark.parametrize("blocks", [[], [BlockRun("a", "other", 0, 2, [0])]])
def test_nothing_to_draw(blocks: Sequence[BlockRun]) -> None:
    assert head_map(blocks) is None
    assert neuron_bars(blocks) is None
    assert repair_bars(blocks) is None
    assert latency_bars([]) is None


def test_blocks_that_were_not_repaired_are_left_out(record: RunRecord) -> None:
    blocks = [replace(b, error_before=None, error_after=None) for b in record.blocks]
    assert repair_bars(blocks) is None


def test_svg_escapes_texts_and_attributes() -> None:
    drawn = picture("i", "<&>", 10, 10, tag("text", "</svg><script>", data_x='"><script>'))
    assert "<script>" not in drawn
    assert _parse(drawn)[1].get("data-x") == '"><script>'


def test_numbers_that_are_none_do_not_break_a_path() -> None:
    assert tag("rect", x=float("nan"), y=float("inf"), width=1.006) == (
        '<rect x="0" y="0" width="1.01"/>'
    )


def _curve(timed: bool = True) -> list[CurvePoint]:
    points = []
    for way, fall in (("headsmith", 0.1), ("magnitude", 0.5), ("random", 0.6)):
        for flops in (0.75, 0.5, 0.3):
            before, after = Timing(100, 99, 101, 9), Timing(100 * flops + 5, 1, 2, 9)
            run = LatencyRun(32, 128, before, after) if timed else None
            quality = {"error": fall * (1 - flops), "cosine": 1 - fall * (1 - flops)}
            points.append(CurvePoint(way, flops, quality, run))
    return points


def test_a_line_for_every_way_and_a_dot_for_every_size() -> None:
    root = _parse(tradeoff_curve(_curve()))
    curves = [p for p in root.iter(f"{SVG}path") if "curve" in (p.get("class") or "")]
    assert len(curves) == 6  # three of them samples beside the names
    lines = [p for p in curves if "L" in (p.get("d") or "")]
    assert [(p.get("d") or "").count("L") for p in lines] == [3, 3, 3]
    starts = {(p.get("d") or "").split("L")[0] for p in lines}
    assert len(starts) == 1  # all begin at the unpruned model
    dots = list(root.iter(f"{SVG}circle"))
    assert Counter(d.get("class") for d in dots) == {"after": 3, "before": 6}
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    assert all(0 < float(d.get("cx") or 0) < width for d in dots)
    assert all(0 < float(d.get("cy") or 0) < height for d in dots)
    texts = [t.text or "" for t in root.iter(f"{SVG}text")]
    assert {"headsmith", "magnitude", "random", "75%", "50%", "30%"} <= set(texts)
    assert any("batch 32 × 128 tokens" in t for t in texts)
    assert "headsmith, 50% of the FLOPs: 1.82×, mean cosine to the original's output 0.950" in (
        _titles(root)
    )


def test_without_times_the_flops_say_how_far() -> None:
    root = _parse(tradeoff_curve(_curve(timed=False)))
    assert any("times fewer FLOPs" in (t.text or "") for t in root.iter(f"{SVG}text"))
    assert "2.00×" in "".join(_titles(root))


def test_the_measure_is_one_that_all_points_have() -> None:
    points = _curve()
    assert measure_of(points) == "cosine"
    del points[4].quality["cosine"]
    assert measure_of(points) == "error"
    del points[0].quality["error"]
    assert measure_of(points) is None
    assert tradeoff_curve(points) is None
    assert tradeoff_curve(_curve()[:1]) is None
    assert measure_of([]) is None


def test_labels_of_lines_that_end_together_do_not_cover_each_other() -> None:
    points = [CurvePoint(way, 0.5, {"cosine": 0.9}) for way in ("a", "b", "c")]
    root = _parse(tradeoff_curve(points))
    places = [float(t.get("y") or 0) for t in root.iter(f"{SVG}text") if t.text in ("a", "b", "c")]
    assert len(places) == 3
    assert all(abs(p - q) > 15 for i, p in enumerate(places) for q in places[:i])


def test_odd_values_do_not_break_the_curve() -> None:
    points = [*_curve(), CurvePoint("odd", 0.0, {"cosine": float("nan")})]
    assert "nan" not in str(tradeoff_curve(points)).replace("odd nan", "")
