"""Co-evolutionary compression of horse2zebra's translators against its teachers and two baselines, 64 pixels, a CPU.

    optevo data download horse2zebra
    python benchmarks/compression.py --data data/horse2zebra --work runs/compression-h2z-64

What it runs, all through the library's own parts. Every stage that is done is a line of results.jsonl or a folder in
--work, and the same command goes on with the next; started several times at once, the processes share what can be done
at once. --report only writes what there is.

1. teachers: CycleGAN for 15 epochs, and for 15 more, at a learning rate that begins and decays anew, for as long as
   FID does not beat the untranslated images' both ways, up to 90. From the fifth time on they are moving averages of
   their weights; the four without show what that is worth. Everything below is averaged too;
2. two populations of filter masks evolved together;
3. their winners fine-tuned together, by CycleGAN's losses alone, with distillation beside them, and by distillation
   alone; and under equal steps, at equal exact MACs of either direction, narrowed translators trained from scratch and
   the teachers pruned by magnitude: 3 seeds each, judged by FID and KID both ways on the test images;
4. each population evolved apart, the whole teacher closing its cycles, with equal evaluations; its winners fine-tuned.
5. both baselines fine-tuned with distillation, too, and the winners for 5 times as long.

The result goes to benchmarks/results/compression-h2z-64.json, .md and .png, as it comes out.
"""

import argparse
import copy
import fcntl
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from recording import RESULTS, hardware, keep, kept, rounded

from optevo import api
from optevo.api.compression import best_pair
from optevo.data.resident import load_images
from optevo.data.unpaired_files import find_unpaired
from optevo.evolution import generator
from optevo.metrics.unpaired import Inception, translation_metrics
from optevo.models.pair import HALVES, PairFacts, half_facts, load_pair, save_pair
from optevo.models.train_pair import rows_of_pair
from optevo.reports.pictures import save_picture
from optevo.samplers import RouletteGASampler, claim_of, evolve, masks_of
from optevo.samplers.masks import from_hex, split, written
from optevo.search.coevolution import DIRECTIONS, tables_of
from optevo.search.progress import best_trials, course_of, courses
from optevo.search.spec import CoevolutionSpec, parse_spec
from optevo.search.study import Search, open_search
from optevo.search.unet import genetics
from optevo.search.versions import versions
from optevo.search.worker import open_task, training_seed
from optevo.tasks.baselines import magnitude_pruned, narrowed
from optevo.tasks.coevolution import compressed
from optevo.tasks.coevolution_finetune import finetune_pair
from optevo.tasks.coevolution_settings import CoevolutionSettings, DistillationSettings
from optevo.tasks.teacher import build
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired import UnpairedImages
from optevo.tasks.unpaired_splits import find_unpaired_splits
from optevo.training.continuing import LocalCheckpoints
from optevo.training.engine import Engine, resolve

NAME = "compression-h2z-64"
STUDY = "h2z-64"
SIZE = (64, 64)
SEEDS = 3
BUDGET = (8, 7)  # of the teachers: epochs and epochs of decay
ROUNDS = 6  # of that, at most
PLAIN_ROUNDS = 4  # without an average of the weights
AVERAGE = 0.999
PICTURED = 3
PRECISION = "bf16"


@dataclass(frozen=True)
class Arm:
    """A way of making a small pair: what it begins with, `distillation.mode` of its training, and how often the budget
    of the others it gets."""

    label: str
    students: str
    mode: str = "off"
    times: int = 1


PLAIN = Arm("co-evolved, plain", "co-evolved")
ARMS = (
    PLAIN,
    Arm("co-evolved, distillation beside", "co-evolved", "beside"),
    Arm("co-evolved, distillation alone", "co-evolved", "alone"),
    Arm("narrowed from scratch, plain", "narrowed"),
    Arm("pruned by magnitude, plain", "pruned"),
)
APART = Arm("evolved apart, plain", "apart")
LATER = (
    Arm("co-evolved, distillation beside, 5 times as long", "co-evolved", "beside", times=5),
    Arm("pruned by magnitude, distillation beside", "pruned", "beside"),
    Arm("narrowed from scratch, distillation beside", "narrowed", "beside"),
    Arm("narrowed from scratch, distillation alone", "narrowed", "alone"),
)


