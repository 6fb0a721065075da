"""The first section of the report: what the model scores on the test set, and what that is worth."""

from html import escape
from typing import Any

from helixband.errors import counted
from helixband.report.charts import number
from helixband.report.plots import plots
from helixband.report.summary import Summary
from helixband.results.scored import MOST_BYTES, without_unlike

BASELINES = {
    "majority": "majority class",
    "mean": "mean",
    "length": "length alone",
    "gc": "GC content alone",
    "kmer": "6-mers",
    "copy_label": "copied labels",
}
"""Trivial models by what the names of their scores begin with."""
COUNTS = {
    "exact_duplicates": "the same sequence",
    "reverse_complement_duplicates": "its reverse complement",
    "near_duplicates": "nearly the same sequence",
    "overlapping_intervals": "an overlapping interval",
    "similar": "any of these",
}
"""What the check counts of test examples that the training set has something like."""

_PASSES = """<p class="note">Dropout was left on. Metrics are of the mean prediction, and ± is the spread over
the passes. The loss is of the mean prediction if the criterion takes predictions themselves; if it takes
other outputs, such as logits, or is the definition's own, it is the mean over the passes.</p>
"""

Scores = dict[str, dict[str, Any]]


def evaluation_section(summary: Summary) -> str:
    """The metrics of the test set with those of trivial models, the check of the data, and the plots."""
    if not summary.test_result:
        return ""
    scores, lines = _baselines(summary), _beaten(summary)
    missing = summary.baselines.get("missing")
    if missing is not None:
        missing_row = f"<div><dt>baselines missing</dt><dd>{escape(str(missing))}</dd></div>"
        lines += f'<dl class="small facts">{missing_row}</dl>\n'
    if summary.older.test:
        lines = f"""<p class="bad">This is the result of earlier weights: {escape(summary.older.test)}.
Give --eval to make that of the weights that are there now.</p>
{lines}"""
    if summary.scored is None:
        drawn = f"""<p class="note">There are no plots of labels and predictions, because there is no
test_predictions.npz. An evaluation writes it if they have up to {MOST_BYTES:,} bytes; those of earlier
versions wrote none.</p>
"""
    else:
        drawn = plots(summary.scored)
    return f"""<section aria-labelledby="test"><h2 id="test">Test result</h2>
{_metrics(summary.test_result, scores)}{lines}{_check(summary)}{drawn}</section>
"""


def _baselines(summary: Summary) -> Scores:
    """Of each trivial model the scores, by metric."""
    found: Scores = {}
    for name, value in {**_of_same(summary), **summary.baselines}.items():
        prefix = next((prefix for prefix in BASELINES if name.startswith(f"{prefix}_")), None)
        if prefix and isinstance(value, int | float):
            found.setdefault(BASELINES[prefix], {})[name.removeprefix(f"{prefix}_")] = value
    order = list(BASELINES.values())
    return {title: found[title] for title in sorted(found, key=order.index)}


def _of_same(summary: Summary) -> dict[str, Any]:
    """What the check found, if it was of the definition that was evaluated."""
    return summary.audit if _is_current(summary) else {}


def _is_current(summary: Summary) -> bool:
    checked = summary.audit.get("of", {}).get("definition")
    return checked in (None, summary.run.get("definition", {}).get("sha256"))


def _metrics(result: dict[str, Any], scores: Scores) -> str:
    """A row a metric: the model, and beside it the trivial models."""
    whole, unlike = without_unlike(result)
    means = [name for name in whole if not (name.endswith("_std") and name.removesuffix("_std") in whole)]
    count = unlike.pop("examples", None)
    columns: Scores = {"model": whole}
    if count is not None:
        columns[f"model, {counted(round(count), 'example')} unlike the training set"] = unlike
    columns |= scores
    others = [metric for known in scores.values() for metric in known if metric not in whole]
    rows = ""
    for name in dict.fromkeys([*means, *others]):
        cells = "".join(_cell(known, name, _spread(known, name)) for known in columns.values())
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    head = "".join(f'<th scope="col" class="number">{escape(title)}</th>' for title in columns)
    return f"""<div class="box" tabindex="0" role="region" aria-labelledby="test"><table class="wrapped">
<thead><tr><th scope="col">metric</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>
{_PASSES * ("loss_std" in whole)}"""


def _spread(known: dict[str, Any], name: str) -> str:
    value = known.get(f"{name}_std")
    return f" ± {number(value, 2)}" if isinstance(value, int | float) else ""


def _cell(known: dict[str, Any], name: str, spread: str) -> str:
    if name not in known:
        return "<td></td>"
    value = known[name]
    shown = number(value, 5) if isinstance(value, int | float) else "undefined"
    return f'<td class="number">{shown}{spread}</td>'


def _beaten(summary: Summary) -> str:
    """The trivial models that score as much as the model."""
    found = []
    for title, scores in _baselines(summary).items():
        for name, value in scores.items():
            own = summary.test_result.get(name)
            if own is None:
                continue
            if own >= value if name.endswith(("mse", "loss")) else own <= value:
                found.append(
                    f"The model does not beat {_the(title)} in {name}: {number(own)}, {number(value)}."
                )
    return "".join(f'<p class="bad">{escape(sentence)}</p>\n' for sentence in found)


def _the(title: str) -> str:
    return title if title.endswith("alone") else f"the {title}"


def _check(summary: Summary) -> str:
    """What the check of the data found."""
    found = summary.audit
    if not found:
        known = summary.baselines.keys() - {"missing"}
        of_sequences = not known or any(name.startswith("kmer_") for name in known)
        why = "--check was not run" if of_sequences else "there is a check of nucleic acids alone"
        return f"""<p class="note">Whether the training set has test examples, or something like them, is not
known: {why}.</p>
"""
    stale = "" if _is_current(summary) else '<p class="bad">The check was of another definition.</p>\n'
    warnings = "".join(f'<li class="bad">{escape(str(text))}</li>' for text in found.get("warnings", []))
    notes = "".join(f"<li>{escape(str(text))}</li>" for text in found.get("notes", []))
    items = f"<ul>{warnings}{notes}</ul>\n" if warnings or notes else ""
    rows = "".join(_count(found, name, title) for name, title in COUNTS.items() if name in found)
    return f"""<h3>Check of the data</h3>
{stale}<p>{"It warns." if warnings else "It found nothing to warn of."}</p>
{items}<div class="box"><table><thead><tr><th scope="col">the training set has</th>
<th scope="col" class="number">of test examples</th><th scope="col" class="number">share</th></tr></thead>
<tbody>{rows}</tbody></table></div>
"""


def _count(found: dict[str, Any], name: str, title: str) -> str:
    count, total = found[name], found.get("n_test")
    known = isinstance(count, int) and isinstance(total, int) and total > 0
    shown = f"{count:,}" if known else "not known"
    share = f"{count / total:.2%}" if known else ""
    return (
        f'<tr><th scope="row">{escape(title)}</th><td class="number">{shown}</td>'
        f'<td class="number">{share}</td></tr>'
    )
