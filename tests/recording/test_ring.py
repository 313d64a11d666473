"""The file of one recorded call: what is read of it is what was written last, wherever the writer was stopped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from vonage_audio_connector_server.recording import storage
from vonage_audio_connector_server.recording.recording import Entry, Kind
from vonage_audio_connector_server.recording.ring import (
    HEAD_BYTES,
    MOST_PENDING,
    MOST_REGIONS,
    Region,
    Ring,
    read_regions,
    region_for,
    starts_of,
    write_head,
)
from vonage_audio_connector_server.recording.storage import FileStorage, MemoryStorage


def make(*regions: Region) -> tuple[bytearray, list[Ring]]:
    """A file in memory, and the rings in it."""
    starts = starts_of(regions)
    storage = MemoryStorage(starts[-1])
    write_head(storage, regions)
    return storage.data, [Ring(storage, start, region) for start, region in zip(starts, regions, strict=False)]


def frames(count: int, size: int = 640) -> list[Entry]:
    numbers = range(count)
    return [Entry(one / 50, Kind.AUDIO_TO_SERVER, one.to_bytes(2, "big") * (size // 2)) for one in numbers]


def fill(ring: Ring, entries: Sequence[Entry]) -> None:
    for entry in entries:
        ring.add(*entry)
    ring.flush()


def test_what_was_written_is_read_with_its_kind_and_its_time() -> None:
    data, (ring,) = make(Region(4096, 2))
    entries = [
        Entry(0.0, Kind.TEXT_TO_SERVER, b"{}"),
        Entry(0.25, Kind.AUDIO_TO_SERVER, b"\0" * 640),
        Entry(1 / 3, Kind.AUDIO_FROM_SERVER, b""),
        Entry(2e6, Kind.NOTE, b'{"note":"step"}'),
    ]
    fill(ring, entries)
    assert read_regions(bytes(data)) == [entries]


def test_the_oldest_are_overwritten_and_the_rest_is_in_order() -> None:
    data, (ring,) = make(Region(4096, 4))
    entries = frames(100)
    fill(ring, entries)
    (found,) = read_regions(bytes(data))
    assert found == entries[-len(found) :]
    assert 3 * 6 < len(found) <= 4 * 6  # six frames a segment; one segment may have just begun


def test_regions_do_not_touch_each_other() -> None:
    regions = [Region(512, 1), Region(1024, 3), Region(2048, 2)]
    data, rings = make(*regions)
    for number in range(200):
        for index, ring in enumerate(rings):
            entry = Entry(number, Kind.NOTE, bytes([index + 1]) * 50)
            if index or ring.fits(entry.payload):
                ring.add(*entry)
    for index, found in enumerate(read_regions(bytes(data))):
        assert found
        assert {entry.payload for entry in found} == {bytes([index + 1]) * 50}
        assert found[-1].at_s == (7 if not index else 199)


def test_a_text_longer_than_a_segment_is_cut() -> None:
    data, (ring,) = make(Region(1024, 2))
    ring.add(1.0, Kind.TEXT_TO_SERVER, b"x" * 5000)
    ring.add(2.0, Kind.TEXT_TO_SERVER, b"y")
    (found,) = read_regions(bytes(data))
    assert found[0].payload == b"x" * (1024 - 8 - 13)
    assert found[1].payload == b"y"


def test_what_is_about_to_be_lost_first_is_told_once() -> None:
    told: list[list[Entry]] = []
    region = Region(4096, 2)
    storage = MemoryStorage(starts_of([region])[-1])
    ring = Ring(storage, HEAD_BYTES, region, lambda records: told.append(list(records)))
    entries = frames(50)
    fill(ring, entries)
    assert told == [entries[:6]]


def test_the_end_of_what_is_used() -> None:
    data, (ring,) = make(Region(4096, 3))
    fill(ring, frames(2))
    short = bytes(data[: ring.stop])
    assert read_regions(short) == [frames(2)]
    assert len(short) < HEAD_BYTES + 2000
    fill(ring, frames(100))
    assert ring.stop == len(data)


def test_a_region_made_to_measure_takes_exactly_what_it_was_made_for() -> None:
    entries = frames(10)
    data, (ring,) = make(region_for(sum(len(entry.payload) for entry in entries), len(entries)))
    fill(ring, entries)
    assert ring.stop == len(data)
    assert read_regions(bytes(data)) == [entries]


def test_wherever_the_writer_is_stopped_all_that_is_whole_is_read() -> None:
    """The bytes of one more record reach the file from the left: of each number of them nothing wrong is read."""
    data, (ring,) = make(Region(4096, 2))
    entries = frames(4, 320)
    fill(ring, entries[:3])
    before = bytes(data)
    fill(ring, entries[3:])
    after = bytes(data)
    changed = [at for at in range(len(data)) if before[at] != after[at]]
    for torn_at in range(changed[0], changed[-1] + 1):
        torn = after[:torn_at] + before[torn_at:]
        assert read_regions(torn) == [entries[:3]]
    assert read_regions(after) == [entries]


def test_a_segment_that_is_being_zeroed_gives_no_wrong_records() -> None:
    data, (ring,) = make(Region(4096, 2))
    fill(ring, frames(12))
    whole = bytes(data)
    for zeroed in range(0, 4096, 7):
        torn = bytearray(whole)
        torn[HEAD_BYTES : HEAD_BYTES + 8] = bytes(8)
        torn[HEAD_BYTES + 8 : HEAD_BYTES + zeroed] = bytes(max(0, zeroed - 8))
        assert read_regions(bytes(torn)) == [frames(12)[6:]]


@pytest.mark.parametrize("length", [0, 1, 8, HEAD_BYTES - 1])
def test_a_file_that_is_too_short_is_none(length: int) -> None:
    data, _ = make(Region(4096, 2))
    with pytest.raises(ValueError, match="recording"):
        read_regions(bytes(data[: min(length, 11)]))


def test_a_file_that_ends_anywhere_gives_what_is_there() -> None:
    data, (ring,) = make(Region(4096, 2))
    fill(ring, frames(12))
    for length in range(HEAD_BYTES, len(data), 13):
        (found,) = read_regions(bytes(data[:length]))
        assert found == frames(12)[: len(found)]


def test_noise_is_never_more_than_a_value_error() -> None:
    choice = random.Random(1)
    data, (ring,) = make(Region(4096, 2))
    fill(ring, frames(12))
    for _ in range(300):
        noisy = bytearray(data)
        for _ in range(choice.randrange(1, 20)):
            noisy[choice.randrange(len(noisy))] = choice.randrange(256)
        try:
            read_regions(bytes(noisy))
        except ValueError:
            assert bytes(noisy[:12]) != bytes(data[:12]) or noisy[:HEAD_BYTES] != data[:HEAD_BYTES]
    with pytest.raises(ValueError, match="does not begin"):
        read_regions(bytes(4096))


def test_the_head_takes_as_many_regions_as_it_says() -> None:
    data, rings = make(*[Region(256, 1)] * MOST_REGIONS)
    for ring in rings:
        ring.add(1.0, Kind.NOTE, b"{}")
    assert read_regions(bytes(data)) == [[Entry(1.0, Kind.NOTE, b"{}")]] * MOST_REGIONS


def test_frames_wait_for_each_other_and_for_nothing_else() -> None:
    data, (ring,) = make(Region(65_536, 1))

    def read() -> list[Entry]:
        return read_regions(bytes(data))[0]

    entries = frames(MOST_PENDING + 1)
    for entry in entries[:-1]:
        ring.add(*entry)
    assert read() == entries[:1]  # the first tells how long frames are
    ring.add(*entries[-1])
    assert read() == entries
    ring.add(*frames(1)[0])
    ring.add(3.0, Kind.TEXT_TO_SERVER, b"{}" * 320)  # as long as a frame
    assert read()[len(entries) :] == [frames(1)[0], Entry(3.0, Kind.TEXT_TO_SERVER, b"{}" * 320)]


def test_frames_of_other_lengths_in_between_keep_their_place() -> None:
    data, (ring,) = make(Region(65_536, 1))
    entries = [entry for size in (640, 480, 640, 2, 640) for entry in frames(3, size)]
    fill(ring, entries)
    assert read_regions(bytes(data)) == [entries]


def test_what_is_closed_is_written_and_takes_nothing_more() -> None:
    data, (ring,) = make(Region(65_536, 1))
    for entry in frames(3):
        ring.add(*entry)
    ring.close()
    assert read_regions(bytes(data)) == [frames(3)]
    for entry in frames(MOST_PENDING + 2):
        with pytest.raises(ValueError, match="is over"):
            ring.add(*entry)
    assert read_regions(bytes(data)) == [frames(3)]


@pytest.mark.parametrize("name", ["pwrite", "without it"])
def test_a_file_on_disk_is_written_and_read_at_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name != "pwrite":
        monkeypatch.setattr(storage, "_pwrite", storage._seek_and_write)
        monkeypatch.setattr(storage, "_pread", storage._seek_and_read)
    path = tmp_path / "ring"
    path.write_bytes(bytes(HEAD_BYTES + 4096 * 2))
    with path.open("r+b", buffering=0) as file:
        place = FileStorage(file.fileno())
        write_head(place, [Region(4096, 2)])
        ring = Ring(place, HEAD_BYTES, Region(4096, 2), lambda records: told.extend(records))
        told: list[Entry] = []
        fill(ring, frames(20))
    assert told == frames(6)
    assert read_regions(path.read_bytes()) == [frames(20)[12:]]


def test_a_disk_that_takes_not_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_pwrite", lambda fd, data, at: len(data) - 1)
    with pytest.raises(OSError, match="not all of it"):
        FileStorage(0).write(b"ab", 0)
