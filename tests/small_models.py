"""Small models of other people's making, trained for a moment, as several tests need them."""

import contextlib
import os

import torch
from torch import nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the package reads it: nothing is looked for elsewhere

from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, logging

logging.disable_progress_bar()

WORDS, UNITS, POSITIONS = 61, 16, 32
SHAPES = {
    "gpt_neox": (
        GPTNeoXForCausalLM,
        GPTNeoXConfig,
        {"hidden_size": UNITS, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
        | {"max_position_embeddings": POSITIONS, "attention_dropout": 0.1, "hidden_dropout": 0.1},
    ),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config,
        {"n_embd": UNITS, "n_layer": 3, "n_head": 2, "n_positions": POSITIONS},
    ),
}
LAYERS = {"gpt_neox": "gpt_neox.layers.*", "gpt2": "transformer.h.*"}
NORM = {"gpt_neox": "gpt_neox.final_layer_norm", "gpt2": "transformer.ln_f"}
"""What the last layer's output runs through before `hidden_states` names it."""


def language_model(kind, seed=0):
    """A tiny model of `transformers` with dropout, untrained."""
    model, config, shape = SHAPES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model(config(vocab_size=WORDS, bos_token_id=0, eos_token_id=0, **shape))


def suite(kind, folder, ids, steps=(0, 4, 12), **saving):
    """Train such a model on a text, and save it as `step0/`, ..., as public suites of checkpoints do."""
    model = language_model(kind).train()
    learning = torch.optim.SGD(model.parameters(), lr=0.5)
    batches = torch.as_tensor(ids[: len(ids) // POSITIONS * POSITIONS]).view(-1, POSITIONS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(max(steps) + 1):
            if step in steps:
                with contextlib.redirect_stderr(None):
                    model.save_pretrained(folder / f"step{step}", **saving)
            model(batches, labels=batches).loss.backward()
            learning.step()
            learning.zero_grad()
    return folder


class GRU(nn.Module):
    """A language model as PyTorch's own examples have them: steps first, the state handed on."""

    def __init__(self, units=5, *, batch_first=False, words=9):
        super().__init__()
        self.embedding = nn.Embedding(words, units)
        self.dropout = nn.Dropout(0.5)
        self.gru = nn.GRU(units, units, 2, batch_first=batch_first, dropout=0.5)
        self.decoder = nn.Linear(units, words)

    def forward(self, ids, state=None):
        outputs, state = self.gru(self.dropout(self.embedding(ids)), state)
        return self.decoder(outputs), state


class Transformer(nn.Module):
    """A causal encoder of PyTorch's own parts."""

    def __init__(self, units=8, *, batch_first=False, words=9):
        super().__init__()
        self.embedding = nn.Embedding(words, units)
        layer = nn.TransformerEncoderLayer(units, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.decoder = nn.Linear(units, words)
        self.batch_first = batch_first

    def forward(self, ids):
        steps = ids.shape[1 if self.batch_first else 0]
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        return self.decoder(self.encoder(self.embedding(ids), mask, is_causal=True))


def seeded(make, *arguments, **options):
    """Make a module with initial weights that do not depend on what ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments, **options)
