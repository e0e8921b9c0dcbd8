"""What a bot says, on its way to a leg: audio, marks, clear, barge-in, pause, and the last word."""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.bots.audio_path import Downlink, duration_ms
from audiosocket.bots.events import Speech
from audiosocket.bots.hold_prompt import HoldPrompt
from audiosocket.bots.latency import Latency
from audiosocket.bots.utterances import Utterances
from audiosocket.interfaces import Leg
from audiosocket.media.late_audio import LateAudio
from audiosocket.media.lazy_imports import stream_converter
from audiosocket.media.pcm import chunks, level
from audiosocket.wire import FRAME_MS

#: Audio of the bot that may wait, in milliseconds.
MAX_QUEUED_MS = 120_000
#: What the bot did not complete to a frame is played after so long without more, in milliseconds.
IDLE_MS = 60
#: Frames below this level are silence between words.
SILENT_DBFS = -50.0


class Playback:
    """The bot's side of one leg's queue. ``hold`` is what the caller hears until the bot speaks."""

    def __init__(self, leg: Leg, hold: HoldPrompt, latency: Latency) -> None:
        self._leg = leg
        self._hold = hold
        self._latency = latency
        self._downlink = Downlink(stream_converter)
        self._late = LateAudio()
        self._utterances = Utterances()
        self._last_speech_ms = 0.0
        #: What happens at each of our marks on the leg, in order.
        self._marks: dict[str, Callable[[], object]] = {}
        #: Those among them that a clear may drop without a word.
        self._droppable: set[str] = set()
        self._mark_count = 0
        self.paused = False
        #: The bot has said something.
        self.spoke = False

    def speak(self, speech: Speech) -> bool:
        """Queue audio; false when too much waits already."""
        leg = self._leg
        if self._hold.stop():
            self._reach_all()
        length, before, now = duration_ms(speech.payload, speech.format), leg.queued_ms, leg.now_ms
        if before + length > MAX_QUEUED_MS:
            return False
        self.spoke = True
        self._last_speech_ms = now
        if speech.item:
            self._utterances.add(speech.item, length, before)
        gap_ms = self._late.arrived(now, length, before)
        if gap_ms:
            self._latency.underran(gap_ms)
        frames = self._downlink.feed(speech.payload, speech.format, leg.rate)
        if self._late.wants_shorter(FRAME_MS):
            frames = self._without_silence(frames, leg.rate)
        if frames:
            leg.play(frames, live=True)
        self._latency.spoke(now, before, before + length)
        return True

    def mark(self, reached: Callable[[], object], *, droppable: bool = False) -> None:
        """Call ``reached`` when all audio so far has been played, or dropped; not then if it is ``droppable``."""
        self._play(self._downlink.take())
        self._late.over()
        self._mark_count += 1
        name = f"bot-{self._leg.role.value}-{self._mark_count}"
        self._marks[name] = reached
        if droppable:
            self._droppable.add(name)
        self._leg.mark(name)

    @property
    def waiting_marks(self) -> int:
        """Marks that have not been reached."""
        return len(self._marks)

    def marked(self, name: str) -> None:
        """A mark of the leg has been reached; those of others are ignored."""
        if self._hold.marked(name):
            return
        reached = self._marks.pop(name, None)
        self._droppable.discard(name)
        if reached is not None:
            reached()

    def clear(self, *, marks_returned: bool) -> None:
        """Drop all that is queued, and report what waited for its end."""
        self._hold.stop()
        self._leg.clear()
        self._latency.cleared(self._leg.ahead_ms)
        self._late.over()
        self._downlink.clear()
        self._utterances.clear(0)
        if not marks_returned:
            for name in self._droppable:
                del self._marks[name]
        self._reach_all()

    def barge_in(self) -> list[tuple[str, int]]:
        """Stop for a caller who speaks; return the utterances cut, with the milliseconds heard of each."""
        queued_ms = self._leg.queued_ms
        cut = self._utterances.clear(queued_ms)
        if cut or queued_ms:
            self.clear(marks_returned=False)
        return cut

    def pause(self, paused: bool) -> None:
        """Keep back what is queued, or go on."""
        if paused != self.paused:
            self.paused = paused
            self._leg.pause(paused)
            self._late.over()

    def finish(self, done: Callable[[], object]) -> None:
        """Call ``done`` when all has been heard, also what is queued meanwhile."""
        self.pause(False)
        self.flush()
        self.mark(lambda: self.finish(done) if self._leg.queued_ms else done())

    def flush(self) -> None:
        """Play what waits for the rest of its frame: the utterance is over."""
        self._play(self._downlink.flush())

    def tick(self, now_ms: float) -> None:
        """Notice the end of an utterance; called about every 20 ms."""
        if self._downlink.pending and now_ms - self._last_speech_ms > IDLE_MS:
            self.flush()

    def forget(self) -> None:
        """Nothing is reported any more."""
        self._marks.clear()
        self._droppable.clear()

    def _without_silence(self, frames: bytes, rate: int) -> bytes:
        """Leave out silent frames, as the bot's audio is late."""
        kept = []
        for frame in chunks(frames, rate, FRAME_MS):
            if self._late.wants_shorter(FRAME_MS) and level(frame) < SILENT_DBFS:
                self._late.shortened(FRAME_MS)
            else:
                kept.append(frame)
        return b"".join(kept)

    def _play(self, pcm: bytes) -> None:
        if pcm:
            self._leg.play(pcm)

    def _reach_all(self) -> None:
        pending, self._marks = self._marks, {}
        self._droppable.clear()
        for reached in pending.values():
            reached()
