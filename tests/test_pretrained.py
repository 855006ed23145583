"""Any module can be observed: hooks see what it computes, and leave it as it was."""

import numpy as np
import pytest
import small_models
import torch
from small_models import GRU, LAYERS, NORM, POSITIONS, UNITS, WORDS, Transformer, seeded
from torch import nn

import lmdynamics as lm
from lmdynamics.models import pretrained
from lmdynamics.models.observable import Observable, matching
from lmdynamics.observe import activations

STEPS, BATCH = 7, 3
IDS = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (STEPS, BATCH)))


def ids_of(kind, steps=STEPS):
    return torch.from_numpy(np.random.default_rng(1).integers(0, WORDS, (steps, BATCH)))


# What is read


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_of_a_transformer_are_its_hidden_states(kind):
    module, ids = small_models.language_model(kind), ids_of(kind)
    observed, state = pretrained.hooked(module, [LAYERS[kind], NORM[kind]]).read(ids)
    with torch.no_grad():
        _, *wanted = module.eval()(ids.T, output_hidden_states=True).hidden_states
    assert state is None
    *layers, last, norm = observed.values()
    for values, hidden in zip([*layers, norm], wanted, strict=True):
        torch.testing.assert_close(values, hidden.transpose(0, 1), rtol=0, atol=0)
    torch.testing.assert_close(module.get_submodule(NORM[kind])(last), norm, rtol=0, atol=1e-6)


def test_layers_come_in_the_order_of_the_module_and_not_of_the_alphabet_or_of_patterns():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(11))
    module = nn.ModuleDict({"layers": layers, "head": nn.Linear(2, 2)})
    names = pretrained.hooked(module, ["head", "layers.*"], words=9).layers
    assert names == (*(f"layers.{n}" for n in range(11)), "head")


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_recurrent_module_goes_on_from_its_state_and_reads_with_steps_first(batch_first):
    module = seeded(GRU, batch_first=batch_first)
    model = pretrained.hooked(module, ["embedding", "gru"], recurrent=True)
    whole, after = model.read(IDS)
    begun, state = model.read(IDS[:4])
    rest, ended = model.read(IDS[4:], state)
    for name in ("embedding", "gru"):
        torch.testing.assert_close(torch.cat([begun[name], rest[name]]), whole[name], rtol=0, atol=1e-7)
    torch.testing.assert_close(ended, after, rtol=0, atol=1e-7)
    torch.testing.assert_close(whole["gru"][-1], after[-1], rtol=0, atol=1e-7)
    torch.testing.assert_close(whole["embedding"], module.embedding.weight[IDS], rtol=0, atol=0)


def test_without_being_called_recurrent_a_module_begins_anew_at_each_reading():
    class Outputs(GRU):
        def forward(self, ids):
            return super().forward(ids)[0]

    model = pretrained.hooked(seeded(Outputs), ["gru"])
    (first, state), (again, after) = model.read(IDS[4:]), model.read(IDS[4:], "no such thing")
    assert state is after is None
    torch.testing.assert_close(first["gru"], again["gru"], rtol=0, atol=0)


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_encoder_of_pytorch_gives_the_same_rows_with_either_order_of_axes(batch_first):
    module = seeded(Transformer, batch_first=batch_first)
    model = pretrained.hooked(module, "encoder.layers.*")
    assert model.layers == ("encoder.layers.0", "encoder.layers.1")
    wanted = pretrained.hooked(seeded(Transformer), "encoder.layers.*").read(IDS).layers
    for name, values in model.read(IDS).layers.items():
        torch.testing.assert_close(values, wanted[name], rtol=0, atol=1e-6)
        assert values.shape == (STEPS, BATCH, 8)


def test_what_a_later_layer_changes_in_place_was_seen_before():
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU(inplace=True))
    layers = pretrained.hooked(module, ["1", "2"]).read(IDS).layers
    assert (layers["1"] < 0).any()
    torch.testing.assert_close(layers["1"].relu(), layers["2"])


# The module is left as it was