def teacher_spec(data: Path, *, seed: int = 0) -> TeacherSpec:
    """CycleGAN's recipe, its networks half as wide, of 6 blocks."""
    return TeacherSpec.model_validate(
        {
            "seed": seed,
            "data": {"root": str(data), "size": 64},
            "networks": {"ngf": 32, "ndf": 32},
            "training": {"epochs": BUDGET[0], "decay_epochs": BUDGET[1], "checkpoint_minutes": 2},
            "engine": {"device": "cpu", "threads": 1, "precision": PRECISION},
        }
    )


def specification(data: Path, teachers: Path) -> dict[str, Any]:
    return {
        "system": "coevolution",
        "seed": 0,
        "data": {"root": str(data), "size": 64},
        "teachers": {"folder": str(teachers)},
        "training": {"steps": 20, "first_steps": 0},
        "fitness": {"gamma": 1.0, "cycle_weight": 1.0, "cost": "parameters"},
        "sampler": {"population": 12, "generations": 8},
        "finetune": {"epochs": 2, "decay_epochs": 1, "average": AVERAGE, "checkpoint_minutes": 2, "threads": 1},
        "engine": {"device": "cpu", "precision": PRECISION},
    }


class Run:
    """The stages that are done, and what they all need."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        work.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{work / 'optevo.db'}"
        self.ledger = work / "results.jsonl"
        self._judging: tuple[UnpairedImages, Inception] | None = None

    @property
    def done(self) -> dict[str, Any]:
        """Every stage's result, whichever process made it."""
        return {entry["stage"]: entry["result"] for entry in kept(self.ledger)}

    @contextmanager
    def alone(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Whether this process has the name for itself; the system gives back what a killed one had."""
        place = self.work / "locks" / name.replace(" ", "-")
        place.parent.mkdir(exist_ok=True)
        with place.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def once(self, stage: str, make: Callable[[], Any], *, wait: bool = True) -> Any:
        """The result of a stage, made where it is not there yet; None where another process is at it, unless `wait`."""
        with self.alone(stage, wait=wait) as mine:
            if stage not in (done := self.done):
                if not mine:
                    return None
                result = make()
                keep(self.ledger, {"stage": stage, "result": result})
                print(f"{time.strftime('%H:%M:%S')} {stage}: {json.dumps(rounded(result, digits=3))[:600]}", flush=True)
                return result
            return done[stage]

    def judged(self, folder: Path) -> dict[str, Any]:
        """FID and KID of a pair both ways, and its size."""
        if self._judging is None:
            found, device = (
                find_unpaired(self.data, val_fraction=0, test_fraction=0, seed=0),
                resolve(device="cpu").device,
            )
            a, b = (
                load_images([file.a for file in files["test"]], size=SIZE, channels=3, device=device, jitter=False)
                for files in (found.a, found.b)
            )
            self._judging = UnpairedImages(a, b), Inception(judging())
        images, inception = self._judging
        pair, metrics = load_pair(folder), {}
        with judging().active():
            for name, direction in HALVES.items():
                source, target = (images.a, images.b) if direction == "AtoB" else (images.b, images.a)
                metrics |= translation_metrics(
                    getattr(pair, name), source, target, direction=direction, split="test", inception=inception
                )
        return {"metrics": metrics, **{name: counts(folder, name) for name in HALVES}}


def judging() -> Engine:
    return resolve(device="cpu", precision="fp32", threads=1)


def counts(folder: Path, half: str) -> dict[str, int]:
    facts = half_facts(folder, half)
    return {key: getattr(facts, key) for key in ("parameters", "exact_macs", "literature_macs")}


def of_metrics(metrics: Mapping[str, float], kind: str, label: str) -> float:
    """One metric, whatever its protocol: `of_metrics(m, "fid", "AtoB")`."""
    return next(value for key, value in metrics.items() if key.startswith(f"{kind}_{label}_"))


def beats_untranslated(metrics: Mapping[str, float]) -> bool:
    return all(
        of_metrics(metrics, "fid", direction) < of_metrics(metrics, "fid", f"untranslated_{direction[0]}")
        for direction in HALVES.values()
    )


def rounds_stage(rounds: int) -> str:
    return f"teachers, {rounds * sum(BUDGET)} epochs"


def teacher_folder(run: Run, rounds: int) -> Path:
    return run.work / ("teachers" if rounds == 1 else f"teachers-{rounds * sum(BUDGET)}")


def rounds_done(run: Run) -> int:
    return sum(rounds_stage(rounds) in run.done for rounds in range(1, ROUNDS + 1))


def train_teachers(run: Run) -> Iterator[Path]:
    """Round by round; the last are the first that beat the untranslated images both ways, or all rounds are over."""
    for rounds in range(1, ROUNDS + 1):
        result = run.once(rounds_stage(rounds), lambda rounds=rounds: teachers_after(run, rounds))
        yield teacher_folder(run, rounds)
        if beats_untranslated(result["metrics"]):
            return


def teachers_after(run: Run, rounds: int) -> dict[str, Any]:
    """One more round, from where it was interrupted, judged."""
    folder = teacher_folder(run, rounds)
    if not folder.exists() and rounds == 1:
        api.train_pair(teacher_spec(run.data), out=folder)
    elif not folder.exists():
        go_on(run, rounds)
    return run.judged(folder)


def go_on(run: Run, rounds: int) -> None:
    """Train the teachers for another budget, with fresh optimizers and a learning rate that begins anew."""
    before, average = teacher_folder(run, rounds - 1), AVERAGE if rounds > PLAIN_ROUNDS else 0.0
    budget = {"epochs": BUDGET[0], "decay_epochs": BUDGET[1], "average": average}
    settings = CoevolutionSettings.model_validate(
        {
            "data": {"root": str(run.data), "size": 64},
            "teachers": {"folder": str(before)},
            "finetune": {**budget, "checkpoint_minutes": 2, "threads": 1},
            "distillation": {"mode": "off"},
        }
    )
    pair = load_pair(before)
    train_into(run, teacher_folder(run, rounds), pair, settings, teachers=pair, seed=rounds - 1)


def train_into(
    run: Run, folder: Path, pair: Translators, settings: CoevolutionSettings, *, teachers: Translators, seed: int
) -> dict[str, float]:
    """Train a pair, from where it was interrupted, and save it; what a step took."""
    checkpoints, ticks = LocalCheckpoints(run.work / f".{folder.name}.checkpoint"), []

    def on_step(done: int, total: int) -> None:
        ticks.append((done, time.process_time()))
        if done % 400 == 0:
            print(f"{time.strftime('%H:%M:%S')} {folder.name}: step {done} of {total}", flush=True)

    model = finetune_pair(
        pair,
        settings,
        find_unpaired_splits(settings.data, seed=0),
        teachers=teachers,
        about={"pair": folder.name},
        engine=resolve(device="cpu", precision=PRECISION, threads=1),
        seed=seed,
        checkpoints=checkpoints,
        on_step=on_step,
    )
    halves = {name: half.eval() for name, half in model.result().items()}
    trained = Translators(**halves, judge_a=model.judge_a, judge_b=model.judge_b)
    save_pair(folder, trained, PairFacts(size=SIZE, title=folder.name, seed=seed, versions=versions()))
    checkpoints.remove()
    (first, earlier), (last, later) = ticks[0], ticks[-1]
    return {"steps": last, "cpu_seconds_per_step": (later - earlier) / max(1, last - first)}


def search(run: Run, teachers: Path) -> Search:
    """The co-evolution, to its end."""
    with run.alone("study"):
        if STUDY not in [row["study"] for row in api.list_studies(storage=run.url)]:
            api.create_study(STUDY, parse_spec(specification(run.data, teachers), source=__file__), storage=run.url)
    if "co-evolution" not in run.done:
        api.work(STUDY, storage=run.url)
    found = open_search(STUDY, url=run.url)
    run.once(
        "co-evolution",
        lambda: {
            "generations": [
                row
                for direction, course in zip(DIRECTIONS.values(), courses(found), strict=True)
                for row in generation_rows(direction, whole_trials(found, direction), found.spec)
            ],
            "winners": best_pair(found).to_dict(),
            "masks": {
                direction: written(trial)
                for direction, trial in zip(DIRECTIONS.values(), best_trials(found), strict=True)
            },
        },
    )
    return found


def whole_trials(found: Search, direction: str) -> list[optuna.trial.FrozenTrial]:
    place = list(DIRECTIONS.values()).index(direction)
    return found.studies[place].get_trials()


def generation_rows(direction: str, trials: list[optuna.trial.FrozenTrial], spec: Any) -> list[dict[str, Any]]:
    """By complete generation: the values, and what the best one consists of."""
    rows = []
    for number, members in enumerate(course_of(trials, spec).history):
        good = [trial for trial in members if trial.value is not None]
        best = min(good, key=lambda trial: trial.value)  # of equal ones that in the lowest slot
        rows.append(
            {
                "direction": direction,
                "generation": number,
                "best": best.value,
                "mean": statistics.fmean(trial.value for trial in good),
                "trained": sum("reused_from" not in trial.user_attrs for trial in members),
                "seconds": sum(trial.user_attrs.get("seconds", 0.0) for trial in members),
                **{
                    key: best.user_attrs.get(key)
                    for key in (
                        "share",
                        "l_dis_relative",
                        "l_cyc_relative",
                        "parameters",
                        "exact_macs",
                        "literature_macs",
                    )
                },
            }
        )
    return rows


def evolve_apart(run: Run, found: Search) -> dict[str, Any]:
    """Each population alone: the same first generation, steps and evaluations, but the partner is the whole teacher."""
    spec, tables, winners, rows = found.spec, tables_of(found.record.facts), {}, []
    task = open_task(found).task
    for place, (population, direction) in enumerate(DIRECTIONS.items()):
        groups = dict(tables[direction].chromosomes)
        study = optuna.create_study(
            study_name=f"{STUDY}-apart{population}",
            storage=found.storage,
            sampler=RouletteGASampler(
                masks=groups,
                seed=int(generator(spec.seed, "population", direction).integers(2**63)),
                # Elites are trained again, as those of the co-evolution are.
                **{**genetics(spec.sampler), "reuse": False},
            ),
            load_if_exists=True,
        )

        def objective(
            trial: optuna.Trial, place: int = place, direction: Any = direction, groups: Any = groups
        ) -> float:
            claim = claim_of(trial.study._storage.get_trial(trial._trial_id))
            steps = spec.training.steps if claim.generation else spec.training.first_steps
            seed = training_seed(spec.seed, place, claim.generation, claim.slot)
            begun = time.monotonic()
            evaluation = task.evaluate(direction, masks_of(trial, groups), None, seed=seed, steps=steps)
            for key, value in evaluation.metrics.items():
                trial.set_user_attr(key, value)
            trial.set_user_attr("seconds", round(time.monotonic() - begun, 2))
            return evaluation.value

        evolve(study, objective)
        history = course_of(study.get_trials(), spec).history
        winners[direction] = written(min(history[-1], key=lambda trial: trial.value))
        rows += generation_rows(direction, study.get_trials(), spec)
    return {"generations": rows, "masks": winners}


def masks_from(found: Search, genomes: Mapping[str, str]) -> dict[str, Any]:
    tables = tables_of(found.record.facts)
    return {
        direction: split(
            from_hex(genome, size=sum(tables[direction].chromosomes.values())), tables[direction].chromosomes
        )
        for direction, genome in genomes.items()
    }


def students(run: Run, found: Search, teachers: Translators, kind: str, *, seed: int) -> Translators:
    """What an arm begins with."""
    if kind == "narrowed":
        return narrowed_pair(run, found, teachers, seed=seed)
    folder = run.work / "students" / kind
    with run.alone(f"students {kind}"):
        if not folder.exists():
            if kind == "pruned":
                pair = pruned_pair(run, teachers)
            else:
                genomes = run.done["co-evolution" if kind == "co-evolved" else "apart"]["masks"]
                pair = compressed(
                    teachers, masks_from(found, genomes), tables=tables_of(found.record.facts), settings=found.spec
                )
            save_pair(folder, pair, PairFacts(size=SIZE, title=kind, versions=versions()))
    return load_pair(folder)


def wanted_macs(run: Run) -> dict[str, int]:
    return {half: counts(run.work / "students" / "co-evolved", half)["exact_macs"] for half in HALVES}


def narrowed_pair(run: Run, found: Search, teachers: Translators, *, seed: int) -> Translators:
    """From scratch, its discriminators too."""
    fresh = build(teacher_spec(run.data, seed=seed), engine=judging())
    tables = tables_of(found.record.facts)
    halves = {
        half: narrowed(
            getattr(teachers, half), tables[half], channels=3, macs=macs, seed=training_seed("narrowed", half, seed)
        )
        for half, macs in wanted_macs(run).items()
    }
    return Translators(**halves, judge_a=fresh.judge_a, judge_b=fresh.judge_b)


def pruned_pair(run: Run, teachers: Translators) -> Translators:
    halves = {
        half: magnitude_pruned(getattr(teachers, half), channels=3, size=SIZE, macs=macs)
        for half, macs in wanted_macs(run).items()
    }
    return Translators(**halves, judge_a=copy.deepcopy(teachers.judge_a), judge_b=copy.deepcopy(teachers.judge_b))


def finetuned(run: Run, found: Search, teachers: Translators, arm: Arm, *, seed: int) -> dict[str, Any]:
    """One arm with one seed: trained into a pair folder, and judged."""
    folder = trained_folder(run, arm, seed=seed)
    spent: dict[str, float] = {}
    if not folder.exists():
        longer = {key: arm.times * getattr(found.spec.finetune, key) for key in ("epochs", "decay_epochs")}
        spec: CoevolutionSpec = found.spec.model_copy(
            update={
                "distillation": DistillationSettings(mode=arm.mode),
                "finetune": found.spec.finetune.model_copy(update=longer),
            }
        )
        pair = students(run, found, teachers, arm.students, seed=seed)
        spent = train_into(run, folder, pair, spec, teachers=teachers, seed=seed)
    return {**run.judged(folder), **spent}


def trained_folder(run: Run, arm: Arm, *, seed: int) -> Path:
    return run.work / "finetuned" / f"{arm.label.replace(', ', '-').replace(' ', '-')}-{seed}"


def everything(run: Run) -> Iterator[str]:
    """All stages in the order of their weight; the names of those that are done."""
    for _ in train_teachers(run):
        yield "teachers"
    folder = teacher_folder(run, rounds_done(run))
    found = search(run, folder)
    yield "co-evolution"
    teachers = load_pair(folder)

    def before(kind: str) -> None:
        students(run, found, teachers, kind, seed=0)
        run.once(f"before fine-tuning, {kind}", lambda: run.judged(run.work / "students" / kind))

    def new(name: str, make: Callable[[], Any], *, wait: bool) -> bool:
        return name not in run.done and run.once(name, make, wait=wait) is not None

    def train(arm: Arm, seed: int, wait: bool) -> bool:
        return new(stage(arm, seed), lambda: finetuned(run, found, teachers, arm, seed=seed), wait=wait)

    before("co-evolved")
    before("pruned")
    for wait in (False, True):  # what others are at comes last
        for seed in range(SEEDS):
            for arm in ARMS:
                if train(arm, seed, wait):
                    yield arm.label
        if new("apart", lambda: evolve_apart(run, found), wait=wait):
            before("apart")
            yield "apart"
        for arm in (APART, *LATER):
            for seed in range(SEEDS):
                if (arm != APART or "apart" in run.done) and train(arm, seed, wait):
                    yield arm.label


def stage(arm: Arm, seed: int) -> str:
    return f"{arm.label}, seed {seed}"


def by_seed(run: Run, arm: Arm) -> dict[int, dict[str, Any]]:
    return {seed: run.done[stage(arm, seed)] for seed in range(SEEDS) if stage(arm, seed) in run.done}


def differences(run: Run, arm: Arm) -> dict[str, Any]:
    """An arm minus the plain one, seed by seed: mean, and its standard error."""
    ours, plain = by_seed(run, arm), by_seed(run, PLAIN)
    seeds, found = sorted(set(ours) & set(plain)), {"seeds": sorted(set(ours) & set(plain))}
    for kind in ("fid", "kid"):
        for direction in HALVES.values():
            values = [
                of_metrics(ours[seed]["metrics"], kind, direction) - of_metrics(plain[seed]["metrics"], kind, direction)
                for seed in seeds
            ]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            found[f"{kind}_{direction}"] = {
                "mean": statistics.fmean(values) if values else None, "standard_error": error, "values": values,
            }  # fmt: skip
    return found


def study_spec(run: Run) -> Any:
    """The study's own, as it was created; before there is one, what it will be."""
    if STUDY in [row["study"] for row in api.list_studies(storage=run.url)]:
        return open_search(STUDY, url=run.url).spec
    return parse_spec(specification(run.data, Path("teachers")), source=__file__)


def report(run: Run) -> dict[str, Any]:
    """All that there is so far."""
    budgets = {
        f"{rounds * sum(BUDGET)} epochs": run.done[rounds_stage(rounds)] for rounds in range(1, rounds_done(run) + 1)
    }
    arms = [arm for arm in (*ARMS, APART, *LATER) if by_seed(run, arm)]
    seeds_missing = {arm.label: SEEDS - len(by_seed(run, arm)) for arm in (*ARMS, APART, *LATER)}
    return {
        "what": __doc__.splitlines()[0],
        "commands": [line.strip() for line in __doc__.splitlines()[2:4]],
        "hardware": hardware(),
        "threads": 1,
        "precision": PRECISION,
        "versions": versions(),
        "teacher_specification": teacher_spec(run.data).model_dump(mode="json", exclude={"data": {"root"}}),
        "specification": study_spec(run).model_dump(
            mode="json", exclude={"data": {"root"}, "teachers": True, "distillation": {"mode"}}
        ),
        "teachers": budgets,
        "co-evolution": run.done.get("co-evolution"),
        "apart": run.done.get("apart"),
        "before_finetuning": {
            kind: run.done[f"before fine-tuning, {kind}"]
            for kind in ("co-evolved", "pruned", "apart")
            if f"before fine-tuning, {kind}" in run.done
        },
        "finetuned": {arm.label: {str(seed): result for seed, result in by_seed(run, arm).items()} for arm in arms},
        "minus_plain": {arm.label: differences(run, arm) for arm in arms if arm != PLAIN and by_seed(run, PLAIN)},
        "seeds_missing": {label: count for label, count in seeds_missing.items() if count},
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a page."""
    lines = [
        f"# {result['what']}",
        "",
        f"{result['hardware']['processor']}, {result['hardware']['cores']} cores of which one was used, "
        f"{result['precision']}, " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        "Made by `benchmarks/compression.py`; every figure is in the JSON file beside this page.",
        "",
        *_state(result),
        *_quality(result),
        *_paired(result),
    ]
    for key, title in (
        ("co-evolution", "Both populations evolved together"),
        ("apart", "Each population evolved apart"),
    ):
        lines += _evolution(result, key, title)
    return "\n".join(lines)


def _state(result: Mapping[str, Any]) -> list[str]:
    """What has not run, and whether the teachers are any good."""
    lines = []
    if result["seeds_missing"]:
        missing = "; ".join(f"{label} ({count} of {SEEDS} seeds)" for label, count in result["seeds_missing"].items())
        lines += [f"Not run yet: {missing}.", ""]
    if result["teachers"]:
        budget, judged = list(result["teachers"].items())[-1]
        worse = "" if beats_untranslated(judged["metrics"]) else "do not "
        lines += [f"The teachers of {budget} {worse}beat the untranslated images in both directions.", ""]
    return lines


def _quality(result: Mapping[str, Any]) -> list[str]:
    if not result["teachers"]:
        return []
    metrics = list(result["teachers"].values())[-1]["metrics"]
    protocol = {way: next(k for k in metrics if k.startswith(f"fid_{way}")) for way in HALVES.values()}
    recipe, teacher = result["specification"]["finetune"], result["teacher_specification"]
    rows = [_row("untranslated images", [{"metrics": metrics}], prefix="untranslated_")]
    for place, (budget, judged) in enumerate(result["teachers"].items()):
        rows.append(_row(f"teachers, {budget}{'' if place < PLAIN_ROUNDS else ', averaged'}", [judged]))
    rows += [_row(f"{kind}, before fine-tuning", [judged]) for kind, judged in result["before_finetuning"].items()]
    rows += [_row(label, list(found.values())) for label, found in result["finetuned"].items()]
    return [
        "## FID and KID",
        "",
        f"Teachers: CycleGAN of {teacher['networks']['ngf']} first filters, 6 blocks, batch 1, 400 steps an epoch. "
        f"Fine-tuning, where the row says nothing else: {recipe['epochs']} epoch(s) at 2e-4 and "
        f"{recipe['decay_epochs']} of decay, 400 steps each, weights averaged with a decay of "
        f"{recipe['average']:g}. Narrowed pairs begin with random weights and fresh discriminators, the others with "
        "the teachers'. Smaller is better. Over the seeds: mean ± standard deviation, or the only value; in brackets "
        "KID's own standard deviation over its subsets (mean of the seeds). KID is times 1000.",
        "",
        "Protocols: " + " and ".join(f"`{name}`" for name in protocol.values()) + ".",
        "",
        "| pair | seeds | FID A to B | FID B to A | KID A to B | KID B to A | parameters | exact MACs | "
        "literature MACs |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Parameters in thousands and MACs in millions: A to B / B to A.",
        "",
    ]


def _row(label: str, found: list[Mapping[str, Any]], *, prefix: str = "") -> str:
    def spread(kind: str, direction: str, scale: float, digits: int) -> str:
        name = prefix + (direction[0] if prefix else direction)
        values = [scale * of_metrics(each["metrics"], kind, name) for each in found]
        text = f"{statistics.fmean(values):.{digits}f}"
        return f"{text} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else text

    def kid(direction: str) -> str:
        name = prefix + (direction[0] if prefix else direction)
        within = statistics.fmean(1000 * of_metrics(each["metrics"], "kid_spread", name) for each in found)
        return f"{spread('kid', direction, 1000, 1)} ({within:.1f})"

    def size(key: str, unit: float) -> str:
        return " / ".join(f"{found[0][half][key] / unit:.0f}" for half in HALVES) if "a_to_b" in found[0] else "-"

    cells = [
        label,
        str(len(found)),
        *(spread("fid", direction, 1, 1) for direction in HALVES.values()),
        *(kid(direction) for direction in HALVES.values()),
        size("parameters", 1e3),
        size("exact_macs", 1e6),
        size("literature_macs", 1e6),
    ]
    return f"| {' | '.join(cells)} |"


def _paired(result: Mapping[str, Any]) -> list[str]:
    if not result["minus_plain"]:
        return []

    def cell(found: Mapping[str, Any], scale: float) -> str:
        if found["mean"] is None:
            return "-"
        error = found["standard_error"]
        return f"{scale * found['mean']:+.1f}" + ("" if error is None else f" ± {scale * error:.1f}")

    columns = [(kind, direction) for kind in ("fid", "kid") for direction in HALVES.values()]
    return [
        f'## Against "{PLAIN.label}", seed by seed',
        "",
        "Mean difference ± its standard error; negative is better than plain fine-tuning of the co-evolved pair.",
        "",
        "| pair | seeds | FID A to B | FID B to A | KID A to B | KID B to A |",
        "|---|---|---|---|---|---|",
        *(
            f"| {label} | {len(found['seeds'])} | "
            + " | ".join(cell(found[f"{kind}_{way}"], 1000 if kind == "kid" else 1) for kind, way in columns)
            + " |"
            for label, found in result["minus_plain"].items()
        ),
        "",
    ]


def _evolution(result: Mapping[str, Any], key: str, title: str) -> list[str]:
    found, spec = result[key], result["specification"]
    if not found:
        return []
    sampler, training, fitness = spec["sampler"], spec["training"], spec["fitness"]
    return [
        f"## {title}",
        "",
        f"K = {sampler['population']}, {sampler['generations']} generations, {training['steps']} steps of "
        f"mini-training ({training['first_steps']} in generation 0), gamma = {fitness['gamma']:g}, lambda = "
        f"{fitness['cycle_weight']:g}, N of {fitness['cost']}. Fitness f = 1 / (N + gamma (L_DisA + lambda L_cyc)), "
        "both losses as fractions of what the mean picture loses.",
        "",
        "| direction | generation | best f | mean 1/f | N | L_DisA | L_cyc | parameters | exact MACs | "
        "literature MACs | trained |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r['direction']} | {r['generation']} | {1 / r['best']:.3f} | {r['mean']:.3f} | {r['share']:.3f} | "
            f"{r['l_dis_relative']:.3f} | {r['l_cyc_relative']:.3f} | {r['parameters']:,} | "
            f"{r['exact_macs'] / 1e6:.1f} M | {r['literature_macs'] / 1e6:.1f} M | {r['trained']} |"
            for r in found["generations"]
        ),
        "",
    ]


def draw(run: Run) -> None:
    """Test images, and what the teachers and the pairs of seed 0 make of them."""
    folders = {"teacher": teacher_folder(run, rounds_done(run))}
    folders |= {arm.label: trained_folder(run, arm, seed=0) for arm in (*ARMS, APART) if stage(arm, 0) in run.done}
    pairs = {label: load_pair(folder) for label, folder in folders.items()}
    found = find_unpaired(run.data, val_fraction=0, test_fraction=0, seed=0)
    a, b = (
        load_images(
            [file.a for file in files["test"][:PICTURED]], size=SIZE, channels=3, device=judging().device, jitter=False
        )
        for files in (found.a, found.b)
    )
    generators = {f"A to B: {label}": pair.a_to_b for label, pair in pairs.items()}
    generators |= {f"B to A: {label}": pair.b_to_a for label, pair in pairs.items()}
    with judging().active():
        save_picture(rows_of_pair(generators, UnpairedImages(a, b), count=PICTURED), RESULTS / f"{NAME}.png")


def write(run: Run) -> None:
    RESULTS.mkdir(exist_ok=True)
    result = rounded(report(run), digits=5)
    (RESULTS / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{NAME}.md").write_text(markdown(result))
    if result["teachers"]:
        draw(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--report", action="store_true", help="only write what there is")
    arguments = parser.parse_args()
    run = Run(arguments.data, arguments.work)
    if not arguments.report:
        for _ in everything(run):
            write(run)
    write(run)


if __name__ == "__main__":
    main()
