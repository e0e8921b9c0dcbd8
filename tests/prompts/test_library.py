"""`unusable_files`: an operator learns at the start which own prompts no call will hear."""

from __future__ import annotations

import shutil
from pathlib import Path

from audiosocket.prompts.library import SHIPPED, unusable_files


def test_an_own_prompt_that_is_not_read_is_named_with_the_command_that_converts_it(tmp_path: Path) -> None:
    own = tmp_path / "prompts" / "en"
    own.mkdir(parents=True)
    (own / "ask_name.gsm").write_bytes(bytes(range(1, 34)))
    (own / "ask_block.wav").write_bytes(b"OggS" + bytes(100))
    (own / "authorised.ulaw").write_bytes(bytes(160))
    shutil.copy(SHIPPED / "en" / "ask_apartment.wav", own)
    (own / "notes.txt").write_text("which voice we used")
    ogg, ulaw, gsm = sorted(unusable_files(tmp_path), key=lambda text: "gsm" in text)
    assert f"prompt {own / 'ask_block.wav'}: it is Ogg, which is not read; convert it: ffmpeg" in ogg
    assert ulaw == f"prompt {own / 'authorised.ulaw'} is not used: rename or convert it to authorised.wav"
    assert f"convert it: sox {own / 'ask_name.gsm'} -e signed-integer -b 16 -c 1 {own / 'ask_name.wav'}" in gsm


def test_no_own_prompts_are_nothing_to_say(tmp_path: Path) -> None:
    assert not list(unusable_files(tmp_path))
