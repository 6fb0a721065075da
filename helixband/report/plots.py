"""Plots of a test set: labels beside predictions."""

from collections.abc import Callable
from html import escape

import numpy as np

from helixband.metrics import mse, pearson
from helixband.metrics.outcomes import (
    Column,
    Outcome,
    chosen_curves,
    confusion,
    outcomes,
    precision_recall,
    reliability,
    roc,
)
from helixband.report.charts import Axis, Chart, limits, number
from helixband.results.scored import ScoredSet

MOST_CLASSES = 20
"""Of more classes the largest confusions are told instead of the matrix."""
MOST_ROWS = 1000

_DIAGONAL = np.array([0.0, 1.0])


def plots(scored: ScoredSet) -> str:
    """The plots of each part of the predictions, and what there is no plot of."""
    found, reasons = outcomes(scored.true, scored.predicted, scored.names, scored.kind)
    parts = [_of_numbers(outcome) if outcome.kind == "numbers" else _of_classes(outcome) for outcome in found]
    return "".join([*parts, *(f'<p class="note">{escape(_sentence(reason))}</p>\n' for reason in reasons)])


def _of_classes(outcome: Outcome) -> str:
    columns = outcome.columns()
    both = outcome.columns_with_curves()
    figures = []
    if both:
        areas = [(name, roc(true, score)[2], precision_recall(true, score)[2]) for name, true, score in both]
        figures = [_curves(outcome, both, [a for _, a, _ in areas], "ROC curve", _roc_chart)]
        figures += [_curves(outcome, both, [a for *_, a in areas], "Precision and recall", _pr_chart)]
    if outcome.are_probabilities:
        figures.append(_reliability(outcome))
    told = _grid(figures)
    if outcome.kind == "classes":
        told += _confusion(outcome)
    if len(columns) > 1:
        told += _areas(outcome)
    elif not both:
        told += '<p class="note">All examples are of one class: there are no curves.</p>\n'
    return _notes(outcome) + told


def _curves(
    outcome: Outcome,
    columns: list[Column],
    areas: list[float],
    heading: str,
    draw: Callable[..., Chart],
) -> str:
    """A chart with a line for each class, and the areas under them."""
    chosen, said = chosen_curves(areas), ""
    if len(chosen) < len(areas):
        said = f'<p class="note">Of {len(areas):,} the lowest, the middle and the highest.</p>'
    legend = [f"{columns[k][0]}: {number(areas[k], 3)}" for k in chosen]
    chart = draw([columns[k] for k in chosen])
    what = "area under the curve" if draw is _roc_chart else "average precision"
    label = f"{_titled(outcome, heading)}; {what}: {', '.join(legend)}"
    items = "".join(f'<li class="level-{k}">{escape(text)}</li>' for k, text in enumerate(legend))
    below = f'<p class="note">{what.capitalize()}</p><ul class="legend">{items}</ul>{said}'
    return _figure(_titled(outcome, heading), chart.svg(label), below)


def _roc_chart(columns: list[Column]) -> Chart:
    chart = Chart(Axis("false positive rate"), Axis("true positive rate"))
    chart.line(_DIAGONAL, _DIAGONAL, "chance")
    for k, (_, true, score) in enumerate(columns):
        x, y, _area = roc(true, score)
        chart.line(x, y, f"line level-{k}")
    return chart


def _pr_chart(columns: list[Column]) -> Chart:
    chart = Chart(Axis("recall"), Axis("precision"))
    for k, (_, true, score) in enumerate(columns):
        if len(columns) == 1:
            chart.line(_DIAGONAL, np.full(2, true.mean()), "chance")
        x, y, _area = precision_recall(true, score)
        chart.line(np.append(0, x), np.append(y[0], y), f"line level-{k}")
    return chart


def _reliability(outcome: Outcome) -> str:
    means, shares, counts, error = reliability(outcome)
    several = outcome.kind == "classes" and len(outcome.names) > 2
    what = "of the likeliest class" if several else f"of {outcome.names[1]}" if _is_binary(outcome) else ""
    chart = Chart(Axis(f"predicted probability {what}".strip()), Axis("share that came true"))
    chart.line(_DIAGONAL, _DIAGONAL, "chance")
    chart.line(means, shares, "line level-0")
    chart.dots(means, shares, "level-0")
    heading = _titled(outcome, "Reliability")
    rows = "".join(
        f'<tr><td class="number">{mean:.3f}</td><td class="number">{share:.3f}</td>'
        f'<td class="number">{count:,}</td></tr>'
        for mean, share, count in zip(means, shares, counts, strict=True)
    )
    table = _table(("predicted", "came true", "examples"), rows, heading, numbers_from=0)
    below = (
        f'<p class="note">Expected calibration error: {number(error, 3)}. On the dashed line predictions '
        f"come true as often as they say.</p><details><summary>Numbers</summary>{table}</details>"
    )
    label = f"{heading}: the share that came true against the predicted probability, error {error:.3f}"
    return _figure(heading, chart.svg(label), below)


