# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured: a file of tab-separated rows that grows, and tables of medians from it."""
import os
import statistics
import time

REFUSED = "refused"


class Results:
    """Rows of (case, what, who, run, measure, value): one per number, in a file or in memory only."""

    def __init__(self, path):
        self.path = path
        self.rows = []
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    fields = line.rstrip("\n").split("\t")
                    if len(fields) == 7:
                        self.rows.append((*fields[1:4], int(fields[4]), *fields[5:]))

    def has(self, case, what, who, run):
        """Was this run made, or refused for a reason that will not go away by trying again?"""
        return any(row[:3] == (case, what, who) and row[3] == run for row in self.rows)

    def add(self, case, what, who, run, values):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rows = [(case, what, who, run, measure, value if isinstance(value, str) else f"{value:.4f}")
                for measure, value in values.items()]
        self.rows += rows
        if self.path:
            with open(self.path, "a", encoding="utf-8") as f:
                f.writelines("\t".join(map(str, (stamp, *row))) + "\n" for row in rows)

    def whats(self, case):
        return list(dict.fromkeys(row[1] for row in self.rows if row[0] == case))

    def values(self, case, what, who, measure):
        return [float(row[5]) for row in self.rows
                if row[:3] == (case, what, who) and row[4] == measure]

    def refusal(self, case, what, who):
        texts = [row[5] for row in self.rows if row[:3] == (case, what, who) and row[4] == REFUSED]
        return texts[-1] if texts else None

    def median(self, case, what, who, measure):
        values = self.values(case, what, who, measure)
        return statistics.median(values) if values else None


def cell(value):
    if value is None:
        return "-"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 0.1 or value == 0 else 4
    return f"{value:.{digits}f}"


def table_rows(case, results, whos):
    """Cells of a case's table: medians, then ratios of medians to those of the row that it is held against."""
    yield ["", "who", "n", *case.columns, *(f"{m}/{case.against}" for m in case.ratios)]
    for what in results.whats(case.name):
        for who in whos:
            n = len(results.values(case.name, what, who, case.columns[0]))
            if n == 0:
                continue
            row = [what, who, str(n), *(cell(results.median(case.name, what, who, m)) for m in case.columns)]
            for measure in case.ratios:
                mine = results.median(case.name, what, who, measure)
                other = results.median(case.name, what, case.against, measure)
                row.append("" if who == case.against else cell(mine / other) if other else "-")
            yield row


def print_case(case, results):
    whos = [*case.extra_whos, *case.all_whos]
    rows = list(table_rows(case, results, whos))
    refusals = [(what, who, results.refusal(case.name, what, who))
                for what in results.whats(case.name) for who in whos]
    if len(rows) == 1 and not any(r[2] for r in refusals):
        return
    print(f"\n{case.name}: {case.title}")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    for what, who, text in refusals:
        if text:
            print(f"    {what}, {who}: {text}")

