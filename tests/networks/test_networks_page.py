"""The page of networks: it names all that there are, and its examples run."""

import doctest
import re
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

import helixband.networks
from helixband.networks import Encoder
from helixband.sequence.alphabet import DNA

PAGE = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
BLOCKS = re.findall("```python\n(.*?)```", PAGE, re.S)


def names() -> dict[str, Any]:
    found = {name: getattr(helixband.networks, name) for name in helixband.networks.__all__}
    return {"torch": torch, "nn": nn, "DNA": DNA, **found}


def test_the_tables_have_all_networks() -> None:
    tables = "".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    listed = set(re.findall(r"`(\w+)`", tables))
    assert set(helixband.networks.__all__) - {"Encoder", "Inspection"} <= listed


@pytest.mark.filterwarnings("ignore:the receptive field")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number: int) -> None:
    given = names()
    code = BLOCKS[number]
    if code.startswith(">>>"):
        parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
        runner.run(parser.get_doctest(code, given, "networks.md", None, 0))
        assert runner.summarize(verbose=False).failed == 0
        return
    exec(code, given)
    network, encoder = given.get("network"), given.get("encoder")
    if isinstance(network, nn.Module):
        x = torch.randint(0, 4, (2, 1200), dtype=torch.uint8)[:, : 60 if "Recurrent" in code else 1200]
        output = network.eval()(x)
        leaves: list[Tensor] = list(output.values()) if isinstance(output, dict) else [output]
        assert all(len(leaf) == 2 and leaf.isfinite().all() for leaf in leaves)
        assert isinstance(encoder, Encoder)


def test_the_hyperparameters_of_the_page_make_its_network() -> None:
    given = names()
    exec(BLOCKS[-1], given)
    network = given["network_of"](given["hparams"](transformer_width=8, transformer_layers=1))
    assert network(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 1)
