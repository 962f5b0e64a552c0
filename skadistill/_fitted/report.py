"""A report of a fit in one HTML file, which loads nothing from elsewhere."""

import html
import platform

import numpy as np

from skadistill._fitted import facts
from skadistill._fitted.compare import size_of, teacher_prices
from skadistill._fitted.comparison import bytes_text
from skadistill._rows._containers import count_rows, is_frame, is_records, is_texts
from skadistill._rows._table import RowTable
from skadistill._utils.display import text_of
from skadistill.ledger._counts import bill_text

__all__ = ["write_report"]

#: Letters of a row, and columns of a table, that are shown.
_N_LETTERS, _N_COLUMNS = 400, 12
#: Classes and confusions that are shown.
_N_CLASSES, _N_CONFUSIONS = 60, 12
#: Labels beyond the fit for which the forecast is shown.
_N_MORE = (100, 500, 1000, 5000)

STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --soft: #5a6675; --back: #fff;
  --card: #f5f7fa; --line: #d8dee6; --blue: #1f6feb; --band: #1f6feb33;
  --orange: #c25b12; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9f0; --soft: #9aa6b5;
  --back: #11161d; --card: #1a212b; --line: #323c49; --blue: #6cb0ff;
  --band: #6cb0ff33; --orange: #f2a065; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--text);
  background: var(--back); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; border-bottom: 1px solid var(--line);
  padding-bottom: .25rem; }
p { margin: .5rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .75rem; margin: 1.25rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; } .tile span { color: var(--soft);
  font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0;
  font-size: .92rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; min-width: 8rem; } td { white-space: nowrap; }
td.text { min-width: 15rem; white-space: normal; overflow-wrap: anywhere; }
th.num, td.num { text-align: right; }
.bar { display: inline-block; height: .7rem; background: var(--blue); min-width: 1px;
  border-radius: 2px; } .bar.given { background: var(--orange); }
