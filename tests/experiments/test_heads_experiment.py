"""The run itself: it ends in a record, repeats, and goes on where it was."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from experiments.head_records import TINY

from tokkit.errors import ArtifactError, ConfigError
from tokkit.experiments import heads
from tokkit.experiments.heads import HeadsConfig, arms_of, profile, run_heads, weights_digest
from tokkit.experiments.heads_findings import Measured, find
from tokkit.experiments.text_arms import measured_path, window_bits
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import read_result

LAYERNORM = ModelConfig(
    vocab_size=11, width=12, layers=1, query_heads=3, norm="layernorm", context=9
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    models = {"other": Transformer(LAYERNORM, seed=0)}
    told = []
    result = run_heads(TINY, folder, models=models, jobs=1, progress=lambda *x: told.append(x))
    return folder, result, told


def measured(folder):
    found = {}
    for path in sorted(folder.glob("measured/*.json")):
        found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        found[path.name].pop("training_seconds", None)
    return found


def test_a_run_leaves_its_result_and_every_model(finished):
    folder, result, told = finished
    again = read_result(folder)
    assert again.tables == result.tables
    assert again.kind == "experiment.heads"
    assert again.settings["models"] == ["other"]
    assert set(again.provenance["input_sha256"]) == {"text", "model other"}
    assert [claim.id for claim in again.claims] == ["heads-are-projections", "grouped-queries"]
    assert len(list(folder.glob("models/*"))) == 2 * len(arms_of(TINY)) == 14
    assert (folder / "measured" / "redundancy-1.json").exists()
    assert told[-1][2] == "pruned heads of 2 of 2 models"
    assert (folder / "result.json").stat().st_size < 300_000


def test_the_tables_hold_what_was_measured(finished):
    folder, result, _ = finished
    rows = {name: table.records() for name, table in result.tables.items()}
    free = [measured(folder)[f"free-{seed}.json"] for seed in (0, 1)]
    arms = {row["arm"]: row for row in rows["arms"]}
    assert arms["free"]["bits_per_byte"] == pytest.approx(
        np.mean([record["bits_per_byte"] for record in free])
    )
    assert arms["slices"]["weights"] == arms["scattered"]["weights"] < arms["free"]["weights"]
    assert arms["slices-wide"]["weights"] == arms["free"]["weights"]
    for row in rows["costs"]:
        difference = arms[row["first"]]["bits_per_byte"] - arms[row["second"]]["bits_per_byte"]
        assert row["difference"] == pytest.approx(difference)
    assert [row["times_less"] for row in rows["cache"]] == [1, 2, 4, 4]
    assert all(row["agree"] for row in rows["cache"])
    llama = {row["key_value_heads"]: row["bytes_a_token"] for row in rows["llama"]}
    assert llama == {64: 2 * 80 * 64 * 128 * 2, 8: 2 * 80 * 8 * 128 * 2}
    assert {row["model"] for row in rows["reading"]} == {
        "free", "slices", "scattered", "other",
    }  # fmt: skip
    assert len(rows["agreement"]) == 2 * 8 * 7 // 2
    assert len(rows["alone"]) == 2 * 8 * 2


def test_masks_were_kept_and_the_basis_checked(finished):
    _, result, _ = finished
    assert result.values["masks_kept_share"] == 1
    for row in result.tables["rotation"].records():
        assert row["holds"] is (None if row["model"] == "other" else True)
        assert row["control_fails"] is (None if row["model"] == "other" else True)
    (claim, grouped) = result.claims
    failed = {c.name for c in (*claim.controls, *grouped.controls) if not c.holds}
    assert failed == {"free: bits per byte below the unigram's (share)"}  # six steps


def test_the_same_command_again_trains_nothing(finished):
    folder, result, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")}
    again = run_heads(TINY, folder, models={"other": Transformer(LAYERNORM, seed=0)}, jobs=1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")} == before
    assert again.tables == result.tables
    assert again.claims == result.claims


def test_lost_measurements_are_had_again(finished, tmp_path):
    folder, _, _ = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in ("slices-1", "redundancy-0"):
        (copy / "measured" / f"{name}.json").unlink()
    run_heads(TINY, copy, jobs=1)
    assert measured(copy) == measured(folder)


def test_a_model_that_diverged_is_left_out_and_said(finished, tmp_path):
    folder, _, _ = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    for arm, seed in (("slices", 0), ("kv-1", 0), ("kv-1", 1)):
        path = measured_path(copy, arm, seed)
        record = json.loads(path.read_text(encoding="utf-8"))
        record = {k: v for k, v in record.items() if k not in ("nats", "bytes")}
        path.write_text(json.dumps(record | {"diverged": True}), encoding="utf-8")
    found = find(copy, TINY, {})
    arms = {row["arm"]: row for row in found["tables"]["arms"].records()}
    assert (arms["slices"]["seeds"], arms["slices"]["diverged"]) == (1, 1)
    assert arms["kv-1"]["bits_per_byte"] is None
    bits = Measured(copy, TINY).bits("slices")
    kept = json.loads(measured_path(copy, "slices", 1).read_text(encoding="utf-8"))
    assert np.isnan(bits[0]).all()
    assert np.array_equal(bits[1:], window_bits([kept]))
    assert all(claim.verdict == "inconclusive" for claim in found["claims"])


def test_a_broken_record_is_told(finished, tmp_path):
    folder, _, _ = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "measured" / "redundancy-0.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no record of pruning: delete it"):
        run_heads(TINY, copy, jobs=1)


def test_other_settings_and_names_of_arms_are_refused(finished):
    folder, _, _ = finished
    with pytest.raises(ConfigError, match=r"other settings \(steps: 6, now 7\)"):
        run_heads(replace(TINY, steps=7), folder)
    with pytest.raises(ConfigError, match="may not be called 'slices'"):
        run_heads(TINY, folder, models={"slices": Transformer(LAYERNORM, seed=0)})


def test_a_digest_is_of_the_weights():
    one, again, other = (Transformer(LAYERNORM, seed=seed) for seed in (0, 0, 1))
    assert weights_digest(one) == weights_digest(again) != weights_digest(other)


def test_the_profiles_and_their_bounds():
    assert profile("full").seeds >= 5
    assert profile("quick", seeds=3).seeds == 3
    assert set(heads.PROFILES) == {"quick", "full"}
    with pytest.raises(ConfigError, match="full"):
        profile("ful")
    for name, value, said in (
        ("seeds", 0, "seeds must be at least 1, got 0"),
        ("windows", 2, "windows must be at least 4"),
        ("heads", 7, "multiple of query_heads"),
        ("text", "latin", "unknown text"),
        ("steps", 0, "steps must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            HeadsConfig(**{name: value})