def test_nothing_is_left_of_a_reading_but_its_numbers():
    module = seeded(GRU).train()
    module.gru.eval()
    modes = [each.training for each in module.modules()]
    layers = pretrained.hooked(module, ["embedding", "gru"], recurrent=True).read(IDS).layers
    assert [each.training for each in module.modules()] == modes
    assert not any(each._forward_hooks for each in module.modules())
    assert not any(values.requires_grad for values in layers.values())


def test_a_module_that_fails_while_it_is_read_is_left_as_it_was():
    module = seeded(GRU).train()
    with pytest.raises(IndexError):
        pretrained.hooked(module, ["gru"], recurrent=True).read(IDS + 5)
    assert all(each.training and not each._forward_hooks for each in module.modules())


def test_dropout_is_off_and_no_random_number_is_drawn():
    module = small_models.language_model("gpt2").train()
    model, before = pretrained.hooked(module, LAYERS["gpt2"]), torch.get_rng_state()
    first, again = model.read(ids_of("gpt2")).layers, model.read(ids_of("gpt2")).layers
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())


def test_ids_of_any_kind_go_to_the_device_of_the_module():
    model = pretrained.hooked(nn.Sequential(nn.Embedding(9, 4)).to("meta"), ["0"])
    assert model.read(IDS).layers["0"].device.type == "meta"


# The vocabulary, and what is refused


def test_the_size_of_the_vocabulary_is_that_of_the_config_or_of_the_only_embedding():
    assert pretrained.hooked(small_models.language_model("gpt2"), "lm_head").words == WORDS
    assert pretrained.hooked(GRU(), "gru").words == 9
    assert pretrained.hooked(GRU(), "gru", words=8).words == 8
    two = nn.ModuleList([nn.Embedding(9, 2), nn.Embedding(7, 2)])
    with pytest.raises(ValueError, match="embeddings of one size, got 2; set words"):
        pretrained.hooked(two, "0")


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("gpt_neox.layer.*", r"such as gpt_neox\.layers\.\d.* got gpt_neox.layer.\*"),
        (["gpt_neox.layers.*", "lm_haed"], "such as lm_head, .* got lm_haed"),
        ("*.attention", r"gpt_neox.layers.\d+.attention, .* got \*.attention"),
        ([], "got none"),
    ],
)
def test_a_pattern_without_a_layer_is_told_names_that_there_are(patterns, message):
    with pytest.raises(ValueError, match=message):
        pretrained.hooked(small_models.language_model("gpt_neox"), patterns)


def test_a_star_stays_between_two_dots_and_may_stand_for_a_part_of_a_name():
    names = ("a", "a.b", "a.bc.0", "a.bd.1", "a.bd.1.e")
    assert matching(names, "a.b*.*") == ("a.bc.0", "a.bd.1")
    assert matching(names, "*") == ("a",)
    assert matching(names, ["a.bd.[1-9]", "a.b"]) == ("a.b", "a.bd.1")


def test_axes_that_contradict_the_module_are_refused():
    class Turned(GRU):
        """Reads batches first, while its layer has steps first."""

        def forward(self, ids, state=None):
            return super().forward(ids.T, state)

    model = pretrained.hooked(Turned(), "gru", batch_first=True, recurrent=True)
    with pytest.raises(ValueError, match=r"gru needs .* \(7, 3, 5\) .* of shape \(3, 7\); set batch_first"):
        model.read(IDS)
    mixed = nn.ModuleList([nn.GRU(2, 2), nn.GRU(2, 2, batch_first=True), nn.Embedding(9, 2)])
    with pytest.raises(ValueError, match="some with batch first; set batch_first"):
        pretrained.hooked(mixed, "0")


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.never, self.twice = nn.Embedding(9, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.mean = nn.Flatten()

    def forward(self, ids):
        return self.mean(self.twice(self.twice(self.embedding(ids))))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("never", "layer never does not run"),
        ("twice", "layer twice runs more than once"),
        ("mean", r"a vector for each token, got shape \(3, 14\)"),
    ],
)
def test_layers_that_do_not_give_one_vector_for_each_token_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        pretrained.hooked(Odd(), layer).read(IDS)


def test_a_module_that_returns_no_state_is_not_recurrent():
    class Stateless(GRU):
        def forward(self, ids, state=None):
            return super().forward(ids, state)[0]

    with pytest.raises(ValueError, match=r"returns \(output, state\), got Tensor"):
        pretrained.hooked(Stateless(), "gru", recurrent=True).read(IDS)


