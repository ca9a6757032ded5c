"""The verbs of the fault grammar: how each is written, what it does, an example. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    usage: str
    meaning: str
    """One line."""
    example: str


VERBS: dict[str, Verb] = {
    "drop": Verb("drop EVENT", "it never comes", "drop 2nd session.status"),
    "duplicate": Verb("duplicate EVENT", "it comes twice", "duplicate response.completed"),
    "swap": Verb(
        "swap EVENT [with EVENT]", "the two change places; without the second, with the next event",
        "swap response.created with response.in_progress",
    ),
    "delay": Verb("delay EVENT by TIME", "it and all that follows come later", "delay response.completed by 2s"),
    "freeze": Verb(
        "freeze at|after EVENT [each time]", "from there on nothing comes, and the connection stays open",
        "freeze after 3rd response.output_text.delta",
    ),
    "cut": Verb(
        "cut before|after|inside|inside a character of EVENT [cleanly|short|by reset] [each time]",
        "the response ends there", "cut before response.completed by reset",
    ),
    "corrupt": Verb("corrupt EVENT", "its data are no JSON any more", "corrupt last response.output_text.delta"),
    "set": Verb(
        "set FIELD of EVENT to JSON", "a field has another value",
        'set status of last session.status to "failed"',
    ),
    "remove": Verb("remove FIELD of EVENT", "a field is missing", "remove response.usage of response.completed"),
    "stop": Verb(
        "stop heartbeats at|after EVENT", "from there on no heartbeat comes, and all else does",
        "stop heartbeats after session.heartbeat",
    ),
    "answer": Verb(
        "answer [2nd|every] METHOD GLOB with STATUS", "a request is answered with an error, or another status",
        "answer 2nd POST /v1/sessions/*/events with 503",
    ),
    "slow": Verb(
        "slow [2nd|every] METHOD GLOB by TIME", "the answer to a request begins later",
        "slow every GET /v1/sessions/* by 500ms",
    ),
}  # fmt: skip
"""By their first word, in the order in which they are told."""
EXAMPLE = VERBS["drop"].example
EACH_TIME = "only a cut or a freeze happens once: all others happen each time as they are"
