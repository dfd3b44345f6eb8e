"""Every sentence is worked out by hand from a handful of rows."""

from tokkit.report import messages
from tokkit.report.arms import Arm

BPE = Arm("bpe", "bpe", "hidden", "short", "", "#000000", "o")
CHAR = Arm("char", "char", "visible", "long", "", "#000000", "s")
ARMS = [BPE, CHAR]


def accuracy_row(arm, accuracy, low=None, high=None, measure="count C"):
    return {"arm": arm, "measure": measure, "accuracy": accuracy, "low": low, "high": high}


def test_found_gives_each_arm_with_its_interval_and_the_rescue():
    accuracy = [accuracy_row("bpe", 0.5, 0.4, 0.6), accuracy_row("char", 0.99)]
    rescue = [{"arm": "bpe", "n": 100, "both": 48, "only_spelled": 50, "only_word": 2}]
    assert messages.found(ARMS, accuracy, rescue) == (
        "On words made of tokens that were never counted in training (C), the share of right "
        "answers was 99.0% (char) with letters visible; 50.0% [40.0, 60.0] (bpe) with letters "
        "hidden; the same weights, given the same words spelled out, reached 98.0%. "
        "Brackets hold intervals."
    )


def test_found_says_nothing_without_numbers():
    assert messages.found(ARMS, [accuracy_row("bpe", None)], []) == ""


def test_accuracy_message_follows_the_numbers():
    rows = [accuracy_row("bpe", 0.517), accuracy_row("char", 0.4)]
    assert messages.accuracy(ARMS, rows) == (
        "On words of novel tokens, right answers are 40.0% with letters visible and "
        "51.7% with letters hidden"
    )
    assert messages.accuracy(ARMS, []) == "Share of right answers by arm and task"


def test_rescue_shares_count_the_questions_right_both_ways():
    row = {"arm": "bpe", "n": 100, "both": 40, "only_spelled": 55, "only_word": 5}
    assert messages.word_share(row) == 0.45
    assert messages.spelled_share(row) == 0.95
    assert messages.rescue(ARMS, [row]) == (
        "Spelling the same words out takes the same weights from 45.0% to 95.0% with letters hidden"
    )
    assert messages.word_share(row | {"n": 0}) is None


def test_curves_message_names_the_first_step_of_the_mean_over_seeds():
    rows = [
        {"arm": arm, "seed": seed, "step": step, "measure": "count C", "accuracy": value}
        for arm, seed, step, value in [
            ("char", 0, 100, 0.95),
            ("char", 1, 100, 0.80),
            ("char", 0, 200, 0.95),
            ("char", 1, 200, 0.86),
            ("bpe", 0, 200, 0.5),
        ]
    ]
    assert messages.curves(ARMS, rows) == (
        "Count, novel tokens (C): char at step 200 first passes 90%; bpe does not reach 90%"
    )


def test_loss_message():
    rows = [
        {"arm": arm, "seed": 0, "step": step, "measure": "loss", "accuracy": value}
        for arm, step, value in [("bpe", 1, 2.0), ("bpe", 2, 0.5), ("char", 2, 0.125)]
    ]
    assert messages.loss(ARMS, rows) == (
        "The loss ends lowest in char (0.125 nats), highest in bpe (0.500 nats)"
    )


def test_confusion_message_counts_wrong_answers_only():
    rows = [
        {"truth": 1, "answer": "1", "n": 90},
        {"truth": 1, "answer": "2", "n": 6},
        {"truth": 1, "answer": "3", "n": 2},
        {"truth": 1, "answer": "other", "n": 2},
    ]
    assert messages.confusion(rows) == (
        "Of all wrong answers on words of novel tokens, 60.0% are off by one and "
        "20.0% are no possible count"
    )
    assert messages.confusion(rows[:1]) == "No answer on words of novel tokens is wrong"


def test_breakdown_pools_by_the_number_of_questions():
    wide = Arm("opaque", "opaque", "hidden", "long", "", "#000000", "o")
    rows = [
        {"arm": "bpe", "letters": 4, "n": 30, "accuracy": 1.0},
        {"arm": "opaque", "letters": 4, "n": 10, "accuracy": 0.0},
        {"arm": "bpe", "letters": 9, "n": 10, "accuracy": 0.25},
    ]
    assert messages.breakdown([BPE, wide], rows, "letters", "Letters in the word") == (
        "Letters in the word, from 4 to 9: 75.0% to 25.0% (letters hidden)."
    )
    assert messages.breakdown([BPE], rows[:1], "letters", "Letters") == ""


def test_strawberry_message_counts_models():
    rows = [{"arm": "bpe", "correct": False}, {"arm": "bpe", "correct": True}]
    said = messages.strawberry("How many?", ARMS, rows)
    assert said == "How many? Right answers: 1 of 2 with letters hidden."


def test_gain_has_a_sign():
    assert messages.gain({"gain": 0.458, "low": 0.43, "high": 0.48}) == "+45.8 [43.0, 48.0]"
    assert messages.gain({"gain": -0.02}) == "−2.0"
    assert messages.gain({}) == ""
