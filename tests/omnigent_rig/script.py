"""What is said in the scenarios, and what the model answers: the one script that the provider is given.

Plain sentences on both sides, since the cassettes that ship with the project are recordings of them.
Each constant is a user message; `SCRIPT` has the model's part. The pace is set so that a client has time to
leave, interrupt or come back in the middle. Change a text and the cassettes have to be made again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step, ToolCall

EXPLAIN = "What is a flight recorder?"
COUNT = "How many lines has the poem in poem.txt?"
SUMMARISE = "Please summarise the release notes."
TELL = "Tell me a long story about a lighthouse."
GO_ON = "Thank you, that is enough. Say goodbye."
REFUSED = "Answer this with the largest model you have."
DELEGATE = "Ask the reviewer whether the plan is sound."
DELEGATE_IN_VAIN = "Ask the reviewer whether the plan is complete."
REVIEW_IN_VAIN = "Is anything missing from the plan?"
WAIT = "Wait until the tide turns."
BUSY = "Say hello, however busy you are."
HESITATE = "Say hello, however long it takes."
DRAW = "Draw the sea."
REVIEW = "Is it sound to record first and ask later?"

_POEM = r"printf 'The sea keeps\nno account\nof ships.\n' > poem.txt && wc -l poem.txt"

_STORY = " ".join(
    f"On evening {number} the keeper climbed the {number * 7} steps, lit the lamp, and wrote in the log that "
    "the sea was calm and nothing had been lost."
    for number in range(1, 25)
)

_TOO_MANY = Failure("Too many requests.", status=429, code="rate_limit_exceeded")
_BROKEN = Failure("The server had an error.", status=500, code="server_error")

_SEA = "\n".join(f"{number:04}".rjust(400, "~") for number in range(1, 5001))
"""A few long lines instead of many words: more bytes in fewer events."""

SCRIPT: Mapping[str, Step] = {
    EXPLAIN: Answer(
        reasoning="The user wants a definition. Aircraft first, then why software needs one.",
        text=(
            "A flight recorder keeps what happened on board, as it happened, so that it can be read later. "
            "Aircraft carry two: one for the instruments and one for the voices. Software can have one too: "
            "every event on the wire, with its time, in a file that survives the crash."
        ),
        delay_ms=15,
    ),
    COUNT: ToolCall("sys_os_shell", {"command": _POEM}, then=Answer("The poem in poem.txt has three lines.")),
    SUMMARISE: Answer("The release brings a recorder, a replay server and a way to read what was recorded."),
    TELL: Answer(_STORY, delay_ms=25),
    GO_ON: Answer("Goodbye, and calm seas."),
    REFUSED: Failure("The model 'stand-in' has no larger sibling.", code="model_not_found"),
    DELEGATE: ToolCall(
        "sys_session_send",
        {"agent": "reviewer", "title": "plan review", "args": REVIEW},
        then=Answer("I have asked the reviewer and will come back with the answer."),
    ),
    REVIEW: Answer("It is sound: what was not recorded cannot be asked about.", delay_ms=20),
    "[System: sub-agent reviewer": Answer("The reviewer says that the plan is sound."),
    DELEGATE_IN_VAIN: ToolCall(
        "sys_session_send",
        {"agent": "reviewer", "title": "plan review", "args": REVIEW_IN_VAIN},
        then=Answer("I have asked the reviewer and will come back with the answer."),
    ),
    REVIEW_IN_VAIN: Answer("Let me see. What I would", delay_ms=20, stalls=True),
    WAIT: ToolCall("sys_os_shell", {"command": "sleep 600"}, then=Answer("The tide has turned.")),
    BUSY: InTurn((_TOO_MANY, _BROKEN, Answer("Hello, and sorry for the wait."))),
    HESITATE: InTurn((Answer("", stalls=True), Answer("Hello. I had lost my thread."))),
    DRAW: Answer(_SEA, delay_ms=3, stalls=True),
}
