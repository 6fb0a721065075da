"""The report of a result directory: one HTML file that needs no network.

What is text is written here; the table of trials and the plots are made by the scripts in `static/` from the
data that the page carries as JSON.
"""

import json
import re
import shlex
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from helixband.report.columns import columns, label
from helixband.report.evaluation import evaluation_section
from helixband.report.importance import Importance, Share, importance
from helixband.report.pictures import pictures_section
from helixband.report.summary import Failure, Summary, TrialSummary

SCRIPTS = ("1-core.js", "2-table.js", "3-plots.js", "4-parallel.js")
DIGITS = 5  # of the numbers of curves, which are drawn and not read
NO_SCORE = re.compile(r"reward|seconds|averaged|coverage|lr(_\d+)?|hp_.*")  # columns of a train_results.csv
OPEN = 3  # kinds of failures that are unfolded

# A page that may load nothing can leak nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def report_html(summary: Summary) -> bytes:
    """The report; equal summaries give equal bytes."""
    title = f"{_definition(summary)}: trials and results"
    of_trials = []
    if summary.trials:
        of_trials = [_trials()]
        if any(trial.curves for trial in summary.trials):
            of_trials.append(_curves(summary))
        if any(column.varies for column in columns(summary.trials, summary.run.get("log_scaled"))):
            of_trials += [_parallel(), _scatter()]
        if summary.search:
            of_trials.append(_importance(summary))
    if any(trial.reward is not None for trial in summary.trials):
        of_trials.append(_failures(summary))
    else:
        of_trials.insert(0, _failures(summary))
    sections = [evaluation_section(summary), pictures_section(summary.pictures), *of_trials]
    sections.append(_predictions(summary))
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>
{_static("report.css")}{_colours()}</style>
</head>
<body>
{_header(summary)}<main>
{"".join(sections)}</main>
<div id="foot"><div id="hot"></div>
<div><span id="count" role="status"></span>
<button id="clear" type="button" hidden>Choose all</button></div></div>
<script type="application/json" id="data">{_json(_data(summary))}</script>
{"".join(f"<script>{_static(name)}</script>" for name in SCRIPTS)}
</body>
</html>
"""
    # Half a surrogate pair, which a file name may hold, has no UTF-8.
    return page.encode("utf-8", "xmlcharrefreplace")


def _static(name: str) -> str:
    return files("helixband.report").joinpath("static", name).read_text(encoding="utf-8")


def _colours() -> str:
    """A colour for each level, which is how long a trial was trained."""
    from helixband.report.page import COLOURS

    return "".join(f".level-{k} {{ --level: {colour}; }}\n" for k, colour in enumerate(COLOURS))


def _json(document: Any) -> str:
    """JSON that ends no script element, whatever its strings hold."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(summary: Summary) -> dict[str, Any]:
    """What the scripts draw."""
    from helixband.report.page import COLOURS

    found = columns(summary.trials, summary.run.get("log_scaled"))
    metrics = _metrics(summary)
    scores = [metric for metric in metrics if not NO_SCORE.fullmatch(metric)]
    rungs = summary.rungs
    return {
        "columns": [
            {"name": column.name, "categories": column.categories, "log": column.log, "varies": column.varies}
            for column in found
        ],
        "metrics": metrics,
        "scores": scores,
        "single": summary.search is None,
        "rungs": rungs,
        "colours": len(COLOURS),
        "brackets": _brackets(summary),
        "best": summary.best,
        "trials": [
            {
                "id": trial.name,
                "round": trial.round,
                "bracket": trial.bracket,
                "rung": len(trial.rungs),
                "level": rungs.index(trial.rungs[-1]) if trial.rungs else -1,
                "epochs": trial.epochs,
                "reward": trial.reward,
                "best": trial.best_epoch,
                "seconds": trial.seconds,
                "written": trial.written,
                "scores": [trial.at_best(metric) for metric in scores],
                "error": trial.error,
                "values": [column.values[index] for column in found],
                "curves": [_rounded(trial, metric) for metric in metrics],
            }
            for index, trial in enumerate(summary.trials)
        ],
    }


def _metrics(summary: Summary) -> list[str]:
    """The columns that curves are drawn of, the reward first and those of the validation before others."""
    names = {name for trial in summary.trials for name in trial.curves}
    return ["reward", *sorted(names - {"reward"}, key=lambda name: (not name.startswith("val_"), name))]