def test_more_steps_than_a_module_has_positions_are_refused():
    model = pretrained.hooked(small_models.language_model("gpt2"), LAYERS["gpt2"])
    model.read(ids_of("gpt2", POSITIONS))
    with pytest.raises(ValueError, match="the module has 32 positions, got 33 steps"):
        model.read(ids_of("gpt2", POSITIONS + 1))


def test_hooked_modules_and_models_of_this_library_are_observable_and_plain_modules_are_not():
    assert isinstance(pretrained.hooked(GRU(), "gru"), Observable)
    assert not isinstance(GRU(), Observable)
    with pytest.raises(ValueError, match=r"need names of layers, such as .* got none"):
        next(lm.observe([GRU()], np.arange(9)))


# Blocks over text


@pytest.mark.parametrize("streams", [1, 4])
def test_a_transformer_reads_each_stretch_of_a_stream_as_a_context_of_its_own(streams):
    module, ids = small_models.language_model("gpt2").eval(), ids_of("gpt2", 40).T.flatten().numpy()
    model = pretrained.hooked(module, "transformer.h.1")
    rows = torch.empty(len(ids), UNITS)
    for block in activations.blocks(model, ids, streams=streams, steps=6):
        rows[block.tokens] = block.layers["transformer.h.1"]
    for stream in np.arange(len(ids)).reshape(streams, -1):
        for begin in range(0, len(stream), 6):
            context = stream[begin : begin + 6]
            with torch.no_grad():
                alone = module(torch.from_numpy(ids[context][None]), output_hidden_states=True)
            torch.testing.assert_close(rows[context], alone.hidden_states[2][0], rtol=0, atol=1e-6)


def test_a_recurrent_module_reads_each_stream_as_one_context():
    module, ids = seeded(GRU).eval(), IDS.T.flatten().numpy()
    model = pretrained.hooked(module, "gru", recurrent=True)
    with torch.no_grad():
        whole, _ = module.gru(module.embedding(torch.from_numpy(ids)))
    rows = torch.cat([each.layers["gru"] for each in activations.blocks(model, ids, streams=1, steps=4)])
    torch.testing.assert_close(rows, whole, rtol=0, atol=1e-6)


# Folders of checkpoints


@pytest.fixture(scope="module")
def text():
    return np.random.default_rng(2).integers(0, WORDS, 512)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_folder_of_checkpoints_is_loaded_by_step_offline_whether_in_shards_or_not(kind, text, tmp_path):
    whole = pretrained.checkpoints(small_models.suite(kind, tmp_path / "whole", text))
    cut = pretrained.checkpoints(small_models.suite(kind, tmp_path / "cut", text, max_shard_size="9KB"))
    assert len(list((tmp_path / "cut" / "step4").glob("*.safetensors"))) > 2
    assert list(whole) == list(cut) == [0, 4, 12]
    weights = [dict(each().named_parameters()) for each in (*whole.values(), *cut.values())]
    for ours, theirs in zip(weights[:3], weights[3:], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_a_folder_is_asked_for_checkpoints_in_the_order_of_their_numbers(tmp_path):
    for name in ("step10", "step9", "step0", "logs", "steps"):
        (tmp_path / name).mkdir()
    loaders = lm.checkpoints(tmp_path, lambda path: path.name)
    assert [(step, load()) for step, load in loaders.items()] == [(0, "step0"), (9, "step9"), (10, "step10")]
    (tmp_path / "checkpoint-9").mkdir()
    with pytest.raises(ValueError, match=r"one of each step, in .* got checkpoint-9, step0, step10, step9"):
        lm.checkpoints(tmp_path)
    with pytest.raises(ValueError, match=r"need folders step0, step512, .* got none"):
        lm.checkpoints(tmp_path / "logs")


def test_an_empty_text_is_no_folder_of_checkpoints(tmp_path, monkeypatch):
    (tmp_path / "step0").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a path needs a name, got ''"):
        lm.checkpoints("", lambda path: path.name)
    assert list(lm.checkpoints(".", lambda path: path.name)) == [0]
