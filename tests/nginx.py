"""Whether Nginx takes what the guides print."""

import shutil
import subprocess
from pathlib import Path

import pytest

NGINX = shutil.which("nginx")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx (apt-get install nginx)")


def assert_nginx_takes(servers: str, folder: Path) -> None:
    """Have Nginx test a configuration with these blocks in its ``http``; ``folder`` is for its files."""
    path = folder / "nginx.conf"
    path.write_text(
        f"pid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{servers}\n}}\n"
    )
    done = subprocess.run(
        [str(NGINX), "-t", "-c", str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
