"""The stock Pipecat bot behind Asterisk: it says back what it hears.

    python3 -m venv bot && bot/bin/pip install "pipecat-ai[websocket]>=1.14,<2" uvicorn python-multipart
    TWILIO_ACCOUNT_SID=AC0 TWILIO_AUTH_TOKEN=x bot/bin/python pipecat_bot.py --host 127.0.0.1 --port 7860 -t twilio

In apps.toml: the app ``twilio`` with ``url = "ws://127.0.0.1:7860/ws"``. A bot with a voice has its speech service
in place of `Echo`; nothing else differs.
"""

from __future__ import annotations

from typing import Any

from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import create_transport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1)
        await self.push_frame(frame, direction)


async def bot(arguments: Any) -> None:
    """Serve one call; the runner calls this."""
    parameters = {"twilio": lambda: FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True)}
    transport = await create_transport(arguments, parameters)
    rates = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000)
    worker = PipelineWorker(Pipeline([transport.input(), Echo(), transport.output()]), params=rates)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_disconnected")
    async def disconnected(transport: Any, client: Any) -> None:
        await runner.cancel()

    await runner.run()


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
