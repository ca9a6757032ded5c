"""The models of the events of model APIs against those of the SDKs, type by type.

A new release of an SDK that adds or changes anything fails here, and the failure names it. Take it over into the model,
or list it in `DIFFERENCES` with the reason.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from omnirecord.contract.base import Shape
from omnirecord.providers import anthropic_messages, google_gemini, openai_chat, openai_responses
from tests.support.later import later

openai = later("openai")
anthropic = later("anthropic")
genai = later("google.genai")

Model = type[BaseModel]


class Kind(NamedTuple):
    """What an annotation says, apart from null."""

    name: str
    """`open`, `str`, `int`, `float`, `bool`, `literal`, `list`, `map` or `models`."""
    values: frozenset[str] = frozenset()
    """The literals."""
    of: Any = None
    """The models; the kind of an element of a list or of a value of a map."""


def kind(annotations: Iterable[Any]) -> tuple[Kind, bool]:
    """Return what annotations say together, and whether null is allowed."""
    members = [one for annotation in annotations for one in _members(annotation)]
    nullable, members = type(None) in members, [one for one in members if one is not type(None)]
    literals = [one for one in members if get_origin(one) is Literal]
    others = [one for one in members if one not in literals]
    if literals and not set(others) - {str}:
        values = frozenset(str(value) for one in literals for value in get_args(one))
        return (Kind("str") if others else Kind("literal", values)), nullable
    if others and not literals and all(_is_model(one) for one in others):
        return Kind("models", of=[one for one in others if one is not Shape]), nullable
    return _single(others if not literals else [object]), nullable


def _single(members: list[Any]) -> Kind:
    origins = {get_origin(one) for one in members}
    if origins in ({list}, {dict}):
        inner = [get_args(one)[-1] for one in members]
        return Kind("list" if list in origins else "map", of=kind(inner)[0])
    if len(set(members)) == 1 and members[0] in (str, int, float, bool):
        return Kind(members[0].__name__)
    return Kind("open")  # any value, or alternatives of different kinds


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [Literal[tuple(one.value for one in annotation)]]
    if get_origin(annotation) in (Union, types.UnionType):
        return [one for inner in get_args(annotation) for one in _members(inner)]
    return [annotation]


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _by_type(models: Iterable[Model]) -> dict[str, list[Model]]:
    """Return models by the literals of their `type`; empty for a model without one."""
    found: dict[str, list[Model]] = {}
    for model in models:
        field = model.model_fields.get("type")
        for name in (get_args(field.annotation) if field else ()) or ("",):
            found.setdefault(str(name), []).append(model)
    return found


def differences(ours: Model, theirs: list[Model], api: str) -> Iterator[str]:
    """Yield how our model differs from one or several of theirs."""
    path = f"{api}: {ours.__name__}"
    names = dict.fromkeys(_name(model, name) for model in theirs for name in model.model_fields)
    for name in sorted(set(names) - set(ours.model_fields)):
        yield f"{path}.{name}: new"
    for name, field in ours.model_fields.items():
        if name == "type":
            continue  # it has found their models
        fields = [one for model in theirs for key, one in model.model_fields.items() if _name(model, key) == name]
        if not fields:
            if name != "sequence_number":
                yield f"{path}.{name}: only ours"
            continue
        required = len(fields) == len(theirs) and all(one.is_required() for one in fields)
        if field.is_required() is not required:
            yield f"{path}.{name}: {'required' if required else 'optional'}"
        (own, own_null), (other, other_null) = kind([field.annotation]), kind(one.annotation for one in fields)
        if required and "open" not in own.name and own_null is not other_null:
            yield f"{path}.{name}: {'null' if other_null else 'not null'}"
        yield from _compared(own, other, f"{path}.{name}")


def _name(model: Model, name: str) -> str:
    return model.model_fields[name].alias or name


def _compared(own: Kind, other: Kind, path: str) -> Iterator[str]:
    if own.name != other.name:
        yield f"{path}: {other.name}" if own.name != "open" else f"{path}: open"
    elif own.name == "literal" and own.values != other.values:
        yield f"{path}: " + ", ".join(sorted(own.values ^ other.values))
    elif own.name in ("list", "map"):
        yield from _compared(own.of, other.of, f"{path}[]")
    elif own.name == "models":
        yield from _models(own.of, other.of, path)


def _models(own: list[Model], other: list[Model], path: str) -> Iterator[str]:
    api = path.partition(":")[0]
    if len(own) == 1:
        yield from differences(own[0], other, api)
        return
    known, found = _by_type(own), _by_type(other)
    for name in sorted(known.keys() ^ found.keys()):
        yield f"{path}<{name}>: {'new' if name in found else 'only ours'}"
    for name in sorted(known.keys() & found.keys()):
        yield from differences(known[name][0], found[name], api)


OPEN: Mapping[str, str] = {
    "gemini": (
        "Candidate.citationMetadata Candidate.groundingMetadata Candidate.logprobsResult Candidate.safetyRatings[] "
        "Candidate.urlContextMetadata FunctionCall.partialArgs[] GenerateContentResponse.createTime "
        "GenerateContentResponse.modelStatus Part.codeExecutionResult Part.executableCode Part.fileData "
        "Part.functionResponse Part.inlineData Part.mediaResolution Part.partMetadata Part.thoughtSignature "
        "Part.toolCall Part.toolResponse Part.videoMetadata PromptFeedback.safetyRatings[] "
        "Part.audioMetadata Part.audioTranscription Part.documentMetadata "
        "Part.mediaProcessing Part.speechMetadata Part.spreadsheetMetadata UsageMetadata.trafficType "
        "UsageMetadata.cacheTokensDetails[] UsageMetadata.candidatesTokensDetails[] "
        "UsageMetadata.promptTokensDetails[] UsageMetadata.toolUsePromptTokensDetails[]"
    ),
    "chat": ("ChatCompletionChunk.moderation Choice.logprobs"),
    "messages": (
        "CitationsDelta.citation DeltaUsage.fallback_credit DeltaUsage.iterations[] DeltaUsage.server_tool_use "
        "Message.container Message.context_management Message.diagnostics Message.input_transformations[] "
        "Message.stop_details MessageDelta.container MessageDelta.stop_details MessageDeltaEvent.context_management "
        "MessageDeltaEvent.input_transformations[] ServerToolUseBlock.caller TextBlock.citations[] "
        "ToolResultBlock.content ToolUseBlock.caller Usage.fallback_credit Usage.iterations[] Usage.server_tool_use"
    ),
    "responses": (
        "ApplyPatchCall.operation CodeInterpreterCall.outputs[] ComputerCall.action ComputerCall.actions[] "
        "ComputerCall.pending_safety_checks[] FileSearchCall.results[] McpListTools.tools[] "
        "OutputText.annotations[] OutputText.logprobs[] OutputTextDeltaEvent.logprobs[] "
        "OutputTextDoneEvent.logprobs[] Response.conversation Response.moderation Response.prompt "
        "Response.reasoning Response.text Response.tools[] ShellCall.action WebSearchCall.action"
    ),
}
"""Values that our models leave open: requests repeated, or details that no analysis reads."""
RARE: Mapping[str, tuple[str, str]] = {
    "responses": (
        "OutputItemAddedEvent.item OutputItemDoneEvent.item Response.output[]",
        "additional_tools apply_patch_call_output computer_call_output custom_tool_call_output "
        "function_call_output local_shell_call_output mcp_approval_response shell_call_output "
        "tool_search_call tool_search_output",
    ),
    "messages": (
        "ContentBlockStartEvent.content_block Message.content[]",
        "compaction container_upload fallback mcp_tool_listing",
    ),
}
"""Places, and types there that our models leave open: no stream of a harness has them, or they are new."""
LIVE: Mapping[str, str] = {
    "chat": (
        "ChatCompletionChunk.obfuscation ChatCompletionChunk.prompt_filter_results Choice.content_filter_offsets "
        "Choice.content_filter_results Delta.annotations Delta.audio Delta.reasoning Delta.reasoning_content"
    ),
    "responses": (
        "AudioDeltaEvent.obfuscation CodeDeltaEvent.obfuscation CustomToolCallInputDeltaEvent.obfuscation "
        "FunctionCallArgumentsDeltaEvent.obfuscation McpCallArgumentsDeltaEvent.obfuscation "
        "OutputTextDeltaEvent.obfuscation ReasoningSummaryTextDeltaEvent.obfuscation "
        "ReasoningTextDeltaEvent.obfuscation RefusalDeltaEvent.obfuscation Response.access_programs "
        "Response.billing Response.content_filters Response.frequency_penalty Response.presence_penalty "
        "Response.store Response.tool_usage"
    ),
}
"""Fields that live APIs send, and no model of the SDK names."""
NEWER = (
    "chat: ChatCompletionChunk.service_tier: fast",
    "responses: AnnotationAddedEvent.annotation: required",
    "responses: IncompleteDetails.reason: max_messages, steered",
    "responses: McpCall.error: open",
    "responses: Response.service_tier: fast, ultrafast",
    "responses: ResponseError.code: bio_policy, data_residency_mismatch, misalignment_policy_violation",
    "responses: WebSearchCall.status: incomplete",
    *(
        f"{api}: {name}: only ours"
        for api, names in {
            "chat": (
                "CompletionTokensDetails.text_tokens PromptTokensDetails.cache_write_tokens "
                "PromptTokensDetails.image_tokens PromptTokensDetails.text_tokens"
            ),
            "responses": (
                "ApplyPatchCall.caller CustomToolCall.async_ CustomToolCall.caller FunctionCall.async_ "
                "FunctionCall.caller ImageGenerationCall.action ImageGenerationCall.background "
                "ImageGenerationCall.error ImageGenerationCall.output_format ImageGenerationCall.quality "
                "ImageGenerationCall.revised_prompt ImageGenerationCall.size ImageGenerationCall.svg_usage "
                "InputTokensDetails.cache_write_tokens InputTokensDetails.cache_write_tokens_details "
                "PartialImageEvent.background PartialImageEvent.output_format PartialImageEvent.quality "
                "PartialImageEvent.size ReasoningSummaryPartDoneEvent.status Response.image "
                "Response.input_transformations Response.prompt_cache_diagnostics Response.prompt_cache_options "
                "ResponseError.misalignment ResponseError.param ShellCall.caller response.compaction.compacting "
                "response.shell_call_command.added response.shell_call_command.delta "
                "response.shell_call_command.done response.shell_call_output_content.delta "
                "response.shell_call_output_content.done"
            ),
        }.items()
        for name in names.split()
    ),
)
"""What a newer SDK has, openai 3.57."""
OLDER = "older servers, and those of other vendors, leave it out"
DIFFERENCES: Mapping[str, str] = {
    "chat: ChatCompletionChunk.error: only ours": "it decides the type of a payload",
    "chat: ChatCompletionChunk.object: ": "it is empty in the first chunk of Azure",
    "chat: error: only ours": "the client raises an exception for it, without a model",
    "gemini: GenerateContentResponse.automaticFunctionCallingHistory: new": "the SDK adds it",
    "gemini: GenerateContentResponse.error: only ours": "it decides the type of a payload",
    "gemini: GenerateContentResponse.parsed: new": "the SDK adds it",
    "gemini: GenerateContentResponse.sdkHttpResponse: new": "the SDK adds it",
    "messages: ToolResultBlock.caller: new": "details of a tool that the server ran",
    "messages: ToolResultBlock.is_error: new": "details of a tool that the server ran",
    "messages: ping: only ours": "the client skips it",
    "responses: ErrorEvent.error: only ours": "the live API puts the error there",
    "responses: ErrorEvent.message: not null": "the live API puts the error into `error`",
    "responses: ErrorEvent.message: required": "the live API puts the error into `error`",
    "responses: FunctionCallArgumentsDoneEvent.name: not null": OLDER,
    "responses: FunctionCallArgumentsDoneEvent.name: required": OLDER,
    "responses: OutputTextDeltaEvent.logprobs: not null": OLDER,
    "responses: OutputTextDeltaEvent.logprobs: required": OLDER,
    "responses: OutputTextDoneEvent.logprobs: not null": OLDER,
    "responses: OutputTextDoneEvent.logprobs: required": OLDER,
    "responses: ShellCall.created_by: new": "one model for two kinds of call",
    "responses: ShellCall.environment: new": "one model for two kinds of call",
    "responses: WebSearchCall.action: required": "it comes with the end of the search",
    **dict.fromkeys(NEWER, "newer"),
    **{f"{api}: {name}: only ours": "live" for api, names in LIVE.items() for name in names.split()},
    **{f"{api}: {name}: open": "open" for api, names in OPEN.items() for name in names.split()},
    **{
        f"{api}: {place}<{name}>: new": "rare"
        for api, (places, names) in RARE.items()
        for place in places.split()
        for name in names.split()
    },
}
"""Each difference, and why it is right. `new`: a field or a type that only the SDK has."""


def events_of(union: Any) -> dict[str, list[Model]]:
    return _by_type(_members(union))


def merged(*unions: Any) -> dict[str, list[Model]]:
    """Return the models of several unions by type."""
    return reduce(lambda all_, one: {n: all_.get(n, []) + one.get(n, []) for n in all_ | one}, map(events_of, unions))


def apis() -> Mapping[str, tuple[Mapping[str, Model], Mapping[str, list[Model]]]]:
    """Return our models of each API by type, and those of its SDK."""
    responses, chat = openai.types.responses.ResponseStreamEvent, openai.types.chat.ChatCompletionChunk
    gemini = genai.types.GenerateContentResponse
    messages, beta = anthropic.types.RawMessageStreamEvent, anthropic.types.beta.BetaRawMessageStreamEvent
    return {
        "responses": (openai_responses.EVENTS, events_of(responses)),
        "chat": (openai_chat.EVENTS, {"chat.completion.chunk": [chat]}),
        "gemini": ({google_gemini.CHUNK: google_gemini.GenerateContentResponse}, {google_gemini.CHUNK: [gemini]}),
        "messages": (anthropic_messages.EVENTS, merged(messages, beta, anthropic.types.ErrorResponse)),
    }


def found() -> set[str]:
    """Return all differences."""
    told: set[str] = set()
    for api, (ours, theirs) in apis().items():
        told |= {f"{api}: {name}: {'new' if name in theirs else 'only ours'}" for name in ours.keys() ^ theirs.keys()}
        for name in ours.keys() & theirs.keys():
            told |= set(differences(ours[name], theirs[name], api))
    return told


def test_our_models_agree_with_those_of_the_sdks_but_for_the_differences_with_a_reason() -> None:
    news = found()
    assert news - DIFFERENCES.keys() == set(), f"openai {openai.__version__}, anthropic {anthropic.__version__}"
    assert DIFFERENCES.keys() - news == set(), "no longer true"
