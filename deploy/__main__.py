"""``python -m deploy files | secrets [FOLDER] | pin-images``."""

import argparse
import subprocess
import sys
from pathlib import Path

from deploy.pin_images import pin
from deploy.procfile import procfile
from deploy.programs import read_programs
from deploy.secrets_folder import write_secrets
from deploy.systemd import units

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent


def deployment_files() -> dict[Path, str]:
    """Return every file that is written from the table, with its text."""
    programs = read_programs()
    return {
        HERE / "Procfile": procfile(programs),
        **{HERE / "systemd" / name: text for name, text in units(programs).items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    parser.add_argument("what", choices=["files", "secrets", "pin-images"])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "secrets")
    given = parser.parse_args(arguments)
    if given.what == "files":
        for path, text in deployment_files().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    elif given.what == "secrets":
        written = write_secrets(given.folder)
        print(f"{given.folder}: {', '.join(path.name for path in written) or 'nothing'} written")
    else:
        return _pin()
    return 0


def _pin() -> int:
    try:
        pin([ROOT / "docker-compose.yml", ROOT / "Dockerfile"])
    except FileNotFoundError:
        print("docker is not installed: digests are asked for with it.", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"The registry gave no digest: {error.stderr.strip()}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
