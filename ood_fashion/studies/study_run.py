"""Studies: named grids of training configs, run side by side over several seeds, and what they say together.

A study is a folder: study.json says what was asked for, trials/SETTING-sSEED/ are run folders, summary.json comes
last. A study that was killed is finished by running it again: finished trials are kept, unfinished ones
continue from their last epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import evolve

from ood_fashion.data.dataset import GENUINE_SHA256, Dataset
from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.stats import summarize
from ood_fashion.files import absolute, exists, is_vacant, make_folder, read_json, remove_leftovers, write_json
from ood_fashion.parallel import run_parallel
from ood_fashion.runs.history import history_columns
from ood_fashion.runs.run import Run
from ood_fashion.studies import assignment
from ood_fashion.studies.histories import BestSetting, Histories, SettingSummary, best_setting
from ood_fashion.studies.study import STUDIES, Study, folder_name
from ood_fashion.studies.trials import Trial, run_trials

STUDIES_ROOT = Path("studies")
"""Where studies go when no folder is named."""

SEEDS = 3
"""Trainings of every setting, unless told otherwise."""

MAX_SEEDS = 100_000
"""More are no study's, but a study.json's that is to fill the memory with the names of absent trainings."""

CHANGES = ("implementation", "epochs", "train_size", "val_size")
"""The settings that a study may have instead of its own."""

OWN = "own"
"""What a study that is not registered is called."""

MANY_TRIALS = 5_000
"""From how many on worker processes read the finished trials: these take two seconds to start."""


@dataclass(frozen=True)
class StudySummary(JsonRecord):
    """The finished trainings of a study: a name in `STUDIES`, or `OWN` with the `definition` of `Study.to_json`.

    All trainings have the changes instead of their own settings. The settings are those that have a finished training,
    `damaged` has a line for each training that cannot be read, and `best` the best setting, if the study looks for it.
    """

    study: str
    definition: Mapping[str, Any] | None = field(default=None, kw_only=True)
    changes: Mapping[str, Any]
    sha256: Mapping[str, str] | None = field(default=None, kw_only=True)
    seeds: int
    title: str
    factor: str
    measures: tuple[str, ...]
    test_images: int | None
    settings: tuple[SettingSummary, ...]
    damaged: tuple[str, ...]
    best: BestSetting | None = None

    @property
    def grid(self) -> Study:
        """The registered study, or the user's own."""
        return _read_study(self.study, self.definition)

    @property
    def is_genuine(self) -> bool:
        """Whether it was trained on Fashion-MNIST."""
        return self.sha256 == GENUINE_SHA256

    def values(self, setting: str, measure: str) -> dict[int, float]:
        """Return a measure of a setting by seed, as `SettingSummary.values`; nothing for a setting without seeds."""
        return next((one.values(measure) for one in self.settings if one.setting == setting), {})

    def _has_key(self, name: str, default: Any) -> bool:
        return super()._has_key(name, default) or (name == "best" and self.grid.lowest is not None)


