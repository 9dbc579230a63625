"""The plots of docs/FAIRNESS.md: service a second of each tenant by time, fair beside first come first served."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from tenantry.quota.served import Curve, Prices, by_tenant
from tenantry.quota.simulation import Fate

# Half of the paper's window, so that what changes every minute is seen.
WINDOW_S = 30.0
_STEP_S = 5.0

matplotlib.use("svg")
# The same figures give the same file.
matplotlib.rcParams |= {"svg.hashsalt": "tenantry", "svg.fonttype": "none", "font.size": 8}


def draw(
    title: str, seconds: float, fair: Sequence[Fate], first_come: Sequence[Fate], prices: Prices, file: Path
) -> None:
    """Write the plot as SVG."""
    figure, panels = pyplot.subplots(1, 2, sharey=True, figsize=(8, 2.4), layout="constrained")
    for panel, name, fates in zip(panels, ("fair queue", "first come first served"), (fair, first_come), strict=True):
        times = [step * _STEP_S for step in range(int(seconds / _STEP_S) + 1)]
        for tenant, own in by_tenant(fates).items():
            curve = Curve(own, prices)
            begins = [max(0.0, time - WINDOW_S) for time in times]
            spans = [max(_STEP_S, time - begin) for time, begin in zip(times, begins, strict=True)]
            rates = [
                (after - before) / span
                for after, before, span in zip(curve.at(times), curve.at(begins), spans, strict=True)
            ]
            panel.plot(times, rates, label=tenant, linewidth=1.2)
        panel.set_title(name)
        panel.set_xlabel("seconds")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("service a second")
    panels[0].set_ylim(bottom=0)
    panels[1].legend(loc="best")
    figure.suptitle(title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
