"""`prepare_data` is called once in a run, or each time where a DataModule sets attributes there."""

import pytest
from shared_modules import BOTH, experiment_fixture  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")

PREPARING = """
def prepare(self):
    {}
    with open("prepared.txt", "a") as file: file.write("prepared\\n")
{}.prepare_data = prepare
"""
PREPARES = PREPARING.format("pass", "Data")
SETS_ATTRIBUTES = """
def prepare(self):
    self.rows = [60]
    with open("prepared.txt", "a") as file: file.write("prepared\\n")
of_all = Data.setup
def setup(self, stage):
    assert self.rows == [60]
    of_all(self, stage)
Data.prepare_data, Data.setup = prepare, setup
"""
OF_CONFIG = """
def get_datamodule(data_dir, batch_size, config=None):
    data = Data(data_dir, batch_size)
    {}
    return data
"""
SEARCH = ("--hyper", "--schedule", "asha", "--trials", "2", "--epoch", "2")
WHOLE = ("--epoch", "1", "--eval", "--predict", "x.txt")


def prepared(experiment) -> int:
    return len((experiment.path / "prepared.txt").read_text().splitlines())


@pytest.mark.parametrize("flags", [SEARCH, WHOLE], ids=["search", "all stages"])
def test_data_are_prepared_once_in_a_run(experiment, flags):
    experiment.write(BOTH + PREPARES)
    assert experiment(*flags) == 0
    assert prepared(experiment) == 1
    assert experiment("--epoch", "2", result="other") == 0
    assert prepared(experiment) == 2


def test_workers_do_not_prepare_what_the_run_has_prepared(experiment):
    experiment.write(BOTH + PREPARES + OF_MODULE.format("pass"))
    assert experiment(*SEARCH, "--workers", "2") == 0
    assert prepared(experiment) == 2  # of the module and of the DataModule


def test_data_of_a_configuration_are_prepared_once_for_the_same_attributes(experiment):
    experiment.write(BOTH + PREPARES + OF_CONFIG.format(""))
    assert experiment(*SEARCH) == 0
    assert prepared(experiment) == 1
    experiment.write(BOTH + PREPARES + OF_CONFIG.format("data.lr = (config or {}).get('lr')"))
    assert experiment(*SEARCH, result="other") == 0
    assert prepared(experiment) == 1 + 3  # without a configuration, and with each of two


@pytest.mark.parametrize("flags", [SEARCH, WHOLE], ids=["search", "all stages"])
def test_a_datamodule_that_sets_attributes_in_prepare_data_has_them_in_all_trials_and_stages(
    experiment, flags
):
    experiment.write(BOTH + SETS_ATTRIBUTES)
    assert experiment(*flags) == 0


def test_random_splits_agree_whether_or_not_data_were_prepared_just_before(experiment):
    draws = """
of_all = Data.setup
def setup(self, stage):
    of_all(self, stage)
    with open("splits.txt", "a") as file: file.write(f"{float(torch.rand(()))} {np.random.rand()}\\n")
Data.prepare_data, Data.setup = lambda self: (torch.rand(3), np.random.rand(3)), setup
"""
    experiment.write(BOTH + draws)
    assert experiment("--epoch", "1", "--eval") == 0
    splits = (experiment.path / "splits.txt").read_text().splitlines()
    assert len(splits) > 2
    assert len(set(splits)) == 1


OF_MODULE = PREPARING.replace("{}.prepare_data", "Lit.prepare_data")
OF_CONFIGURED = """
def made(config):
    module = Lit(**config)
    module.rate = config["lr"]
    return module
"""
EVERY_LR = ("--hyper", "--schedule", "asha", "--epoch", "1", "--trials", "2", "--try", "tries.json")


@pytest.mark.parametrize("reads", ["pass", "self.print(self.hparams.get('path'), self.net)"])
@pytest.mark.parametrize("flags", [EVERY_LR, WHOLE], ids=["search", "all stages"])
def test_a_module_prepares_its_data_once_in_a_run(experiment, flags, reads):
    (experiment.path / "tries.json").write_text('[{"lr": 0.01}, {"lr": 0.1}]')
    experiment.write(BOTH + OF_MODULE.format(reads))
    assert experiment(*flags) == 0
    assert prepared(experiment) == 1
    assert experiment("--epoch", "1", result="other") == 0
    assert prepared(experiment) == 2


def test_workers_prepare_what_is_left_one_at_a_time(experiment):
    (experiment.path / "tries.json").write_text('[{"lr": 0.01}, {"lr": 0.1}]')
    download = """
import os, time
if os.path.exists("begun"): raise AssertionError("two prepare at a time")
if not os.path.exists("prepared.txt"): open("begun", "w").close(); time.sleep(0.3); os.remove("begun")
"""
    lines = "\n    ".join(download.strip().splitlines())
    experiment.write(BOTH + PREPARES + OF_MODULE.format(lines))
    assert experiment(*EVERY_LR, "--workers", "2", "--no-data-check") == 0
    assert prepared(experiment) == 2  # of the module and of the DataModule


@pytest.mark.parametrize(
    "reads",
    [
        "self.hparams.lr",
        "self.hparams['lr']",
        "self.hparams.setdefault('lr', 1)",
        "dict(self.hparams)",
        "self.rate",
        "vars(self)['rate']",
        "import pickle; assert pickle.loads(pickle.dumps(self)).rate == vars(self)['rate']",
        "import pickle; pickle.loads(pickle.dumps(self.forward))",  # as a pool of processes is given it
        "import copy; copy.deepcopy(self.hparams)",
    ],
)
def test_a_module_prepares_what_its_hyperparameters_say(experiment, reads):
    (experiment.path / "tries.json").write_text('[{"lr": 0.01}, {"lr": 0.1}]')
    experiment.write(BOTH.replace("Lit(**config)", "made(config)") + OF_CONFIGURED + OF_MODULE.format(reads))
    assert experiment(*EVERY_LR) == 0
    assert prepared(experiment) == 2


def test_a_module_whose_class_is_told_of_derived_ones_prepares_its_data(experiment):
    (experiment.path / "tries.json").write_text('[{"lr": 0.01}, {"lr": 0.1}]')
    told = """
class Registered(Lit):
    names = []
    def __init_subclass__(cls, name):
        Registered.names.append(name)
class Named(Registered, name="named"):
    pass
"""
    experiment.write(
        BOTH.replace("Lit(**config)", "Named(**config)")
        + told
        + OF_MODULE.format("assert self.names == ['named']")
    )
    assert experiment(*EVERY_LR) == 0
    assert prepared(experiment) == 2


def test_a_module_without_hyperparameters_prepares_its_data_once_too(experiment):
    plain = "\nLit.save_hyperparameters = lambda self: None\n"
    plain += "Lit.configure_optimizers = lambda self: torch.optim.Adam(self.parameters(), 0.1)\n"
    experiment.write(BOTH + plain + OF_MODULE.format("self.hparams"))
    assert experiment(*WHOLE) == 0
    assert prepared(experiment) == 1


def test_a_module_that_sets_attributes_in_prepare_data_has_them_in_all_stages(experiment):
    needs = "\ndef setup(self, stage): assert self.rows == 60\nLit.setup = setup\n"
    experiment.write(BOTH + OF_MODULE.format("self.rows = 60") + needs)
    assert experiment(*WHOLE) == 0
    assert prepared(experiment) > 2
