"""Languages are counted symbol by symbol: every number of their settings is exact in their text."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from lmdynamics.text.synthetic import CONTEXT, Language, LanguageSettings

SMALL = LanguageSettings(types=12, tokens=3_000, rules=60, length=3, phrases=10, repetitions=15)


def language(*, seed=0, **changes):
    return Language(replace(SMALL, **changes), seed)


def stretches(text, begins, length):
    """As many symbols from each of some places."""
    return text.ids[begins[:, None] + np.arange(length)]


def occurrences(found, phrases):
    """How often each phrase is among some rows."""
    return [(found == phrase).all(1).sum() for phrase in phrases]


def of_neither(text, settings):
    """Which symbols are neither of a rule nor of a phrase that stands alone."""
    kept = np.ones(len(text.ids), bool)
    kept[text.openings[:, None] + np.arange(settings.length + 2)] = False
    kept[text.alone[:, None] + np.arange(settings.length)] = False
    return kept


@pytest.mark.parametrize("familiar", [False, True])
def test_a_rule_is_alpha_and_omega_around_a_scaffold_and_neither_stands_anywhere_else(familiar):
    text = language(familiar=familiar).text()
    assert (text.ids.shape, text.ids.dtype) == ((3_000,), np.int32)
    assert len(text.openings) == 60
    assert np.flatnonzero(text.ids == 12).tolist() == text.openings.tolist()
    assert np.flatnonzero(text.ids == 13).tolist() == (text.openings + 4).tolist()
    assert set(text.ids.tolist()) == set(range(14))


def test_each_phrase_is_as_often_a_scaffold_as_any_other():
    for familiar in (False, True):
        spoken = language(familiar=familiar)
        text = spoken.text()
        assert occurrences(stretches(text, text.openings + 1, 3), spoken.phrases) == [6] * 10


def test_where_rules_do_not_divide_among_phrases_counts_differ_by_one():
    spoken = language(rules=64)
    text = spoken.text()
    assert sorted(occurrences(stretches(text, text.openings + 1, 3), spoken.phrases)) == [6] * 6 + [7] * 4


def test_each_phrase_of_a_familiar_language_also_stands_alone_as_often_as_asked_for():
    spoken = language(familiar=True)
    text = spoken.text()
    assert occurrences(stretches(text, text.alone, 3), spoken.phrases) == [15] * 10


def test_rules_phrases_and_single_symbols_do_not_overlap():
    spoken = language(familiar=True)
    text = spoken.text()
    assert of_neither(text, spoken.settings).sum() == 3_000 - spoken.settings.needed == 3_000 - 60 * 5 - 450


def test_no_phrase_of_an_unfamiliar_language_is_planned_outside_of_the_rule():
    spoken = language()
    text = spoken.text()
    assert len(text.alone) == 0
    assert of_neither(text, spoken.settings).sum() == 3_000 - spoken.settings.needed == 3_000 - 60 * 5


def test_long_phrases_of_an_unfamiliar_language_never_occur_outside_of_the_rule():
    spoken = language(length=8)
    text = spoken.text()
    windows = np.lib.stride_tricks.sliding_window_view(text.ids, 8)
    everywhere = np.flatnonzero((windows[:, None] == spoken.phrases).all(2).any(1))
    assert everywhere.tolist() == (text.openings + 1).tolist()


@examples(deadline=None, max_examples=60)
@given(
    st.integers(2, 6),
    st.integers(1, 20),
    st.integers(2, 4),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(0, 9),
)
def test_counts_are_exact_in_any_language(types, rules, length, familiar, phrases, repetitions, spare, seed):
    asked = LanguageSettings(
        **{"types": types, "rules": rules, "length": length, "familiar": familiar, "phrases": phrases},
        **{"repetitions": repetitions, "tokens": 10_000},
    )
    asked = replace(asked, tokens=asked.needed + spare)
    text = Language(asked, seed).text()
    assert len(text.ids) == asked.tokens
    assert np.flatnonzero(text.ids == asked.alpha).tolist() == text.openings.tolist()
    assert np.flatnonzero(text.ids == asked.omega).tolist() == (text.openings + length + 1).tolist()
    assert len(text.openings) == rules
    assert len(text.alone) == (phrases * repetitions if familiar else 0)
    assert of_neither(text, asked).sum() == spare


def test_a_share_of_a_text_has_that_share_of_every_count():
    spoken = language(familiar=True)
    text = spoken.text("dev", share=0.1)
    assert (len(text.ids), len(text.openings), len(text.alone)) == (300, 6, 15)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_language_without_room_to_spare_has_shares_too(share):
    # 11 rules of 5 tokens: a tenth is 1.1 rules, nine tenths 9.9
    for rules in (11, 15, 19):
        spoken = language(rules=rules, tokens=rules * 5)
        text = spoken.text("dev", share=share)
        assert len(text.openings) == round(rules * share)
        assert abs(len(text.ids) - rules * 5 * share) < 5


def test_a_seed_and_a_part_give_the_same_text_again_and_any_other_another():
    def spoken(part="train", **changes):
        return language(**changes).text(part).ids.tolist()

    assert spoken() == spoken()
    others = [spoken("dev"), spoken("test"), spoken(seed=1), spoken(familiar=True)]
    assert all(other != spoken() for other in others)
    assert len(set(map(tuple, others))) == len(others)


def test_a_text_does_not_depend_on_what_was_drawn_before():
    spoken = language()
    first = spoken.text()
    spoken.cases("out", 5)
    spoken.text("dev")
    assert spoken.text().ids.tolist() == first.ids.tolist()


def test_a_familiar_and_an_unfamiliar_language_and_one_of_fewer_rules_share_their_phrases():
    phrases = language().phrases.tolist()
    assert phrases == language(familiar=True).phrases.tolist() == language(rules=20).phrases.tolist()
    assert phrases != language(seed=1).phrases.tolist()


@pytest.mark.parametrize("changes", [{}, {"types": 2, "phrases": 8}, {"length": 1, "phrases": 12}])
def test_phrases_are_distinct_even_if_there_are_no_others(changes):
    spoken = language(**changes)
    phrases = spoken.phrases
    assert (phrases.shape, phrases.dtype) == ((spoken.settings.phrases, spoken.settings.length), np.int32)
    assert len(np.unique(phrases, axis=0)) == len(phrases)
    assert 0 <= phrases.min() <= phrases.max() < spoken.settings.types


@pytest.mark.parametrize("familiar", [False, True])
def test_symbols_outside_of_the_rule_are_uniform_and_independent_of_the_one_before(familiar):
    spoken = language(tokens=40_000, familiar=familiar)
    text = spoken.text()
    free = of_neither(text, spoken.settings)
    p = stats.chisquare(np.bincount(text.ids[free], minlength=12)).pvalue
    assert 0.001 < p < 0.999
    both = free[1:] & free[:-1]
    pairs = text.ids[:-1][both] * 12 + text.ids[1:][both]
    assert 0.001 < stats.chisquare(np.bincount(pairs, minlength=144)).pvalue < 0.999


def test_rules_are_spread_over_the_whole_text():
    text = language(tokens=40_000, rules=1_000).text()
    assert stats.kstest(text.openings / 40_000, "uniform").pvalue > 0.001
    assert np.diff(text.openings).min() == 5  # at least: α, three symbols, ω
    assert np.diff(text.openings).max() > 100  # not at a fixed pace of 40


def test_a_test_case_is_random_symbols_alpha_a_scaffold_and_omega():
    for domain in ("in", "out"):
        cases = language().cases(domain, 25)
        assert (cases.shape, cases.dtype) == ((25, CONTEXT + 5), np.int32)
        assert (cases[:, CONTEXT] == 12).all()
        assert (cases[:, -1] == 13).all()
        others = np.delete(cases, [CONTEXT, CONTEXT + 4], axis=1)
        assert 0 <= others.min() <= others.max() < 12
        assert len(np.unique(cases[:, :CONTEXT], axis=0)) == 25


def test_scaffolds_in_domain_are_those_of_the_training_part_in_turn():
    spoken = language()
    scaffolds = spoken.cases("in", 25)[:, CONTEXT + 1 : -1]
    assert scaffolds.tolist() == [*spoken.phrases.tolist()] * 2 + spoken.phrases[:5].tolist()


@pytest.mark.parametrize("familiar", [False, True])
def test_scaffolds_in_domain_all_occur_in_the_rule_even_where_rules_are_fewer_than_phrases(familiar):
    spoken = language(rules=4, familiar=familiar)
    text = spoken.text()
    learnt = set(map(tuple, stretches(text, text.openings + 1, 3).tolist()))
    asked = set(map(tuple, spoken.cases("in", 25)[:, CONTEXT + 1 : -1].tolist()))
    assert asked == learnt
    assert len(learnt) == 4


def test_scaffolds_out_of_domain_are_new_and_differ_from_case_to_case():
    spoken = language(length=8)
    scaffolds = spoken.cases("out", 200)[:, CONTEXT + 1 : -1]
    assert len(np.unique(np.concatenate([scaffolds, spoken.phrases]), axis=0)) == 200 + 10


def test_cases_are_the_same_again_and_others_for_another_seed_or_domain():
    contexts = [
        language(seed=seed).cases(domain, 5)[:, :CONTEXT].tolist()
        for seed, domain in ((0, "in"), (0, "in"), (0, "out"), (1, "in"))
    ]
    assert contexts[0] == contexts[1]
    assert all(other != contexts[0] for other in contexts[2:])


def test_more_cases_begin_out_of_domain_as_fewer_do():
    assert language().cases("out", 9)[:4].tolist() == language().cases("out", 4).tolist()


@pytest.mark.parametrize("familiar", [False, True])
def test_the_language_of_the_thesis_fits_its_million_tokens(familiar):
    spoken = Language(LanguageSettings(familiar=familiar), 0)
    assert spoken.settings.needed == 10_000 + 800_000 * familiar
    text = spoken.text()
    assert (len(text.ids), len(text.openings)) == (1_000_000, 1_000)
    assert occurrences(stretches(text, text.openings + 1, 8), spoken.phrases) == [10] * 100
    alone = np.unique(stretches(text, text.alone, 8), axis=0, return_counts=True)[1]
    assert alone.tolist() == [1_000] * (100 * familiar)


def test_each_symbol_has_a_name_of_its_own_alpha_and_omega_last():
    settings = LanguageSettings()
    assert len(set(settings.words)) == len(settings.words) == 1_002
    assert settings.words[settings.alpha] == "α"
    assert settings.words[settings.omega] == "ω"
    assert settings.words[0] == "s0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"types": 0}, "types must be 1 or more, got 0"),
        ({"tokens": 0}, "tokens must be 1 or more, got 0"),
        ({"rules": 0}, "rules must be 1 or more, got 0"),
        ({"length": 0}, "length must be 1 or more, got 0"),
        ({"phrases": -1}, "phrases must be 1 or more, got -1"),
        ({"repetitions": -1}, "repetitions must be 0 or more, got -1"),
        ({"types": 2, "phrases": 9}, "2 types make 8 phrases of length 3, got phrases=9; take fewer"),
        ({"tokens": 299}, "rules and phrases fill 300 tokens, got tokens=299; take more tokens"),
        ({"tokens": 749, "familiar": True}, "fill 750 tokens, got tokens=749"),
        ({"tokens": 1_000, "rules": 1_000}, "fill 5,000 tokens, got tokens=1,000"),
    ],
)
def test_a_language_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_the_familiar_language_of_the_thesis_has_no_room_for_scaffolds_of_ten():
    with pytest.raises(ValueError, match=r"fill 1,012,000 tokens, got tokens=1,000,000; .*fewer rules"):
        LanguageSettings(length=10, familiar=True)


def test_a_domain_that_is_neither_in_nor_out_is_refused():
    with pytest.raises(ValueError, match="a domain is one of in, out, got 'inside'"):
        language().cases("inside", 1)