def _rounded(trial: TrialSummary, metric: str) -> list[float | None] | None:
    curve = trial.curves.get(metric)
    if curve is None:
        return None
    return [value if value is None else float(f"{value:.{DIGITS}g}") for value in curve]


def _brackets(summary: Summary) -> list[dict[str, Any]]:
    """The brackets there are, of all rounds, with a heading."""
    found = []
    for bracket in sorted({trial.bracket for trial in summary.trials}):
        trials = [trial for trial in summary.trials if trial.bracket == bracket]
        epochs = sorted({epochs for trial in trials for epochs in trial.rungs})
        counts = [f"{sum(n in trial.rungs for trial in trials)} to epoch {n}" for n in epochs]
        heading = f"Bracket {bracket + 1}: {', '.join(counts) or f'{len(trials)} begun'}"
        found.append({"bracket": bracket, "label": heading if summary.search else "The training"})
    return found


def _header(summary: Summary) -> str:
    run = summary.run
    rewards = [trial.reward for trial in summary.trials if trial.reward is not None]
    facts = {
        "trials": f"{len(summary.trials):,}",
        "epochs trained": f"{sum(trial.epochs for trial in summary.trials):,}",
        "failures": f"{sum(trial.error is not None for trial in summary.trials):,}",
        "best reward": f"{max(rewards):.5g}" if rewards else "none",
        "best trial": summary.best or "none",
    }
    command = shlex.join(map(str, run.get("command", [])))
    told = f"<details><summary>Command</summary><pre>{escape(command)}</pre></details>" if command else ""
    return f"""<header>
<h1>{escape(_definition(summary))}</h1>
<p><span class="badge">{escape(_state(summary))}</span></p>
{_facts(facts)}
{_facts(_settings(summary), "small facts")}
{told}
<noscript><p class="bad">The table of trials and the plots need JavaScript.</p></noscript>
</header>
"""


def _settings(summary: Summary) -> dict[str, Any]:
    """The settings of the run and of its search, and the versions."""
    run, search = summary.run, summary.search or {}
    settings: dict[str, Any] = {**run.get("settings", {}), **search}
    settings |= {name: run[name] for name in ("helixband", "python", "torch", "numpy") if name in run}
    settings.pop("event", None)
    longest = max((trial.epochs for trial in summary.trials), default=0)
    if search:
        if longest > search["max_epochs"]:
            settings["max_epochs"] = f"{search['max_epochs']}; the best trained on to {longest}"
        settings.pop("epoch", None)  # max_epochs says it
    return {
        name.replace("_", " "): "none" if value is None else label(value) for name, value in settings.items()
    }


def _definition(summary: Summary) -> str:
    return Path(summary.run.get("definition", {}).get("path", "Results")).name


def _state(summary: Summary) -> str:
    if not summary.trials:
        return "no trial has begun"
    kind = "search" if summary.search else "training"
    return f"{kind} finished" if summary.finished else f"{kind} unfinished"


def _facts(facts: dict[str, Any], kind: str = "facts") -> str:
    items = (f"<div><dt>{escape(name)}</dt><dd>{escape(str(v))}</dd></div>" for name, v in facts.items())
    return f'<dl class="{kind}">{"".join(items)}</dl>'


def _trials() -> str:
    return """<section aria-labelledby="trials"><h2 id="trials">Best configurations</h2>
<p class="note">★ marks the trial that is used for evaluation and prediction. The arrow keys move through the
table.</p>
<div id="table" class="box" tabindex="0" role="region" aria-labelledby="trials"></div>
</section>
"""


def _curves(summary: Summary) -> str:
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in _metrics(summary))
    choice = f'<p><label>Shown by epoch: <select id="metric">{options}</select></label></p>'
    colours = """The colour shows how long a trial was to be trained. Point at a curve to see the
name of its trial."""
    return f"""<section aria-labelledby="curves"><h2 id="curves">Learning curves</h2>
{choice if summary.search else ""}
<p class="note">{colours if summary.search else "The dashed line is of the training set."}
<span id="cut" hidden>Values far outside the range are drawn along the edge.</span></p>
<ul class="legend of-epochs"></ul>
<div id="curve-plots" class="grid-plots"></div>
</section>
"""


