"""The realtime server of the package ``speech-to-speech``, with a level meter and a tone for its models.

Run with the interpreter of the environment that has it: ``python realtime_server.py PORT``.
"""

# mypy: ignore-errors

from __future__ import annotations

import sys
import threading
from queue import Queue
from threading import Event

import numpy as np
from speech_to_speech.api.openai_realtime.pipeline_unit import PipelineUnit
from speech_to_speech.api.openai_realtime.server import RealtimeServer
from speech_to_speech.api.openai_realtime.service import RealtimeService
from speech_to_speech.pipeline.cancel_scope import CancelScope
from speech_to_speech.pipeline.control import is_control_message
from speech_to_speech.pipeline.events import (
    AssistantOutputEvent,
    AssistantResponseDoneEvent,
    SpeechStartedEvent,
    SpeechStoppedEvent,
    TranscriptionCompletedEvent,
)
from speech_to_speech.pipeline.messages import AUDIO_RESPONSE_DONE, AudioOutput

RATE, CHUNK = 16_000, 512
LOUD, PAUSE_MS = 500.0, 400.0
ANSWER = (8000 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype("<i2")


def listen(heard: Queue, events: Queue, prompts: Queue) -> None:
    """Turns by the level of the sound."""
    turn, speaking, quiet, at = 0, False, 0.0, 0.0
    while True:
        item = heard.get()
        if is_control_message(item):
            speaking, at = False, 0.0
            prompts.put(item)
            continue
        samples = np.frombuffer(bytes(item[0]), "<i2").astype(float)
        length = 1000 * len(samples) / RATE
        at += length
        if len(samples) and np.sqrt((samples**2).mean()) > LOUD:
            quiet = 0.0
            if not speaking:
                speaking, turn = True, turn + 1
                events.put(SpeechStartedEvent(audio_start_ms=int(at), turn_id=str(turn), turn_revision=0))
        elif speaking:
            quiet += length
            if quiet > PAUSE_MS:
                speaking = False
                same = {"turn_id": str(turn), "turn_revision": 0}
                events.put(SpeechStoppedEvent(audio_end_ms=int(at), **same))
                events.put(TranscriptionCompletedEvent(transcript="bom dia", **same))


def answer(prompts: Queue, said: Queue, scope: CancelScope) -> None:
    """Two seconds of a tone for each response that is asked for."""
    while True:
        item = prompts.get()
        if is_control_message(item):
            said.put(item)
            continue
        which = {"response_key": item.response_key, "cancel_generation": scope.generation}
        turn = {"turn_id": item.turn_id, "turn_revision": item.turn_revision}
        said.put(AssistantOutputEvent(text="boa noite", **which, **turn))
        for at in range(0, len(ANSWER), CHUNK):
            said.put(AudioOutput(audio=ANSWER[at : at + CHUNK].tobytes(), **which))
        said.put(AssistantResponseDoneEvent(**which, **turn))
        said.put(AudioOutput(audio=AUDIO_RESPONSE_DONE, **which))


def unit() -> PipelineUnit:
    """One session at a time, as the package builds them."""
    heard, said, events, prompts = Queue(), Queue(), Queue(), Queue()
    listening, scope = Event(), CancelScope()
    listening.set()
    for work in (lambda: listen(heard, events, prompts), lambda: answer(prompts, said, scope)):
        threading.Thread(target=work, daemon=True).start()
    return PipelineUnit(
        index=0,
        service=RealtimeService(text_prompt_queue=prompts, should_listen=listening),
        cancel_scope=scope,
        should_listen=listening,
        response_playing=Event(),
        input_queue=heard,
        output_queue=said,
        text_output_queue=events,
        text_prompt_queue=prompts,
        handlers=[],
    )


if __name__ == "__main__":
    RealtimeServer(Event(), [unit()], host="127.0.0.1", port=int(sys.argv[1])).run()
