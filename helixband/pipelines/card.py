"""The card of a bundle: what the model is, how good it was, and what it is for."""

from typing import Any

CARD = """\
# {name}

A model that Helixband {helixband} trained. `bundle.json` has its configuration, versions and digests.

    from helixband.pipelines import load

    predict = load("{name}"{trust})
    predict(INPUTS)

## Intended use

{use}

## Data

{data}

## Test score

{scores}

## Inputs

{inputs}
"""


def card(name: str, document: dict[str, Any], facts: dict[str, Any]) -> str:
    """The text of a card; `facts` has `use`, `data`, `test` and `baselines`."""
    return CARD.format(
        name=name,
        helixband=document["helixband"],
        trust="" if document["graph"] else ", trust=True",
        use=facts["use"] or "Not stated.",
        data=facts["data"],
        scores=_scores(facts["test"], facts["baselines"]),
        inputs=_inputs(document),
    )


def _scores(test: dict[str, float], baselines: dict[str, Any]) -> str:
    if not test:
        return "It was not evaluated on a test set (--eval)."
    lines = ["| metric | model | baselines |", "|---|---|---|"]
    for metric, value in test.items():
        others = [
            f"{name.rpartition(metric)[0].strip(' _:') or 'baseline'} {score:.4g}"
            for name, score in baselines.items()
            if name.endswith(metric) and isinstance(score, int | float)
        ]
        lines.append(f"| {metric} | {value:.4g} | {', '.join(others) or '–'} |")
    if "missing" in baselines:
        lines.append(f"\nThere are no baselines: {baselines['missing']}.")
    return "\n".join(lines)


def _inputs(document: dict[str, Any]) -> str:
    form, example = document["form"], document["example"]
    told = []
    if form:
        letters = "".join(form["alphabet"]["tokens"])
        window = f"windows of {form['length']}" if form["length"] else "whole records"
        told.append(f"Sequences over the letters {letters}, as {window}; to the network as {form['layout']}.")
    else:
        told.append("The definition reads them.")
    for name, shape, kind in example or []:
        told.append(f"One example of x{'.' * bool(name)}{name} has the shape {tuple(shape)}, as {kind}.")
    return "\n".join(told)
