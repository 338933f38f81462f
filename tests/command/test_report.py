"""What people are told of the time that a run takes, with a clock that does as it is told."""

import contextlib
import sys

import pytest
import tensorflow as tf

from styling.command import report
from styling.run import pace as pace_module
from styling.run.progress import Progress
from styling.run.runs import Scale
from styling.run.states import State
from styling.settings import Settings

SECOND_A_MEGAPIXEL = 1e-6
LONG = Settings(width=1000, iterations=110)
SCALES = tuple(
    Scale(size, (), iterations)
    for size, iterations in (((188, 250), 40), ((375, 500), 40), ((750, 1000), 30))
)


class Run:
    """A run whose updates each take a second a megapixel, after five seconds of preparation for each scale.

    The first update of each scale takes three times as long, since functions are compiled. matching: how many
    times as long each tenth update takes.
    """

    def __init__(self, scales, monkeypatch, matching=1):
        self.scales, self.now, self.matching = scales, 1000.0, matching
        monkeypatch.setattr(report.time, "monotonic", lambda: self.now)

    def __iter__(self):
        iteration = 0
        for index, scale in enumerate(self.scales):
            each = scale.size[0] * scale.size[1] * SECOND_A_MEGAPIXEL
            self.now += 5
            for count in range(scale.iterations + (index == len(self.scales) - 1)):
                if count:
                    self.now += each * (3 if count == 1 else self.matching if count % 10 == 0 else 1)
                losses = {"content": tf.constant(1.0), "total": tf.constant(2.0)}
                yield Progress(State(iteration, index, 0, tf.zeros([])), self.scales, losses, None)
                iteration += 1
            self.now += each


def test_the_time_left_counts_pixels(monkeypatch):
    pace, told = pace_module.Pace(), {}
    for progress in Run(SCALES, monkeypatch):
        told[progress.iteration] = pace(progress)
        if progress.iteration > 3:
            assert told[progress.iteration] == pytest.approx(progress.pixels_left * SECOND_A_MEGAPIXEL)
    assert told[0] is None and told[1] > 0 and told[110] == 0
    # Two thirds of the iterations are a third of the work.
    assert told[4] / 1.55 < told[75] < told[4]


def test_the_time_left_counts_that_some_updates_take_longer(monkeypatch):
    run, pace = Run(SCALES, monkeypatch, matching=11), pace_module.Pace()  # the others are half of the time
    told = [(pace(progress), run.now, progress.iteration) for progress in run]
    left, now, _ = told[79]
    assert left == pytest.approx(run.now - 5 - now, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "size", "advice"),
    [
        (LONG, (750, 1000), "; --width 500 would take about 8 minutes"),
        (Settings(max_size=1200), (1200, 900), "; --max-size 600 would take about 8 minutes"),
        (Settings(width=1000, height=700), (700, 1000), "; --iterations 500 would take about 16 minutes"),
    ],
)
def test_a_long_run_says_once_what_it_takes_and_how_it_would_be_shorter(
    monkeypatch, capsys, settings, size, advice
):
    iterations = round(32 * 60 / (size[0] * size[1] * SECOND_A_MEGAPIXEL))
    scales = (Scale(size, (), iterations),)
    for quiet, resumed, expected in (
        (False, False, [f"about 32 minutes to go{advice}"]),
        (False, True, ["about 32 minutes to go"]),
        (True, False, []),
    ):
        run = Run(scales, monkeypatch)
        reporter = report.Reporter(settings, None, resumed=resumed)
        began = run.now
        with contextlib.redirect_stdout(None if quiet else sys.stdout):
            for progress in run:
                reporter(progress)
                if run.now > began + 20:
                    break
        assert [line for line in capsys.readouterr().out.splitlines() if "to go" in line] == expected


def test_a_short_run_is_not_said_to_be_long(monkeypatch, capsys):
    reporter = report.Reporter(LONG, None)
    for progress in Run(SCALES, monkeypatch):
        reporter(progress)
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "to go" in line]
    assert [line for line in lines if "scale" in line] == [
        "250 x 188 pixels (scale 1 of 3)",
        "500 x 375 pixels (scale 2 of 3)",
        "1000 x 750 pixels (scale 3 of 3)",
    ]


def test_durations_are_told_in_words():
    told = [report.seconds(seconds) for seconds in (59, 200, 9000, 12_000)]
    assert told == ["59 s", "3 minutes", "150 minutes", "3 hours"]
