"""A trajectory is what measures say of whole arrays, in memory that nothing makes grow."""

import gc
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import small_models
import torch
from conftest import only
from small_models import GRU, LAYERS, NORM, WORDS, Transformer, language_model
from torch import nn

import lmdynamics as lm
from lmdynamics.measures import similarity
from lmdynamics.models import pretrained
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel

STEPS = 25
IDS = np.random.default_rng(0).integers(0, WORDS, 20 * 2 * STEPS)  # two contexts for each of 20 streams
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=list(LAYERS))
def suite(request, tmp_path_factory):
    """What loads each checkpoint of a tiny model, by step, and its kind."""
    folder = tmp_path_factory.mktemp(request.param)
    return lm.checkpoints(small_models.suite(request.param, folder, IDS)), request.param


@pytest.fixture
def recurrent():
    """Three models of this library by step."""
    return {
        step: RecurrentModel(ModelSettings(units=6), words=WORDS, classes=WORDS, seed=step)
        for step in (0, 5, 7)
    }


def hidden_states(module):
    """Output of each layer in all contexts of the text, tokens × units, as the package itself tells."""
    contexts = torch.from_numpy(IDS.reshape(-1, STEPS))
    with torch.no_grad():
        states = module.eval()(contexts, output_hidden_states=True).hidden_states
    return [each.flatten(0, 1).double().numpy() for each in states[1:]]


def svcca_of(x, y):
    """Of arrays, by singular value decomposition."""
    bases = []
    for side in (x, y):
        left, sizes, _ = np.linalg.svd(side - side.mean(0), full_matrices=False)
        kept = int((np.cumsum(sizes**2) / (sizes**2).sum() < 0.99).sum()) + 1
        bases.append(left[:, :kept])
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()


def cka_of(x, y):
    """Of arrays, by their kernels."""
    kernels = [(side - side.mean(0)) @ (side - side.mean(0)).T for side in (x, y)]
    return (kernels[0] * kernels[1]).sum() / np.prod([np.linalg.norm(each) for each in kernels])


# Values


def test_values_are_those_of_whole_arrays_of_hidden_states(suite):
    loaders, kind = suite
    names = [*pretrained.hooked(language_model(kind), LAYERS[kind]).layers[:-1], NORM[kind]]
    by_hand = {"svcca": svcca_of, "cka": cka_of, "pwcca": similarity.pwcca, "cca": similarity.cca}
    table = lm.trajectory(loaders, IDS, layers=names, to=12, measures=tuple(by_hand), steps=STEPS)
    arrays = {step: hidden_states(load()) for step, load in loaders.items()}
    assert table[["step", "layer"]].drop_duplicates().values.tolist() == [
        [step, name] for step in (0, 4, 12) for name in names
    ]
    for row in table.itertuples():
        x, y = (arrays[step][names.index(row.layer)] for step in (row.step, 12))
        assert row.value == pytest.approx(by_hand[row.measure](x, y), abs=1e-6), row
    assert (table["tokens"] == len(IDS)).all()
    assert table["chance"].isna().all()
    first = only(table, step=0, measure="svcca")["value"]
    assert (first < 0.999).all()


def test_a_checkpoint_beside_itself_is_one_and_by_chance_near_none(suite):
    loaders, kind = suite
    table = lm.trajectory(
        loaders,
        torch.from_numpy(IDS),
        layers=LAYERS[kind],
        to=12,
        measures=("cca", "cka"),
        chance=True,
        steps=STEPS,
    )
    assert list(table) == ["step", "layer", "measure", "value", "chance", "tokens"]
    assert only(table, step=12)["value"].to_numpy() == pytest.approx(1, abs=1e-9)
    assert (table["chance"] < table["value"]).all()
    unrelated = (small_models.UNITS / len(IDS)) ** 0.5
    cca = only(table, measure="cca")["chance"].to_numpy()
    assert cca == pytest.approx(0.85 * unrelated, rel=0.15)


def test_chance_is_the_measure_with_the_rows_of_the_target_in_another_order_in_each_block(recurrent):
    table = lm.trajectory(recurrent, IDS, layers="h2", to=7, chance=True, seed=3, streams=5, steps=30)
    order, sides = torch.Generator().manual_seed(3), ([], [])
    for early, late in lm.observe([recurrent[0], recurrent[7]], IDS, layers="h2", streams=5, steps=30):
        sides[0].append(early.layers["h2"])
        sides[1].append(late.layers["h2"][torch.randperm(len(late.tokens), generator=order)])
    x, y = map(torch.cat, sides)
    row = only(table, step=0, measure="cka")
    assert row["chance"].item() == pytest.approx(similarity.cka(x, y), rel=1e-9)
    other = lm.trajectory(recurrent, IDS, layers="h2", to=7, chance=True, seed=4, streams=5, steps=30)
    assert (other["chance"] != table["chance"]).all()
    pd.testing.assert_frame_equal(other.drop(columns="chance"), table.drop(columns="chance"))