def _parallel() -> str:
    return """<section aria-labelledby="parallel"><h2 id="parallel">Parallel coordinates</h2>
<p class="note">Each line is a trial. Drag along an axis to choose the trials that pass there, in the table
and in all plots. To end the choice, click on the axis or press Escape.</p>
<ul class="legend of-epochs"></ul>
<div id="parallel-plot"></div>
</section>
"""


def _scatter() -> str:
    return """<section aria-labelledby="scatter"><h2 id="scatter">Each hyperparameter against the reward</h2>
<p class="note">The colour shows how long a trial was to be trained. Rewards far below the others are drawn
at the edge.</p>
<ul class="legend of-epochs"></ul>
<div id="scatter-plots" class="grid-plots"></div>
</section>
"""


def _importance(summary: Summary) -> str:
    results = [
        (index, epochs, reward)
        for index, trial in enumerate(summary.trials)
        for epochs, reward in trial.results
        if reward is not None
    ]
    found = importance(columns(summary.trials, summary.run.get("log_scaled")), results)
    return f"""<section aria-labelledby="importance"><h2 id="importance">Importance</h2>
{_shares(found) if found.shares else f"<p>It cannot be told: {escape(found.reason)}.</p>"}
</section>
"""


def _shares(found: Importance) -> str:
    def row(share: Share, name: str) -> str:
        median, low, high = (max(0.0, 100 * value) for value in (share.median, share.low, share.high))
        bar = f'<i style="width:{median:.1f}%"></i><b style="left:{low:.1f}%;width:{high - low:.1f}%"></b>'
        return (
            f'<tr><th scope="row">{name}</th><td class="number">{median:.0f} %</td>'
            f'<td class="number">{low:.0f}–{high:.0f} %</td><td><div class="bar">{bar}</div></td></tr>'
        )

    rows = [row(share, escape(share.name)) for share in found.shares]
    rows += [row(found.interactions, "<em>interactions</em>")] if found.interactions else []
    return f"""<p class="note">Shares of the variance of the reward's rank that each hyperparameter explains
alone, averaged over the others and over the epochs trained, in a random forest (functional analysis of
variance; Hutter, Hoos and Leyton-Brown 2014). The share is the median over the forest's trees, and the
interval holds the middle 80 % of them; a wide interval means that little is known. What several
hyperparameters explain only together is listed as interactions.</p>
<div class="box" tabindex="0" role="region" aria-labelledby="importance"><table class="bars">
<thead><tr><th scope="col">hyperparameter</th><th scope="col" class="number">share</th>
<th scope="col" class="number">interval</th><th scope="col">0 to 100 %</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>"""


def _failures(summary: Summary) -> str:
    groups = "".join(_failure(failure, k < OPEN) for k, failure in enumerate(summary.failures))
    failed = sum(len(failure.trials) for failure in summary.failures)
    plural = "trial has" if failed == 1 else "trials have"
    return f"""<section aria-labelledby="failures"><h2 id="failures">Failures</h2>
<p>{f"{failed:,} {plural} failed." if failed else "No trial has failed."}</p>
{groups}
</section>
"""


def _failure(failure: Failure, unfolded: bool) -> str:
    first = failure.trials[0]
    names = ", ".join(trial.name for trial in failure.trials)
    lines = f"<p>Trial {first.name}:</p><pre>{escape(first.traceback)}</pre>" if first.traceback else ""
    count = f"<strong>{len(failure.trials)} ×</strong>"
    return f"""<details{" open" * unfolded}><summary>{count} {escape(failure.error)}</summary>
<p>Trials {names}.</p>{lines}</details>
"""


def _predictions(summary: Summary) -> str:
    bad = '; <span class="bad">it is not as it was written</span>'
    older = '; <span class="bad">it is of earlier weights</span>'
    items = "".join(
        f"<li><code>{escape(name)}</code>, {size:,} bytes{bad * (name in summary.damaged)}"
        f"{older * (name in summary.older.outputs)}</li>"
        for name, size in summary.predictions
    )
    if not items:
        return ""
    return f"""<section aria-labelledby="predictions"><h2 id="predictions">Predictions</h2>
<ul>{items}</ul>
</section>
"""
