"""What the public functions return: results that can be printed, shown in a notebook, saved and drawn."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ood_fashion.evaluation.comparison import ShiftComparison
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.results import SCHEMA, Metrics, Prediction
from ood_fashion.evaluation.stats import RunsSummary
from ood_fashion.evaluation.sweep_report import SweepPoint, SweepReport
from ood_fashion.reports import study_tables, tables
from ood_fashion.reports.table import Table
from ood_fashion.shifts.shift import Shift
from ood_fashion.studies.reproduction import ReproductionReport
from ood_fashion.studies.study_run import StudySummary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Results(ABC):
    """The base of all results. Printing shows its tables, and so does a notebook.

    Those with a picture have `plot()`, which returns a matplotlib Figure.
    """

    @property
    @abstractmethod
    def record(self) -> Any:
        """The results as JSON values, as the command line prints them with --json."""

    @property
    @abstractmethod
    def rows(self) -> Sequence[Any]:
        """The results as frozen dataclasses."""

    @property
    @abstractmethod
    def tables(self) -> list[Table]:
        """The tables that printing shows."""

    def to_json(self) -> str:
        """Return the results as a JSON document."""
        return json.dumps(self.record, indent=2, allow_nan=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows, with the fields that their `repr` shows, as a DataFrame; pandas must be installed."""
        import pandas as pd

        shown = [{one.name: getattr(row, one.name) for one in fields(row) if one.repr} for row in self.rows]
        return pd.DataFrame([{**row.pop("coordinates", {}), **row} for row in shown])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __str__(self) -> str:
        return "\n\n".join(table.to_text() for table in self.tables)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in self.tables)


@dataclass(frozen=True, repr=False)
class Evaluation(Results):
    """A model under shifts, a row each; `evaluation["up4"]` is the row of a shift.

    Attributes:
        model: what it is called.
        results: an `AccuracyResult` or `Metrics` per shift.
        class_names: of the dataset.
        assignment: the model of the assignment whose accuracies stand beside these, if any.
        options: how it was asked, such as the orbit.
    """

    model: str
    results: Sequence[Any]
    class_names: Sequence[str] = ()
    assignment: str | None = None
    options: Mapping[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The model and a record per shift."""
        results = [row.to_json() for row in self.results]
        return {"schema": SCHEMA, "model": self.model, **(self.options or {}), "results": results}

    @property
    def rows(self) -> Sequence[Any]:
        """An `AccuracyResult` or `Metrics` per shift."""
        return self.results

    def __getitem__(self, shift: object) -> Any:
        return {row.shift: row for row in self.rows}[str(Shift.parse(str(shift)))]

    @property
    def tables(self) -> list[Table]:
        """The accuracies, or all metrics, and what a temperature changes."""
        if full := [row for row in self.results if isinstance(row, Metrics)]:
            return [tables.metrics_table(full, self.class_names), *tables.calibration_tables(full)]
        return [tables.accuracy_table(self.results, self.assignment)]

    def plot(self) -> Figure:
        """Draw the accuracy under each shift, with its 95% interval."""
        from ood_fashion.reports import figures

        return figures.accuracies(self.model, [(row.shift, row.accuracy, row.ci95) for row in self.results])


@dataclass(frozen=True)
class RunsResult:
    """The mean accuracy of several trainings under a shift, and its standard deviations."""

    shift: str
    accuracy: float
    runs: int
    n: int
    sd_over_seeds: float | None
    sd_over_images: float | None


@dataclass(frozen=True, repr=False)
class RunsEvaluation(Evaluation):
    """Several trainings, `models`, under shifts together: a `RunsResult` per shift."""

    models: Sequence[str] = ()
    summaries: Mapping[str, RunsSummary] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The runs and a record per shift."""
        results = [{"shift": shift, **summary.to_json()} for shift, summary in self.summaries.items()]
        return {"schema": SCHEMA, "runs": list(self.models), "results": results}

    @property
    def rows(self) -> list[Any]:
        """A `RunsResult` per shift."""
        return [
            RunsResult(shift, summary.accuracy, summary.runs, summary.n, summary.seeds.sd, summary.images.sd)
            for shift, summary in self.summaries.items()
        ]

    @property
    def tables(self) -> list[Table]:
        """The means, and how they vary over seeds and over test sets."""
        return [study_tables.runs_table(self.summaries, "\n".join(self.models))]

    def plot(self) -> Figure:
        """Draw the mean accuracy under each shift, with its 95% interval over the seeds."""
        from ood_fashion.reports import figures

        means = [
            (shift, summary.accuracy, summary.seeds.ci95 or summary.images.ci95 or (summary.accuracy,) * 2)
            for shift, summary in self.summaries.items()
        ]
        return figures.accuracies(f"mean of {len(self.models)}", means)


@dataclass(frozen=True)
class ComparisonResult:
    """Two models, or two sets of trainings, under a shift; p_holm is adjusted for the number of shifts."""

    shift: str
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float] | None
    p: float
    p_holm: float | None