@dataclass(frozen=True)
class StudyRun:
    """A study's folder."""

    path: Path

    @classmethod
    def create(
        cls,
        path: Path,
        study: str | Study,
        *,
        seeds: int | None,
        changes: Mapping[str, Any],
        dataset: Dataset,
        resume: bool,
    ) -> StudyRun:
        """Make the folder and write study.json, or take up the same study there.

        The study is a name in `STUDIES`, or one of one's own. The seeds are 1, 2, ..., as many as are there, or else
        `SEEDS`, unless given. The changes are those of `CHANGES` that every setting has instead of its own, beside
        those that the study there has. With `resume` the folder may hold the study already, with as many seeds or
        others.
        """
        if isinstance(study, str) and study not in STUDIES:
            raise InvalidValueError(f"`study`: expected one of {', '.join(STUDIES)}. Received: {study!r}.")
        if unknown := sorted(changes.keys() - set(CHANGES)):
            raise InvalidValueError(f"changes: expected {', '.join(CHANGES)}. Received: {', '.join(unknown)}.")
        for config in (STUDIES[study] if isinstance(study, str) else study).settings.values():
            evolve(config, **changes)
        named = {"study": study} if isinstance(study, str) else {"study": OWN, "definition": study.to_json()}
        record = {**named, "changes": dict(changes), "sha256": dataset.sha256}
        if resume and exists(path / "study.json"):
            began = cls(path).record
            seeds = seeds or began["seeds"]
            record["changes"] = {**began["changes"], **changes}
            differing = [
                "other settings" if key == "definition" else f"{key} {value}"
                for key, value in record.items()
                if began.get(key) != value
            ]
            if differing:
                raise RunError(
                    f"{path}: expected what the study there began with. Received: {', '.join(differing)}. "
                    "Choose another folder."
                )
        else:
            make_folder(path)
            if not is_vacant(path, "study.json"):
                there = "a study. Resume it, or choose" if cls(path).is_study else "other files. Choose"
                raise RunError(f"{path}: expected an empty or absent folder. Received: {there} another folder.")
        write_json(path / "study.json", {**record, "seeds": seeds or SEEDS})
        for folder in (path, path / "trials"):
            remove_leftovers(folder)
        return cls(path)

    @cached_property
    def record(self) -> dict[str, Any]:
        """study.json's content."""
        path = self.path / "study.json"
        record = read_json(path)
        name, seeds, changes = (record.get(key) for key in ("study", "seeds", "changes"))
        if (
            not isinstance(name, str)
            or name not in (*STUDIES, OWN)
            or type(seeds) is not int
            or not 0 < seeds <= MAX_SEEDS
            or not isinstance(changes, dict)
            or not changes.keys() <= set(CHANGES)
        ):
            raise RunError(
                f"{path}: expected a study, with 1 to {MAX_SEEDS:,} seeds and changes of {', '.join(CHANGES)}. "
                f"Received: study {name}, seeds {seeds}, changes {changes}."
            )
        try:
            for config in _read_study(name, record.get("definition")).settings.values():
                evolve(config, **changes)
        except (KeyError, TypeError, AttributeError, InvalidValueError) as error:
            received = str(error).replace("`", "")  # names what is in the file
            raise RunError(f"{path}: expected changes of settings. Received: {received}") from error
        return record

    @property
    def is_study(self) -> bool:
        """Whether the folder has a sound study.json."""
        try:
            return bool(self.record)
        except RunError:
            return False

    @property
    def study(self) -> Study:
        """The registered study, or the one that study.json defines."""
        return _read_study(self.record["study"], self.record.get("definition"))

    @property
    def trial_count(self) -> int:
        """The number of trainings."""
        return len(self.study.settings) * int(self.record["seeds"])

    def trials(self, *, unfinished: bool = False) -> Iterator[Trial]:
        """Give every training, or every unfinished one.

        Those of the last settings come first: they take longest where the models differ.
        """
        for setting in reversed(list(self.study.settings)):
            yield from self.trials_of(setting, unfinished=unfinished)

    def trials_of(self, setting: str, *, unfinished: bool = False) -> Iterator[Trial]:
        """Give the trainings of a setting, or the unfinished ones, by their seeds."""
        config = evolve(self.study.settings[setting], **self.record["changes"])
        for seed in range(1, self.record["seeds"] + 1):
            path = self.path / "trials" / f"{folder_name(setting)}-s{seed}"
            if not (unfinished and Run(path).is_complete):
                yield Trial(path, setting, evolve(config, seed=seed), self.record.get("sha256"))

    def summarize(self, reasons: Mapping[Path, str] | None = None) -> StudySummary:
        """Read the finished trials, one after another: the memory that it takes grows by a few numbers a trial.

        From `MANY_TRIALS` on, worker processes do so, a setting each.

        The reasons are why trials are known to have failed, by their absolute paths.
        """
        study, labels = self.study, list(self.study.settings)
        outcomes = run_parallel(
            StudyRun.summarize_setting,
            [(self, setting, reasons or {}) for setting in labels],
            backend="loky",
            address=None,
            jobs=None if self.trial_count >= MANY_TRIALS else 1,
        )
        found = sorted(outcomes, key=lambda outcome: labels.index(outcome[0].setting))
        settings = tuple(setting for setting, _, _ in found if setting.seeds)
        return StudySummary(
            **{name: self.record[name] for name in ("study", "definition", "changes", "sha256") if name in self.record},
            seeds=self.record["seeds"],
            title=study.title,
            factor=study.factor,
            measures=tuple(study.measures),
            test_images=max(n for _, _, n in found) or None,
            settings=settings,
            damaged=tuple(line for _, damaged, _ in found for line in damaged),
            best=best_setting(settings, study.lowest) if study.lowest is not None else None,
        )

    def summarize_setting(
        self, setting: str, reasons: Mapping[Path, str], *, threads: int | None
    ) -> tuple[SettingSummary, list[str], int]:
        """Return the summary of a setting, a line for each trial that cannot be read, and the number of test images."""
        test_images = 0
        damaged: list[str] = []
        seeds: list[int] = []
        values: dict[str, list[float]] = {}
        histories = Histories(history_columns(evolve(self.study.settings[setting], **self.record["changes"])))
        reported = [
            value
            for value in assignment.REPORTED_VALUES
            if (value.study, value.setting) == (self.record["study"], setting) and value.epoch
        ]
        printed: dict[str, list[tuple[int, float]]] = {value.measured: [] for value in reported}
        for trial in self.trials_of(setting):
            try:
                history, measured, test_images = trial.read()
            except RunError as error:
                damaged.append(reasons.get(absolute(trial.path), str(error)))
                continue
            seeds.append(trial.config.seed)
            for name, value in measured.items():
                values.setdefault(name, []).append(value)
            histories.add(history)
            for one in reported:
                if one.epoch and len(history) >= one.epoch:
                    printed[one.measured].append((trial.config.seed, history[one.epoch - 1][one.measure]))
        summary = SettingSummary(
            setting,
            tuple(seeds),
            {name: summarize(given) for name, given in values.items()},
            histories.curves(),
            histories.patience_table(),
            {name: tuple(pairs) for name, pairs in printed.items()},
        )
        return summary, damaged, test_images


def _read_study(study: str, definition: Mapping[str, Any] | None) -> Study:
    if study != OWN:
        return STUDIES[study]
    return Study(**{name: value for name, value in (definition or {}).items() if name != "in_document"})


def run_studies(study_runs: Sequence[StudyRun], **how: Any) -> tuple[list[StudySummary], list[str]]:
    """Train what is not finished yet in all of the studies, from one queue as `run_trials` says.

    Returns the summary of each, which is written too, and a line for each trial that failed and is left out.
    """
    trials = [trial for study_run in study_runs for trial in study_run.trials(unfinished=True)]
    reasons = run_trials(trials, total=sum(study_run.trial_count for study_run in study_runs), **how)
    summaries = []
    for study_run in study_runs:
        # Reads study.json anew, which may have been deleted meanwhile.
        summary = StudyRun(study_run.path).summarize(reasons)
        write_json(study_run.path / "summary.json", summary.to_json())
        summaries.append(summary)
    return summaries, [line for summary in summaries for line in summary.damaged]
