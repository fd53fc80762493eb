"""The co-evolution's task (1907.10804): take filters out of two trained translators, train them briefly, judge one."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.cost.filters import FilterCost, filter_cost
from optevo.data.resident import ResidentImages
from optevo.data.unpaired import unpaired_plan
from optevo.errors import UsageError
from optevo.networks.slicing import slice_filters
from optevo.spaces.filters import GroupTable, Mask
from optevo.tasks.coevolution_price import over_budget, share
from optevo.tasks.coevolution_settings import CoevolutionSettings
from optevo.tasks.evaluation import Evaluation, OnStep, OverBudgetError
from optevo.tasks.filter_tables import example_of
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired import UnpairedImages, load_split
from optevo.tasks.unpaired_splits import UnpairedSplits
from optevo.training.cyclegan import CycleGAN, train
from optevo.training.engine import Engine
from optevo.training.pix2pix import DivergedError
from optevo.training.validation import evaluated

VALIDATION_BATCH = 16

Direction = Literal["a_to_b", "b_to_a"]
OTHER: Mapping[Direction, Direction] = {"a_to_b": "b_to_a", "b_to_a": "a_to_b"}


class Losses(NamedTuple):
    """Means over the validation images: `dis` of squared differences of logits, `cyc` of images in [-1, 1]."""

    dis: float
    cyc: float


@dataclass
class CoevolutionTask:
    """Evaluates masks of either translator on images that stay where they are trained.

    Args:
        settings: The specification's part.
        engine: Where and how to train.
        teachers: The trained pair with its discriminators. They are never changed.
        tables: Of either generator, by direction, as :func:`optevo.tasks.filter_tables.make_table` makes them.
        train, val: The mini-training and the validation images.

    Raises:
        UsageError: The networks do not fit the images, or each other.
    """

    settings: CoevolutionSettings
    engine: Engine
    teachers: Translators
    tables: Mapping[Direction, GroupTable]
    train: UnpairedImages
    val: UnpairedImages
    _verdicts: dict[Direction, list[Tensor]] = field(init=False, default_factory=dict)
    _units: dict[Direction, Losses] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_translators(self.teachers, self.settings)
        for _, module in self.teachers.named():
            self.engine.place(module)

    @classmethod
    def load(
        cls,
        settings: CoevolutionSettings,
        splits: UnpairedSplits,
        *,
        teachers: Translators,
        tables: Mapping[Direction, GroupTable],
        engine: Engine,
    ) -> "CoevolutionTask":
        """Decode the images and be ready."""
        data, device = settings.data, engine.device
        return cls(
            settings=settings,
            engine=engine,
            teachers=teachers,
            tables=tables,
            train=load_split(splits, "train", data, device=device, jitter=settings.training.jitter),
            val=load_split(splits, "val", data, device=device, jitter=False),
        )

    def evaluate(
        self,
        direction: Direction,
        masks: Mapping[str, Mask],
        partner_masks: Mapping[str, Mask] | None,
        *,
        seed: int,
        steps: int | None = None,
        on_step: OnStep | None = None,
    ) -> Evaluation:
        """Train and judge one individual: a pure function of the arguments, on one kind of machine.

        Args:
            direction: Of the translator that the masks are of.
            masks: By chromosome, as the sampler gives them.
            partner_masks: Of the other direction's translator, which closes the cycle; None for the whole teacher.
            seed: Of the order, crops and flips of the images and of the discriminators' histories.
            steps: Instead of `training.steps`, or of `training.first_steps` where there is no partner.
            on_step: Called after each training step; may raise to end the evaluation.

        Raises:
            UsageError: Masks that are not this network's, or without a survivor.
            OverBudgetError: Before anything is built.
            DivergedError: A loss is not finite.
        """
        table, fitness = self.tables[direction], self.settings.fitness
        broken = over_budget(filter_cost(table, table.kept(masks)), fitness)
        if broken:
            raise OverBudgetError(broken)
        if steps is None:
            steps = self.settings.training.first_steps if partner_masks is None else self.settings.training.steps
        with self.engine.active():
            model = self._pair({direction: masks, OTHER[direction]: partner_masks}, seed=seed)
            trained = self._train(model, seed=seed, steps=steps, on_step=on_step)
            losses = self.losses(direction, getattr(model, direction), getattr(model, OTHER[direction]))
            unit = self.unit(direction)
            counts = self._counts(direction, getattr(model, direction))
        left = share(FilterCost(counts["parameters"], counts["exact_macs"]), table, fitness)
        relative = Losses(losses.dis / unit.dis, losses.cyc / unit.cyc)
        value = left + fitness.gamma * (relative.dis + fitness.cycle_weight * relative.cyc)
        if value != value or value == float("inf"):
            raise DivergedError("the validation loss is not finite.")
        metrics = {
            "share": left,
            "l_dis": losses.dis,
            "l_cyc": losses.cyc,
            "l_dis_relative": relative.dis,
            "l_cyc_relative": relative.cyc,
            **counts,
            **trained,
        }
        return Evaluation(value=value, metrics=metrics, model=model)

    def small(self, direction: Direction, masks: Mapping[str, Mask] | None) -> nn.Module:
        """A translator with the dead filters really taken out, the weights inherited; a copy of all of it for None."""
        teacher: nn.Module = getattr(self.teachers, direction)
        return sliced(teacher, masks, self.tables[direction], self._example(direction))

    def losses(self, direction: Direction, small: nn.Module, partner: nn.Module) -> Losses:
        r"""How far a small translator G' is from its teacher G on the validation images (1907.10804).

        .. math:: L_{dis} = E \| D(G(x)) - D(G'(x)) \|^2, \quad L_{cyc} = E \| G_2'(G'(x)) - x \|^2

        with the pretrained discriminator D and the other direction's translator G2'; means over all images and places.
        """
        judge, total = self._judge(direction), torch.zeros(2, device=self.engine.device)
        with evaluated(small), evaluated(partner), evaluated(judge):
            for x, verdict in zip(_batches(self._source(self.val, direction)), self.verdicts(direction), strict=True):
                y = small(x)
                parts = torch.stack(((judge(y) - verdict).square().mean(), (partner(y) - x).square().mean()))
                total += parts * len(x)
        dis, cyc = (total / len(self._source(self.val, direction))).tolist()
        return Losses(dis, cyc)

    def verdicts(self, direction: Direction) -> list[Tensor]:
        """`D(G(x))` of the teacher's translations of the validation images, by batch; computed once."""
        if direction not in self._verdicts:
            teacher, judge = getattr(self.teachers, direction), self._judge(direction)
            with evaluated(teacher), evaluated(judge):
                self._verdicts[direction] = [judge(teacher(x)) for x in _batches(self._source(self.val, direction))]
        return self._verdicts[direction]

    def unit(self, direction: Direction) -> Losses:
        """What the losses are fractions of: see :class:`optevo.tasks.coevolution_settings.CompressionFitnessSettings`.

        Raises:
            UsageError: The discriminator judges everything alike, or all images are one.
        """
        if self.settings.fitness.unit == "raw":
            return Losses(1.0, 1.0)
        if direction not in self._units:
            self._units[direction] = self._knowing_nothing(direction)
        return self._units[direction]

    def _knowing_nothing(self, direction: Direction) -> Losses:
        judge, source = self._judge(direction), self._source(self.val, direction)
        with evaluated(judge):
            answer = judge(mean_picture(self._source(self.train, OTHER[direction])))
            back = mean_picture(self._source(self.train, direction))
            dis = sum(float((answer - one).square().mean()) * len(one) for one in self.verdicts(direction))
            cyc = sum(float((back - x).square().mean()) * len(x) for x in _batches(source))
        if not dis > 0:
            raise UsageError(
                f"teachers: the discriminator for {direction} judges the mean picture as it does all translations, "
                'so it tells nothing; give a trained one, or set fitness.unit = "raw".'
            )
        if not cyc > 0:
            raise UsageError(
                f'data: all images that {direction} translates are one; give more, or set fitness.unit = "raw".'
            )
        return Losses(dis / len(source), cyc / len(source))

    def _pair(self, masks: Mapping[Direction, Mapping[str, Mask] | None], *, seed: int) -> CycleGAN:
        self.engine.seed(seed)
        return CycleGAN(
            a_to_b=self.small("a_to_b", masks["a_to_b"]),
            b_to_a=self.small("b_to_a", masks["b_to_a"]),
            judge_a=copy.deepcopy(self.teachers.judge_a),
            judge_b=copy.deepcopy(self.teachers.judge_b),
            engine=self.engine,
            seed=seed,
            **self.settings.training.recipe(),
        )

    def _train(self, model: CycleGAN, *, seed: int, steps: int, on_step: OnStep | None) -> dict[str, float]:
        """Mean losses by name; none where nothing is trained."""
        if not steps:
            return {}
        training = self.settings.training
        plan = unpaired_plan(
            self.train.a, self.train.b, steps=steps, batch_size=training.batch_size, seed=seed, flip=training.flip
        )
        losses = train(model, self.train.a, self.train.b, plan, on_step=on_step)
        return dict(zip(CycleGAN.LOSSES, losses.tolist(), strict=True))

    def _counts(self, direction: Direction, small: nn.Module) -> dict[str, int]:
        shape = self._example(direction).shape
        return {
            "parameters": parameters(small),
            "exact_macs": exact_macs(small, *shape),
            "literature_macs": literature_macs(small, *shape),
        }

    def _judge(self, direction: Direction) -> nn.Module:
        return self.teachers.judge_b if direction == "a_to_b" else self.teachers.judge_a

    def _source(self, images: UnpairedImages, direction: Direction) -> ResidentImages:
        return images.a if direction == "a_to_b" else images.b

    def _example(self, direction: Direction) -> Tensor:
        return example_for(direction, self.settings)


def sliced(teacher: nn.Module, masks: Mapping[str, Mask] | None, table: GroupTable, example: Tensor) -> nn.Module:
    """A copy of a translator without the dead filters of its masks by chromosome; of all of it for None."""
    return copy.deepcopy(teacher) if masks is None else slice_filters(teacher, table.expand(masks), example)


def compressed(
    teachers: Translators,
    masks: Mapping[Direction, Mapping[str, Mask] | None],
    *,
    tables: Mapping[Direction, GroupTable],
    settings: CoevolutionSettings,
) -> Translators:
    """What the masks of both directions leave of a pair, weights inherited, with copies of its discriminators."""
    return Translators(
        a_to_b=sliced(teachers.a_to_b, masks["a_to_b"], tables["a_to_b"], example_for("a_to_b", settings)),
        b_to_a=sliced(teachers.b_to_a, masks["b_to_a"], tables["b_to_a"], example_for("b_to_a", settings)),
        judge_a=copy.deepcopy(teachers.judge_a),
        judge_b=copy.deepcopy(teachers.judge_b),
    )


def example_for(direction: Direction, settings: CoevolutionSettings) -> Tensor:
    """An image to trace a direction's translator with."""
    data = settings.data
    return example_of(data.channels_a if direction == "a_to_b" else data.channels_b, data.size)


def check_translators(translators: Translators, settings: CoevolutionSettings) -> None:
    """Run all four networks once on images of the specification's size.

    Raises:
        UsageError: A network does not take or does not give such images; it is named.
    """
    data = settings.data
    shapes = {"a": (1, data.channels_a, *data.size), "b": (1, data.channels_b, *data.size)}
    for name, module in translators.named():
        domain = "b" if name in ("b_to_a", "judge_b") else "a"
        given, place = shapes[domain], next((p.device for p in module.parameters()), torch.device("cpu"))
        try:
            with evaluated(module):
                result = module(example_of(given[1], data.size).to(place))
        except (RuntimeError, ValueError, UsageError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(f"teachers: {name} does not take images of {given[1:]} ({reason}).") from None
        wanted = shapes[name[-1]] if not name.startswith("judge") else tuple(result.shape)
        if tuple(result.shape) != wanted:
            raise UsageError(f"teachers: {name} gives images of {tuple(result.shape[1:])}, not {wanted[1:]}.")


def mean_picture(images: ResidentImages) -> Tensor:
    """The mean of all images, shape (1, C, H, W) in [-1, 1]: the best guess of who knows nothing of the input."""
    return torch.stack([x.sum(dim=0) for x in _batches(images)]).sum(dim=0, keepdim=True) / len(images)


def _batches(images: ResidentImages) -> Iterator[Tensor]:
    for index in torch.arange(len(images), device=images.index_device).split(VALIDATION_BATCH):
        yield images.batch(index)
