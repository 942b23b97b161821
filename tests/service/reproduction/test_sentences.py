"""Every claim has a sentence with the stored numbers."""

from typing import Any

from gradnoise_service.client import Client
from gradnoise_service.report.words.numbers import signed


def test_every_claim_has_a_sentence(ran: Client, page: str) -> None:
    """It has the standing, the paper's figures, the difference of the stored report, the scale."""
    items = [line for line in page.splitlines() if line.startswith("- ")]
    noisy, other = ran.comparison(ran.study("paper-table-9 a").id)["differences"]

    def ours(d: Any) -> str:
        interval = d["difference_interval"]
        ends = f"{signed(interval['low'])} to {signed(interval['high'])}"
        return (
            f"here the mean accuracy differs by {signed(d['difference'])}, 97.5 % interval {ends}, "
            "12 pairs"
        )

    best = "Best settings: noisy 0.701 at lr {0}, baseline 0.501 at lr {0}."
    scale = (
        "Not run at full scale: quick, seeds 4 in place of 6, epochs 2 in place of 8, dataset "
        "digits in place of –."
    )
    assert items == [
        "- 🟢 **Row \\| A, noisy: reproduced.** In the paper it is ahead of baseline in the mean "
        "accuracy (0.527 against 0.431); "
        f"{ours(noisy)}: helps. Run at full scale. {best.format('0.1')}",
        f"- 🔵 **Row \\| A, noisy-1.0: not in the paper.** The paper has no figures for it; "
        f"{ours(other)}: no difference. Run at full scale. "
        f"{best.format('0.1').replace('noisy 0.701', 'noisy-1.0 0.501')}",
        "- ▫️ **Row B, noisy: agrees at quick scale.** In the paper it is ahead of baseline in "
        "the share of runs at accuracy 0.6 or above "
        "(5 % against 1 %); here the share of runs at accuracy 0.6 or above differs by +1, 97.5 % "
        "interval +1 to +1, 8 pairs: "
        f"helps. {scale} {best.format('0.01')}",
        "- 🔵 **Row B, noisy-1.0: not in the paper.** The paper has no figures for it; here the "
        "mean accuracy differs by 0, "
        f"97.5 % interval 0 to 0, 8 pairs: no difference. {scale} "
        f"{best.format('0.01').replace('noisy 0.701', 'noisy-1.0 0.501')}",
        "- ⚪ **Row C: not complete, queued at scale quick.**",
        "- ⚪ **Row D: not run.**",
        "- ⚪ **Row E: not run.**",
    ]