svg { width: 100%; max-width: 38rem; height: auto; display: block; }
svg text { fill: var(--soft); font: 13px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .band { fill: var(--band); }
svg .line { fill: none; stroke: var(--blue); stroke-width: 2; }
svg .dash { stroke-dasharray: 6 4; } svg .error { stroke: var(--soft); }
svg .dot { fill: var(--blue); }
"""


def write_report(distiller, path, X, X_unlabeled, comparison, certificate, n_suspects):
    """Write the report of a fitted distiller."""
    # Before the file is opened: students are trained for this, and may fail.
    suspects = ""
    if X is not None:
        suspects = _suspects(distiller, X, X_unlabeled, n_suspects)
    sections = {
        "Was it worth it?": _worth(comparison),
        "Cost": _cost(distiller),
        "Learning curve": _curve(distiller),
        "Agreement with the teacher": _agreement(distiller, certificate),
        "What was bought": _balance(distiller),
        "Accuracy by class": _by_class(comparison),
        "What the teacher gets wrong": _mistakes(distiller),
        "What the fit chose, and why": _facts(facts.about_choices(distiller)),
        "Labels to look at": suspects,
        "Student": _facts(facts.about_student(distiller.student_)),
        "Rows and labels": _facts(facts.about_labels(distiller)),
        "Rounds": _rounds(distiller),
        "Environment and seeds": _facts(_environment(distiller)),
    }
    body = "".join(
        f"<section><h2>{_text(title)}</h2>{inside}</section>"
        for title, inside in sections.items()
        if inside
    )
    teacher = facts.about_teacher(distiller)["Name"]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>Distillation report</title><style>{STYLE}</style></head><body>"
        f"<h1>Distillation report</h1><p class='soft'>Teacher: {_text(teacher)}. "
        f"Student: {_text(_student_name(distiller))}.</p>"
        f"{_tiles(distiller, comparison)}{body}</body></html>\n"
    )
    # Texts of rows may hold halves of characters, which no file can.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)


def _text(value):
    """Write a value for HTML, whatever it holds."""
    return html.escape(value if isinstance(value, str) else str(value))


def _table(head, rows, *, wide=None):
    """Write a table; `wide` is the column of long texts, cells may be `_Bar`s."""
    rows, body = [tuple(row) for row in rows], ""
    numeric = [_is_number(cell) for cell in rows[0]] if rows else []
    title = "".join(
        f"<th class='{'num' if right else ''}'>{_text(cell)}</th>"
        for cell, right in zip(head, numeric, strict=False)
    )
    for first, *cells in rows:
        body += f"<tr><th>{_text(first)}</th>"
        for k, cell in enumerate(cells, 1):
            kind = "text" if k == wide else "num" if _is_number(cell) else ""
            inside = cell.html() if isinstance(cell, _Bar) else _text(_written(cell))
            body += f"<td class='{kind}'>{inside}</td>"
        body += "</tr>"
    head = f"<thead><tr>{title}</tr></thead>" if any(head) else ""
    return f"<div class='wide'><table>{head}<tbody>{body}</tbody></table></div>"


class _Bar:
    """A bar of a length between 0 and 1, for a cell."""

    def __init__(self, share, kind=""):
        self.share, self.kind = share, kind

    def html(self):
        """Write it."""
        width = 8 * self.share
        return f"<span class='bar {self.kind}' style='width:{width:.2f}rem'></span>"


def _is_number(value):
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _written(value):
    """Write a cell."""
    if value is None:
        return ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else value


def _facts(found):
    """Write facts as a table of two columns."""
    return _table(("", ""), [(k, str(_written(v))) for k, v in found.items()], wide=1)


def _student_name(distiller):
    """Name the student by its kind if it was chosen, else by its class."""
    kind = next(iter(distiller.student_scores_), None)
    return kind or type(distiller.student_).__name__


def _tiles(distiller, comparison):
    """Write the numbers that one looks for first."""
    tiles = {}
    for record in comparison.records if comparison else ():
        if record["model"] in ("student", "teacher"):
            name = f"{comparison.score_name} of the {record['model']}"
            tiles[name] = f"{100 * record[comparison.score_name]:.1f} %"
    forecast = distiller.forecast_
    if getattr(forecast, "score_name", None) == "pool_agreement":
        # By all rounds: the last one alone may have few rows.
        share = forecast.after(0)[0]
        tiles["agreement with the teacher"] = f"{100 * share:.1f} %"
    tiles["rows paid for"] = f"{distiller.n_paid_:,}"
    if distiller.cost_ is not None:
        tiles["cost"] = f"{distiller.cost_:.4g}"
    size = size_of(distiller.student_)
    if size is not None:
        tiles["size of the student"] = bytes_text(size)
    inside = "".join(
        f"<div class='tile'><b>{_text(value)}</b><span>{_text(name)}</span></div>"
        for name, value in tiles.items()
    )
    return f"<div class='tiles'>{inside}</div>"


def _worth(comparison):
    """Write the comparison with the teacher and with doing without."""
    if comparison is None:
        return ""
    head, *rows = comparison.cells()
    notes = "".join(f"<p class='soft'>{_text(note)}</p>" for note in comparison.notes)
    return f"<p>{_text(comparison.conclusion)}</p>{_table(head, rows)}{notes}"


def _cost(distiller):
    """Write what was planned, what was paid, and what it was paid for."""
    head, *rows = (
        (name, *values) for name, values in facts.spending(distiller).items()
    )
    if all(value is None for value in rows[-1][1:]):
        rows.pop()
    said = "Teacher checks that are not needed become rows of the pool. "
    if distiller.n_free_:
        said += f"{distiller.n_free_:,} answers were known and cost nothing. "
    if distiller.n_no_label_:
        said += f"{distiller.n_no_label_:,} answers were paid for and are no label. "
    bill = bill_text(distiller.ledger_.summary())
    if bill:
        said += f"In the ledger, all fits together: {bill}."
    return _table(head, rows) + f"<p class='soft'>{_text(said)}</p>"


def _curve(distiller):
    """Draw the scores of the rounds, the forecast, and write it in rows and money."""
    forecast = distiller.forecast_
    if forecast is None:
        return "<p class='soft'>Fewer than two rounds have a score.</p>"
    price = forecast.cost_per_row or teacher_prices(distiller)[0]
    rows = []
    for n_more in (0, *_N_MORE):
        score, low, high = forecast.after(n_more)
        row = [f"{n_more:,} more labels" if n_more else "now", score, low, high]
        rows.append([*row, n_more * price] if price else row)
    head = ["", forecast.score_name.replace("_", " "), "low", "high", "cost"]
    said = "Median and 80 % band of learning curves that agree with the rounds so far."
    return (
        _svg(distiller, forecast)
        + _table(head[: len(rows[0])], rows)
        + f"<p class='soft'>{said}</p>"
    )


def _svg(distiller, forecast):
    """Draw rounds with their intervals, and the forecast with its band."""
    name, n_now = forecast.score_name, forecast.n_now
    records = [r for r in distiller.history_ if r.get(name) is not None]
    points = [
        (r["n_labeled"], r[name], r.get(f"{name}_low"), r.get(f"{name}_high"))
        for r in records
    ]
    last = 2 * n_now
    steps = np.unique(np.linspace(points[0][0], last, 40).astype(int))
    fitted = [(n, *forecast.at(n)) for n in steps.tolist()]
    # Intervals of small rounds may be wider than the drawing.
    values = [p[1] for p in points] + [v for p in fitted for v in p[1:]]
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05
    low, high = max(0.0, low - pad), min(1.0, high + pad)

    def x(n):
        return 52 + 410 * (n - points[0][0]) / max(last - points[0][0], 1)

    def y(score):
        return 250 - 230 * (min(max(score, low), high) - low) / (high - low)

    def path(pairs):
        return " ".join(f"{x(n):.1f},{y(score):.1f}" for n, score in pairs)

    band = [(n, b) for n, _, b, _ in fitted] + [(n, c) for n, _, _, c in fitted[::-1]]
    known = [(n, score) for n, score, *_ in fitted if n <= n_now]
    ahead = [(n, score) for n, score, *_ in fitted if n >= n_now]
    drawn = f"<polygon class='band' points='{path(band)}'/>"
    drawn += f"<polyline class='line' points='{path(known + ahead[:1])}'/>"
    drawn += f"<polyline class='line dash' points='{path(ahead)}'/>"
    for n, score, below, above in points:
        if below is not None:
            drawn += (
                f"<line class='error' x1='{x(n):.1f}' x2='{x(n):.1f}' "
                f"y1='{y(below):.1f}' y2='{y(above):.1f}'/>"
            )
        drawn += f"<circle class='dot' cx='{x(n):.1f}' cy='{y(score):.1f}' r='4'/>"
    for share in np.linspace(low, high, 5):
        drawn += (
            f"<line class='axis' x1='52' x2='462' y1='{y(share):.1f}' "
            f"y2='{y(share):.1f}'/><text x='46' y='{y(share) + 4:.1f}' "
            f"text-anchor='end'>{100 * share:.0f} %</text>"
        )
    for n in np.linspace(points[0][0], last, 5):
        drawn += f"<text x='{x(n):.1f}' y='272' text-anchor='middle'>{n:,.0f}</text>"
    drawn += "<text x='257' y='294' text-anchor='middle'>rows with a label</text>"
    label = f"{name.replace('_', ' ')} by rows with a label, with its forecast"
    return (
        f"<svg viewBox='0 0 480 300' role='img' aria-label='{_text(label)}'>{drawn}"
        "</svg>"
    )


def _judged(distiller):
    return [r for r in distiller.history_ if r["pool_agreement"] is not None]


def _agreement(distiller, certificate):
    """Write the last estimate of the agreement, and what is certified."""
    said = []
    judged = _judged(distiller)
    if judged:
        last = judged[-1]
        said.append(
            f"The student of round {last['round']} agrees with the teacher on "
            f"{100 * last['pool_agreement']:.1f} % of the pool (95 % interval "
            f"{100 * last['pool_agreement_low']:.1f} to "
            f"{100 * last['pool_agreement_high']:.1f}, as precise as "
            f"{last['n_effective']:,.0f} rows drawn at random)."
        )
    if certificate is not None:
        said.append(f"Audit: {certificate!r}.")
    return "".join(f"<p>{_text(line)}</p>" for line in said)


def _balance(distiller):
    """Write how many labels of each class were given and bought."""
    labels, rounds = distiller.transduction_, distiller.labeled_round_
    classes = distiller.classes_.tolist()
    if distiller._space.multilabel:
        named = [labels[:, k] == 1 for k in range(len(classes))]
    else:
        labels = np.array(labels.tolist(), dtype=object)
        named = [labels == c for c in classes]
    counts = {
        c: (int((rows & (rounds == 0)).sum()), int((rows & (rounds > 0)).sum()))
        for c, rows in zip(classes, named, strict=True)
    }
    shown = sorted(counts.items(), key=lambda item: -sum(item[1]))[:_N_CLASSES]
    most = max((max(pair) for pair in counts.values()), default=0) or 1
    rows = [
        (c, given, _Bar(given / most, "given"), bought, _Bar(bought / most))
        for c, (given, bought) in shown
    ]
    left = len(counts) - len(shown)
    more = f"<p class='soft'>and {left:,} other classes</p>" if left else ""
    return _table(("class", "given", "", "bought", ""), rows) + more


def _by_class(comparison):
    """Write the share of right rows of each class, for each model."""
    if comparison is None or not comparison.per_class:
        return ""
    found = comparison.per_class
    student = found["student"]
    classes = sorted(student, key=lambda c: student[c])[:_N_CLASSES]
    rows = [
        (
            c,
            *(
                f"{100 * recalls[c]:.1f} %" if c in recalls else ""
                for recalls in found.values()
            ),
        )
        for c in classes
    ]
    return _table(("class", *found), rows)


def _mistakes(distiller):
    """Write the teacher's error rate, and what it takes for what."""
    found = facts.about_teacher(distiller)
    confusions = _confusions(distiller)
    text = _facts(found)
    if confusions:
        rows = [(str(a), str(b), n) for (a, b), n in confusions[:_N_CONFUSIONS]]
        head = ("given label", "answer of the teacher", "rows")
        text += _table(head, rows)
    return text


def _confusions(distiller):
    """Count what the teacher takes for what on given rows that the ledger knows."""
    proba, truth = distiller._checked_answers()
    classes = distiller.classes_
    pairs = np.column_stack([truth, proba.argmax(axis=1)])
    pairs, counts = np.unique(
        pairs[pairs[:, 0] != pairs[:, 1]], axis=0, return_counts=True
    )
    named = [
        (tuple(classes[pair].tolist()), int(n))
        for pair, n in zip(pairs, counts, strict=True)
    ]
    return sorted(named, key=lambda item: -item[1])


def _suspects(distiller, X, X_unlabeled, n_suspects):
    """Write the labels that are most probably wrong, with their rows."""
    found = distiller.suspects(X, X_unlabeled=X_unlabeled, n_suspects=n_suspects)
    rows = np.asarray(found["row"], dtype=np.intp)
    if not rows.size:
        return ""
    texts = _row_texts(RowTable(X, X_unlabeled).take(rows))
    wrong = np.asarray(found["probability_wrong"])
    columns = zip(
        rows.tolist(),
        texts,
        np.asarray(found["label"]).tolist(),
        np.asarray(found["suggestion"]).tolist(),
        (f"{100 * p:.0f} %" for p in wrong),
        strict=True,
    )
    head = ("row", "content", "teacher", "students", "probably wrong")
    said = (
        f"Of these {len(rows)} labels about {wrong.sum():.0f} are probably wrong. "
        "Rows are counted from 0, those of X first."
    )
    table = _table(head, [(str(r), *map(str, rest)) for r, *rest in columns], wide=1)
    return f"<p class='soft'>{said}</p>{table}"


def _row_texts(X):
    """Write the content of each row, cut to what can be read."""
    if is_texts(X):
        texts = list(X)
    elif is_frame(X):
        names = list(X.columns)[:_N_COLUMNS]
        values = zip(*(X[name].to_list() for name in names), strict=True)
        texts = [_named(zip(names, row, strict=True)) for row in values]
    elif is_records(X):
        texts = [_named(row.items()) for row in X]
    else:
        rows = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
        rows = rows.reshape(count_rows(X), -1)
        more = ", ..." if rows.shape[1] > _N_COLUMNS else ""
        texts = [
            ", ".join(str(_written(v)) for v in row[:_N_COLUMNS].tolist()) + more
            for row in rows
        ]
    return [
        text if len(text) <= _N_LETTERS else f"{text[:_N_LETTERS]}..."
        for text in map(str, texts)
    ]


def _named(pairs):
    """Write names and values."""
    return ", ".join(f"{name}: {_written(value)}" for name, value in pairs)


def _rounds(distiller):
    """Write the table of rounds."""
    columns = facts.rounds(distiller.history_)
    return _table(list(columns), zip(*columns.values(), strict=True))


def _environment(distiller):
    """Return versions, the machine, seeds and parameters."""
    seeds = getattr(distiller, "_choices", {}).get("seeds", {})
    params = distiller.get_params(deep=False)
    return {
        **facts.versions(),
        "System": platform.platform(),
        "random_state": text_of(distiller.random_state),
        "Seeds": ", ".join(f"{name} {seed}" for name, seed in seeds.items()),
        **{
            name: text_of(value)
            for name, value in params.items()
            if name not in ("teacher", "student", "random_state", "ledger")
        },
    }
