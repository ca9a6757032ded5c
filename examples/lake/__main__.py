"""Two recorders behind nginx, one of which is killed: every session is in the lake once. `docs/lake.md` tells it.

    python -m examples.lake
    SESSIONS=4 python -m examples.lake    a shorter one

Everything runs on this machine: an S3 server, a real Omnigent with a scripted model, and 20 clients. At the end the S3
server stays until Ctrl-C, for questions to the lake. Nothing is left after that, neither a process nor a file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

SESSIONS = int(os.environ.get("SESSIONS", "20"))


async def story(folder: Path) -> None:
    from examples.lake.clients import Clients, questions
    from examples.lake.servers import lake_on_s3, nginx, omnigent, omnirecord, recorder, replay, say

    async with lake_on_s3() as lake:
        async with (
            omnigent() as upstream,
            recorder("one", upstream.url, folder, lake) as one,
            recorder("two", upstream.url, folder, lake) as two,
            nginx(folder, one.url, two.url) as url,
        ):
            clients = Clients(url, upstream.runner_id, folder / "received", SESSIONS)
            await clients.are_in_an_answer()
            await one.end(signal.SIGKILL)
            session = await clients.have_their_answers()
            await two.end(signal.SIGINT)
        await omnirecord("ship", folder, "--lake", lake)
        await omnirecord("lake", "sessions", lake)
        await omnirecord("lake", "get", lake, session, "-o", folder / "session.db")
        await omnirecord("verify", folder / "session.db")
        async with replay(folder / "session.db") as url:
            await clients.receive_the_same(session, url)
        say(f"Ask the lake in a second terminal; Ctrl-C here ends all. The cassettes are in the folder {folder}", "")
        print(questions(folder, lake, session), flush=True)
        await asyncio.Event().wait()


async def main(folder: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # a second Ctrl-C does not interrupt the end
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await story(folder)


if __name__ == "__main__":
    from examples.lake.needs import missing

    if needs := missing():
        sys.exit(needs)
    from examples.lake.servers import nothing_left

    with nothing_left() as folder:
        try:
            asyncio.run(main(folder))
        except asyncio.CancelledError:
            print("\nstopped: no process and no file is left")