def _confusion(outcome: Outcome) -> str:
    counts, names = confusion(outcome), outcome.names
    heading = _titled(outcome, "Confusion")
    if len(names) > MOST_CLASSES:
        return _largest_confusions(outcome, heading)
    sums = counts.sum(axis=1)
    rows = ""
    for k, name in enumerate(names):
        cells = "".join(
            f'<td class="number cell" style="--share:{count / max(1, sums[k]):.3f}">{count:,}</td>'
            for count in counts[k]
        )
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="number">{sums[k]:,}</td></tr>'
    table = _table(("true, by row", *names, "all"), rows, heading)
    return f"""<h3>{escape(heading)}</h3>
<p class="note">Rows are true classes, columns the predicted ones. The shade is the share of the row.</p>
{table}"""


def _largest_confusions(outcome: Outcome, heading: str) -> str:
    counts, names = confusion(outcome), outcome.names
    sums = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    rows = ""
    for place in np.argsort(-counts, axis=None, kind="stable")[:MOST_CLASSES]:
        true, taken = divmod(int(place), len(names))
        if count := counts[true, taken]:
            rows += (
                f'<tr><th scope="row">{escape(names[true])}</th><td>{escape(names[taken])}</td>'
                f'<td class="number">{count:,}</td><td class="number">{sums[true]:,}</td></tr>'
            )
    table = _table(("true class", "taken for", "examples", "of"), rows, heading, numbers_from=2)
    return f'<h3>{escape(heading)}</h3>\n<p class="note">The most frequent ones.</p>\n{table}'


def _areas(outcome: Outcome) -> str:
    """Each class or label: how many examples have it, and its areas."""
    heading = _titled(outcome, "Each class" if outcome.kind == "classes" else "Each label")
    rows = ""
    for name, true, score in outcome.columns()[:MOST_ROWS]:
        defined = 0 < true.sum() < len(true)
        areas = (roc(true, score)[2], precision_recall(true, score)[2]) if defined else ()
        cells = "".join(f'<td class="number">{number(area, 4)}</td>' for area in areas)
        cells = cells or '<td class="number">undefined</td>' * 2
        rows += (
            f'<tr><th scope="row">{escape(name)}</th><td class="number">{true.sum():,}</td>'
            f'<td class="number">{len(true):,}</td>{cells}</tr>'
        )
    table = _table(("name", "have it", "examples", "AUROC", "average precision"), rows, heading)
    return f"<h3>{escape(heading)}</h3>\n{table}"


def _of_numbers(outcome: Outcome) -> str:
    figures, unknown = [], []
    for k, name in enumerate(outcome.names):
        known = ~np.isnan(outcome.true[:, k])
        true, predicted = outcome.true[known, k], outcome.predicted[known, k]
        heading = ": ".join(filter(None, [outcome.title, name])) or "Predicted against true"
        if not len(true):
            nothing = f"{heading}: no pair of label and prediction is known."
            unknown.append(f'<p class="note">{escape(nothing)}</p>\n')
            continue
        low, high = limits([true, predicted])
        chart = Chart(Axis("true", low, high), Axis("predicted", low, high))
        ends = np.array([low, high])
        chart.line(ends, ends, "chance")
        chart.dots(true, predicted, "level-0")
        outside = (np.minimum(true, predicted) < low) | (np.maximum(true, predicted) > high)
        said = f"Pearson r {number(pearson(true, predicted), 3)}, mean squared error "
        said += f"{number(mse(true, predicted), 3)}, {len(true):,} values."
        if outside.any():
            said += f" {outside.sum():,} lie outside of the plot and are drawn at its edge."
        label = f"{heading}: predicted against true values. {said}"
        figures.append(_figure(heading, chart.svg(label), f'<p class="note">{said}</p>'))
    return _notes(outcome) + _grid(figures) + "".join(unknown)


def _is_binary(outcome: Outcome) -> bool:
    return outcome.kind == "classes" and len(outcome.names) == 2


def _titled(outcome: Outcome, heading: str) -> str:
    return f"{outcome.title}: {heading}" if outcome.title else heading


def _notes(outcome: Outcome) -> str:
    return f'<p class="note">{escape(_sentence(_titled(outcome, outcome.note)))}</p>\n' * bool(outcome.note)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _grid(figures: list[str]) -> str:
    return f'<div class="grid-plots charts">\n{"".join(figures)}</div>\n' if figures else ""


def _figure(heading: str, chart: str, below: str) -> str:
    caption = f"<figcaption><h3>{escape(heading)}</h3></figcaption>"
    return f"<figure>{caption}{chart}{below}</figure>\n"


def _table(titles: tuple[str, ...], rows: str, name: str, numbers_from: int = 1) -> str:
    head = "".join(
        f'<th scope="col"{" class=number" if k >= numbers_from else ""}>{escape(title)}</th>'
        for k, title in enumerate(titles)
    )
    return f"""<div class="box high" tabindex="0" role="region" aria-label="{escape(name)}"><table>
<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
"""
