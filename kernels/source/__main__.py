"""``python -m ppl.kernels.source``: write every module that is made from a source; says which have changed."""

from ppl.kernels.source.generate import modules


def main() -> None:
    """Write what is stale, and remove what has no source any more."""
    wanted, present = modules()
    for path in sorted(wanted.keys() | present.keys()):
        if path not in wanted:
            path.unlink()
        elif wanted[path] != present.get(path):
            path.write_text(wanted[path], encoding="utf-8")
        else:
            continue
        print(path)


if __name__ == "__main__":
    main()