@dataclass(frozen=True, repr=False)
class Comparison(Results):
    """Whether one model beats another: a row per shift, and what may be concluded."""

    a: str
    b: str
    comparisons: Sequence[ShiftComparison]
    conclusion: str

    @property
    def record(self) -> dict[str, Any]:
        """Both names, a record per shift, and the conclusion."""
        results = [one.to_json() for one in self.comparisons]
        return {"a": self.a, "b": self.b, "results": results, "conclusion": self.conclusion}

    @property
    def rows(self) -> list[ComparisonResult]:
        """A `ComparisonResult` per shift."""
        return [
            ComparisonResult(c.shift, c.accuracy_a, c.accuracy_b, test.difference, test.interval, test.p, test.p_holm)
            for c, test in ((c, c.test) for c in self.comparisons)
        ]

    @property
    def tables(self) -> list[Table]:
        """The differences, the conclusion, and each side of several trainings by itself."""
        return study_tables.comparison_tables(self.comparisons, self.a, self.b, self.conclusion)

    def plot(self) -> Figure:
        """Draw the difference in accuracy under each shift, with its 95% interval."""
        from ood_fashion.reports import figures

        return figures.differences(self.comparisons, self.a, self.b)


@dataclass(frozen=True, repr=False)
class SweepResults(Results):
    """Several models over many shifts, in a folder."""

    folder: str
    report: SweepReport

    @property
    def record(self) -> dict[str, Any]:
        """The folder and the report."""
        return {"folder": self.folder, **self.report.to_json()}

    @property
    def rows(self) -> Sequence[SweepPoint]:
        """A `SweepPoint` per model and shift."""
        return self.report.results

    @property
    def tables(self) -> list[Table]:
        """The accuracies, the worst case, and what there is over all shifts."""
        return tables.sweep_tables(self.report)

    def plot(self) -> Figure:
        """Draw the accuracy over the shifts."""
        from ood_fashion.reports import sweep_figures

        make, _ = next(iter(sweep_figures.pictures(self.report).values()))
        return make(self.report)


@dataclass(frozen=True)
class SettingResult:
    """A setting of a study: the number of trainings, and the mean of each measure."""

    setting: str
    seeds: int
    means: Mapping[str, float]


@dataclass(frozen=True, repr=False)
class StudyResults(Results):
    """What several trainings of every setting say together, in a folder.

    Attributes:
        folder: of the study.
        summary: of its trainings.
        failures: a line for each training that failed and is left out.
    """

    folder: str
    summary: StudySummary
    failures: Sequence[str] = ()

    @property
    def record(self) -> dict[str, Any]:
        """The summary, as in summary.json."""
        return self.summary.to_json()

    @property
    def rows(self) -> list[SettingResult]:
        """A `SettingResult` per setting."""
        return [
            SettingResult(one.setting, len(one.seeds), {name: measure.mean for name, measure in one.measures.items()})
            for one in self.summary.settings
        ]

    @property
    def tables(self) -> list[Table]:
        """A row per setting, and what stopping early would have cost."""
        return study_tables.study_tables(self.summary)

    def plot(self) -> Figure:
        """Draw the study's figure."""
        from ood_fashion.reports import study_figures

        return study_figures.figure(self.summary)


@dataclass(frozen=True)
class ReportedResult:
    """A number of the assignment, and the mean of ours."""

    problem: str
    setting: str
    measure: str
    assignment: float
    ours: float | None


@dataclass(frozen=True, repr=False)
class Reproduction(Results):
    """The whole assignment beside its own numbers, in a folder."""

    folder: str
    report: ReproductionReport
    failures: Sequence[str] = ()

    @property
    def record(self) -> dict[str, Any]:
        """What reproduction.json holds."""
        return self.report.to_json()

    @property
    def rows(self) -> list[ReportedResult]:
        """A `ReportedResult` per number of the assignment."""
        return [
            ReportedResult(one.problem, one.setting, one.measure, one.assignment, one.ours.mean if one.ours else None)
            for one in self.report.values
        ]

    @property
    def tables(self) -> list[Table]:
        """The numbers, parameter counts, gradient checks, claims and slips."""
        return study_tables.reproduction_tables(self.report)


@dataclass(frozen=True)
class LayerCount(JsonRecord):
    """The parameters of a layer, with the formula that counts them."""

    layer: str
    output_shape: tuple[int, ...]
    formula: str
    parameters: int


@dataclass(frozen=True, repr=False)
class ParameterCount(Results):
    """A model's parameters, layer by layer; `int(count)` is their number."""

    summary: dict[str, Any]
    differences: Sequence[str] = ()

    def __int__(self) -> int:
        return int(self.summary["parameters"])

    @property
    def record(self) -> dict[str, Any]:
        """The layers and the sums."""
        return self.summary

    @property
    def rows(self) -> list[LayerCount]:
        """A `LayerCount` per layer."""
        return [LayerCount.from_json(layer) for layer in self.summary["layers"]]

    @property
    def tables(self) -> list[Table]:
        """A row per layer, and the sums."""
        return [tables.parameter_table(self.summary)]


@dataclass(frozen=True, repr=False)
class Classification(Results):
    """What pictures show.

    Attributes:
        model: what it is called.
        predictions: a `Prediction` per picture.
        failures: a line for each picture that was named and could not be read.
        passed_over: a line for each that could not be read, in a folder from which others were.
        temperature: of the run, which its probabilities are calibrated by; 1 without one.
    """

    model: str
    predictions: Sequence[Prediction]
    failures: Sequence[str] = ()
    passed_over: Sequence[str] = ()
    temperature: float = 1.0

    @property
    def record(self) -> dict[str, Any]:
        """The model, and a record per picture."""
        return {"model": self.model, "images": [row.to_json() for row in self.predictions]}

    @property
    def rows(self) -> Sequence[Prediction]:
        """A `Prediction` per picture."""
        return self.predictions

    @property
    def tables(self) -> list[Table]:
        """The most probable classes of each picture."""
        return [tables.prediction_table(self.predictions)]
