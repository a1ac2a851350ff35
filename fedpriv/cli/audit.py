"""``fedpriv audit``: try to refute what a configuration or a run promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, overrides_option, print_json
from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.federation.config import Config

__all__ = ["audit"]

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("target", type=_PATH, metavar="CONFIG|RUN_DIR")
@click.option("--canaries", type=int, default=1000, show_default=True, help="How many canaries there are.")
@click.option("--rounds", type=int, help="Audit so many of the planned rounds; default: 12 at most.")
@click.option("--full", is_flag=True, help="All rounds; by loss all records, not 2,000 of each kind.")
@click.option(
    "--server-view/--no-server-view",
    default=True,
    show_default=True,
    help="Try what the server sees of one client, too.",
)
@click.option("--out", type=_PATH, help="Folder for audit.json; default: RUN_DIR, or this one for a CONFIG.")
@click.option("--base", type=_PATH, help="Where RUN_DIR's relative paths start from; default: this folder.")
@overrides_option
@as_json
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    target: Path,
    canaries: int,
    rounds: int | None,
    full: bool,
    server_view: bool,
    out: Path | None,
    base: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Try to refute what CONFIG, or the run in RUN_DIR, promises: an audit run with canaries.

    A separate run of the same mechanism (clip, sampling, noise, secure sum) on the same data, in which half
    of the canaries are records by a coin; the audit guesses from the sums which.  Nothing is released and
    nothing is spent.  Exit status 1: the promise is refuted, or masks are not uniform.
    """
    run_dir = target if target.is_dir() else None
    settings = _settings(target, run_dir, base, overrides)
    from fedpriv.federation.auditing.audit import audit_run, check_canaries, write_audit

    check_canaries(canaries, settings.privacy.delta)

    from fedpriv.cli.display import print_pairs, quiet_libraries

    quiet_libraries()
    click.echo("a separate run with canaries; nothing is released, nothing is spent", err=True)
    result = audit_run(
        settings, canaries=canaries, rounds=rounds, run_dir=run_dir, full=full, see=server_view
    )
    path = write_audit(result, out or run_dir or Path())
    if run_dir is not None and out is None and (run_dir / "report.json").is_file():
        from fedpriv.report import write

        write(run_dir)  # its section 11 would else tell of the run before it was audited
    if run_dir is not None and out is None:
        from fedpriv.cli.report import say_if_stale

        say_if_stale(run_dir)
    if as_json:
        print_json({**result.facts, "file": str(path)})
    else:
        print_pairs(_lines(result.facts, path))
        click.echo(result.facts["caution"])
    if result.failed:
        ctx.exit(1)


def _settings(target: Path, run_dir: Path | None, base: Path | None, overrides: tuple[str, ...]) -> Config:
    """The configuration to audit; of a run it is the run's own, word for word."""
    from fedpriv.federation.config import Config, load
    from fedpriv.federation.config.text import parse_toml

    if run_dir is None:
        if not target.exists() and not target.suffix:
            raise UsageError(
                f"there is no configuration and no run folder {str(target)!r}",
                hint="name a file, or the folder that `fedpriv run` printed",
            )
        if base is not None:
            raise UsageError(
                "--base is for a RUN_DIR only", hint="a CONFIG's paths start from its own folder"
            )
        return load(target, overrides)
    if not (run_dir / "config.toml").is_file() or not (run_dir / "run.json").is_file():
        raise UsageError(
            f"{str(run_dir)!r} is not a run's folder: it has no run.json with a config.toml beside it",
            hint="name the folder that `fedpriv run` printed, or a configuration file",
        )
    if overrides:
        raise UsageError(
            "--set would audit another mechanism than the one that this run used",
            hint="name the configuration file in place of the run's folder",
        )
    return Config.from_dict(parse_toml(run_dir / "config.toml"), base=base or Path.cwd())


def _lines(facts: dict[str, Any], path: Path) -> list[tuple[str, str]]:
    one_shot = facts["epsilon_one_shot_estimate"]
    rounds, planned = facts["rounds"], facts["rounds_planned"]
    delta, confidence = facts["delta"], facts["confidence"]
    lines = [
        ("verdict", f"{facts['verdict']}: {facts['says']}"),
        ("claimed", f"ε = {facts['claimed_epsilon']:.4g} at δ = {delta:g}, {rounds} of {planned} rounds"),
        (
            "guesses",
            f"{facts['right']:,} of {facts['guesses']:,} right, about {facts['canaries']:,} canaries",
        ),
        ("under the claim", f"so many right with a chance of at most {facts['chance_under_claim']:.2g}"),
        ("at least", f"ε = {facts['epsilon_lower_bound']:.2f} at {confidence:.0%} confidence"),
        ("if Gaussian", f"at least ε = {facts['epsilon_if_gaussian']:.2f}; an estimate for other noise"),
        ("one shot", "none" if one_shot is None else f"ε about {one_shot:.2f}; an estimate, not a bound"),
        *_membership(facts["membership"]),
        *_server_view(facts["server_view"], facts["server_view_not_made"]),
        ("spent", facts["spent"]),
        ("kept in", str(path)),
    ]
    if not facts["could_have_failed"]:
        what = "with so few canaries no outcome could have refuted this claim; use more"
        lines.insert(1, ("no test", what))
    return lines


def _membership(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    low, high = found["tpr_interval"]
    what = (
        f"AUC {found['auc']:.3f}; {found['tpr']:.1%} of the members ({low:.1%} to {high:.1%}) at "
        f"{found['fpr']:.0%} false accusations, where {found['tpr_allowed']:.1%} are allowed; "
        f"{found['members']:,} of {found['members_in_all']:,} training records, without noise: guard it as "
        "you guard them"
    )
    return [("by loss", what)]


_SEEN = {
    "update": "from its update as it is",
    "noisy": "with its own noise only",
    "received": "from what the server receives of it",
    "released": "from the released sum",
}


def _server_view(found: dict[str, Any] | None, why_not: str | None) -> list[tuple[str, str]]:
    if found is None:
        return [("server's view", f"not tried: {why_not}")]
    what = f"which records of client {found['client']} were in a batch, in {found['rounds']} rounds"
    lines = [("server's view", what)]
    for view in found["views"]:
        low, high = view["auc_interval"]
        lines.append(("", f"{_SEEN[view['view']]}: AUC {view['auc']:.3f} ({low:.3f} to {high:.3f})"))
    if "received" not in [view["view"] for view in found["views"]]:
        lines.append(("", f"{_SEEN['received']}: not tried on ciphertexts"))
    masks = found["masks"]
    if masks is not None:
        says = "uniform" if masks["uniform"] else "NOT UNIFORM: the masks are broken"
        lines.append(("masks", f"{says} (chi-square, chance {masks['p_value']:.2g})"))
    return lines
