"""Published figures to be read beside ours, with their source; no statistic of ours uses them.

They are of other datasets than ours, which were never published (the images), or are of another version of the
simulator (D4RL).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SOURCE = "Yu et al. (2021), COMBO: Conservative Offline Model-Based Policy Optimization, arXiv:2102.08363"
NORMALISED, RETURN, SUCCESS = "normalised score", "return", "success rate in %"
BATCH = {"Batch-Mean": "the data's mean", "Batch-Max": "the data's best"}
"""Columns that are of the data and of no algorithm."""
ALGORITHMS = {
    "BC": "bc",
    "COMBO": "combo",
    "MOPO": "mopo",
    "MOReL": "morel",
    "CQL": "cql",
    "SAC-off": "sac",
    "BEAR": "bear",
    "BRAC-p": "brac-p",
    "BRAC-v": "brac-v",
    "LOMPO": "lompo",
    "LMBPO": "mbpo",
    "SLAC-Off": "sac",
    "CQL-pixels": "cql-pixels",
    "CQL+MBPO": "cql-mbpo",
    **BATCH,
}
"""The paper's words, and ours. In table 2, CQL is of images, without a world model."""

TABLE_1 = """
dataset           Batch-Mean Batch-Max COMBO        MOPO   MOReL  CQL
halfcheetah-jump  -1022.6    1808.6    5308.7±575.5 4016.6 3228.7 741.1
ant-angle         866.7      2311.9    2776.9±43.6  2530.9 2660.3 2473.4
sawyer-door-close 5%         100%      98.3%±3.0%   65.8%  42.9%  36.7%
"""
TABLE_2 = """
dataset                   COMBO  LOMPO  LMBPO SLAC-Off CQL-pixels
walker-walk/medium-replay 69.2   66.9   59.8  45.1     15.6
walker-walk/medium        57.7   60.2   61.7  41.5     38.9
walker-walk/medium-expert 76.4   78.9   47.3  34.9     36.3
walker-walk/expert        61.1   55.6   13.2  12.6     43.3
sawyer-door/medium-expert 100.0% 100.0% 0.0%  0.0%     0.0%
sawyer-door/expert        96.7%  0.0%   0.0%  0.0%     0.0%
"""
TABLE_3 = """
dataset                   BC    COMBO     MOPO MOReL CQL   SAC-off BEAR BRAC-p BRAC-v
halfcheetah/random        2.1   38.8±3.7  35.4 25.6  35.4  30.5    25.1 24.1   31.2
hopper/random             1.6   17.9±1.4  11.7 53.6  10.8  11.3    11.4 11.0   12.2
walker2d/random           9.8   7.0±3.6   13.6 37.3  7.0   4.1     7.3  -0.2   1.9
halfcheetah/medium        36.1  54.2±1.5  42.3 42.1  44.4  -4.3    41.7 43.8   46.3
hopper/medium             29.0  97.2±2.2  28.0 95.4  86.6  0.8     52.1 32.7   31.1
walker2d/medium           6.6   81.9±2.8  17.8 77.8  74.5  0.9     59.1 77.5   81.1
halfcheetah/medium-replay 38.4  55.1±1.0  53.1 40.2  46.2  -2.4    38.6 45.4   47.7
hopper/medium-replay      11.8  89.5±1.8  67.5 93.6  48.6  3.5     33.7 0.6    0.6
walker2d/medium-replay    11.3  56.0±8.6  39.0 49.8  32.6  1.9     19.2 -0.3   0.9
halfcheetah/medium-expert 35.8  90.0±5.6  63.3 53.3  62.4  1.8     53.4 44.2   41.9
hopper/medium-expert      111.9 111.1±2.9 23.7 108.7 111.0 1.6     96.3 1.9    0.8
walker2d/medium-expert    6.4   103.3±5.6 44.6 95.6  98.7  -0.1    40.1 76.9   81.6
"""
TABLE_8 = """
dataset           Batch-Mean Batch-Max COMBO        CQL+MBPO
halfcheetah-jump  -1022.6    1808.6    5392.7±575.5 4053.4±176.9
ant-angle         866.7      2311.9    2764.8±43.6  809.2±135.4
sawyer-door-close 5%         100%      100%±0.0%    62.7%±24.8%
"""
"""Its values as printed; rows are tasks and, where they have one, D4RL's splits."""
CELL = re.compile(r"(-?[\d.]+)(%?)(?:±([\d.]+)%?)?")


@dataclass(frozen=True)
class Published:
    """One figure of the paper's."""

    table: int
    task: str
    split: str
    """One of D4RL's, or empty for a task that has one dataset."""
    obs: str
    algorithm: str
    """Our name; or one of BATCH."""
    value: float
    half_width: float | None
    """Of the paper's 95% interval; None where it has none."""
    unit: str
    seeds: int

    def __str__(self) -> str:
        """As a cell of a table."""
        percent = "%" if self.unit == SUCCESS else ""
        spread = "" if self.half_width is None else f" ± {self.half_width:.1f}"
        return f"{self.value:.1f}{spread}{percent} (table {self.table})"


def _parsed(table: int, text: str, obs: str, seeds: int, plain: str) -> Iterator[Published]:
    """The figures of a table, whose numbers without a per cent sign are `plain`."""
    heads, *rows = (line.split() for line in text.strip().splitlines())
    for name, *cells in rows:
        task, _, split = name.partition("/")
        for head, cell in zip(heads[1:], cells, strict=True):
            match = CELL.fullmatch(cell)
            assert match is not None, cell
            unit = SUCCESS if match[2] else plain
            half = None if match[3] is None else float(match[3])
            yield Published(table, task, split, obs, ALGORITHMS[head], float(match[1]), half, unit, seeds)


PUBLISHED = (
    *_parsed(1, TABLE_1, "state", 6, RETURN),
    *_parsed(2, TABLE_2, "pixels", 3, NORMALISED),
    *_parsed(3, TABLE_3, "state", 6, NORMALISED),
    *_parsed(8, TABLE_8, "state", 6, RETURN),
)
"""All figures of tables 1, 2, 3 and 8."""


def published(task: str, split: str, obs: str, algorithm: str, table: int | None = None) -> list[Published]:
    """The figures of an algorithm on the paper's dataset of a task and split, of one table or of all."""
    return [
        figure
        for figure in PUBLISHED
        if (figure.task, figure.obs, figure.algorithm) == (task, obs, algorithm)
        and figure.split in ("", split)
        and table in (None, figure.table)
    ]
