"""The calls of a model process: what each asks for and what it sends back, JSON <-> pydantic.

A :class:`Call` is a name with the types of its request and its result, so that both ends of the
connection are typed. Results of stages are cached as they are here; ``pipeline`` makes the records
of `results.json` of them, and they hold those records where the two are the same. Times are
seconds, sizes bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, Field

from harness.schema.power import Power
from harness.schema.results import Device
from harness.schema.rows import Finish, LossRow, Rates
from harness.schema.variant_result import CurvePoint, LossValue, Parameters, PhaseMemory, Record

Request = TypeVar("Request", bound=Record)
Result = TypeVar("Result", bound=Record)


STAGE_VERSIONS = {"describe": 7, "finetune": 6, "loss": 6, "generate": 7, "fuse": 8, "speed": 5}
"""The version of each stage's results in the cache. Raise a version by hand when its code changes
what it computes or the form of its result: older entries are then unused."""


MeasuredAt = Annotated[str, AfterValidator(lambda text: re.sub(r" \([^()]*\)$", "", text))]
"""When and on which chip something was timed. Caches of earlier versions add the machine's name in
brackets: left out when it is read."""


@dataclass(frozen=True)
class Call(Generic[Request, Result]):
    """One call of a model process: its name and the types of what goes down and comes back."""

    name: str
    request: type[Request]
    result: type[Result]
    stage: str = ""
    """The stage whose cached result it is; empty where nothing is cached."""


class Nothing(Record):
    """A request without parameters, or a result without content."""


class OpenRequest(Record):
    """The variant that a process works on; paths are those of its machine."""

    model: str = Field(description="Base model as the user named it.")
    variant: dict[str, Any] = Field(description="The effective variant file.")
    dataset: str = Field(description="Dataset as the user named it.")
    prompt_style: str = Field(description="Name of the prompt style.")
    max_new_tokens: int | None = Field(
        default=None, description="Most tokens of an answer; null is the protocol's own limit."
    )
    cache_root: str = Field(description="Folder of the cache.")
    trust_remote_code: bool = Field(default=False, description="Whether its own code may run.")
    expected: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 that `model` and `dataset` must have."
    )


class RankFacts(Record):
    """What another rank must have as this one has it."""

    must_match: dict[str, str] = Field(description="SHA-256 of base model and dataset.")


class JoinRequest(Record):
    """How to connect with the model processes of the other ranks."""

    size: int = Field(description="Number of ranks.")
    variables: dict[str, str] = Field(
        default_factory=dict, description="Environment by which MLX finds its group."
    )


class FinetuneRequest(Record):
    """Fine-tune in ``work``, which may hold an interrupted training."""

    work: Path = Field(description="Folder of the training; the caller removes it.")
    out: Path = Field(description="Folder that the finished adapter is copied to.")


class QuestionsRequest(Record):
    """Answer the students questions."""

    adapter: Path | None = Field(description="Folder of the adapter; null for the base itself.")
    work: Path = Field(description="Folder that keeps finished batches.")


class EvaluateRequest(QuestionsRequest):
    """Score or answer test examples."""

    ids: list[int] = Field(description="0-based lines of the test split.")


class FuseRequest(Record):
    """Fuse the adapter and measure each form."""

    ids: list[int] = Field(description="0-based lines of the test split: the parity subset.")
    adapter: Path = Field(description="Folder of the adapter.")
    folder: Path = Field(description="Folder that holds the fused models meanwhile.")
    keep: bool = Field(description="Whether they stay there.")


class TrialRequest(Record):
    """Time the generation of answers."""

    adapter: Path | None = Field(description="Folder of the adapter; null for the base itself.")
    prompt_tokens: int = Field(default=0, description="Tokens of the prompt of a speed trial.")
    new_tokens: int = Field(description="Tokens generated in a trial.")
    batch: int = Field(default=1, description="Prompts of a batched trial.")
    least_s: float = Field(default=0.0, description="A trial is repeated until it took as long.")
    warm_up: bool = Field(default=False, description="Whether an untimed round comes first.")


class DeviceMemory(Record):
    """The memory that MLX may take, of the GPU or else of the host."""

    backend: str = Field(description="metal, cuda or cpu.")
    free_bytes: int = Field(ge=0, description="What it may take now, beside what it holds.")
    held_bytes: int = Field(ge=0, description="What it holds in this process, used or kept.")
    total_bytes: int = Field(ge=0, description="What it may take in all.")
    host_bytes: int = Field(ge=0, description="The machine's memory.")

    @property
    def reachable_bytes(self) -> int:
        """What this process could have if it let go of what it holds."""
        return min(self.total_bytes, self.free_bytes + self.held_bytes)


class Estimate(Record):
    """What fine-tuning will take, in sentences."""

    text: str = Field(description="Time and memory, and a warning where too little is free.")
    checked: str = Field(description="What the training data hold.")


class Description(Record):
    """The base as a variant uses it, before any adapter."""

    device: Device = Field(description="The machine that loaded it.")
    base_bytes: int = Field(description="Weights on disk, quantized as the variant asks.")
    base_by_dtype: dict[str, int] = Field(description="The same by dtype, without headers.")
    parameters: Parameters = Field(description="Counts with the variant's adapter.")
    acceleration: dict[str, Any] = Field(description="What computes the model, by rule.")
    load: PhaseMemory = Field(description="Memory of loading, weights evaluated.")


class Training(Record):
    """What a training measured of itself, over all the processes that took part in turn."""

    curve: list[CurvePoint] = Field(description="Rows in order of iteration.")
    wall_s: float = Field(description="Wall time, validation included.")
    resumed_from: int | None = Field(description="Iteration it was resumed from.")
    checkpoints: list[int] = Field(description="Iterations with a saved checkpoint.")
    train: PhaseMemory | None = Field(description="Memory of training; null if nothing trained.")
    validation: PhaseMemory | None = Field(description="Memory of validation.")
    notes: list[str] = Field(description="What a user should know, e.g. a damaged state.")


class Finetuned(Training):
    """A finished fine-tuning."""

    iterations: int = Field(description="Completed micro-batches.")
    truncated: int = Field(description="Training rows cut at max_seq_length.")
    contended: bool = Field(description="Whether others kept the machine busy.")
    measured_at: MeasuredAt = Field(description="When (UTC) it ended and on which chip.")
    ranks: int = Field(default=1, description="Processes that shared the training.")


class Losses(Record):
    """Loss of a split or of a part of it."""

    rows: list[LossRow] = Field(description="One an example, in the order of the request.")
    truncated: int = Field(default=0, description="Rows cut at the maximum length.")
    mlx_lm_compat: LossValue | None = Field(description="Null where mlx-lm refuses the file.")
    memory: PhaseMemory = Field(description="Memory of the pass.")


class Answer(Record):
    """A generated answer, without its stop token."""

    id: int = Field(description="0-based line of the split.")
    text: str = Field(description="What the model wrote.")
    tokens: int = Field(description="Tokens generated, the stop included.")
    finish: Finish = Field(description="What ended it.")


class Answers(Record):
    """Answers to a split or to a part of it."""

    rows: list[Answer] = Field(description="In the order of the request.")
    memory: PhaseMemory | None = Field(description="Memory of generating; null of an endpoint.")


class FusedForm(Record):
    """One form of the tuned model on the parity subset."""

    ppl: float | None = Field(description="full_text perplexity; null beyond a float's range.")
    texts: list[str] = Field(description="Answers in the subset's order.")


class Fused(Record):
    """The tuned model in three forms."""

    adapter: FusedForm = Field(description="Base with the adapter beside it.")
    fused: FusedForm = Field(description="Fused, quantized as the base is.")
    dequantized: FusedForm | None = Field(description="Fused and dequantized; null if skipped.")
    skipped: str | None = Field(description="Why the dequantized form was skipped.")
    fused_bytes: int = Field(description="Weights of the fused model on disk.")
    fused_by_dtype: dict[str, int] = Field(description="The same by dtype.")
    memory: PhaseMemory = Field(description="Memory of writing and measuring these forms.")


class Trial(Rates):
    """One timed single-stream generation."""

    inter_token_s: list[float] = Field(description="Gaps between tokens.")
    wall_s: float = Field(description="The whole trial; the mean where it was repeated.")


class Speeds(Record):
    """Every timing of one variant, taken in interleaved rounds."""

    trials: list[Trial] = Field(description="Single-stream trials, warm-up excluded.")
    batched_tokens_per_s: list[float] = Field(description="One a round.")
    questions: list[Trial] = Field(description="One a students question.")
    interleaving: str = Field(description="How the variants took turns.")
    measured_at: MeasuredAt = Field(description="When (UTC) and on which chip.")
    contended: bool = Field(description="Whether others kept the machine busy, or it was slowed.")
    power: Power = Field(description="The machine's power state meanwhile.")


class SpeedRound(Record):
    """One interleaved round of one variant."""

    trial: Trial = Field(description="The single stream.")
    batched_tokens_per_s: float = Field(description="The batch.")


class QuestionTrials(Record):
    """A timed trial of each students question."""

    trials: list[Trial] = Field(description="In the order of the questions.")


OPEN = Call("open", OpenRequest, Nothing)
RANK_FACTS = Call("rank_facts", Nothing, RankFacts)
JOIN = Call("join", JoinRequest, Nothing)
DESCRIBE = Call("describe", Nothing, Description, "describe")
DEVICE_MEMORY = Call("device_memory", Nothing, DeviceMemory)
ESTIMATE = Call("estimate", Nothing, Estimate)
FINETUNE = Call("finetune", FinetuneRequest, Finetuned, "finetune")
LOSSES = Call("losses", EvaluateRequest, Losses, "loss")
ANSWERS = Call("answers", EvaluateRequest, Answers, "generate")
QUESTION_ANSWERS = Call("question_answers", QuestionsRequest, Answers, "generate")
FUSE = Call("fuse", FuseRequest, Fused, "fuse")
WARM_UP = Call("warm_up", TrialRequest, Nothing)
SPEED_ROUND = Call("speed_round", TrialRequest, SpeedRound)
QUESTION_TRIALS = Call("question_trials", TrialRequest, QuestionTrials)

SHARED: tuple[Call[Any, Any], ...] = (FINETUNE, LOSSES, ANSWERS)
"""The calls that every rank of a launch takes part in."""
