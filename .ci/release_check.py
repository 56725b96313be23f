"""Makes the archives that a release has for `sam deploy`, and compares each with what
`sam build` makes: the same functions, byte for byte, beside a template that names their
folders and is otherwise template.yaml.

    python3 .ci/release_check.py FOLDER     has ARCHITECTURE/FUNCTION/bootstrap, made by the Makefile
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

import yaml

from deployment import check, of_type, parsed, summary, transformed

GORELEASER = "github.com/goreleaser/goreleaser/v2@v2.15.2"
LEGAL = {"LICENSE", "NOTICE", "THIRD_PARTY_NOTICES.txt"}


def release(to):
    """Makes the archives only: the rest of a release takes long, and ci.yml makes it."""
    config = yaml.safe_load(Path(".goreleaser.yaml").read_text(encoding="utf-8"))
    config["builds"] = [build for build in config["builds"] if build["id"] != "tool"]
    config["archives"] = [archive for archive in config["archives"] if archive["id"] == "stack"]
    del config["sboms"]
    config["dist"] = str(to / "dist")
    (to / "goreleaser.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(["go", "run", GORELEASER, "release", "--snapshot", "--clean", "--config", str(to / "goreleaser.yaml")], check=True, env=os.environ | {"GITHUB_REPOSITORY": "x/x"})
    return to / "dist"


def as_built(source, architecture):
    """The template as `sam build` leaves it, for one architecture."""
    del source["Globals"]["Function"]["CodeUri"]
    source["Parameters"]["Architecture"] |= {"Default": architecture, "AllowedValues": [architecture]}
    for name, function in of_type(source, "AWS::Serverless::Function").items():
        del function["Metadata"]
        function["Properties"]["CodeUri"] = name
    return source


def check_archive(archive, architecture, made, to):
    source = as_built(parsed("template.yaml"), architecture)
    functions = of_type(source, "AWS::Serverless::Function")
    with zipfile.ZipFile(archive) as files:
        found = {file.filename: file.external_attr >> 16 & 0o777 for file in files.infolist()}
        files.extractall(to)
    want = {name: 0o644 for name in {"template.yaml", "samconfig.toml"} | LEGAL} | {f"{name}/bootstrap": 0o755 for name in functions}
    check(found == want, f"{architecture}: {set(found.items()) ^ set(want.items())}")
    for name in functions:
        ours, theirs = made / architecture / name.removesuffix("Function") / "bootstrap", to / name / "bootstrap"
        check(theirs.exists() and ours.read_bytes() == theirs.read_bytes(), f"{architecture}: {name} is not what the Makefile makes")
    check(parsed(to / "template.yaml") == source, f"{architecture}: the template is not what sam build leaves")
    check(subprocess.run(["cfn-lint", "template.yaml"], cwd=to).returncode == 0, f"{architecture}: cfn-lint")
    here = os.getcwd()
    os.chdir(to)
    check(of_type(transformed(), "AWS::Lambda::Function").keys() == functions.keys(), f"{architecture}: transformed, other functions")
    os.chdir(here)
    for name, environment in tomllib.loads((to / "samconfig.toml").read_text(encoding="utf-8")).items():
        if name != "version":
            overrides = dict(item.split("=", 1) for item in environment["global"]["parameters"]["parameter_overrides"])
            check(overrides["Architecture"] == architecture and not any(o.endswith("SecretArn") for o in overrides), f"{architecture}, {name}: {overrides}")


with tempfile.TemporaryDirectory() as folder:
    dist = release(Path(folder))
    for architecture in ("arm64", "x86_64"):
        archives = list(dist.glob(f"membercard-stack_*_{architecture}.zip"))
        check(len(archives) == 1, f"archives for {architecture}: {archives}")
        for archive in archives:
            to = Path(folder) / architecture
            to.mkdir()
            check_archive(archive, architecture, Path(sys.argv[1]), to)
            print(f"{archive.name}: {archive.stat().st_size} bytes")
sys.exit(summary("release"))
