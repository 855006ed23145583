import pytest
import torch
from torch import nn

from lmdynamics.models import losses
from lmdynamics.models.losses import IGNORED, CrossEntropy

TOKENS, UNITS, CLASSES = 23, 6, 11


@pytest.fixture
def example():
    generator = torch.Generator().manual_seed(0)
    decoder = nn.Linear(UNITS, CLASSES).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(generator=generator)
    hidden = torch.randn(TOKENS, UNITS, generator=generator).double().requires_grad_()
    return decoder, hidden, torch.randint(CLASSES, (TOKENS,), generator=generator)


@pytest.fixture(params=[1, 3, 10**6])
def sliced(request, monkeypatch):
    """So many tokens at once."""
    monkeypatch.setattr(losses, "_CPU_LOGITS", 1)
    monkeypatch.setattr(losses, "_TOKENS", request.param)


@pytest.mark.parametrize("scale", [1, 1_000])  # logits of thousands have no exponentials
@pytest.mark.usefixtures("sliced")
def test_loss_and_gradients_equal_autograd_however_the_tokens_are_sliced(example, scale):
    decoder, hidden, targets = example
    with torch.no_grad():
        hidden *= scale
    expected = nn.functional.cross_entropy(decoder(hidden), targets)
    wanted = torch.autograd.grad(expected, [hidden, *decoder.parameters()])

    head = CrossEntropy(decoder)
    for _ in range(2):  # the second call must overwrite what the first left
        total, gradient = head.backward(hidden.detach(), targets)
    got = [gradient, decoder.weight.grad, decoder.bias.grad]
    assert total.item() == pytest.approx(expected.item() * TOKENS, rel=1e-12)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert head.total(hidden.detach(), targets).item() == pytest.approx(total.item(), rel=1e-12)


def test_ignored_targets_add_nothing(example):
    decoder, hidden, targets = example
    targets[::3] = IGNORED
    expected = nn.functional.cross_entropy(decoder(hidden), targets, ignore_index=IGNORED, reduction="sum")
    assert CrossEntropy(decoder).total(hidden.detach(), targets).item() == pytest.approx(expected.item())


def test_zero_weights_cost_the_logarithm_of_the_number_of_classes(example):
    decoder, hidden, targets = example
    nn.init.zeros_(decoder.weight)
    nn.init.zeros_(decoder.bias)
    total = CrossEntropy(decoder).backward(hidden.detach(), targets).total
    assert total.item() == pytest.approx(TOKENS * torch.tensor(CLASSES).double().log().item())


@pytest.mark.usefixtures("sliced")
def test_bfloat16_agrees_to_its_three_digits(example):
    decoder, hidden, targets = example
    decoder, hidden = decoder.float(), hidden.detach().float()
    exact = CrossEntropy(decoder).backward(hidden, targets)
    weight = decoder.weight.grad.clone()
    rough = CrossEntropy(decoder, bf16=True).backward(hidden, targets)
    assert rough.total.item() == pytest.approx(exact.total.item(), rel=0.02)
    torch.testing.assert_close(rough.gradient, exact.gradient, rtol=0, atol=0.02 * exact.gradient.abs().max())
    torch.testing.assert_close(decoder.weight.grad, weight, rtol=0, atol=0.02 * weight.abs().max())
    assert not torch.equal(rough.gradient, exact.gradient)


@pytest.mark.usefixtures("sliced")
def test_a_look_sees_logits_and_gradients_of_autograd_however_the_tokens_are_sliced(example):
    decoder, hidden, targets = example
    targets[::3] = IGNORED
    logits = decoder(hidden)
    loss = nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    of_logits, of_hidden = torch.autograd.grad(loss, [logits, hidden])
    head = CrossEntropy(decoder)
    for _ in range(2):
        measures = head.measures(hidden.detach(), targets, torch.clone)
        for got, wanted in zip(measures, (logits.detach(), of_logits, of_hidden), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)
    assert decoder.weight.grad is None


def test_a_look_keeps_what_is_measured_of_each_row(example):
    decoder, hidden, targets = example
    whole, measures = (
        CrossEntropy(decoder).measures(hidden.detach(), targets, measure)
        for measure in (torch.clone, lambda rows: rows.norm(dim=1))
    )
    torch.testing.assert_close(measures.logits, whole.logits.norm(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(measures.gradients, whole.gradients.norm(dim=1), rtol=1e-12, atol=0)
    assert torch.equal(measures.hidden_gradient, whole.hidden_gradient)


def test_the_gradient_at_tokens_that_do_not_count_is_zero(example):
    decoder, hidden, targets = example
    targets[::3] = IGNORED
    measures = CrossEntropy(decoder).measures(hidden.detach(), targets, torch.clone)
    for gradient in (measures.gradients, measures.hidden_gradient):
        assert (gradient[::3] == 0).all()
        assert (gradient[1::3] != 0).all()


def test_the_gradient_of_the_mean_is_that_of_the_sum_over_the_number_of_tokens(example):
    decoder, hidden, targets = example
    measures = CrossEntropy(decoder).measures(hidden.detach(), targets, torch.clone)
    mean = CrossEntropy(decoder).backward(hidden.detach(), targets).gradient
    torch.testing.assert_close(measures.hidden_gradient / TOKENS, mean, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(measures.gradients.sum(0) / TOKENS, decoder.bias.grad, rtol=1e-12, atol=1e-15)


def test_no_tokens_and_no_bias_are_refused(example):
    decoder, hidden, targets = example
    head = CrossEntropy(decoder)
    for call in (head.total, head.backward, lambda *given: head.measures(*given, torch.clone)):
        with pytest.raises(ValueError, match="at least one token"):
            call(hidden.detach()[:0], targets[:0])
    with pytest.raises(ValueError, match="needs a bias"):
        CrossEntropy(nn.Linear(2, 3, bias=False))


def test_one_head_serves_in_inference_mode_and_outside_of_it(example):
    decoder, hidden, targets = example
    head = CrossEntropy(decoder)
    with torch.inference_mode():
        total = head.total(hidden.detach(), targets)
    assert head.backward(hidden.detach(), targets).total.item() == pytest.approx(total.item())