def test_modules_of_any_make_have_trajectories():
    grus = {step: pretrained.hooked(GRU(words=WORDS), "gru", recurrent=True) for step in range(2)}
    encoders = {step: Transformer(words=WORDS) for step in range(2)}
    for models, layers, names in (
        (grus, None, ["gru"]),
        (encoders, "encoder.layers.*", ["encoder.layers.0", "encoder.layers.1"]),
    ):
        table = lm.trajectory(models, IDS, layers=layers, to=1, measures=("svcca",), steps=STEPS)
        assert only(table, step=1)["value"].to_numpy() == pytest.approx(1, abs=1e-9)
        assert only(table, step=0)["layer"].tolist() == names
        assert (only(table, step=0)["value"] < 0.99).all()


# Where checkpoints come from


class Checkpoint:
    """As the package `lm-checkpoints` has them: the step is in the config, a tokenizer may lack."""

    def __init__(self, model, step):
        self.model, self.config = model, {"model_name": "tiny", "step": step}

    @property
    def tokenizer(self):
        raise ValueError("This checkpoint has no corresponding tokenizer.")


FORMS = {
    "pairs": lambda step, model: (step, model),
    "functions": lambda step, model: (step, lambda: model),
    "lm-checkpoints": lambda step, model: Checkpoint(model, step),
    "objects": lambda step, model: SimpleNamespace(model=model, config=None, tokenizer=None, step=step),
    "fours": lambda step, model: (model, None, None, step),
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_every_form_give_the_same_table(form, recurrent):
    wanted = lm.trajectory(recurrent, IDS, to=5)
    given = [FORMS[form](step, model) for step, model in recurrent.items()]
    pd.testing.assert_frame_equal(lm.trajectory(given, IDS, to=5), wanted)
    once = (each for each in given)
    pd.testing.assert_frame_equal(lm.trajectory(once, IDS, to=recurrent[5]), wanted)


def test_no_more_than_the_target_lives_while_another_checkpoint_is_loaded(suite):
    loaders, kind = suite
    living, models = [], []

    def load(step):
        gc.collect()
        living.append(sum(each() is not None for each in models))
        model = loaders[step]()
        models.append(weakref.ref(model))
        return model

    lazily = {step: (lambda step=step: load(step)) for step in loaders}
    lm.trajectory(lazily, IDS, layers=LAYERS[kind], to=12, steps=STEPS)
    assert living == [0, 1, 1]
    del living[:], models[:]
    one_by_one = ((step, load(step)) for step in loaders)
    lm.trajectory(one_by_one, IDS, layers=LAYERS[kind], to=loaders[12](), steps=STEPS)
    assert living == [0, 0, 0]


MEMORY = """
import resource
import numpy as np, torch
from torch import nn
import lmdynamics as lm

torch.set_num_threads(1)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.top = nn.Embedding(500, 192), nn.Linear(192, 192)

    def forward(self, ids):
        return self.top(self.low(ids)).tanh()

def peak(tokens, checkpoints):
    ids = np.random.default_rng(0).integers(0, 500, tokens)
    models = {n: Model for n in range(checkpoints)}
    lm.trajectory(models, ids, layers=["low", "top"], to=0, steps=50, chance=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

print(peak(2000, 2), peak(50_000, 2), peak(2000, 40))
"""


def test_memory_grows_neither_with_the_text_nor_with_the_number_of_checkpoints():
    # all states of the longer text would fill 150 MB, the sums of all checkpoints 70 MB, their weights 21 MB
    freed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # at once, so that what is held is seen
    command = [sys.executable, "-c", MEMORY]
    run = subprocess.run(command, env=freed, capture_output=True, text=True, check=True)
    small, more_text, more_checkpoints = map(float, run.stdout.split())
    assert more_text - small < 8
    assert more_checkpoints - more_text < 8


# What an outsider writes


def test_the_example_of_the_readme_works_word_for_word_offline(tmp_path):
    (example,) = re.findall(r"```python\n(import lmdynamics as lm\n[^`]*lm\.trajectory[^`]*)```", README)
    small_models.suite("gpt_neox", tmp_path / "runs", IDS, steps=(0, 4, 12))
    for before, after in ((4, 512), (12, 8000)):
        (tmp_path / "runs" / f"step{before}").rename(tmp_path / "runs" / f"step{after}")
    np.save(tmp_path / "ids.npy", np.resize(IDS, 600))  # 20 streams of 30 tokens: a context of 32 holds them
    script = f"import numpy\nids = numpy.load('ids.npy')\n{example}\ntable.to_csv('table.csv', index=False)\n"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    table = pd.read_csv(tmp_path / "table.csv")
    layers = [f"gpt_neox.layers.{n}" for n in range(3)]
    assert table[["step", "layer", "measure"]].values.tolist() == [
        [step, layer, measure] for step in (0, 512, 8000) for layer in layers for measure in ("svcca", "cka")
    ]
    assert (table["chance"] < table["value"]).all()
    assert only(table, step=8000)["value"].to_numpy() == pytest.approx(1, abs=1e-9)


def test_the_library_is_imported_without_pytorch_and_its_names_when_they_are_asked_for():
    script = (
        "import sys, lmdynamics as lm\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'transformers'}\n"
        "assert not heavy & set(sys.modules)\n"
        "assert set(lm.__all__) <= set(dir(lm))\n"
        "assert callable(lm.observe) and 'torch' not in sys.modules\n"
        "for name in lm.__all__:\n"
        "    assert callable(getattr(lm, name)), name\n"
        "assert 'transformers' not in sys.modules\n"
        "import lmdynamics.observe.activations\n"
        "assert callable(lm.observe)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match=r"lmdynamics offers Observable, .* got 'trajectories'"):
        lm.trajectories  # noqa: B018


# What is refused


def test_a_target_that_is_no_step_is_refused(recurrent):
    with pytest.raises(ValueError, match="a model or one of the steps 0, 5, 7 as the target, got 8"):
        lm.trajectory(recurrent, IDS, to=8)
    with pytest.raises(ValueError, match="model as the target of checkpoints that come only once, got 7"):
        lm.trajectory(iter(recurrent.items()), IDS, to=7)


def test_a_layer_that_one_checkpoint_lacks_is_named(recurrent):
    recurrent[5] = RecurrentModel(ModelSettings(units=6, layers=3), words=WORDS, classes=WORDS, seed=0)
    with pytest.raises(ValueError, match=r"step 5 .* need the same layers in both, got h3 in one"):
        lm.trajectory(recurrent, IDS, to=7)
    recurrent[5] = RecurrentModel(ModelSettings(units=6, layers=1), words=WORDS, classes=WORDS, seed=0)
    with pytest.raises(ValueError, match=r"step 5 .* need names of layers, .* got h2"):
        lm.trajectory(recurrent, IDS, layers=["h1", "h2"], to=7)


def test_a_vocabulary_too_small_for_an_id_is_named_with_its_step(recurrent):
    recurrent[5] = RecurrentModel(ModelSettings(units=6), words=9, classes=9, seed=0)
    with pytest.raises(ValueError, match="step 5 beside the target: need ids from 0 to 8, got 0 to 60"):
        lm.trajectory(recurrent, IDS, to=7)


@pytest.mark.parametrize(
    ("checkpoints", "options", "message"),
    [
        ([(0, nn.Linear(1, 1))] * 2, {}, "need names of layers"),
        ("ab", {}, "a step and a model, got str"),
        (None, {"measures": ("rsa",)}, "measures are svcca, pwcca, cka, cca, got rsa"),
        (None, {"ids": IDS[None]}, r"one row, got shape \(1, 1000\) of int64"),
        (None, {"ids": IDS / 2}, "integer ids in one row, got shape .* of float64"),
        (None, {"ids": IDS[:5]}, "more tokens than units, got 5 tokens for 6 units"),
    ],
)
def test_what_cannot_be_compared_is_refused(checkpoints, options, message, recurrent):
    ids = options.pop("ids", IDS)
    with pytest.raises(ValueError, match=message):
        lm.trajectory(checkpoints or recurrent, ids, to=0, **options)


def test_two_checkpoints_at_one_step_are_refused(recurrent):
    twice = [*recurrent.items(), *recurrent.items()]
    with pytest.raises(ValueError, match="need one checkpoint at each step, got two at 0"):
        lm.trajectory(twice, IDS, to=7)
